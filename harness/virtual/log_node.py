"""A node without a process that keeps a log: `harness.virtual.node` for an algorithm that serves all variables.

Rules
-----
1. As in `node.variables`, the one instance is made at boot, and a frame that comes again before its answer is one request.
2. What is sent early leaves before the commit. A turn may end between the two: see `Doom` in `harness.virtual.steps`.
3. Log and keys are committed together. A crash takes back what the turn had not committed, of either.
"""

from typing import Final

from harness.virtual.node import SOUND, FaultModel, SimulatedNode, SimulatedReply, TurnOutput, check_carried
from harness.virtual.steps import Packet, PeerLost, Retire, SendFrame, Step
from node.contract import Algorithm, Message, NodeId, Record, Request, Value
from node.storage.log_store import MemoryLog
from node.variables import ContractBroken

#: What the calls of clients that want one decision are all about.
VARIABLE: Final = "colour"

_Kept = tuple[dict[int, Record], dict[tuple[int, int], bytes], int]


class SimulatedLog(MemoryLog):
    """A log that knows what a crash would leave of it. Where `late`, a commit is synced only by the next one."""

    def __init__(self, *, late: bool = False) -> None:
        super().__init__()
        self._late = late
        self._before: _Kept | None = None  # this turn
        self._unsynced: _Kept | None = None  # and before the last commit, where that is not synced yet

    def put(self, record: Record) -> None:
        self._begin()
        super().put(record)

    def truncate(self, first: int) -> None:
        self._begin()
        super().truncate(first)

    def put_part(self, slot: int, number: int, data: bytes) -> None:
        self._begin()
        super().put_part(slot, number, data)

    def keep_only(self, slot: int) -> None:
        self._begin()
        super().keep_only(slot)

    def _begin(self) -> None:
        if self._before is None:
            self._before = self.records.copy(), self.parts.copy(), self.first

    @property
    def dirty(self) -> bool:
        """Whether there is something to commit."""
        return self._before is not None

    def commit(self) -> None:
        """End of a turn."""
        if self._late and self._before is not None:
            self._unsynced = self._before
        self._before = None

    def crash(self) -> None:
        """Only what was synced is left."""
        left = self._unsynced or self._before
        if left is not None:
            self.records, self.parts, self.first = left
        self._before = self._unsynced = None


class LogNode(SimulatedNode):
    """One node of a replicated log."""

    log: SimulatedLog

    def __init__(
        self,
        algorithm: type[Algorithm],
        node: NodeId,
        members: tuple[NodeId, ...],
        oddities: FaultModel = SOUND,
    ) -> None:
        super().__init__(algorithm, node, members, oddities)
        self._new_log()

    def _new_log(self) -> None:
        self.log = SimulatedLog(late=self._oddities.disks_sync_late or self._oddities.logs_sync_late)

    def _forget_all(self) -> None:
        super()._forget_all()
        self.frames: dict[Request, None] = {}
        self._early: list[Packet] = []
        self._early_replies: list[SimulatedReply] = []
        self._carried: dict[type[Message], None] = {}

    # --- life -------------------------------------------------------------------------------------------------------

    def crash(self) -> None:
        super().crash()
        self.log.crash()

    def lose_disk(self) -> None:
        super().lose_disk()
        self._new_log()

    @property
    def owes_turn(self) -> bool:
        gathered = self._outcome
        waits = self.to_self or gathered.packets or gathered.to_self or gathered.replies
        return bool(waits or self._early or self._early_replies) or (self.up and (self._disk.dirty or self.log.dirty))

    # --- a turn -----------------------------------------------------------------------------------------------------

    def _take_in(self, step: Step) -> None:
        match step:
            case SendFrame(_, request, frame):
                self.frames[request] = None
                self._made().command(request, frame)
            case PeerLost(_, peer):
                self._made().peer_lost(peer)
            case Retire():
                self._made().retire()
            case _:
                super()._take_in(step)

    def end_turn(self) -> TurnOutput:
        """Commit, and let out what the turn has asked for."""
        assert self.instance is not None
        self.instance.drained()
        if self._early or self._early_replies:
            early, self._early = self._early, []
            replies, self._early_replies = self._early_replies, []
            if self.doomed:  # whoever drives it sees to the crash, when it has looked at what the early replies rest on
                return TurnOutput(packets=early, replies=replies, crashed=True)
            self._outcome.packets.extend(early)
            self._outcome.replies.extend(replies)
        self._disk.commit()
        self.log.commit()
        outcome, self._outcome = self._outcome, TurnOutput()
        self.to_self.extend(outcome.to_self)
        self.instance.released()  # what it asks for is the next turn's
        return outcome

    # --- what the algorithm may ask ---------------------------------------------------------------------------------

    def send(self, to: NodeId, message: Message) -> None:
        self._check(message)
        if to == self.id:
            self._outcome.to_self.append(message)
        else:
            self._outcome.packets.append(Packet(self.id, self.incarnation, to, message))

    def send_early(self, to: NodeId, message: Message) -> None:
        if to == self.id:
            raise ContractBroken(f"{message.type_name()} was sent early to the node itself, which knows already")
        self._check(message)
        self._early.append(Packet(self.id, self.incarnation, to, message))

    def _check(self, message: Message) -> None:
        """The wire can carry the first of its kind in each life: what batches hold makes the others too many to look at."""
        if type(message) not in self._carried:
            self._carried[type(message)] = None
            check_carried(self._algorithm, message)

    def variable_of(self, request: Request) -> str:
        return VARIABLE

    def redirect(self, request: Request, leader: NodeId | None) -> None:
        self._answer(SimulatedReply(request, None, None, leader=leader))

    def reply_early(self, request: Request, value: Value | None) -> None:
        if request in self.frames:
            del self.frames[request]
            self._early_replies.append(SimulatedReply(request, value, None, to_frame=True))
        else:
            self.reply(request, value)

    def reply(self, request: Request, value: Value | None) -> None:
        if request in self.frames:
            self._answer(SimulatedReply(request, value, None))
        else:
            super().reply(request, value)

    def _answer(self, reply: SimulatedReply) -> None:
        if reply.request in self.frames:
            del self.frames[reply.request]
            self._outcome.replies.append(reply._replace(to_frame=True))
        else:
            super()._answer(reply)
