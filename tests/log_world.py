"""A cluster of log replicas in memory: virtual time, seeded faults, real replicas and real clients, and what must hold.

Everything that a replica and a client are made of is the real thing; only sockets, clock and disk are played. What crosses
a link is lost, repeated, delayed and so reordered at random. A crash takes what the turn had not committed, and may fall
before or after the early sends, before or after the commit.

What must hold is checked all the time (`check_slots`) and at the end (`check_history`): replicas agree at equal slots; each
acknowledged write is there, once; and the operations are linearizable. The key-value machine gives each write a version in
the order of the log, which makes that check exact and cheap: see `check_history`.
"""

import copy
import heapq
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from cluster.pipeline import Call, NotDone, Ok, Pipeline
from node.algorithms.multipaxos import MultiPaxos
from node.algorithms.multipaxos.messages import Prepare
from node.contract import Log, Message, Node, NodeId, Request, Stored, Value
from node.frames import CommandFrame, FrameReply, ReadFrame, Replies
from node.log_store import MemoryLog
from node.machines.kv import Kv
from node.wire import Codec, Envelope

CLUSTER = "0" * 32


class Violation(AssertionError):
    """A promise was broken."""


class SimNode(Node):
    """One node: a replica, its disk, and its timers."""

    def __init__(self, world: "World", name: NodeId, members: tuple[NodeId, ...]) -> None:
        self.world, self.id, self.members = world, name, members
        self.durable: tuple[MutableMapping[str, Stored], Log] = ({}, MemoryLog())
        self.up = False
        self.paused_until = 0.0
        self.incarnation = 0
        self.timers: dict[str, float] = {}

    def boot(self) -> None:
        self.incarnation += 1
        self.up = True
        self.disk, self.log = copy.deepcopy(self.durable)
        self.timers = {}
        self.dirty = False
        self.clear()
        self.replica = self.world.replica(self)
        self.replica.start()
        self.finish_turn()

    def clear(self) -> None:
        self.early: list[tuple[NodeId, Message]] = []
        self.sends: list[tuple[NodeId, Message]] = []
        self.replies: list[tuple[Request, FrameReply]] = []

    def crash(self) -> None:
        self.up = False
        self.clear()

    # --- what the replica asks for ----------------------------------------------------------------------------------

    def send(self, to: NodeId, message: Message) -> None:
        self.sends.append((to, message))

    def send_early(self, to: NodeId, message: Message) -> None:
        self.early.append((to, message))

    def reply(self, request: Request, value: Value | None) -> None:
        self.replies.append((request, FrameReply(request.number, value, None, None)))

    def refuse(self, request: Request, reason: str) -> None:
        self.replies.append((request, FrameReply(request.number, None, reason, None)))

    def redirect(self, request: Request, leader: NodeId | None) -> None:
        self.replies.append((request, FrameReply(request.number, None, None, leader)))

    def set_timer(self, name: str, least_s: float, most_s: float) -> None:
        due = self.world.now + self.world.rng.uniform(least_s, most_s)
        self.timers[name] = due
        self.world.at(due, lambda: self.timer(name, due))

    def cancel_timer(self, name: str) -> None:
        self.timers.pop(name, None)

    # --- turns ------------------------------------------------------------------------------------------------------

    def timer(self, name: str, due: float) -> None:
        if not self.up or self.timers.get(name) != due:
            return
        if self.paused_until > self.world.now:
            self.world.at(self.paused_until, lambda: self.timer(name, due))
            return
        del self.timers[name]
        self.turn(lambda: self.replica.timeout(name))

    def turn(self, give: Callable[[], None]) -> None:
        give()
        if self.up:
            self.replica.drained()
            self.finish_turn()
        if self.up:
            self.replica.released()
            if self.early or self.sends or self.replies:
                self.finish_turn()

    def finish_turn(self) -> None:
        """Early sends, commit, sends: with a crash between any two, now and then."""
        world = self.world
        crash = world.rng.randrange(3) if world.rng.random() < world.crash_rate else None
        if crash == 0:
            self.crash()
            return
        early, sends, replies = self.early, self.sends, self.replies
        self.clear()
        for to, message in early:
            world.post(self.id, to, message)
        if crash == 1:
            self.crash()
            return
        self.durable = (copy.deepcopy(self.disk), copy.deepcopy(self.log))
        if crash == 2:
            self.crash()
            return
        for to, message in sends:
            world.post(self.id, to, message)
        for request, reply in replies:
            world.post_reply(self.id, request.client, reply)
        world.check_slots(self)


@dataclass
class Op:
    """One operation of a client, as the harness saw it."""

    call: Call
    kind: str
    key: str
    value: bytes
    began: float
    ended: float | None = None


@dataclass
class World:
    """The cluster, its network and its clients."""

    seed: int
    nodes: int = 3
    loss: float = 0.0
    repeat: float = 0.0
    delay_s: float = 0.002
    crash_rate: float = 0.0
    replica: Callable[[Node], MultiPaxos] = MultiPaxos
    now: float = 0.0
    events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        self.codec = Codec(CLUSTER, MultiPaxos.messages)
        names = tuple(f"n{number}" for number in range(1, self.nodes + 1))
        self.members = names
        self.sims = {name: SimNode(self, name, names) for name in names}
        self.prepared: dict[tuple[int, str], tuple[NodeId, int]] = {}
        self.cuts: set[tuple[str, str]] = set()
        self.clients: dict[str, Pipeline] = {}
        self.ops: list[Op] = []
        self.chosen: dict[int, tuple[str, bytes]] = {}
        self.chains: dict[int, int] = {}
        self.wishes: list[Callable[[str, str, Message], bool]] = []  # each may swallow a message
        for sim in self.sims.values():
            sim.boot()

    # --- events -----------------------------------------------------------------------------------------------------

    def at(self, when: float, act: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.events, (when, self.count, act))

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        end = self.now + seconds
        while self.events and self.events[0][0] <= end:
            if until is not None and until():
                return True
            when, _, act = heapq.heappop(self.events)
            self.now = max(self.now, when)
            act()
        self.now = end
        return until is not None and until()

    # --- the network ------------------------------------------------------------------------------------------------

    def post(self, sender: NodeId, to: NodeId, message: Message) -> None:
        if isinstance(message, Prepare):
            life = self.sims[sender].incarnation
            if self.prepared.setdefault(message.ballot, (sender, life)) != (sender, life):
                raise Violation(
                    f"ballot {message.ballot} was used by {self.prepared[message.ballot]} and by {sender}, {life}"
                )
        if sender == to:
            sim, life = self.sims[to], self.sims[to].incarnation
            self.at(self.now, lambda: self.deliver(sender, to, message, life, life) if sim.up else None)
            return
        if (sender, to) in self.cuts or to not in self.sims or any(wish(sender, to, message) for wish in self.wishes):
            return
        life, receiver = self.sims[sender].incarnation, self.sims[to].incarnation
        message = self.codec.decode(self.codec.encode(Envelope(sender, life, "", message))).message
        for _ in range(1 + (self.rng.random() < self.repeat)):
            if self.rng.random() >= self.loss:
                when = self.now + self.rng.uniform(0.1, 1.0) * self.delay_s * (20 if self.rng.random() < 0.02 else 1)
                self.at(when, lambda: self.deliver(sender, to, message, life, receiver))

    def deliver(self, sender: NodeId, to: NodeId, message: Message, life: int, receiver: int) -> None:
        sim = self.sims[to]
        if not sim.up or sim.incarnation != receiver:
            return
        if self.sims[sender].incarnation > life and self.rng.random() < 0.5:
            return  # the runtime drops what an earlier life sent once it has heard of a later one
        if sim.paused_until > self.now:
            self.at(sim.paused_until, lambda: self.deliver(sender, to, message, life, receiver))
            return
        sim.turn(lambda: sim.replica.receive(sender, message))

    # --- clients ----------------------------------------------------------------------------------------------------

    def client(self, name: str) -> Pipeline:
        pipeline = Pipeline(CLUSTER, lambda: {node: node for node in self.sims}, name)
        pipeline.id = name
        self.clients[name] = pipeline
        self.pump(name)
        return pipeline

    def pump(self, name: str) -> None:
        """Send what the client wants sent, now and every few milliseconds."""
        pipeline = self.clients.get(name)
        if pipeline is None:
            return
        for node, data in pipeline.outgoing(self.now):
            message = self.codec.decode(data).message
            if ("client", node) not in self.cuts and self.rng.random() >= self.loss:
                self.at(self.now + self.rng.uniform(0.1, 1.0) * self.delay_s, self._to_node(name, node, message))
        self._note_ends()
        self.at(self.now + 0.005, lambda: self.pump(name))

    def _to_node(self, name: str, node: NodeId, message: Message) -> Callable[[], None]:
        def give() -> None:
            sim = self.sims[node]
            if not sim.up:
                if name in self.clients:
                    self.clients[name].disconnected(node, self.now)
                return
            if sim.paused_until > self.now:
                self.at(sim.paused_until, give)
                return
            assert isinstance(message, CommandFrame | ReadFrame)
            sim.turn(lambda: sim.replica.command(Request(name, message.number), message))

        return give

    def post_reply(self, node: NodeId, client: str, reply: FrameReply) -> None:
        if (node, "client") in self.cuts or self.rng.random() < self.loss or client not in self.clients:
            return
        data = self.codec.encode(Envelope(node, 1, "", Replies((reply,))))

        def give() -> None:
            if client in self.clients:
                self.clients[client].incoming(node, data, self.now)
                self._note_ends()

        self.at(self.now + self.rng.uniform(0.1, 1.0) * self.delay_s, give)

    def _note_ends(self) -> None:
        for op in self.ops:
            if op.ended is None and op.call.outcome is not None:
                op.ended = self.now

    def begin(self, client: str, kind: str, key: str, value: bytes = b"", timeout_s: float = 3.0) -> Op:
        pipeline = self.clients[client]
        commands: dict[str, list[Any]] = {"put": ["put", key, value], "get": ["get", key], "delete": ["delete", key]}
        op = Op(
            pipeline.call("kv", commands[kind], self.now, timeout_s, read=kind == "get"), kind, key, value, self.now
        )
        self.ops.append(op)
        return op

    def do(self, client: str, kind: str, key: str, value: bytes = b"", timeout_s: float = 10.0) -> Any:
        """Do one operation and return its result; a violation of liveness if it does not succeed."""
        op = self.begin(client, kind, key, value, timeout_s)
        self.run(timeout_s + 1, until=lambda: op.call.outcome is not None)
        if not isinstance(op.call.outcome, Ok):
            raise Violation(f"{kind} {key}: {op.call.outcome}")
        return op.call.outcome.value

    def change(self, client: str, kind: str, node: NodeId, timeout_s: float = 10.0) -> Ok | NotDone | Any:
        call = self.clients[client].call("cluster", [kind, node], self.now, timeout_s)
        self.run(timeout_s + 1, until=lambda: call.outcome is not None)
        return call.outcome

    # --- faults -----------------------------------------------------------------------------------------------------

    def leader(self) -> NodeId | None:
        leading = [
            (sim.replica.leader.ballot, name)
            for name, sim in self.sims.items()
            if sim.up and sim.paused_until <= self.now and sim.replica.leader is not None and sim.replica.leader.serving
        ]
        return max(leading)[1] if leading else None

    def wait_leader(self, other_than: NodeId | None = None) -> NodeId:
        if not self.run(10, until=lambda: self.leader() not in (None, other_than)):
            raise Violation("no leader within 10 s")
        leader = self.leader()
        assert leader is not None
        return leader

    def crash(self, node: NodeId) -> None:
        self.sims[node].crash()

    def restart(self, node: NodeId) -> None:
        self.sims[node].crash()
        self.sims[node].boot()

    def join(self, node: NodeId) -> None:
        """Start a node that is no member."""
        self.sims[node] = SimNode(self, node, self.members)
        self.sims[node].boot()

    def isolate(self, node: NodeId, both: bool = True) -> None:
        for other in (*self.sims, "client"):
            if other != node:
                self.cuts.add((node, other))
                if both:
                    self.cuts.add((other, node))

    def heal(self) -> None:
        self.cuts.clear()

    # --- what must hold ---------------------------------------------------------------------------------------------

    def check_slots(self, sim: SimNode) -> None:
        """The same batch in the same slot everywhere, and equal states at equal slots."""
        state, log = sim.replica.state, sim.log
        for slot in range(max(state.applied - 3, log.first), state.applied + 1):
            record = log.get(slot)
            if record is None:
                continue
            before = self.chosen.setdefault(slot, (sim.id, record.batch))
            if before[1] != record.batch:
                raise Violation(f"slot {slot}: {before[0]} has one batch as chosen and {sim.id} another")
        chain = self.chains.setdefault(state.applied, state.chain)
        if chain != state.chain:
            raise Violation(f"after slot {state.applied} {sim.id} has given other answers than somebody else")

    def history(self) -> list[tuple[int, str, bytes | None]]:
        """Every change of the key-value machine, in the log's order, from the replica that has applied most."""
        sim = max(self.sims.values(), key=lambda each: each.replica.state.applied)
        machine = sim.replica.state.machines["kv"]
        assert isinstance(machine, Kv)
        return list(machine.history)

    def check_history(self) -> None:
        """Linearizable, nothing acknowledged lost, nothing done twice.

        The versions order all writes. It is a linearization if it respects real time: a write that ended before another
        operation began has a lower version than that sees; and if each read returns the latest write up to some point
        between its beginning and its end, which is so if its version is not below what had been acknowledged or read
        before it began.
        """
        history = self.history()
        written = {version: (key, value) for version, key, value in history}
        values = [value for _, _, value in history if value is not None]
        if len(values) != len(set(values)):
            raise Violation(f"a write took effect twice: {sorted(v for v in set(values) if values.count(v) > 1)[:3]}")
        done = [(op, op.call.outcome.value) for op in self.ops if isinstance(op.call.outcome, Ok)]
        for op, result in done:
            if op.kind == "put" and written.get(result) != (op.key, op.value):
                raise Violation(
                    f"put {op.key}={op.value!r} was acknowledged as version {result}, which is {written.get(result)}"
                )
            if op.kind == "get" and result is not None and written.get(result[1]) != (op.key, result[0]):
                raise Violation(f"get {op.key} returned {result}, and that version is {written.get(result[1])}")
        refused = {op.value for op in self.ops if op.kind == "put" and isinstance(op.call.outcome, NotDone)}
        if refused & set(values):
            raise Violation(f"a write that was refused took effect: {sorted(refused & set(values))[:3]}")
        for key in {op.key for op in self.ops}:
            self._check_key(sorted(self._seen(key, done), key=lambda each: each[0]))

    def _seen(self, key: str, done: list[tuple[Op, Any]]) -> Iterator[tuple[float, float, bool, int, str]]:
        for op, result in done:
            if op.key == key and op.kind in ("put", "get") and op.ended is not None:
                version = result if op.kind == "put" else result[1] if result is not None else 0
                yield (
                    op.began,
                    op.ended,
                    op.kind == "put",
                    version,
                    f"{op.kind} {key} {result} ({op.began:.3f} to {op.ended:.3f})",
                )

    @staticmethod
    def _check_key(seen: list[tuple[float, float, bool, int, str]]) -> None:
        ended: list[tuple[float, int, str]] = sorted((end, version, what) for _, end, _, version, what in seen)
        floor, floor_what, position = -1, "", 0
        for began, _, is_put, version, what in seen:
            while position < len(ended) and ended[position][0] < began:
                if ended[position][1] > floor:
                    floor, floor_what = ended[position][1], ended[position][2]
                position += 1
            if version < floor or (is_put and version == floor):
                raise Violation(f"{what} came after {floor_what}")


def storm(world: World, seconds: float, faults: tuple[str, ...], clients: int = 3, keys: int = 3) -> None:
    """Conflicting operations while things break; then everything heals and must go on; then all is checked."""
    rng = world.rng
    names = [f"c{number}" for number in range(clients)]
    for name in names:
        world.client(name)
    number = 0
    end = world.now + seconds
    while world.now < end:
        for name in names:
            for _ in range(rng.randrange(4)):
                number += 1
                kind = rng.choice(["put", "put", "get"])
                world.begin(name, kind, f"k{rng.randrange(keys)}", f"{name}/{number}".encode())
        if rng.random() < 0.25:
            inject(world, rng.choice(faults))
        world.run(rng.uniform(0.005, 0.2))
    world.heal()
    world.crash_rate = world.loss = 0.0
    for sim in world.sims.values():
        sim.paused_until = 0.0
        if not sim.up:
            sim.boot()  # those that were removed too: they must do no harm
    world.run(4.0)
    world.do(names[0], "put", "k0", b"the end")
    world.do(names[0], "get", "k0")
    world.run(1.0)
    world.check_history()
    if not any(isinstance(op.call.outcome, Ok) for op in world.ops[:-2]):
        raise Violation("nothing succeeded, so nothing was shown")


def inject(world: World, fault: str) -> None:
    """One fault, or the end of some."""
    rng = world.rng
    node = rng.choice(list(world.sims))
    leader = world.leader()
    victim = leader if leader is not None and rng.random() < 0.5 else node
    match fault:
        case "crash":
            if sum(not sim.up for sim in world.sims.values()) < (len(world.sims) - 1) // 2 or rng.random() < 0.2:
                world.crash(victim)
        case "restart":
            for name, sim in world.sims.items():
                if not sim.up:
                    world.restart(name)
        case "pause":
            world.sims[victim].paused_until = world.now + rng.uniform(0.1, 1.5)
        case "cut":
            world.isolate(victim, both=rng.random() < 0.6)
        case "cut one":
            world.cuts.add((victim, rng.choice(list(world.sims))))
        case "heal":
            world.heal()
        case "lost":
            for sim in world.sims.values():
                if sim.up and sim.id != victim:
                    peer = victim
                    sim.turn(lambda sim=sim, peer=peer: sim.replica.peer_lost(peer))  # type: ignore[misc]
        case "members":
            change_members(world)
        case "hand over":
            if leader is not None:
                sim = world.sims[leader]
                sim.turn(lambda: _retire(sim))


def change_members(world: World) -> None:
    """Ask for a node more or a node less; what comes of it is seen when it comes."""
    pipeline = next(iter(world.clients.values()))
    members = [sim.replica.members for sim in world.sims.values() if sim.up]
    largest = max(members, key=len, default=())
    if len(largest) < 4 or world.rng.random() < 0.5:
        name = f"n{len(world.sims) + 1}"
        if len(world.sims) < 12:
            pipeline.call("cluster", ["add", name], world.now, 2.0)
            world.join(name)
    else:
        pipeline.call("cluster", ["remove", world.rng.choice(largest)], world.now, 2.0)


def _retire(sim: SimNode) -> None:
    sim.replica.retire()
