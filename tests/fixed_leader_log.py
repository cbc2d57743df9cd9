"""A log of one's own: the first member leads for ever, and a slot is chosen once a majority of the disks has it.

It elects no leader, changes no members and makes no snapshots, and says so. All else is the house's: the machines, the sessions,
the clients and the judges. `docs/guides/log.md` explains it.
"""

from dataclasses import dataclass
from typing import Any

from node.contract import Message, NodeId, Request, Status, Value
from node.frames import WATCHES, CommandFrame, ReadFrame
from node.log_contract import LeaderMessage, LogAlgorithm, LogNode, LogProgress, Record, StoredProgress
from node.machine import BEAT_MS, NotYet
from node.machines import DEFAULT
from node.quorum import NO_BALLOT, Ballot, majority
from node.replication.configuration import Configuration
from node.replication.state import CLUSTER, Frame, ReplicatedState
from node.wire import pack_unchecked, unpack_unchecked

BEAT_S = BEAT_MS / 1000
BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Append(Message):
    """The leader under `ballot` has `records` after slot `after`, and every slot up to `commit` is chosen."""

    ballot: Ballot
    after: int
    records: tuple[Record, ...]
    commit: int


@dataclass(frozen=True, slots=True)
class Appended(Message):
    """The sender's disk has every slot up to `last`, as the leader under `ballot` has it."""

    ballot: Ballot
    last: int


@dataclass(frozen=True, slots=True)
class Passed(Message):
    """A client of the sender proposes `value` for a variable, or asks for its value if `value` is None."""

    request: Request
    variable: str
    value: Value | None


@dataclass(frozen=True, slots=True)
class Answer(Message):
    """The answer to a `Passed`."""

    request: Request
    value: Value | None


class FixedLeaderLog(LogAlgorithm):
    messages = (Append, Appended, Passed, Answer)
    elects_leaders = takes_changes_of_members = makes_snapshots = False
    records_keep_ballots = True

    def __init__(self, node: LogNode) -> None:
        super().__init__(node)
        self.state = ReplicatedState(node.machines or DEFAULT, Configuration(node.members), node.tuning)
        self.leader = node.members[0]
        self.leads = node.id == self.leader
        self.ballot, self.last, self.commit, self.time_ms = NO_BALLOT, 0, 0, 0
        self.serves_from = (
            0  # the leader answers once it knows this slot as chosen, up to which its disk had a log at the boot
        )
        self.waiting: list[
            tuple[Frame, Request, NodeId | None]
        ] = []  # with the peer that has passed a call on, if one has
        self.flights: dict[int, list[tuple[Request, NodeId | None]]] = {}
        self.matched = dict.fromkeys(node.members, 0)  # by member: the slots that its disk has
        self.asked: dict[Request, Passed] = {}  # the calls of this node's own clients

    def start(self) -> None:
        stored = self.node.disk.get("ballot", (0, ""))
        assert isinstance(stored, tuple)
        self.ballot = Ballot(*stored)  # type: ignore[arg-type]  # as it was saved
        self.serves_from = self.last = max((record.slot for record in self.node.log.since(1, 2**62)), default=0)
        if self.leads:
            self.promise(Ballot(self.ballot.round + 1, self.node.id))
            self.node.set_timer("beat", BEAT_S, BEAT_S)
        self.learn(self.stored_progress(self.node.disk).commit)

    def promise(self, ballot: Ballot) -> None:
        if ballot != self.ballot:
            self.ballot = self.node.disk["ballot"] = ballot

    # --- clients ------------------------------------------------------------------------------------------------------

    def command(self, request: Request, frame: CommandFrame | ReadFrame) -> None:
        if not self.serving:
            self.node.redirect(request, None if self.leads else self.leader)
        elif isinstance(frame, ReadFrame):
            self.node.reply(request, Value(self.read(frame)))
        elif frame.machine == CLUSTER:
            self.node.refuse(request, f"the members are fixed, and {self.leader} leads")
        else:
            packed = frame.session, frame.sequence, frame.done, frame.machine, frame.packed
            self.waiting.append((packed, request, None))

    def read(self, frame: ReadFrame) -> bytes:
        if frame.machine == WATCHES:  # no watch waits here: it is answered at once, and its client asks again
            return pack_unchecked((((unpack_unchecked(frame.packed)[0], (), self.state.versions(), 0),), ()))
        payload = self.state.read(frame.machine, frame.packed, frame.seen)
        return self.state.nothing_new(frame.machine) if isinstance(payload, NotYet) else payload

    def propose(self, request: Request, value: Value) -> None:
        self.ask(Passed(request, self.node.variable_of(request), value))

    def query(self, request: Request) -> None:
        self.ask(Passed(request, self.node.variable_of(request), None))

    def ask(self, call: Passed) -> None:
        self.asked[call.request] = call
        self.node.send(self.leader, call)
        self.node.set_timer("ask", BEAT_S, 4 * BEAT_S)

    def forget(self, request: Request) -> None:
        self.asked.pop(request, None)

    def timeout(self, name: str) -> None:
        if name == "ask" and self.asked:
            for call in list(self.asked.values()):
                self.ask(call)
        elif name == "beat":
            self.node.set_timer("beat", BEAT_S, BEAT_S)
            self.time_ms = max(self.time_ms, self.state.time_ms) + BEAT_MS
            due_ms = self.state.due_ms()
            if self.serving and not self.flights and due_ms is not None and due_ms <= self.time_ms:
                self.append([])
            for peer in self.node.peers:
                self.send_records(peer)

    def forget_time(self) -> None:
        self.time_ms = self.state.time_ms

    def awaits(self) -> tuple[str, ...]:
        return (*(("beat",) if self.leads else ()), *(("ask",) if self.asked else ()))

    # --- the log ------------------------------------------------------------------------------------------------------

    def end_of_input(self) -> None:
        if self.waiting:
            waiting, self.waiting = self.waiting, []
            self.append([frame for frame, _, _ in waiting])
            self.flights[self.last] = [(request, origin) for _, request, origin in waiting]
            for peer in self.node.peers:
                self.send_records(peer)

    def append(self, frames: list[Frame]) -> None:
        """Put a batch into the next slot. The own disk counts as one once this turn is saved, like any other."""
        self.last += 1
        self.node.log.put(Record(self.last, *self.ballot, pack_unchecked((self.time_ms, frames))))
        self.node.send(self.node.id, Appended(self.ballot, self.last))

    def send_records(self, peer: NodeId) -> None:
        after = self.matched[peer]
        self.node.send(peer, Append(self.ballot, after, tuple(self.node.log.since(after + 1, BYTES_MAX)), self.commit))

    def receive(self, sender: NodeId, message: Message) -> None:
        match message:
            case Append(ballot, after, records, commit) if ballot >= self.ballot:
                self.promise(ballot)
                for record in records if after <= self.last else ():
                    if record.slot > self.last:
                        self.node.log.put(record)
                        self.last = record.slot
                self.learn(min(commit, self.last))
                self.node.send(sender, Appended(ballot, self.last))
            case Appended(ballot, last) if ballot == self.ballot and self.leads:
                self.matched[sender] = max(last, self.matched[sender])
                self.learn(sorted(self.matched.values(), reverse=True)[majority(len(self.matched)) - 1])
            case Passed(request, variable, value) if self.serving and value is not None:
                packed = pack_unchecked([["propose", variable, value]])
                self.waiting.append(((0, 0, 0, "once", packed), request, sender))
            case Passed(request, variable) if self.serving:
                self.answer(request, sender, self.state.read("once", pack_unchecked([["query", variable]])))
            case Answer(request, value) if self.asked.pop(request, None):
                self.node.reply(request, value)

    def learn(self, commit: int) -> None:
        """Apply every slot that is chosen, and answer the clients that wait for it."""
        for slot in range(self.commit + 1, commit + 1):
            record = self.node.log.get(slot)
            assert record is not None
            payloads = self.state.apply(slot, record.batch)
            for (request, origin), payload in zip(self.flights.pop(slot, ()), payloads, strict=False):
                self.answer(request, origin, payload)
        if commit > self.commit:
            self.commit = self.node.disk["commit"] = commit

    def answer(self, request: Request, origin: NodeId | None, payload: Any) -> None:
        if origin is None:
            self.node.reply(request, Value(payload))
        else:
            self.node.send(origin, Answer(request, unpack_unchecked(payload)[0][0]))

    # --- what judges and tools ask ------------------------------------------------------------------------------------

    @property
    def promised(self) -> Ballot:
        return self.ballot

    @property
    def leading(self) -> Ballot | None:
        return self.ballot if self.leads else None

    @property
    def serving(self) -> bool:
        return self.leads and self.commit >= self.serves_from

    def progress(self) -> LogProgress:
        return LogProgress(self.commit, self.state.applied, self.state.chain, self.state.marks, 1, 0)

    @classmethod
    def stored_progress(cls, disk: Any) -> StoredProgress:
        return StoredProgress(disk.get("commit", 0), 0)

    @classmethod
    def leader_message(cls, message: Message) -> LeaderMessage | None:
        return LeaderMessage(message.ballot, message.records, message.commit) if isinstance(message, Append) else None

    def status(self) -> Status:
        return Status("leader" if self.leads else "follower", self.ballot, leads=self.leads, waiting=len(self.asked))
