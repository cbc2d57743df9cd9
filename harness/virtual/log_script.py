"""A replicated log in virtual time that a story drives: no faults but those that it makes, and nothing waits for anybody.

    world = LogWorld()
    leader = world.wait_leader()
    world.do("c", "put", "k", b"blue")
    world.pause(leader, 4.0)
    world.wait_leader(other_than=leader)

What `harness.virtual.log_judge` finds is raised at once, as is a call of `do` that does not succeed.
"""

import heapq
from collections.abc import Callable
from typing import Any, Final

from cluster.clients.log_call import LogCall
from cluster.clients.outcomes import NotDone, NotKnown, Ok
from harness.virtual.fault_schedule import LinkConditions, ScheduledCut, ScheduledOutage
from harness.virtual.log_fault_schedule import LogFaultSchedule, ScheduledOperation
from harness.virtual.log_simulation import LogSimulation
from harness.virtual.steps import Crash, Deliver, DropPacket, Packet, Recover
from node.algorithms.multipaxos import MultiPaxos
from node.algorithms.multipaxos.messages import TakeOver
from node.contract import Message, NodeId
from node.limits import SHIPPED_LIMITS, LogLimits
from node.log_contract import LogAlgorithm

_NEWCOMERS: Final = 3
_CLIENTS: Final = ("c", "d")
_LINK_S: Final = 0.002

#: Who sends what to whom: True if it is to be lost.
Wish = Callable[[NodeId, NodeId, Message], bool]


class PromiseBroken(AssertionError):
    """A promise was broken."""


class LogWorld(LogSimulation):
    """Members `n1`, `n2`, …, as many newcomers, and the clients `c` and `d`."""

    def __init__(
        self,
        nodes: int = 3,
        seed: int = 1,
        algorithm: type[LogAlgorithm] = MultiPaxos,
        limits: LogLimits = SHIPPED_LIMITS,
    ) -> None:
        members = tuple(f"n{number}" for number in range(1, nodes + 1))
        others = tuple(f"n{number}" for number in range(nodes + 1, nodes + 1 + _NEWCOMERS))
        ends = len(members) + len(others) + len(_CLIENTS)
        links = LinkConditions(usual_s=(_LINK_S,) * ends**2)
        clocks = (1.0,) * ends
        weather = LogFaultSchedule(
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
            limits=limits,
        )
        super().__init__(algorithm, weather)
        self.members = members
        self.wishes: list[Wish] = []
        self.cut_off: dict[tuple[str, str], None] = {}

    # --- time -------------------------------------------------------------------------------------------------------

    def pass_s(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass, until something is so at the longest. Whether it is."""
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            if until():
                return True
            self.now, _, what = heapq.heappop(self._heap)
            self._happen(what)
            if self.judge.violations:
                raise PromiseBroken(str(self.judge.violations[0]))
        self.now = end
        return until()

    def wait(self, until: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
        """Let time pass until something is so. Raises Broken."""
        if not self.pass_s(seconds, until):
            raise PromiseBroken(f"{what}: not within {seconds:g} s")

    def wait_leader(self, other_than: NodeId | None = None) -> NodeId:
        """Whoever leads, as soon as somebody else than `other_than` does."""
        self.wait(lambda: self.leader() not in (None, other_than), "a leader")
        leader = self.leader()
        assert leader is not None
        return leader

    def check(self) -> None:
        """What clients have made of the answers, too."""
        self._look_at_clients()
        if self.judge.violations:
            raise PromiseBroken(str(self.judge.violations[0]))

    # --- nodes ------------------------------------------------------------------------------------------------------

    def replica(self, node: NodeId) -> MultiPaxos:
        """The replica of a node that is up."""
        replica = self._replica(node)
        assert isinstance(replica, MultiPaxos), f"{node} is down"
        return replica

    def elect(self, node: NodeId) -> None:
        """Have `node` begin phase 1 now, and come to serve."""
        self.take_over(node)
        self.wait(lambda: self._serves(node), f"{node} serves")

    def take_over(self, node: NodeId) -> None:
        """Have `node` begin phase 1 now: it is told to by whoever it has promised to."""
        promised = self.replica(node).acceptor.promised
        packet = Packet(promised.node, self.cluster.nodes[promised.node].incarnation, node, TakeOver(promised))
        self.cluster.pending[packet] = self.cluster.pending.get(packet, 0) + 1
        self._apply(node, Deliver(packet))

    def turn(self, node: NodeId, *heard: tuple[NodeId, Message]) -> list[Packet]:
        """One turn in which a node hears several messages. What it lets out, which goes nowhere else."""
        replica = self.replica(node)
        for sender, message in heard:
            replica.receive(sender, message)
        return self.cluster.nodes[node].end_turn().packets

    def say_again(self, sender: NodeId, to: NodeId, message: Message) -> None:
        """Have a packet of `sender`'s that says this arrive at `to`, as if it had been repeated on its way."""
        packet = Packet(sender, self.cluster.nodes[sender].incarnation, to, message)
        self.cluster.pending[packet] = self.cluster.pending.get(packet, 0) + 1
        self._at(self.now + 2 * _LINK_S, Deliver(packet))

    def _serves(self, node: NodeId) -> bool:
        replica = self._replica(node)
        return replica is not None and replica.serving

    def leader(self) -> NodeId | None:
        """Whoever leads under the highest ballot and is not suspended."""
        leading = [
            (self.replica(name).acceptor.promised, name)
            for name in self.cluster.nodes
            if self._serves(name) and self._pauses.get(name, 0.0) <= self.now
        ]
        return max(leading)[1] if leading else None

    def crash(self, *nodes: NodeId) -> None:
        """Have these crash."""
        for node in nodes:
            self.cluster.apply(Crash(node))

    def restart(self, *nodes: NodeId) -> None:
        """Have these crash, if they are up, and boot. Newcomers boot for the first time."""
        for node in nodes:
            if self.cluster.nodes[node].up:
                self.cluster.apply(Crash(node))
            self._apply(node, Recover(node))

    def doom(self, node: NodeId, for_s: float) -> None:
        """Have a node crash between what it sends or answers early next and the commit of that turn, and boot later."""
        self._go_down(ScheduledOutage(self.now, for_s, node, loses_disk=False, in_turn=True))

    def pause(self, node: NodeId, seconds: float) -> None:
        """Have a node do nothing for a while."""
        self._pauses[node] = self.now + seconds

    # --- links ------------------------------------------------------------------------------------------------------

    def cut(self, left: tuple[str, ...], right: tuple[str, ...], *, one_way: bool = False) -> None:
        """Let nothing pass from each of these to each of those, nor back."""
        for one in left:
            for other in right:
                self.cut_off[one, other] = None
                if not one_way:
                    self.cut_off[other, one] = None

    def isolate(self, node: NodeId) -> None:
        """Cut a node from everybody."""
        self.cut((node,), tuple(end for end in self.weather.ends if end != node))

    def heal(self) -> None:
        """End every cut."""
        self.cut_off.clear()

    def _cut_between(self, sender: str, to: str) -> ScheduledCut | None:
        if (sender, to) in self.cut_off:
            return ScheduledCut(self.now, 0.0, (sender,), (to,), one_way=True, holds=False)
        return None

    def _leave(self, packet: Packet) -> None:
        if any(wish(packet.sender, packet.to, packet.message) for wish in self.wishes):
            self.cluster.apply(DropPacket(packet))
        else:
            super()._leave(packet)

    # --- clients ----------------------------------------------------------------------------------------------------

    def begin(
        self, client: str, kind: str, key: str, value: bytes = b"", at: NodeId | None = None, for_s: float = 3.0
    ) -> LogCall:
        """Begin a put, a get or a cas; `at` is who the client takes for the leader, if it is told."""
        if at is not None:
            self.clients[client].pipeline.leaders.leader = at
        operation = ScheduledOperation(self.now, client, kind, key, value)
        call = self._begin(operation, for_s)
        self.operations.append((call, operation))
        return call

    def do(self, client: str, kind: str, key: str, value: bytes = b"", at: NodeId | None = None) -> Any:
        """Do one, and return its result. Raises Broken if it does not succeed."""
        outcome = self.outcome(self.begin(client, kind, key, value, at, 10.0))
        if not isinstance(outcome, Ok):
            raise PromiseBroken(f"{kind} {key}: {outcome}")
        return outcome.value

    def outcome(self, call: LogCall, within_s: float = 11.0) -> Ok | NotDone | NotKnown | None:
        """What came of a call."""
        self.pass_s(within_s, lambda: call.outcome is not None)
        return call.outcome

    def ask(self, client: str, machine: str, command: list[Any]) -> Ok | NotDone | NotKnown | None:
        """Have a client send any command, and wait for what comes of it."""
        call = self.clients[client].pipeline.call(machine, command, self.now, 10.0)
        self._pump(self.clients[client])
        return self.outcome(call)

    def change(self, kind: str, node: NodeId) -> Ok | NotDone | NotKnown | None:
        """Have client `c` ask for a member more or less."""
        return self.ask("c", "cluster", [kind, node])
