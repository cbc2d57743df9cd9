"""Plays a script on one cluster and judges the run: the judges must catch the mutant, and the shipped code must be valid.

Theory of operation
-------------------
After the script all faults are healed, a new value is proposed at two nodes, and every variable is queried at every node. So
each run shows something about every promise, also if a break has left a node stuck. All verdicts and guards of the suite are
computed.

Rules
-----
1. Whether a break shows may depend on timing that a script cannot control. So a mutant that was not caught is tried again, up
   to `_TRIES` times in all.
2. The shipped code has one try at every script, under the same judges, and must be valid.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Final

from cluster.errors import ConsensusError
from cluster.processes import NODE_COMMAND, ProcessState
from harness.checkers.guards import PlanExecution
from harness.checkers.verdict import Verdict, VerdictStatus, invalid, merge, unknown, valid, violated
from harness.faults.target import bring_up
from harness.mutants import log_scripts
from harness.mutants.catalogue import Mutant
from harness.mutants.part_scripts import PartScript, load_part
from harness.mutants.process_scripts import ProcessScript
from harness.mutants.virtual_script import VirtualScript
from harness.runs.experiment import Experiment
from harness.runs.suite import judge
from harness.runs.workers import as_done
from harness.workloads.key_values import KeyValueWorkload
from harness.workloads.set_once import SetOnceWorkload
from harness.workloads.workload import ANSWER_AFTER_HEAL_S
from node.algorithms import load_algorithm
from node.storage.disk import DiskError

_TRIES: Final = 3
#: The variable that two nodes decide after the script.
_AFTER: Final = "afterwards"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a script on one cluster."""

    folder: Path
    verdicts: dict[str, Verdict]
    took_s: float

    @property
    def verdict(self) -> Verdict:
        """The verdict over all."""
        return merge(self.verdicts)

    @property
    def violated(self) -> tuple[str, ...]:
        """The names of the invalid verdicts."""
        return violated(self.verdicts)


def attempt(
    script: ProcessScript | VirtualScript | PartScript,
    algorithm: str,
    folder: Path,
    *,
    original: str | None = None,
    seed: int = 0,
    command: Sequence[str] = NODE_COMMAND,
    watch: Callable[[Experiment], AbstractContextManager[None]] = lambda _run: nullcontext(),
) -> Attempt:
    """Play a script on a cluster, and judge the run.

    Args:
        script: the script.
        algorithm: the algorithm that the nodes run.
        folder: the run folder, which is created.
        original: the shipped algorithm of which `algorithm` is a broken copy. The judges apply a log's records with the
            machines of the original, since a broken machine would agree with itself.
        seed: the seed of every random draw.
        command: the command that starts a node.
        watch: follows the run, for a reader who watches; a script in virtual time, or of a part, has none.
    """
    if isinstance(script, VirtualScript):
        return _in_virtual_time(script, algorithm, folder)
    if isinstance(script, PartScript):
        return _with_a_part(script, algorithm, folder)
    started = time.monotonic()
    run = Experiment(folder, nodes=script.nodes, algorithm=algorithm, seed=seed, command=command, vfs=script.vfs)
    trouble: list[str] = []
    with run, watch(run):
        for part in (script.play, _heal_and_restart):
            try:
                part(run)
            except ConsensusError as error:  # an awaited message did not come, or a node does not start
                trouble.append(f"{type(error).__name__}: {error}")
        healed_ns = time.monotonic_ns()
        if script.on_log:
            log_scripts.settle(run, log_scripts.begin_put(run, "last", 8), log_scripts.begin_get(run, 9))
            run.look_at_replicas()
        else:
            _ask_every_node(run)
        down = [node for node in run.nodes if run.cluster.state(node) is not ProcessState.UP]
    carried = PlanExecution(len(run.faults.receipts), len(run.faults.receipts), trouble, down)
    verdicts = _judged(run, script, original, healed_ns, carried)
    run.save_results(verdicts, schedule=script.name, story=script.about, trouble=trouble, command=list(command[1:]))
    return Attempt(folder, verdicts, time.monotonic() - started)


def _in_virtual_time(script: VirtualScript, algorithm: str, folder: Path) -> Attempt:
    """Play the script in a process of its own, so that several can run at a time."""
    started = time.monotonic()
    folder.mkdir()
    played = subprocess.run(
        [sys.executable, "-P", "-m", "harness.mutants.virtual_runner", script.name, algorithm],
        capture_output=True,
        text=True,
        check=False,
    )
    (folder / "output.txt").write_text(played.stdout + played.stderr)
    last = (played.stdout or played.stderr).strip().rpartition("\n")[2]
    match played.returncode:
        case 0:
            verdict = valid(last)
        case 1:
            verdict = invalid(last)
        case _:
            verdict = unknown(last)
    return Attempt(folder, {"virtual time": verdict}, time.monotonic() - started)


def _with_a_part(script: PartScript, part: str, folder: Path) -> Attempt:
    """Play the script with a part of the harness. It needs no process, and takes a millisecond."""
    started = time.monotonic()
    folder.mkdir()
    try:
        script.play(load_part(part))
        verdict = valid(f"{script.name}: the harness has found nothing")
    except AssertionError as error:
        verdict = invalid(str(error))
    (folder / "output.txt").write_text(f"{verdict.evidence}\n")
    return Attempt(folder, {"the harness": verdict}, time.monotonic() - started)


def _heal_and_restart(run: Experiment) -> None:
    run.network.heal()
    bring_up(run.faults, run.nodes)


def _ask_every_node(run: Experiment) -> None:
    """Propose two values for a new variable; then query every variable at every node."""
    keys = list(dict.fromkeys(operation.key for operation in run.recorder.history.operations))
    run.settle(
        *(run.begin_propose(_AFTER, f"at {node}", node, ANSWER_AFTER_HEAL_S) for node in run.nodes[:2]),
        *(run.begin_query(key, node, ANSWER_AFTER_HEAL_S) for key in keys for node in run.nodes),
    )
    run.settle(*(run.begin_query(_AFTER, node, ANSWER_AFTER_HEAL_S) for node in run.nodes))


def _judged(
    run: Experiment, script: ProcessScript, original: str | None, healed_ns: int, carried: PlanExecution
) -> dict[str, Verdict]:
    try:
        evidence = run.evidence(faults_expected=script.breaks)
        if script.on_log and original is not None:
            evidence = replace(evidence, algorithm=load_algorithm(original))
    except DiskError as error:
        return {"disks": invalid(f"a disk cannot be read: {error}")}
    clients = _PutsAndGets(run.nodes, 0, 1.0) if script.on_log else SetOnceWorkload(run.nodes, 0, 1.0)
    return judge(evidence, clients, healed_ns, carried)


class _PutsAndGets(KeyValueWorkload):
    """The workload whose operations the scripts about logs use."""

    functions = ("put", "get")


# --- all of them ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MutantTrial:
    """The result of a mutant: its last attempt, which is the one in which it was caught, if it was."""

    mutant: Mutant
    last: Attempt
    tries: int
    took_s: float

    @property
    def caught(self) -> bool:
        """Whether a judge found a violation."""
        return self.last.verdict.status is VerdictStatus.INVALID

    def to_json(self) -> dict[str, Any]:
        """Return the trial as plain data for programs."""
        return {
            "mutant": self.mutant.name,
            "imitates": self.mutant.imitates,
            "schedule": self.mutant.script.name,
            "original": self.mutant.original,
            "caught": self.caught,
            "by": list(self.last.violated),
            "evidence": self.last.verdict.evidence,
            "tries": self.tries,
            "took_s": round(self.took_s, 2),
            "run": str(self.last.folder),
        }


def try_mutant(mutant: Mutant, folder: Path, seed: int = 0) -> MutantTrial:
    """Play the mutant's script until it is caught, `_TRIES` times at most.

    Args:
        mutant: the mutant.
        folder: the folder in which each attempt gets a run folder.
        seed: the seed of every random draw.
    """
    started = time.monotonic()
    for number in range(1, _TRIES + 1):
        own = folder / (mutant.name if number == 1 else f"{mutant.name}-{number}")
        last = attempt(
            mutant.script, mutant.algorithm, own, original=mutant.original, seed=seed, command=mutant.command
        )
        if last.verdict.status is VerdictStatus.INVALID:
            break
    return MutantTrial(mutant, last, number, time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class ShippedTrial:
    """The result of the shipped code under a mutant's script."""

    script: ProcessScript | VirtualScript | PartScript
    algorithm: str
    times: int
    passed: int
    shown: Attempt
    """The first attempt that was not valid, or else the last one."""

    @property
    def valid(self) -> bool:
        """Whether every attempt was valid."""
        return self.passed == self.times

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data for programs."""
        return {
            "schedule": self.script.name,
            "algorithm": self.algorithm,
            "valid": self.valid,
            "times": self.times,
            "passed": self.passed,
            "evidence": self.shown.verdict.evidence,
            "run": str(self.shown.folder),
        }


def try_shipped(
    script: ProcessScript | VirtualScript | PartScript, algorithm: str, folder: Path, times: int = 1, seed: int = 0
) -> ShippedTrial:
    """Play the script on the shipped code, `times` times. The folders of valid runs except the last are deleted."""
    shown: Attempt | None = None
    passed = 0
    for number in range(times):
        own = folder / f"unbroken-{algorithm}-{script.name}-{number + 1}"
        found = attempt(script, algorithm, own, seed=seed + number)
        passed += found.verdict.status is VerdictStatus.VALID
        if shown is None or shown.verdict.status is VerdictStatus.VALID:
            if shown is not None:
                shutil.rmtree(shown.folder)
            shown = found
    assert shown is not None
    return ShippedTrial(script, algorithm, times, passed, shown)


@dataclass(frozen=True, slots=True)
class MutantReport:
    """The results of all mutants and of the shipped code."""

    trials: tuple[MutantTrial, ...]
    unbroken: tuple[ShippedTrial, ...]
    took_s: float

    @property
    def survivors(self) -> tuple[MutantTrial, ...]:
        """The mutants that were not caught."""
        return tuple(trial for trial in self.trials if not trial.caught)

    @property
    def accused(self) -> tuple[ShippedTrial, ...]:
        """The scripts under which the shipped code was not valid."""
        return tuple(one for one in self.unbroken if not one.valid)

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data for programs."""
        seconds = [trial.took_s for trial in self.trials]
        return {
            "mutants": [trial.to_json() for trial in self.trials],
            "unbroken": [one.to_json() for one in self.unbroken],
            "caught": len(self.trials) - len(self.survivors),
            "of": len(self.trials),
            "median_s": round(median(seconds), 2) if seconds else None,
            "slowest_s": round(max(seconds), 2) if seconds else None,
            "took_s": round(self.took_s, 1),
        }


def try_all(
    mutants: Iterable[Mutant],
    folder: Path,
    *,
    workers: int = 2,
    times: int = 1,
    seed: int = 0,
    progress: Callable[[MutantTrial | ShippedTrial], object] = lambda _done: None,
) -> MutantReport:
    """Try each mutant, and play each of their scripts on the shipped code.

    Args:
        mutants: the mutants.
        folder: the folder in which each attempt gets a run folder.
        workers: how many attempts run at a time.
        times: how often each script is played on the shipped code.
        seed: the seed of every random draw.
        progress: called with each result.
    """
    started = time.monotonic()
    mutants = tuple(mutants)
    scripts = dict.fromkeys((mutant.script, mutant.original) for mutant in mutants) if times else {}
    with ThreadPoolExecutor(workers, thread_name_prefix="mutant") as pool:
        trials = [pool.submit(try_mutant, mutant, folder, seed) for mutant in mutants]
        unbroken = [pool.submit(try_shipped, *script, folder, times, seed) for script in scripts]
        waiting: list[Future[Any]] = [*trials, *unbroken]
        try:
            for future in as_done(waiting):
                progress(future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return MutantReport(
        tuple(future.result() for future in trials),
        tuple(future.result() for future in unbroken),
        time.monotonic() - started,
    )
