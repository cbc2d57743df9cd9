"""A schedule made to happen on real processes: those that `explore` and `simulate` have found, and yours.

```python
result = replay(schedule.load(path), folder)
result.verdict.status           # invalid: it violates there, too
```

Theory of operation
-------------------
Two clusters take every step together: one without processes, and one of stepped nodes (`harness.systems.stepped_node`) behind the
proxy, which keeps whatever a node sends until a step delivers it. After each step the real node must have sent the same
messages, and told clients the same, as the other. So a schedule that was followed to its end has happened on real disks and
sockets exactly as it was found; one that was not stops at the first step that came out otherwise.

| step | on real processes |
|---|---|
| Propose, Query | a client's call; it is sent once |
| Deliver | the proxy lets go of that very message, or of a copy, if the schedule delivers it again |
| Drop | the proxy loses it, if no later step delivers it |
| Duplicate | nothing yet: the proxy still has the message |
| Fire, HearSelf | the node is told to |
| GiveUp | the node is told that the request's time is up |
| Crash, Recover | SIGKILL, and a start on the same directory |
| LoseDisk | the directory is put away |

The verdict
-----------
The run is judged by the judges of any run, from what clients were told, what the disks say and what crossed the wire. And
each node is asked after each of its steps what it has promised, accepted and decided, which must never go back: what a
schedule can show in two steps, others would notice only after ten. Where the schedule shows that nobody can answer any more,
it has come to its end when everything that is under way arrives and time passes again; then those who wait ask again, and are
owed an answer. A violation that is seen counts, whatever else went otherwise. Without one, a schedule that was not
followed to its end is unknown, never valid.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from cluster.clients.client import VariableCall
from cluster.clients.outcomes import NotDone, Ok
from cluster.errors import ConsensusError
from cluster.processes import ProcessState
from harness.checkers.evidence import RunEvidence
from harness.checkers.invariants import invariants
from harness.checkers.linearizable import linearizable
from harness.checkers.properties import PROPERTIES
from harness.checkers.verdict import Verdict, VerdictStatus, invalid, merge, unknown, valid
from harness.records.jsonable import canonical as canonical_value
from harness.records.messages import readable_fields
from harness.replay.driver import Driver, KeptMessage, NotFollowed, canonical, command
from harness.replay.schedule import Schedule
from harness.report import write_report
from harness.runs.experiment import Experiment
from harness.systems.late_sync_vfs import SPEC as LATE_SYNC
from harness.virtual.judge import FAULT_TOLERANCE, Violation, violations_of_change
from harness.virtual.narration import narrate
from harness.virtual.node_state import NO_FACTS, Facts
from harness.virtual.output import TurnOutput
from harness.virtual.steps import (
    Crash,
    Deliver,
    DropPacket,
    DuplicatePacket,
    Fire,
    GiveUp,
    LoseDisk,
    Packet,
    Propose,
    Query,
    Recover,
    Step,
    TakeOwnMessages,
    kind_name,
)
from node.contract import Message, NodeId, Request
from node.quorum import NO_BALLOT, Ballot
from node.wire import decode_value, encode_value

VARIABLE: Final = "colour"
#: How long clients of the schedule wait: longer than any schedule takes.
_CALL_S: Final = 600.0
_OWED_S: Final = 2.0


class Diverged(Exception):
    """The real nodes did otherwise than the schedule has it. The message says at which step, and how."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of a replay."""

    folder: Path
    schedule: Schedule
    verdicts: Mapping[str, Verdict]
    followed: int
    """Steps that came out as the schedule has them."""
    diverged: str | None
    took_s: float

    @property
    def verdict(self) -> Verdict:
        """Invalid if a judge says so; unknown if the schedule was not followed to its end; else valid."""
        whole = merge(self.verdicts)
        if whole.status is VerdictStatus.INVALID:
            return whole
        if self.diverged is not None:
            return unknown(self.diverged, no_test=True)
        return valid(f"{self.followed} steps were followed to the end, and no judge found a violation")

    @property
    def violated(self) -> tuple[str, ...]:
        """What came out invalid."""
        return tuple(name for name, verdict in self.verdicts.items() if verdict.status is VerdictStatus.INVALID)

    def lines(self) -> list[str]:
        """The result, for people."""
        told = [f"{self.followed} of {len(self.schedule.steps)} steps came out on real processes as in the schedule"]
        if self.schedule.violations:
            told.append(f"  the schedule says  {self.schedule.violations[0]}")
        told += [f"  the judges say     {name}: {self.verdicts[name].evidence}" for name in self.violated]
        if self.diverged is not None:
            told.append(f"  then it went otherwise: {self.diverged}")
        word = {
            VerdictStatus.INVALID: "VIOLATED there, too",
            VerdictStatus.UNKNOWN: "unknown",
            VerdictStatus.VALID: "NOT violated there",
        }
        return [*told, f"{self.schedule.algorithm}: {word[self.verdict.status]}. {self.took_s:.1f} s"]

    def to_json(self) -> dict[str, Any]:
        """The result, for programs."""
        return {
            "run": str(self.folder),
            "algorithm": self.schedule.algorithm,
            "verdict": str(self.verdict.status),
            "evidence": self.verdict.evidence,
            "expected": [str(violation) for violation in self.schedule.violations],
            "verdicts": {
                name: {"status": str(verdict.status), "evidence": verdict.evidence}
                for name, verdict in self.verdicts.items()
            },
            "steps": len(self.schedule.steps),
            "followed": self.followed,
            "diverged": self.diverged,
            "took_s": round(self.took_s, 3),
        }


def replay(schedule: Schedule, folder: Path, progress: Callable[[str], object] = id, **about: Any) -> Replayed:
    """Make a schedule happen in `folder`, which is made, and judge what came of it. `progress` is told each step.

    Raises:
        BadSchedule: it cannot happen, even without processes. Nothing was started.
        BootFailed: the nodes could not start.
    """
    started = time.monotonic()
    steps = schedule.decoded()
    run = Experiment(
        folder,
        nodes=schedule.nodes,
        algorithm=schedule.algorithm,
        command=command(schedule.fault_model),
        vfs=LATE_SYNC if schedule.fault_model.disks_sync_late else None,
    )
    schedule.save(run.files.schedule)
    with run:
        session = _Session(run, schedule, steps)
        diverged = session.follow(progress)
        ended = session.ended_by_themselves()
        if FAULT_TOLERANCE in schedule.kinds and diverged is None:
            session.let_all_arrive()
        elif diverged is None and not ended:
            session.boot_who_is_down()
        session.hand.close()
    verdicts = judge(run.evidence(faults_expected=True), session.gone_back, ended)
    about |= {
        "found_by": schedule.found_by,
        "story": "; ".join(narrate((each.step, each.outcome) for each in session.virtual.happened)),
        "followed": session.followed,
        "diverged": diverged,
    }
    run.save_results(verdicts, **about)
    write_report(folder)
    return Replayed(folder, schedule, verdicts, session.followed, diverged, time.monotonic() - started)


def judge(run: RunEvidence, gone_back: Sequence[Violation], ended: Mapping[NodeId, str]) -> dict[str, Verdict]:
    """Every verdict that a schedule can break."""
    verdicts = {name: check(run) for name, check in PROPERTIES.items()}
    verdicts["linearizability"] = linearizable(run)
    verdicts["invariants"] = invariants(run)
    for kind in dict.fromkeys(violation.kind for violation in gone_back):
        verdicts[kind] = invalid(*(violation.text for violation in gone_back if violation.kind == kind))
    if ended:
        verdicts["contract"] = invalid(*(f"{node} {how}" for node, how in ended.items()))
    return verdicts


class _Session:
    """Both clusters, and what they have done so far."""

    def __init__(self, run: Experiment, schedule: Schedule, steps: list[Step]) -> None:
        self._run = run
        self._steps = steps
        self.virtual = schedule.cluster()
        self.hand = Driver(run)
        self.followed = 0
        self._to_come = Counter(step.packet for step in steps if isinstance(step, Deliver))
        self._letters: dict[Packet, deque[KeptMessage]] = {}
        self._calls: dict[Request, VariableCall] = {}
        self._unanswered: dict[Request, Propose | Query] = {}
        self._facts: dict[NodeId, Facts] = {}
        self.gone_back: list[Violation] = []

    # --- the schedule -----------------------------------------------------------------------------------------------

    def follow(self, progress: Callable[[str], object]) -> str | None:
        """Take every step. Returns why not every one could be taken, if so."""
        for number, step in enumerate(self._steps, 1):
            progress(f"step {number} of {len(self._steps)}: {kind_name(type(step))}")
            try:
                self._take(step)
            except (Diverged, NotFollowed, ConsensusError) as error:
                return f"step {number}, {_said(step)}: {error}"
            self.followed = number
        return None

    def _take(self, step: Step) -> None:
        self._hear_first(step)
        failures = len(self.virtual.violations)
        outcome = self.virtual.apply(step)
        failed = any(found.kind == "contract" for found in self.virtual.violations[failures:])
        try:
            self._do(step)
        except NotFollowed as error:
            if not failed:
                raise
            self._expect_end(step, error)
        self._compare(step, outcome)
        self._see_what_it_says(step)

    def _hear_first(self, step: Step) -> None:
        """A turn begins with what the node has sent to itself. A real node that gets a message must be told to."""
        match step:
            case Deliver(Packet(to=node)) | Propose(node) | Query(node) if self.virtual.nodes[node].to_self:
                self.hand.step(node)

    def _do(self, step: Step) -> None:
        """The real step. Returns when it has had its effect on its node."""
        match step:
            case Deliver(packet):
                self._to_come[packet] -= 1
                letters = self._letters.get(packet)
                if not letters:
                    raise Diverged("that message was never sent")
                keep = len(letters) == 1 and self._to_come[packet] > 0
                self.hand.deliver(letters[0] if keep else letters.popleft(), keep=keep)
                self.hand.await_input(packet.to)
            case DropPacket(packet):
                letters = self._letters.get(packet, deque())
                if letters and len(letters) > self._to_come[packet]:
                    self.hand.lose(letters.popleft())
            case DuplicatePacket():
                pass  # the proxy keeps what will be delivered again
            case Fire(node, timer):
                self.hand.step(node, fire=[VARIABLE, timer])
            case TakeOwnMessages(node):
                self.hand.step(node)
            case GiveUp(node, request):
                self.hand.step(node, forget=list(self._real(request)))
            case Propose(node, value=value):
                self._ask(step, self._run.begin_propose(VARIABLE, decode_value(value), node, _CALL_S))
            case Query(node):
                self._ask(step, self._run.begin_query(VARIABLE, node, _CALL_S))
            case Crash(node):
                self._run.faults.kill(node)
            case Recover(node):
                self._run.faults.restart(node)
                self.hand.born(node)
            case LoseDisk(node):
                self._lose_disk(node)

    def _ask(self, step: Propose | Query, call: VariableCall) -> None:
        call.send_at = call.deadline  # a node that has crashed has lost it, as the schedule has it
        self._calls[step.request] = call
        self._unanswered[step.request] = step
        self.hand.await_input(step.node)

    def _lose_disk(self, node: NodeId) -> None:
        directory = self._run.spec.settings.directory(node)
        aside = self._run.folder / "aside"
        aside.mkdir(exist_ok=True)
        paper = self._run.faults.begin("delete-directory", nodes_down=[node])
        directory.rename(aside / f"{node}-{len(list(aside.iterdir()))}")
        paper.bit = not directory.exists()
        paper.end()
        self._run.faults.forget_incarnation(node)

    # --- what came of it --------------------------------------------------------------------------------------------

    def _compare(self, step: Step, outcome: TurnOutput) -> None:
        """What the real node has sent and answered must be what the other one has."""
        wanted: dict[tuple[NodeId, NodeId], deque[Packet]] = {}
        for packet in outcome.packets:
            wanted.setdefault((packet.sender, packet.to), deque()).append(packet)
        for letter in self.hand.came(len(outcome.packets)):
            packets = wanted.get(letter.link)
            if not packets:
                raise Diverged(f"it also sent {letter}")
            packet = packets.popleft()
            if self._told_by(packet) != (letter.type, letter.incarnation, letter.fields):
                type_, incarnation, inside = self._told_by(packet)
                raise Diverged(
                    f"it sent {letter} in life {letter.incarnation}, and not {type_} {inside} in {incarnation}"
                )
            self._letters.setdefault(packet, deque()).append(letter)
        for link, packets in wanted.items():
            if packets:
                type_, _, inside = self._told_by(packets[0])
                raise Diverged(f"it did not send {type_} {inside} from {link[0]} to {link[1]}")
        self._compare_replies(outcome)

    def _compare_replies(self, outcome: TurnOutput) -> None:
        for reply in outcome.replies:
            call = self._calls[reply.request]
            until = time.monotonic() + _OWED_S
            while call.outcome is None and time.monotonic() < until:
                self._run.client.poll()
                time.sleep(0.001)
            self._unanswered.pop(reply.request, None)
            match call.outcome:
                case Ok(value) if reply.refused is None:
                    same = canonical_value(value) == canonical_value(reply.value and decode_value(reply.value))
                case NotDone():
                    same = reply.refused is not None
                case _:
                    same = False
            if not same:
                raise Diverged(f"{reply.request.client} was told {call.outcome}, and not {reply}")
        self._run.client.poll()
        for request in self._unanswered:
            if self._calls[request].outcome is not None:
                raise Diverged(f"{request.client} was told {self._calls[request].outcome} already")

    def _see_what_it_says(self, step: Step) -> None:
        """Ask the node that took the step what it has promised, accepted and decided."""
        match step:
            case (
                Deliver(Packet(to=node))
                | Fire(node)
                | TakeOwnMessages(node)
                | Propose(node)
                | Query(node)
                | Recover(node)
            ):
                self._ask_what_it_says(node)
            case LoseDisk(node):
                self._facts.pop(node, None)

    def _ask_what_it_says(self, node: NodeId) -> None:
        status = self._run.client.status([node], _OWED_S).get(node)
        if status is not None:
            facts = _facts(status["variables"].get(VARIABLE, {}))
            self.gone_back += violations_of_change(node, self._facts.get(node, NO_FACTS), facts)
            self._facts[node] = facts

    def _told_by(self, packet: Packet) -> tuple[str, int, str]:
        """A packet of the other cluster as the proxy would have recorded it."""
        message = self._with_real_requests(packet.message)
        return message.type_name(), packet.incarnation, canonical(readable_fields(message))

    def _with_real_requests(self, message: Message) -> Message:
        requests = {
            field.name: self._real(item)
            for field in fields(message)
            if isinstance(item := getattr(message, field.name), Request) and item in self._calls
        }
        return replace(message, **requests) if requests else message

    def _real(self, request: Request) -> Request:
        return Request(self._run.client.id, self._calls[request].number)

    def _expect_end(self, step: Step, error: NotFollowed) -> None:
        """In the schedule a node ends because of its algorithm. The real one must have."""
        match step:
            case (
                Deliver(Packet(to=node))
                | Fire(node)
                | TakeOwnMessages(node)
                | Propose(node)
                | Query(node)
                | GiveUp(node)
            ):
                if self._run.cluster.state(node) is ProcessState.DOWN:
                    return
        raise error

    # --- the end ----------------------------------------------------------------------------------------------------

    def let_all_arrive(self) -> None:
        """Nothing is kept any more and time passes; who waits asks whoever is up again, and is owed an answer."""
        up = [node for node in self._run.nodes if self._run.cluster.state(node) is ProcessState.UP]
        self.hand.free(up)
        calls = []
        for request, step in self._unanswered.items():
            self._calls[request].send_at = time.monotonic()  # from here on, as any client does
            match step:
                case Propose(node, value=value) if node in up:
                    calls.append(self._run.begin_propose(VARIABLE, decode_value(value), node, _OWED_S))
                case Query(node) if node in up:
                    calls.append(self._run.begin_query(VARIABLE, node, _OWED_S))
        self._run.settle(*calls)

    def boot_who_is_down(self) -> None:
        """Whoever is down and has a disk says what it has kept."""
        for node in self._run.nodes:
            if self._run.cluster.state(node) is ProcessState.DOWN and self.virtual.can_boot(node):
                self._run.faults.restart(node)
                self._ask_what_it_says(node)

    def ended_by_themselves(self) -> dict[NodeId, str]:
        """The nodes that nobody has killed and that are down, and how they ended."""
        processes = {node: self._run.cluster.process(node) for node in self._run.nodes}
        return {
            node: process.describe()
            for node, process in processes.items()
            if process.look() is ProcessState.DOWN and "status" in process.ended
        }


def _facts(status: Mapping[str, Any]) -> Facts:
    """What a real node's status says of one variable."""
    decided = status.get("decided")
    ballots = [
        Ballot(*told) if isinstance(told, list) and tuple(told) != NO_BALLOT else None
        for told in (status.get("ballot"), status.get("accepted ballot"))
    ]
    return Facts(None if decided is None else encode_value(decided), *ballots)


def _said(step: Step) -> str:
    """A step in a few words."""
    match step:
        case Deliver(packet) | DropPacket(packet) | DuplicatePacket(packet):
            return f"{kind_name(type(step))} of {packet.message.type_name()} from {packet.sender} to {packet.to}"
        case Fire(node, timer):
            return f"{timer!r} of {node} running out"
        case _:
            return f"{kind_name(type(step))} at {step.node}"
