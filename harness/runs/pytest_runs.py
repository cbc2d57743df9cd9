"""The runs that one test makes by the pytest fixtures: their folders, their ends and their verdicts.

`harness.pytest_plugin` imports this module when a test first uses a fixture, and not before.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from harness.checkers.verdict import Verdict, VerdictStatus
from harness.faults.injector import Faults
from harness.records.run_folders import new_test_folder
from harness.report import write_report
from node.algorithms import BUILT_IN, load_algorithm
from node.contract import Algorithm


class JudgedRun(Protocol):
    """A run that a test holds: of a cluster of our own nodes, or of a system that is not ours."""

    @property
    def faults(self) -> Faults:
        """The faults, with their receipts."""

    def start(self) -> object:
        """Start it."""

    def end(self) -> None:
        """End every process."""

    def judge(self) -> Mapping[str, Verdict]:
        """Return the verdicts, after the end."""


@dataclass
class PytestRun:
    """One run. `problem` says why the run fails its test; None if it does not, or is not judged yet."""

    folder: Path
    experiment: JudgedRun | None = None
    is_over: bool = True
    problem: str | None = None
    verdict_lines: list[str] = field(default_factory=list)

    def begin(self, experiment: JudgedRun) -> None:
        """Start the experiment. `finish` or `abandon` ends it."""
        experiment.start()
        self.experiment, self.is_over = experiment, False

    def finish(self) -> None:
        """End the experiment and judge it, if that has not been done."""
        if self.is_over or self.experiment is None:
            return
        self.is_over = True
        self.experiment.end()
        self.take_verdicts(self.experiment.judge(), has_faults=bool(self.experiment.faults.receipts))

    def abandon(self) -> None:
        """End the experiment without judging it, if it has not ended."""
        if not self.is_over and self.experiment is not None:
            self.is_over = True
            self.experiment.end()

    def take_verdicts(self, verdicts: Mapping[str, Verdict], *, has_faults: bool) -> None:
        """Keep the verdicts for the test's report, and find out whether they fail the test."""
        self.verdict_lines = [f"{name}: {verdict.status}: {verdict.evidence}" for name, verdict in verdicts.items()]
        broken = [
            f"{name} is broken: {verdict.evidence}"
            for name, verdict in verdicts.items()
            if verdict.status is VerdictStatus.INVALID
        ]
        no_test = [verdict.evidence for verdict in verdicts.values() if verdict.no_test]
        if broken:
            self.problem = "\n".join(broken)
        elif no_test and has_faults:
            self.problem = f"this run was no test of its faults: {no_test[0]}"


@dataclass
class PytestRuns:
    """Every run of one test. `root` is a folder such as `.consensus`, and `name` is the test's, fit for a folder's name."""

    root: Path
    name: str
    seed: int
    runs: list[PytestRun] = field(default_factory=list)
    failed: bool = False

    def new_run(self) -> PytestRun:
        """Return a run with an empty folder that no other test uses, also not in another process."""
        run = PytestRun(new_test_folder(self.root, self.name))
        self.runs.append(run)
        return run

    @property
    def run_seed(self) -> int:
        """The seed of the latest run. Each run of a test has its own."""
        return self.seed + len(self.runs) - 1

    def finish(self) -> list[str]:
        """End and judge what has not ended. Returns why the test fails, if it does."""
        for run in self.runs:
            run.finish()
        return [run.problem for run in self.runs if run.problem is not None]

    def abandon(self) -> None:
        """End what has not ended, without judging it."""
        for run in self.runs:
            run.abandon()

    def delete(self) -> None:
        """Delete every run folder."""
        for run in self.runs:
            shutil.rmtree(run.folder, ignore_errors=True)

    def described(self) -> Iterator[str]:
        """Yield the lines of the test's report: each run's verdicts, its folder and its page."""
        for run in self.runs:
            yield from run.verdict_lines
            yield f"run folder: {run.folder}"
            try:
                yield f"report: {write_report(run.folder)}"
            except Exception as error:  # noqa: BLE001 - the failure of the test matters more
                yield f"no report: {type(error).__name__} {error}"


class ImportableAlgorithm(NamedTuple):
    """An algorithm by name, and the folder from which a node can import it; None for one of ours."""

    name: str
    folder: Path | None


def importable(algorithm: str | type[Algorithm]) -> ImportableAlgorithm:
    """Return the name of an algorithm, by which another process can load it, and the folder that must be on its module path.

    Args:
        algorithm: a name of ours, `module:Class`, or a class.

    Raises:
        UnknownAlgorithm: there is no such algorithm.
    """
    name = algorithm if isinstance(algorithm, str) else f"{algorithm.__module__}:{algorithm.__qualname__}"
    if name in BUILT_IN:
        return ImportableAlgorithm(name, None)
    module = load_algorithm(name).__module__
    file: Any = getattr(sys.modules[module], "__file__", None)
    if file is None:
        return ImportableAlgorithm(name, None)
    depth = module.count(".") + Path(file).name.startswith("__init__.")
    return ImportableAlgorithm(name, Path(file).resolve().parents[depth])
