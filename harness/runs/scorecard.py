"""The article's table, measured: every scenario with every algorithm that it is for, judged by the checkers.

This module does not know what should come out. A cell is computed from the verdicts of its runs: one violation makes a
cross. A tick needs at least one run that tried the property and found it kept, and no run that was no test (a fault that
did not bite, a checker that failed). Otherwise the cell is unknown.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.errors import ConsensusError
from harness.checkers.evidence import was_answered
from harness.checkers.properties import PROPERTIES
from harness.checkers.verdict import Verdict, VerdictStatus, invalid, unknown
from harness.records.run_folders import as_file_name
from harness.report import write_report
from harness.runs.experiment import Experiment
from harness.runs.scenarios import ALL, Scenario, scenarios
from harness.runs.workers import as_done
from node.contract import BadInput
from node.wording import nearest


class NoSuchScenario(BadInput):
    """No scenario has the name that the user gave, or none that is for the algorithm. The message names those that exist."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run of the scorecard: a variant of a scenario, with an algorithm."""

    scenario: Scenario
    variant: str
    algorithm: str

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return "-".join(part for part in (self.scenario.name, self.variant, as_file_name(self.algorithm)) if part)


@dataclass(frozen=True, slots=True)
class ScorecardRun:
    """What came of one run. `took_s` is in seconds."""

    job: Job
    folder: Path
    verdicts: dict[str, Verdict]
    took_s: float
    outside: tuple[str, ...] = ()
    """A line for each node that another program has killed or suspended, by no fault of the run."""


@dataclass(frozen=True, slots=True)
class ScorecardCell:
    """One algorithm and one property. `holds` is None where the cell is unknown.

    `scenarios` are those whose runs show it, `evidence` is a line of one of these runs, and `run` is its folder.
    """

    algorithm: str
    property: str
    holds: bool | None
    scenarios: tuple[str, ...]
    evidence: str
    run: str

    def to_json(self) -> dict[str, Any]:
        """Return the cell of `consensus scorecard -o json`."""
        return {
            "algorithm": self.algorithm,
            "property": self.property,
            "holds": self.holds,
            "scenarios": list(self.scenarios),
            "evidence": self.evidence,
            "run": self.run,
        }


def jobs(algorithms: Sequence[str] | None = None, only: str | None = None) -> list[Job]:
    """Return the runs of the scorecard.

    Args:
        algorithms: the columns. None: the article's. For an algorithm that no scenario names, every scenario is run except
            those that wait for the messages of particular algorithms.
        only: a part of a scenario's name; None for every scenario.

    Raises:
        NoSuchScenario: no scenario has this in its name, or none of those that have is for the algorithms.
    """
    found = [
        Job(scenario, variant, algorithm)
        for scenario in scenarios()
        if only is None or only in scenario.name
        for algorithm in dict.fromkeys(algorithms or scenario.algorithms)
        if scenario.fits(algorithm)
        for variant in scenario.variants
    ]
    if not found:
        raise NoSuchScenario(_why_none(algorithms or ALL, only or ""))
    return found


def _why_none(algorithms: Sequence[str], only: str) -> str:
    """Return why `only` names no scenario that is for one of the algorithms."""
    named = [scenario for scenario in scenarios() if only in scenario.name]
    if not named:
        return f"no scenario has {only!r} in its name: {nearest(only, [scenario.name for scenario in scenarios()])}"
    whose = "; ".join(f"{scenario.name} is for {' and '.join(scenario.algorithms)}" for scenario in named)
    fitting = [scenario.name for scenario in scenarios() if any(scenario.fits(algorithm) for algorithm in algorithms)]
    wanted = " and ".join(algorithms)
    return f"no scenario for {wanted} has {only!r} in its name: {whose}. For {wanted} there are {', '.join(fitting)}"


def run_job(job: Job, root: Path, seed: int = 0, *, trace: bool = False) -> ScorecardRun:
    """Run a scenario in a folder of its own below `root`, and judge the run.

    A scenario that could not be carried out, for instance because a node did not start, makes every property unknown.
    """
    started = time.monotonic()
    experiment = Experiment(root / job.name, nodes=job.scenario.nodes, algorithm=job.algorithm, seed=seed, trace=trace)
    outside: list[str] = []
    try:
        with experiment:
            try:
                job.scenario.play(experiment, job.variant)
            finally:
                outside = experiment.ended_from_outside()
            if any(not was_answered(call) for call in experiment.recorder.history.operations):
                experiment.look_for_silent_nodes()
    except ConsensusError as error:
        unfinished = unknown(f"the scenario could not be carried out to its end: {error}", no_test=True)
        failures = experiment.failures()
        broken = {"contract": invalid(*failures)} if failures else {}
        unknowns = {**broken, **dict.fromkeys(PROPERTIES, unfinished)}
        return ScorecardRun(job, experiment.folder, unknowns, time.monotonic() - started, tuple(outside))
    verdicts = experiment.judge(
        faults_expected=job.scenario.breaks,
        scenario=job.scenario.name,
        variant=job.variant,
        story=job.scenario.story,
    )
    write_report(experiment.folder)  # 30 ms and 120 KB a run
    return ScorecardRun(job, experiment.folder, dict(verdicts), time.monotonic() - started, tuple(outside))


def run_all(
    wanted: Iterable[Job],
    root: Path,
    *,
    workers: int,
    seed: int,
    progress: Callable[[ScorecardRun], None],
    trace: bool = False,
) -> list[ScorecardRun]:
    """Make the runs, `workers` at a time. Returns them in the order of `wanted`.

    Args:
        wanted: the runs.
        root: each run has a folder below it.
        workers: how many runs are made at a time.
        seed: every random draw comes from it.
        progress: called with each run when it is done.
        trace: whether the nodes record what they take in.

    Ctrl-C raises KeyboardInterrupt without waiting for the runs under way.
    """
    wanted = list(wanted)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="run")
    try:
        # The longest runs begin first, so that the last run to end is a short one.
        futures = {
            job: pool.submit(run_job, job, root, seed, trace=trace)
            for job in sorted(wanted, key=lambda job: -job.scenario.takes_s)
        }
        for future in as_done(futures.values()):
            progress(future.result())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C the caller must not wait for the runs under way
    return [futures[job].result() for job in wanted]


def broken_contracts(results: Iterable[ScorecardRun]) -> dict[str, str]:
    """Return, for each algorithm of which a node failed by itself, the first such failure in one sentence."""
    found: dict[str, str] = {}
    for result in results:
        if "contract" in result.verdicts:
            found.setdefault(result.job.algorithm, result.verdicts["contract"].evidence)
    return found


def cells(results: Sequence[ScorecardRun]) -> list[ScorecardCell]:
    """Compute the table, row by row. The module's opening says how a cell is computed."""
    algorithms = list(dict.fromkeys(result.job.algorithm for result in results))
    return [
        _cell(algorithm, property_, results) for property_ in PROPERTIES for algorithm in sorted(algorithms, key=_order)
    ]


def _order(algorithm: str) -> tuple[int, str]:
    return (ALL.index(algorithm) if algorithm in ALL else len(ALL), algorithm)


def _cell(algorithm: str, property_: str, results: Sequence[ScorecardRun]) -> ScorecardCell:
    own = [result for result in results if result.job.algorithm == algorithm]
    verdicts = [(result, result.verdicts[property_]) for result in own]
    ranked: list[tuple[list[ScorecardRun], bool | None]] = [
        ([result for result, verdict in verdicts if verdict.status is VerdictStatus.INVALID], False),
        ([result for result, verdict in verdicts if verdict.no_test], None),
        ([result for result, verdict in verdicts if verdict.status is VerdictStatus.VALID], True),
        ([result for result, verdict in verdicts if verdict.status is VerdictStatus.UNKNOWN], None),
    ]
    for found, holds in ranked:
        if found:
            names = tuple(dict.fromkeys(result.job.scenario.name for result in found))
            first = min(found, key=lambda result: result.job.scenario.about != algorithm)
            evidence = f"{first.job.scenario.story}: {first.verdicts[property_].evidence}"
            return ScorecardCell(algorithm, property_, holds, names, evidence, str(first.folder))
    return ScorecardCell(algorithm, property_, None, (), "no scenario was run with this algorithm", "")
