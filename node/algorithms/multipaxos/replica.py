"""Multi-Paxos: one replica of a log, and of what the log leads to.

Lamport, *The Part-Time Parliament* (1998) and *Paxos Made Simple* (2001), section 3; sessions, reads, canvassing and
snapshots after Ongaro, *Consensus: Bridging Theory and Practice* (2014).

| part | file | its work |
|---|---|---|
| what is promised, accepted, known as chosen | `acceptor.py` | durable |
| finding a leader | `election.py` | phase 1, once for all slots |
| leading | `leader.py` | phase 2, rounds for questions, changes of members, hand-over |
| clients | `clients.py` | what they ask, and what they are told |
| catching up | `catch_up.py` | the log or a snapshot from a peer; making snapshots |
| what the log leads to | `node/replication/state.py` | machines, sessions, configuration |

This file takes in every input and hands it to the part whose work it is. A replica is its own peer: what it sends to
itself comes back when the disk has it.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

from node.algorithms.multipaxos.acceptor import Acceptor, stored_progress
from node.algorithms.multipaxos.catch_up import CatchUp
from node.algorithms.multipaxos.clients import Clients
from node.algorithms.multipaxos.election import TICK_S, Election, to_propose
from node.algorithms.multipaxos.leader import BEAT_S, Leadership
from node.algorithms.multipaxos.messages import (
    MESSAGES,
    Behind,
    Canvass,
    Chosen,
    Fetch,
    FetchPart,
    Forward,
    Forwarded,
    Heartbeat,
    HeartbeatAck,
    LogAccept,
    LogAccepted,
    LogPrepare,
    LogPromise,
    LogRejected,
    SnapshotOffer,
    SnapshotPart,
    Support,
    TakeOver,
)
from node.contract import Message, NodeId, Request, Status, Stored, Value
from node.frames import CommandFrame, ReadFrame
from node.log_contract import LogAlgorithm, LogNode, LogProgress, LogProposal, StoredProgress
from node.machines import DEFAULT
from node.machines.once import OnceMachine
from node.quorum import Ballot
from node.replication.configuration import Configuration
from node.replication.state import ReplicatedState, is_change

_TOGETHER: Final = 16  # slots
_SMALL_BYTES: Final = 1024
_STATUS_VALUES_MAX: Final = 100


class MultiPaxos(LogAlgorithm):
    """One replica of the log. Its parts are made from the classes named here, so a subclass can replace one."""

    messages = MESSAGES
    state_class: ClassVar[type[ReplicatedState]] = ReplicatedState
    acceptor_class: ClassVar[type[Acceptor]] = Acceptor
    election_class: ClassVar[type[Election]] = Election
    leadership_class: ClassVar[type[Leadership]] = Leadership

    def __init__(self, node: LogNode) -> None:
        super().__init__(node)
        voters = (
            node.members if node.id in node.members else ()
        )  # who is not in the spec joins, and is told by the others
        self.state = self.state_class(node.machines or DEFAULT, Configuration(voters))
        self.acceptor = self.acceptor_class(node)
        self.election = self.election_class(node, self.acceptor)
        self.catch_up = CatchUp(node, self.acceptor, self.state, self.advance)
        self.clients = Clients(node, self.state)
        self.leader: Leadership | None = None
        self.accepted: dict[Ballot, list[int]] = {}  # what this turn has accepted
        self.elect_again_at = 0  # the slot of a recovered change of members

    def start(self) -> None:
        self.acceptor.start()
        slot, parts = self.acceptor.snapshot
        if slot:
            data = [self.node.log.part(slot, number) for number in range(parts)]
            assert None not in data, f"the snapshot of slot {slot} lacks a part"
            self.state.restore(b"".join(part for part in data if part is not None))
            self.node.log.keep_only(slot)
        self.advance()
        self.node.set_timer("tick", *TICK_S)

    @property
    def members(self) -> tuple[NodeId, ...]:
        """Everybody who takes in the log, as far as this replica knows."""
        return self.state.configuration.members

    # --- roles ------------------------------------------------------------------------------------------------------

    def become_leading(self) -> None:
        """Phase 1 is won: go on with what it has told."""
        recovered = self.recovered()
        self.election.become_leading()
        self.leader = self.leadership_class(self.node, self.acceptor, self.state, self.election.ballot)
        changes = [slot for slot, batch in recovered.items() if slot > 1 and self.changes_members(batch)]
        # The slots above a change have other voters, whose promises this ballot may lack: phase 1 comes anew after it.
        self.elect_again_at = changes[0] if changes else 0
        self.leader.begin(recovered, self.elect_again_at or None)
        self.leader.send_heartbeat(self.members)
        self.node.set_timer("beat", BEAT_S, BEAT_S)
        self.clients.ask_again(self.node.id)

    def recovered(self) -> dict[int, bytes]:
        """Return what phase 1 obliges this replica to propose, by slot."""
        return to_propose(self.election.told(), self.acceptor.commit)

    def changes_members(self, batch: bytes) -> bool:
        """Return whether a recovered batch changes the members."""
        return is_change(batch)

    def become_following(self, leader: NodeId | None) -> None:
        """Lead no more, if this node did, and tell whoever waits."""
        led, self.leader = self.leader, None
        self.election.become_follower(leader)
        if led is None:
            return
        self.node.cancel_timer("beat")
        self.clients.send_away(led, leader)

    # --- clients ----------------------------------------------------------------------------------------------------

    def command(self, request: Request, frame: CommandFrame | ReadFrame) -> None:
        if self.leader is None:
            self.node.redirect(request, self.election.leader)
        else:
            self.clients.command(self.leader, request, frame)

    def propose(self, request: Request, value: Value) -> None:
        self.clients.ask(request, value, self.election.leader)

    def query(self, request: Request) -> None:
        self.clients.ask(request, None, self.election.leader)

    def forget(self, request: Request) -> None:
        self.clients.asked.pop(request, None)

    # --- time -------------------------------------------------------------------------------------------------------

    def timeout(self, name: str) -> None:
        self.settle()
        match name:
            case "tick":
                self.election.tick(self.state.configuration)
                self.check_alone()
            case "beat" if self.leader is not None:
                if self.leader.tick():
                    self.clients.answer_watches(self.leader)
                else:
                    self.become_following(None)
            case "fetch":
                self.catch_up.timed_out()
            case "ask":
                self.clients.ask_again(self.election.leader)

    def peer_lost(self, peer: NodeId) -> None:
        self.settle()
        if self.leader is not None:
            self.leader.hung_up[peer] = None
        elif peer == self.election.leader and self.node.id in self.state.configuration.voters:
            self.election.leader_lost()

    def retire(self) -> bool:
        if self.leader is None:
            return True
        if self.leader.hand_over_to is None:
            heir = self.leader.best_heir()
            if heir is None:
                return True
            self.leader.hand_over(heir)
        return False

    def end_of_input(self) -> None:
        for ballot, slots in self.accepted.items():
            self.node.send(ballot.node, LogAccepted(ballot, tuple(slots)))
        self.accepted.clear()
        leader = self.leader
        if leader is not None:
            if leader.waiting:
                leader.propose_waiting()
            if leader.questions:
                leader.confirm_waiting()
            if leader.rounds:
                self.clients.answer_confirmed(leader)
        self.catch_up.save_part()

    def after_turn(self) -> None:
        waiting = self.acceptor.commit - self.state.applied
        if waiting >= _TOGETHER or (waiting and len(self.acceptor.records[self.acceptor.commit].batch) > _SMALL_BYTES):
            self.settle()

    # --- messages ---------------------------------------------------------------------------------------------------

    def receive(self, sender: NodeId, message: Message) -> None:
        if type(message) is not LogAccept:
            self.settle()
        promised = self.acceptor.promised
        match message:
            # The acceptor.
            case LogAccept(ballot, slot, batch, commit) if ballot >= promised:
                self.follow(sender, ballot)
                if self.acceptor.accept(ballot, slot, batch):
                    self.accepted.setdefault(ballot, []).append(slot)
                self.learn(sender, ballot, commit)
            case Heartbeat(ballot, round_, commit) if ballot >= promised:
                self.follow(sender, ballot)
                self.learn(sender, ballot, commit)
                self.node.send(sender, HeartbeatAck(ballot, round_, self.acceptor.commit))
            case LogPrepare(ballot) if self.election.outbids(ballot):
                self.node.send(sender, LogRejected(ballot, self.election.ballot))
            case LogPrepare(ballot, commit) if ballot >= promised:
                self.prepared(sender, ballot, commit)
            case LogAccept(ballot) | Heartbeat(ballot) | LogPrepare(ballot):
                self.node.send(sender, LogRejected(ballot, promised))

            # The leader. An answer to another ballot matches nothing.
            case LogAccepted(ballot, slots) if self.leader is not None and ballot == self.leader.ballot:
                if self.leader.accepted(sender, slots):
                    self.advance()
            case HeartbeatAck(ballot, round_, commit) if self.leader is not None and ballot == self.leader.ballot:
                self.leader.acknowledged(sender, round_, commit)
            case Forward() if self.leader is not None:
                self.clients.forwarded(self.leader, sender, message)
            case Forwarded():
                self.clients.told(message)
            case _:
                self.receive_rarer(sender, message)

    def receive_rarer(self, sender: NodeId, message: Message) -> None:
        """The messages of elections and of catching up."""
        match message:
            case Canvass(attempt, commit):
                self.canvassed(sender, attempt, commit)
            case Support(attempt, promised):
                if self.election.supported(sender, attempt, promised, self.state.configuration):
                    self.election.become_preparing(self.state.configuration)
            case LogPromise(ballot) if ballot == self.acceptor.promised:
                if self.election.promised(sender, message, self.state.configuration):
                    self.become_leading()
            case LogRejected(ballot, promised):
                self.election.seen = max(self.election.seen, promised)
                if ballot == self.election.ballot and self.election.role in ("preparing", "leading"):
                    self.become_following(None)
            case TakeOver(ballot) if ballot == self.acceptor.promised and self.leader is None:
                if self.node.id in self.state.configuration.voters:
                    self.election.become_preparing(self.state.configuration)
            case Behind(commit) if commit > self.acceptor.commit and self.leader is None:
                self.become_following(None)
                self.catch_up.fetch(sender)
            case Fetch(commit):
                self.catch_up.answer(sender, commit)
            case Chosen() if self.leader is None:
                self.catch_up.chosen(sender, message)
            case SnapshotOffer(slot, parts) if self.leader is None:
                self.catch_up.offer(sender, slot, parts)
            case FetchPart(slot, number):
                self.catch_up.answer_part(sender, slot, number)
            case SnapshotPart() if self.leader is None:
                self.catch_up.part(sender, message)

    def follow(self, sender: NodeId, ballot: Ballot) -> None:
        """`sender` leads under a ballot that is not below any that this node has promised."""
        if sender == self.node.id:
            return
        if self.leader is not None:
            self.become_following(sender)
        if self.election.leader != sender:
            self.election.heard(sender)
            self.clients.ask_again(sender)
        self.election.heard(sender)

    def learn(self, sender: NodeId, ballot: Ballot, commit: int) -> None:
        """The leader knows that all up to `commit` is chosen."""
        whole = self.acceptor.learn(ballot, commit)
        if not whole and self.leader is None:
            self.catch_up.fetch(sender)

    def canvassed(self, sender: NodeId, attempt: int, commit: int) -> None:
        """Somebody would lead."""
        voters = self.state.configuration.voters
        # One that has joined and is still behind may have become a voter without knowing it, nor who the others are.
        if sender not in voters and self.node.id in voters:
            if commit > self.acceptor.commit and self.leader is None:
                self.catch_up.fetch(sender)  # it may have joined, without this replica's having heard of it
            return
        if self.leader is not None:
            self.leader.send_heartbeat((sender,))
        elif not self.election.supports():
            pass  # the leader serves as far as this replica can tell
        elif not self.acceptor.can_inform(commit):
            self.node.send(sender, Behind(self.acceptor.commit))
        else:
            self.node.send(sender, Support(attempt, self.acceptor.promised))

    def prepared(self, sender: NodeId, ballot: Ballot, commit: int) -> None:
        """Phase 1a."""
        if not self.acceptor.can_inform(commit):
            self.node.send(sender, Behind(self.acceptor.commit))
            return
        if ballot > self.acceptor.promised:
            self.acceptor.promise(ballot)
            if sender != self.node.id:
                self.become_following(None if self.leader is None else sender)
        parts = self.acceptor.above(commit)
        for number, records in enumerate(parts):
            self.node.send(sender, LogPromise(ballot, number, len(parts), self.acceptor.commit, records))

    # --- what is chosen ---------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Apply what an Accept has told as chosen. Nobody waits for that here, and the leader waits for the vote.

        So it is put off until the vote has left, and small batches until there are some: several cost little more than one.
        But not beyond anything that may ask the state, such as who votes, and so never for longer than a beat.
        """
        if self.state.applied < self.acceptor.commit:
            self.advance()

    def advance(self) -> None:
        """Apply what is known as chosen, in order, and answer whoever waits for it."""
        while self.state.applied < self.acceptor.commit:
            slot = self.state.applied + 1
            before = self.state.configuration
            batch = self.acceptor.records.pop(slot).batch
            payloads = self.state.apply(slot, batch)
            self.catch_up.applied(slot, len(batch))
            flight = self.leader.flights.pop(slot, None) if self.leader is not None else None
            if flight is not None:
                for waiter, payload in zip(flight.waiters, payloads, strict=False):
                    self.clients.answer(waiter, payload)
            if self.state.configuration != before:
                self.members_changed()
            if self.snapshot_due():
                self.catch_up.take_snapshot()
            if slot == self.elect_again_at and self.leader is not None:
                self.become_following(None)
                self.election.become_preparing(self.state.configuration)
        if self.leader is not None and self.leader.watches:
            self.clients.answer_watches(self.leader)

    def members_changed(self) -> None:
        """A change of the configuration has taken effect.

        Who knows of it keeps that: after a stop of all, those whose disks know only the old members would wait for these.
        """
        self.acceptor.save_commit()
        if self.leader is not None:
            self.leader.send_heartbeat(self.members)  # so that they hear of it
            if self.node.id not in self.state.configuration.voters:
                self.become_following(None)

    def check_alone(self) -> None:
        """A cluster of one needs nobody's support but its own."""
        if self.election.role == "canvassing" and self.state.configuration.voters == (self.node.id,):
            self.election.become_preparing(self.state.configuration)

    def snapshot_due(self) -> bool:
        """Return whether the log has grown enough. A function of the log alone, so all replicas snapshot the same slots."""
        state, limits = self.state, self.node.limits
        return state.bytes_since_snapshot > limits.snapshot_bytes or state.slots_since_snapshot > limits.snapshot_slots

    # --- what judges and tools ask ----------------------------------------------------------------------------------

    @property
    def promised(self) -> Ballot:
        return self.acceptor.promised

    @property
    def leading(self) -> Ballot | None:
        return None if self.leader is None else self.leader.ballot

    @property
    def serving(self) -> bool:
        return self.leader is not None and self.leader.serving

    @property
    def snapshot_slot(self) -> int:
        return self.acceptor.snapshot.slot

    @classmethod
    def proposal_in(cls, message: Message) -> LogProposal | None:
        return LogProposal(message.ballot, message.slot, message.batch) if isinstance(message, LogAccept) else None

    @classmethod
    def candidacy_in(cls, message: Message) -> Ballot | None:
        return message.ballot if isinstance(message, LogPrepare) else None

    @classmethod
    def hand_over_message(cls, ballot: Ballot) -> Message | None:
        return TakeOver(ballot)

    def progress(self) -> LogProgress:
        return LogProgress(
            commit=self.acceptor.commit,
            applied=self.state.applied,
            chain=self.state.chain,
            marks=self.state.marks,
            first_slot=self.node.log.first,
            snapshot_slot=self.acceptor.snapshot.slot,
        )

    @classmethod
    def stored_progress(cls, disk: Mapping[str, Stored]) -> StoredProgress:
        return stored_progress(disk)

    def status(self) -> Status:
        once = self.state.machines.get("once")
        values = list(once.values.items())[-_STATUS_VALUES_MAX:] if isinstance(once, OnceMachine) else []
        configuration = self.state.configuration
        return Status(
            role=self.election.role if self.node.id in configuration.voters else "learner",
            ballot=self.acceptor.promised,
            leads=self.leader is not None,
            waiting=len(self.clients.asked) + (len(self.leader.waiting) if self.leader is not None else 0),
            details={
                "decided": dict(values),
                "leader": self.election.leader,
                "sessions": len(self.state.sessions),
                "voters": configuration.voters,
                "learners": configuration.learners,
                "removed": configuration.removed,
                "holds": {
                    what: count for each in self.state.machines.values() for what, count in each.figures().items()
                },
                "log time ms": self.state.time_ms,
            },
        )
