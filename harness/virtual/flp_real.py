"""The adversary of `harness.virtual.flp`, on five real processes: it holds messages in the proxy, loses none and kills nobody.

    report = stand_off(folder, seconds=30, stop=lambda: False)
    print("\\n".join(report.lines()))

Theory of operation
-------------------
Every link on which a proposer asks has a rule that holds its Accepts, and on the link to its rival its Prepares, too. The
proxy's record says what came in, so the adversary sees each Accept, which means that its ballot has the promises of a quorum.
Then it releases whatever is held under lower ballots, which is too late. The proposers do the rest: the one that is rejected
pauses, and prepares a higher ballot.

Rules
-----
1. The rule of the adversary is that of the simulated one, and so is the proof that nothing can be decided. It holds however
   slow the adversary is: what it has not looked at yet stays held.
2. A link keeps its order, so what is held under lower ballots is what came first, and can be released by its number.
3. That nothing was lost and nobody killed is said by others: the proxy's counters for each link, the kernel for each
   process, the boot counter on each node's disk. The run is recorded and judged like any other.
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cluster.clients.outcomes import Ok
from cluster.processes import ProcessState
from harness.checkers.verdict import VerdictStatus
from harness.faults.active import ReceiptBuilder
from harness.network.installed_rule import InstalledRule
from harness.records.links import DELIVERED, KEPT, LOST, Link
from harness.records.run_files import RunFiles
from harness.records.tail import FileTail
from harness.runs.experiment import Experiment
from node.contract import NodeId
from node.quorum import NO_BALLOT, Ballot

VARIABLE: Final = "colour"
NODES: Final = 5
_PROPOSALS: Final = {"n1": "blue", "n2": "red"}
_LOOK_EVERY_S: Final = 0.005
_TELL_EVERY_S: Final = 1.0
_SETTLE_S: Final = 5.0
_STATUS_S: Final = 0.5
#: How long clients wait for their answer after the adversary's stop.
_ANSWER_S: Final = 30.0


@dataclass(slots=True)
class RealStandOff:
    """What came of it."""

    folder: Path
    asked_s: float
    rounds: int = 0
    ballot: Ballot = NO_BALLOT
    seconds: float = 0.0
    """How long the adversary was at work."""
    decisions: int = 0
    """Nodes that knew of a decision, clients that were told one, and Decided messages, before the stop."""
    looks: int = 0
    """How often all nodes were asked whether they know of one."""
    decided: object = None
    decision_ms: float | None = None
    """From the adversary's order to stop to the first client's answer."""
    answers: dict[str, object] = field(default_factory=dict)
    messages: Counter[str] = field(default_factory=Counter)
    """The proxy's counters, over all links between nodes."""
    held: int = 0
    processes: dict[NodeId, dict[str, object]] = field(default_factory=dict)
    verdicts: dict[str, str] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    @property
    def delivered(self) -> int:
        """Messages that left the proxy for their receivers."""
        return sum(self.messages[fate] for fate in DELIVERED)

    @property
    def lost(self) -> int:
        """Messages that never will."""
        return sum(self.messages[fate] for fate in LOST)

    @property
    def nothing_broken(self) -> bool:
        """Whether everything that was sent was delivered, once, and each process is the one that was started."""
        return (
            self.lost == 0
            and self.messages["arrived"] == self.delivered
            and not self.messages["duplicated"]
            and len(self.processes) == NODES
            and all(process["same"] and process["dropped"] == 0 for process in self.processes.values())
        )

    @property
    def shown(self) -> bool:
        """Whether there were rounds without a decision, nothing was broken, and a decision followed."""
        return (
            not self.violations
            and self.rounds > 1
            and not self.decisions
            and self.nothing_broken
            and bool(self.decided)
        )

    @property
    def exit_code(self) -> int:
        """0: shown; 1: a promise was violated; 2: it has shown nothing."""
        return 1 if self.violations else 0 if self.shown else 2

    def lines(self) -> list[str]:
        """The report, for people."""
        told = [
            f"Paxos, {NODES} real processes; blue was proposed at n1, red at n2.",
            f"{self.rounds} rounds in {self.seconds:.1f} s: the highest ballot is {_told(self.ballot)}, decisions "
            f"{self.decisions} (all nodes were asked {self.looks} times).",
            "The adversary stops, and nothing is decided."
            if self.decision_ms is None
            else f"The adversary stops: {self.decided} is decided {self.decision_ms:.0f} ms later.",
            "Receipts:",
            f"  the proxy: {self.messages['arrived']:,} messages came in, {self.delivered:,} left, {self.held:,} of them after "
            f"they were held; {self.lost} lost, {self.messages['duplicated']} repeated",
        ]
        for node, process in self.processes.items():
            told.append(
                f"  {node}: process {process['pid']} is {process['state']}, has booted {process['boots']} time(s), and is "
                f"{'the one' if process['same'] else 'NOT the one'} that was started; dropped: {process['dropped']}"
            )
        told.append(
            "  the judges: " + ", ".join(f"{property_} {status}" for property_, status in self.verdicts.items())
        )
        return [*told, *(f"  => {violation}" for violation in self.violations), f"Its folder: {self.folder}"]

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "folder": str(self.folder),
            "nodes": NODES,
            "seconds": round(self.seconds, 3),
            "rounds": self.rounds,
            "ballot": _told(self.ballot),
            "decisions": self.decisions,
            "looks": self.looks,
            "decided": self.decided,
            "decision_ms": None if self.decision_ms is None else round(self.decision_ms, 1),
            "answers": self.answers,
            "messages": dict(self.messages),
            "delivered": self.delivered,
            "held": self.held,
            "lost": self.lost,
            "processes": self.processes,
            "verdicts": self.verdicts,
            "violations": self.violations,
            "shown": self.shown,
        }


def stand_off(
    folder: Path,
    seconds: float,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[RealStandOff], object] = id,
    seed: int = 0,
) -> RealStandOff:
    """Keep five processes from deciding for so long, or until `stop()`; then let them. `progress` is called each second.

    `folder` is made, and becomes the run's.
    """
    report = RealStandOff(folder, seconds)
    experiment = Experiment(folder, nodes=NODES, algorithm="paxos", seed=seed)
    with experiment as run:
        pids = {node: run.cluster.process(node).pid for node in run.nodes}
        adversary = RealAdversary(run, report)
        calls = {at: run.begin_propose(VARIABLE, value, at, seconds + _ANSWER_S) for at, value in _PROPOSALS.items()}
        began = told = time.monotonic()
        while not stop() and time.monotonic() < began + seconds and not report.decisions:
            adversary.turn()
            if time.monotonic() >= told + _TELL_EVERY_S:
                told = time.monotonic()
                report.seconds = told - began
                progress(report)
            time.sleep(_LOOK_EVERY_S)
        adversary.look()
        stopped = time.monotonic()
        report.seconds = stopped - began
        run.network.heal()
        while all(call.outcome is None for call in calls.values()) and time.monotonic() < stopped + _ANSWER_S:
            run.client.poll()
            time.sleep(0.0005)
        ended = time.monotonic()
        for at, outcome in zip(calls, run.settle(*calls.values()), strict=True):
            report.answers[at] = outcome.value if isinstance(outcome, Ok) else str(outcome)
            if isinstance(outcome, Ok):
                report.decided, report.decision_ms = outcome.value, (ended - stopped) * 1000
        run.query_all(VARIABLE)
        adversary.end()
        report.processes = _look_at(run, pids)
    for property_, verdict in experiment.judge(flp=report.to_json()).items():
        report.verdicts[property_] = verdict.status.value
        if verdict.status is VerdictStatus.INVALID:
            report.violations.append(f"{property_}: {verdict.evidence}")
    return report


class RealAdversary:
    """Holds and releases. It is in force once it is made."""

    def __init__(self, run: Experiment, report: RealStandOff) -> None:
        self._run, self._report = run, report
        self._rules: dict[Link, InstalledRule] = {}
        self._held: dict[Link, deque[Ballot]] = {}
        self._record = FileTail(RunFiles(run.folder).messages)
        self._paper: ReceiptBuilder = run.faults.begin(
            "adversary", links_disturbed=[(one, other) for one in _PROPOSALS for other in run.nodes if one != other]
        )
        for proposer in _PROPOSALS:
            for to in run.nodes:
                if to != proposer:
                    types = ["Prepare", "Accept"] if to in _PROPOSALS else ["Accept"]
                    self._rules[proposer, to] = run.network.hold([(proposer, to)], types=types)
                    self._held[proposer, to] = deque()

    def turn(self) -> None:
        """Take in what has come, and release what is too late now."""
        before = self._report.rounds
        self._read()
        for link, held in self._held.items():
            late = 0
            while held and held[0] < self._report.ballot:
                held.popleft()
                late += 1
            if late:
                self._rules[link].release(late)
        if self._report.rounds > before:
            self.look()

    def look(self) -> None:
        """Does any node know of a decision, or has a client been told one?"""
        statuses = self._run.client.status(self._run.nodes, _STATUS_S)
        of_each = [status.get("variables", {}).get(VARIABLE, {}) for status in statuses.values()]
        self._report.looks += 1
        self._report.decisions += sum(one.get("decided") is not None for one in of_each)

    def end(self) -> None:
        """Wait until the proxy has delivered all, and complete the receipt. The rules have been removed before."""
        deadline = time.monotonic() + _SETTLE_S
        while True:
            links = self._run.network.links()
            between = [counts for link, counts in links.items() if set(link) <= set(self._run.nodes)]
            self._report.messages = sum(between, Counter[str]())
            if self._report.messages["arrived"] == self._report.delivered or time.monotonic() > deadline:
                break
            time.sleep(_LOOK_EVERY_S)
        counts = {f"{one}->{other}": rule.remove()[one, other] for (one, other), rule in self._rules.items()}
        self._report.held = sum(of_link[fate] for of_link in counts.values() for fate in KEPT)
        self._paper.evidence["by link"] = counts
        self._paper.bit = self._report.held > 0
        self._paper.end()

    def _read(self) -> None:
        """Take in what the proxy has recorded since."""
        self._run.network.flush()
        for line in self._record.new_objects():
            match line:
                case {"of": _}:
                    pass  # what became of a message that was seen before
                case {"type": "Decided"}:
                    self._report.decisions += 1
                case {
                    "type": "Prepare" | "Accept" as type_,
                    "from": one,
                    "to": other,
                    "fate": "held",
                    "fields": fields,
                }:
                    ballot = Ballot(*fields["ballot"])
                    self._held[one, other].append(ballot)
                    if type_ == "Accept" and ballot > self._report.ballot:
                        self._report.ballot = ballot
                        self._report.rounds += 1


def _look_at(run: Experiment, pids: dict[NodeId, int | None]) -> dict[NodeId, dict[str, object]]:
    """What the kernel says of each process, and how often the node's disk says that it has booted."""
    statuses = run.client.status(run.nodes, _SETTLE_S)
    seen: dict[NodeId, dict[str, object]] = {}
    for node, pid in pids.items():
        state = run.cluster.state(node)
        said = statuses.get(node, {})
        same = pid is not None and state is ProcessState.UP and said.get("pid") == pid and said.get("incarnation") == 1
        seen[node] = {
            "pid": pid,
            "state": state.value,
            "boots": said.get("incarnation"),
            "same": same,
            "dropped": said.get("dropped"),
        }
    return seen


def _told(ballot: Ballot) -> str:
    return f"{ballot.round}.{ballot.node}"
