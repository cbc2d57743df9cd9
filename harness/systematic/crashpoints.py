"""A power cut at every write and sync of one operation at one node, with every tail, and a look at what is left.

The operation
-------------
Three nodes on disks that lose power (`harness.faults.power_loss_vfs`). The last node is cut off, so that each quorum
needs the first,
which is the one under test. A value is proposed at the first node, then another at the second, so the first is in turn
proposer and acceptor. It dies before its N-th write or sync, for N = 1, 2, … until it gets through alive; then it is killed
once more, after the operation. For each N the un-synced writes survive in each way there is: none, all, and with enough of
them a prefix, a torn one, later ones without earlier ones.

`boot` walks the node's return from a kill instead, so it dies in the middle of a recovery.

What is checked
---------------
1. **At rest**: the disk as the power cut left it can be read, and holds all that the node had said on the wire (the
   protocol's invariants, which know what a Promise obliges to) and whatever it had shown as decided before.
2. **It starts** on that disk. A power cut damages nothing, so a refusal is a failure, too.
3. **Nothing acknowledged is lost**: the last node is joined again and the second is cut off, so that whoever decides now
   depends on the memory of the first; a rival is proposed. Then all are joined and asked: every answer, before and after the
   cut, is the same value.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Final

from cluster.clients.client import VariableCall
from cluster.clients.outcomes import NotKnown, Ok
from cluster.errors import BootFailed
from cluster.processes import NODE_COMMAND, ProcessState
from harness.checkers.invariants import invariants
from harness.checkers.verdict import VerdictStatus
from harness.faults.active import ReceiptBuilder
from harness.faults.power_cut import Tail, lose_unsynced, read_disk_receipts, read_unsynced
from harness.faults.power_loss_vfs import DIE_AT, SPEC
from harness.records.disks import decided_on_disk
from harness.records.jsonable import shown, write_document
from harness.runs.experiment import Experiment
from harness.runs.workers import as_done, threads_of
from harness.systematic.power_cuts import ALIVE, PowerCutTrial, Walk, WalkedOperation, tails_for
from harness.systematic.sweep_points import PointAnswer, PointOutcome, weigh
from node.algorithms import load_algorithm
from node.storage.disk import DiskError, inspect

NODES: Final = ("n1", "n2", "n3")
TESTED, WITNESS, ABSENT = NODES
#: How long a call of the operation may take, in seconds. No longer than a client takes to ask again: what a dead node was
#: asked must not come back to it during the next operation, and add to its writes.
_OPERATION_S: Final = 1.0
#: How long a call may take when it is owed an answer, and when it need not have one.
_OWED_S: Final = 3.0
_RIVAL_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.002
#: How often a boundary is tried that was not reached this time: messages that come together share a commit.
_TRIES: Final = 4
_BOUNDARIES_MAX: Final = 2_000


# --- one power cut --------------------------------------------------------------------------------------------------


class _Stuck(Exception):
    """The node does not start, so the cluster cannot be used for another trial. Carries the trial."""

    def __init__(self, trial: PowerCutTrial) -> None:
        super().__init__(trial.evidence)
        self.trial = trial


@dataclass
class _Stage:
    """A cluster on which power cuts are made, one after the other."""

    run: Experiment
    operation: WalkedOperation
    rng: Random
    count: int = 0
    told: dict[str, list[PointAnswer]] = field(default_factory=dict)
    writes: int = 0  # un-synced, at the last power cut
    clean: bool = False  # the node got through the last operation alive

    @property
    def directory(self) -> Path:
        """Where the node under test keeps its state."""
        return self.run.spec.settings.directory(TESTED)

    def perform(self, number: int, tail: Tail, *, at_end: bool = False) -> PowerCutTrial:
        """The operation, with a power cut before boundary `number`, or after the operation if `at_end`.

        If the node got through alive, `clean` is set, and the trial says no more than that.
        """
        self.count += 1
        variables = (f"cut-{self.count}-own", f"cut-{self.count}-other")
        self.told = {variable: [] for variable in variables}
        before = self._decided()
        receipt = self.run.faults.begin("power-cut", nodes_down=[TESTED], boundary=number, tail=str(tail))
        if not at_end and self.operation is WalkedOperation.PROPOSE:
            (self.directory / DIE_AT).write_text(str(number))
        absent = self.run.faults.isolate(ABSENT)
        self._operate(number, variables)
        alive = self.run.cluster.state(TESTED) is ProcessState.UP
        answered = self.operation is WalkedOperation.BOOT or all(self.told[variable] for variable in variables)
        self.clean = alive and answered
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
        where, unsynced_bytes, lost_bytes, trouble = self._at_rest(receipt, tail, before, variables)
        try:
            self.run.faults.restart(TESTED)
        except BootFailed as error:
            why = f"it does not start: {error}"
            raise _Stuck(
                PowerCutTrial(number, tail, where, PointOutcome.VIOLATES, why, unsynced_bytes, lost_bytes)
            ) from error
        ready = self.run.cluster.process(TESTED).ready
        receipt.evidence["incarnation"] = ready.incarnation if ready else 0
        receipt.end()
        absent.heal()
        fate, why = self._ask(variables)
        if trouble is not None:
            fate, why = PointOutcome.VIOLATES, trouble
        elif not receipt.bit:
            fate, why = PointOutcome.NO_TEST, "the power cut did not bite: nobody but its injector saw it"
        return PowerCutTrial(
            number, tail, "after the operation" if at_end else where, fate, why, unsynced_bytes, lost_bytes
        )

    # --- the operation ---

    def _operate(self, number: int, variables: Sequence[str]) -> None:
        if self.operation is WalkedOperation.BOOT:
            self.run.cluster.kill(TESTED)
            lose_unsynced(self.directory, Tail.NONE, self.rng)
            (self.directory / DIE_AT).write_text(str(number))
            with suppress(BootFailed):
                self.run.cluster.restart(TESTED)
            return
        for variable, node in zip(variables, (TESTED, WITNESS), strict=True):
            call = self.run.begin_propose(variable, "blue", node, _OPERATION_S)
            self._wait(call)
            if isinstance(call.outcome, Ok):
                self.told[variable].append(PointAnswer(node, "propose", call.outcome))
            if self.run.cluster.state(TESTED) is not ProcessState.UP:
                return
        self.run.client.status([TESTED], 1.0)  # behind its last turn, which may still be at its disk

    def _wait(self, call: VariableCall) -> None:
        """For an answer, or for the node's end, after which there will be none."""
        while call.outcome is None and self.run.cluster.state(TESTED) is ProcessState.UP:
            self.run.client.poll()
            time.sleep(_LOOK_EVERY_S)

    def _decided(self) -> dict[str, Any]:
        contents = inspect(self.directory)
        return decided_on_disk(load_algorithm(self.run.algorithm), NODES, contents)

    # --- the checks ---

    def _at_rest(
        self, receipt: ReceiptBuilder, tail: Tail, before: dict[str, Any], variables: Sequence[str]
    ) -> tuple[str, int, int, str | None]:
        """Settle what the power cut has left. Returns where it was, bytes un-synced and lost, and what is wrong, if it is."""
        process = self.run.cluster.process(TESTED)
        receipt.evidence["ended"] = process.ended  # the kernel's word
        receipt.bit = "SIGKILL" in process.ended
        self.writes = sum(len(left.changes) for left in read_unsynced(self.directory))
        died = [line for line in read_disk_receipts(self.directory) if line["fault"] == DIE_AT]
        where = f"before a {died[-1]['before']} of {died[-1]['file']}" if died else ""
        settled = lose_unsynced(self.directory, tail, self.rng)
        receipt.evidence["files"] = settled
        amounts = [sum(int(line[what]) for line in settled) for what in ("unsynced_bytes", "lost_bytes")]
        try:
            contents = inspect(self.directory)
        except DiskError as error:
            return where, *amounts, f"its disk cannot be read: {error}"  # type: ignore[return-value]
        algorithm = load_algorithm(self.run.algorithm)
        after = decided_on_disk(algorithm, NODES, contents)
        for variable, value in before.items():
            if after.get(variable) != value:
                lost = f"its disk had decided {shown(value)} for {variable}, and has {shown(after.get(variable))}"
                return where, amounts[0], amounts[1], lost
        self.run.network.flush()
        lines = [line for line in self.run.messages() if line["variable"] in variables]
        verdict = invariants(self.run.evidence_of_disks({TESTED: contents}, lines))
        return where, amounts[0], amounts[1], verdict.evidence if verdict.status is VerdictStatus.INVALID else None

    def _ask(self, variables: Sequence[str]) -> tuple[PointOutcome, str]:
        """A rival where the memory of the node under test decides; then everybody, of everything."""
        with self.run.faults.isolate(WITNESS):
            calls = {variable: self.run.begin_propose(variable, "red", ABSENT, _RIVAL_S) for variable in variables}
            self.run.settle(*calls.values())
        for variable, call in calls.items():
            self.told[variable].append(PointAnswer(ABSENT, "propose", call.outcome or NotKnown("")))
        queries = [
            (variable, node, self.run.begin_query(variable, node, _OWED_S)) for variable in variables for node in NODES
        ]
        self.run.settle(*(call for _, _, call in queries))
        for variable, node, call in queries:
            self.told[variable].append(PointAnswer(node, "query", call.outcome or NotKnown(""), owed=True))
        weighed = [weigh(self.told[variable]) for variable in variables]
        order = (PointOutcome.VIOLATES, PointOutcome.BLOCKS, PointOutcome.SURVIVED)
        return min(weighed, key=lambda one: order.index(one[0]))


# --- the whole walk -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Walker:
    """What to walk, and where. `every` takes one boundary in so many, for a quick look."""

    folder: Path
    algorithm: str
    operation: WalkedOperation = WalkedOperation.PROPOSE
    command: Sequence[str] = NODE_COMMAND
    seed: int = 0
    workers: int = 2
    every: int = 1

    def walk(self, progress: Callable[[PowerCutTrial], object] = str) -> Walk:
        """Walk every boundary. `progress` is told of each power cut."""
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
        """Every so many-th boundary, from the `worker`-th on, until the node gets through alive."""
        trials: list[PowerCutTrial] = []
        violations: list[str] = []
        rng = Random(f"{self.seed}/{worker}")
        first = 1 + worker * self.every
        todo: list[tuple[int, Tail, bool]] = [(first, Tail.NONE, False)]
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
            )
            with run:
                self._walk_on(_Stage(run, self.operation, rng), todo, trials, progress)
            violations += _violations(run, name)
        raise AssertionError

    def _walk_on(
        self,
        stage: _Stage,
        todo: list[tuple[int, Tail, bool]],
        trials: list[PowerCutTrial],
        progress: Callable[[PowerCutTrial], object],
    ) -> None:
        """Take from `todo` until it is empty, or until this cluster cannot go on."""
        while todo:
            number, tail, at_end = todo.pop(0)
            try:
                trial = self._try(stage, number, tail, at_end)
            except _Stuck as stuck:
                trials.append(stuck.trial)
                progress(stuck.trial)
                todo += [(number + self.workers * self.every, Tail.NONE, False)] if tail is Tail.NONE else []
                return
            progress(trial)
            if at_end or tail is not Tail.NONE or (trial.fate is PointOutcome.NO_TEST and not stage.clean):
                trials.append(trial)
            elif stage.clean:
                if self.operation is WalkedOperation.PROPOSE:
                    todo.append((number, Tail.NONE, True))
            else:
                trials.append(trial)
                more = tails_for(stage.writes)
                if self.operation is WalkedOperation.BOOT and more:
                    more = [stage.rng.choice(more)]  # there are hundreds of boundaries
                todo += [(number, other, False) for other in more]
                if number < _BOUNDARIES_MAX:
                    todo.append((number + self.workers * self.every, Tail.NONE, False))

    def _try(self, stage: _Stage, number: int, tail: Tail, at_end: bool) -> PowerCutTrial:
        for _ in range(1 if at_end else _TRIES):
            trial = stage.perform(number, tail, at_end=at_end)
            if trial.fate is not PointOutcome.NO_TEST:
                break
        return trial


def _violations(run: Experiment, name: str) -> list[str]:
    """What the checkers say of a walk's whole record. Fault tolerance is asked for at each power cut, not here."""
    try:
        verdicts = run.judge()
    except DiskError as error:  # the walk has told of it already
        return [f"not judged: {error} ({name})"]
    return [
        f"{property_}: {verdict.evidence} ({name})"
        for property_, verdict in verdicts.items()
        if verdict.status is VerdictStatus.INVALID and property_ != "fault tolerance"
    ]
