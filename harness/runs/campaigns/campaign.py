"""One run of a campaign, and the tally of all its runs.

Run `k` of a campaign with seed `s` is the plan that `harness.runs.plan_generator` draws from the seed `s * 1_000_000 + k`. So
`consensus test --seed` can make any of them again. The process that makes a run also judges it, counts what its faults
hit, and deletes the run's folder if the run is valid and `keep` is not set.
"""

import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cluster.errors import ConsensusError
from cluster.spec import node_names
from harness.checkers.confidence import shown_by
from harness.checkers.evidence import RunEvidence
from harness.runs.campaigns.features import MARK, features_of
from harness.runs.campaigns.grid import GridCell, Hits, hits
from harness.runs.guidance import Guide
from harness.runs.marks import marks_of
from harness.runs.plan import TIME_S_MAX, Plan
from harness.runs.plan_generator import generate
from harness.runs.suite import run_plan
from harness.systems.system import System
from node.algorithms import load_algorithm
from node.storage.disk import DiskError

RUNS_MAX: Final = 1_000_000
#: One run in `LONG_EVERY` lasts `LONG_TIMES` as long as the others.
LONG_EVERY: Final = 6
LONG_TIMES: Final = 4


@dataclass(frozen=True, slots=True)
class Campaign:
    """What to run.

    `folder` gets a folder for each run. `faults` are names or families, none means all. `time_s` is how long a run lasts, in
    seconds; every `LONG_EVERY`th lasts `LONG_TIMES` as long. `steps` is the number of faults in each run, None about one every
    0.8 s. `keep` keeps the folders of valid runs. `draws_settings` draws the settings of each run's cluster.
    """

    folder: Path
    runs: int
    seed: int = 1
    algorithm: str = "paxos"
    faults: tuple[str, ...] = ()
    time_s: float = 2.0
    nodes: int = 5
    steps: int | None = None
    keep: bool = False
    trace: bool = False
    workload: str = "register"
    draws_settings: bool = True
    beyond_tolerance: bool = False
    system: System | None = None

    def plan(self, number: int) -> Plan:
        """Return the plan of run `number`, from 1. Raises BadFault or UnknownAlgorithm.

        Every `LONG_EVERY`th run is longer: in the others no fault outlasts the deadline of a call, or a second election.
        """
        time_s = self.time_s if number % LONG_EVERY else min(self.time_s * LONG_TIMES, TIME_S_MAX)
        return generate(
            self.algorithm,
            node_names(self.nodes),
            self.seed * RUNS_MAX + number,
            faults=self.faults,
            time_s=time_s,
            workload=self.workload,
            steps=self.steps,
            beyond_tolerance=self.beyond_tolerance,
            draws_settings=self.draws_settings,
            system=self.system,
        )


@dataclass(frozen=True, slots=True)
class CampaignRun:
    """What came of one run of the campaign. `folder` is None if it was deleted."""

    number: int
    seed: int
    status: str
    evidence: str
    violated: tuple[str, ...]
    planned: tuple[str, ...]
    fired: tuple[str, ...]
    hits: Hits
    took_s: float
    folder: Path | None
    features: frozenset[str] = frozenset()
    """What the run has met: see `harness.runs.campaigns.features`."""

    def to_json(self) -> dict[str, Any]:
        """Return the run's object in `campaign.json`."""
        return {
            "run": self.number,
            "seed": self.seed,
            "verdict": self.status,
            "evidence": self.evidence,
            "violated": list(self.violated),
            "planned": list(self.planned),
            "fired": list(self.fired),
            "took_s": round(self.took_s, 2),
            "folder": None if self.folder is None else str(self.folder),
        }


def make_run(campaign: Campaign, number: int, plan: Plan | None = None) -> CampaignRun:
    """Make run `number`, count what its faults hit, and clean up. A run that cannot begin or be judged is unknown.

    `plan` is what to run, if it is not the plan of that number.
    """
    started = time.monotonic()
    plan = plan or campaign.plan(number)
    folder = campaign.folder / f"{number:05}"
    planned = tuple(step.fault for step in plan.steps)
    try:
        result = run_plan(plan, folder, trace=campaign.trace, campaign=campaign.folder.name)
    except (ConsensusError, DiskError) as error:
        why = f"{type(error).__name__}: {error}"
        took_s = time.monotonic() - started
        return CampaignRun(number, plan.seed, "unknown", why, (), planned, (), Counter(), took_s, folder)
    found, features = _met(plan, folder, result.evidence)
    status = str(result.verdict.status)
    if status == "valid" and not campaign.keep:
        shutil.rmtree(folder)
    return CampaignRun(
        number,
        plan.seed,
        status,
        result.verdict.evidence,
        result.violated,
        planned,
        tuple(outcome.step.fault for outcome in result.steps if outcome.fired),
        found,
        time.monotonic() - started,
        folder if folder.exists() else None,
        features,
    )


def _met(plan: Plan, folder: Path, evidence: RunEvidence | None) -> tuple[Hits, frozenset[str]]:
    """Return what the run's faults have hit, and its features."""
    assert evidence is not None, "the run was judged"
    found = hits(evidence.algorithm, plan.nodes, evidence.receipts, evidence.messages)
    return found, features_of(plan.nodes, evidence.messages, found, evidence.history, folder / "logs")


@dataclass
class CampaignTally:
    """What came of all runs of a campaign so far."""

    campaign: Campaign
    runs: list[CampaignRun] = field(default_factory=list)
    hits: Hits = field(default_factory=Counter)
    took_s: float = 0.0
    guide: Guide[Plan] | None = None
    interrupted: bool = False
    out_of_time: bool = False

    def add(self, run: CampaignRun) -> None:
        """Add a run."""
        self.runs.append(run)
        self.hits.update(run.hits)

    def of(self, status: str) -> int:
        """Return how many runs have this status."""
        return sum(run.status == status for run in self.runs)

    @property
    def shown(self) -> list[str]:
        """What the runs have shown, in sentences for people. Runs that are no test show nothing."""
        return shown_by(self.of("invalid"), self.of("invalid") + self.of("valid"))

    @property
    def marks_never_met(self) -> list[str]:
        """The marks in the algorithm's source that no run has reached: see `Node.sometimes`."""
        if self.campaign.system is not None:
            return []
        met = set() if self.guide is None else {str(feature).removeprefix(MARK) for feature in self.guide.met}
        return [mark for mark in marks_of(load_algorithm(self.campaign.algorithm)) if mark not in met]

    @property
    def kept(self) -> list[CampaignRun]:
        """The runs that are not valid, by number."""
        return sorted((run for run in self.runs if run.status != "valid"), key=lambda run: run.number)

    @property
    def a_minute(self) -> float:
        """How many runs were made and judged in a minute, on average."""
        return len(self.runs) * 60 / self.took_s if self.took_s else 0.0

    @property
    def never_fired(self) -> list[str]:
        """The faults that plans had and that were in force in no run."""
        fired = {fault for run in self.runs for fault in run.fired}
        return sorted({fault for run in self.runs for fault in run.planned} - fired)

    @property
    def cells(self) -> set[GridCell]:
        """The cells that any fault hit."""
        return {cell for _, cell in self.hits}
