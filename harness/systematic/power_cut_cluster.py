"""A cluster on which power cuts are made, one after the other, each in the middle of an operation, and checked.

`harness.systematic.crashpoints` has the theory, and walks.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

from cluster.clients.client import VariableCall
from cluster.clients.outcomes import NotKnown, Ok
from cluster.errors import BootFailed
from cluster.processes import ProcessState
from harness.checkers.evidence import COMMIT_LOST
from harness.checkers.invariants import invariants
from harness.checkers.verdict import VerdictStatus
from harness.faults.active import ReceiptBuilder
from harness.faults.last_commit import damage_last_commit
from harness.faults.power_cut import Tail, lose_unsynced, read_disk_receipts, read_unsynced
from harness.faults.power_loss_vfs import DIE_AT
from harness.records.disks import decided_on_disk
from harness.records.jsonable import shown
from harness.runs.experiment import Experiment
from harness.systematic.power_cuts import ALIVE, PowerCutPoint, PowerCutTrial, WalkedOperation
from harness.systematic.sweep_points import Judgement, PointAnswer, PointOutcome, judge_point
from node.algorithms import load_algorithm
from node.authors import describe_failure
from node.storage.disk import DiskError, inspect

NODES: Final = ("n1", "n2", "n3")
TESTED, WITNESS, ABSENT = NODES
#: The timeout of the operation's calls, in seconds. It is at most a client's retry interval: a retry of a call to a node
#: that was killed must not arrive during the next operation and add to its writes.
_OPERATION_TIMEOUT_S: Final = 1.0
#: The timeout of a call that must be answered, and of one that may stay without an answer, in seconds.
_ANSWER_TIMEOUT_S: Final = 3.0
_RIVAL_TIMEOUT_S: Final = 1.0
_POLL_INTERVAL_S: Final = 0.002
#: How long to wait for an answer of the node under test before a look at whether it still runs, in seconds.
_STATUS_TIMEOUT_S: Final = 0.05
#: How long the node under test may take to catch up, in seconds.
_CATCH_UP_S: Final = 10.0
#: How many values are proposed in an operation, and the settings that make it what it is.
_PROPOSALS: Final[Mapping[WalkedOperation, int]] = {WalkedOperation.LONG: 8, WalkedOperation.CATCH_UP: 4}
OPERATION_SETTINGS: Final[Mapping[WalkedOperation, Mapping[str, int]]] = {
    WalkedOperation.SNAPSHOT: {"snapshot_slots": 1, "snapshot_part_bytes": 200},
    WalkedOperation.CATCH_UP: {"snapshot_slots": 1, "snapshot_part_bytes": 200, "kept_slots": 0},
}


class NodeDoesNotStart(Exception):
    """The node does not start, so the cluster cannot be used for another trial. Has the trial."""

    def __init__(self, trial: PowerCutTrial) -> None:
        super().__init__(trial.evidence)
        self.trial = trial


class _DiskAtRest(NamedTuple):
    where: str
    """Before which write or sync the power was cut."""
    unsynced_bytes: int
    lost_bytes: int
    trouble: str | None
    """What is wrong with the disk, if anything."""


@dataclass
class PowerCutCluster:
    """A cluster on which power cuts are made, one after the other."""

    run: Experiment
    operation: WalkedOperation
    rng: Random
    count: int = 0
    answers: dict[str, list[PointAnswer]] = field(default_factory=dict)
    """The answers of the last operation, by variable."""
    writes: int = 0
    """How many writes were un-synced at the last power cut."""
    completed: bool = False
    """Whether the last operation ended without a power cut, and every call of it was answered."""

    @property
    def directory(self) -> Path:
        """The data directory of the node under test."""
        return self.run.spec.settings.directory(TESTED)

    def cut_power(self, point: PowerCutPoint) -> PowerCutTrial:
        """Run the operation with a power cut, and check the node.

        Returns:
            The trial. If the operation ended before the boundary, it is no test.

        Raises:
            NodeDoesNotStart: the node does not start after the power cut.
        """
        number, tail, at_end, damages = point
        self.count += 1
        variables = [f"cut-{self.count}-{each}" for each in range(_PROPOSALS.get(self.operation, 2))]
        self.answers = {variable: [] for variable in variables}
        before = self._decided()
        receipt = self.run.faults.begin("power-cut", nodes_down=[TESTED], boundary=number, tail=str(tail))
        if not at_end and self.operation not in (WalkedOperation.BOOT, WalkedOperation.CATCH_UP):
            (self.directory / DIE_AT).write_text(str(number))
        absent = self.run.faults.isolate(TESTED if self.operation is WalkedOperation.CATCH_UP else ABSENT)
        if self.operation is WalkedOperation.CATCH_UP:
            self._propose(variables, (WITNESS, ABSENT))
            if not at_end:
                (self.directory / DIE_AT).write_text(str(number))
            absent.heal()
            self._wait_until_caught_up()
        else:
            self._operate(number, variables)
        alive = self.run.cluster.state(TESTED) is ProcessState.UP
        answered = self.operation is WalkedOperation.BOOT or all(self.answers[variable] for variable in variables)
        self.completed = alive and answered
        if alive:
            (self.directory / DIE_AT).unlink(missing_ok=True)
            if at_end:
                self.run.cluster.kill(TESTED)
        if alive and not at_end:
            absent.heal()
            receipt.bit, receipt.evidence["clean"] = True, "the operation had no such boundary"
            receipt.end()
            why = ALIVE if answered else "the operation was not answered in time"
            return PowerCutTrial(number, tail, "", PointOutcome.NO_TEST, why)
        disk = self._at_rest(receipt, point, before, variables)
        where = "after the operation" if at_end else disk.where
        try:
            self.run.faults.restart(TESTED)
        except BootFailed as error:
            why = f"it does not start: {error}"
            raise NodeDoesNotStart(
                PowerCutTrial(
                    number, tail, where, PointOutcome.VIOLATES, why, disk.unsynced_bytes, disk.lost_bytes, damages
                )
            ) from error
        ready = self.run.cluster.process(TESTED).ready
        receipt.evidence["incarnation"] = ready.incarnation if ready else 0
        receipt.end()
        absent.heal()
        outcome, why = self._propose_rival_and_ask(variables)
        if disk.trouble is not None:
            outcome, why = PointOutcome.VIOLATES, disk.trouble
        elif not receipt.bit:
            outcome, why = PointOutcome.NO_TEST, "the power cut did not bite: the node did not end by SIGKILL"
        return PowerCutTrial(number, tail, where, outcome, why, disk.unsynced_bytes, disk.lost_bytes, damages)

    # --- the operation ---

    def _operate(self, number: int, variables: Sequence[str]) -> None:
        if self.operation is WalkedOperation.BOOT:
            self.run.cluster.kill(TESTED)
            lose_unsynced(self.directory, Tail.NONE, self.rng)
            (self.directory / DIE_AT).write_text(str(number))
            with suppress(BootFailed):
                self.run.cluster.restart(TESTED)
            return
        self._propose(variables, (TESTED, WITNESS))
        self._wait_for_last_turn()

    def _wait_for_last_turn(self) -> None:
        """Wait until the node under test answers, which it does after the turn that it is committing now, or has ended."""
        until = time.monotonic() + _OPERATION_TIMEOUT_S
        while self.run.cluster.state(TESTED) is ProcessState.UP and time.monotonic() < until:
            if self.run.client.status([TESTED], _STATUS_TIMEOUT_S):
                return

    def _propose(self, variables: Sequence[str], nodes: Sequence[str]) -> None:
        """Propose a value for each variable, at the nodes in turn, until all have an outcome or the node under test ends."""
        for variable, node in zip(variables, cycle(nodes)):
            call = self.run.begin_propose(variable, "blue", node, _OPERATION_TIMEOUT_S)
            self._wait(call)
            if isinstance(call.outcome, Ok):
                self.answers[variable].append(PointAnswer(node, "propose", call.outcome))
            if self.run.cluster.state(TESTED) is not ProcessState.UP:
                return

    def _wait_until_caught_up(self) -> None:
        """Wait until the node under test has applied what the others have, or has ended."""
        until = time.monotonic() + _CATCH_UP_S
        while self.run.cluster.state(TESTED) is ProcessState.UP and time.monotonic() < until:
            applied = {
                node: status.get("variables", {}).get("", {}).get("applied", 0)
                for node, status in self.run.cluster.status(_OPERATION_TIMEOUT_S).items()
            }
            if applied and applied.get(TESTED) == max(applied.values()):
                return

    def _wait(self, call: VariableCall) -> None:
        """Wait until the call has an outcome or the node has ended, after which it gets none."""
        while call.outcome is None and self.run.cluster.state(TESTED) is ProcessState.UP:
            self.run.client.poll()
            time.sleep(_POLL_INTERVAL_S)

    def _decided(self) -> dict[str, Any]:
        """Return what the disk of the node under test, which is up, has decided: nothing if no replica can start on it now."""
        contents = inspect(self.directory)
        with suppress(
            Exception
        ):  # the algorithm's own code reads the disk; what is wrong then is judged when the node is down
            return decided_on_disk(load_algorithm(self.run.algorithm), NODES, contents)
        return {}

    # --- the checks ---

    def _at_rest(
        self, receipt: ReceiptBuilder, point: PowerCutPoint, before: dict[str, Any], variables: Sequence[str]
    ) -> _DiskAtRest:
        """Apply the tail to the disk of the node, which is down, and check the disk, unless it is to be damaged."""
        process = self.run.cluster.process(TESTED)
        receipt.evidence["ended"] = process.ended  # as the kernel reports it
        receipt.bit = "SIGKILL" in process.ended
        self.writes = sum(len(left.changes) for left in read_unsynced(self.directory))
        died = [line for line in read_disk_receipts(self.directory) if line["fault"] == DIE_AT]
        where = f"before a {died[-1]['before']} of {died[-1]['file']}" if died else ""
        settled = lose_unsynced(self.directory, point.tail, self.rng)
        receipt.evidence["files"] = settled
        unsynced, lost = (sum(int(line[what]) for line in settled) for what in ("unsynced_bytes", "lost_bytes"))
        if point.damages:
            bit = damage_last_commit(self.directory, self.rng)
            receipt.evidence[COMMIT_LOST] = [TESTED]
            receipt.evidence["damaged"] = {
                "file": bit.file.name,
                "position": bit.position,
                "was": bit.was,
                "now": bit.now,
            }
            return _DiskAtRest(where, unsynced, lost, None)
        try:
            contents = inspect(self.directory)
        except DiskError as error:
            return _DiskAtRest(where, unsynced, lost, f"its disk cannot be read: {error}")
        try:
            after = decided_on_disk(load_algorithm(self.run.algorithm), NODES, contents)
        except Exception as error:  # noqa: BLE001 - the algorithm's own code reads the disk, and refuses it as it likes
            return _DiskAtRest(where, unsynced, lost, f"its replica does not start on it: {describe_failure(error)}")
        for variable, value in before.items():
            if after.get(variable) != value:
                forgotten = f"its disk had decided {shown(value)} for {variable}, and has {shown(after.get(variable))}"
                return _DiskAtRest(where, unsynced, lost, forgotten)
        self.run.network.flush()
        lines = [line for line in self.run.messages() if line["variable"] in variables]
        verdict = invariants(self.run.evidence_of_disks({TESTED: contents}, lines))
        trouble = verdict.evidence if verdict.status is VerdictStatus.INVALID else None
        return _DiskAtRest(where, unsynced, lost, trouble)

    def _propose_rival_and_ask(self, variables: Sequence[str]) -> Judgement:
        """Propose a rival value where the disk of the node under test matters; then query every variable at every node."""
        with self.run.faults.isolate(WITNESS):
            calls = {
                variable: self.run.begin_propose(variable, "red", ABSENT, _RIVAL_TIMEOUT_S) for variable in variables
            }
            self.run.settle(*calls.values())
        for variable, call in calls.items():
            self.answers[variable].append(PointAnswer(ABSENT, "propose", call.outcome or NotKnown("")))
        queries = [
            (variable, node, self.run.begin_query(variable, node, _ANSWER_TIMEOUT_S))
            for variable in variables
            for node in NODES
        ]
        self.run.settle(*(call for _, _, call in queries))
        for variable, node, call in queries:
            self.answers[variable].append(PointAnswer(node, "query", call.outcome or NotKnown(""), must_answer=True))
        judged = [judge_point(self.answers[variable]) for variable in variables]
        order = (PointOutcome.VIOLATES, PointOutcome.BLOCKS, PointOutcome.SURVIVED)
        return min(judged, key=lambda one: order.index(one.outcome))
