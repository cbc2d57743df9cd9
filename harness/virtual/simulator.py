"""Many seeds, and the first that fails made short: what `consensus simulate` runs.

    report = run_simulate("paxos", range(10_000), workers=2)
    print("\\n".join(report.lines()))
    raise SystemExit(report.exit_code)

A failing seed is shrunk in two steps, by delta debugging. First its weather: faults and calls are left out, and the links
made better, as long as the run still breaks the same promise. Then, for what can be broken by a step, the steps themselves:
what is left is a schedule of which no single step can be spared.
"""

import gc
import json
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any, Final, TypeVar

from harness.checkers.verdict import Verdict, invalid, unknown, valid
from harness.runs.workers import pool_of
from harness.virtual.cluster import VirtualCluster, run
from harness.virtual.fault_model import SOUND, FaultModel
from harness.virtual.fault_schedule import VALUES_MAX, FaultSchedule, LinkConditions, forecast
from harness.virtual.judge import EVERYTHING, SAFETY, Violation
from harness.virtual.log_fault_schedule import LogFaultSchedule, log_forecast
from harness.virtual.log_simulation import LogSimulation
from harness.virtual.simulation import SimulatedRun, Simulation
from harness.virtual.steps import HearSelf, Step, plain, to_json
from node.algorithms import load_algorithm
from node.contract import Algorithm
from node.status import status_fields

_Item = TypeVar("_Item")

_CHUNK: Final = 200
_COLLECT_RUNS: Final = 50
_STORY_LINES_MAX: Final = 40
_WANTED: Final = ("a decision", "a crash", "a cut", "a loss", "a repetition", "a pause")
_WANTED_OF_LOGS: Final = (
    *_WANTED,
    *("a snapshot", "a change of members", "a change of leader", "a retry", "a restart of a client", "a hand-over"),
)


@dataclass(frozen=True, slots=True)
class SimulationSettings:
    """What all runs of a campaign share."""

    nodes: int = 3
    values: int = VALUES_MAX
    """At most so many different values are proposed in a run."""
    oddities: FaultModel = SOUND
    look_for: tuple[str, ...] = EVERYTHING
    """The kinds of violation that count; others are passed over."""

    def simulate(self, algorithm: type[Algorithm], seed: int) -> SimulatedRun:
        """The run of a seed."""
        if algorithm.keeps_log:
            return self.simulate_in(algorithm, log_forecast(seed, self.nodes))
        return self.simulate_in(algorithm, forecast(seed, self.nodes, self.values))

    def simulate_in(self, algorithm: type[Algorithm], weather: FaultSchedule) -> SimulatedRun:
        """The run of a weather."""
        return simulate(algorithm, weather, self.oddities, self.look_for)


def simulate(
    algorithm: type[Algorithm],
    weather: FaultSchedule,
    oddities: FaultModel = SOUND,
    look_for: tuple[str, ...] = EVERYTHING,
) -> SimulatedRun:
    """One run. Only violations of the kinds in `look_for` end it and are told."""
    if isinstance(weather, LogFaultSchedule):
        return LogSimulation(algorithm, weather, oddities, look_for).run()
    return Simulation(algorithm, weather, oddities, look_for).run()


DEFAULT_SETTINGS: Final = SimulationSettings()


@dataclass(slots=True)
class ShrunkSeed:
    """A failing run, as short as it could be made."""

    weather: FaultSchedule
    violations: list[Violation]
    schedule: list[Step]
    story: list[str]
    ends: dict[str, object]
    """The status of each node at the end."""


@dataclass(slots=True)
class SeedTally:
    """What came of some seeds."""

    runs: int = 0
    steps: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)

    def add(self, other: "SeedTally") -> None:
        """Count `other` in."""
        self.runs += other.runs
        self.steps += other.steps
        self.seen += other.seen
        self.failures |= other.failures


@dataclass(slots=True)
class SimulationReport:
    """What simulating an algorithm has shown."""

    algorithm: str
    settings: SimulationSettings
    seconds: float
    asked: int
    tally: SeedTally
    shrunk: ShrunkSeed | None
    wanted: tuple[str, ...] = _WANTED
    """What must have happened in some seed, or nothing was shown."""

    @property
    def verdict(self) -> Verdict:
        """Valid only of all the seeds that were asked for, and if every kind of fault has happened among them."""
        tally = self.tally
        if tally.failures:
            return invalid(*(f"seed {seed}: {text}" for seed, text in sorted(tally.failures.items())))
        if tally.runs < self.asked:
            return unknown(f"cut short after {tally.runs:,} of {self.asked:,} seeds")
        if never := [what for what in self.wanted if not tally.seen[what]]:
            return unknown(f"there never was {never[0]} in {tally.runs:,} seeds")
        return valid(f"{tally.runs:,} seeds, none of which broke a promise")

    @property
    def exit_code(self) -> int:
        """0, 1 or 2."""
        return self.verdict.exit_code

    def lines(self) -> list[str]:
        """The report, for people."""
        tally = self.tally
        rate = tally.runs / max(self.seconds, 1e-9)
        told = [
            f"simulate {self.algorithm} on {self.settings.nodes} nodes",
            f"{tally.runs:,} seeds, {tally.steps:,} steps in {self.seconds:.1f} s ({rate:,.0f} schedules a second)",
            "  seeds that saw " + ", ".join(f"{what}: {tally.seen[what]:,}" for what in sorted(tally.seen)),
        ]
        if self.shrunk is None:
            return [*told, f"{self.verdict.status}: {self.verdict.evidence}"]
        more = f" and {len(tally.failures) - 1:,} more" if len(tally.failures) > 1 else ""
        told.append(f"VIOLATED by seed {self.shrunk.weather.seed}{more}. Shrunk, it does this:")
        story = self.shrunk.story
        told.extend(f"  {number}. {line}" for number, line in enumerate(story[:_STORY_LINES_MAX], 1))
        if len(story) > _STORY_LINES_MAX:
            told.append(f"  ... and {len(story) - _STORY_LINES_MAX:,} more")
        told.extend(f"  => {violation}" for violation in self.shrunk.violations)
        if any(violation.kind not in SAFETY for violation in self.shrunk.violations):
            told.extend(f"  {name}: {status}" for name, status in self.shrunk.ends.items())
        return told

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        shrunk = self.shrunk
        return {
            "algorithm": self.algorithm,
            "verdict": self.verdict.to_json(),
            "settings": asdict(self.settings),
            "seconds": round(self.seconds, 3),
            "asked": self.asked,
            "runs": self.tally.runs,
            "steps": self.tally.steps,
            "seen": dict(self.tally.seen),
            "failures": {str(seed): text for seed, text in self.tally.failures.items()},
            "shrunk": shrunk
            and {
                "weather": asdict(shrunk.weather),
                "violations": [asdict(violation) for violation in shrunk.violations],
                "schedule": [to_json(step) for step in shrunk.schedule],
                "story": shrunk.story,
                "ends": shrunk.ends,
            },
        }

    def dumps(self) -> str:
        """The report as JSON text."""
        return json.dumps(self.to_json(), indent=2)


def run_simulate(
    algorithm: str | type[Algorithm],
    seeds: Sequence[int] = range(1000),
    settings: SimulationSettings = DEFAULT_SETTINGS,
    *,
    seconds: float | None = None,
    workers: int = 1,
    failures_max: int = 1,
    progress: Callable[[SeedTally], object] = lambda _tally: None,
) -> SimulationReport:
    """Simulate each seed until `failures_max` have failed or `seconds` are over, and shrink the first that failed.

    Ctrl-C ends it as the end of `seconds` does. `progress` is told now and then what has come of it so far. With several
    `workers`, processes are spawned: call it from a module that can be imported again.

    Raises:
        UnknownAlgorithm: there is none of that name.
    """
    cls = load_algorithm(algorithm) if isinstance(algorithm, str) else algorithm
    began = time.perf_counter()
    tally = SeedTally()
    with suppress(KeyboardInterrupt), closing(_parts(cls, seeds, settings, workers, failures_max)) as parts:
        for part in parts:
            tally.add(part)
            progress(tally)
            if len(tally.failures) >= failures_max or (seconds is not None and time.perf_counter() - began > seconds):
                break
    took = time.perf_counter() - began
    first = shrunken(cls, settings, min(tally.failures)) if tally.failures else None
    name = algorithm if isinstance(algorithm, str) else cls.__name__
    wanted = _WANTED_OF_LOGS if cls.keeps_log else _WANTED
    return SimulationReport(name, settings, took, len(seeds), tally, first, wanted)


def _parts(
    cls: type[Algorithm], seeds: Sequence[int], settings: SimulationSettings, workers: int, failures_max: int
) -> Generator[SeedTally, None, None]:
    chunks = iter([seeds[start : start + _CHUNK] for start in range(0, len(seeds), _CHUNK)])
    if workers <= 1:
        for chunk in chunks:
            yield some(cls, chunk, settings, failures_max)
        return
    with pool_of(workers) as pool:
        jobs = [pool.submit(some, cls, chunk, settings, failures_max) for chunk in islice(chunks, 2 * workers)]
        while jobs:
            yield jobs.pop(0).result()
            jobs += [pool.submit(some, cls, chunk, settings, failures_max) for chunk in islice(chunks, 1)]


def some(
    algorithm: type[Algorithm], seeds: Iterable[int], settings: SimulationSettings, failures_max: int
) -> SeedTally:
    """Simulate these seeds, one after the other."""
    tally = SeedTally()
    with _collected_rarely() as collect:
        for seed in seeds:
            done = settings.simulate(algorithm, seed)
            tally.runs += 1
            tally.steps += len(done.steps)
            tally.seen.update(done.seen.keys())
            if done.violations:
                tally.failures[seed] = str(done.violations[0])
                if len(tally.failures) >= failures_max:
                    break
            if tally.runs % _COLLECT_RUNS == 0:
                collect()
    return tally


@contextmanager
def _collected_rarely() -> Iterator[Callable[[], object]]:
    """Looking for garbage as often as it is made takes an eighth of a run: it is done between runs, when the caller says."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield gc.collect
    finally:
        if was_enabled:
            gc.enable()


def shrunken(algorithm: type[Algorithm], settings: SimulationSettings, seed: int) -> ShrunkSeed:
    """The run of a failing seed, made short."""
    first = settings.simulate(algorithm, seed)
    if not first.violations:
        odd = Violation(
            "contract", f"seed {seed} has failed, and does not fail again: the algorithm is not deterministic"
        )
        return ShrunkSeed(first.weather, [odd], [], [], {})
    kind = first.violations[0].kind

    def breaks(weather: FaultSchedule) -> bool:
        return any(violation.kind == kind for violation in settings.simulate_in(algorithm, weather).violations)

    weather = _calmer(first.weather, breaks)
    done = settings.simulate_in(algorithm, weather)
    cluster, steps = done.cluster, done.steps
    if kind in SAFETY:
        cluster, steps = _fewest_steps(algorithm, weather, settings.oddities, steps, kind)
    ends: dict[str, object] = {
        name: {key: plain(item) for key, item in status_fields(node.instance).items()} if node.instance else None
        for name, node in cluster.nodes.items()
    }
    violations = [violation for violation in cluster.violations if violation.kind in settings.look_for]
    return ShrunkSeed(weather, violations, steps, cluster.story, ends)


def _calmer(weather: FaultSchedule, breaks: Callable[[FaultSchedule], bool]) -> FaultSchedule:
    """The weather with fewer faults and calls, and better links."""
    calm = LinkConditions(usual_s=tuple(0.001 for _ in weather.links.usual_s))
    links = weather.links
    for better in (
        calm,
        replace(links, loss=0.0),
        replace(links, repeat=0.0),
        replace(links, slow=0.0),
        replace(links, picky=()),
    ):
        if breaks(candidate := replace(weather, links=better)):
            weather = candidate
            break
    if breaks(candidate := replace(weather, clocks=tuple(1.0 for _ in weather.clocks))):
        weather = candidate
    faults = _fewest(weather.faults, lambda kept: breaks(replace(weather, faults=tuple(kept))))
    fewer = replace(weather, faults=tuple(faults))
    calls = _fewest(fewer.calls, lambda kept: breaks(replace(fewer, calls=tuple(kept))))
    return replace(fewer, calls=tuple(calls))


def _fewest_steps(
    algorithm: type[Algorithm], weather: FaultSchedule, oddities: FaultModel, steps: list[Step], kind: str
) -> tuple[VirtualCluster, list[Step]]:
    """The steps of which none can be spared, and a cluster to which they have happened."""

    def replayed(candidate: Sequence[Step], *, at_once: bool) -> VirtualCluster:
        cluster = VirtualCluster(algorithm, weather.members, oddities, weather.newcomers, weather.log_limits)
        for step in candidate:
            if run(cluster, [step], skip_impossible=True) and at_once:
                run(cluster, cluster.own_turns())
        return cluster

    def breaks(cluster: VirtualCluster) -> bool:
        return any(violation.kind == kind for violation in cluster.violations)

    # It reads better if a node hears itself at once, as the explorer has it; where it needs delay, delay it is.
    others: list[Step] = [step for step in steps if not isinstance(step, HearSelf)]
    at_once = breaks(replayed(others, at_once=True))
    kept = _fewest(others if at_once else steps, lambda candidate: breaks(replayed(candidate, at_once=at_once)))
    cluster = replayed(kept, at_once=at_once)
    return cluster, [happened.step for happened in cluster.happened]


def _fewest(items: Sequence[_Item], breaks: Callable[[list[_Item]], bool]) -> list[_Item]:
    """Those items of which no single one can be spared."""
    from harness.runs.shrink import minimise  # noqa: PLC0415 - brings in all that runs real clusters, for failures alone

    if breaks([]):
        return []
    return minimise(items, lambda candidates: next((at for at, kept in enumerate(candidates) if breaks(kept)), None))
