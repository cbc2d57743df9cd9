"""Runs a schedule on real processes: one that `explore` or `simulate` found, or a hand-written one.

```python
result = replay(schedule.load(path), folder)
result.verdict.status           # invalid: the real nodes break a promise, too
```

Theory of operation
-------------------
`harness.replay.lockstep` steps a virtual cluster and a cluster of stepped nodes together. After each step the real node must
have sent the same messages and replies as the virtual node. So a schedule that was followed to its end has happened on real
disks and sockets exactly as it was found. A schedule that was not followed stops at the first step with another result.

Rules
-----
1. The judges of any run judge this one, from the clients' outcomes, the disks and the record of the wire.
2. After each step its node is asked what it has promised, accepted and decided. None of these may go back. A schedule can show
   such a violation two steps after its cause; without the question the clients would see it only after ten.
3. If the schedule shows that no node can answer any more, the replay ends by delivering every kept message and letting time
   pass. Then the clients that still wait ask again, and each of them must get an answer.
4. A violation that was seen counts, even if the schedule was not followed to its end. Without a violation, a schedule that was
   not followed to its end is unknown, never valid.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.checkers.evidence import RunEvidence
from harness.checkers.invariants import invariants
from harness.checkers.linearizable import linearizable
from harness.checkers.models import KvModel
from harness.checkers.properties import PROPERTIES
from harness.checkers.replicas import agreement
from harness.checkers.verdict import Verdict, VerdictStatus, invalid, merge, unknown, valid, violated
from harness.replay.driver import stepped_node_command
from harness.replay.lockstep import LockstepClusters
from harness.replay.schedule import BadSchedule, Schedule
from harness.report import write_report
from harness.runs.experiment import Experiment
from harness.systems.late_sync_vfs import SPEC as LATE_SYNC
from harness.virtual.judge import FAULT_TOLERANCE, Violation
from harness.virtual.narration import narrate
from harness.virtual.watchdog import watching
from node.contract import NodeId
from node.wording import count


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """The result of one replay."""

    folder: Path
    schedule: Schedule
    verdicts: Mapping[str, Verdict]
    followed: int
    """How many steps had the same result as in the schedule."""
    diverged: str | None
    """At which step the real nodes differed from the schedule, and how; None if they never did."""
    took_s: float

    @property
    def verdict(self) -> Verdict:
        """Invalid if any verdict is invalid; unknown if the schedule was not followed to its end; else valid."""
        whole = merge(self.verdicts)
        if whole.status is VerdictStatus.INVALID:
            return whole
        if self.diverged is not None:
            return unknown(self.diverged, no_test=True)
        return valid(
            f"the schedule was followed to its end ({count(self.followed, 'step')}), and no judge found a violation"
        )

    @property
    def violated(self) -> tuple[str, ...]:
        """The names of the invalid verdicts."""
        return violated(self.verdicts)

    def lines(self) -> list[str]:
        """Return the result as lines for people."""
        lines = [f"{self.followed} of {count(len(self.schedule.steps), 'step')} had the same result on real processes"]
        if self.schedule.violations:
            lines.append(f"  in the schedule    {self.schedule.violations[0]}")
        lines += [f"  on real processes  {name}: {self.verdicts[name].evidence}" for name in self.violated]
        if self.diverged is not None:
            lines.append(f"  then the real nodes differed: {self.diverged}")
        outcomes = {
            VerdictStatus.INVALID: "VIOLATED on real processes, too",
            VerdictStatus.UNKNOWN: "unknown",
            VerdictStatus.VALID: "NOT violated on real processes",
        }
        return [*lines, f"{self.schedule.algorithm}: {outcomes[self.verdict.status]}. {self.took_s:.1f} s"]

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data for programs."""
        return {
            "run": str(self.folder),
            "algorithm": self.schedule.algorithm,
            "verdict": str(self.verdict.status),
            "evidence": self.verdict.evidence,
            "expected": [str(violation) for violation in self.schedule.violations],
            "verdicts": {
                name: {"status": str(verdict.status), "evidence": verdict.evidence}
                for name, verdict in self.verdicts.items()
            },
            "steps": len(self.schedule.steps),
            "followed": self.followed,
            "diverged": self.diverged,
            "took_s": round(self.took_s, 3),
        }


@watching()
def replay(schedule: Schedule, folder: Path, progress: Callable[[str], object] = id, **about: Any) -> ReplayResult:
    """Run a schedule on real processes, judge the run, and write its results and its report.

    Args:
        schedule: the schedule.
        folder: the run folder, which is created.
        progress: called with one line of text before each step.
        about: further fields for the run's results.

    Raises:
        BadSchedule: the schedule cannot happen, or real processes cannot follow it. Nothing was started.
        BootFailed: the nodes could not start.
    """
    started = time.monotonic()
    if (reason := schedule.why_no_replay()) is not None:
        raise BadSchedule(f"this schedule cannot be replayed on real processes: {reason}")
    steps = schedule.decoded()
    if not steps:
        raise BadSchedule(
            "this schedule cannot be replayed: it has no steps, since the run that was found could not be repeated"
        )
    run = Experiment(
        folder,
        nodes=schedule.nodes,
        algorithm=schedule.algorithm,
        command=stepped_node_command(schedule.fault_model),
        vfs=LATE_SYNC if schedule.fault_model.disks_sync_late else None,
    )
    schedule.save(run.files.schedule)
    with run:
        clusters = LockstepClusters(run, schedule, steps)
        diverged = clusters.follow(progress)
        ended = clusters.ended_by_themselves()
        if diverged is not None:
            run.look_for_silent_nodes()
        if FAULT_TOLERANCE in schedule.kinds and diverged is None:
            clusters.free_all_and_ask_again()
        elif diverged is None and not ended:
            clusters.boot_nodes_that_are_down()
        clusters.close()
    verdicts = judge(run.evidence(faults_expected=True), clusters.gone_back, ended)
    about |= {
        "found_by": schedule.found_by,
        "story": "; ".join(narrate((each.step, each.outcome) for each in clusters.virtual.happened)),
        "followed": clusters.followed,
        "diverged": diverged,
    }
    run.save_results(verdicts, **about)
    write_report(folder)
    return ReplayResult(folder, schedule, verdicts, clusters.followed, diverged, time.monotonic() - started)


def judge(run: RunEvidence, gone_back: Sequence[Violation], ended: Mapping[NodeId, str]) -> dict[str, Verdict]:
    """Return every verdict on a replay, by name.

    Args:
        run: the evidence of the run.
        gone_back: what nodes reported as promised, accepted or decided, and later took back.
        ended: how each node ended that the driver did not kill.
    """
    if run.algorithm.keeps_log:
        verdicts = {"linearizability": linearizable(run, KvModel()), "agreement": agreement(run)}
    else:
        verdicts = {name: check(run) for name, check in PROPERTIES.items()}
        verdicts["linearizability"] = linearizable(run)
    verdicts["invariants"] = invariants(run)
    for kind in dict.fromkeys(violation.kind for violation in gone_back):
        verdicts[kind] = invalid(*(violation.text for violation in gone_back if violation.kind == kind))
    if ended or run.failures:
        broken = invalid(*run.failures, *(f"{node} {how}" for node, how in ended.items()))
        verdicts = {"contract": broken, **verdicts}
    return verdicts
