"""A cluster in memory in which the test chooses every step: deliver, drop, repeat, reorder, fire a timer, crash, restart.

The nodes are virtual nodes, so they run the shipped turn. A message of a node to itself is in flight like any other, so a test
can delay or lose it, too. Nothing happens without a step, so the same steps always have the same result.
"""

from collections.abc import Iterator

from harness.virtual.fault_model import FaultModel
from harness.virtual.node import VirtualNode
from harness.virtual.output import TurnOutput
from harness.virtual.steps import VARIABLE, Deliver, Fire, GiveUp, Packet, Propose, Query
from node.contract import Algorithm, Message, NodeId, Request, Status, Stored, Value

_MODEL = FaultModel(own_messages_wait=True)


class Schedule:
    """The nodes of a cluster, the messages in flight between them, and the answers that clients have got."""

    def __init__(self, algorithm: type[Algorithm], members: str = "abc") -> None:
        self.members = tuple(members)
        self.nodes = {member: VirtualNode(algorithm, member, self.members, _MODEL) for member in members}
        self.in_flight: list[Packet] = []
        self.answers: dict[Request, Value | None] = {}
        self.proposed: set[Value] = set()
        self.asked = 0
        for member in members:
            self.restart(member)

    # --- nodes ---

    @property
    def running(self) -> dict[NodeId, Algorithm]:
        """By node that is up: its instance of the variable."""
        return {name: node.core.instance(VARIABLE) for name, node in self.nodes.items() if node.up}

    @property
    def waiting(self) -> dict[Request, NodeId]:
        """By request that waits for an answer: the node at which it waits."""
        return {request: name for name, node in self.nodes.items() for request in node.waiting}

    def restart(self, name: NodeId) -> None:
        """Boot a node that is down, from its last commit. The variable's algorithm starts at once."""
        node = self.nodes[name]
        self._collect(node.boot())
        node.core.instance(VARIABLE)
        self._collect(node.end_turn())

    def crash(self, *names: NodeId) -> None:
        """Crash nodes: they lose their memory, their messages to themselves, their timers and their clients' connections."""
        for name in names:
            self.nodes[name].crash()
            self.in_flight = [packet for packet in self.in_flight if not packet.sender == packet.to == name]

    def timers(self, name: NodeId) -> dict[str, tuple[float, float]]:
        """Return the timers that are set at a node that is up, each with its range in seconds."""
        node = self.nodes[name]
        return {timer: node.timer_range(timer) for timer in node.timer_names()}

    def _collect(self, output: TurnOutput) -> None:
        self.in_flight += output.packets
        self.answers |= {reply.request: reply.value for reply in output.replies}

    # --- clients ---

    def propose(self, at: NodeId, value: Value) -> Request:
        """Have a client propose `value` at a node that is up. Returns its request."""
        request = self._new_request(at)
        self.proposed.add(value)
        self._collect(self.nodes[at].turn(Propose(at, request, value)))
        return request

    def query(self, at: NodeId) -> Request:
        """Have a client query at a node that is up. Returns its request."""
        request = self._new_request(at)
        self._collect(self.nodes[at].turn(Query(at, request)))
        return request

    def _new_request(self, at: NodeId) -> Request:
        self.asked += 1
        return Request(f"client of {at}", self.asked)

    def forget(self, request: Request) -> None:
        """Let the deadline of a waiting request pass."""
        at = self.waiting[request]
        self._collect(self.nodes[at].turn(GiveUp(at, request)))

    # --- the network ---

    def find(self, kind: type[Message] | None = None, sender: str = "", to: str = "") -> list[Packet]:
        """Return the packets in flight of this kind, from and to these nodes; "" is any."""
        return [
            packet
            for packet in self.in_flight
            if (kind is None or type(packet.message) is kind)
            and (not sender or packet.sender in sender)
            and (not to or packet.to in to)
        ]

    def deliver(self, kind: type[Message] | None = None, sender: str = "", to: str = "", *, keep: bool = False) -> int:
        """Deliver the packets that `find` returns now, in order. Returns their number. `keep` leaves a copy of each in flight."""
        packets = self.find(kind, sender, to)
        for packet in packets:
            self.deliver_one(packet, keep=keep)
        return len(packets)

    def deliver_one(self, packet: Packet, *, keep: bool = False) -> None:
        """Deliver one packet. It is lost if its receiver is down."""
        if not keep:
            self.in_flight.remove(packet)
        node = self.nodes[packet.to]
        if node.up:
            self._collect(node.turn(Deliver(packet)))

    def inject(self, sender: NodeId, to: NodeId, message: Message) -> None:
        """Deliver a message that the test has made, as if `sender` had sent it."""
        packet = Packet(sender, self.nodes[sender].incarnation, to, message)
        self.in_flight.append(packet)
        self.deliver_one(packet)

    def drop(self, kind: type[Message] | None = None, sender: str = "", to: str = "") -> int:
        """Lose the packets that `find` returns now. Returns their number."""
        packets = self.find(kind, sender, to)
        for packet in packets:
            self.in_flight.remove(packet)
        return len(packets)

    def settle(self, among: str = "") -> None:
        """Deliver all packets among these nodes, and those that they cause. Other packets stay in flight."""
        for _ in range(10_000):
            if not self.deliver(None, among, among):
                return
        raise AssertionError("messages without end")

    def fire(self, at: NodeId, name: str = "") -> bool:
        """Let a node's timer expire, or all that are set now. Returns whether there was one."""
        there = [timer for timer in self.timers(at) if name in ("", timer)]
        for timer in there:
            self._collect(self.nodes[at].turn(Fire(at, timer)))
        return bool(there)

    def go_on(self, among: str = "", rounds: int = 40) -> Iterator[None]:
        """Deliver all packets among these nodes and fire their timers, in rounds. Yields before the timers of each round."""
        for _ in range(rounds):
            self.settle(among)
            yield
            for name in among or self.members:
                if self.nodes[name].up:
                    self.settle(among)  # timers of two nodes do not expire at once, since their times are random
                    self.fire(name)

    def wait_for_answers(self, among: str = "") -> None:
        """Assert that every client that waits at these nodes is answered when no packet among them is lost."""
        for _ in self.go_on(among):
            if not [at for at in self.waiting.values() if not among or at in among]:
                return
        raise AssertionError(f"no progress: {self.waiting} still wait, {self.statuses()}")

    # --- what can be seen ---

    def disk(self, name: NodeId) -> dict[str, Stored]:
        """Return what a node has committed, whether it is up or not."""
        return self.nodes[name].disk.synced.get(VARIABLE, {})

    def statuses(self) -> dict[NodeId, Status]:
        """Return the status of each running node."""
        return {name: algorithm.status() for name, algorithm in self.running.items()}

    def decisions(self) -> set[Value]:
        """Return every value in an answer to a client or decided on a node's disk. More than one is a violation."""
        answered = {value for value in self.answers.values() if value is not None}
        learned = {disk["decided"] for disk in map(self.disk, self.members) if "decided" in disk}
        return answered | {Value(value) for value in learned if isinstance(value, bytes)}
