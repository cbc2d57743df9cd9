"""`consensus simulate`: runs many seeds in virtual time, and shrinks the run of the first seed that fails.

    report = run_simulate("paxos", range(10_000), workers=2)
    print("\\n".join(report.lines()))
    raise SystemExit(report.exit_code)

Rules
-----
1. A campaign is valid only if every seed was run, none failed, and each of a list of events happened in some seed. It is invalid
   once a seed has failed, whether or not its run can be shrunk.
2. Several workers give the same results as one.
"""

import gc
import json
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, Final

from harness.checkers.confidence import shown_by
from harness.checkers.verdict import Verdict, invalid, unknown, valid
from harness.runs.workers import pool_of
from harness.virtual.judge import BALLOT, SAFETY
from harness.virtual.shrink_seed import ShrunkSeed, shrink_schedule
from harness.virtual.simulation import SimulatedRun
from harness.virtual.simulation_settings import DEFAULT_SETTINGS, SimulationSettings
from harness.virtual.steps import plain, to_json
from harness.virtual.watchdog import ENDLESS, watching
from node.algorithms import load_algorithm
from node.authors import describe_failure
from node.contract import Algorithm
from node.log_contract import LogAlgorithm
from node.tuning import as_text
from node.wording import count

#: How many seeds a worker runs at a time.
_CHUNK: Final = 20
#: How long a failing run is shrunk at most, in seconds.
SHRINK_S: Final = 30.0
#: After how many runs garbage is collected.
_COLLECT_RUNS: Final = 50
_STORY_LINES_MAX: Final = 40
_REQUIRED: Final = ("a decision", "a crash", "a cut", "a loss", "a repetition", "a pause")
_REQUIRED_OF_LOGS: Final = (*_REQUIRED, "a retry", "a restart of a client")


def _required_of(algorithm: type[Algorithm]) -> tuple[str, ...]:
    """Return the events that must have happened in some seed each, by what the algorithm can do."""
    if not issubclass(algorithm, LogAlgorithm):
        return _REQUIRED
    return (
        *_REQUIRED_OF_LOGS,
        *(("a snapshot",) if algorithm.makes_snapshots else ()),
        *(("a change of members",) if algorithm.takes_changes_of_members else ()),
        *(("a change of leader", "a hand-over") if algorithm.elects_leaders else ()),
    )


@dataclass(slots=True)
class SeedTally:
    """The summed results of some seeds."""

    runs: int = 0
    steps: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    """By event, such as "a crash", the number of seeds in which it happened."""
    failures: dict[int, str] = field(default_factory=dict)
    """By failing seed, its first violation."""

    def take(self, seed: int, done: SimulatedRun) -> None:
        """Take in the run of a seed."""
        self.runs += 1
        self.steps += len(done.steps)
        self.seen.update(done.seen.keys())
        if done.violations:
            self.failures[seed] = str(done.violations[0])

    def add(self, other: "SeedTally") -> None:
        """Add the results of `other`."""
        self.runs += other.runs
        self.steps += other.steps
        self.seen += other.seen
        self.failures |= other.failures


@dataclass(slots=True)
class SimulationReport:
    """The result of simulating an algorithm."""

    algorithm: str
    settings: SimulationSettings
    seconds: float
    """How long the campaign took, without shrinking."""
    asked: int
    """How many seeds were to be run."""
    tally: SeedTally
    shrunk: ShrunkSeed | None
    """The lowest seed that failed, after shrinking."""
    required: tuple[str, ...] = _REQUIRED
    """The events that must have happened in some seed each. Otherwise the campaign has shown nothing."""
    out_of_time: bool = False
    """Whether the campaign has ended since its time was over, as was asked."""
    not_shrunk: str = ""
    """Why a failing seed could not be shrunk."""

    @property
    def verdict(self) -> Verdict:
        """Valid only if every seed was run, none failed, and every required event has happened."""
        tally = self.tally
        if tally.failures:
            return invalid(*(f"seed {seed}: {text}" for seed, text in sorted(tally.failures.items())))
        if tally.runs < self.asked and not self.out_of_time:
            return unknown(f"cut short after {tally.runs:,} of {count(self.asked, 'seed')}")
        if never := [event for event in self.required if not tally.seen[event]]:
            return unknown(f"there never was {never[0]} in {count(tally.runs, 'seed')}")
        return valid(f"{count(tally.runs, 'seed')}, none of which broke a promise")

    @property
    def not_judged(self) -> list[str]:
        """What no seed could show, in a sentence each."""
        if self.tally.seen[BALLOT] or not self.tally.runs:
            return []
        return ["whether promises are kept, since no node reported a ballot in its status (`promised`, `accepted`)"]

    @property
    def exit_code(self) -> int:
        """0 if the verdict is valid, 1 if invalid, 2 if unknown."""
        return self.verdict.exit_code

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        tally = self.tally
        rate = f" ({tally.runs / max(self.seconds, 1e-9):,.0f} schedules a second)" if tally.runs else ""
        seen = ", ".join(f"{what}: {tally.seen[what]:,}" for what in sorted(tally.seen) if what != BALLOT)
        text = [
            f"simulate {self.algorithm} on {count(self.settings.nodes, 'node')}",
            f"{count(tally.runs, 'seed')}, {count(tally.steps, 'step')} in {self.seconds:.1f} s{rate}",
            *([f"  seeds that saw {seen}"] if seen else []),
            *(f"  not judged: {what}" for what in self.not_judged),
        ]
        if self.shrunk is None:
            not_shrunk = [f"  {self.not_shrunk}"] if self.not_shrunk else []
            shown = [f"  {sentence}" for sentence in shown_by(len(tally.failures), tally.runs)]
            return [*text, f"{self.verdict.status}: {self.verdict.evidence}", *not_shrunk, *shown]
        more = f" and {len(tally.failures) - 1:,} more" if len(tally.failures) > 1 else ""
        text.append(f"VIOLATED by seed {min(tally.failures)}{more}. {self.shrunk.how_much}:")
        story = self.shrunk.story
        text.extend(f"  {number}. {line}" for number, line in enumerate(story[:_STORY_LINES_MAX], 1))
        if len(story) > _STORY_LINES_MAX:
            text.append(f"  ... and {len(story) - _STORY_LINES_MAX:,} more")
        text.extend(f"  => {violation}" for violation in self.shrunk.violations)
        if changed := self.shrunk.fault_schedule.tuning.changed():
            text.append(f"  with the settings {as_text(changed)}; all others are as shipped")
        if any(violation.kind not in SAFETY for violation in self.shrunk.violations):
            text.extend(f"  {name}: {status or 'down'}" for name, status in self.shrunk.final_status.items())
        return text

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data. Its keys `oddities` and `weather` hold the fault model and the fault schedule."""
        shrunk = self.shrunk
        return {
            "algorithm": self.algorithm,
            "verdict": self.verdict.to_json(),
            "settings": self.settings.to_json(),
            "seconds": round(self.seconds, 3),
            "asked": self.asked,
            "runs": self.tally.runs,
            "steps": self.tally.steps,
            "seen": dict(self.tally.seen),
            "not_judged": self.not_judged,
            "failures": {str(seed): text for seed, text in self.tally.failures.items()},
            "shrunk": shrunk
            and {
                "weather": plain(shrunk.fault_schedule.to_json()),
                "violations": [asdict(violation) for violation in shrunk.violations],
                "schedule": [to_json(step) for step in shrunk.schedule],
                "story": shrunk.story,
                "ends": shrunk.final_status,
            },
        }

    def dumps(self) -> str:
        """Return the report as JSON text."""
        return json.dumps(self.to_json(), indent=2)


def run_simulate(
    algorithm: str | type[Algorithm],
    seeds: Sequence[int] = range(1000),
    settings: SimulationSettings = DEFAULT_SETTINGS,
    *,
    seconds: float | None = None,
    until_time: bool = False,
    workers: int = 1,
    failures_max: int = 1,
    progress: Callable[[SeedTally], object] = lambda _tally: None,
) -> SimulationReport:
    """Simulate seeds, and shrink the run of the lowest seed that has failed. Ctrl-C ends the campaign early.

    Args:
        algorithm: a name that `node.algorithms.load_algorithm` knows, or a class.
        seeds: the seeds to run.
        settings: what all runs share.
        seconds: when to stop at the latest; None is no limit.
        until_time: whether a campaign that ends then is whole, and not cut short.
        workers: how many processes to use. More than one are spawned, so the caller's main module must be importable.
        failures_max: stop when so many seeds have failed.
        progress: called with the results so far, after each `_CHUNK` seeds.

    Raises:
        UnknownAlgorithm: there is no algorithm of that name.
    """
    cls = load_algorithm(algorithm) if isinstance(algorithm, str) else algorithm
    began = time.perf_counter()
    tally, out_of_time = SeedTally(), False
    with suppress(KeyboardInterrupt), closing(_tallies(cls, seeds, settings, workers, failures_max)) as tallies:
        for chunk in tallies:
            tally.add(chunk)
            progress(tally)
            out_of_time = seconds is not None and time.perf_counter() - began > seconds
            if len(tally.failures) >= failures_max or out_of_time:
                break
    took = time.perf_counter() - began
    first, why_not = None, ""
    if tally.failures:
        try:
            if ENDLESS in tally.failures[min(tally.failures)]:
                why_not = "the run was not shrunk, since every try would take as long as the loop"
            else:
                left_s = SHRINK_S if seconds is None else min(max(seconds - took, 0.1 * seconds), SHRINK_S)
                with watching():  # a part of the schedule may lead into an endless loop that the whole did not meet
                    lowest = min(tally.failures)
                    first = shrink_schedule(cls, settings, settings.draw(cls, lowest), left_s, tally.failures[lowest])
        except Exception as error:  # noqa: BLE001 - the seed has failed, whether or not its run can be shrunk
            why_not = f"the run of seed {min(tally.failures)} could not be shrunk: {describe_failure(error)}"
    name = algorithm if isinstance(algorithm, str) else cls.__name__
    whole = until_time and out_of_time
    return SimulationReport(name, settings, took, len(seeds), tally, first, _required_of(cls), whole, why_not)


def _tallies(
    cls: type[Algorithm], seeds: Sequence[int], settings: SimulationSettings, workers: int, failures_max: int
) -> Generator[SeedTally, None, None]:
    """Yield the results of each chunk of seeds, in order."""
    chunks = (seeds[start : start + _CHUNK] for start in range(0, len(seeds), _CHUNK))
    if workers <= 1:
        for chunk in chunks:
            yield simulate_seeds(cls, chunk, settings, failures_max)
        return
    with pool_of(workers) as pool:
        jobs = [
            pool.submit(simulate_seeds, cls, chunk, settings, failures_max) for chunk in islice(chunks, 2 * workers)
        ]
        while jobs:
            yield jobs.pop(0).result()
            jobs += [pool.submit(simulate_seeds, cls, chunk, settings, failures_max) for chunk in islice(chunks, 1)]


def simulate_seeds(
    algorithm: type[Algorithm], seeds: Iterable[int], settings: SimulationSettings, failures_max: int
) -> SeedTally:
    """Simulate seeds one after the other, until `failures_max` have failed. Return their results."""
    tally = SeedTally()
    with _automatic_collection_off() as collect, watching():
        for seed in seeds:
            tally.take(seed, settings.simulate(algorithm, seed))
            if len(tally.failures) >= failures_max:
                break
            if tally.runs % _COLLECT_RUNS == 0:
                collect()
    return tally


@contextmanager
def _automatic_collection_off() -> Iterator[Callable[[], object]]:
    """Switch the automatic garbage collection off, which takes an eighth of a run's time. Yields the function that collects.

    It does not look through what was there before, such as the modules. A caller that has exempted these already keeps them so.
    """
    was_enabled, were_exempt = gc.isenabled(), gc.get_freeze_count() > 0
    gc.disable()
    if not were_exempt:
        gc.freeze()
    try:
        yield gc.collect
    finally:
        if not were_exempt:
            gc.unfreeze()
        if was_enabled:
            gc.enable()
