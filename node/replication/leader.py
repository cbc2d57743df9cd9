"""What the leader of any replicated log does: it batches frames, confirms questions, changes members and hands over.

Rules
-----
1. A leader serves no client before a first batch of its own is applied: then its state holds everything that earlier leaders have
   answered.
2. Each slot has one batch, which is made at the end of a turn's input. At most `pipeline` slots are in flight.
3. A question is answered when a quorum has confirmed, in a round that began after the question came, that it follows no later
   leader (ReadIndex: Ongaro 2014, section 6.4). This needs no clock, so a leader that was suspended cannot answer from an old
   state.
4. A change of the configuration is the only slot in flight: see `node/replication/configuration.py`.
5. Every wait for an answer is a number of beats, and the round trips seen on top of it.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from node.contract import NodeId, Request
from node.log_contract import LogNode
from node.machine import BEAT_MS
from node.quorum import Ballot, majority
from node.replication.configuration import Configuration
from node.replication.messages import Heartbeat, HeartbeatAck
from node.replication.replica_log import ReplicaLog
from node.replication.round_trips import RoundTrips
from node.replication.state import CLUSTER, Frame, ReplicatedState
from node.replication.watches import Question, Waiter, Watches
from node.wire import pack_unchecked

BEAT_S: Final = BEAT_MS / 1000


class Flight:
    """A slot in flight: proposed, and not known as chosen.

    `votes` holds the voters that have accepted it, `beats` the beats since its Accepts were sent first. A log that counts what
    its followers have in another way leaves both as they are.
    """

    __slots__ = ("batch", "beats", "is_change", "votes", "waiters")

    def __init__(self, batch: bytes, waiters: list[Waiter], is_change: bool) -> None:
        self.batch, self.waiters, self.is_change = batch, waiters, is_change
        self.votes: dict[NodeId, None] = {}
        self.beats = 0


class LogLeadership(ABC):
    """The leadership of one node under one ballot."""

    def __init__(
        self, node: LogNode, log: ReplicaLog, state: ReplicatedState, ballot: Ballot, round_trips: RoundTrips
    ) -> None:
        self.node, self.log, self.state, self.ballot = node, log, state, ballot
        self.round_trips = round_trips
        self.time_ms = state.time_ms
        self.next_slot = log.commit + 1
        self.serves_from = 0  # the slot of its own first batch; 0 before it is proposed
        self.flights: dict[int, Flight] = {}
        self.waiting: deque[tuple[Frame, Waiter]] = deque()
        self.waiting_bytes = 0
        self.awaited: dict[Waiter, None] = {}  # those whose frames wait or are in flight
        self.beat = 0
        self.last_contact: dict[NodeId, int] = {}  # by peer: the beat at which its last message came
        self.disconnected: dict[NodeId, None] = {}  # peers whose connection has closed, and that sent nothing since
        self.commits: dict[NodeId, int] = {}  # by peer: its commit index
        self.commit_ms: dict[NodeId, int] = {}  # by peer: how long its last commit to disk took
        self.round = 0
        self.confirmed: dict[NodeId, int] = {}  # by peer: the last round that it has confirmed
        self.questions: list[Question] = []  # those that have no round yet
        self.rounds: dict[int, list[Question]] = {}  # by round: its questions, until a quorum has confirmed it
        self.watches = Watches(node.tuning)  # confirmed, and waiting for a change
        self.hand_over_to: NodeId | None = None
        self.hand_over_beats = 0

    # --- what an algorithm decides ------------------------------------------------------------------------------------

    @abstractmethod
    def propose(self, slot: int, batch: bytes, waiters: list[Waiter], is_change: bool = False) -> None:
        """Send `batch` to the members, for `slot`, which is the next one, and take it in on this node."""

    @abstractmethod
    def send_again(self) -> None:
        """In each beat: send again what members are slow to answer."""

    @abstractmethod
    def ask_heir(self, to: NodeId) -> None:
        """Ask `to` to lead, if it is ready for that. It is asked again in each beat."""

    @property
    def configuration(self) -> Configuration:
        """The members at the last applied slot."""
        return self.state.configuration

    def quorum(self) -> int:
        """Return how many voters are a quorum."""
        return majority(len(self.configuration.voters))

    @property
    def serving(self) -> bool:
        """Whether this leader's own first batch is applied, so that it may answer clients."""
        return 0 < self.serves_from <= self.state.applied

    # --- proposing ----------------------------------------------------------------------------------------------------

    def first_batch(self) -> bytes:
        """Return the batch of slot 1: the voters that form the cluster, for nodes that join later."""
        form = pack_unchecked([["form", self.configuration.voters]])
        return pack_unchecked((self.time_ms, ((0, 0, 0, CLUSTER, form),)))

    def propose_own(self) -> None:
        """Propose the first batch of this leader, which is empty, in the next slot: it serves once that is applied."""
        self.serves_from = self.next_slot
        self.propose(self.next_slot, pack_unchecked((self.time_ms, ())), [])

    def propose_waiting(self) -> None:
        """Propose the waiting frames, in batches, while fewer than `pipeline` slots are in flight."""
        if not self.serving or self.hand_over_to is not None:
            return
        tuning = self.node.tuning
        while (
            self.waiting and len(self.flights) < tuning.pipeline and not any(f.is_change for f in self.flights.values())
        ):
            is_change = self.waiting[0][0][3] == CLUSTER
            if is_change and self.flights:
                return  # a change must be the only slot in flight
            frames: list[Frame] = []
            waiters: list[Waiter] = []
            size = 0
            while self.waiting and size < tuning.batch_bytes:
                frame, waiter = self.waiting[0]
                if frames and (is_change or frame[3] == CLUSTER):
                    break
                self.waiting.popleft()
                frames.append(self._without_effect(frame) if is_change and not self._takes_effect(frame) else frame)
                waiters.append(waiter)
                size += len(frame[4])
            self.waiting_bytes -= size
            self.propose(self.next_slot, pack_unchecked((self.time_ms, frames)), waiters, is_change)

    def _takes_effect(self, change: Frame) -> bool:
        """Return whether a change that is proposed now will be admitted. Every slot before it is applied."""
        session, sequence, done, *_ = change
        return session == 0 or self.state.sessions.admits(session, sequence, done, self.time_ms)

    @staticmethod
    def _without_effect(change: Frame) -> Frame:
        """Return a frame that is answered as a change whose session does not admit it, and that changes nothing.

        Raft counts by a change as soon as it is in the log. By one that changes nothing when it is applied, some nodes would
        count for a while that the others never count by, and their majorities might have no node in common.
        """
        session, sequence, done, machine, _ = change
        return session, sequence, done, machine, pack_unchecked([])

    def full(self, size: int) -> bool:
        """Return whether there is no room for one more waiting frame of `size` bytes."""
        tuning = self.node.tuning
        return len(self.waiting) >= tuning.leader_frames or self.waiting_bytes + size > tuning.leader_bytes

    def submit(self, frame: Frame, waiter: Waiter) -> None:
        """Add `frame` to the waiting frames, unless it is there or in flight. It is proposed at the end of a turn's input.

        Clients and peers send again what a leader is slow to answer. If each copy took a place in the log, a leader that is slow
        would be slowed down further, until it answers nothing in time.
        """
        if waiter in self.awaited:
            return
        self.awaited[waiter] = None
        self.waiting.append((frame, waiter))
        self.waiting_bytes += len(frame[4])

    def awaits(self, waiter: Waiter) -> bool:
        """Return whether a frame of this request waits, or is in flight."""
        return waiter in self.awaited

    def take_waiters(self, slot: int) -> list[Waiter]:
        """Return the waiters of a slot that is applied, in the order of its frames. It is in flight no longer."""
        flight = self.flights.pop(slot, None)
        if flight is None:
            return []
        for waiter in flight.waiters:
            self.awaited.pop(waiter, None)
        return flight.waiters

    # --- time ---------------------------------------------------------------------------------------------------------

    def tick(self) -> bool:
        """Take in one beat. Returns False if no quorum has sent anything for too long, so that this node must stop leading."""
        self.beat += 1
        self.state.copies.beat()
        self.time_ms = max(self.time_ms, self.state.time_ms) + BEAT_MS
        self.node.set_timer("beat", BEAT_S, BEAT_S)
        in_contact = 1 + sum(
            self.in_contact_with(voter) for voter in self.configuration.voters if voter != self.node.id
        )
        if self.beat > self.node.tuning.quorum_beats + self.quorum_wait_beats() and in_contact < self.quorum():
            return False
        self.send_heartbeat(self.configuration.members)
        self.send_again()
        if self.hand_over_to is not None:
            self.hand_over_beats += 1
            if self.hand_over_beats > self.node.tuning.hand_over_beats + 2 * self.quorum_wait_beats():
                self.hand_over_to = None  # the successor has not taken over: serve clients again
            else:
                self.ask_heir(self.hand_over_to)
        due_ms = self.state.due_ms()
        if self.serving and not self.flights and not self.waiting and due_ms is not None and due_ms <= self.time_ms:
            self.propose(self.next_slot, pack_unchecked((self.time_ms, ())), [])
        self._promote()
        return True

    def forget_time(self) -> None:
        """Forget how much time has passed, and what was measured of the peers. What is sent, and not answered, is overdue."""
        self.beat, self.hand_over_beats = -1, 0  # the next beat is number 0, as that of the first heartbeat
        self.time_ms = self.state.time_ms
        for measured in (self.last_contact, self.disconnected, self.commits, self.commit_ms):
            measured.clear()
        for flight in self.flights.values():
            flight.beats = self.node.tuning.send_again_beats

    def note_contact(self, peer: NodeId) -> None:
        self.last_contact[peer] = self.beat
        self.disconnected.pop(peer, None)

    def in_contact_with(self, voter: NodeId) -> bool:
        last = self.last_contact.get(voter)
        return last is not None and self.beat - last < self.node.tuning.quorum_beats + self.wait_beats(voter)

    def hears(self) -> tuple[NodeId, ...]:
        """Return the other voters that have answered within the last beats."""
        voters = self.configuration.voters
        return tuple(voter for voter in voters if voter != self.node.id and self.in_contact_with(voter))

    def wait_beats(self, peer: NodeId) -> int:
        """Return how many beats an answer of `peer` may take; 0 if answers come within a beat."""
        return 0 if peer == self.node.id else -(-self.round_trips.wait_ms(peer) // BEAT_MS)

    def quorum_wait_beats(self) -> int:
        """Return how many beats the answers of a quorum may take."""
        return -(-self.round_trips.quorum_wait_ms(self.configuration.voters) // BEAT_MS)

    def send_heartbeat(self, to: tuple[NodeId, ...]) -> None:
        """Send a heartbeat, with the number of the present round."""
        wait_ms = self.round_trips.quorum_wait_ms(self.configuration.voters)
        message = Heartbeat(self.ballot, self.round, self.log.commit, self.beat, wait_ms)
        for member in to:
            if member != self.node.id:
                self.node.send_early(member, message)

    def _promote(self) -> None:
        """Submit the promotion of each learner that has caught up to a voter."""
        for learner in self.configuration.learners:
            near = self.commits.get(learner, 0) + self.node.tuning.caught_up_slots >= self.log.commit
            if near and self.in_contact_with(learner) and self.serving and not self.changing():
                frame = (0, 0, 0, CLUSTER, pack_unchecked([["promote", learner]]))
                self.submit(frame, Waiter(Request("", 0)))

    # --- questions ----------------------------------------------------------------------------------------------------

    def confirm_waiting(self) -> None:
        """Begin a round for the questions that have none, unless too many rounds are open."""
        if self.serving and len(self.rounds) < self.node.tuning.read_rounds:
            self.round += 1
            self.rounds[self.round], self.questions = self.questions, []
            self.send_heartbeat(self.configuration.voters)

    def acknowledged(self, sender: NodeId, ack: HeartbeatAck) -> None:
        """Take in that a peer had promised no ballot above this one when a heartbeat came."""
        self.note_contact(sender)
        self.round_trips.answered(sender, (self.beat - ack.beat) * BEAT_MS)
        self.commit_ms[sender] = ack.commit_ms
        self.commits[sender] = max(ack.commit, self.commits.get(sender, 0))
        self.confirmed[sender] = max(ack.round, self.confirmed.get(sender, 0))

    def take_confirmed(self) -> list[Question]:
        """Remove and return the questions whose round a quorum has confirmed.

        Every slot that was chosen when they came is applied.
        """
        others = [self.confirmed.get(voter, 0) for voter in self.configuration.voters if voter != self.node.id]
        rounds = sorted([self.round, *others], reverse=True)
        confirmed = rounds[self.quorum() - 1]
        return [
            question
            for round_ in [each for each in self.rounds if each <= confirmed]
            for question in self.rounds.pop(round_)
        ]

    def unconfirmed(self) -> Iterator[Question]:
        """Yield the questions whose round no quorum has confirmed yet."""
        yield from self.questions
        for questions in self.rounds.values():
            yield from questions

    # --- members ------------------------------------------------------------------------------------------------------

    def changing(self) -> bool:
        """Return whether a change of the configuration waits or is in flight."""
        return any(flight.is_change for flight in self.flights.values()) or any(
            frame[3] == CLUSTER for frame, _ in self.waiting
        )

    def why_not(self, kind: str, node: NodeId) -> str | None:
        """Return why a client's change cannot be made now, or None. `Configuration.changed` checks it again in its slot."""
        if kind not in ("add", "remove"):
            return f"there is no change {kind!r} for clients: the changes are add and remove"
        if self.changing() or (self.configuration.learners and kind == "add"):
            learners = ", ".join(self.configuration.learners) or "none"
            return f"another change is under way (learners: {learners}): wait until it is done, or remove the learner"
        if kind == "remove" and node == self.node.id and len(self.configuration.voters) > 1:
            return f"{node} leads: hand over first"
        if kind == "remove" and node in self.configuration.voters:
            rest = [voter for voter in self.configuration.voters if voter != node]
            alive = sum(voter == self.node.id or self.in_contact_with(voter) for voter in rest)
            if rest and alive < majority(len(rest)):
                return f"without {node} there would be no majority that answers: of {', '.join(rest)} {alive} do"
        return None

    def hand_over(self, to: NodeId) -> None:
        """Ask `to` to lead. The next leader finishes the slots in flight."""
        self.hand_over_to, self.hand_over_beats = to, 0
        self.ask_heir(to)

    def answers_ms(self) -> dict[NodeId, int]:
        """Return how long each other voter in contact takes to answer, its own commit included, in milliseconds."""
        return {
            voter: self.round_trips.wait_ms(voter) + self.commit_ms.get(voter, 0)
            for voter in self.configuration.voters
            if voter != self.node.id and self.in_contact_with(voter)
        }

    def best_successor(self, of: Sequence[NodeId] | None = None) -> NodeId | None:
        """Return the best next leader, or None: a voter in contact, a connected one first, then the highest commit index.

        `of` are the voters to choose from; None stands for all.
        """
        voters = self.configuration.voters if of is None else of
        successors = [voter for voter in voters if voter != self.node.id and self.in_contact_with(voter)]
        return max(
            successors,
            key=lambda voter: (voter not in self.disconnected, self.commits.get(voter, 0), voter),
            default=None,
        )
