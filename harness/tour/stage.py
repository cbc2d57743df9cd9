"""The stage of the tour: at most one cluster at a time, real processes behind the proxy, and words for what happens to it.

Theory of operation
-------------------
A stage holds an `Experiment`, so every call goes into a history, every fault leaves a receipt, and the judges have the last
word. The methods that act return lines for people, made of what was measured: process ids, wait statuses, incarnations, answers
and times. Each cluster leaves a run folder, as any run does, so `consensus report` draws it.

Rules
-----
1. A stage is a context manager: when it ends, for whatever reason, every process has ended.
2. One thread uses it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from cluster.clients.client import VariableCall
from cluster.clients.operations import Operation, kv_get, kv_put
from cluster.clients.outcomes import NotDone, NotKnown, Ok, Outcome
from cluster.errors import Unknown
from cluster.processes import ProcessState
from harness.checkers.evidence import RunEvidence
from harness.checkers.verdict import Verdict
from harness.faults.active import LinkFault
from harness.records.jsonable import shown
from harness.records.messages import load as load_messages
from harness.records.run_files import RunFiles
from harness.runs.experiment import Experiment
from node.algorithms import load_algorithm
from node.contract import BadInput, NodeId

#: The variable of the tour, unless a screen needs several.
VARIABLE: Final = "colour"
#: How long a call may take that is answered, in seconds, on a busy machine too.
ANSWER_S: Final = 10.0
#: How long a call may take that is to show that no answer comes.
NO_ANSWER_S: Final = 1.0
#: How long the stage waits for something that needs a timer, such as a failover.
_LATER_S: Final = 30.0
_POLL_S: Final = 0.002


#: Follows a run for a reader who watches, from its start to just before its end.
Watch = Callable[[Experiment], AbstractContextManager[None]]


class Stage:
    """Where the tour acts. `folder` is where each cluster gets its run folder. `watch` is for each run that an act starts."""

    def __init__(self, folder: Path, seed: int = 0, watch: Watch = lambda _run: nullcontext()) -> None:
        self.folder, self._seed, self.watch = folder, seed, watch
        self._watching = ExitStack()
        self._run: Experiment | None = None
        self._held: list[LinkFault] = []
        self.runs: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._watching.close()
        if self._run is not None:
            self._run.end()
            self._run = None

    @property
    def run(self) -> Experiment:
        """The cluster that is up.

        Raises:
            BadInput: none is.
        """
        if self._run is None:
            raise BadInput("no cluster is up on the stage")
        return self._run

    # --- a cluster's beginning and end --------------------------------------------------------------------------------

    def next_folder(self, name: str) -> Path:
        """Return a folder for a run, which does not exist yet, and remember it."""
        folder = self.folder / f"{len(self.runs) + 1:02}-{name}"
        self.runs.append(folder)
        return folder

    def up(self, algorithm: str, nodes: int, name: str) -> list[str]:
        """Start a cluster. One that is up ends first. `name` is for its run folder."""
        self.end()
        self._held.clear()
        folder = self.next_folder(name)
        # No verdict of the tour needs messages. While a reader reads, nodes go on sending: a record for judges grew by 0.1 MB a
        # second, and the next verdict read all of it.
        some = RunFiles(folder).messages
        run = Experiment(folder, nodes=nodes, algorithm=algorithm, seed=self._seed, record=False, some_messages=some)
        self._run = run.start()
        self._watching.enter_context(self.watch(self._run))
        pids = ", ".join(f"{node} is process {self.pid(node)}" for node in self.run.nodes)
        return [f"{nodes} {algorithm.rpartition(':')[2]} nodes are up: {pids}"]

    @property
    def keeps_log(self) -> bool:
        """Whether the cluster that is up keeps a replicated log."""
        return load_algorithm(self.run.algorithm).keeps_log

    def pid(self, node: NodeId) -> int | None:
        """Return the number of a node's process."""
        return self.run.cluster.process(node).pid

    def end(self) -> Mapping[str, Verdict]:
        """End the cluster, if one is up, and judge its run."""
        if self._run is None:
            return {}
        run, self._run = self._run, None
        self._watching.close()
        run.end()
        return run.judge(by="the tour")

    # --- calls --------------------------------------------------------------------------------------------------------

    def begin_propose(
        self, value: object, at: NodeId, variable: str = VARIABLE, timeout_s: float = ANSWER_S
    ) -> VariableCall:
        """Begin to propose, without waiting for the answer."""
        return self.run.begin_propose(variable, value, at, timeout_s)

    def ask(self, what: str, call: VariableCall) -> tuple[Outcome, str]:
        """Wait for a call's outcome. Returns it, and a line with it: `what`, the answer, and how long it took."""
        began = time.monotonic()
        outcome = self.run.client.wait(call)
        return outcome, f"{what}: {in_words(outcome)}, after {(time.monotonic() - began) * 1000:.0f} ms"

    def propose(
        self, value: object, at: NodeId, variable: str = VARIABLE, timeout_s: float = ANSWER_S
    ) -> tuple[Outcome, str]:
        """Propose, and wait for the outcome. Returns it, and a line."""
        named = "" if variable == VARIABLE else f" for {variable}"
        call = self.begin_propose(value, at, variable, timeout_s)
        return self.ask(f"propose {shown(value)}{named} at {at}", call)

    def query(self, at: NodeId, variable: str = VARIABLE, timeout_s: float = ANSWER_S) -> tuple[Outcome, str]:
        """Query, and wait for the outcome. Returns it, and a line."""
        named = "" if variable == VARIABLE else f" {variable}"
        return self.ask(f"query{named} at {at}", self.run.begin_query(variable, at, timeout_s))

    def query_all(
        self, variable: str = VARIABLE, timeout_s: float = ANSWER_S
    ) -> tuple[dict[NodeId, Outcome], list[str]]:
        """Query every node that is up. Returns the outcomes, and one line with all of them."""
        up = [node for node in self.run.nodes if self.run.cluster.state(node) is ProcessState.UP]
        calls = {node: self.run.begin_query(variable, node, timeout_s) for node in up}
        outcomes = {node: self.run.client.wait(call) for node, call in calls.items()}
        named = "" if variable == VARIABLE else f" {variable}"
        return outcomes, [
            f"query{named}: " + ", ".join(f"{node} says {in_words(one)}" for node, one in outcomes.items())
        ]

    def query_until(
        self, at: NodeId, wanted: Callable[[object], bool], variable: str = VARIABLE
    ) -> tuple[Outcome, str]:
        """Query a node until its answer is as wanted, at most `_LATER_S` seconds. Returns the last outcome, and a line."""
        deadline = time.monotonic() + _LATER_S
        while True:
            outcome, line = self.query(at, variable, 2 * NO_ANSWER_S)
            if (isinstance(outcome, Ok) and wanted(outcome.value)) or time.monotonic() > deadline:
                return outcome, line
            time.sleep(0.05)

    # --- a replicated log ---------------------------------------------------------------------------------------------

    def put(self, key: str, new: object, timeout_s: float = ANSWER_S) -> tuple[Outcome, str]:
        """Put a value under a key. Returns the outcome, and a line."""
        return self._log_call("put", key, new, kv_put(key, new), f"put {key} {shown(new)}", timeout_s)

    def get(self, key: str, timeout_s: float = ANSWER_S) -> tuple[Outcome, str]:
        """Get the value of a key. Returns the outcome, and a line."""
        return self._log_call("get", key, None, kv_get(key), f"get {key}", timeout_s)

    def _log_call(
        self, f: str, key: str, new: object, operation: Operation[Any], what: str, timeout_s: float
    ) -> tuple[Outcome, str]:
        began = time.monotonic()
        call = self.run.log.begin(0, f, key, new, operation, timeout_s)
        while call.outcome is None:
            self.run.poll()
            time.sleep(_POLL_S)
        return call.outcome, f"{what}: {in_words(call.outcome)}, after {(time.monotonic() - began) * 1000:.0f} ms"

    def leader(self) -> NodeId:
        """Return the node that reports that it leads, or the first one if none does."""
        return self.run.faults.leader()

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds, and take in answers meanwhile.

        Raises:
            Unknown: it did not come to hold within `_LATER_S` seconds. `what` says what was awaited.
        """
        deadline = time.monotonic() + _LATER_S
        while not condition():
            if time.monotonic() > deadline:
                raise Unknown(f"the tour has waited {_LATER_S:g} s for {what}")
            self.run.poll()
            time.sleep(0.02)

    # --- faults -------------------------------------------------------------------------------------------------------

    def kill(self, *nodes: NodeId) -> list[str]:
        """SIGKILL each node. Returns a line for each, with what the kernel said."""
        pids = [self.pid(node) for node in nodes]
        proofs = zip(nodes, pids, self.run.faults.kill(*nodes), strict=True)
        return [
            f"{node} is dead: SIGKILL to process {pid}, wait status {proof['wait_status']}"
            for node, pid, proof in proofs
        ]

    def restart(self, *nodes: NodeId) -> list[str]:
        """Start nodes again on their disks."""
        proofs = zip(nodes, self.run.faults.restart(*nodes), strict=True)
        return [
            f"{node} is back: process {self.pid(node)}, incarnation {proof['incarnation']}" for node, proof in proofs
        ]

    def suspend(self, *nodes: NodeId) -> list[str]:
        """SIGSTOP each node."""
        proofs = zip(nodes, self.run.faults.suspend(*nodes), strict=True)
        return [
            f"{node} is suspended: the kernel reports its state as {proof['process_state']}" for node, proof in proofs
        ]

    def resume(self, *nodes: NodeId) -> list[str]:
        """SIGCONT each node."""
        self.run.faults.resume(*nodes)
        return [f"{node} runs again" for node in nodes]

    def cut(self, *groups: Sequence[NodeId]) -> list[str]:
        """Cut groups of nodes from each other, until `heal`."""
        self._held.append(self.run.faults.partition(*groups))
        sides = " | ".join(", ".join(group) for group in groups)
        return [f"cut: {sides}; what is sent across is lost, and all {len(self.run.nodes)} processes go on"]

    def hold(self, *types: str) -> list[str]:
        """Hold messages between nodes in the proxy, all of them or those of some types, until `release` or `heal`."""
        self._held.append(self.run.faults.hold_all(*types))
        return [f"held from now on: {' and '.join(types) or 'every message'} between nodes; nothing is lost"]

    def heal(self) -> list[str]:
        """End every cut and hold. Held messages are delivered. Returns a line for each, with the proxy's counters."""
        found = []
        for fault in self._held:
            fault.heal()
            receipt = fault.receipt.build()
            counts: dict[str, int] = {}
            for of_link in receipt.evidence.get("by link", {}).values():
                for what, number in of_link.items():
                    counts[what] = counts.get(what, 0) + number
            told = ", ".join(f"{number} {what}" for what, number in counts.items() if number) or "no message met it"
            found.append(f"healed: {receipt.fault}; the proxy counted: {told}")
        self._held.clear()
        return found

    def replicas(self) -> dict[NodeId, dict[str, Any]]:
        """Return how each replica of a log that is up stands: its role, how far it has come, and its checksum."""
        return self.variable_status("")

    def replicas_alike(self) -> dict[NodeId, dict[str, Any]]:
        """Wait until all nodes have carried out equally many slots, at most `_LATER_S` seconds. Return how they stand."""
        deadline = time.monotonic() + _LATER_S
        while True:
            replicas = self.replicas()
            all_alike = (
                len(replicas) == len(self.run.nodes) and len({log.get("applied") for log in replicas.values()}) == 1
            )
            if all_alike or time.monotonic() > deadline:
                return replicas
            time.sleep(0.05)

    # --- looks --------------------------------------------------------------------------------------------------------

    def evidence(self) -> RunEvidence:
        """Return the evidence of the calls and faults so far, while the cluster runs."""
        run = self.run
        return RunEvidence(
            run.spec.nodes, load_algorithm(run.algorithm), history=run.recorder.history, receipts=run.faults.receipts
        )

    def variable_status(self, variable: str = VARIABLE) -> dict[NodeId, dict[str, Any]]:
        """Return how each node that is up stands with a variable."""
        statuses = self.run.cluster.status(2.0)
        return {node: status.get("variables", {}).get(variable, {}) for node, status in statuses.items()}

    def states(self) -> list[str]:
        """Return a line on each node's process, and on what it knows of the variable or how far its log has come."""
        if self.keeps_log:
            down = [node for node in self.run.nodes if self.run.cluster.state(node) is not ProcessState.UP]
            return [
                *log_lines(self.replicas()),
                *(f"{node}: {self.run.cluster.process(node).describe()}" for node in down),
            ]
        found, statuses = [], self.variable_status()
        for node in self.run.nodes:
            status = statuses.get(node, {})
            knows = [
                f"{name} {shown(status[name])}"
                for name in ("role", "vote", "accepted", "decided")
                if status.get(name) not in (None, "")
            ]
            found.append(f"{node}: {', '.join([self.run.cluster.process(node).describe(), *knows])}")
        return found

    def recorded(self) -> list[dict[str, Any]]:
        """Return the record of what nodes have sent each other so far, a line for each message."""
        self.run.network.flush()
        nodes = set(self.run.nodes)
        lines = load_messages(self.run.files.messages)
        return [line for line in lines if "of" not in line and {line["from"], line["to"]} <= nodes]


def in_words(outcome: Outcome) -> str:
    """Return an outcome for people."""
    match outcome:
        case Ok(None):
            return "undecided"
        case Ok(value):
            return shown(value)
        case NotDone(_, reason):
            return f"refused ({reason})"
        case NotKnown(reason):
            return reason if reason.startswith("no answer") else f"no answer ({reason})"


def log_lines(replicas: Mapping[NodeId, Mapping[str, Any]]) -> list[str]:
    """Return a line on each replica of a log: its role, how far it has come, and the checksum of all that came of it."""
    return [
        f"{node}: {log.get('role')}, {log.get('applied')} slots carried out, checksum of every answer {log.get('chain')}"
        for node, log in replicas.items()
    ]


def verdict_lines(verdicts: Mapping[str, Verdict]) -> list[str]:
    """Return a line for each verdict: its name, its status and its evidence."""
    return [f"the judges: {name} is {verdict.status}: {verdict.evidence}" for name, verdict in verdicts.items()]


def value(outcome: Outcome) -> object:
    """Return the value of an answer, or None for none."""
    return outcome.value if isinstance(outcome, Ok) else None
