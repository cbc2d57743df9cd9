"""Carries out the steps of a plan while the workload runs.

Theory of operation
-------------------
Every step has a thread of its own, so faults overlap as the plan says. The thread waits for the step's time or message,
injects the fault, waits, and heals it. A fault on links that has not bitten when its time is over, because no message came
that way, stays in force for up to `BITE_S` seconds more: a fault that has not bitten has tested nothing.

`stop` heals every fault that is in force. `outcomes` says what became of each step; a step that did not fire says why.
"""

import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

from cluster.errors import ConsensusError, NoSuchNode, WrongState
from harness.faults.active import ActiveFault, ConditionalFault
from harness.faults.catalogue import find_fault
from harness.faults.roles import Missed
from harness.faults.target import Target
from harness.faults.trigger import MessageTrigger
from harness.network.installed_rule import NotSeen
from harness.network.rules import BadRule
from harness.runs.plan import Plan, PlanStep
from harness.runs.progress import ShowLine
from node.contract import NodeId

#: How much longer a fault on links may last so that it bites, in seconds.
BITE_S: Final = 2.5
_LOOK_S: Final = 0.05


@dataclass
class StepOutcome:
    """What became of a step: when it began and ended, in seconds since the run's start, and what went wrong, if so.

    `missed` says that a step did not fire because what it waits for did not come, or because no node had the role that it names.
    That is no mistake of the plan. `struck` says which node each role stood for.
    """

    step: PlanStep
    began_s: float | None = None
    ended_s: float | None = None
    trouble: str | None = None
    missed: bool = False
    struck: dict[str, NodeId] = field(default_factory=dict)

    @property
    def fired(self) -> bool:
        """Whether the fault was in force."""
        return self.began_s is not None

    def to_json(self) -> dict[str, Any]:
        """Return the outcome's object in `results.json`."""
        return {
            "step": self.step.to_json(),
            "began_s": self.began_s and round(self.began_s, 3),
            "ended_s": self.ended_s and round(self.ended_s, 3),
            "trouble": self.trouble,
            **({"struck": self.struck} if self.struck else {}),
        }


class Nemesis:
    """Carries out one plan on one run. Call `start`, then `stop`."""

    def __init__(self, experiment: Target, plan: Plan, show: ShowLine) -> None:
        self.outcomes = [StepOutcome(step) for step in plan.steps]
        self._experiment, self._plan, self._show = experiment, plan, show
        self._over = experiment.faults.ending
        self._threads = [
            threading.Thread(target=self._perform, args=(outcome,), name=f"step-{number}", daemon=True)
            for number, outcome in enumerate(self.outcomes, 1)
        ]
        self._broke: BaseException | None = None
        self._started_s = 0.0

    def start(self) -> None:
        """Begin the plan now."""
        self._started_s = time.monotonic()
        for thread in self._threads:
            thread.start()

    def is_busy(self) -> bool:
        """Return whether a step has yet to begin or to heal. Clients then go on for a little after the plan's end."""
        return any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Heal every fault that is in force, and return when all are healed.

        Raises what a step's thread raised, if that was a mistake of the harness.
        """
        self._experiment.faults.stop_new_faults()
        for thread in self._threads:
            thread.join()
        if self._broke is not None:
            raise self._broke

    def _now_s(self) -> float:
        return time.monotonic() - self._started_s

    def _wait_until(self, at_s: float) -> bool:
        """Wait until `at_s` seconds after the start. Returns False at once when the run is ending."""
        return not self._over.wait(max(at_s - self._now_s(), 0.0))

    def _perform(self, outcome: StepOutcome) -> None:
        step = outcome.step
        try:
            if not self._wait_until(step.at_s):
                outcome.trouble = "the plan ended before the step could begin"
                return
            active = self._inject(outcome)
            outcome.began_s = self._now_s()
            self._show(f"{outcome.began_s:6.2f} s  {step}{_who(outcome.struck)}")
            self._wait_until(min(outcome.began_s + step.for_s, self._plan.time_s))
            self._let_it_bite(active)
            active.heal()
            outcome.ended_s = self._now_s()
            self._show(f"{outcome.ended_s:6.2f} s  {step.fault} has healed")
        except NotSeen:
            outcome.trouble, outcome.missed = "its message was not seen", True
        except Missed as error:
            outcome.trouble, outcome.missed = str(error), True
        except (WrongState, NoSuchNode, BadRule) as error:
            # A fault that finds its node by a role, or removes one, may take one that another step has been planned for.
            outcome.trouble, outcome.missed = f"{type(error).__name__}: {error}", self._plan.has_roles
        except ConsensusError as error:
            outcome.trouble = f"{type(error).__name__}: {error}"
        except BaseException as error:  # noqa: BLE001 - a mistake of the harness; `stop` raises it
            outcome.trouble, self._broke = f"{type(error).__name__}: {error}", error

    def _inject(self, outcome: StepOutcome) -> ActiveFault:
        step, strike = outcome.step, self._experiment.faults.strike
        fault = find_fault(step.fault).fault
        rng = self._plan.rng(step)
        strike.begin()
        if step.when is None:
            try:
                return fault.inject(self._experiment, rng, **step.arguments)
            finally:
                outcome.struck = strike.roles
        trigger = MessageTrigger(self._experiment, step.when.links(self._plan.nodes), step.when.message, step.when.nth)
        try:
            strike.begin(trigger.wait(max(self._plan.time_s - self._now_s(), 0.0)))
            return fault.inject(self._experiment, rng, **step.arguments)
        finally:
            outcome.struck = strike.roles
            trigger.release()

    def _let_it_bite(self, active: ActiveFault) -> None:
        if isinstance(active, ConditionalFault):
            until_s = self._now_s() + BITE_S
            while self._now_s() < until_s and not self._over.is_set() and not active.has_bitten():
                time.sleep(_LOOK_S)


def _who(struck: dict[str, NodeId]) -> str:
    return f": {', '.join(f'the {role} is {node}' for role, node in struck.items())}" if struck else ""
