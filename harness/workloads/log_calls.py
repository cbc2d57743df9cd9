"""Many clients of a replicated log in one loop, and the record of what each of them was told.

Rules
-----
1. A client has a session of its own, and may have several calls under way; those that begin together leave in one frame.
2. In a history a process has one call open at a time, so each call is a process's; one whose outcome is unknown is the last
   of its process, since it may still take effect.
3. The invoke is recorded before the command can leave, the completion once the answer is here.
4. A client that restarts has forgotten what it had under way, and goes on in its session.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cluster.clients.connections import shared_poller
from cluster.clients.log_call import LogCall
from cluster.clients.log_client import LogClient
from cluster.clients.operation import Operation
from cluster.clients.outcomes import NotDone, NotKnown, Ok, Outcome
from cluster.errors import CommandRefused
from harness.records.history import Event
from harness.records.history_recorder import HistoryRecorder
from node.contract import NodeId


@dataclass(eq=False)
class RecordedLogCall:
    """A call under way. `outcome` is None until `LogCalls.poll` has found one; the value of an `Ok` is decoded."""

    client: int
    event: Event
    call: LogCall
    decode: Callable[[Any], Any]
    told: Callable[[Any], object]
    outcome: Outcome | None = None


class LogCalls:
    """The clients of one run."""

    def __init__(self, cluster: str, addresses: Callable[[], Mapping[NodeId, str]], recorder: HistoryRecorder) -> None:
        self._cluster, self._addresses, self._recorder = cluster, addresses, recorder
        self._poller = shared_poller()
        self._clients: dict[int, LogClient] = {}
        self._open: dict[RecordedLogCall, None] = {}
        self._idle: dict[int, list[str]] = {}
        self._processes = 0
        self.sent_again = 0
        """How many frames were sent more than once, by clients that have restarted since."""

    def begin(
        self,
        client: int,
        f: str,
        key: str,
        value: object,
        operation: Operation[Any],
        timeout_s: float,
        told: Callable[[Any], object] = lambda value: value,
    ) -> RecordedLogCall:
        """Begin a call of client number `client`, made if it is new. `told` makes of the answer what the history says."""
        idle = self._idle.setdefault(client, [])
        if not idle:
            self._processes += 1
            idle.append(f"c{client}.{self._processes}")
        event = self._recorder.invoke(idle.pop(), f, key, value, timeout_s=timeout_s)
        call = self._client(client).begin(
            operation.machine,
            operation.command,
            read=operation.read,
            timeout_s=timeout_s,
            wait_ms=operation.wait_ms,
        )
        begun = RecordedLogCall(client, event, call, operation.decode, told)
        self._open[begun] = None
        return begun

    def poll(self) -> None:
        """Send what is to be sent and take in what has arrived. Does not wait."""
        now = time.monotonic()
        for client in self._clients.values():
            client.send(now)
        for source in self._poller.poll(0):
            for client in self._clients.values():
                if client.owns(source):
                    client.receive(source)
        for call in [call for call in self._open if call.call.outcome is not None]:
            self._end(call)

    def restart(self, client: int, *, new_session: bool = False) -> None:
        """Have a client forget all but the number of its session, or that too. What it had under way is unknown."""
        old = self._clients.pop(client, None)
        if old is None:
            return
        for call in [call for call in self._open if call.client == client]:
            call.call.outcome = call.call.outcome or NotKnown("its client has restarted")
            self._end(call)
        self.sent_again += old.pipeline.sent_again
        old.close()
        resume = None if new_session else old.pipeline.session
        self._clients[client] = LogClient(
            self._cluster, self._addresses, f"client{client}", self._poller, resume=resume
        )

    def close(self) -> None:
        """Close every client. What is under way stays unknown."""
        for call in list(self._open):
            self._recorder.info(call.event, "the run ended first")
        self._open.clear()
        for client in self._clients.values():
            self.sent_again += client.pipeline.sent_again
            client.close()
        self._clients.clear()

    def _client(self, number: int) -> LogClient:
        client = self._clients.get(number)
        if client is None:
            client = LogClient(self._cluster, self._addresses, f"client{number}", self._poller)
            self._clients[number] = client
        return client

    def _end(self, call: RecordedLogCall) -> None:
        del self._open[call]
        outcome = call.call.outcome
        assert outcome is not None
        if isinstance(outcome, Ok):
            try:
                outcome = Ok(call.decode(outcome.value))
            except CommandRefused as error:  # an answer that amounts to a refusal
                outcome = NotDone(error.kind, str(error))
        match outcome:
            case Ok(value):
                self._recorder.ok(call.event, call.told(value))
            case NotDone(kind, reason):
                self._recorder.fail(call.event, f"{kind}: {reason}")
            case NotKnown(reason):
                self._recorder.info(call.event, reason)
        if not isinstance(outcome, NotKnown):  # else its process is not used again
            self._idle.setdefault(call.client, []).append(call.event.process)
        call.outcome = outcome
