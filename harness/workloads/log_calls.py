"""Many clients of a replicated log in one loop, with a history of their calls.

Rules
-----
1. A client has a session of its own. It may have several calls under way; calls that begin together leave in one frame.
2. In a history, a process has one call open at a time. So each call belongs to a process that has no other call open. A
   call with an unknown outcome is the last call of its process, because it may still take effect.
3. The invocation is recorded before the command can leave, and the completion after the answer has arrived.
4. A client that restarts has forgotten its calls under way, and continues its session.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any, Final

from cluster.clients.connections import shared_poller
from cluster.clients.log_call import LogCall
from cluster.clients.log_client import LogClient
from cluster.clients.operation import Operation, Steps
from cluster.clients.outcomes import NotDone, NotKnown, Ok, Outcome
from cluster.errors import CommandRefused, Unknown
from harness.records.history import Event
from harness.records.history_recorder import HistoryRecorder
from harness.workloads.repeating import RepeatingClient
from node.contract import NodeId
from node.tuning import SHIPPED, Tuning

#: How often a client that stays at a node which does not lead asks it again, in milliseconds.
_ASKS_AGAIN_MS: Final = 40


@dataclass(eq=False)
class RecordedLogCall:
    """A call of a client, with its event in the history.

    `decode` decodes the answer, and `to_history` returns what the history records of it. If the call takes several operations,
    `steps` yields the next one; the time of all of them is up at `deadline`. `outcome` is None until `LogCalls.poll` has found
    it; the value of an `Ok` is decoded.
    """

    client: int
    event: Event
    call: LogCall
    decode: Callable[[Any], Any]
    to_history: Callable[[Any], object]
    steps: Steps[Any] | None
    deadline: float
    outcome: Outcome | None = None


class LogCalls:
    """The clients of a replicated log in one run."""

    def __init__(
        self,
        cluster: str,
        addresses: Callable[[], Mapping[NodeId, str]],
        recorder: HistoryRecorder,
        tuning: Tuning = SHIPPED,
    ) -> None:
        """Prepare for clients, which are made at their first call.

        Args:
            cluster: the cluster's id.
            addresses: returns the present address of each node.
            recorder: records the history.
            tuning: the settings of the cluster.
        """
        self._cluster, self._addresses, self._recorder, self._tuning = cluster, addresses, recorder, tuning
        self._poller = shared_poller()
        self._clients: dict[int, LogClient] = {}
        #: When each client has to send next, unless it begins a call or receives something before.
        self._due: dict[int, float] = {}
        #: The earliest of these. Most polls come before it, and find nothing to do.
        self._next_due = 0.0
        self._open: dict[RecordedLogCall, None] = {}
        self._idle: dict[int, list[str]] = {}
        self._repeats: dict[int, Random] = {}
        self._stays_at: dict[int, NodeId] = {}
        self._processes = 0
        self.sent_again = 0
        """How many frames were sent more than once, by clients that have restarted or are closed."""

    def begin(
        self,
        client: int,
        f: str,
        key: str,
        value: object,
        operation: Operation[Any] | Steps[Any],
        timeout_s: float,
        to_history: Callable[[Any], object] = lambda value: value,
        repeats: Random | None = None,
        stays_at: NodeId | None = None,
    ) -> RecordedLogCall:
        """Begin a call of a client.

        Args:
            client: the number of the client. The client is made if it is new.
            f: the operation, as the history names it.
            key: the key, as the history names it.
            value: the value that the history records with the invocation.
            operation: what to do, or the steps of it.
            timeout_s: how long the client waits for an outcome, in seconds.
            to_history: returns what the history records of the decoded answer.
            repeats: if the client is new: it is a `RepeatingClient` with this generator.
            stays_at: if the client is new: it only reads, and asks this node, unless it has left. No answer is owed there.
        """
        idle = self._idle.setdefault(client, [])
        if not idle:
            self._processes += 1
            idle.append(f"c{client}.{self._processes}")
        if stays_at is not None:
            self._stays_at[client] = stays_at
        elif repeats is not None:
            self._repeats[client] = repeats
        owed_s = None if client in self._repeats or client in self._stays_at else timeout_s
        event = self._recorder.invoke(idle.pop(), f, key, value, timeout_s=owed_s)
        steps = None if isinstance(operation, Operation) else operation
        first = operation if isinstance(operation, Operation) else next(operation)
        deadline = time.monotonic() + timeout_s
        call = self._begin(client, first, timeout_s)
        recorded = RecordedLogCall(client, event, call, first.decode, to_history, steps, deadline)
        self._open[recorded] = None
        return recorded

    def _begin(self, client: int, operation: Operation[Any], timeout_s: float) -> LogCall:
        self._is_due(client)
        return self._client(client).begin(
            operation.machine,
            operation.command,
            read=operation.read,
            timeout_s=timeout_s,
            wait_ms=operation.wait_ms,
        )

    def poll(self) -> None:
        """Send the frames that are due, receive the answers that have arrived, and record their outcomes. Does not wait."""
        now = time.monotonic()
        sends = now >= self._next_due
        if sends:
            for number, client in self._clients.items():
                if self._due.get(number, now) <= now:
                    client.send(now)
                    self._due[number] = client.due()
            self._next_due = min(self._due.values(), default=math.inf)
        ready = self._poller.poll(0)
        for source in ready:
            for number, client in self._clients.items():
                if client.owns(source):
                    client.receive(source)
                    self._is_due(number)
        if sends or ready:
            for call in [call for call in self._open if call.call.outcome is not None]:
                self._end(call)

    def _is_due(self, client: int) -> None:
        """Have the next poll send what a client has to send."""
        self._due.pop(client, None)
        self._next_due = 0.0

    def restart(self, client: int, *, new_session: bool = False) -> None:
        """Restart a client: it forgets everything except the number of its session. Its calls under way become unknown.

        Args:
            client: the number of the client. Without such a client nothing happens.
            new_session: forget the session, too, and open a new one.
        """
        old = self._clients.pop(client, None)
        if old is None:
            return
        for call in [call for call in self._open if call.client == client]:
            call.call.outcome = call.call.outcome or NotKnown("the client has restarted")
            self._end(call)
        self.sent_again += old.pipeline.sent_again
        old.close()
        resume = None if new_session else old.pipeline.session
        self._is_due(client)
        self._clients[client] = self._made(client, resume)

    def close(self) -> None:
        """Close all clients. Calls under way become unknown."""
        for call in list(self._open):
            self._recorder.info(call.event, "the run ended before an answer came")
        self._open.clear()
        for client in self._clients.values():
            self.sent_again += client.pipeline.sent_again
            client.close()
        self._clients.clear()

    def _client(self, number: int) -> LogClient:
        client = self._clients.get(number)
        if client is None:
            client = self._clients[number] = self._made(number)
        return client

    def _made(self, number: int, resume: int | None = None) -> LogClient:
        rng, node = self._repeats.get(number), self._stays_at.get(number)
        kind = LogClient if rng is None else partial(RepeatingClient, rng)
        addresses, tuning = self._addresses, self._tuning
        if node is not None:
            addresses, tuning = partial(self._address_of, node), replace(tuning, client_no_leader_ms=_ASKS_AGAIN_MS)
        return kind(self._cluster, addresses, f"client{number}", self._poller, resume=resume, tuning=tuning)

    def _address_of(self, node: NodeId) -> Mapping[NodeId, str]:
        """Return the address of a node alone, or those of all nodes if it has left."""
        addresses = self._addresses()
        return {node: addresses[node]} if node in addresses else addresses

    def _end(self, call: RecordedLogCall) -> None:
        outcome = self._outcome(call)
        if outcome is None:
            return
        del self._open[call]
        if call.client in self._stays_at and isinstance(outcome, NotKnown):
            outcome = NotDone("refused", outcome.reason)  # a read changes nothing
        match outcome:
            case Ok(value):
                self._recorder.ok(call.event, call.to_history(value))
            case NotDone(kind, reason):
                self._recorder.fail(call.event, f"{kind}: {reason}")
            case NotKnown(reason):
                self._recorder.info(call.event, reason)
        if not isinstance(outcome, NotKnown):  # after an unknown outcome the process makes no more calls
            self._idle.setdefault(call.client, []).append(call.event.process)
        call.outcome = outcome

    def _outcome(self, call: RecordedLogCall) -> Outcome | None:
        """Return the outcome of a call whose present operation has one; None if the next operation of it has begun."""
        outcome = call.call.outcome
        assert outcome is not None
        if isinstance(outcome, Ok):
            try:
                outcome = Ok(call.decode(outcome.value))
            except (
                CommandRefused
            ) as error:  # the answer means that the command was refused, such as a lock that is held
                outcome = NotDone(error.kind, str(error))
        if call.steps is None or isinstance(outcome, NotKnown):
            return outcome
        try:
            if isinstance(outcome, Ok):
                following = call.steps.send(outcome.value)
            else:
                following = call.steps.throw(CommandRefused(outcome.kind, outcome.reason))
        except StopIteration as end:
            return Ok(end.value)
        except CommandRefused as error:
            return NotDone(error.kind, str(error))
        except Unknown as error:
            return NotKnown(str(error))
        left_s = call.deadline - time.monotonic()
        if left_s <= 0:
            return NotKnown("the time of the call was up between two of its operations")
        call.decode, call.call = following.decode, self._begin(call.client, following, left_s)
        return None
