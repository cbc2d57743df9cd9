"""The adversary of `harness.virtual.flp` on five real processes: it holds messages in the proxy, and loses and kills nothing.

    report = stand_off(folder, seconds=30, stop=lambda: False)
    print("\\n".join(report.lines()))

Theory of operation
-------------------
Each link from a proposer has a rule that holds the proposer's Accepts; on the link to the other proposer, the rule holds its
Prepares, too. The proxy records each message that comes in. An Accept in the record shows that its ballot has the promises of a
quorum. When the adversary reads an Accept under a higher ballot than all before, it releases the messages that are held under
lower ballots, and their receivers reject them. A proposer that is rejected pauses, and prepares a higher ballot, which begins the
next round.

Rules
-----
1. The adversary follows the rule of the simulated one, so the same proof shows that nothing is decided. The proof does not depend
   on how fast the adversary is: a message stays held until the adversary releases it.
2. A link keeps the order of its messages, so the held messages under lower ballots are the oldest ones. The adversary counts
   them, and has the rule release that many.
3. Independent observers show that nothing was lost or killed: the proxy's counters of each link, the kernel's state of each
   process, and the boot counter on each node's disk. The run is recorded and judged like any other.
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
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
from node.wording import count

VARIABLE: Final = "colour"
NODES: Final = 5
_PROPOSALS: Final = {"n1": "blue", "n2": "red"}
_LOOK_EVERY_S: Final = 0.005
_PROGRESS_EVERY_S: Final = 1.0
_SETTLE_S: Final = 5.0
_STATUS_S: Final = 0.5
#: How long clients wait for their answer after the adversary's stop.
_ANSWER_S: Final = 30.0


@dataclass(slots=True)
class RealStandOff:
    """The report of the run."""

    folder: Path
    asked_s: float
    """How long the adversary was to act."""
    rounds: int = 0
    ballot: Ballot = NO_BALLOT
    """The highest ballot under which a proposer has sent Accepts."""
    seconds: float = 0.0
    """How long the adversary has acted."""
    decisions: int = 0
    """Before the adversary stopped: the number of nodes that reported a decision in each check, and of Decided messages."""
    looks: int = 0
    """How often all nodes were asked whether they know of a decision."""
    decided: object = None
    """The value that was decided after the adversary had stopped."""
    decision_ms: float | None = None
    """From the adversary's order to stop to the first client's answer."""
    answers: dict[str, object] = field(default_factory=dict)
    """What the client at each proposer was answered."""
    messages: Counter[str] = field(default_factory=Counter)
    """The proxy's counters, over all links between nodes."""
    held: int = 0
    """How many messages the adversary has held."""
    processes: dict[NodeId, dict[str, object]] = field(default_factory=dict)
    """The observed state of each process, as `_observe` returns it."""
    verdicts: dict[str, str] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    @property
    def delivered(self) -> int:
        """How many messages the proxy has passed to their receivers."""
        return sum(self.messages[fate] for fate in DELIVERED)

    @property
    def lost(self) -> int:
        """How many messages the proxy has lost."""
        return sum(self.messages[fate] for fate in LOST)

    @property
    def nothing_broken(self) -> bool:
        """Whether every message was delivered once, and each process is the one that was started."""
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
        """0 if the run shows FLP, 1 if a property was violated, 2 otherwise."""
        return 1 if self.violations else 0 if self.shown else 2

    def not_owed(self) -> str:
        """Return why fault tolerance can be valid although no client was answered for so long."""
        return (
            f"no answer was owed in these {self.seconds:.1f} s, since the adversary was delaying messages: fault tolerance "
            "is judged by the answers that were owed, after it had stopped"
        )

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        text = [
            f"Paxos, {NODES} real processes; blue was proposed at n1, red at n2.",
            f"{count(self.rounds, 'round')} in {self.seconds:.1f} s: the highest ballot is {_ballot_text(self.ballot)}, "
            f"decisions {self.decisions} (all nodes were asked {count(self.looks, 'time')}).",
            "The adversary stops, and nothing is decided."
            if self.decision_ms is None
            else f"The adversary stops: {self.decided} is decided {self.decision_ms:.0f} ms later.",
            "Receipts:",
            f"  the proxy: {count(self.messages['arrived'], 'message')} came in, {self.delivered:,} left, {self.held:,} of them "
            f"after they were held; {self.lost} lost, {self.messages['duplicated']} repeated",
        ]
        for node, process in self.processes.items():
            text.append(
                f"  {node}: process {process['pid']} is {process['state']}, has booted {process['boots']} time(s), and is "
                f"{'the one' if process['same'] else 'NOT the one'} that was started; dropped: {process['dropped']}"
            )
        text.append(
            "  the judges: " + ", ".join(f"{property_} {status}" for property_, status in self.verdicts.items())
        )
        text.append(f"  {self.not_owed()}")
        return [*text, *(f"  => {violation}" for violation in self.violations), f"Its folder: {self.folder}"]

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "folder": str(self.folder),
            "nodes": NODES,
            "seconds": round(self.seconds, 3),
            "rounds": self.rounds,
            "ballot": _ballot_text(self.ballot),
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
    watch: Callable[[Experiment], AbstractContextManager[None]] = lambda _run: nullcontext(),
) -> RealStandOff:
    """Keep five processes from deciding for some time, then let them decide, and judge the run.

    Args:
        folder: the run folder, which is created.
        seconds: how long the adversary acts. A decision ends it earlier.
        stop: called often; True ends the adversary earlier.
        progress: called with the report each second.
        seed: the seed of the run.
        watch: follows the run, for a reader who watches.
    """
    report = RealStandOff(folder, seconds)
    experiment = Experiment(folder, nodes=NODES, algorithm="paxos", seed=seed)
    with experiment as run, watch(run):
        pids = {node: run.cluster.process(node).pid for node in run.nodes}
        adversary = RealAdversary(run, report)
        calls = {at: run.begin_propose(VARIABLE, value, at, seconds + _ANSWER_S) for at, value in _PROPOSALS.items()}
        began = reported = time.monotonic()
        while not stop() and time.monotonic() < began + seconds and not report.decisions:
            adversary.turn()
            if time.monotonic() >= reported + _PROGRESS_EVERY_S:
                reported = time.monotonic()
                report.seconds = reported - began
                progress(report)
            time.sleep(_LOOK_EVERY_S)
        adversary.check_decisions()
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
        report.processes = _observe(run, pids)
    for property_, verdict in experiment.judge(flp=report.to_json()).items():
        report.verdicts[property_] = verdict.status.value
        if verdict.status is VerdictStatus.INVALID:
            report.violations.append(f"{property_}: {verdict.evidence}")
    return report


class RealAdversary:
    """Holds and releases messages. Its rules are in force as soon as it is constructed."""

    def __init__(self, run: Experiment, report: RealStandOff) -> None:
        self._run, self._report = run, report
        self._rules: dict[Link, InstalledRule] = {}
        self._held: dict[Link, deque[Ballot]] = {}
        self._record = FileTail(RunFiles(run.folder).messages)
        self._receipt: ReceiptBuilder = run.faults.begin(
            "adversary", links_disturbed=[(one, other) for one in _PROPOSALS for other in run.nodes if one != other]
        )
        for proposer in _PROPOSALS:
            for to in run.nodes:
                if to != proposer:
                    types = ["Prepare", "Accept"] if to in _PROPOSALS else ["Accept"]
                    self._rules[proposer, to] = run.network.hold([(proposer, to)], types=types)
                    self._held[proposer, to] = deque()

    def turn(self) -> None:
        """Read the proxy's record, and release the messages of ballots that are lower than the highest."""
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
            self.check_decisions()

    def check_decisions(self) -> None:
        """Ask every node whether it knows of a decision, and count the nodes that do."""
        statuses = self._run.client.status(self._run.nodes, _STATUS_S)
        of_each = [status.get("variables", {}).get(VARIABLE, {}) for status in statuses.values()]
        self._report.looks += 1
        self._report.decisions += sum(one.get("decided") is not None for one in of_each)

    def end(self) -> None:
        """Wait until the proxy has delivered every message, and complete the receipt. The caller has healed the links."""
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
        self._receipt.evidence["by link"] = counts
        self._receipt.bit = self._report.held > 0
        self._receipt.end()

    def _read(self) -> None:
        """Read what the proxy has recorded since the last call."""
        self._run.network.flush()
        for line in self._record.new_objects():
            match line:
                case {"of": _}:
                    pass  # a later fate of a message that was recorded before
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


def _observe(run: Experiment, pids: dict[NodeId, int | None]) -> dict[NodeId, dict[str, object]]:
    """Return what the kernel reports of each process, and the boot counter on each node's disk."""
    statuses = run.client.status(run.nodes, _SETTLE_S)
    seen: dict[NodeId, dict[str, object]] = {}
    for node, pid in pids.items():
        state = run.cluster.state(node)
        status = statuses.get(node, {})
        answers_as_started = status.get("pid") == pid and status.get("incarnation") == 1
        same = pid is not None and state is ProcessState.UP and answers_as_started
        seen[node] = {
            "pid": pid,
            "state": state.value,
            "boots": status.get("incarnation"),
            "same": same,
            "dropped": status.get("dropped"),
        }
    return seen


def _ballot_text(ballot: Ballot) -> str:
    return f"{ballot.round}.{ballot.node}"
