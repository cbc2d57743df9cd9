"""A cluster without processes. The caller chooses one step after the other.

    cluster = VirtualCluster(Paxos, ("n1", "n2", "n3"))
    cluster.propose("n1", encode_value("blue"))
    while cluster.pending:
        cluster.apply(Deliver(next(iter(cluster.pending))))
    print("\\n".join(cluster.story))

Rules
-----
1. The same steps give the same cluster: there is no clock and no randomness.
2. `judge` checks the cluster after each step, and keeps every violation that it has found.
3. A client waits until a `GiveUp` ends its wait. A crash of the node loses the client's request.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from harness.virtual.fault_model import SOUND, FaultModel
from harness.virtual.judge import Violation, VirtualJudge
from harness.virtual.log_judge import LogJudge
from harness.virtual.narration import narrate
from harness.virtual.node import VirtualNode
from harness.virtual.node_state import NodeState, freeze_node
from harness.virtual.output import TurnOutput, VirtualReply
from harness.virtual.steps import (
    Crash,
    CrashInTurn,
    Deliver,
    DoubtDisk,
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
    Retire,
    SendFrame,
    Step,
    TakeOwnMessages,
    Turn,
    inputs_of,
)
from harness.virtual.watchdog import EndlessLoop
from node.contract import Algorithm, NodeId, Request, Value
from node.log_contract import LogAlgorithm
from node.tuning import SHIPPED, Tuning

#: After so many turns with their own messages, nodes are taken to send to themselves without end.
OWN_TURNS_MAX: Final = 1000


class ImpossibleStep(Exception):
    """The step cannot happen now: its packet is not on its way, its node is down or has no disk, its timer is not set."""


@dataclass(slots=True)
class AppliedStep:
    """A step and its output."""

    step: Step
    outcome: TurnOutput


class VirtualCluster:
    """Nodes, the packets between them, and the replies to clients. Picklable."""

    def __init__(
        self,
        algorithm: type[Algorithm],
        members: tuple[NodeId, ...],
        fault_model: FaultModel = SOUND,
        newcomers: tuple[NodeId, ...] = (),
        tuning: Tuning = SHIPPED,
    ) -> None:
        """Make a cluster and boot its members.

        Args:
            algorithm: the class that every node runs.
            members: the nodes of the cluster.
            fault_model: how nodes and disks differ from real nodes on good disks.
            newcomers: nodes that are down and no members. They may `Recover` and become members of a log.
            tuning: the settings of the cluster.
        """
        self.algorithm = algorithm
        self.members = members
        self.nodes: dict[NodeId, VirtualNode] = {
            node: VirtualNode(algorithm, node, members, fault_model, tuning=tuning) for node in (*members, *newcomers)
        }
        self.pending: dict[Packet, int] = {}
        """The packets that are on their way, with the number of copies of each."""
        self.sent: dict[Packet, None] = {}
        """Every packet that was ever sent."""
        self.replies: dict[Request, VirtualReply] = {}
        self.judge = LogJudge(algorithm) if issubclass(algorithm, LogAlgorithm) else VirtualJudge()
        self.happened: list[AppliedStep] = []
        self._requests = 0
        for member in members:
            self._release(self.nodes[member].boot())
            self.judge.check_node(self.nodes[member])

    # --- steps ------------------------------------------------------------------------------------------------------

    def apply(self, step: Step) -> TurnOutput:
        """Let `step` happen. Return what the node released in it.

        Raises:
            ImpossibleStep: it cannot happen now. Nothing has changed.
        """
        if isinstance(step, Deliver):  # the frequent steps first: the patterns of `_check` and `_apply` take longer
            packet = step.packet
            if not self.nodes[packet.to].up or not self._take_copy(packet):
                raise _impossible(step)
            outcome = self._turn(packet.to, step)
        elif isinstance(step, DropPacket):
            if not self._take_copy(step.packet):
                raise _impossible(step)
            outcome = TurnOutput()
        elif isinstance(step, Fire):
            if not self.nodes[step.node].is_set(step.timer):
                raise _impossible(step)
            outcome = self._turn(step.node, step)
        else:
            self._check(step)
            outcome = self._apply(step)
        self.happened.append(AppliedStep(step, outcome))
        return outcome

    def _apply(self, step: Step) -> TurnOutput:
        """Let a step happen that can happen, other than those that `apply` treats itself."""
        match step:
            case Turn(node, inputs):
                for each in inputs:
                    self._note_input(each)
                outcome = self._turn(node, *inputs)
            case Propose(node) | Query(node) | SendFrame(node):
                self._note_input(step)
                outcome = self._turn(node, step)
            case DuplicatePacket(packet):
                self.pending[packet] = self.pending.get(packet, 0) + 1
                outcome = TurnOutput()
            case Crash(node):
                self.judge.check_node(self.nodes[node])
                self.nodes[node].crash()
                outcome = TurnOutput()
                self.judge.check_node(self.nodes[node])
            case Recover(node):
                outcome = self._turn(node, step)
            case LoseDisk(node):
                self.nodes[node].lose_disk()
                self.judge.forget_node(node)
                outcome = TurnOutput()
            case DoubtDisk(node, last_commit):
                self.nodes[node].doubt_disk(last_commit)
                self.judge.forget_node(node)
                outcome = TurnOutput()
            case CrashInTurn(node, lifted, moment):
                self.nodes[node].crashes_in_turn = None if lifted else moment
                outcome = TurnOutput()
            case TakeOwnMessages(node) | GiveUp(node) | PeerLost(node) | Retire(node) | ElectionTimeout(node):
                outcome = self._turn(node, step)
            case _:
                raise AssertionError(f"{step} is a step that `apply` treats itself")
        return outcome

    def propose(self, node: NodeId, value: Value) -> Request:
        """Have a new client propose at `node`. Return its request."""
        request = self._new_request()
        self.apply(Propose(node, request, value))
        return request

    def query(self, node: NodeId) -> Request:
        """Have a new client query `node`. Return its request."""
        request = self._new_request()
        self.apply(Query(node, request))
        return request

    def _new_request(self) -> Request:
        self._requests += 1
        return Request(f"c{self._requests}", 1)

    def can_boot(self, node: NodeId) -> bool:
        """Return whether a node has a disk to boot from, or may boot without one under the fault model."""
        return self.nodes[node].can_boot

    def can_happen(self, step: Step) -> bool:
        """Return whether a step can happen now."""
        try:
            self._check(step)
        except ImpossibleStep:
            return False
        return True

    def possible(self) -> Iterator[Step]:
        """Yield every step that can happen now, except for new calls of clients."""
        for packet in self.pending:
            if self.nodes[packet.to].up:
                yield Deliver(packet)
            yield DropPacket(packet)
        for packet in self.sent:
            yield DuplicatePacket(packet)
        for name, node in self.nodes.items():
            if node.up:
                yield from (Fire(name, timer) for timer in node.timer_names())
                yield from (GiveUp(name, request) for request in node.waiting)
                if node.owes_turn:
                    yield TakeOwnMessages(name)
                if node.fault_model.time_stands_still:
                    yield ElectionTimeout(name)
                yield Crash(name)
            else:
                yield LoseDisk(name)
                if node.can_boot:
                    yield Recover(name)

    def own_turns(self) -> Iterator[Step]:
        """Yield turns in which nodes take in their own messages, until no node has any.

        The caller applies each step before it asks for the next. After `OWN_TURNS_MAX` steps the iteration ends.
        """
        for _ in range(OWN_TURNS_MAX):
            owing = next((name for name, node in self.nodes.items() if node.owes_turn), None)
            if owing is None:
                return
            yield TakeOwnMessages(owing)

    # --- results ----------------------------------------------------------------------------------------------------

    @property
    def violations(self) -> list[Violation]:
        """The violations that the judge has found so far."""
        return self.judge.violations

    @property
    def story(self) -> list[str]:
        """The steps so far in English, one line for each."""
        return narrate((happened.step, happened.outcome) for happened in self.happened)

    def key(self) -> Hashable:
        """Return a key that two clusters share exactly if the same steps are possible for both, with the same results."""
        nodes: tuple[NodeState, ...] = tuple(freeze_node(node) for node in self.nodes.values())
        return nodes, frozenset(self.pending.items()), frozenset(self.sent), frozenset(self.replies.values())

    # --- internals ----------------------------------------------------------------------------------------------------

    def _note_input(self, step: Step) -> None:
        """Remove a copy of a packet that arrives; note a client's call."""
        match step:
            case Deliver(packet):
                self._take_copy(packet)
            case SendFrame(_, request, frame):
                self.judge.record_frame(request, frame)
            case Propose(_, _, value):
                self.judge.record_proposal(value)
            case Query(_, request):
                self.judge.record_query(request)

    def _check(self, step: Step) -> None:
        match step:
            case Turn(node, inputs):
                copies = Counter([each.packet for each in inputs if isinstance(each, Deliver)])
                on_way = self.pending.get
                fine = (
                    bool(inputs)
                    and self.nodes[node].up
                    and all(on_way(packet, 0) >= number for packet, number in copies.items())
                )
                for each in inputs:
                    if isinstance(each, Deliver):
                        fine = fine and self.nodes[each.packet.to].up
                    elif not isinstance(each, TakeOwnMessages):
                        self._check(each)
            case SendFrame(node):
                fine = self.nodes[node].up
            case Deliver(packet) | DropPacket(packet):
                fine = packet in self.pending and (isinstance(step, DropPacket) or self.nodes[packet.to].up)
            case DuplicatePacket(packet):
                fine = packet in self.sent
            case Fire(node, timer):
                fine = self.nodes[node].is_set(timer)
            case GiveUp(node, request):
                fine = request in self.nodes[node].waiting
            case TakeOwnMessages(node):
                fine = self.nodes[node].owes_turn
            case (
                Crash(node)
                | Propose(node)
                | Query(node)
                | PeerLost(node)
                | Retire(node)
                | ElectionTimeout(node)
                | CrashInTurn(node)
            ):
                fine = self.nodes[node].up
            case LoseDisk(node) | DoubtDisk(node):
                fine = not self.nodes[node].up
            case Recover(node):
                fine = not self.nodes[node].up and self.nodes[node].can_boot
        if not fine:
            raise _impossible(step)

    def _take_copy(self, packet: Packet) -> bool:
        """Remove a copy of a packet that is on its way. Return False if there is none."""
        copies = self.pending.pop(packet, 0)  # one look-up if no other copy is left: the hash of a packet is expensive
        if copies > 1:
            self.pending[packet] = copies - 1
        return copies > 0

    def _turn(self, name: NodeId, *steps: Step) -> TurnOutput:
        """Run a turn of a node. An exception of its algorithm is a violation and stops the node, as it stops a real node."""
        node = self.nodes[name]
        try:
            outcome = node.boot() if isinstance(steps[0], Recover) else node.turn(*steps)
        except (Exception, SystemExit, EndlessLoop) as error:  # noqa: BLE001 - an algorithm may raise anything, and that is a finding
            node.crash()
            self.judge.record_failure(name, error)
            return TurnOutput()
        judge = self.judge
        if outcome.packets or outcome.replies:
            self._release(outcome)
        if outcome.crashed:
            judge.check_applied(node)
            node.crash()
        judge.check_node(node)
        judge.check_copies(self.nodes)
        if node.up:
            judge.check_timers(node)
        for reply in outcome.replies:
            judge.check_reply(name, reply)
        return outcome

    def _release(self, outcome: TurnOutput) -> None:
        pending, sent = self.pending, self.sent
        for packet in outcome.packets:  # with as few look-ups as can be: the hash of a packet is expensive
            known = len(pending)
            copies = pending.setdefault(packet, 1)
            if len(pending) == known:
                pending[packet] = copies + 1
            known = len(sent)
            sent[packet] = None
            if len(sent) > known:
                self.judge.check_packet(packet)
        for reply in outcome.replies:
            self.replies[reply.request] = reply


def _impossible(step: Step) -> ImpossibleStep:
    return ImpossibleStep(f"{step} cannot happen now")


def run(cluster: VirtualCluster, steps: Iterable[Step], *, skip_impossible: bool = False) -> list[Step]:
    """Apply `steps` in order. Return those that happened.

    Raises:
        ImpossibleStep: a step cannot happen, and `skip_impossible` is False.
    """
    done = []
    for step in steps:
        try:
            cluster.apply(step)
        except ImpossibleStep:
            if not skip_impossible:
                raise
            continue
        done.append(step)
    return done


def follow(cluster: VirtualCluster, steps: Iterable[Step]) -> list[Step]:
    """Apply the steps of a search to a cluster. Return the steps that have happened.

    In a search a packet may arrive any number of times. In a cluster each arrival uses up a copy, so `follow` duplicates a
    packet of which no copy is left.
    """
    done: list[Step] = []
    for step in steps:
        for each in inputs_of(step):
            if isinstance(each, Deliver) and each.packet not in cluster.pending:
                again = DuplicatePacket(each.packet)
                cluster.apply(again)
                done.append(again)
        cluster.apply(step)
        done.append(step)
    return done
