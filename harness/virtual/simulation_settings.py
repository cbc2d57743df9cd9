"""The settings that all runs of a campaign of simulations share, and the run of one seed under them."""

from dataclasses import asdict, dataclass
from typing import Any, Final

from harness.virtual.fault_model import SOUND, FaultModel
from harness.virtual.fault_schedule import VALUES_MAX, FaultSchedule, draw_fault_schedule, with_rivals
from harness.virtual.judge import EVERYTHING, with_contract
from harness.virtual.log_fault_schedule import LogFaultSchedule, draw_log_fault_schedule
from harness.virtual.log_simulation import LogSimulation
from harness.virtual.simulation import SimulatedRun, Simulation
from node.contract import Algorithm


@dataclass(frozen=True, slots=True)
class SimulationSettings:
    """The settings that all runs of a campaign share."""

    nodes: int = 3
    values: int = VALUES_MAX
    """How many different values are proposed in a run, at most."""
    rivals: int = 0
    """How many more calls each run of a variable has. A log has none of these."""
    fault_model: FaultModel = SOUND
    look_for: tuple[str, ...] = EVERYTHING
    """The kinds of violation that count; "contract" is always among them. Others are ignored."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "look_for", with_contract(self.look_for))

    def draw(self, algorithm: type[Algorithm], seed: int) -> FaultSchedule:
        """Draw the fault schedule of a seed."""
        if algorithm.keeps_log:
            return draw_log_fault_schedule(seed, self.nodes)
        drawn = draw_fault_schedule(seed, self.nodes, self.values)
        return with_rivals(drawn, self.rivals, self.values) if self.rivals else drawn

    def simulate(self, algorithm: type[Algorithm], seed: int) -> SimulatedRun:
        """Simulate the run whose fault schedule is drawn from a seed."""
        return self.simulate_in(algorithm, self.draw(algorithm, seed))

    def simulate_in(self, algorithm: type[Algorithm], fault_schedule: FaultSchedule) -> SimulatedRun:
        """Simulate a run under a fault schedule."""
        return simulate(algorithm, fault_schedule, self.fault_model, self.look_for)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain data. Reports call the fault model `oddities`."""
        return {"oddities" if key == "fault_model" else key: item for key, item in asdict(self).items()}


DEFAULT_SETTINGS: Final = SimulationSettings()


def simulate(
    algorithm: type[Algorithm],
    fault_schedule: FaultSchedule,
    fault_model: FaultModel = SOUND,
    look_for: tuple[str, ...] = EVERYTHING,
) -> SimulatedRun:
    """Simulate one run. Only violations of the kinds in `look_for` end it and appear in its result."""
    kind = LogSimulation if isinstance(fault_schedule, LogFaultSchedule) else Simulation
    run: Simulation = kind(algorithm, fault_schedule, fault_model, look_for)  # type: ignore[arg-type]  # it fits its kind
    done = run.run()
    vars(
        run
    ).clear()  # a run refers to itself, by its handlers: what it has seen would wait for a collection of garbage
    return done
