"""A replica of a log, whatever decides its slots: its roles, its time, its clients, and the slots that it applies.

An algorithm subclasses `LogReplica`. It adds the messages by which it decides, and names the classes of the parts.

| part | file | its work |
|---|---|---|
| log | `replica_log.py` | records, commit index, snapshot; durable |
| election | `election.py` | when a voter canvasses, and runs for the lead |
| leader | `leader.py` | batches, rounds for questions, changes of members, hand-over |
| clients | `clients.py` | forwards and answers the requests of clients |
| doubts | `doubt.py` | voters whose disks may have lost their last commit |
| snapshots | `snapshots.py` | fetches a snapshot from a peer; makes snapshots |
| state | `state.py` | machines, sessions, configuration |

A replica is its own peer: a message to itself comes back in the next turn, after the commit.
"""

from abc import abstractmethod
from collections.abc import Mapping, MutableMapping, Sequence
from typing import ClassVar, Final

from node.contract import Message, NodeId, Request, Status, Stored, Value
from node.frames import CommandFrame, ReadFrame
from node.log_contract import Effect, Log, LogAlgorithm, LogNode, LogProgress, StoredProgress
from node.machines import DEFAULT
from node.machines.once import OnceMachine
from node.quorum import Ballot
from node.replication.clients import Clients
from node.replication.configuration import Configuration
from node.replication.doubt import Doubts
from node.replication.election import LogElection, tick_s
from node.replication.leader import BEAT_S, LogLeadership
from node.replication.messages import EndOfDoubt, FetchPart, Forward, Forwarded, HeartbeatAck, KnownDoubts, SnapshotPart
from node.replication.replica_log import ReplicaLog, store_snapshot, stored_progress
from node.replication.slow_disk import SlowDisk
from node.replication.snapshots import Snapshots
from node.replication.state import ReplicatedState

_STATUS_VALUES_MAX: Final = 100


class LogReplica(LogAlgorithm):
    """One replica of a log. Its parts are made from the classes named here, so a subclass can replace one."""

    may_doubt = True
    clocks = ("tick", "anew")
    state_class: ClassVar[type[ReplicatedState]] = ReplicatedState
    doubts_class: ClassVar[type[Doubts]] = Doubts
    slow_disk_class: ClassVar[type[SlowDisk]] = SlowDisk
    election: LogElection
    catch_up: Snapshots
    clients: Clients
    leader: LogLeadership | None

    def __init__(self, node: LogNode) -> None:
        super().__init__(node)
        # A node that is not in the spec joins: it learns the voters from the log.
        voters = node.members if node.id in node.members else ()
        self.state = self.state_class(node.machines or DEFAULT, Configuration(voters), node.tuning)
        self.doubts = self.doubts_class(node)
        self.leader = None
        self.slow_disk = self.slow_disk_class(node.tuning)

    @property
    @abstractmethod
    def log(self) -> ReplicaLog:
        """The durable log of this replica."""

    @abstractmethod
    def begin_leading(self) -> None:
        """Make `leader`, and have it propose what it must propose first."""

    @property
    def configuration(self) -> Configuration:
        """The configuration by which this replica campaigns: that at the last applied slot."""
        return self.state.configuration

    def start(self) -> None:
        self.log.start()
        self.doubts.start()
        slot, parts = self.log.snapshot
        if slot:
            data = [self.node.log.part(slot, number) for number in range(parts)]
            assert None not in data, f"the snapshot of slot {slot} lacks a part"
            self.state.restore(b"".join(part for part in data if part is not None))
            self.node.log.keep_only(slot)
        self.advance()
        self.node.set_timer("tick", *tick_s(self.node.tuning))

    @property
    def members(self) -> tuple[NodeId, ...]:
        """The nodes that receive the log."""
        return self.configuration.members

    # --- roles --------------------------------------------------------------------------------------------------------

    def become_leading(self) -> None:
        """Lead: the election is won."""
        self.election.become_leading()
        self.begin_leading()
        assert self.leader is not None
        self.leader.send_heartbeat(self.members)
        self.node.set_timer("beat", BEAT_S, BEAT_S)
        self.clients.ask_again(self.node.id)

    def become_following(self, leader: NodeId | None) -> None:
        """Follow `leader`, or wait for one if None. If this node has led until now, redirect its clients."""
        led, self.leader = self.leader, None
        self.election.become_follower(leader)
        if led is None:
            return
        self.node.cancel_timer("beat")
        self.state.copies.clear()
        self.clients.redirect_waiters(led, leader)

    def follow(self, sender: NodeId) -> None:
        """Follow `sender`, which leads: this node knows no later leader."""
        if sender == self.node.id:
            return
        if self.leader is not None:
            self.become_following(sender)
        is_news = self.election.leader != sender
        self.election.note_leader(sender)
        if is_news:
            self.clients.ask_again(sender)

    # --- clients ------------------------------------------------------------------------------------------------------

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

    # --- time ---------------------------------------------------------------------------------------------------------

    def timeout(self, name: str) -> None:
        self.apply_deferred()
        match name:
            case "tick":
                self.election.tick(self.configuration)
                self.run_if_alone()
            case "anew":
                self.election.begin_anew(self.configuration)
                self.run_if_alone()
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
        elif peer == self.election.leader and self.node.id in self.configuration.voters:
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
        waiting, tuning = self.log.commit - self.state.applied, self.node.tuning
        if waiting >= tuning.applied_together or (
            waiting and len(self.log.records[self.log.commit].batch) > tuning.small_batch_bytes
        ):
            self.apply_deferred()

    # --- exploring without time ---------------------------------------------------------------------------------------

    def election_timeout(self) -> None:
        self.apply_deferred()
        if self.leader is not None:
            self.become_following(None)
        elif self.node.id in self.configuration.voters:
            self.election.become_running(self.configuration)

    def forget_time(self) -> None:
        self.apply_deferred()
        self.election.forget_time()
        if self.leader is not None:
            self.leader.forget_time()

    def effect_of(self, sender: NodeId, message: Message) -> Effect:
        match message:
            case HeartbeatAck(ballot, round_):  # what it says of time is forgotten at once
                confirms = self.leader is not None and ballot == self.leader.ballot
                known = self.leader.confirmed.get(sender, 0) if self.leader is not None and confirms else round_
                return Effect.NONE if round_ <= known else Effect.ANY
        return Effect.ANY

    # --- messages that every log has ----------------------------------------------------------------------------------

    def receive_common(self, sender: NodeId, message: Message) -> None:
        """Take in a message of `node/replication/messages.py` that means the same to every log."""
        match message:
            case HeartbeatAck(ballot) if self.leader is not None and ballot == self.leader.ballot:
                self.leader.acknowledged(sender, message)
            case Forward() if self.leader is not None:
                self.clients.forwarded(self.leader, sender, message)
            case Forwarded():
                self.clients.forward_answered(message)
            case FetchPart(slot, number):
                self.catch_up.answer_part(sender, slot, number)
            case SnapshotPart() if self.leader is None:
                self.catch_up.part(sender, message)

    def voter_in_doubt(self, leader: LogLeadership, voter: NodeId, doubts: KnownDoubts) -> None:
        """Answer a voter that is in doubt. If this leader's election did not know that, repeat it with a new ballot."""
        if self.doubts.note(doubts):
            self.become_following(None)
            self.election.become_running(self.configuration)
        elif leader.serves_from:
            self.node.send(voter, EndOfDoubt(leader.ballot, leader.serves_from))

    # --- what is chosen -----------------------------------------------------------------------------------------------

    def apply_deferred(self) -> None:
        """Apply the slots that an Accept has reported as chosen, which `receive` has deferred.

        No client waits for them at a follower, and the leader waits for the follower's vote. So they are applied after the vote
        has left, and small batches several at a time. But they are applied before any input that may read the state, such as
        the voters, so never later than at the next heartbeat.
        """
        if self.state.applied < self.log.commit:
            self.advance()

    def advance(self) -> None:
        """Apply every slot that is known as chosen, in order, and answer the clients that wait for it."""
        while self.state.applied < self.log.commit:
            slot = self.state.applied + 1
            before = self.state.configuration
            batch = self.log.records.pop(slot).batch
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
            self.applied(slot)
        if self.doubts.is_own:
            if self.leader is not None and self.leader.serving:
                self.doubts.end(self.leader.ballot, self.leader.serves_from)
            self.doubts.learned(self.promised, self.log.commit)

    def applied(self, slot: int) -> None:
        """Do what an algorithm must do once `slot` is applied."""

    def members_changed(self) -> None:
        """Take in that a change of the configuration was applied.

        The commit index is saved, so that the node knows the new members after a restart. Otherwise, after a restart of all
        nodes, it could wait for a removed node.
        """
        self.log.save_commit()
        if self.leader is not None:
            self.leader.send_heartbeat(self.members)  # so that the members learn of the change soon
            if self.node.id not in self.configuration.voters:
                self.become_following(None)

    def run_if_alone(self) -> None:
        """Run if this node is the only voter: it supports itself."""
        if self.election.role == "canvassing" and self.configuration.voters == (self.node.id,):
            self.election.become_running(self.configuration)

    def snapshot_due(self) -> bool:
        """Return whether to make a snapshot. It depends on the log only, so all replicas do so after the same slots."""
        state, tuning = self.state, self.node.tuning
        return state.bytes_since_snapshot > tuning.snapshot_bytes or state.slots_since_snapshot > tuning.snapshot_slots

    # --- what judges and tools ask ------------------------------------------------------------------------------------

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
        return self.log.snapshot.slot

    def awaits(self) -> tuple[str, ...]:
        names = ["tick"]
        if self.election.role in ("canvassing", self.election.RUNNING):
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

    def hears(self) -> tuple[NodeId, ...]:
        return () if self.leader is None else self.leader.hears()

    def progress(self) -> LogProgress:
        return LogProgress(
            commit=self.log.commit,
            applied=self.state.applied,
            chain=self.state.chain,
            marks=self.state.marks,
            first_slot=self.node.log.first,
            snapshot_slot=self.log.snapshot.slot,
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
        return Status(
            role=self.election.role if self.node.id in self.state.configuration.voters else "learner",
            ballot=self.promised,
            leads=self.leader is not None,
            waiting=len(self.clients.asked) + (len(self.leader.waiting) if self.leader is not None else 0),
            details={
                "decided": dict(values),
                "leader": self.election.leader,
                "disk": self.node.doubt.name.lower().replace("_", " "),
                "watches": 0 if self.leader is None else len(self.leader.watches),
            },
        )
