"""The article's table, measured: every scenario with every algorithm that it is told of, judged by the checkers.

Nothing here knows what should come out. A cell is computed from the verdicts of its runs: one violation makes a cross; a
tick needs at least one run that tried the property and found it kept, and none that was no test (a fault that did not
bite, a checker that failed); otherwise the cell is unknown.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cluster.errors import ConsensusError
from harness.checkers.verdict import Status, Verdict, unknown
from harness.report import write_report
from harness.runs.experiment import Experiment
from harness.runs.scenarios import ALL, Scenario, scenarios
from harness.runs.workers import as_done

PROPERTIES: Final = ("coherence", "conflict resolution", "no decoherence", "fault tolerance")


@dataclass(frozen=True, slots=True)
class Job:
    """One run to be made."""

    scenario: Scenario
    variant: str
    algorithm: str

    @property
    def name(self) -> str:
        """What the run's folder is called."""
        return "-".join(part for part in (self.scenario.name, self.variant, self.algorithm.replace(":", "-")) if part)


@dataclass(frozen=True, slots=True)
class ScorecardRun:
    """One run that was made."""

    job: Job
    folder: Path
    verdicts: dict[str, Verdict]
    took_s: float


@dataclass(frozen=True, slots=True)
class ScorecardCell:
    """One algorithm, one property."""

    algorithm: str
    property: str
    holds: bool | None
    scenarios: tuple[str, ...]
    evidence: str
    run: str

    def to_json(self) -> dict[str, Any]:
        """The cell, for programs."""
        return {
            "algorithm": self.algorithm,
            "property": self.property,
            "holds": self.holds,
            "scenarios": list(self.scenarios),
            "evidence": self.evidence,
            "run": self.run,
        }


def jobs(algorithms: Sequence[str] | None = None, only: str | None = None) -> list[Job]:
    """The runs of the scorecard.

    Args:
        algorithms: the columns. None: the article's. One that no scenario names is told every scenario but those that are
            told of a single algorithm's own messages.
        only: a part of a scenario's name.
    """
    return [
        Job(scenario, variant, algorithm)
        for scenario in scenarios()
        if only is None or only in scenario.name
        for algorithm in dict.fromkeys(algorithms or scenario.algorithms)
        if scenario.fits(algorithm)
        for variant in scenario.variants
    ]


def run_job(job: Job, root: Path, seed: int = 0, *, trace: bool = False) -> ScorecardRun:
    """Make one run in a folder of its own below `root`, and judge it."""
    started = time.monotonic()
    experiment = Experiment(root / job.name, nodes=job.scenario.nodes, algorithm=job.algorithm, seed=seed, trace=trace)
    try:
        with experiment:
            job.scenario.tell(experiment, job.variant)
    except ConsensusError as error:
        untold = unknown(f"the story could not be told to its end: {error}", no_test=True)
        return ScorecardRun(job, experiment.folder, dict.fromkeys(PROPERTIES, untold), time.monotonic() - started)
    verdicts = experiment.judge(
        faults_expected=job.scenario.breaks,
        scenario=job.scenario.name,
        variant=job.variant,
        story=job.scenario.story,
    )
    write_report(experiment.folder)  # 30 ms and 120 KB a run
    return ScorecardRun(job, experiment.folder, dict(verdicts), time.monotonic() - started)


def run_all(
    wanted: Iterable[Job],
    root: Path,
    *,
    workers: int,
    seed: int,
    progress: Callable[[ScorecardRun], None],
    trace: bool = False,
) -> list[ScorecardRun]:
    """Make the runs, `workers` at a time. Returns them in the order in which they were wanted.

    Ctrl-C ends the runs that are under way; their nodes and proxies end with them.
    """
    wanted = list(wanted)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="run")
    try:
        # The longest first, so that no worker is left alone with one at the end.
        futures = {
            job: pool.submit(run_job, job, root, seed, trace=trace)
            for job in sorted(wanted, key=lambda job: -job.scenario.takes_s)
        }
        for future in as_done(futures.values()):
            progress(future.result())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # waiting would tell every story to its end after a Ctrl-C
    return [futures[job].result() for job in wanted]


def cells(results: Sequence[ScorecardRun]) -> list[ScorecardCell]:
    """The table. See the module's opening for how a cell is computed."""
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
        ([result for result, verdict in verdicts if verdict.status is Status.INVALID], False),
        ([result for result, verdict in verdicts if verdict.no_test], None),
        ([result for result, verdict in verdicts if verdict.status is Status.VALID], True),
        ([result for result, verdict in verdicts if verdict.status is Status.UNKNOWN], None),
    ]
    for found, holds in ranked:
        if found:
            told = tuple(dict.fromkeys(result.job.scenario.name for result in found))
            first = min(found, key=lambda result: result.job.scenario.about != algorithm)
            evidence = f"{first.job.scenario.story}: {first.verdicts[property_].evidence}"
            return ScorecardCell(algorithm, property_, holds, told, evidence, str(first.folder))
    return ScorecardCell(algorithm, property_, None, (), "no scenario was told of this algorithm", "")
