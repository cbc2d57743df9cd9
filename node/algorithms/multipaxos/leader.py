"""What a leader does while it leads. The object is made when it wins phase 1 and dropped when it steps down.

Rules
-----
1. It first proposes again what phase 1 has told it, then a batch of its own. It serves nobody before that one is applied:
   by then it knows everything that earlier leaders have answered for.
2. One batch a slot, gathered when the turn's input is used up; at most `PIPELINE` slots are under way.
3. An Accept leaves early: it rests on the ballot, which is on disk since phase 1, and on nothing that this turn saves. The
   leader's own vote is a message to itself and waits for the disk.
4. A question is answered after a quorum has confirmed, in a round that began after it came, that nobody else leads. There
   is no clock in it, so a leader that was suspended cannot answer from the past.
5. A change of the configuration is alone under way: see `node/replication/configuration.py`.
"""

from collections import deque
from typing import Final, NamedTuple

from node.algorithms.multipaxos.acceptor import Acceptor
from node.algorithms.multipaxos.messages import Heartbeat, LogAccept, LogAccepted, TakeOver
from node.contract import NodeId, Request
from node.log_contract import LogNode
from node.machine import BEAT_MS
from node.quorum import Ballot, majority
from node.replication.configuration import Configuration
from node.replication.state import CLUSTER, Frame, ReplicatedState
from node.wire import pack_unchecked

BEAT_S: Final = BEAT_MS / 1000
PIPELINE: Final = 2
BATCH_BYTES: Final = 1024 * 1024
WAITING_MAX: Final = 16_384
WAITING_BYTES_MAX: Final = 64 * 1024 * 1024
_READ_ROUNDS_MAX: Final = 4
_SEND_AGAIN_BEATS: Final = 3
_QUORUM_BEATS: Final = 8  # a leader that has heard no quorum for so many beats steps down
_HAND_OVER_BEATS: Final = 6
_CAUGHT_UP_SLOTS: Final = 32


class Waiter(NamedTuple):
    """Who waits for an answer: a client of ours, or a peer that asks for a client of its own."""

    request: Request
    origin: NodeId | None = None


class Flight:
    """A slot under way."""

    __slots__ = ("batch", "beats", "is_change", "votes", "waiters")

    def __init__(self, batch: bytes, waiters: list[Waiter], is_change: bool) -> None:
        self.batch, self.waiters, self.is_change = batch, waiters, is_change
        self.votes: dict[NodeId, None] = {}
        self.beats = 0


class Question(NamedTuple):
    """A frame of questions. `until_beat` is how long it may wait for something to tell."""

    waiter: Waiter
    machine: str
    packed: bytes
    until_beat: int


class Leadership:
    """The leader of one ballot."""

    def __init__(self, node: LogNode, acceptor: Acceptor, state: ReplicatedState, ballot: Ballot) -> None:
        self.node, self.acceptor, self.state, self.ballot = node, acceptor, state, ballot
        self.time_ms = state.time_ms
        self.next_slot = acceptor.commit + 1
        self.serves_from = 0  # the slot of its own first batch
        self.flights: dict[int, Flight] = {}
        self.waiting: deque[tuple[Frame, Waiter]] = deque()
        self.waiting_bytes = 0
        self.beat = 0
        self.heard: dict[NodeId, int] = {}  # the beat at which each peer was heard last
        self.hung_up: dict[NodeId, None] = {}  # whose connection was lost, and who was not heard since
        self.commits: dict[NodeId, int] = {}  # what each peer knows as chosen
        self.round = 0
        self.confirmed: dict[NodeId, int] = {}  # the last round that each peer has confirmed
        self.questions: list[Question] = []
        self.rounds: dict[int, list[Question]] = {}
        self.watches: list[Question] = []
        self.hand_over_to: NodeId | None = None
        self.hand_over_beats = 0

    @property
    def configuration(self) -> Configuration:
        """The members at the last slot that is applied."""
        return self.state.configuration

    def quorum(self) -> int:
        """Return how many voters are a quorum."""
        return majority(len(self.configuration.voters))

    @property
    def serving(self) -> bool:
        """Whether its own first batch is applied."""
        return 0 < self.serves_from <= self.state.applied

    # --- proposing --------------------------------------------------------------------------------------------------

    def begin(self, recovered: dict[int, bytes], last: int | None) -> None:
        """Propose what phase 1 has told, up to slot `last` if one is given, else a first batch of its own after it."""
        # The log's first slot says who forms the cluster, for those who join later: a gap there gets no mere no-op.
        form = pack_unchecked([["form", self.configuration.voters]])
        first = pack_unchecked((self.time_ms, ((0, 0, 0, CLUSTER, form),)))
        for slot, batch in recovered.items():
            if last is None or slot <= last:
                self.propose(slot, first if slot == 1 and not batch else batch, [], is_change=slot == last)
        if self.next_slot == 1:
            self.propose(1, first, [])
        if last is None:
            self.serves_from = self.next_slot
            self.propose(self.next_slot, pack_unchecked((self.time_ms, ())), [])

    def propose(self, slot: int, batch: bytes, waiters: list[Waiter], is_change: bool = False) -> None:
        """Phase 2a."""
        assert slot == self.next_slot
        self.next_slot += 1
        self.flights[slot] = Flight(batch, waiters, is_change)
        message = LogAccept(self.ballot, slot, batch, self.acceptor.commit)
        for member in self.configuration.members:
            if member != self.node.id:
                self.node.send_early(member, message)
        if self.acceptor.accept(self.ballot, slot, batch):
            self.node.send(self.node.id, LogAccepted(self.ballot, (slot,)))

    def propose_waiting(self) -> None:
        """Batch what has come in, as many slots of it as may be under way."""
        if not self.serving or self.hand_over_to is not None:
            return
        while self.waiting and len(self.flights) < PIPELINE and not any(f.is_change for f in self.flights.values()):
            is_change = self.waiting[0][0][3] == CLUSTER
            if is_change and self.flights:
                return  # it must be alone
            frames: list[Frame] = []
            waiters: list[Waiter] = []
            size = 0
            while self.waiting and size < BATCH_BYTES:
                frame, waiter = self.waiting[0]
                if frames and (is_change or frame[3] == CLUSTER):
                    break
                self.waiting.popleft()
                frames.append(frame)
                waiters.append(waiter)
                size += len(frame[4])
            self.waiting_bytes -= size
            self.propose(self.next_slot, pack_unchecked((self.time_ms, frames)), waiters, is_change)

    def full(self, size: int) -> bool:
        """Whether a frame of `size` bytes more is too much to wait."""
        return len(self.waiting) >= WAITING_MAX or self.waiting_bytes + size > WAITING_BYTES_MAX

    def submit(self, frame: Frame, waiter: Waiter) -> None:
        """Have `frame` proposed at the end of the turn, or when there is room."""
        self.waiting.append((frame, waiter))
        self.waiting_bytes += len(frame[4])

    def accepted(self, sender: NodeId, slots: tuple[int, ...]) -> bool:
        """Phase 2b. True if more is known as chosen now."""
        self._hear(sender)
        voters = self.configuration.voters
        if sender not in voters:
            return False
        flights = [flight for slot in slots if (flight := self.flights.get(slot)) is not None]
        if not flights:
            return False  # they were chosen without this vote
        for flight in flights:
            flight.votes[sender] = None
        before, quorum = self.acceptor.commit, self.quorum()
        while (flight := self.flights.get(self.acceptor.commit + 1)) is not None and len(flight.votes) >= quorum:
            # Of what it has recovered, some may have been too far ahead for this replica to accept at first.
            self.acceptor.accept(self.ballot, self.acceptor.commit + 1, flight.batch)
            self.acceptor.commit += 1
            if flight.is_change:
                break  # the slots above it have other voters
        return self.acceptor.commit > before

    # --- time -------------------------------------------------------------------------------------------------------

    def tick(self) -> bool:
        """One beat. False if the leader has heard no quorum for too long and must step down."""
        self.beat += 1
        self.time_ms = max(self.time_ms, self.state.time_ms) + BEAT_MS
        self.node.set_timer("beat", BEAT_S, BEAT_S)
        hearing = 1 + sum(self._hears(voter) for voter in self.configuration.voters if voter != self.node.id)
        if self.beat > _QUORUM_BEATS and hearing < self.quorum():
            return False
        self.send_heartbeat(self.configuration.members)
        for slot, flight in self.flights.items():
            flight.beats += 1
            if flight.beats >= _SEND_AGAIN_BEATS:
                self._send_again(slot, flight)
        if self.hand_over_to is not None:
            self.hand_over_beats += 1
            if self.hand_over_beats > _HAND_OVER_BEATS:
                self.hand_over_to = None  # it has not taken over: serve on
            else:
                self.node.send(self.hand_over_to, TakeOver(self.ballot))
        due_ms = self.state.due_ms()
        if self.serving and not self.flights and not self.waiting and due_ms is not None and due_ms <= self.time_ms:
            self.propose(self.next_slot, pack_unchecked((self.time_ms, ())), [])
        self._promote()
        return True

    def _hear(self, peer: NodeId) -> None:
        self.heard[peer] = self.beat
        self.hung_up.pop(peer, None)

    def _hears(self, voter: NodeId) -> bool:
        return voter in self.heard and self.heard[voter] > self.beat - _QUORUM_BEATS

    def _send_again(self, slot: int, flight: Flight) -> None:
        message = LogAccept(self.ballot, slot, flight.batch, self.acceptor.commit)
        for voter in self.configuration.voters:
            if voter not in flight.votes:
                self.node.send(voter, message)

    def send_heartbeat(self, to: tuple[NodeId, ...]) -> None:
        """Say that this node leads, under the number of the present round."""
        message = Heartbeat(self.ballot, self.round, self.acceptor.commit)
        for member in to:
            if member != self.node.id:
                self.node.send_early(member, message)

    def _promote(self) -> None:
        """A learner that has caught up becomes a voter."""
        for learner in self.configuration.learners:
            near = self.commits.get(learner, 0) + _CAUGHT_UP_SLOTS >= self.acceptor.commit
            if near and self._hears(learner) and self.serving and not self.changing():
                frame = (0, 0, 0, CLUSTER, pack_unchecked([["promote", learner]]))
                self.submit(frame, Waiter(Request("", 0)))

    # --- questions --------------------------------------------------------------------------------------------------

    def confirm_waiting(self) -> None:
        """Begin a round for the questions that have come in."""
        if self.serving and len(self.rounds) < _READ_ROUNDS_MAX:
            self.round += 1
            self.rounds[self.round], self.questions = self.questions, []
            self.send_heartbeat(self.configuration.voters)

    def acknowledged(self, sender: NodeId, round_: int, commit: int) -> None:
        """A peer confirms that it had not promised more than this ballot when `round_` came."""
        self._hear(sender)
        self.commits[sender] = max(commit, self.commits.get(sender, 0))
        self.confirmed[sender] = max(round_, self.confirmed.get(sender, 0))

    def take_confirmed(self) -> list[Question]:
        """The questions whose round a quorum has confirmed. All that was chosen when they came is applied."""
        others = [self.confirmed.get(voter, 0) for voter in self.configuration.voters if voter != self.node.id]
        rounds = sorted([self.round, *others], reverse=True)
        confirmed = rounds[self.quorum() - 1]
        return [
            question
            for round_ in [each for each in self.rounds if each <= confirmed]
            for question in self.rounds.pop(round_)
        ]

    # --- members ----------------------------------------------------------------------------------------------------

    def changing(self) -> bool:
        """Whether a change of the configuration waits or is under way."""
        return any(flight.is_change for flight in self.flights.values()) or any(
            frame[3] == CLUSTER for frame, _ in self.waiting
        )

    def why_not(self, kind: str, node: NodeId) -> str | None:
        """Why a client's change cannot be made now, if so. `Configuration.changed` has the last word."""
        if kind not in ("add", "remove"):
            return f"there is no change {kind!r} for clients: there are add and remove"
        if self.changing() or (self.configuration.learners and kind == "add"):
            learners = ", ".join(self.configuration.learners) or "none"
            return f"another change is under way (learners: {learners}): wait until it is done, or remove the learner"
        if kind == "remove" and node == self.node.id and len(self.configuration.voters) > 1:
            return f"{node} leads: hand over first"
        if kind == "remove" and node in self.configuration.voters:
            rest = [voter for voter in self.configuration.voters if voter != node]
            alive = sum(voter == self.node.id or self._hears(voter) for voter in rest)
            if rest and alive < majority(len(rest)):
                return f"without {node} there would be no majority that answers: of {', '.join(rest)} {alive} do"
        return None

    def hand_over(self, to: NodeId) -> None:
        """Have `to` lead. What is under way is finished by whoever leads then."""
        self.hand_over_to, self.hand_over_beats = to, 0
        self.node.send(to, TakeOver(self.ballot))

    def best_heir(self) -> NodeId | None:
        """Of the voters that are heard, one that has not hung up, and knows most."""
        heirs = [voter for voter in self.configuration.voters if voter != self.node.id and self._hears(voter)]
        return max(
            heirs, key=lambda voter: (voter not in self.hung_up, self.commits.get(voter, 0), voter), default=None
        )
