"""A run of a system that is not ours: its nodes, the history of what its clients saw, receipts of the faults, and the evidence.

`SystemRun` is to a `System` what `Experiment` is to a cluster of our own nodes. The nemesis, the faults of processes and links,
the receipts, the guards and the report are the same, and so are the files of the run folder.

Rules
-----
1. A call is recorded before the system's client sends anything, and its end after the answer has come.
2. After a call of unknown outcome its client goes on under a new name: what it asked for may still take effect.
3. Disks and logs are left in the folder as they are when every process has ended.
"""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Final, Self

from cluster.clients.outcomes import NotDone, NotKnown, Ok, Outcome
from harness.checkers.answers_again import CLIENT_FAILED, answers_again
from harness.checkers.evidence import Checker, RunEvidence
from harness.checkers.guards import PlanExecution, guards
from harness.checkers.known_bad import known_bad
from harness.checkers.known_bad_calls import known_bad_calls
from harness.checkers.minority_down import minority_down
from harness.checkers.properties import contract_verdict
from harness.checkers.recovery import recovery_verdict
from harness.checkers.verdict import Verdict, VerdictStatus
from harness.faults.injector import Faults
from harness.records import receipts
from harness.records.history import Event
from harness.records.history_recorder import HistoryRecorder
from harness.records.results import RecordedVerdict, RunResults
from harness.records.run_files import RunFiles
from harness.runs.machine_watch import MachineWatch
from harness.runs.node_evidence import may_fail_its_nodes
from harness.systems.system import NotOurs, System, SystemCall
from harness.workloads.planned_call import PlannedCall
from harness.workloads.system_workload import SystemWorkload
from node.contract import NodeId

#: How long a client pauses before it asks again, in seconds.
_AGAIN_S: Final = 0.1
_REST_S: Final = 0.002
#: A system that answers within so many seconds has broken its word in the known bad run of "fault tolerance".
_KNOWN_BAD_WITHIN_S: Final = 2.0


@dataclass(eq=False)
class RecordedSystemCall:
    """A call under way, with its line in the history. It has an outcome when the history has its end."""

    client: int
    event: Event
    call: SystemCall
    outcome: Outcome | None = None


class SystemRun:
    """One run. Use it as a context manager, make calls and inject faults inside, then take its `evidence`."""

    def __init__(
        self, folder: Path, system: System, nodes: tuple[NodeId, ...], seed: int, workload: SystemWorkload
    ) -> None:
        """Describe a run.

        Args:
            folder: the run folder, which is made, and must be empty.
            system: what is under test.
            nodes: the names of its nodes.
            seed: every random draw of the network and the faults comes from it.
            workload: what clients ask.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder, self.files = folder, RunFiles(folder)
        self.nodes, self.algorithm, self.seed = nodes, system.name, seed
        self.system = system.open(folder, nodes, seed, workload)
        self.cluster, self.network = self.system.cluster, self.system.network
        self.message_types = self.system.message_types
        self.faults = Faults(self.cluster, self.network)
        self.faults.links_may_idle = True
        self.recorder = HistoryRecorder(self.files.history)
        self.machine = MachineWatch(self._pids)
        self.notes: dict[str, Any] = {}
        self._about = system.to_json()
        self._open: list[RecordedSystemCall] = []
        self._names: dict[int, int] = {}
        self._rng = Random(f"nodes/{seed}")
        self._ending = ExitStack()
        self._message_count: int | None = None

    def _pids(self) -> dict[str, int]:
        """Return the processes of the nodes, by name."""
        found = {node: process.pid for node, process in self.system.cluster.processes.items()}
        return {node: pid for node, pid in found.items() if pid is not None}

    # --- its start and its end --------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Start every node. Raises BootFailed; nothing is left running then."""
        with ExitStack() as ending:  # the last step stands first
            ending.callback(self._close_records)
            ending.callback(self.system.end)
            self.system.start()
            ending.callback(self.faults.close)
            self._ending = ending.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.close()

    def _close_records(self) -> None:
        for call in self._open:
            self.recorder.info(call.event, "the run ended")
        self.recorder.close()
        self.save_receipts()

    has_history: Final = True

    def save_receipts(self) -> None:
        """Write the receipts as they are now. The run's end does so, too."""
        receipts.save(self.faults.receipts, self.files.receipts)

    # --- calls ------------------------------------------------------------------------------------------------------

    def ask(self, client: int, call: PlannedCall) -> RecordedSystemCall:
        """Begin a call of a client, and record it. A call that names no node goes to one that is drawn."""
        node = call.node or self._rng.choice(self.nodes)
        call = PlannedCall(call.f, call.key, call.value, node, call.timeout_s)
        number = self._names.get(client, 0)
        name = f"c{client + 1}" + (f"-{number + 1}" if number else "")
        event = self.recorder.invoke(name, call.f, call.key, call.value, node=node, timeout_s=call.timeout_s)
        found = RecordedSystemCall(client, event, self.system.begin(name, call))
        self._open.append(found)
        return found

    def poll(self) -> None:
        """Take in the answers that have come, and record the ends of calls. Does not wait."""
        self.system.poll()
        for call in [call for call in self._open if call.call.outcome is not None]:
            self._open.remove(call)
            outcome = call.call.outcome
            match outcome:
                case Ok(value, node):
                    self.recorder.ok(call.event, value, node=node or call.event.node)
                case NotDone(kind, reason):
                    self.recorder.fail(call.event, f"{kind}: {reason}" if kind else reason)
                case NotKnown(reason):
                    self.recorder.info(call.event, reason)
                    self._names[call.client] = self._names.get(call.client, 0) + 1
            call.outcome = outcome

    def last_round(self, workload: SystemWorkload) -> None:
        """Make the workload's last calls. Each is made again until it is answered for good, or its round's time is up."""
        workload.before_last_round(self.recorder.history.operations)
        for planned in workload.final_calls():
            until_s = time.monotonic() + workload.ask_again_s
            waiting: dict[int, list[PlannedCall]] = {}
            for number, call in enumerate(planned):
                waiting.setdefault(number % workload.clients, []).append(call)
            under_way: dict[int, RecordedSystemCall] = {}
            rests_until = dict.fromkeys(waiting, 0.0)
            while waiting:
                now_s = time.monotonic()
                for client, calls in list(waiting.items()):
                    if client not in under_way and rests_until[client] <= now_s:
                        under_way[client] = self.ask(client, calls[0])
                    outcome = under_way[client].outcome if client in under_way else None
                    if outcome is None:
                        continue
                    del under_way[client]
                    rests_until[client] = now_s + _AGAIN_S
                    failed = isinstance(outcome, NotKnown) and outcome.reason.startswith(CLIENT_FAILED)
                    if failed or workload.is_final(calls[0], outcome):  # a client that raises or hangs does so again
                        del calls[0]
                        rests_until[client] = now_s
                    if not calls or now_s > until_s:
                        del waiting[client]
                self.poll()
                self.machine.rest(_REST_S)

    # --- the evidence -----------------------------------------------------------------------------------------------

    def evidence(self, *, faults_expected: bool | None = None) -> RunEvidence:
        """Return everything that the judges read. Call it after the run's end."""
        lines, faults = self.system.messages(), self.faults.receipts
        self._message_count = len(lines)
        self.notes |= self.system.notes
        if self.faults.met_nothing:
            self.notes["faults on links that no message has crossed"] = dict(self.faults.met_nothing)
        return RunEvidence(
            members=self.nodes,
            algorithm=NotOurs,
            history=self.recorder.history,
            receipts=faults,
            messages=lines,
            faults_expected=bool(faults) if faults_expected is None else faults_expected,
            failures=self._unexplained_failures(),
            refusals=self.faults.refusals,
            stalls=self.machine.stalls,
            waits=self.machine.waits,
        )

    def _unexplained_failures(self) -> list[str]:
        """Return what nodes and clients have done against the rules, without the errors that a fault of their node excuses."""
        excused = {node for one in self.faults.receipts if may_fail_its_nodes(one.fault) for node in one.nodes_down}
        return [line for line in self.system.failures if line.partition(" ")[0] not in excused]

    def save_results(self, verdicts: dict[str, Verdict], **about: Any) -> None:
        """Write the results. `about` has further keys, with plain JSON data."""
        if self.recorder.lost:
            self.notes["history"] = f"the file lacks the last events, which the judges have seen: {self.recorder.lost}"
        RunResults(
            algorithm=self.algorithm,
            nodes=self.nodes,
            seed=self.seed,
            verdicts={
                name: RecordedVerdict(str(verdict.status), verdict.evidence, verdict.more)
                for name, verdict in verdicts.items()
            },
            notes=self.notes,
            about={"system": self._about, **about},
            counts={"messages": self._message_count},
        ).save(self.files.results)


def judge_system(
    run: RunEvidence, clients: SystemWorkload, healed_ns: int, carried: PlanExecution, system: System
) -> dict[str, Verdict]:
    """Compute every verdict on a run of a system that is not ours, whose messages and disks no rule is known for.

    "fault tolerance" is judged if the system says that it has it, and some fault lasted long enough to show it.
    """
    judges: dict[str, Checker] = {
        **clients.judges,
        "liveness": partial(answers_again, within_s=clients.ask_again_s, healed_ns=healed_ns),
    }
    within_s = system.answers_within_s
    if within_s is not None and (tolerance := minority_down(run, within_s)).status is not VerdictStatus.UNKNOWN:
        judges["fault tolerance"] = lambda _run: tolerance
    verdicts = {
        **contract_verdict(run),
        **recovery_verdict(run),
        **{name: check(run) for name, check in judges.items()},
    }
    judges["fault tolerance"] = partial(minority_down, within_s=_KNOWN_BAD_WITHIN_S)
    judges["liveness"] = partial(answers_again, healed_ns=0, within_s=clients.ask_again_s)
    verdicts["guards"] = guards(
        run,
        carried,
        clients.functions,
        judges,
        {**known_bad(run.algorithm, clients.model), **known_bad_calls(), **clients.bad_runs},
    )
    return verdicts
