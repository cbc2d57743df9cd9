"""A virtual cluster and a cluster of real processes that take the same steps and are compared after each.

Theory of operation
-------------------
The real cluster consists of stepped nodes (`harness.systems.stepped_node`) behind the proxy. The proxy keeps every message
between nodes until a step delivers it.

| step | on real processes |
|---|---|
| Propose, Query | a client's call, which is sent once |
| SendFrame | a client's frame, which is sent once |
| PeerLost | the driver tells the node, which does not see it by itself |
| ElectionTimeout | the driver tells the node that it has waited in vain for too long |
| Deliver | the proxy releases that message, or a copy of it if the schedule delivers it again later |
| Drop | the proxy discards the message, if no later step delivers it |
| Duplicate | nothing: the proxy still has the message |
| Fire, TakeOwnMessages | the driver makes the node expire the timer, or take in its messages to itself |
| GiveUp | the driver makes the node expire the request's deadline |
| Crash, Recover | SIGKILL, and a start on the same directory |
| LoseDisk | the directory is moved away |

Rules
-----
1. After each step the real node must have sent the same messages, and the clients must have got the same replies, as in the
   virtual cluster. Otherwise `Diverged` is raised.
2. A client's call is not sent again, since a retry would be a step that the schedule does not have.
"""

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Final, NamedTuple

from cluster.clients.client import VariableCall
from cluster.clients.outcomes import NotDone, Ok
from cluster.errors import ConsensusError
from cluster.processes import ProcessState
from harness.records.jsonable import canonical as canonical_value
from harness.records.messages import readable_fields
from harness.replay.driver import Driver, KeptMessage, StepNotDone, canonical_json
from harness.replay.frame_calls import FrameCalls
from harness.replay.schedule import Schedule
from harness.report.wording import fields_text
from harness.runs.experiment import Experiment
from harness.virtual.judge import Violation, violations_of_change
from harness.virtual.node_state import NO_FACTS, Facts
from harness.virtual.output import TurnOutput, VirtualReply
from harness.virtual.steps import (
    Crash,
    Deliver,
    DropPacket,
    DuplicatePacket,
    ElectionTimeout,
    Fire,
    GiveUp,
    LoseDisk,
    Packet,
    PeerLost,
    Propose,
    Query,
    Recover,
    SendFrame,
    Step,
    TakeOwnMessages,
    kind_name,
)
from node.contract import Message, NodeId, Request
from node.instances import LOG_NAME
from node.quorum import NO_BALLOT, Ballot
from node.wire import decode_value, encode_value

VARIABLE: Final = "colour"
#: The timeout of a client's call in the schedule: longer than any schedule takes.
_CALL_TIMEOUT_S: Final = 600.0
#: How long a call may take when it must be answered.
_ANSWER_TIMEOUT_S: Final = 2.0


class Diverged(Exception):
    """A real node did something else than the schedule has. The message names it."""


class _Recorded(NamedTuple):
    """What the proxy records of a message between nodes."""

    type: str
    incarnation: int
    fields: str

    def __str__(self) -> str:
        return f"{self.type} ({fields_text(json.loads(self.fields))})"


class LockstepClusters:
    """Both clusters, and what they have done so far."""

    def __init__(self, run: Experiment, schedule: Schedule, steps: list[Step]) -> None:
        self._run = run
        self._steps = steps
        self.virtual = schedule.cluster()
        self.driver = Driver(run)
        self.followed = 0
        """How many steps had the same result in both clusters."""
        self._deliveries_left = Counter(step.packet for step in steps if isinstance(step, Deliver))
        self._kept: dict[Packet, deque[KeptMessage]] = {}
        self._frames = FrameCalls(run)
        self._instance = LOG_NAME if self.virtual.algorithm.keeps_log else VARIABLE
        self._calls: dict[Request, VariableCall] = {}
        self._unanswered: dict[Request, Propose | Query] = {}
        self._facts: dict[NodeId, Facts] = {}
        self.gone_back: list[Violation] = []
        """What nodes reported as promised, accepted or decided, and later took back."""

    # --- the schedule -----------------------------------------------------------------------------------------------

    def follow(self, progress: Callable[[str], object]) -> str | None:
        """Take every step. Return at which step the real nodes differed, and how, or None."""
        try:  # a log sends something as it boots
            self._compare_messages(list(self.virtual.pending))
        except Diverged as error:
            return f"at the boot: {error}"
        for number, step in enumerate(self._steps, 1):
            progress(f"step {number} of {len(self._steps)}: {kind_name(type(step))}")
            try:
                self._take(step)
            except (Diverged, StepNotDone, ConsensusError) as error:
                return f"step {number}, {_description(step)}: {error}"
            self.followed = number
        return None

    def _take(self, step: Step) -> None:
        self._hear_itself_first(step)
        failures = len(self.virtual.violations)
        outcome = self.virtual.apply(step)
        failed = any(found.kind == "contract" for found in self.virtual.violations[failures:])
        try:
            self._do(step)
        except StepNotDone as error:
            if not failed:
                raise
            self._expect_end(step, error)
        self._compare(step, outcome)
        self._ask_for_facts(step)

    def _hear_itself_first(self, step: Step) -> None:
        """Make the real node take in its messages to itself, as a virtual node does at the beginning of a turn."""
        match step:
            case (
                Deliver(Packet(to=node))
                | Propose(node)
                | Query(node)
                | SendFrame(node)
                | PeerLost(node)
                | ElectionTimeout(node)
            ) if self.virtual.nodes[node].to_self:
                self.driver.step(node)

    def _do(self, step: Step) -> None:
        """Do a step on real processes, and return when its node has taken it."""
        match step:
            case Deliver(packet):
                self._deliveries_left[packet] -= 1
                copies = self._kept.get(packet)
                if not copies:
                    raise Diverged("that message was never sent")
                keep = len(copies) == 1 and self._deliveries_left[packet] > 0
                self.driver.deliver(copies[0] if keep else copies.popleft(), keep=keep)
                self.driver.await_input(packet.to)
            case DropPacket(packet):
                copies = self._kept.get(packet, deque())
                if copies and len(copies) > self._deliveries_left[packet]:
                    self.driver.lose(copies.popleft())
            case DuplicatePacket():
                pass  # the proxy keeps what will be delivered again
            case Fire(node, timer):
                self.driver.step(node, fire=[self._instance, timer])
            case TakeOwnMessages(node):
                self.driver.step(node)
            case GiveUp(node, request):
                self.driver.step(node, forget=list(self._real(request)))
            case Propose(node, value=value):
                self._call(step, self._run.begin_propose(VARIABLE, decode_value(value), node, _CALL_TIMEOUT_S))
            case Query(node):
                self._call(step, self._run.begin_query(VARIABLE, node, _CALL_TIMEOUT_S))
            case SendFrame(node):
                self._frames.send(step)
                self.driver.await_input(node)
            case PeerLost(node, peer):
                self.driver.step(node, lost=peer)
            case ElectionTimeout(node):
                self.driver.step(node, elect=True)
            case Crash(node):
                self._run.faults.kill(node)
            case Recover(node):
                self._run.faults.restart(node)
                self.driver.node_restarted(node)
            case LoseDisk(node):
                self._lose_disk(node)

    def _call(self, step: Propose | Query, call: VariableCall) -> None:
        call.send_at = call.deadline  # no retry: a node that has crashed has lost the request, as in the schedule
        self._calls[step.request] = call
        self._unanswered[step.request] = step
        self.driver.await_input(step.node)

    def _lose_disk(self, node: NodeId) -> None:
        directory = self._run.spec.settings.directory(node)
        aside = self._run.folder / "aside"
        aside.mkdir(exist_ok=True)
        receipt = self._run.faults.begin("delete-directory", nodes_down=[node])
        directory.rename(aside / f"{node}-{len(list(aside.iterdir()))}")
        receipt.bit = not directory.exists()
        receipt.end()
        self._run.faults.forget_incarnation(node)

    # --- the comparison ---------------------------------------------------------------------------------------------

    def _compare(self, step: Step, outcome: TurnOutput) -> None:
        """Raise Diverged unless the real node has sent and replied what the virtual node has."""
        self._compare_messages(outcome.packets)
        self._compare_replies(outcome)

    def _compare_messages(self, sent: Sequence[Packet]) -> None:
        expected: dict[tuple[NodeId, NodeId], deque[Packet]] = {}
        for packet in sent:
            expected.setdefault((packet.sender, packet.to), deque()).append(packet)
        for message in self.driver.new_messages(len(sent)):
            packets = expected.get(message.link)
            if not packets:
                raise Diverged(f"it also sent {message}")
            packet = packets.popleft()
            wanted = self._recorded(packet)
            if wanted != (message.type, message.incarnation, message.fields):
                raise Diverged(
                    f"it sent {message} in life {message.incarnation}, and not {wanted} in {wanted.incarnation}"
                )
            self._kept.setdefault(packet, deque()).append(message)
        for link, packets in expected.items():
            if packets:
                wanted = self._recorded(packets[0])
                raise Diverged(f"it did not send {wanted} from {link[0]} to {link[1]}")

    def _compare_replies(self, outcome: TurnOutput) -> None:
        for reply in outcome.replies:
            if reply.to_frame:
                self._compare_frame(reply)
                continue
            call = self._calls[reply.request]
            until = time.monotonic() + _ANSWER_TIMEOUT_S
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
                raise Diverged(f"{reply.request.client} got {call.outcome}, and not {reply}")
        self._run.client.poll()
        for request in self._unanswered:
            if self._calls[request].outcome is not None:
                raise Diverged(f"{request.client} got {self._calls[request].outcome} too early")
        if early := self._frames.unexpected():
            raise Diverged(f"{early[0].client} got a reply too early")

    def _compare_frame(self, reply: VirtualReply) -> None:
        until = time.monotonic() + _ANSWER_TIMEOUT_S
        while not self._frames.has(reply.request):
            if time.monotonic() > until:
                raise Diverged(f"{reply.request.client} got no reply, and not {reply}")
            time.sleep(0.001)
        node = next(
            done.step.node
            for done in self.virtual.happened
            if isinstance(done.step, SendFrame) and done.step.request == reply.request
        )
        if not self._frames.is_as(reply, node):
            raise Diverged(f"{reply.request.client} got another reply than {reply}")

    def _ask_for_facts(self, step: Step) -> None:
        """Ask the node that took the step what it has promised, accepted and decided."""
        match step:
            case (
                Deliver(Packet(to=node))
                | Fire(node)
                | TakeOwnMessages(node)
                | Propose(node)
                | Query(node)
                | SendFrame(node)
                | PeerLost(node)
                | ElectionTimeout(node)
                | Recover(node)
            ):
                self._compare_facts(node)
            case LoseDisk(node):
                self._facts.pop(node, None)

    def _compare_facts(self, node: NodeId) -> None:
        status = self._run.client.status([node], _ANSWER_TIMEOUT_S).get(node)
        if status is not None:
            facts = _facts(status["variables"].get(self._instance, {}))
            self.gone_back += violations_of_change(node, self._facts.get(node, NO_FACTS), facts)
            self._facts[node] = facts

    def _recorded(self, packet: Packet) -> _Recorded:
        """Return what the proxy would record of a packet of the virtual cluster."""
        message = self._with_real_requests(packet.message)
        return _Recorded(message.type_name(), packet.incarnation, canonical_json(readable_fields(message)))

    def _with_real_requests(self, message: Message) -> Message:
        requests = {
            field.name: self._real(item)
            for field in fields(message)
            if isinstance(item := getattr(message, field.name), Request) and item in self._calls
        }
        return replace(message, **requests) if requests else message

    def _real(self, request: Request) -> Request:
        return Request(self._run.client.id, self._calls[request].number)

    def _expect_end(self, step: Step, error: StepNotDone) -> None:
        """Raise `error` unless the real node has ended, as the virtual node has because of its algorithm."""
        match step:
            case (
                Deliver(Packet(to=node))
                | Fire(node)
                | TakeOwnMessages(node)
                | Propose(node)
                | Query(node)
                | SendFrame(node)
                | PeerLost(node)
                | ElectionTimeout(node)
                | GiveUp(node)
            ):
                if self._run.cluster.state(node) is ProcessState.DOWN:
                    return
        raise error

    # --- the end ----------------------------------------------------------------------------------------------------

    def free_all_and_ask_again(self) -> None:
        """Deliver every kept message, let time pass, and repeat each unanswered call at a node that is up."""
        up = [node for node in self._run.nodes if self._run.cluster.state(node) is ProcessState.UP]
        self.driver.free(up)
        calls = []
        for request, step in self._unanswered.items():
            self._calls[request].send_at = time.monotonic()  # from here on the client retries, as any client does
            match step:
                case Propose(node, value=value) if node in up:
                    calls.append(self._run.begin_propose(VARIABLE, decode_value(value), node, _ANSWER_TIMEOUT_S))
                case Query(node) if node in up:
                    calls.append(self._run.begin_query(VARIABLE, node, _ANSWER_TIMEOUT_S))
        self._run.settle(*calls)

    def boot_nodes_that_are_down(self) -> None:
        """Boot each node that is down and has a disk, and ask it what it has kept."""
        for node in self._run.nodes:
            if self._run.cluster.state(node) is ProcessState.DOWN and self.virtual.can_boot(node):
                self._run.faults.restart(node)
                self._compare_facts(node)

    def close(self) -> None:
        """End what steps the nodes: they are ordinary nodes from now on, and clients wait no longer."""
        self.driver.close()
        self._frames.close()

    def ended_by_themselves(self) -> dict[NodeId, str]:
        """Return how each node ended that is down and that the driver has not killed."""
        processes = {node: self._run.cluster.process(node) for node in self._run.nodes}
        return {
            node: process.describe()
            for node, process in processes.items()
            if process.look() is ProcessState.DOWN and "status" in process.ended
        }


def _facts(status: Mapping[str, Any]) -> Facts:
    """Return the facts in a real node's status of one variable."""
    decided = status.get("decided")
    ballots = [
        Ballot(*ballot) if isinstance(ballot, list) and tuple(ballot) != NO_BALLOT else None
        for ballot in (status.get("ballot"), status.get("accepted ballot"))
    ]
    of_log = isinstance(decided, dict)  # the variables that are decided, which the judges read from the disks
    return Facts(None if decided is None or of_log else encode_value(decided), *ballots)


def _description(step: Step) -> str:
    match step:
        case Deliver(packet) | DropPacket(packet) | DuplicatePacket(packet):
            return f"{kind_name(type(step))} of {packet.message.type_name()} from {packet.sender} to {packet.to}"
        case Fire(node, timer):
            return f"expiry of {timer!r} at {node}"
        case _:
            return f"{kind_name(type(step))} at {step.node}"
