"""A cluster in memory whose every step the test chooses: deliver, drop, repeat, reorder, fire a timer, crash, restart.

It runs the shipped algorithms by the turn's rule: what an input saves is packed into the durable copy first, and only then do
its messages fly and its answers count. A crash takes all but that copy. Messages cross as bytes, as they do in a node.
Nothing happens by itself, so the same steps always end the same.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from node.contract import Algorithm, Message, Node, NodeId, Request, Stored, Value
from node.wire import Codec, Envelope, pack, unpack

CLUSTER = "0" * 32


@dataclass(frozen=True)
class Packet:
    sender: NodeId
    to: NodeId
    message: Message


class Replica(Node):
    """One node: what its algorithm has asked for in this turn, and its timers."""

    def __init__(self, name: NodeId, members: tuple[NodeId, ...], disk: dict[str, Stored]) -> None:
        self.id, self.members, self.disk = name, members, disk
        self.sends: list[tuple[NodeId, Message]] = []
        self.answers: list[tuple[Request, Value | None]] = []
        self.timers: dict[str, tuple[float, float]] = {}

    def send(self, to: NodeId, message: Message) -> None:
        assert to in self.members
        self.sends.append((to, message))

    def reply(self, request: Request, value: Value | None) -> None:
        self.answers.append((request, value))

    def refuse(self, request: Request, reason: str) -> None:
        raise AssertionError(f"none of ours refuses: {reason}")

    def set_timer(self, name: str, least_s: float, most_s: float) -> None:
        assert 0 <= least_s <= most_s
        self.timers.pop(name, None)
        self.timers[name] = (least_s, most_s)

    def cancel_timer(self, name: str) -> None:
        self.timers.pop(name, None)


class Schedule:
    """Every node of a cluster, what is in flight between them, and what clients were told."""

    def __init__(self, algorithm: type[Algorithm], members: str = "abc") -> None:
        self.algorithm = algorithm
        self.members = tuple(members)
        self.codec = Codec(CLUSTER, algorithm.messages)
        self.durable: dict[NodeId, dict[str, bytes]] = {member: {} for member in members}
        self.replicas: dict[NodeId, Replica] = {}
        self.running: dict[NodeId, Algorithm] = {}
        self.flying: list[Packet] = []
        self.answers: dict[Request, Value | None] = {}
        self.waiting: dict[Request, NodeId] = {}
        self.proposed: set[Value] = set()
        self.asked = 0
        for member in members:
            self.restart(member)

    # --- nodes ---

    def restart(self, name: NodeId) -> None:
        """Boot a node that is down, from what it had committed."""
        assert name not in self.running
        disk = {key: unpack(packed) for key, packed in self.durable[name].items()}
        replica = self.replicas[name] = Replica(name, self.members, disk)
        algorithm = self.running[name] = self.algorithm(replica)
        self._turn(name, algorithm.start)

    def crash(self, *names: NodeId) -> None:
        """SIGKILL: the memory is gone, with what the node has sent to itself, its timers, and its clients' connections."""
        for name in names:
            del self.running[name], self.replicas[name]
            self.flying = [packet for packet in self.flying if not packet.sender == packet.to == name]
            self.waiting = {request: at for request, at in self.waiting.items() if at != name}

    def _turn(self, name: NodeId, act: Callable[[], None]) -> None:
        act()
        self.running[name].drained()
        replica = self.replicas[name]
        self.durable[name] = {key: pack(value) for key, value in replica.disk.items()}
        for to, message in replica.sends:
            frame = self.codec.encode(Envelope(name, 1, "x", message))
            self.flying.append(Packet(name, to, self.codec.decode(frame).message))
        for request, value in replica.answers:
            if self.waiting.pop(request, None) is not None:  # the node answers a request once
                self.answers[request] = value
        replica.sends.clear()
        replica.answers.clear()

    # --- clients ---

    def propose(self, at: NodeId, value: Value) -> Request:
        """A client's proposal at a node that is up."""
        self.asked += 1
        request = Request(f"client of {at}", self.asked)
        self.waiting[request] = at
        self.proposed.add(value)
        self._turn(at, lambda: self.running[at].propose(request, value))
        return request

    def query(self, at: NodeId) -> Request:
        """A client's query at a node that is up."""
        self.asked += 1
        request = Request(f"client of {at}", self.asked)
        self.waiting[request] = at
        self._turn(at, lambda: self.running[at].query(request))
        return request

    def forget(self, request: Request) -> None:
        """The client's deadline has passed."""
        at = self.waiting.pop(request)
        self._turn(at, lambda: self.running[at].forget(request))

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
        algorithm = self.running.get(packet.to)
        if algorithm is not None:
            self._turn(packet.to, lambda: algorithm.receive(packet.sender, packet.message))

    def hand(self, sender: NodeId, to: NodeId, message: Message) -> None:
        """Deliver a message that the test has made up, as if `sender` had sent it at some time."""
        packet = Packet(sender, to, message)
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
        names = [name] if name else list(self.replicas[at].timers)
        there = [timer for timer in names if self.replicas[at].timers.pop(timer, None) is not None]
        for timer in there:
            self._turn(at, lambda timer=timer: self.running[at].timeout(timer))  # type: ignore[misc]
        return bool(there)

    def go_on(self, among: str = "", rounds: int = 40) -> Iterator[None]:
        """Let time pass on a network that is whole, at least among these nodes: each step settles and fires every timer."""
        for _ in range(rounds):
            self.settle(among)
            yield
            for name in among or self.members:
                if name in self.running:
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
        return {key: unpack(packed) for key, packed in self.durable[name].items()}

    def statuses(self) -> dict[NodeId, object]:
        """Every running node's status."""
        return {name: dict(algorithm.status()) for name, algorithm in self.running.items()}

    def decisions(self) -> set[Value]:
        """Every value that a client was told, or that a node's disk holds as decided. Two are one too many."""
        told = {value for value in self.answers.values() if value is not None}
        learned = {disk["decided"] for disk in map(self.disk, self.members) if "decided" in disk}
        return told | {Value(value) for value in learned if isinstance(value, bytes)}
