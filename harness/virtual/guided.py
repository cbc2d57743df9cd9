"""`consensus simulate --guided`: keeps the fault schedules that met something new, and changes them.

    for number, run in guided_runs(Paxos, DEFAULT_SETTINGS, seed=1):
        if run.violations: ...

Each worker of a campaign has a guide of its own, with its own seed, so a campaign is the same each time that it is made with as
many workers.
"""

from collections.abc import Iterator
from random import Random

from harness.runs.guidance import Guide
from harness.virtual.changed_schedule import changed_schedule
from harness.virtual.fault_schedule import FaultSchedule
from harness.virtual.met_states import MetStates
from harness.virtual.simulation import SimulatedRun
from harness.virtual.simulation_settings import SimulationSettings
from node.contract import Algorithm


def guided_runs(
    algorithm: type[Algorithm], settings: SimulationSettings, seed: int, *, guided: bool = True
) -> Iterator[SimulatedRun]:
    """Yield one run after the other, without end. With `guided` false, each is a draw of its own, as for `run_simulate`.

    Args:
        algorithm: what to run.
        settings: what all runs share.
        seed: the first draw's; each further draw has the next one.
        guided: whether schedules are changed.
    """

    def fresh(number: int) -> FaultSchedule:
        return settings.draw(algorithm, seed + number - 1)

    def change(schedule: FaultSchedule, other: FaultSchedule, rng: Random) -> FaultSchedule:
        return changed_schedule(schedule, other, fresh(rng.randrange(1, 1_000_000)), rng)

    guide = Guide(seed, fresh, change, guided=guided)
    while True:
        chosen, met = guide.next(), MetStates()
        done = settings.simulate_in(algorithm, chosen.given, met)
        met.features.update(("seen", what, times.bit_length()) for what, times in done.seen.items())
        guide.learn(chosen, met.features)
        yield done
