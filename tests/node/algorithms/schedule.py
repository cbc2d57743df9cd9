"""A cluster in memory whose every step the test chooses: deliver, drop, repeat, reorder, fire a timer, crash, restart.

The nodes are the virtual ones, so they run the shipped turn. What a node sends to itself travels like any message, which gives
a schedule one more order to choose. Nothing happens by itself, so the same steps always end the same.
"""

from collections.abc import Iterator

from harness.virtual.fault_model import FaultModel
from harness.virtual.node import VirtualNode
from harness.virtual.output import TurnOutput
from harness.virtual.steps import VARIABLE, Deliver, Fire, GiveUp, Packet, Propose, Query
from node.contract import Algorithm, Message, NodeId, Request, Status, Stored, Value

_MODEL = FaultModel(own_messages_wait=True)


class Schedule:
    """Every node of a cluster, what is in flight between them, and what clients were told."""

    def __init__(self, algorithm: type[Algorithm], members: str = "abc") -> None:
        self.members = tuple(members)
        self.nodes = {member: VirtualNode(algorithm, member, self.members, _MODEL) for member in members}
        self.flying: list[Packet] = []
        self.answers: dict[Request, Value | None] = {}
        self.proposed: set[Value] = set()
        self.asked = 0
        for member in members:
            self.restart(member)

    # --- nodes ---

    @property
    def running(self) -> dict[NodeId, Algorithm]:
        """The instance of every node that is up."""
        return {name: node.core.instance(VARIABLE) for name, node in self.nodes.items() if node.up}

    @property
    def waiting(self) -> dict[Request, NodeId]:
        """The requests that wait for an answer, and where."""
        return {request: name for name, node in self.nodes.items() for request in node.waiting}

    def restart(self, name: NodeId) -> None:
        """Boot a node that is down, from what it had committed. The variable's algorithm starts at once."""
        node = self.nodes[name]
        self._let_out(node.boot())
        node.core.instance(VARIABLE)
        self._let_out(node.end_turn())

    def crash(self, *names: NodeId) -> None:
        """SIGKILL: the memory is gone, with what the node has sent to itself, its timers, and its clients' connections."""
        for name in names:
            self.nodes[name].crash()
            self.flying = [packet for packet in self.flying if not packet.sender == packet.to == name]

    def timers(self, name: NodeId) -> dict[str, tuple[float, float]]:
        """The timers that are set at a node that is up, and their ranges in seconds."""
        node = self.nodes[name]
        return {timer: node.timer_range(timer) for timer in node.timer_names()}

    def _let_out(self, output: TurnOutput) -> None:
        self.flying += output.packets
        self.answers |= {reply.request: reply.value for reply in output.replies}

    # --- clients ---

    def propose(self, at: NodeId, value: Value) -> Request:
        """A client's proposal at a node that is up."""
        request = self._new_request(at)
        self.proposed.add(value)
        self._let_out(self.nodes[at].turn(Propose(at, request, value)))
        return request

    def query(self, at: NodeId) -> Request:
        """A client's query at a node that is up."""
        request = self._new_request(at)
        self._let_out(self.nodes[at].turn(Query(at, request)))
        return request

    def _new_request(self, at: NodeId) -> Request:
        self.asked += 1
        return Request(f"client of {at}", self.asked)

    def forget(self, request: Request) -> None:
        """The client's deadline has passed."""
        at = self.waiting[request]
        self._let_out(self.nodes[at].turn(GiveUp(at, request)))

    # --- the network ---

    def find(self, kind: type[Message] | None = None, sender: str = "", to: str = "") -> list[Packet]:
        """What flies, of this kind, from and to these nodes; "" is any."""
        return [
            packet
            for packet in self.flying
            if (kind is None or type(packet.message) is kind)
            and (not sender or packet.sender in sender)
            and (not to or packet.to in to)
        ]

    def deliver(self, kind: type[Message] | None = None, sender: str = "", to: str = "", *, keep: bool = False) -> int:
        """Deliver what flies now and matches, in order, and say how much it was. `keep` leaves a copy that flies on."""
        packets = self.find(kind, sender, to)
        for packet in packets:
            self.deliver_one(packet, keep=keep)
        return len(packets)

    def deliver_one(self, packet: Packet, *, keep: bool = False) -> None:
        """Deliver one packet; one to a node that is down is lost."""
        if not keep:
            self.flying.remove(packet)
        node = self.nodes[packet.to]
        if node.up:
            self._let_out(node.turn(Deliver(packet)))

    def hand(self, sender: NodeId, to: NodeId, message: Message) -> None:
        """Deliver a message that the test has made up, as if `sender` had sent it at some time."""
        packet = Packet(sender, self.nodes[sender].incarnation, to, message)
        self.flying.append(packet)
        self.deliver_one(packet)

    def drop(self, kind: type[Message] | None = None, sender: str = "", to: str = "") -> int:
        """Lose what flies now and matches, and say how much it was."""
        packets = self.find(kind, sender, to)
        for packet in packets:
            self.flying.remove(packet)
        return len(packets)

    def settle(self, among: str = "") -> None:
        """Deliver everything that flies among these nodes, and what comes of it. The rest stays in flight."""
        for _ in range(10_000):
            if not self.deliver(None, among, among):
                return
        raise AssertionError("messages without end")

    def fire(self, at: NodeId, name: str = "") -> bool:
        """Let a node's timer run out, or all that are set now. Says whether there was one."""
        there = [timer for timer in self.timers(at) if name in ("", timer)]
        for timer in there:
            self._let_out(self.nodes[at].turn(Fire(at, timer)))
        return bool(there)

    def go_on(self, among: str = "", rounds: int = 40) -> Iterator[None]:
        """Let time pass on a network that is whole, at least among these nodes: each step settles and fires every timer."""
        for _ in range(rounds):
            self.settle(among)
            yield
            for name in among or self.members:
                if self.nodes[name].up:
                    self.settle(among)  # so that timers run out one node at a time, as random ranges see to
                    self.fire(name)

    def wait_for_answers(self, among: str = "") -> None:
        """Demand that every client that waits at these nodes is answered, on a network that is whole among them."""
        for _ in self.go_on(among):
            if not [at for at in self.waiting.values() if not among or at in among]:
                return
        raise AssertionError(f"no progress: {self.waiting} still wait, {self.statuses()}")

    # --- what can be seen ---

    def disk(self, name: NodeId) -> dict[str, Stored]:
        """What a node has committed, whether it is up or not."""
        return self.nodes[name].disk.synced.get(VARIABLE, {})

    def statuses(self) -> dict[NodeId, Status]:
        """Every running node's status."""
        return {name: algorithm.status() for name, algorithm in self.running.items()}

    def decisions(self) -> set[Value]:
        """Every value that a client was told, or that a node's disk holds as decided. Two are one too many."""
        told = {value for value in self.answers.values() if value is not None}
        learned = {disk["decided"] for disk in map(self.disk, self.members) if "decided" in disk}
        return told | {Value(value) for value in learned if isinstance(value, bytes)}
