"""Makes the runs of a campaign, in several processes, and merges what came of them.

Run `k` of a campaign with seed `s` is the plan that `harness.runs.plan_generator` draws from the seed `s * 1_000_000 + k`, so any
of them can be made again by `consensus test --seed`. Each worker is a process of its own: a run judges itself in it, counts
what it has hit, and deletes its folder if it is valid and nobody wants to keep it.

What ends a worker ends the nodes and the proxy that it has launched: the kernel sees to it.
"""

import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cluster.errors import ConsensusError
from cluster.spec import node_names
from harness.records import receipts
from harness.records.jsonable import read_lines
from harness.runs.campaigns.grid import GridCell, Hits, hits
from harness.runs.plan import Plan
from harness.runs.plan_generator import generate
from harness.runs.suite import run_plan
from node.algorithms import load_algorithm
from node.storage.disk import DiskError

RUNS_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Campaign:
    """What to run. `faults` are names or families, none is all; `steps` is how many a run, None as many as fit."""

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

    def plan(self, number: int) -> Plan:
        """The plan of run `number`, from 1. Raises BadFault or UnknownAlgorithm."""
        return generate(
            self.algorithm,
            node_names(self.nodes),
            self.seed * RUNS_MAX + number,
            faults=self.faults,
            time_s=self.time_s,
            workload=self.workload,
            steps=self.steps,
        )


@dataclass(frozen=True, slots=True)
class CampaignRun:
    """What came of one run."""

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

    def to_json(self) -> dict[str, Any]:
        """For programs."""
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


def make_run(campaign: Campaign, number: int) -> CampaignRun:
    """Make one run, count what it has hit, and clean up after it. A run that cannot begin or be judged is unknown."""
    started = time.monotonic()
    plan = campaign.plan(number)
    folder = campaign.folder / f"{number:05}"
    planned = tuple(step.fault for step in plan.steps)
    try:
        result = run_plan(plan, folder, trace=campaign.trace, campaign=campaign.folder.name)
    except (ConsensusError, DiskError) as error:
        why = f"{type(error).__name__}: {error}"
        took_s = time.monotonic() - started
        return CampaignRun(number, plan.seed, "unknown", why, (), planned, (), Counter(), took_s, folder)
    found = _hits_of(plan, folder)
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
    )


def _hits_of(plan: Plan, folder: Path) -> Hits:
    messages = (record for _, record in read_lines(folder / "messages.jsonl"))
    return hits(load_algorithm(plan.algorithm), plan.nodes, receipts.load(folder / "receipts.jsonl"), messages)


@dataclass
class CampaignTally:
    """What came of all of them so far."""

    campaign: Campaign
    runs: list[CampaignRun] = field(default_factory=list)
    hits: Hits = field(default_factory=Counter)
    took_s: float = 0.0
    interrupted: bool = False

    def add(self, run: CampaignRun) -> None:
        """One more."""
        self.runs.append(run)
        self.hits.update(run.hits)

    def of(self, status: str) -> int:
        """How many came out so."""
        return sum(run.status == status for run in self.runs)

    @property
    def kept(self) -> list[CampaignRun]:
        """Those that were not valid, in order."""
        return sorted((run for run in self.runs if run.status != "valid"), key=lambda run: run.number)

    @property
    def a_minute(self) -> float:
        """Runs made and judged in a minute."""
        return len(self.runs) * 60 / self.took_s if self.took_s else 0.0

    @property
    def never_fired(self) -> list[str]:
        """Faults that plans had, and that no run saw in force."""
        fired = {fault for run in self.runs for fault in run.fired}
        return sorted({fault for run in self.runs for fault in run.planned} - fired)

    @property
    def cells(self) -> set[GridCell]:
        """What was hit by anything."""
        return {cell for _, cell in self.hits}
