"""The clients of a run: they send requests to nodes, and find the calls that answers belong to.

Rules
-----
1. Only an answer makes an outcome definite. A call whose time is up is unknown.
2. The first answer to a call counts. A later one with another content is a failure of the node, unless the network has repeated
   a message on the way. An answer after the call's time is noted, and changes nothing.
3. An answer that belongs to no request, or that has not the form that the workload asks for, is a failure of the node.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cluster.clients.outcomes import NotKnown, Ok, Outcome
from harness.systems.maelstrom.protocol import KEY_DOES_NOT_EXIST, Body, JsonLine, outcome_of_error
from harness.systems.maelstrom.requests import BadAnswer, answer_of, request_of
from harness.workloads.planned_call import PlannedCall
from node.contract import NodeId

#: How many characters of a line a sentence shows.
SHOWN: Final = 300


@dataclass(eq=False)
class MaelstromCall:
    """A call under way."""

    client: str
    call: PlannedCall
    body: Body
    deadline: float
    outcome: Outcome | None = None
    answer: Body | None = None


class MaelstromClients:
    """All clients of a run. Any thread may call any method."""

    def __init__(
        self,
        workload: str,
        send: Callable[[JsonLine], None],
        failed: Callable[[NodeId, str], None],
        may_repeat: Callable[[], bool],
    ) -> None:
        """Make the clients.

        Args:
            workload: the name of the workload, which says what requests and answers look like.
            send: sends a message to a node.
            failed: called with a node and what it has done against the rules.
            may_repeat: whether a rule of the network has repeated messages, so that a request may have come twice.
        """
        self._workload, self._send, self._failed, self._may_repeat = workload, send, failed, may_repeat
        self._calls: dict[int, MaelstromCall] = {}
        self._open: dict[int, MaelstromCall] = {}
        self._lock = threading.Lock()
        self.late: Counter[NodeId] = Counter()
        """How many answers came after their call's time, by node."""
        self.again: Counter[NodeId] = Counter()
        """How many answers came again, by node."""

    def begin(self, client: str, call: PlannedCall) -> MaelstromCall:
        """Send the request of a call, and return the call."""
        assert call.node is not None
        with self._lock:
            number = len(self._calls) + 1
            body = {**request_of(self._workload, call), "msg_id": number}
            found = self._calls[number] = self._open[number] = MaelstromCall(
                client, call, body, time.monotonic() + call.timeout_s
            )
        self._send(JsonLine(client, call.node, body))
        return found

    def poll(self) -> None:
        """End the calls whose time is up."""
        now = time.monotonic()
        with self._lock:
            for number, call in list(self._open.items()):
                if call.outcome is None and call.deadline <= now:
                    call.outcome = NotKnown(f"no answer within {call.call.timeout_s:g} s")
                if call.outcome is not None:
                    del self._open[number]

    def take_in(self, node: NodeId, line: JsonLine) -> None:
        """Take in a message that `node` has written to a client."""
        with self._lock:
            problem = self._answered(node, line)
        if problem is not None:
            shown = line.to_bytes().decode(errors="replace")[:SHOWN]
            self._failed(node, f"{problem}: {shown}")

    def _answered(self, node: NodeId, line: JsonLine) -> str | None:
        """Take in a message to a client. Returns what is wrong with it, if anything."""
        number = line.body.get("in_reply_to")
        call = self._calls.get(number) if isinstance(number, int) else None
        if call is None:
            return "answered what no client has asked" if number is not None else "sent a client what is no answer"
        if call.client != line.dest:
            return f"answered {line.dest}, and {call.client} had asked"
        content = _content(line.body)
        if call.answer is not None:
            self.again[node] += 1
            if content == call.answer or self._may_repeat():
                return None
            return f"answered twice, and differently the first time ({call.answer})"
        call.answer = content
        if call.outcome is not None:
            self.late[node] += 1
            return None
        if line.type == "error":
            call.outcome = answer_to_error(self._workload, call.call, line.body, node)
            return None
        try:
            if line.type != (wanted := f"{call.body['type']}_ok"):
                raise BadAnswer(f"its type is {line.type}, where {wanted} is wanted")
            call.outcome = Ok(answer_of(self._workload, call.call, line.body), node)
        except BadAnswer as error:
            call.outcome = NotKnown(f"the answer cannot be read: {error}")
            return f"gave an answer to {call.body['type']} that cannot be read ({error})"
        return None


def answer_to_error(workload: str, call: PlannedCall, body: Body, node: NodeId) -> Outcome:
    """Return the outcome of a call whose reply is an error. That a key does not exist is what a read of it has read."""

    if workload == "lin-kv" and call.f == "read" and body.get("code") == KEY_DOES_NOT_EXIST:
        return Ok(None, node)
    return outcome_of_error(body)


def _content(body: Body) -> dict[str, Any]:
    return {name: item for name, item in body.items() if name != "msg_id"}
