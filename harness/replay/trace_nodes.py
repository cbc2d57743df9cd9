"""The simulator's nodes, for `harness.replay.trace_validation`: given the input of a real turn, and the disk of a real boot."""

from typing import NamedTuple

from harness.virtual.log_node import LogNode, SimulatedLog
from harness.virtual.node import SimulatedNode, TurnOutput
from harness.virtual.steps import Deliver, Fire, GiveUp, Packet, Step
from node.contract import Algorithm, Message, NodeId, Record, Request, Stored


class NotSet(Exception):
    """A timer ran out that the pure class has not set."""


class DiskContents(NamedTuple):
    """What a disk holds of one variable, or of the log."""

    stored: dict[str, Stored]
    records: dict[int, Record]
    parts: dict[tuple[int, int], bytes]


NOTHING = DiskContents({}, {}, {})


class TracedNode(SimulatedNode):
    """A simulated node whose turns take in as much as a real one's."""

    before: DiskContents = NOTHING

    def boot_from(self, held: DiskContents, incarnation: int) -> TurnOutput:
        """Boot, as the life of that number, on a disk that holds this."""
        self._disk.load(dict(held.stored), None)
        self.incarnation = incarnation - 1
        return self.boot()

    def held(self) -> DiskContents:
        """What its disk holds, with what is not committed yet."""
        return DiskContents(dict(self._disk.stored), {}, {})

    def held_before(self) -> DiskContents:
        """What its disk held before the last turn."""
        return self.before

    def begin_turn(self) -> None:
        """Hear what it has sent to itself."""
        self.before = self.held()
        to_self, self.to_self = self.to_self, []
        for message in to_self:
            self._made().receive(self.id, message)

    def take_in(self, step: Step) -> None:
        """One input of the turn. Raises NotSet."""
        match step:
            case Fire(_, timer) if timer not in self.timers:
                raise NotSet(f"the timer {timer!r}")
            case GiveUp(_, request) if request not in self.waiting:
                raise NotSet(f"the time of {request.client}/{request.number}, who does not wait")
            case Deliver(packet):  # whether it is of an earlier life is for the node to say, not for the variable
                self._made().receive(packet.sender, packet.message)
            case _:
                self._take_in(step)

    def finish_turn(self, *, retires: bool) -> TurnOutput:
        """Commit, and give what the turn lets out."""
        if retires:
            self._made().drained()
            self._made().retire()
        return self.end_turn()


class _Log(SimulatedLog):
    """A log that still knows what it held before the last turn, if that has changed it."""

    last: tuple[dict[int, Record], dict[tuple[int, int], bytes]] | None = None

    def commit(self) -> None:
        self.last = None if self._before is None else self._before[:2]
        super().commit()


class TracedLogNode(LogNode, TracedNode):
    """The same for a log."""

    log: _Log

    def _new_log(self) -> None:
        self.log = _Log()

    def _forget_all(self) -> None:
        super()._forget_all()
        self.asked: dict[Request, str] = {}  # which variable a proposal or a query is about
        self._all_early: list[Packet] = []

    def boot_from(self, held: DiskContents, incarnation: int) -> TurnOutput:
        self.log.records, self.log.parts = dict(held.records), dict(held.parts)
        self.log.first = min(held.records, default=1)
        return super().boot_from(held, incarnation)

    def held(self) -> DiskContents:
        return DiskContents(dict(self._disk.stored), self.log.records, self.log.parts)

    def held_before(self) -> DiskContents:
        records, parts = self.log.last or (self.log.records, self.log.parts)
        return DiskContents(self.before.stored, records, parts)

    def finish_turn(self, *, retires: bool) -> TurnOutput:
        """What leaves early leaves first."""
        outcome = super().finish_turn(retires=retires)
        early = len(self._all_early) - len(self._early)  # what is early there is the next turn's
        self._all_early = list(self._early)
        if early:
            outcome.packets = outcome.packets[-early:] + outcome.packets[:-early]
        return outcome

    def send_early(self, to: NodeId, message: Message) -> None:
        super().send_early(to, message)
        self._all_early.append(self._early[-1])

    def variable_of(self, request: Request) -> str:
        return self.asked[request]


def make(
    algorithm: type[Algorithm], node: NodeId, members: tuple[NodeId, ...], machines: tuple[str, ...]
) -> TracedNode:
    """A node that has not booted."""
    made = (TracedLogNode if algorithm.serves_all else TracedNode)(algorithm, node, members)
    made.machines = machines
    return made
