"""Multi-Paxos: one replica of a log, and of the state that the log produces.

Lamport, *The Part-Time Parliament* (1998) and *Paxos Made Simple* (2001), section 3; sessions, reads, canvassing and
snapshots after Ongaro, *Consensus: Bridging Theory and Practice* (2014).

Theory of operation
-------------------
| part | file | its work |
|---|---|---|
| acceptor | `acceptor.py` | promises, records, commit index; durable |
| election | `election.py` | canvassing; phase 1, once for all slots |
| leader | `leader.py` | phase 2, rounds for questions, changes of members, hand-over |
| clients | `clients.py` | forwards and answers the requests of clients |
| doubts | `doubt.py` | voters whose disks may have lost their last commit |
| catching up | `catch_up.py` | fetches the log or a snapshot from a peer; makes snapshots |
| state | `node/replication/state.py` | machines, sessions, configuration |

`MultiPaxos` takes in every input and calls the part that handles it. A replica is its own peer: a message to itself comes back
in the next turn, after the commit.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from typing import ClassVar, Final

from node.algorithms.multipaxos.acceptor import Acceptor, store_snapshot, stored_progress
from node.algorithms.multipaxos.catch_up import CatchUp
from node.algorithms.multipaxos.election import Election, tick_s, to_propose
from node.algorithms.multipaxos.leader import BEAT_S, Leadership
from node.algorithms.multipaxos.messages import (
    MESSAGES,
    Behind,
    Canvass,
    Chosen,
    Fetch,
    LogAccept,
    LogAccepted,
    LogPrepare,
    LogPromise,
    LogRejected,
    Support,
)
from node.contract import Message, NodeId, Request, Status, Stored, Value
from node.frames import CommandFrame, ReadFrame
from node.log_contract import LeaderMessage, Log, LogAlgorithm, LogNode, LogProgress, Record, StoredProgress
from node.machines import DEFAULT
from node.machines.once import OnceMachine
from node.quorum import Ballot
from node.replication.clients import Clients
from node.replication.configuration import Configuration
from node.replication.doubt import Doubts
from node.replication.messages import (
    EndOfDoubt,
    FetchPart,
    Forward,
    Forwarded,
    Heartbeat,
    HeartbeatAck,
    InDoubt,
    KnownDoubts,
    SnapshotOffer,
    SnapshotPart,
    TakeOver,
)
from node.replication.slow_disk import SlowDisk
from node.replication.state import ReplicatedState, is_change

_STATUS_VALUES_MAX: Final = 100


class MultiPaxos(LogAlgorithm):
    """One replica of the log. Its parts are made from the classes named here, so a subclass can replace one."""

    messages = MESSAGES
    may_doubt = True
    state_class: ClassVar[type[ReplicatedState]] = ReplicatedState
    acceptor_class: ClassVar[type[Acceptor]] = Acceptor
    election_class: ClassVar[type[Election]] = Election
    doubts_class: ClassVar[type[Doubts]] = Doubts
    leadership_class: ClassVar[type[Leadership]] = Leadership
    slow_disk_class: ClassVar[type[SlowDisk]] = SlowDisk

    def __init__(self, node: LogNode) -> None:
        super().__init__(node)
        # A node that is not in the spec joins: it learns the voters from the log.
        voters = node.members if node.id in node.members else ()
        self.state = self.state_class(node.machines or DEFAULT, Configuration(voters), node.tuning)
        self.acceptor = self.acceptor_class(node)
        self.doubts = self.doubts_class(node)
        self.election = self.election_class(node, self.acceptor, self.doubts)
        self.catch_up = CatchUp(node, self.acceptor, self.state, self.election.round_trips, self.advance)
        self.clients = Clients(node, self.state, self.election.round_trips)
        self.leader: Leadership | None = None
        self.slow_disk = self.slow_disk_class(node.tuning)
        self.accepted: dict[Ballot, list[int]] = {}  # the slots that this turn has accepted
        self.elect_again_at = 0  # the slot of a recovered change of members, after which phase 1 is repeated; 0: none

    def start(self) -> None:
        self.acceptor.start()
        self.doubts.start()
        slot, parts = self.acceptor.snapshot
        if slot:
            data = [self.node.log.part(slot, number) for number in range(parts)]
            assert None not in data, f"the snapshot of slot {slot} lacks a part"
            self.state.restore(b"".join(part for part in data if part is not None))
            self.node.log.keep_only(slot)
        self.advance()
        self.node.set_timer("tick", *tick_s(self.node.tuning))

    @property
    def members(self) -> tuple[NodeId, ...]:
        """The nodes that receive the log, at the last applied slot."""
        return self.state.configuration.members

    # --- roles ------------------------------------------------------------------------------------------------------

    def become_leading(self) -> None:
        """Lead: phase 1 is won. Propose the batches that it has reported."""
        recovered = self.recovered()
        self.election.become_leading()
        self.leader = self.leadership_class(
            self.node, self.acceptor, self.state, self.election.ballot, self.election.round_trips
        )
        changes = [slot for slot, batch in recovered.items() if slot > 1 and self.changes_members(batch)]
        # The slots above a change have other voters, whose promises this ballot may lack: phase 1 is repeated after it.
        self.elect_again_at = changes[0] if changes else 0
        self.leader.begin(recovered, self.elect_again_at or None)
        self.leader.send_heartbeat(self.members)
        self.node.set_timer("beat", BEAT_S, BEAT_S)
        self.clients.ask_again(self.node.id)

    def recovered(self) -> dict[int, bytes]:
        """Return the batch that this replica must propose in each slot, according to phase 1."""
        return to_propose(self.election.reported(), self.acceptor.commit)

    def changes_members(self, batch: bytes) -> bool:
        """Return whether a recovered batch changes the members."""
        return is_change(batch)

    def become_following(self, leader: NodeId | None) -> None:
        """Follow `leader`, or wait for one if None. If this node has led until now, redirect its clients."""
        led, self.leader = self.leader, None
        self.election.become_follower(leader)
        if led is None:
            return
        self.node.cancel_timer("beat")
        self.state.copies.clear()
        self.clients.redirect_waiters(led, leader)

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
        self.apply_deferred()
        match name:
            case "tick":
                self.election.tick(self.state.configuration)
                self.prepare_if_alone()
            case "anew":
                self.election.begin_anew(self.state.configuration)
                self.prepare_if_alone()
            case "beat" if self.leader is not None:
                if self.leader.tick():
                    self.clients.answer_due(self.leader)
                else:
                    self.become_following(None)
            case "fetch":
                self.catch_up.timed_out()
            case "ask":
                self.clients.ask_again(self.election.leader)

    def peer_lost(self, peer: NodeId) -> None:
        self.apply_deferred()
        if self.leader is not None:
            self.leader.disconnected[peer] = None
        elif peer == self.election.leader and self.node.id in self.state.configuration.voters:
            self.election.leader_lost()

    def commit_took(self, milliseconds: int) -> None:
        leader = self.leader
        if leader is None:
            self.slow_disk.took(milliseconds, [], 0)
            return
        answers_ms = leader.answers_ms()
        self.slow_disk.took(milliseconds, list(answers_ms.values()), leader.quorum())
        if leader.serving and self.slow_disk.hands_over(self.election.tick_count, leader.beat):
            quick = tuple(voter for voter, answer_ms in answers_ms.items() if self.slow_disk.is_quick(answer_ms))
            successor = leader.best_successor(quick)
            if successor is not None and leader.hand_over_to is None:
                self.slow_disk.handed_over(self.election.tick_count)
                leader.hand_over(successor)

    def retire(self) -> bool:
        if self.leader is None:
            return True
        if self.leader.hand_over_to is None:
            successor = self.leader.best_successor()
            if successor is None:
                return True
            self.leader.hand_over(successor)
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
        waiting, tuning = self.acceptor.commit - self.state.applied, self.node.tuning
        if waiting >= tuning.applied_together or (
            waiting and len(self.acceptor.records[self.acceptor.commit].batch) > tuning.small_batch_bytes
        ):
            self.apply_deferred()

    # --- messages ---------------------------------------------------------------------------------------------------

    def receive(self, sender: NodeId, message: Message) -> None:
        if type(message) is not LogAccept:
            self.apply_deferred()
        promised = self.acceptor.promised
        match message:
            # The acceptor.
            case LogAccept(ballot, slot, batch, commit) if ballot >= promised:
                self.follow(sender, ballot)
                if self.doubts.may_vote(ballot) and self.acceptor.accept(ballot, slot, batch):
                    self.accepted.setdefault(ballot, []).append(slot)
                self.learn(sender, ballot, commit)
            case Heartbeat(ballot, round_, commit, beat, wait_ms) if ballot >= promised:
                self.follow(sender, ballot)
                self.election.round_trips.report(wait_ms)
                self.learn(sender, ballot, commit)
                if self.doubts.may_vote(ballot):
                    commit_ms = self.slow_disk.commit_ms
                    self.node.send(sender, HeartbeatAck(ballot, round_, self.acceptor.commit, beat, commit_ms))
                if self.doubts.is_own:
                    self.node.send(sender, InDoubt(self.doubts.listed()))
            case LogPrepare(ballot) if self.election.prepares_higher(ballot):
                self.node.send(sender, LogRejected(ballot, self.election.ballot))
            case LogPrepare(ballot) if ballot >= promised:
                self.prepared(sender, message)
            case LogAccept(ballot) | Heartbeat(ballot) | LogPrepare(ballot):
                self.node.send(sender, LogRejected(ballot, promised))

            # The leader. An answer to another ballot matches nothing.
            case LogAccepted(ballot, slots) if self.leader is not None and ballot == self.leader.ballot:
                if self.leader.accepted(sender, slots):
                    self.advance()
            case HeartbeatAck(ballot) if self.leader is not None and ballot == self.leader.ballot:
                self.leader.acknowledged(sender, message)
            case Forward() if self.leader is not None:
                self.clients.forwarded(self.leader, sender, message)
            case Forwarded():
                self.clients.forward_answered(message)
            case _:
                self.receive_other(sender, message)

    def receive_other(self, sender: NodeId, message: Message) -> None:
        """Take in a message that is not frequent. `receive` matches the frequent messages first."""
        match message:
            case Canvass(asked, commit):
                self.canvassed(sender, asked, commit)
            case Support(asked, promised):
                if self.election.supported(sender, asked, promised, self.state.configuration):
                    self.election.become_preparing(self.state.configuration)
            case LogPromise(ballot) if ballot == self.acceptor.promised and self.election.prepares(ballot):
                if self.doubts.note(message.doubts):
                    self.election.become_preparing(self.state.configuration)
                elif self.election.promised(sender, message, self.state.configuration):
                    self.become_leading()
            case LogRejected(ballot, promised):
                self.election.seen = max(self.election.seen, promised)
                if ballot == self.election.ballot and self.election.role in ("preparing", "leading"):
                    self.become_following(None)
            case InDoubt(doubts) if self.leader is not None:
                self.voter_in_doubt(self.leader, sender, doubts)
            case EndOfDoubt(ballot, slot) if ballot >= self.acceptor.promised and self.doubts.is_own:
                if ballot > self.acceptor.promised:
                    self.acceptor.promise(ballot)
                self.doubts.end(ballot, slot)
                self.doubts.learned(ballot, self.acceptor.commit)
            case TakeOver(ballot) if ballot == self.acceptor.promised and self.leader is None:
                if self.node.id in self.state.configuration.voters and not self.doubts.is_own:
                    self.election.become_preparing(self.state.configuration)
            case _:
                self.receive_catch_up(sender, message)

    def receive_catch_up(self, sender: NodeId, message: Message) -> None:
        """Take in a message of catching up."""
        match message:
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
        """Follow `sender`, which leads under `ballot`: this node has promised no higher one."""
        if sender == self.node.id:
            return
        if self.leader is not None:
            self.become_following(sender)
        if self.election.leader != sender:
            self.election.note_leader(sender)
            self.clients.ask_again(sender)
        self.election.note_leader(sender)

    def learn(self, sender: NodeId, ballot: Ballot, commit: int) -> None:
        """Take in the leader's commit index. Fetches the records that this replica lacks."""
        whole = self.acceptor.learn(ballot, commit)
        if not whole and self.leader is None:
            self.catch_up.fetch(sender)

    def canvassed(self, sender: NodeId, asked: int, commit: int) -> None:
        """Answer the canvass of `sender`, whose commit index is `commit`, or ignore it."""
        voters = self.state.configuration.voters
        # A node that has joined and has not caught up may be a voter, and not know that, nor the other voters.
        if sender not in voters and self.node.id in voters:
            if commit > self.acceptor.commit and self.leader is None:
                self.catch_up.fetch(sender)  # the sender may have joined in a slot that this replica lacks
            return
        if self.leader is not None:
            self.leader.send_heartbeat((sender,))
        elif not self.election.supports():
            pass  # as far as this replica knows, the leader works
        elif not self.acceptor.can_inform(commit):
            self.node.send(sender, Behind(self.acceptor.commit))
        else:
            self.node.send(sender, Support(asked, self.acceptor.promised))

    def voter_in_doubt(self, leader: Leadership, voter: NodeId, doubts: KnownDoubts) -> None:
        """Answer a voter that is in doubt. If this leader's election did not know that, repeat it with a new ballot."""
        if self.doubts.note(doubts):
            self.become_following(None)
            self.election.become_preparing(self.state.configuration)
        elif leader.serves_from:
            self.node.send(voter, EndOfDoubt(leader.ballot, leader.serves_from))

    def prepared(self, sender: NodeId, message: LogPrepare) -> None:
        """Answer a Prepare (phase 1a)."""
        ballot, commit = message.ballot, message.commit
        if not self.acceptor.can_inform(commit):
            self.node.send(sender, Behind(self.acceptor.commit))
            return
        if ballot > self.acceptor.promised:
            self.acceptor.promise(ballot)
            if sender != self.node.id:
                self.become_following(None if self.leader is None else sender)
        elif sender != self.node.id:
            self.election.note_candidate()
        self.doubts.promised(ballot, message.doubts)
        doubt, doubts = int(self.node.doubt), self.doubts.listed()
        parts = self.acceptor.above(commit)
        for number, records in enumerate(parts):
            promise = LogPromise(ballot, number, len(parts), self.acceptor.commit, records, doubt, doubts)
            self.node.send(sender, promise)

    # --- what is chosen ---------------------------------------------------------------------------------------------

    def apply_deferred(self) -> None:
        """Apply the slots that an Accept has reported as chosen, which `receive` has deferred.

        No client waits for them at a follower, and the leader waits for the follower's vote. So they are applied after the vote
        has left, and small batches several at a time. But they are applied before any input that may read the state, such as
        the voters, so never later than at the next heartbeat.
        """
        if self.state.applied < self.acceptor.commit:
            self.advance()

    def advance(self) -> None:
        """Apply every slot that is known as chosen, in order, and answer the clients that wait for it."""
        while self.state.applied < self.acceptor.commit:
            slot = self.state.applied + 1
            before = self.state.configuration
            batch = self.acceptor.records.pop(slot).batch
            payloads = self.state.apply(slot, batch)
            self.catch_up.applied(slot, len(batch))
            if self.leader is not None:
                for waiter, payload in zip(self.leader.take_waiters(slot), payloads, strict=False):
                    self.clients.answer(waiter, payload)
            if self.leader is not None and self.leader.watches:
                self.clients.answer_changed(self.leader)
            if self.state.configuration != before:
                self.members_changed()
            if self.snapshot_due():
                self.catch_up.take_snapshot()
            if slot == self.elect_again_at and self.leader is not None:
                self.become_following(None)
                self.election.become_preparing(self.state.configuration)
        if self.doubts.is_own:
            if self.leader is not None and self.leader.serving:
                self.doubts.end(self.leader.ballot, self.leader.serves_from)
            self.doubts.learned(self.acceptor.promised, self.acceptor.commit)

    def members_changed(self) -> None:
        """Take in that a change of the configuration was applied.

        The commit index is saved, so that the node knows the new members after a restart. Otherwise, after a restart of all
        nodes, it could wait for a removed node.
        """
        self.acceptor.save_commit()
        if self.leader is not None:
            self.leader.send_heartbeat(self.members)  # so that the members learn of the change soon
            if self.node.id not in self.state.configuration.voters:
                self.become_following(None)

    def prepare_if_alone(self) -> None:
        """Begin phase 1 if this node is the only voter: it supports itself."""
        if self.election.role == "canvassing" and self.state.configuration.voters == (self.node.id,):
            self.election.become_preparing(self.state.configuration)

    def snapshot_due(self) -> bool:
        """Return whether to make a snapshot. It depends on the log only, so all replicas do so after the same slots."""
        state, tuning = self.state, self.node.tuning
        return state.bytes_since_snapshot > tuning.snapshot_bytes or state.slots_since_snapshot > tuning.snapshot_slots

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
    def heir(self) -> NodeId | None:
        return None if self.leader is None else self.leader.hand_over_to

    @property
    def snapshot_slot(self) -> int:
        return self.acceptor.snapshot.slot

    @classmethod
    def leader_message(cls, message: Message) -> LeaderMessage | None:
        match message:
            case LogAccept(ballot, slot, batch, commit):
                return LeaderMessage(ballot, (Record(slot, ballot.round, ballot.node, batch),), commit)
            case Heartbeat(ballot, _, commit):
                return LeaderMessage(ballot, (), commit)
        return None

    @classmethod
    def candidacy_in(cls, message: Message) -> Ballot | None:
        return message.ballot if isinstance(message, LogPrepare) else None

    @classmethod
    def request_to_lead(cls, ballot: Ballot) -> Message:
        return TakeOver(ballot)

    def awaits(self) -> tuple[str, ...]:
        names = ["tick"]
        if self.election.role in ("canvassing", "preparing"):
            names.append("anew")
        if self.leader is not None:
            names.append("beat")
        if self.catch_up.source is not None:
            names.append("fetch")
        if self.catch_up.saving:
            names.append("save")
        if self.clients.asked:
            names.append("ask")
        return tuple(names)

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

    @classmethod
    def store_state(cls, disk: MutableMapping[str, Stored], log: Log, slot: int, parts: Sequence[bytes]) -> None:
        store_snapshot(disk, log, slot, parts)

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
                "disk": self.node.doubt.name.lower().replace("_", " "),
                "voters": configuration.voters,
                "learners": configuration.learners,
                "removed": configuration.removed,
                "holds": {
                    what: count for each in self.state.machines.values() for what, count in each.figures().items()
                },
                "log time ms": self.state.time_ms,
                "hears": () if self.leader is None else self.leader.hears(),
                "watches": 0 if self.leader is None else len(self.leader.watches),
            },
        )
