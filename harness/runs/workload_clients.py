"""The clients of a workload in a run: each has a call open, or pauses."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, cast

from cluster.clients.outcomes import Ok
from harness.records.jsonable import canonical
from harness.runs.nemesis import BITE_S
from harness.runs.passers_by import PassersBy
from harness.runs.run_of_plan import Run, begin
from harness.workloads.planned_call import PlannedCall
from harness.workloads.workload import Callers, CallUnderWay, Workload

#: How long the loop rests between two polls, in seconds. An answer may be stamped late by as much.
REST_S: Final = 0.002
#: How long to wait for calls that are open, in seconds: several times as long as any call may take.
_ENDS_S: Final = 20.0
#: The calls whose answers never change once there is a value. Those of keys do.
_SET_ONCE: Final = ("propose", "query")


def settle(run: Run, calls: Iterable[CallUnderWay]) -> None:
    """Wait for the outcomes of calls. Each call has one at its deadline at the latest: one that never ends stays open."""
    until_s = time.monotonic() + _ENDS_S
    for call in calls:
        while call.outcome is None and time.monotonic() < until_s:
            run.poll()
            run.machine.rest(REST_S)


class WorkloadClients:
    """The workload's clients. Each has a call open, or pauses."""

    def __init__(
        self,
        run: Run,
        clients: Workload,
        nemesis_is_busy: Callable[[], bool],
        stop_early: bool,
        passers_by: PassersBy | None = None,
    ) -> None:
        self._run, self._clients, self._passers_by = run, clients, passers_by
        self._nemesis_is_busy, self._stop_early = nemesis_is_busy, stop_early
        self._started = time.monotonic()
        self._open: dict[int, tuple[PlannedCall, CallUnderWay]] = {}
        self._rests_until = {client: clients.pause_s(client) for client in range(clients.clients)}
        self._values: dict[str, str] = {}

    def work(self) -> None:
        """Make calls until the time is over, or up to `BITE_S` longer while a step has yet to bite; wait for open calls."""
        time_s = self._clients.time_s
        while (now_s := time.monotonic() - self._started) < time_s + BITE_S and (
            now_s < time_s or self._nemesis_is_busy()
        ):
            if self.step() and self._stop_early:
                return
            self._run.machine.rest(REST_S)
        self.settle()

    def step(self) -> bool:
        """Begin the calls whose time has come, and take in answers. Returns whether one contradicts another. Does not wait."""
        now_s = time.monotonic() - self._started
        self._begin(now_s)
        if self._passers_by is not None:
            self._passers_by.come_by(now_s)
        self._run.poll()
        return self._end(now_s)

    def settle(self) -> None:
        """Wait for the outcomes of the calls that are open."""
        settle(self._run, [call for _, call in self._open.values()])

    def _begin(self, now_s: float) -> None:
        for client, until_s in list(self._rests_until.items()):
            if until_s <= now_s:
                ask = self._clients.next_call(client, now_s)
                if ask.node is not None and ask.node not in self._run.nodes:  # it has left
                    ask = replace(ask, node=None)
                self._open[client] = (ask, begin(self._run, self._clients, client, ask))
                del self._rests_until[client]

    def _end(self, now_s: float) -> bool:
        """Take in answers. Returns whether one contradicts another."""
        contradicted = False
        for client, (ask, call) in list(self._open.items()):
            if call.outcome is None:
                continue
            del self._open[client]
            self._clients.ended(cast(Callers, self._run), client, ask, call.outcome)
            self._rests_until[client] = now_s + self._clients.pause_s(client)
            match call.outcome:
                case Ok(value) if value is not None and ask.f in _SET_ONCE:
                    text = canonical(value)
                    contradicted |= self._values.setdefault(ask.key, text) != text
        return contradicted
