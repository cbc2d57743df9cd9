"""Carries out the steps of a plan while the workload runs.

Every step has a thread of its own, so that faults overlap as the plan has it: it waits for its time or its message,
injects, waits, and heals. A fault on links that has not bitten when its time is over, because nothing came that way, is left
in force a little longer: a fault that never fired shows nothing.

`stop` heals whatever is in force. What became of every step is in `outcomes`; a step that did not fire says why.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cluster.errors import ConsensusError
from harness.faults.active import ActiveFault, ConditionalFault
from harness.faults.catalogue import find_fault
from harness.faults.trigger import MessageTrigger
from harness.network.installed_rule import NotSeen
from harness.runs.experiment import Experiment
from harness.runs.plan import Plan, PlanStep

#: How much longer a fault on links may last so that it bites, in seconds, and how often that is looked at.
BITE_S: Final = 2.5
_LOOK_S: Final = 0.05

Tell = Callable[[str], None]


@dataclass
class StepOutcome:
    """What became of a step: seconds since the run's start, and why it did not fire or heal as it should."""

    step: PlanStep
    began_s: float | None = None
    ended_s: float | None = None
    trouble: str | None = None

    @property
    def fired(self) -> bool:
        """Whether it was in force."""
        return self.began_s is not None

    def to_json(self) -> dict[str, Any]:
        """For a run's results."""
        return {
            "step": self.step.to_json(),
            "began_s": self.began_s and round(self.began_s, 3),
            "ended_s": self.ended_s and round(self.ended_s, 3),
            "trouble": self.trouble,
        }


class Nemesis:
    """One plan, on one experiment. `start`, then `stop`."""

    def __init__(self, experiment: Experiment, plan: Plan, tell: Tell) -> None:
        self.outcomes = [StepOutcome(step) for step in plan.steps]
        self._experiment, self._plan, self._tell = experiment, plan, tell
        self._over = experiment.faults.ending
        self._threads = [
            threading.Thread(target=self._perform, args=(outcome,), name=f"step-{number}", daemon=True)
            for number, outcome in enumerate(self.outcomes, 1)
        ]
        self._broke: BaseException | None = None
        self._started_s = 0.0

    def start(self) -> None:
        """Begin now."""
        self._started_s = time.monotonic()
        for thread in self._threads:
            thread.start()

    def is_busy(self) -> bool:
        """Whether a step is yet to begin or to heal. At the plan's end clients go on for a little for its sake."""
        return any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Heal everything that is in force, and return when it is."""
        self._experiment.faults.stop_new_faults()
        for thread in self._threads:
            thread.join()
        if self._broke is not None:
            raise self._broke

    def _now_s(self) -> float:
        return time.monotonic() - self._started_s

    def _wait_until(self, at_s: float) -> bool:
        """Whether the plan still runs then."""
        return not self._over.wait(max(at_s - self._now_s(), 0.0))

    def _perform(self, outcome: StepOutcome) -> None:
        step = outcome.step
        try:
            if not self._wait_until(step.at_s):
                outcome.trouble = "the plan was over before its time came"
                return
            lasting = self._inject(step)
            outcome.began_s = self._now_s()
            self._tell(f"{outcome.began_s:6.2f} s  {step}")
            self._wait_until(min(outcome.began_s + step.for_s, self._plan.time_s))
            self._let_it_bite(lasting)
            lasting.heal()
            outcome.ended_s = self._now_s()
            self._tell(f"{outcome.ended_s:6.2f} s  {step.fault} has healed")
        except NotSeen:
            outcome.trouble = "its message was not seen"
        except ConsensusError as error:
            outcome.trouble = f"{type(error).__name__}: {error}"
        except BaseException as error:  # noqa: BLE001 - ours, and told to whoever stops the run
            outcome.trouble, self._broke = f"{type(error).__name__}: {error}", error

    def _inject(self, step: PlanStep) -> ActiveFault:
        fault = find_fault(step.fault).fault
        rng = self._plan.rng(step)
        if step.when is None:
            return fault.inject(self._experiment, rng, **step.arguments)
        strike = MessageTrigger(self._experiment, step.when.links(self._plan.nodes), step.when.message, step.when.nth)
        try:
            strike.wait(max(self._plan.time_s - self._now_s(), 0.0))
            return fault.inject(self._experiment, rng, **step.arguments)
        finally:
            strike.release()

    def _let_it_bite(self, lasting: ActiveFault) -> None:
        if isinstance(lasting, ConditionalFault):
            until_s = self._now_s() + BITE_S
            while self._now_s() < until_s and not self._over.is_set() and not lasting.has_bitten():
                time.sleep(_LOOK_S)
