"""One run: a cluster behind the proxy, a history of what clients saw, receipts of what was broken, and the verdicts.

Everything that a run leaves stands in its folder, which is also the cluster's own:

```
results.json      the verdicts, with the evidence in a line each
history.jsonl     what clients asked and were told
messages.jsonl    every message that crossed a link, and its fate
traces/           what each node took in, turn by turn, if the run is traced
receipts.jsonl    every fault, and how anybody knows that it bit
cluster.toml, nodes/, logs/    the spec, each node's disk and log
```
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Final, Self

from cluster.clients.client import VariableCall
from cluster.clients.outcomes import NotDone, NotKnown, Ok, Outcome
from cluster.cluster import Cluster
from cluster.processes import NODE_COMMAND, ProcessState
from cluster.spec import create
from harness.checkers.properties import RunEvidence, judge
from harness.checkers.verdict import Verdict
from harness.faults.active import EndsOnHeal
from harness.faults.catalogue import check_arguments, find_fault, names_of_families
from harness.faults.injector import Faults
from harness.network.network import Network
from harness.records import receipts
from harness.records.history import Event, HistoryRecorder
from harness.records.jsonable import read_lines, to_jsonable
from harness.records.node_failures import failures
from harness.systems.traced_node import traced
from harness.workloads.log_calls import LogCalls
from node.algorithms import load_algorithm
from node.contract import NodeId
from node.storage.disk import Contents, DiskError, inspect

#: How long a call of a scenario may take. It is what "no answer" means: hundreds of times what an answer needs here.
OWED_S: Final = 3.0

_LOOK_S: Final = 0.05

RESULTS_NAME: Final = "results.json"
SCHEMA: Final = 1


class Experiment:
    """Use it as a context manager; tell its story inside, then call `judge`."""

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int | Sequence[NodeId] = 5,
        algorithm: str = "paxos",
        seed: int = 0,
        command: Sequence[str] = NODE_COMMAND,
        vfs: str | None = None,
        trace: bool = False,
    ) -> None:
        """Describe a run. `folder` is made, and must be empty; the rest is as for `cluster.Cluster`.

        With `trace` the nodes note what they take in, for `harness.replay.trace_validation`.
        """
        self.folder = folder
        self.spec = create(folder, nodes=nodes, algorithm=algorithm, seed=seed, vfs=vfs)
        self.algorithm = algorithm
        self.notes: dict[str, Any] = {}
        self.replicas: dict[NodeId, dict[str, Any]] = {}
        self._command = traced(folder, tuple(command)) if trace else command
        self._seed = seed
        self._open: dict[int, tuple[Event, str]] = {}
        self._idle_processes: list[str] = []
        self._process_count = 0
        self._injected = 0
        self._silent: list[str] = []
        self._message_count: int | None = None

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """The nodes' names, in order."""
        return self.spec.nodes

    def __enter__(self) -> Self:
        self.recorder = HistoryRecorder(self.folder / "history.jsonl")
        self.network = Network(self.spec.path, record=self.folder / "messages.jsonl", seed=self._seed)
        self.network.__enter__()
        try:
            self.cluster = Cluster(spec=self.spec, links=self.network, command=self._command).start()
        except BaseException:
            self.network.__exit__(None, None, None)
            raise
        self.faults = Faults(self.cluster, self.network)
        self.client = self.cluster.client("client", on_outcome=self._record)
        self.log = LogCalls(self.spec.settings.cluster, self.cluster.client_addresses, self.recorder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End every process, and leave the evidence."""
        for event, _ in self._open.values():
            self.recorder.info(event, "the run ended first")
        self._open.clear()
        self.log.close()
        self.client.close()
        self.faults.close()
        self.cluster.stop()
        self.network.__exit__(None, None, None)
        self.recorder.close()
        receipts.save(self.faults.receipts, self.folder / "receipts.jsonl")

    # --- what clients do --------------------------------------------------------------------------------------------

    def begin_propose(
        self, variable: str, value: object, at: NodeId | None = None, timeout_s: float = OWED_S
    ) -> VariableCall:
        """Propose, without waiting for the answer."""
        process, event = self._invoke("propose", variable, value, at, timeout_s)
        return self._track(self.client.begin_propose(variable, value, at, timeout_s), process, event)

    def begin_query(self, variable: str, at: NodeId | None = None, timeout_s: float = OWED_S) -> VariableCall:
        """Query, without waiting for the answer."""
        process, event = self._invoke("query", variable, None, at, timeout_s)
        return self._track(self.client.begin_query(variable, at, timeout_s), process, event)

    def propose(self, variable: str, value: object, at: NodeId | None = None, timeout_s: float = OWED_S) -> Outcome:
        """Propose, and wait for the outcome."""
        return self.client.wait(self.begin_propose(variable, value, at, timeout_s))

    def query(self, variable: str, at: NodeId | None = None, timeout_s: float = OWED_S) -> Outcome:
        """Query, and wait for the outcome."""
        return self.client.wait(self.begin_query(variable, at, timeout_s))

    def query_all(self, variable: str, timeout_s: float = OWED_S) -> dict[NodeId, Outcome]:
        """Query every node at once, and wait for all outcomes."""
        calls = {node: self.begin_query(variable, node, timeout_s) for node in self.nodes}
        return {node: self.client.wait(call) for node, call in calls.items()}

    def settle(self, *calls: VariableCall) -> list[Outcome]:
        """Wait for the outcomes of calls that were begun."""
        return [self.client.wait(call) for call in calls]

    def poll(self) -> None:
        """Take in what has arrived, also for calls on a replicated log, which `log.begin` begins. Does not wait."""
        self.client.poll()
        self.log.poll()

    def _invoke(self, f: str, variable: str, value: object, at: NodeId | None, timeout_s: float) -> tuple[str, Event]:
        # In a history a process has one call open at a time, so calls that overlap are told of different processes.
        if not self._idle_processes:
            self._process_count += 1
            self._idle_processes.append(f"c{self._process_count}")
        process = self._idle_processes.pop()
        return process, self.recorder.invoke(process, f, variable, value, node=at, timeout_s=timeout_s)

    def _track(self, call: VariableCall, process: str, event: Event) -> VariableCall:
        self._open[call.number] = (event, process)
        return call

    def _record(self, call: VariableCall) -> None:
        event, process = self._open.pop(call.number)
        match call.outcome:
            case Ok(value, node):
                self.recorder.ok(event, value, node=node)
                self._idle_processes.append(process)
            case NotDone(_, reason):
                self.recorder.fail(event, reason)
                self._idle_processes.append(process)
            case NotKnown(reason):
                self.recorder.info(event, reason)  # its process is not used again: the call may still take effect

    # --- what is broken ---------------------------------------------------------------------------------------------

    def inject(self, fault: str, rng: Random | None = None, **arguments: Any) -> EndsOnHeal:
        """Inject a fault of the catalogue by its name. It ends with `heal`, or at the end of a `with`.

        Arguments that are left out are drawn from `rng`, which is seeded by the run if it is not given.

        Raises:
            BadFault: there is no such fault, or not with such arguments. Nothing was done.
        """
        check_arguments(fault, arguments, self.nodes)
        self._injected += 1
        lasting = find_fault(fault).fault.inject(self, rng or Random(f"{self._seed}/{self._injected}"), **arguments)
        return EndsOnHeal(lasting.heal)

    def look_for_silent_nodes(self, timeout_s: float = 3.0) -> None:
        """Ask every node that is up how it is. Call it before the run's end, if somebody had no answer."""
        told = self.cluster.status(timeout_s)
        self._silent = [
            f"{node} is up and does not even say how it is: is its algorithm in an endless loop?"
            for node in self.nodes
            if self.cluster.state(node) is ProcessState.UP and node not in told
        ]

    def look_at_replicas(self, timeout_s: float = 2.0) -> None:
        """Ask every replica of a log how far it has come and what its state's hash is; of other algorithms nothing.

        Call it before the run's end. Those that lag a little are waited for, as long as `timeout_s` seconds.
        """
        if not load_algorithm(self.algorithm).keeps_log:
            return
        deadline = time.monotonic() + timeout_s
        while True:
            statuses = self.cluster.status(0.5)
            self.replicas = {
                node: status["variables"][""] for node, status in statuses.items() if "" in status["variables"]
            }
            level = {replica["applied"] for replica in self.replicas.values()}
            if (len(level) == 1 and len(self.replicas) == len(self.nodes)) or time.monotonic() > deadline:
                break
            time.sleep(_LOOK_S)
        self.notes["replicas"] = {
            node: {name: replica.get(name) for name in ("role", "ballot", "commit", "applied", "chain", "snapshot")}
            for node, replica in self.replicas.items()
        }

    # --- what it comes to -------------------------------------------------------------------------------------------

    def evidence(self, *, faults_expected: bool | None = None) -> RunEvidence:
        """What the judges are given. Call it after the run's end. `faults_expected` is as for `judge`."""
        messages = [record for _, record in read_lines(self.folder / "messages.jsonl")]
        self._message_count = len(messages)
        return RunEvidence(
            members=self.nodes,
            algorithm=load_algorithm(self.algorithm),
            history=self.recorder.history,
            receipts=self.faults.receipts,
            disks=self._disks(),
            messages=messages,
            faults_expected=bool(self.faults.receipts) if faults_expected is None else faults_expected,
            replicas=self.replicas,
            failures=self._failures(),
        )

    def _failures(self) -> list[str]:
        """What nodes have failed of that no fault can explain: a disk or a clock that lies may well stop a node."""
        excused = names_of_families("disk", "limit", "clock")
        if any(receipt.fault in excused for receipt in self.faults.receipts):
            return []
        return [*failures({node: self.spec.log(node) for node in self.nodes}), *self._silent]

    def _disks(self) -> dict[NodeId, Contents]:
        """What each node's disk says. One that is damaged or gone says nothing, which stands in the notes."""
        disks, silent = {}, {}
        for node in self.nodes:
            try:
                disks[node] = inspect(self.spec.settings.directory(node))
            except DiskError as error:
                silent[node] = str(error)
        if silent:
            self.notes["disks that say nothing"] = silent
        return disks

    def judge(self, *, faults_expected: bool | None = None, **about: Any) -> Mapping[str, Verdict]:
        """The verdict on each property, from what is in the folder; also written there. Call it after the run's end.

        Args:
            faults_expected: whether the story is about something that breaks; then a run in which nothing did has shown
                nothing. None: as many as there were.
            about: goes into the results as it is.
        """
        started = time.monotonic()
        verdicts = judge(self.evidence(faults_expected=faults_expected))
        self.save_results(verdicts, **about, judged_in_s=round(time.monotonic() - started, 3))
        return verdicts

    def save_results(self, verdicts: Mapping[str, Verdict], **about: Any) -> None:
        """Write what came of the run. `about` goes into the results as it is."""
        results = {
            "schema": SCHEMA,
            "algorithm": self.algorithm,
            "nodes": list(self.nodes),
            "seed": self._seed,
            **about,
            "verdicts": {name: verdict.to_json() for name, verdict in verdicts.items()},
            "notes": to_jsonable(self.notes),
            "messages": self._message_count,
        }
        (self.folder / RESULTS_NAME).write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
