"""The faults of a session by hand, as the steps of a plan that injects the same faults again."""

import contextlib
import time
from dataclasses import dataclass, field
from typing import Any, Final

from harness.faults.active import ActiveFault
from harness.runs.plan import TIME_S_MAX, Plan, PlanStep
from node.contract import NodeId
from node.settings import Settings

_STEP_S_LEAST: Final = 0.05
_PLAN_S_LEAST: Final = 0.5
#: The operations on keys, whose workload is `kv`.
_KEY_FUNCTIONS: Final = frozenset({"put", "get", "delete", "cas"})


@dataclass(eq=False)
class SessionFault:
    """One fault. Times are in seconds since the session's start; `ended_s` is None while the fault lasts.

    `active` is what heals the fault. A fault of a process that was signalled by hand has none: a later signal ends it.
    """

    fault: str
    arguments: dict[str, Any]
    at_s: float
    active: ActiveFault | None = None
    ended_s: float | None = None

    def step(self, now_s: float) -> PlanStep:
        """Return the fault as a step. A fault that still lasts gets a step that ends at `now_s`."""
        ended_s = now_s if self.ended_s is None else self.ended_s
        for_s = round(max(ended_s - self.at_s, _STEP_S_LEAST), 2)
        return PlanStep(self.fault, round(self.at_s, 2), for_s, arguments=dict(self.arguments))


@dataclass
class SessionSteps:
    """Every fault of a session, in the order in which they began."""

    faults: list[SessionFault] = field(default_factory=list)
    _started_s: float = field(default_factory=time.monotonic)

    def now_s(self) -> float:
        """Return the seconds since the session's start."""
        return time.monotonic() - self._started_s

    def add(
        self, fault: str, arguments: dict[str, Any], active: ActiveFault | None = None, at_s: float | None = None
    ) -> None:
        """Add a fault. It began at `at_s`, or now."""
        self.faults.append(SessionFault(fault, arguments, self.now_s() if at_s is None else at_s, active))

    def end_faults_of_process(self, node: NodeId) -> None:
        """Note that a signal has ended the faults of this node's process that earlier signals began."""
        for one in self.faults:
            if one.ended_s is None and one.active is None and one.arguments.get("nodes") == [node]:
                one.ended_s = self.now_s()

    def in_force(self) -> list[dict[str, Any]]:
        """Return the faults that `heal` would end, each with its name and its arguments."""
        return [
            {"fault": one.fault, "arguments": one.arguments}
            for one in self.faults
            if one.active is not None and one.ended_s is None
        ]

    def heal_one(self, number: int) -> None:
        """Heal the fault at this place of `faults`, if it is in force and has something to heal it."""
        one = self.faults[number]
        if one.active is not None and one.ended_s is None:
            self._heal(one, one.active)

    def heal(self) -> None:
        """Heal every fault that is in force and has something to heal it. If one cannot be, the others are all the same."""
        with contextlib.ExitStack() as healing:  # raises at its end what one of them raised
            for one in reversed(self.faults):
                if one.active is not None and one.ended_s is None:
                    healing.callback(self._heal, one, one.active)

    def _heal(self, one: SessionFault, active: ActiveFault) -> None:
        try:
            active.heal()
        finally:
            one.ended_s = self.now_s()

    def heal_at_the_end(self) -> None:
        """Heal what is in force before the cluster ends. A fault that cannot be healed any more stays as it is."""
        for one in self.faults:
            if one.active is not None and one.ended_s is None:
                with contextlib.suppress(Exception):  # its node may be down or gone
                    one.active.heal()

    def plan(self, settings: Settings, functions: set[str]) -> Plan:
        """Return a plan that injects the same faults at the same times.

        Args:
            settings: those of the cluster.
            functions: the operations that clients called. They decide the plan's workload: `kv` if one is on keys, else
                `register`.
        """
        time_s, steps = self.until_now()
        workload = "kv" if functions & _KEY_FUNCTIONS else "register"
        return Plan(settings.algorithm, settings.nodes, settings.seed, workload, time_s, steps)

    def until_now(self) -> tuple[float, tuple[PlanStep, ...]]:
        """Return how long a plan of the session up to now takes, in seconds, and its steps."""
        now_s = min(self.now_s(), TIME_S_MAX)
        steps = tuple(one.step(now_s) for one in list(self.faults) if one.at_s < now_s)
        return round(max(now_s, _PLAN_S_LEAST), 2), steps
