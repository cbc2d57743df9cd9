"""The clients of a run: each in a thread of its own, which performs one call after the other.

Rules
-----
1. The outcome of a call appears when `perform` has returned, so the history records it after the answer has come.
2. A client that has not returned `GRACE_S` after the call's time hangs: the call is unknown, and the run has a failure. Its
   thread cannot be ended, so it is left alone.
3. What a client raises is a failure of the run, with the place in its code, and never an outcome but unknown.
"""

import queue
import threading
import time
import traceback
from dataclasses import dataclass
from typing import Final

from cluster.clients.outcomes import NotDone, NotKnown, Ok, Outcome
from harness.checkers.answers_again import CLIENT_FAILED
from harness.systems.commands.client import Addresses, SystemClient
from harness.workloads.planned_call import PlannedCall

#: How much longer than its call's time `perform` may take, in seconds.
GRACE_S: Final = 3.0
#: How many failures of clients are kept: the first ones say enough.
_FAILURES_MAX: Final = 5


@dataclass(eq=False)
class CallInThread:
    """A call that a client's thread performs."""

    client: str
    call: PlannedCall
    deadline: float
    outcome: Outcome | None = None


class _Thread:
    """The thread of one client."""

    def __init__(self, owner: "ClientThreads", name: str) -> None:
        self._owner, self._name = owner, name
        self._calls: queue.SimpleQueue[CallInThread | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def put(self, call: CallInThread | None) -> None:
        """Perform a call; None: end."""
        self._calls.put(call)

    def _run(self) -> None:
        client: SystemClient | None = None
        while (under_way := self._calls.get()) is not None:
            try:
                client = client or self._owner.client_class(self._owner.addresses)
                outcome = client.perform(under_way.call)
            except BaseException as error:  # noqa: BLE001 - rule 3
                self._owner.failed(under_way, _raised(error))
                continue
            if isinstance(outcome, Ok | NotDone | NotKnown):
                under_way.outcome = under_way.outcome or outcome
            else:
                self._owner.failed(
                    under_way, f"returned {outcome!r}, where ok(...), refused(...) or unknown(...) is wanted"
                )
        try:
            if client is not None:
                client.close()
        except BaseException as error:  # noqa: BLE001 - rule 3
            self._owner.failed(None, f"cannot be closed: {_raised(error)}")


class ClientThreads:
    """All clients of a run, from `begin` to `close`. One thread calls the methods."""

    def __init__(self, client_class: type[SystemClient], addresses: Addresses) -> None:
        self.client_class, self.addresses = client_class, addresses
        self.failures: list[str] = []
        self._threads: dict[str, _Thread] = {}
        self._open: list[CallInThread] = []
        self._lock = threading.Lock()

    def begin(self, client: str, call: PlannedCall) -> CallInThread:
        """Begin a call of a client, in its thread."""
        under_way = CallInThread(client, call, time.monotonic() + call.timeout_s + GRACE_S)
        self._open.append(under_way)
        if client not in self._threads:
            self._threads[client] = _Thread(self, client)
        self._threads[client].put(under_way)
        return under_way

    def poll(self) -> None:
        """Give up the calls of clients that hang, and end the threads of clients that are not used again."""
        now = time.monotonic()
        for call in [call for call in self._open if call.outcome is not None or now > call.deadline]:
            self._open.remove(call)
            if call.outcome is None:
                asked = f"{call.call.f} of {call.call.key} at {call.call.node}"
                took = f"{call.call.timeout_s:g} s, and {GRACE_S:g} s more"
                self.failed(
                    call, f"hangs: its perform has not returned from {asked} within {took}. Give each request a timeout"
                )
            if isinstance(call.outcome, NotKnown):  # the run goes on under another name
                self._threads.pop(call.client).put(None)

    def failed(self, call: CallInThread | None, what: str) -> None:
        """Note what a client has done against the rules. Its call is unknown."""
        with self._lock:
            sentence = f"the client {self.client_class.__name__} {what}"
            if sentence not in self.failures and len(self.failures) < _FAILURES_MAX:
                self.failures.append(sentence)
        if call is not None:
            call.outcome = call.outcome or NotKnown(f"{CLIENT_FAILED}{what}")

    def close(self) -> None:
        """End every thread that does not hang."""
        while self._threads:
            self._threads.popitem()[1].put(None)


def _raised(error: BaseException) -> str:
    """Return what a client has raised, with the last place in its code."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"raised {type(error).__name__}: {error}{place}. Catch it, and return refused(...) or unknown(...)"
