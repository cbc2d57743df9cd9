"""A run: a cluster behind the proxy, a history of what clients saw, receipts of the faults, and the verdicts.

Theory of operation
-------------------
`Experiment` is the one way in which the harness holds a cluster. It starts the proxy and the nodes, records what its clients
and its faults do, ends everything, and then judges what was recorded. Scenarios, plans, sweeps, replays, the pytest
fixtures and a session by hand all use it, so each of them leaves the same run folder. `harness.records.run_files` names
the files.

Rules
-----
1. The order is: `start` (or `with`), calls and faults, `end`, then `evidence` or `judge`.
2. Disks are read and records closed after the nodes have ended: the disk of a node then holds everything that it sent.
3. One thread makes the calls. Any thread may inject faults.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from types import MappingProxyType, TracebackType
from typing import Any, Self

from cluster.cluster import Cluster
from cluster.processes import NODE_COMMAND
from cluster.spec import Spec, create
from harness.checkers.evidence import PROXY
from harness.checkers.properties import RunEvidence, contract_verdict, judge
from harness.checkers.verdict import Verdict
from harness.faults.active import EndsOnHeal
from harness.faults.catalogue import check_arguments, find_fault, message_types
from harness.faults.injector import Faults
from harness.network.network import Network
from harness.records import messages, receipts
from harness.records.disks import status_failures
from harness.records.history_recorder import HistoryRecorder
from harness.records.results import RecordedVerdict, RunResults
from harness.records.run_files import RunFiles
from harness.records.sparse import make_sparse
from harness.runs.machine_watch import MachineWatch
from harness.runs.node_evidence import (
    nodes_that_went_on,
    read_disks,
    replica_statuses,
    silent_nodes,
    unexplained_failures,
)
from harness.runs.run_clients import RunClients
from harness.systems.traced_node import traced
from node.algorithms import load_algorithm
from node.contract import NodeId
from node.storage.disk import Contents


class Experiment(RunClients):
    """One run. Use it as a context manager, make calls and inject faults inside, then call `judge`."""

    def __init__(
        self,
        folder: Path | Callable[[], Path],
        *,
        nodes: int | Sequence[NodeId] = 5,
        algorithm: str = "paxos",
        seed: int = 0,
        command: Sequence[str] = NODE_COMMAND,
        vfs: str | None = None,
        settings: Mapping[str, int] = MappingProxyType({}),
        trace: bool = False,
        spec: Spec | None = None,
        record: bool = True,
        without_the_lost: bool = False,
        some_messages: Path | None = None,
        record_bytes_max: int | None = None,
        moves: bool = False,
    ) -> None:
        """Describe a run.

        Args:
            folder: the run folder, which is made, and must be empty. Without a `spec` it is the cluster's folder, too. Or a
                function that makes the folder: it is called when the run first has something to record, and needs a `spec`.
            nodes: how many nodes, or their names in order.
            algorithm: a name of ours, or `module:Class`.
            seed: every random draw of the nodes, the proxy and the faults comes from it.
            command: what starts a node.
            vfs: the SQLite VFS of the nodes' disks, as `module:name`.
            settings: settings of the cluster that are not as shipped, by name: see `node/tuning.py`.
            trace: whether the nodes record what they take in, for `harness.replay.trace_validation`.
            spec: a cluster that exists already, instead of `nodes`, `algorithm`, `seed` and `vfs`. Its disks may hold state.
            record: whether the proxy records every message, for the judges.
            some_messages: if not: the file for the first messages, up to `messages.SOME_BYTES_MAX`, for people; None for none.
            record_bytes_max: how large the record for the judges becomes; None for no limit. Judges use none that is cut short.
            moves: whether connections to a node that ends close, and it moves when it starts again: see `Network`.
            without_the_lost: whether the cluster may start without nodes that have run before and cannot start now. See
                `cluster.Cluster.start`.

        Raises:
            BadSpec, UnknownAlgorithm: as `cluster.spec.create`.
        """
        self._has_own_disks = spec is None
        if spec is None:
            assert isinstance(folder, Path), "a cluster that is made here needs its folder now"
            spec = create(folder, nodes=nodes, algorithm=algorithm, seed=seed, vfs=vfs, settings=settings)
        elif isinstance(folder, Path):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.spec = spec
        self.algorithm, self.seed = spec.settings.algorithm, spec.settings.seed
        self.notes: dict[str, Any] = {}
        self.replicas: dict[NodeId, dict[str, Any]] = {}
        self._lock = threading.RLock()
        self._folder, self._is_on_demand = folder, not isinstance(folder, Path)
        self._recorder: HistoryRecorder | None = None
        self.records_messages = record
        self._without_the_lost = without_the_lost
        record_to = self.files.messages if record else some_messages
        limit = self._record_bytes_max = record_bytes_max if record else messages.SOME_BYTES_MAX
        self.network = Network(spec.path, record=record_to, seed=self.seed, record_bytes_max=limit, moves=moves)
        if trace:
            command = traced(self.folder, tuple(command))
        super().__init__(Cluster(spec=spec, links=self.network, command=command), lambda: self.recorder)
        self.faults = Faults(self.cluster, self.network)
        self._ending = ExitStack()
        self._injected = 0
        self._silent: list[str] = []
        self._message_count: int | None = None
        self.machine = MachineWatch(self._pids)

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """The names of the nodes that are members now, in order."""
        return self.cluster.nodes

    def _pids(self) -> dict[str, int]:
        """Return the processes of the nodes and of the proxy, by name."""
        pids = {node: process.pid for node, process in list(self.cluster.processes.items()) if process.pid is not None}
        return {**pids, PROXY: self.network.proxy.pid}

    @property
    def message_types(self) -> tuple[str, ...]:
        """The types of the messages that its nodes send each other."""
        return message_types(self.algorithm)

    # --- its folder -------------------------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """The run folder. It is made now, if it is made on demand."""
        with self._lock:
            if not isinstance(self._folder, Path):
                self._folder = self._folder()
            return self._folder

    @property
    def files(self) -> RunFiles:
        """The files of the run folder."""
        return RunFiles(self.folder)

    @property
    def recorder(self) -> HistoryRecorder:
        """The recorder of the history. It is made now, and the run folder with it, if the folder is made on demand."""
        with self._lock:
            if self._recorder is None:
                self._recorder = HistoryRecorder(self.files.history)
            return self._recorder

    @property
    def has_history(self) -> bool:
        """Whether the history was begun. A run whose folder is made on demand may end without one."""
        return self._recorder is not None

    # --- its start and its end --------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start the proxy and the nodes.

        Raises:
            BootFailed: the proxy or a node could not start. Nothing is left running.
        """
        with ExitStack() as ending:  # the last step stands first
            ending.callback(self._close_records)
            if not self._is_on_demand:
                _ = self.recorder  # this begins the history
            ending.callback(self.network.close)
            self.network.start()
            if self._has_own_disks:
                ending.callback(self._make_disks_sparse)
            ending.callback(self.cluster.stop)
            self.cluster.start(without_the_lost=self._without_the_lost)
            ending.callback(self.faults.close)
            ending.callback(self.close_clients)
            self._ending = ending.pop_all()
        return self

    def end(self) -> None:
        """End every process and close the records. If a step fails, the others are taken all the same. Safe to call twice."""
        self._ending.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()

    def _close_records(self) -> None:
        if self._recorder is not None:
            self._recorder.close()
            self.save_receipts()

    def _make_disks_sparse(self) -> None:
        for node in self.spec.nodes:
            for file in self.spec.settings.directory(node).glob("*-wal"):
                with suppress(OSError):  # it takes more space then, and that is all
                    make_sparse(file)

    def save_receipts(self) -> None:
        """Write the receipts as they are now. `end` does so, too."""
        receipts.save(self.faults.receipts, self.files.receipts)

    # --- faults -----------------------------------------------------------------------------------------------------

    def inject(self, fault: str, rng: Random | None = None, **arguments: Any) -> EndsOnHeal:
        """Inject a fault of the catalogue by its name. It ends with `heal`, or at the end of a `with`.

        Args:
            fault: the fault's name; `consensus faults` lists them.
            rng: what the arguments that are left out are drawn from. None: a generator that the run's seed determines.
            arguments: those of the fault.

        Raises:
            BadFault: no fault has such a name or such arguments. Nothing was done.
        """
        check_arguments(fault, arguments, self.nodes)
        self._injected += 1
        active = find_fault(fault).fault.inject(self, rng or Random(f"{self.seed}/{self._injected}"), **arguments)
        return EndsOnHeal(active.heal)

    # --- the last look at the nodes ---------------------------------------------------------------------------------

    def look_for_silent_nodes(self, timeout_s: float = 3.0) -> None:
        """Find the nodes that are up and do not answer a status request, for the evidence.

        Call it before the run's end, if a call had no answer. A node has `timeout_s` seconds to answer.
        """
        self._silent = silent_nodes(self.cluster, timeout_s)

    def look_at_replicas(self, timeout_s: float = 2.0) -> None:
        """Read from every replica of a log how far it has come and the hash of its state, for the evidence.

        Call it before the run's end. Replicas that lag have `timeout_s` seconds to catch up. For an algorithm that keeps no
        log this does nothing.
        """
        if not load_algorithm(self.algorithm).keeps_log:
            return
        self.replicas = replica_statuses(self.cluster, timeout_s)
        self.notes["replicas"] = {
            node: {name: replica.get(name) for name in ("role", "ballot", "commit", "applied", "chain", "snapshot")}
            for node, replica in self.replicas.items()
        }

    # --- the evidence and the verdicts ------------------------------------------------------------------------------

    def messages(self) -> list[dict[str, Any]]:
        """Return the lines of the record of messages; empty if this run keeps none.

        While the run goes on, `network.flush` first makes the proxy write out its lines. A record that the proxy could not write
        in whole counts as none, since a rule of a protocol may look broken where a line is missing.
        """
        if self.network.record_is_cut_short:
            self.notes["record of messages"] = "it is cut short: the proxy could not write it, see logs/proxy.log"
            return []
        limit = self._record_bytes_max
        if self.records_messages and limit and messages.limit_reached(self.files.messages, limit):
            self.notes["record of messages"] = f"it ends at its limit of {limit // 2**20} MiB, so no judge uses it"
            self.records_messages = False
        return list(messages.load(self.files.messages)) if self.records_messages else []

    def evidence(self, *, faults_expected: bool | None = None) -> RunEvidence:
        """Everything that the judges read. Call it after the run's end. `faults_expected` is as for `judge`.

        A disk that is damaged or missing is left out, and named in the notes.
        """
        lines, faults = self.messages(), self.faults.receipts
        self._message_count = len(lines)
        disks = read_disks(self.spec)
        if disks.unreadable:
            self.notes["disks that say nothing"] = disks.unreadable
        return RunEvidence(
            members=self.spec.nodes,
            algorithm=load_algorithm(self.algorithm),
            history=self.recorder.history,
            receipts=faults,
            disks=disks.contents,
            messages=lines,
            faults_expected=bool(faults) if faults_expected is None else faults_expected,
            replicas=self.replicas,
            failures=[*self.failures(), *self._status_failures(disks.contents)],
            refusals=self.faults.refusals,
            stalls=self.machine.stalls,
            waits=self.machine.waits,
            settings=self.spec.settings.tuning,
        )

    def failures(self) -> list[str]:
        """Return a line for each failure of a node that no fault explains: its algorithm raised, or is in an endless loop.

        Call `look_for_silent_nodes` before, so that it finds endless loops.
        """
        receipts = self.faults.receipts
        return [*unexplained_failures(self.spec, receipts, self._silent), *nodes_that_went_on(receipts)]

    def ended_from_outside(self) -> list[str]:
        """Return a line for each node that another program has killed or suspended. Call it before the run's end."""
        states = {node: self.cluster.process(node).describe() for node in self.nodes}
        found = [f"{node} is {state}" for node, state in states.items() if state.endswith(" from outside")]
        if found:
            self.notes["from outside"] = found
        return found

    def _status_failures(self, disks: Mapping[NodeId, Contents]) -> list[str]:
        algorithm = load_algorithm(self.algorithm)
        return [line for contents in disks.values() for line in status_failures(algorithm, self.spec.nodes, contents)][
            :1
        ]

    def evidence_of_disks(
        self, disks: Mapping[NodeId, Contents], lines: Sequence[Mapping[str, Any]] = ()
    ) -> RunEvidence:
        """Return evidence of disks and of lines of the record of messages only, for a check while the run goes on."""
        return RunEvidence(self.spec.nodes, load_algorithm(self.algorithm), disks=disks, messages=lines)

    def judge(self, *, faults_expected: bool | None = None, **about: Any) -> Mapping[str, Verdict]:
        """Judge the article's four properties, and write the results. Call it after the run's end.

        If a node failed by itself, the verdict "contract" is invalid and stands first.

        Args:
            faults_expected: whether the run is about faults. If so, a run in which no fault bit has shown nothing. None: it
                is, if it has receipts.
            about: further keys of the results, with plain JSON data.

        Returns:
            The verdict on each property, by its name.
        """
        started = time.monotonic()
        evidence = self.evidence(faults_expected=faults_expected)
        verdicts = {**contract_verdict(evidence), **judge(evidence)}
        self.save_results(verdicts, **about, judged_in_s=round(time.monotonic() - started, 3))
        return verdicts

    def save_results(self, verdicts: Mapping[str, Verdict], **about: Any) -> None:
        """Write the results. `about` has further keys, with plain JSON data. Results by hand have no counts."""
        if self._recorder is not None and self._recorder.lost:
            self.notes["history"] = f"the file lacks the last events, which the judges have seen: {self._recorder.lost}"
        counts = {} if about.get("by_hand") else {"messages": self._message_count}
        RunResults(
            algorithm=self.algorithm,
            nodes=self.spec.nodes,
            seed=self.seed,
            verdicts={
                name: RecordedVerdict(str(verdict.status), verdict.evidence, verdict.more)
                for name, verdict in verdicts.items()
            },
            notes=self.notes,
            about=about,
            counts=counts,
        ).save(self.files.results)
