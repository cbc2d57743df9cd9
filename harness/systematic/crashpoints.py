"""Cuts a node's power at every write and sync of one operation, with every tail of un-synced writes, and checks the node.

Theory of operation
-------------------
Three nodes run on disks that lose power (`harness.faults.power_loss_vfs`). The last node is cut off, so each quorum needs the
first node, which is the one under test. A value is proposed at the first node, then another at the second, so the first node
is proposer and then acceptor. It is killed before its N-th write or sync, for N = 1, 2, … until the operation has no N-th one.
Then it is killed once more after the operation. For each N the un-synced writes survive in every way: none, all, and if there
are enough of them a prefix, a torn write, and later writes without earlier ones. If the algorithm can ask other nodes what a
lost commit held, all survive once more and then one bit of the last commit's last frame flips, as if a durable commit decayed.

That is the operation `propose`. `boot` is the node's restart after a kill, so the power fails in the middle of a recovery.
`long` proposes eight values in turn. Of an algorithm that keeps a log, `snapshot` makes the node write a snapshot after each
command, and before `catch-up` the node under test is cut off instead of the last one, so that it has to take a snapshot in; the
parts of both are small, so that many commits belong together.

Rules
-----
After each power cut three things are checked:

1. **The disk at rest**: it can be read. It holds everything that the node's messages promised (by the protocol's
   invariants), and every decision that it held before. A disk whose last commit was damaged need hold neither.
2. **The boot**: the node starts on that disk. A power cut damages nothing, so a refusal to start is a failure, too.
3. **No acknowledged value is lost**: the last node is connected again and the second is cut off, so a decision depends on the
   disk of the first. A rival value is proposed. Then all nodes are connected and queried: every answer before and after the
   power cut must be the same value.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

from cluster.errors import AlgorithmFailed
from cluster.processes import NODE_COMMAND
from harness.checkers.verdict import VerdictStatus
from harness.faults.power_cut import Tail
from harness.faults.power_loss_vfs import SPEC
from harness.records.jsonable import write_document
from harness.runs.experiment import Experiment
from harness.runs.workers import as_done, threads_of
from harness.systematic.power_cut_cluster import NODES, OPERATION_SETTINGS, NodeDoesNotStart, PowerCutCluster
from harness.systematic.power_cuts import ALIVE, PowerCutPoint, PowerCutTrial, Walk, WalkedOperation, tails_for
from harness.systematic.sweep_points import PointOutcome
from harness.virtual.first_try import broken_contract
from node.algorithms import load_algorithm
from node.log_contract import LogAlgorithm
from node.storage.disk import DiskError

#: How often a boundary is tried in all if it is not reached: messages that arrive together share a commit.
_TRIES: Final = 4
_BOUNDARIES_MAX: Final = 2_000
#: After so many power cuts a walk goes on in a new cluster: its disks and its record are read at each cut, and grow with each.
_CUTS_PER_CLUSTER: Final = 50


@dataclass(frozen=True, slots=True)
class Walker:
    """What to walk, and where.

    Args:
        folder: the folder in which each cluster gets a run folder.
        algorithm: the algorithm that the nodes run.
        operation: during which operation the power is cut.
        command: the command that starts a node.
        seed: the seed of every random draw.
        workers: how many clusters run at a time.
        every: cut the power at one boundary in this many.
    """

    folder: Path
    algorithm: str
    operation: WalkedOperation = WalkedOperation.PROPOSE
    command: Sequence[str] = NODE_COMMAND
    seed: int = 0
    workers: int = 2
    every: int = 1

    def walk(self, progress: Callable[[PowerCutTrial], object] = str) -> Walk:
        """Walk every boundary, write `crashpoints.json`, and return the result.

        Args:
            progress: called with each power cut.

        Raises:
            AlgorithmFailed: the algorithm fails by itself.
        """
        if (why := broken_contract(self.algorithm)) is not None:
            raise AlgorithmFailed(f"{self.algorithm} breaks its contract: {why}")
        started = time.monotonic()
        with threads_of(self.workers, "walk") as pool:
            futures = [pool.submit(self._share, number, progress) for number in range(self.workers)]
            for future in as_done(futures):
                future.result()
            shares = [future.result() for future in futures]
        made = sorted((trial for trials, _ in shares for trial in trials), key=lambda trial: trial.number)
        trials = [trial for trial in made if trial.evidence != ALIVE]
        violations = tuple(violation for _, violations in shares for violation in violations)
        reached = {trial.number for trial in trials if trial.where.startswith("before")}
        took_s = time.monotonic() - started
        unreached = len(made) - len(trials)
        walk = Walk(self.algorithm, self.operation, len(reached), unreached, tuple(trials), violations, took_s)
        write_document(self.folder / "crashpoints.json", {"schema": 1, "seed": self.seed, **walk.to_json()})
        return walk

    def _share(self, worker: int, progress: Callable[[PowerCutTrial], object]) -> tuple[list[PowerCutTrial], list[str]]:
        """Walk one worker's boundaries, one in `workers * every`, until the operation ends before it comes to one."""
        trials: list[PowerCutTrial] = []
        violations: list[str] = []
        rng = Random(f"{self.seed}/{worker}")
        first = 1 + worker * self.every
        todo = [PowerCutPoint(first)]
        for attempt in count():
            if not todo:
                return trials, violations
            name = f"walk-{worker}-{attempt}"
            run = Experiment(
                self.folder / name,
                nodes=NODES,
                algorithm=self.algorithm,
                seed=self.seed,
                command=self.command,
                vfs=SPEC,
                settings=OPERATION_SETTINGS.get(self.operation, {}),
            )
            with run:
                self._walk_on(PowerCutCluster(run, self.operation, rng), todo, trials, progress)
            violations += _violations(run, name)
        raise AssertionError

    def _walk_on(
        self,
        cluster: PowerCutCluster,
        todo: list[PowerCutPoint],
        trials: list[PowerCutTrial],
        progress: Callable[[PowerCutTrial], object],
    ) -> None:
        """Take from `todo` until it is empty, the cluster has had its share, or the node under test does not start any more."""
        next_boundary = self.workers * self.every
        while todo and cluster.count < _CUTS_PER_CLUSTER:
            point = todo.pop(0)
            is_first = point == PowerCutPoint(point.number)  # of its boundary
            try:
                trial = self._try(cluster, point)
            except NodeDoesNotStart as error:
                trials.append(error.trial)
                progress(error.trial)
                todo += [PowerCutPoint(point.number + next_boundary)] if is_first else []
                return
            if failures := cluster.run.failures():
                raise AlgorithmFailed(f"{self.algorithm} breaks its contract: {failures[0]}")
            progress(trial)
            if not is_first or (trial.outcome is PointOutcome.NO_TEST and not cluster.completed):
                trials.append(trial)
            elif cluster.completed:
                if self.operation is not WalkedOperation.BOOT:
                    todo.append(point._replace(at_end=True))
                    todo += [point._replace(at_end=True, damages=True)] if self._damages else []
            else:
                trials.append(trial)
                more = tails_for(cluster.writes)
                if self.operation is not WalkedOperation.PROPOSE and more:
                    more = [cluster.rng.choice(more)]  # the others have hundreds of boundaries
                todo += [point._replace(tail=other) for other in more]
                todo += [point._replace(tail=Tail.ALL, damages=True)] if self._damages else []
                if point.number < _BOUNDARIES_MAX:
                    todo.append(PowerCutPoint(point.number + next_boundary))

    @property
    def _damages(self) -> bool:
        """Whether the last commit is damaged, too: only of an algorithm that can live with that."""
        algorithm = load_algorithm(self.algorithm)
        return issubclass(algorithm, LogAlgorithm) and algorithm.may_doubt

    def _try(self, cluster: PowerCutCluster, point: PowerCutPoint) -> PowerCutTrial:
        for _ in range(1 if point.at_end else _TRIES):
            trial = cluster.cut_power(point)
            if trial.outcome is not PointOutcome.NO_TEST:
                break
        return trial


def _violations(run: Experiment, name: str) -> list[str]:
    """Return what the checkers found in the whole record. Fault tolerance is judged at each power cut instead."""
    try:
        verdicts = run.judge()
    except DiskError as error:  # the walk has reported it already
        return [f"not judged: {error} ({name})"]
    return [
        f"{property_}: {verdict.evidence} ({name})"
        for property_, verdict in verdicts.items()
        if verdict.status is VerdictStatus.INVALID and property_ != "fault tolerance"
    ]
