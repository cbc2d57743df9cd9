"""A replicated log in virtual time that a script drives. The only faults are those that the script makes.

    world = LogWorld()
    leader = world.wait_leader()
    world.do("c", "put", "k", b"blue")
    world.pause(leader, 4.0)
    world.wait_leader(other_than=leader)

A violation that `harness.virtual.log_judge` finds raises `PromiseBroken` at once, and so does a call of `do` that does not
succeed.
"""

import heapq
from collections.abc import Callable
from typing import Any, Final

from cluster.clients.log_call import LogCall
from cluster.clients.outcomes import NotDone, NotKnown, Ok
from harness.virtual.fault_schedule import LinkConditions
from harness.virtual.log_events import ScheduledOperation
from harness.virtual.log_fault_schedule import LogFaultSchedule
from harness.virtual.log_simulation import LogSimulation
from harness.virtual.scheduled_events import ScheduledCut, ScheduledOutage
from harness.virtual.steps import Crash, Deliver, DoubtDisk, DropPacket, LastCommit, Packet, Recover
from node.algorithms.multipaxos import MultiPaxos
from node.contract import Message, NodeId
from node.log_contract import LogAlgorithm
from node.replication.replica import LogReplica
from node.tuning import SHIPPED, Tuning

_NEWCOMERS: Final = 3
_CLIENTS: Final = ("c", "d")
_LINK_S: Final = 0.002

#: Takes the sender, the receiver and the message of a packet. Returns True if the packet is to be lost.
DropRule = Callable[[NodeId, NodeId, Message], bool]


class PromiseBroken(AssertionError):
    """A property was violated, or an operation of the script did not succeed."""


class LogWorld(LogSimulation):
    """A cluster with a log in virtual time: members `n1`, `n2`, ..., three newcomers, and the clients `c` and `d`."""

    def __init__(
        self,
        nodes: int = 3,
        seed: int = 1,
        algorithm: type[LogAlgorithm] = MultiPaxos,
        tuning: Tuning = SHIPPED,
    ) -> None:
        members = tuple(f"n{number}" for number in range(1, nodes + 1))
        others = tuple(f"n{number}" for number in range(nodes + 1, nodes + 1 + _NEWCOMERS))
        endpoints = len(members) + len(others) + len(_CLIENTS)
        links = LinkConditions(usual_s=(_LINK_S,) * endpoints**2)
        clocks = (1.0,) * endpoints
        fault_schedule = LogFaultSchedule(
            seed,
            members,
            0.0,
            links,
            clocks,
            (),
            (),
            members,
            ("blue",),
            clients=_CLIENTS,
            others=others,
            tuning=tuning,
        )
        super().__init__(algorithm, fault_schedule)
        self.members = members
        self.drop_rules: list[DropRule] = []
        self.late_s = 0.0  # how much longer a packet between two nodes travels
        self.loss = 0.0  # how likely a packet between two nodes is lost
        self.cut_off: dict[tuple[str, str], None] = {}

    # --- time -------------------------------------------------------------------------------------------------------

    def pass_s(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let virtual time pass until `until()` is true, for `seconds` at most. Return whether it is true."""
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            if until():
                return True
            self.now, _, event = heapq.heappop(self._heap)
            self._happen(event)
            if self.judge.violations:
                raise PromiseBroken(str(self.judge.violations[0]))
        self.now = end
        return until()

    def wait(self, until: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
        """Let virtual time pass until `until()` is true.

        Raises:
            PromiseBroken: it is not true within `seconds`. `what` names it in the message.
        """
        if not self.pass_s(seconds, until):
            raise PromiseBroken(f"{what}: not within {seconds:g} s")

    def wait_leader(self, other_than: NodeId | None = None) -> NodeId:
        """Let virtual time pass until a node other than `other_than` leads. Return that node."""
        self.wait(lambda: self.leader() not in (None, other_than), "a leader")
        leader = self.leader()
        assert leader is not None
        return leader

    def check(self) -> None:
        """Raise PromiseBroken if the outcome of a call at its client is wrong, or if there is any other violation."""
        self._check_clients()
        if self.judge.violations:
            raise PromiseBroken(str(self.judge.violations[0]))

    # --- nodes ------------------------------------------------------------------------------------------------------

    def replica(self, node: NodeId) -> LogReplica:
        """Return the replica of a node that is up."""
        replica = self._replica(node)
        assert isinstance(replica, LogReplica), f"{node} is down"
        return replica

    def elect(self, node: NodeId) -> None:
        """Have `node` begin an election now, and wait until it serves."""
        self.take_over(node)
        self.wait(lambda: self._serves(node), f"{node} serves")

    def take_over(self, node: NodeId) -> None:
        """Have `node` begin an election now: the node to which it has promised asks it to lead, or the node asks itself."""
        replica = self._replica(node)
        assert replica is not None, f"{node} is down"
        request = self._algorithm.request_to_lead(replica.promised)
        assert request is not None, f"{self._algorithm.__name__} hands over to no node"
        sender = replica.promised.node or node
        packet = Packet(sender, self.cluster.nodes[sender].incarnation, node, request)
        self.cluster.pending[packet] = self.cluster.pending.get(packet, 0) + 1
        self._apply(node, Deliver(packet))

    def turn(self, node: NodeId, *received: tuple[NodeId, Message]) -> list[Packet]:
        """Run one turn in which a node receives several messages, each with its sender. Return the packets that it sends.

        The packets are not put on their way.
        """
        replica = self.replica(node)
        for sender, message in received:
            replica.receive(sender, message)
        return self.cluster.nodes[node].end_turn().packets

    def redeliver(self, sender: NodeId, to: NodeId, message: Message) -> None:
        """Have a message of `sender` arrive at `to`, as if the network had repeated an earlier packet."""
        packet = Packet(sender, self.cluster.nodes[sender].incarnation, to, message)
        self.cluster.pending[packet] = self.cluster.pending.get(packet, 0) + 1
        self._at(self.now + 2 * _LINK_S, Deliver(packet))

    def _serves(self, node: NodeId) -> bool:
        replica = self._replica(node)
        return replica is not None and replica.serving

    def leader(self) -> NodeId | None:
        """Return the serving leader of the highest ballot that is not suspended, if there is one."""
        leading = [
            (replica.promised, name)
            for name in self.cluster.nodes
            if (replica := self._replica(name)) is not None
            and replica.serving
            and self._pauses.get(name, 0.0) <= self.now
        ]
        return max(leading)[1] if leading else None

    def crash(self, *nodes: NodeId) -> None:
        """Crash nodes."""
        for node in nodes:
            self.cluster.apply(Crash(node))

    def restart(self, *nodes: NodeId) -> None:
        """Crash those nodes that are up, and boot all of them. A newcomer boots for the first time."""
        for node in nodes:
            if self.cluster.nodes[node].up:
                self.cluster.apply(Crash(node))
            self._apply(node, Recover(node))

    def damage(self, last_commit: LastCommit, *nodes: NodeId) -> None:
        """Tear or damage the last commit of nodes that are down."""
        for node in nodes:
            self.cluster.apply(DoubtDisk(node, last_commit))

    def crash_in_turn(self, node: NodeId, for_s: float) -> None:
        """Have a node crash after its next early send or reply, before the commit of that turn, and boot after `for_s`."""
        self._go_down(ScheduledOutage(self.now, for_s, node, loses_disk=False, in_turn=True))

    def pause(self, node: NodeId, seconds: float) -> None:
        """Suspend a node for `seconds`."""
        self._pauses[node] = self.now + seconds

    # --- links ------------------------------------------------------------------------------------------------------

    def cut(self, left: tuple[str, ...], right: tuple[str, ...], *, one_way: bool = False) -> None:
        """Lose every message from an endpoint in `left` to one in `right`, and back unless `one_way`."""
        for one in left:
            for other in right:
                self.cut_off[one, other] = None
                if not one_way:
                    self.cut_off[other, one] = None

    def isolate(self, node: NodeId) -> None:
        """Cut a node from every other endpoint."""
        self.cut((node,), tuple(end for end in self.fault_schedule.endpoints if end != node))

    def heal_between(self, one: str, other: str) -> None:
        """End every cut between two endpoints."""
        self.cut_off.pop((one, other), None)
        self.cut_off.pop((other, one), None)

    def heal(self) -> None:
        """End every cut."""
        self.cut_off.clear()

    def _cut_between(self, sender: str, to: str) -> ScheduledCut | None:
        if (sender, to) in self.cut_off:
            return ScheduledCut(self.now, 0.0, (sender,), (to,), one_way=True, holds=False)
        return None

    def _travel_s(self, sender: str, to: str) -> float:
        between_nodes = sender in self.cluster.nodes and to in self.cluster.nodes
        return super()._travel_s(sender, to) + (self.late_s if between_nodes else 0.0)

    def _send(self, packet: Packet) -> None:
        lost = any(drop_rule(packet.sender, packet.to, packet.message) for drop_rule in self.drop_rules)
        if lost or (self.loss and self._rng.random() < self.loss):
            self.cluster.apply(DropPacket(packet))
        else:
            super()._send(packet)

    def _waits_for_sync(self, packet: Packet) -> bool:
        """Return whether a packet waits for the sync of its turn. What leaders say leaves early."""
        return super()._waits_for_sync(packet) and self._algorithm.leader_message(packet.message) is None

    # --- clients ----------------------------------------------------------------------------------------------------

    def begin(
        self, client: str, kind: str, key: str, value: bytes = b"", at: NodeId | None = None, for_s: float = 3.0
    ) -> LogCall:
        """Begin a put, a get or a cas, and return the call. `at` is the node that the client takes for the leader."""
        if at is not None:
            self.clients[client].pipeline.leaders.leader = at
        operation = ScheduledOperation(self.now, client, kind, key, value)
        call = self._begin(operation, for_s)
        self.operations.append((call, operation))
        return call

    def do(self, client: str, kind: str, key: str, value: bytes = b"", at: NodeId | None = None) -> Any:
        """Do a put, a get or a cas, and return its result. Raise PromiseBroken if it does not succeed."""
        outcome = self.outcome(self.begin(client, kind, key, value, at, 10.0))
        if not isinstance(outcome, Ok):
            raise PromiseBroken(f"{kind} {key}: {outcome}")
        return outcome.value

    def outcome(self, call: LogCall, within_s: float = 11.0) -> Ok | NotDone | NotKnown | None:
        """Wait for the outcome of a call for `within_s` at most, and return it; None if there is none yet."""
        self.pass_s(within_s, lambda: call.outcome is not None)
        return call.outcome

    def ask(self, client: str, machine: str, command: list[Any], for_s: float = 10.0) -> Ok | NotDone | NotKnown | None:
        """Have a client send a command to a machine, and return the outcome."""
        call = self.clients[client].pipeline.call(machine, command, self.now, for_s)
        self._poll_client(self.clients[client])
        return self.outcome(call)

    def question(self, client: str, machine: str, question: list[Any], for_s: float = 10.0) -> LogCall:
        """Begin a question to a machine, and return the call."""
        call = self.clients[client].pipeline.call(machine, question, self.now, for_s, read=True)
        self._poll_client(self.clients[client])
        return call

    def watch(self, client: str, prefix: str, after: int, wait_s: float = 5.0) -> LogCall:
        """Begin a watch of the keys with a prefix, and return the call."""
        question = ["watch", prefix, after, 100]
        wait_ms = int(wait_s * 1000)
        call = self.clients[client].pipeline.call("kv", question, self.now, wait_s + 5.0, read=True, wait_ms=wait_ms)
        self._poll_client(self.clients[client])
        return call

    def change(self, kind: str, node: NodeId) -> Ok | NotDone | NotKnown | None:
        """Have client `c` ask for a change of members, and return the outcome. `kind` is add or remove."""
        return self.ask("c", "cluster", [kind, node])
