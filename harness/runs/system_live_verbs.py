"""The requests of the live page about a session on nodes that are not ours: what they are, and calls of the system's clients.

A call is made in two requests, so that no other request of the command line waits for an answer: `call` begins it and returns its
number, and `outcome` tells how it has ended, if it has.
"""

from collections.abc import Callable
from typing import Any, Final

from cluster.clients.outcomes import NotDone, Ok
from cluster.errors import Mistake
from harness.records.jsonable import shown
from harness.runs.held_system import HeldSystem
from harness.runs.live_verbs import LiveVerbs
from harness.runs.session import HandSession
from harness.runs.session_call import parse_value
from harness.runs.system_run import RecordedSystemCall
from harness.systems.registry import strikes
from node.contract import BadInput, NodeId

#: The operations on keys, which a person can ask for one by one, with whether they carry a value.
_KEY_FUNCTIONS: Final = {"put": True, "write": True, "get": False, "read": False, "delete": False, "cas": True}
#: How long a call may wait at most, in seconds.
TIMEOUT_S_MAX: Final = 60.0
#: How many calls may wait at once.
_CALLS_MAX: Final = 64


class SystemLiveVerbs(LiveVerbs):
    """What the live page asks of `held`, as acts of `session`."""

    def __init__(self, held: HeldSystem, session: HandSession) -> None:
        super().__init__(held.run, session)
        self._held = held
        self._calls: dict[int, RecordedSystemCall] = {}
        self._count = 0

    def verbs(self) -> dict[str, Callable[..., Any]]:
        return {**super().verbs(), "about": self.about, "call": self.call, "outcome": self.outcome}

    def about(self) -> dict[str, Any]:
        """Return what a page is told of the system: its name, nodes, faults, and what clients can be asked for."""
        held = self._held
        return {
            "name": held.described.name,
            "nodes": list(held.nodes),
            "faults": [entry.name for entry in strikes(held.described)],
            "functions": self._functions(),
            "workload": held.workload.name,
            "asks": held.asks,
            "streams": held.run.network.carries_streams,
            "answers_within_s": held.described.answers_within_s,
        }

    def _functions(self) -> list[str]:
        workload = self._held.workload
        return [] if workload.model is None else [f for f in _KEY_FUNCTIONS if f in workload.functions]

    def call(self, f: str, key: str, value: str, at: NodeId | None, timeout_s: float) -> int:
        """Begin a call. Returns its number, for `outcome`.

        Args:
            f: the operation.
            key: its key.
            value: what it carries, as people write it: JSON, or a bare word; a text for a system whose values are texts.
            at: the node to ask; None for any.
            timeout_s: how long to wait for the answer, in seconds.

        Raises:
            BadInput: the system's clients have no such operation, or it cannot carry this.
            NoSuchNode: no node has that name.
        """
        if f not in self._functions():
            raise BadInput(
                f"clients of the workload {self._held.workload.name} cannot be asked for {f!r} by hand"
                + (f": they call {', '.join(self._functions())}" if self._functions() else "")
            )
        if not key:
            raise BadInput("the key is empty")
        if not 0 < timeout_s <= TIMEOUT_S_MAX:
            raise BadInput(f"the timeout is {timeout_s} seconds: give a number above 0, up to {TIMEOUT_S_MAX:.0f}")
        if sum(call.outcome is None for call in self._calls.values()) >= _CALLS_MAX:
            raise Mistake(f"{_CALLS_MAX} calls wait already: wait for one of them")
        if len(self._calls) >= 2 * _CALLS_MAX:  # pages have gone without asking how theirs ended
            self._calls = {number: call for number, call in self._calls.items() if call.outcome is None}
        under_way = self._held.begin(f, key, self._value(f, value), at=at, timeout_s=timeout_s)
        self._count += 1
        self._calls[self._count] = under_way
        return self._count

    def _value(self, f: str, text: str) -> Any:
        if not _KEY_FUNCTIONS[f]:
            return None
        value = parse_value(text)
        if f != "cas":
            return text if self._held.described.values_are_texts else value
        if not isinstance(value, list) or len(value) != 2:
            raise BadInput('the value of a cas is a list of the old and the new one, such as ["blue", "red"]')
        return value

    def outcome(self, number: int) -> dict[str, Any] | None:
        """Return how a call has ended: `ok` (None: that is unknown) and `text`; nothing while it waits. It is asked for once."""
        call = self._calls.get(number)
        if call is None:
            raise Mistake(f"there is no call {number}")
        if call.outcome is None:
            return None
        del self._calls[number]
        match call.outcome:
            case Ok(value, node):
                return {"ok": True, "text": f"{node or call.event.node} answers: {shown(value, 200)}"}
            case NotDone(_, reason):
                return {"ok": False, "text": reason}
            case unknown:
                return {"ok": None, "text": unknown.reason}
