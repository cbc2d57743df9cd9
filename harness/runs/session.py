"""A session by hand, recorded as a run: what was asked and told, what was broken, and a plan that breaks the same again.

Rules
-----
1. A session is from `consensus up` to `consensus down`. Its folder is made when something is first asked or broken.
2. What the command line's verbs ask is in the history. The supervisor stamps it: the invoke before anything is sent, the
   completion after the answer is there. What other clients ask is not seen.
3. Every fault goes through `Faults`, so it has a receipt; a process that somebody else has ended or stopped has one, too.
4. The plan is written anew with every fault, so it is there whatever becomes of the supervisor.
5. At the end the run is judged, if it shows everything: disks that were written before it, or members that came or went,
   would have a judge see answers that nobody gave.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from cluster.cluster import Cluster
from cluster.processes import ProcessState
from cluster.spec import Spec
from harness.checkers.durability import durability
from harness.checkers.evidence import RunEvidence
from harness.checkers.invariants import invariants
from harness.checkers.linearizable import linearizable
from harness.checkers.models import KvModel
from harness.checkers.properties import PROPERTIES
from harness.checkers.verdict import Verdict
from harness.faults.active import ActiveFault, ReceiptBuilder
from harness.faults.catalogue import check_arguments, find_fault
from harness.faults.injector import Faults, Proofs
from harness.network.network import Network
from harness.network.rules import Action
from harness.records import receipts
from harness.records.history import Event, HistoryRecorder
from harness.records.jsonable import from_jsonable, read_lines
from harness.records.links import Link
from harness.records.run_folders import RESULTS_NAME, new_folder
from harness.runs.plan import PLAN_NAME, TIME_S_MAX, Plan, PlanStep
from node.algorithms import load_algorithm
from node.contract import NodeId
from node.storage.disk import DiskError, inspect

_KEYS: Final = ("put", "get", "delete", "cas")
_INJECT_S: Final = 2.0


@dataclass
class _Done:
    """A fault of the session, as a step of its plan. `ended_s` is None as long as it lasts."""

    fault: str
    arguments: dict[str, Any]
    at_s: float
    lasting: ActiveFault | None = None
    ended_s: float | None = None

    def step(self, now_s: float) -> PlanStep:
        """A line of the plan."""
        ended_s = now_s if self.ended_s is None else self.ended_s
        return PlanStep(
            self.fault, round(self.at_s, 2), round(max(ended_s - self.at_s, 0.05), 2), arguments=dict(self.arguments)
        )


@dataclass
class Session:
    """What the supervisor does by order of the command line. `spec`, `nodes`, `cluster`, `network`, `faults` and `folder` are
    what the faults of the catalogue need.
    """

    spec: Spec
    cluster: Cluster
    network: Network
    run_folder: Callable[[], Path]
    """Makes the folder of the run."""
    had_past: bool
    """Whether the disks were written before this session."""
    messages: Path | None = None
    done: list[_Done] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.faults = Faults(self.cluster, self.network)
        self._folder: Path | None = None
        self._recorder: HistoryRecorder | None = None
        self._calls: dict[int, Event] = {}
        self._count = 0
        self._outside: dict[NodeId, ReceiptBuilder] = {}
        self._seen: dict[NodeId, tuple[ProcessState, int]] = {}
        self._started_s = time.monotonic()
        self._lock = threading.RLock()

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """Those that there are now."""
        return self.cluster.nodes

    @property
    def folder(self) -> Path:
        """The run's."""
        with self._lock:
            if self._folder is None:
                self._folder = self.run_folder()
                self._recorder = HistoryRecorder(self._folder / "history.jsonl")
            return self._folder

    def verbs(self) -> dict[str, Callable[..., Any]]:
        """What the command line may ask for, beside links."""
        return {"call_began": self.call_began, "call_ended": self.call_ended, "inject": self.inject}

    # --- calls --------------------------------------------------------------------------------------------------------

    def call_began(self, f: str, key: str, value: Any, node: NodeId | None, timeout_s: float) -> int:
        """A client is about to ask. Returns the call's number."""
        assert self.folder, "this makes the recorder"
        assert self._recorder is not None
        self._count += 1
        event = self._recorder.invoke(
            f"hand{self._count}", f, key, from_jsonable(value), node=node, timeout_s=timeout_s
        )
        self._calls[event.index] = event
        return event.index

    def call_ended(self, call: int, type: str, value: Any, error: str | None, node: NodeId | None) -> None:  # noqa: A002 - a field's name
        """What the client was told."""
        event = self._calls.pop(call)
        assert self._recorder is not None
        match type:
            case "ok":
                self._recorder.ok(event, from_jsonable(value), node=node)
            case "fail":
                self._recorder.fail(event, error or "", node=node)
            case _:
                self._recorder.info(event, error or "", node=node)

    # --- processes: as `Cluster` does it, recorded ----------------------------------------------------------------------

    def kill(self, *nodes: NodeId) -> Proofs:
        """SIGKILL."""
        return self._act("kill", nodes, self.faults.kill)

    def terminate(self, *nodes: NodeId) -> Proofs:
        """SIGTERM."""
        return self._act("terminate", nodes, self.faults.terminate)

    def suspend(self, *nodes: NodeId) -> Proofs:
        """SIGSTOP."""
        return self._act("suspend", nodes, self.faults.suspend)

    def resume(self, *nodes: NodeId) -> Proofs:
        """SIGCONT."""
        proofs = self.faults.resume(*nodes)
        self._back(nodes)
        return proofs

    def restart(self, *nodes: NodeId) -> Proofs:
        """Start again; one that runs is killed first."""
        running = [node for node in nodes if self.cluster.state(node) in (ProcessState.UP, ProcessState.SUSPENDED)]
        if running:
            self.kill(*running)
        proofs = self.faults.restart(*nodes)
        self._back(nodes)
        return proofs

    def _act(self, fault: str, nodes: Sequence[NodeId], act: Callable[..., Proofs]) -> Proofs:
        began_s = self._now_s()
        proofs = act(*nodes)
        for node in nodes:
            self._end_steps(node)
            self.done.append(_Done(fault, {"nodes": [node]}, began_s))
        self.save()
        return proofs

    def _back(self, nodes: Sequence[NodeId]) -> None:
        for node in nodes:
            self._end_steps(node)
            paper = self._outside.pop(node, None)
            if paper is not None:
                paper.end()
        self.save()

    def look(self) -> None:
        """Write down what somebody else has done to a process: `kill -9` from another shell, for instance."""
        with self.faults.lock:
            for node in self.nodes:
                state, now_ns = self.cluster.state(node), time.monotonic_ns()
                before, seen_ns = self._seen.get(node, (state, now_ns))
                self._seen[node] = (state, now_ns)
                if state is before or self.faults.is_affected(node):
                    continue
                paper = self._outside.pop(node, None)
                if paper is not None:
                    paper.end()
                    self._back([node])
                elif state in (ProcessState.DOWN, ProcessState.SUSPENDED):
                    self._from_outside(node, state, seen_ns)

    def _from_outside(self, node: NodeId, state: ProcessState, seen_ns: int) -> None:
        fault = "kill" if state is ProcessState.DOWN else "suspend"
        how = self.cluster.process(node).describe()
        paper = self.faults.begin(fault, nodes_down=[node], by="somebody else", kernel=how)
        paper.began_ns, paper.bit = seen_ns, True  # it was last seen well then
        self._outside[node] = paper
        self.done.append(_Done(fault, {"nodes": [node]}, self._now_s()))
        self.save()

    # --- links, and any fault of the catalogue --------------------------------------------------------------------------

    def spoil(
        self, fault: str, links: Sequence[Link], action: Action, probability: float, arguments: dict[str, Any]
    ) -> list[str]:
        """Put a rule on links. `arguments` are those of the fault in a plan. Returns the rule's id."""
        harmless = fault in ("duplicate", "reorder")
        lasting = self.faults.apply_rules(fault, [action], links, probability=probability, harmless=harmless)
        arguments = {"links": [list(link) for link in links], **arguments}
        self.done.append(_Done(fault, arguments, self._now_s(), lasting))
        self.save()
        return [rule.id for rule in lasting.rules]

    def cut(self, fault: str, links: Sequence[Link], **arguments: Any) -> list[str]:
        """Cut links. Returns the rule's id."""
        lasting = self.faults.cut(links, fault)
        self.done.append(_Done(fault, arguments, self._now_s(), lasting))
        self.save()
        return [rule.id for rule in lasting.rules]

    def inject(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Any fault of the catalogue. It lasts until `heal`. One that waits for a message is waited for by nobody."""
        check_arguments(name, arguments, self.nodes)
        rng = Random(f"{self.spec.settings.seed}/{len(self.done)}")
        done = _Done(name, arguments, self._now_s())
        outcome: list[BaseException | None] = []

        def work() -> None:
            try:
                done.lasting = find_fault(name).fault.inject(self, rng, **arguments)
                self.done.append(done)
                self.save()
                outcome.append(None)
            except BaseException as error:  # noqa: BLE001 - told to whoever asked, or in the log
                outcome.append(error)

        thread = threading.Thread(target=work, name=f"inject {name}", daemon=True)
        thread.start()
        thread.join(_INJECT_S)
        if outcome and outcome[0] is not None:
            raise outcome[0]
        return {"fault": name, "arguments": arguments, "in_force": bool(outcome)}

    def heal(self) -> None:
        """End every fault but those of `kill`, `terminate` and `suspend`."""
        for done in self.done:
            if done.lasting is not None and done.ended_s is None:
                done.lasting.heal()
                done.ended_s = self._now_s()
        self.network.heal()
        self.save()

    # --- the run --------------------------------------------------------------------------------------------------------

    def _now_s(self) -> float:
        return time.monotonic() - self._started_s

    def _end_steps(self, node: NodeId) -> None:
        """What was done to this process is over. Faults of the catalogue end by themselves."""
        for done in self.done:
            if done.ended_s is None and done.lasting is None and done.arguments.get("nodes") == [node]:
                done.ended_s = self._now_s()

    def plan(self) -> Plan:
        """What breaks the same again, while clients ask at random."""
        now_s = min(self._now_s(), TIME_S_MAX)
        asked = {event.f for event in self._recorder.history.events} if self._recorder is not None else set()
        steps = tuple(done.step(now_s) for done in self.done if done.at_s < now_s)
        settings = self.spec.settings
        workload = "kv" if asked & set(_KEYS) else "register"
        time_s = round(max(now_s, 0.5), 2)
        return Plan(settings.algorithm, settings.nodes, settings.seed, workload, time_s, steps)

    def save(self) -> None:
        """Write plan and receipts as they are now."""
        with self._lock:
            self.plan().save(self.folder / PLAN_NAME)
            receipts.save(self.faults.receipts, self.folder / "receipts.jsonl")

    def close(self) -> None:
        """The last look at everything; the cluster may be stopped then."""
        self.faults.stop_new_faults()
        for done in self.done:
            if done.lasting is not None and done.ended_s is None:
                with contextlib.suppress(Exception):  # its node may be what is in the way, and all ends now
                    done.lasting.heal()
        self.faults.close()
        if self._recorder is None:
            return
        for event in self._calls.values():
            self._recorder.info(event, "the session ended first")
        self._recorder.close()
        self.save()

    def judge(self, members: tuple[NodeId, ...]) -> Path | None:
        """Judge the run and write what came of it. Returns its folder, if there is one. `members` are those of the end."""
        if self._folder is None or self._recorder is None:
            return None
        verdicts: Mapping[str, Verdict] = {}
        why = None
        if self.had_past:
            why = "the disks had been written before this session, which shows only a part therefore"
        elif members != self.spec.nodes:
            why = "members came or went"
        else:
            verdicts = self._verdicts()
        settings = self.spec.settings
        results = {
            "schema": 1,
            "algorithm": settings.algorithm,
            "nodes": list(settings.nodes),
            "seed": settings.seed,
            "by_hand": True,
            "verdicts": {name: verdict.to_json() for name, verdict in verdicts.items()},
            "notes": {} if why is None else {"not judged": why},
        }
        (self._folder / RESULTS_NAME).write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
        return self._folder

    def _verdicts(self) -> dict[str, Verdict]:
        assert self._recorder is not None
        disks = {}
        for node in self.spec.nodes:
            with contextlib.suppress(DiskError):
                disks[node] = inspect(self.spec.settings.directory(node))
        run = RunEvidence(
            members=self.spec.nodes,
            algorithm=load_algorithm(self.spec.settings.algorithm),
            history=self._recorder.history,
            receipts=self.faults.receipts,
            disks=disks,
            messages=[] if self.messages is None else [line for _, line in read_lines(self.messages)],
            faults_expected=False,
        )
        verdicts = {name: judge(run) for name, judge in PROPERTIES.items()} if run.operations else {}
        if run.operations:
            verdicts["linearizability"] = linearizable(run)
        if len(run.operations) < len(run.calls):
            verdicts["linearizability of keys"] = linearizable(run, KvModel())
        if self.messages is not None:
            verdicts["invariants"] = invariants(run)
        return {**verdicts, "durability": durability(run)}


def session_folder(root: Path, algorithm: str) -> Path:
    """A folder for the run of a session."""
    return new_folder(root, f"by-hand-{algorithm}")
