"""A simulated run of a replicated log: `harness.virtual.simulation` with clients, and with faults that only logs have.

Rules
-----
1. Each client runs `cluster.clients.pipeline.Pipeline`, the protocol of the real clients: it finds the leader, retries, opens
   sessions and resumes them. The links between clients and nodes have the same faults as those between nodes.
2. `harness.virtual.log_judge` checks the cluster after every step. The outcomes at the clients are checked at the end.
3. In the recovery phase, nodes that are certain to be a majority are up. Every client writes and reads, each call must succeed,
   and all voters that are up must reach the same state.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple, cast

from cluster.clients.log_call import LogCall
from cluster.clients.outcomes import NotDone, Ok, Outcome
from cluster.clients.pipeline import Pipeline
from harness.checkers.answers import wrong_answers
from harness.checkers.asked import asked_of
from harness.checkers.reference.log import ReferenceLog
from harness.virtual.fault_model import SOUND, FaultModel
from harness.virtual.fault_schedule import RECOVERY_S
from harness.virtual.judge import EVERYTHING, Violation
from harness.virtual.log_end import LATE_MS, fast_time, leases, overdue_leases, watches_asleep, wrong_states
from harness.virtual.log_events import (
    KEYS,
    LEADER,
    ClientRestart,
    MembershipChange,
    ScheduledHandOver,
    ScheduledHint,
    ScheduledOperation,
    ScheduledSlowDisk,
)
from harness.virtual.log_fault_schedule import FEW_FRAMES, SHORT_SESSION_MS, LogFaultSchedule
from harness.virtual.log_judge import LogJudge
from harness.virtual.log_requests import CallRecord, ClientMemory, request_of
from harness.virtual.output import TurnOutput, VirtualReply
from harness.virtual.roles import BOUND, NodeRole
from harness.virtual.scheduled_events import ScheduledCall, ScheduledEvent
from harness.virtual.simulation import SimulatedRun, Simulation
from harness.virtual.steps import LastCommit, Packet, PeerLost, Recover, Retire, SendFrame, Step
from node.contract import Algorithm, Message, NodeId, Request
from node.frames import CommandFrame, FrameReply, ReadFrame, Replies
from node.log_contract import LogAlgorithm
from node.machine import BEAT_MS
from node.quorum import majority
from node.replication.replica import LogReplica
from node.tuning import Tuning
from node.wire import Codec, Envelope, encode_value

_CLUSTER: Final = "0" * 32
#: The beginning of what a client is told of its session.
_SESSION_ENDED: Final = "the session has ended"
#: What a client is told by a leader that has no room for its frame.
_NO_ROOM: Final = "too much is waiting here"
#: How long a client waits for the outcome of a call.
_CALL_S: Final = 2.0
#: What a client asks in the recovery phase, besides a write and a read. The watch is of the write.
_ASKED_IN_RECOVERY: Final = ("range", "view", "owners", "watch")
#: What a client follows while nothing happens at the end, but that leases end.
_FOLLOWED: Final = ("views",)
#: How often a client looks whether a node leads that it has asked to lead.
_LOOK_S: Final = 0.02
#: The shortest time until a client's pipeline is polled again.
_POLL_AGAIN_S: Final = 0.0005
_NEVER: Final = float("inf")
#: The calls that begin leases. After them, nothing happens at the end until each lease must have ended, though clocks be slow.
_LEASE_KINDS: Final = frozenset(("try", "try shared", "acquire", "resume", "join", "join tasks"))
#: How long nothing happens after the time at which a short session ends, in seconds.
_IDLE_S: Final = 0.8


class _FrameArrival(NamedTuple):
    """A client's frame arrives at a node. `pipeline_id` is the id of the client's pipeline that has sent it."""

    client: "_Client"
    pipeline_id: str
    node: NodeId
    frame: CommandFrame | ReadFrame


class _ReplyArrival(NamedTuple):
    """An answer arrives at a client. It is ignored if `pipeline_id` is not that of the client's present pipeline."""

    client: "_Client"
    pipeline_id: str
    node: NodeId
    data: bytes


class _ClientPoll(NamedTuple):
    """A client's pipeline is polled for frames to send."""

    client: "_Client"
    at_s: float


class _AskToLead(NamedTuple):
    """A node is to lead. A client asks for that at `ask_at_s`."""

    node: NodeId
    ask_at_s: float


class _DiskIsQuick(NamedTuple):
    """The disk of a node is slow no longer."""

    node: NodeId


class _IdleFrom(NamedTuple):
    """When the time began in which no client is given a call, which leader was idle then, and what the log's time was there.

    A call of the fault phase may still come late, and begin a lease.
    """

    at_s: float
    leader: NodeId | None
    """None also if something is under way there: a leader ends no lease before that is done, however slow its links have been."""
    time_ms: int


class _OwedOutcome(NamedTuple):
    """A client's call must have succeeded by now."""

    client: str
    call: LogCall


class _UncodedFrames(Codec):
    """Carries envelopes as they are, since no byte of a virtual link is ever damaged. Encodes one message of each class, as a
    check: what the real codec does to bytes has tests of its own, and would take an eighth of a run's time.
    """

    def __init__(self, cluster: str, messages: Iterable[type[Message]]) -> None:
        super().__init__(cluster, messages)
        self._checked: dict[type[Message], None] = {}

    def encode(self, envelope: Envelope) -> bytes:
        kind = type(envelope.message)
        if kind not in self._checked:
            self._checked[kind] = None
            assert super().decode(super().encode(envelope)) == envelope, f"{envelope} changes on its way"
        return cast(bytes, envelope)

    def decode(self, frame: bytes) -> Envelope:
        return cast(Envelope, frame)


class _Client:
    """One client, with all its restarts."""

    def __init__(self, name: str, nodes: tuple[NodeId, ...], tuning: Tuning, codec: Codec) -> None:
        self.name, self.starts, self.poll_at_s, self._tuning, self._codec = name, 0, _NEVER, tuning, codec
        self.lost: dict[NodeId, int] = {}  # by node, the last incarnation whose connection the client has seen close
        self._addresses = {node: node for node in nodes}
        self.restart(None)

    def restart(self, session: int | None) -> None:
        """Start with a new pipeline, which resumes `session` if it is not None."""
        self.starts += 1
        self.memory = ClientMemory(self.name, f"{self.name}.{self.starts}")
        self.pipeline = Pipeline(_CLUSTER, lambda: self._addresses, self.name, session, self._tuning, self._codec)
        self.pipeline.id = f"{self.name}.{self.starts}"


class LogSimulation(Simulation):
    """One run of a log. Construct it and call `run` once."""

    RECOVERY_PACKET_S = (0.0001, 0.003)  # slower links only add beats and ticks
    QUIET_S = 0.1
    fault_schedule: LogFaultSchedule

    def __init__(
        self,
        algorithm: type[Algorithm],
        fault_schedule: LogFaultSchedule,
        fault_model: FaultModel = SOUND,
        look_for: tuple[str, ...] = EVERYTHING,
    ) -> None:
        if fault_schedule.real_logs and not (fault_model.disks_sync_late or fault_model.logs_sync_late):
            fault_model = replace(fault_model, real_logs=True)
        super().__init__(algorithm, fault_schedule, fault_model, look_for)
        assert issubclass(algorithm, LogAlgorithm)
        self._algorithm = algorithm
        judge = self.cluster.judge
        assert isinstance(judge, LogJudge)
        self.judge = judge
        self._codec = _UncodedFrames(_CLUSTER, algorithm.messages)
        nodes, tuning = tuple(self.cluster.nodes), fault_schedule.tuning
        self.clients = {name: _Client(name, nodes, tuning, self._codec) for name in fault_schedule.clients}
        self.operations: list[tuple[LogCall, ScheduledOperation]] = []
        self._record = CallRecord()
        self._pending: list[tuple[str, LogCall]] = []
        self._has_outcome = False  # whether one of these has an outcome that was not looked at yet
        self._to_lead: list[NodeId] = []  # the nodes that are still to be asked to lead in the recovery phase
        self.slow_disks: dict[NodeId, float] = {}  # by node: how long a sync takes, in seconds
        self._commits_ms: dict[NodeId, int] = {}  # by node: how long its last commit took, until it takes that in
        self._reported_slow: dict[NodeId, None] = {}  # the nodes that have had a slow commit
        self._idle_from: _IdleFrom | None = None
        self._owed: list[LogCall] = []  # the calls of a siege, which are owed an answer
        self._besieged = False
        self._heir: NodeId | None = None  # the node that is asked to lead, and does not lead yet
        self._handlers |= {
            _FrameArrival: self._frame_arrives,
            _ReplyArrival: self._reply_arrives,
            _ClientPoll: self._poll_is_due,
            _AskToLead: self._ask_to_lead,
            _OwedOutcome: self._outcome_is_owed,
        }

    def run(self) -> SimulatedRun:
        done = super().run()
        self._check_clients()
        named = {name: replica for name in self.cluster.nodes if (replica := self._replica(name)) is not None}
        self.judge.violations += fast_time(named, self.now, min(self._clocks[node] for node in self.cluster.nodes))
        self.judge.violations += watches_asleep(named)
        self._check_answers(named)
        replicas = list(named.values())
        self.judge.check_end(self.cluster.nodes.values())
        self.seen["a decision"] = len(self.judge.changes)
        self.seen["a snapshot"] = sum(replica.snapshot_slot > 0 for replica in replicas)
        self.seen["a change of members"] = len(self.judge.configuration.removed) + sum(
            node in self.judge.configuration.voters for node in self.fault_schedule.newcomers
        )
        self.seen["a retry"] = sum(client.pipeline.sent_again for client in self.clients.values())
        if self._algorithm.elects_leaders:
            self.seen["a change of leader"] = self.judge.leaders - 1
        self.seen = +self.seen  # without zeros
        return replace(done, violations=self._violations(), seen=self.seen)

    # --- the fault phase --------------------------------------------------------------------------------------------

    def _schedule(self, event: ScheduledEvent) -> None:
        super()._schedule(event)
        self._besieged = self._besieged or getattr(event, "owed_s", 0.0) > 0

    def _within_fault_phase(self, end_s: float) -> float:
        # A siege has nothing more to show once all that is owed is answered, though a node be still cut off.
        return min(end_s, self.fault_schedule.fault_phase_s) if self._besieged else super()._within_fault_phase(end_s)

    def _run_fault_phase(self) -> None:
        super()._run_fault_phase()
        end_s = self.fault_schedule.fault_phase_s
        while self._owed and self.now < end_s and not self._violations():
            self._owed = [call for call in self._owed if not self._is_answered(call)]
            if self._owed:
                self._end_s = min(self.now + self.QUIET_S, end_s)
                self._run_phase()

    # --- events -----------------------------------------------------------------------------------------------------

    def _poll_is_due(self, event: _ClientPoll) -> None:
        if event.client.poll_at_s == event.at_s:
            self._poll_client(event.client)

    def _outcome_is_owed(self, event: _OwedOutcome) -> None:
        if not self._is_answered(event.call):
            self._find_overdue(f"{event.client}'s call ({event.call.outcome or 'no outcome'})", "any node")

    def _is_answered(self, call: LogCall) -> bool:
        """Return whether a call of a siege has succeeded, or was answered by what its client has to expect with such settings.

        A session may have ended if it lasts no longer, by the fastest clock, than this run has: its client has no command to
        send, or turns to a suspended node. A leader with room for few frames refuses others.
        """
        outcome, tuning = call.outcome, self.fault_schedule.tuning
        longest_ms = 1000 * self.now / min(self._clocks.values())
        reason = getattr(outcome, "reason", "")
        return (
            isinstance(outcome, Ok)
            or (tuning.session_idle_ms <= longest_ms and _SESSION_ENDED in reason)
            or (tuning.leader_frames <= FEW_FRAMES and _NO_ROOM in reason)
        )

    def _happen_in_fault_phase(self, event: object) -> None:
        match event:
            case ScheduledHandOver():
                if (leader := self.leader()) is not None:
                    self._take_in(leader, Retire(leader))
                    self.seen["a hand-over"] += 1
            case ScheduledHint(node=node):
                self._hint(node)
            case ScheduledSlowDisk(node=node):
                self.slow_disks[node] = event.seconds
                self.seen["a slow disk"] += 1
                self._at(self._within_fault_phase(self.now + event.for_s), _DiskIsQuick(node))
            case _DiskIsQuick(node):
                self.slow_disks.pop(node, None)
            case ClientRestart(client=client, resumes=resumes):
                self.clients[client].restart(self.clients[client].pipeline.session if resumes else None)
                self.seen["a restart of a client"] += 1
            case ScheduledOperation(client=client):
                call = self._begin(event, max(_CALL_S, 2 * event.owed_s))
                self.operations.append((call, event))
                if event.owed_s:
                    self._owed.append(call)
                    self._at(self.now + event.owed_s, _OwedOutcome(client, call))
            case MembershipChange(client=client, kind=kind, node=node):
                if kind == "add" and not self.cluster.nodes[node].up and self.cluster.can_boot(node):
                    self._apply(node, Recover(node))
                self.clients[client].pipeline.call("cluster", [kind, node], self.now, _CALL_S)
                self._poll_client(self.clients[client])
            case _:
                super()._happen_in_fault_phase(event)

    def _hint(self, node: NodeId) -> None:
        """Have every other node see its connection to `node` close."""
        for name, other in self.cluster.nodes.items():
            if other.up and name != node and self._pauses.get(name, 0.0) <= self.now:
                self._take_in(name, PeerLost(name, node))

    def _named(self, name: str) -> str | None:
        return self.leader() if name == LEADER else super()._named(name)

    def _node_with(self, role: NodeRole) -> NodeId | None:
        match role:
            case NodeRole.LEADER:
                return self.leader()
            case NodeRole.SUCCESSOR:
                leader = self.leader()
                return None if leader == self._bound.get(BOUND[NodeRole.LEADER]) else leader
            case NodeRole.LEARNER:  # by what the leader has applied: a node that joins takes itself for one before
                replica = None if (leader := self.leader()) is None else self._replica(leader)
                return None if replica is None else next(iter(replica.state.configuration.learners), None)
        return super()._node_with(role)

    def _survives(self, last_commit: LastCommit) -> bool:
        return self._algorithm.may_doubt or last_commit is LastCommit.TORN

    def leader(self) -> NodeId | None:
        """Return the serving leader of the highest ballot, if there is one."""
        leading = [
            (replica.leading, name)
            for name in self.cluster.nodes
            if (replica := self._replica(name)) is not None and replica.serving and replica.leading is not None
        ]
        return max(leading)[1] if leading else None

    def _replica(self, node: NodeId) -> LogAlgorithm | None:
        # An `isinstance` of an abstract class takes too long for a script that asks for the leader after each event.
        return cast("LogAlgorithm | None", self.cluster.nodes[node].instance)

    # --- clients ----------------------------------------------------------------------------------------------------

    def _begin(self, operation: ScheduledOperation, for_s: float) -> LogCall:
        """Begin a client's call, which waits for its outcome for `for_s` seconds."""
        client = self.clients[operation.client]
        if operation.node is not None:
            client.pipeline.leaders.leader = operation.node
        client.memory.session = client.pipeline.session or 0
        request = request_of(operation, client.memory, self.judge.answered_version(operation.key))
        call = client.pipeline.call(
            request.machine, request.command, self.now, for_s, read=request.read, wait_ms=request.wait_ms
        )
        self._record.begin(client.name, request, call)
        self._poll_client(client)
        return call

    def _poll_client(self, client: _Client) -> None:
        """Send the frames of a client's pipeline, and schedule the next poll for when it is due."""
        pipeline, now = client.pipeline, self.now
        for node, _, data in pipeline.outgoing(now):
            frame = cast("CommandFrame | ReadFrame", self._codec.decode(data).message)
            self._carry(client.name, node, _FrameArrival(client, pipeline.id, node, frame))
        client.poll_at_s = poll_at_s = _NEVER if pipeline.idle else max(pipeline.due(), now + _POLL_AGAIN_S)
        if poll_at_s != _NEVER:
            self._at(poll_at_s, _ClientPoll(client, poll_at_s))

    def _carry(self, sender: str, to: str, arrival: _FrameArrival | _ReplyArrival) -> None:
        """Schedule an arrival over a link, or lose it."""
        rng, links = self._rng, self.fault_schedule.links
        if self._recovering:
            self._at(self.now + rng.uniform(*self.RECOVERY_PACKET_S), arrival)
        elif rng.random() >= links.loss:
            self._at(self.now + self._travel_s(sender, to), arrival)
        else:
            self.seen["a loss"] += 1

    def _cut_stops(self, sender: str, to: str, arrival: object) -> bool:
        """Return whether a cut stops an arrival now. A cut that holds messages delays it to the end of the cut."""
        cut = self._cut_between(sender, to) if not self._recovering else None
        if cut is not None and cut.holds:
            self._at(self._cuts[cut], arrival)
        return cut is not None

    def _frame_arrives(self, arrival: _FrameArrival) -> None:
        client, pipeline_id, name, frame = arrival
        if self._pauses.get(name, 0.0) > self.now:
            self._at(self._pauses[name], arrival)
            return
        if self._cut_stops(client.name, name, arrival):
            return
        node = self.cluster.nodes[name]
        if node.up:
            self._take_in(name, SendFrame(name, Request(pipeline_id, frame.number), frame))
        elif client.lost.get(name, 0) < node.incarnation:  # the connection to an incarnation closes once
            client.lost[name] = node.incarnation
            client.pipeline.disconnected(name, self.now)
            self._poll_client(client)

    def _apply(self, node: NodeId, step: Step) -> TurnOutput:
        took_ms = self._commits_ms.pop(node, None) if self._commits_ms else None
        if took_ms is not None and self.cluster.nodes[node].up:
            self.cluster.nodes[node].core.commit_took(took_ms)
        outcome = super()._apply(node, step)
        for reply in outcome.replies:
            if reply.to_frame:
                self._answer(node, reply)
        if (self.slow_disks or self._reported_slow) and self.cluster.nodes[node].wrote:
            slow_s = self.slow_disks.get(node, 0.0)
            if slow_s:
                self._pauses[node] = max(
                    self._pauses.get(node, 0.0), self.now + slow_s
                )  # it takes in nothing while it syncs
            if slow_s or node in self._reported_slow:
                self._commits_ms[node] = int(slow_s * 1000)
                self._reported_slow[node] = None
        return outcome

    def _waits_for_sync(self, packet: Packet) -> bool:
        """Return whether a packet that is being sent leaves only when the disk of its sender has synced."""
        return self.cluster.nodes[packet.sender].wrote

    def _send(self, packet: Packet) -> None:
        slow_s = self.slow_disks.get(packet.sender, 0.0)
        self._syncs_s = slow_s if slow_s and self._waits_for_sync(packet) else 0.0
        super()._send(packet)
        self._syncs_s = 0.0

    def _answer(self, node: NodeId, reply: VirtualReply) -> None:
        pipeline_id, number = reply.request
        client = self.clients[pipeline_id.partition(".")[0]]
        answer = FrameReply(number, reply.value, reply.refused, reply.leader)
        data = self._codec.encode(Envelope(node, 1, "", Replies((answer,))))
        self._carry(node, client.name, _ReplyArrival(client, pipeline_id, node, data))

    def _reply_arrives(self, arrival: _ReplyArrival) -> None:
        client, pipeline_id, node, data = arrival
        if pipeline_id == client.pipeline.id and not self._cut_stops(node, client.name, arrival):
            client.pipeline.incoming(node, data, self.now)
            self._poll_client(client)

    # --- the recovery phase -----------------------------------------------------------------------------------------

    def _survivors(self) -> tuple[NodeId, ...]:
        nodes = self.cluster.nodes.values()
        with_disk = tuple(node.id for node in nodes if node.has_disk and node.incarnation)
        schedule = self.fault_schedule
        preferred = tuple(node for node in with_disk if node in schedule.survivors or node not in schedule.members)
        return next((up for up in (preferred, with_disk) if self._is_majority(up)), ())

    def _is_majority(self, up: tuple[NodeId, ...]) -> bool:
        """Return whether these nodes are certain to be a majority, whichever changes that clients have asked for they know of.

        The nodes that know of one may have lost their disks. One that was taken in already may be made in the recovery phase,
        and so allow the next.
        """
        possible = {frozenset(self.fault_schedule.members)}
        for change in self.fault_schedule.membership_changes:
            node = {self._named(change.node) or change.node}
            possible |= {voters | node if change.kind == "add" else voters - node for voters in possible}
        return all(len(voters.intersection(up)) >= majority(len(voters)) for voters in possible if voters)

    def _begin_recovery(self, survivors: tuple[NodeId, ...]) -> None:
        self.slow_disks.clear()
        super()._begin_recovery(survivors)

    def _call_in_recovery(self, survivors: tuple[NodeId, ...]) -> None:
        first = next(iter(self.clients.values()))
        for client in self.clients.values():
            kinds = ("put", "get", *_ASKED_IN_RECOVERY) if client is first else ("put", "get")
            for kind in kinds:
                last = ScheduledOperation(
                    self.now, client.name, kind, KEYS[0], encode_value(f"{client.name} in recovery")
                )
                self._owe(client, last)
        if self.fault_schedule.all_lead and self._algorithm.elects_leaders:
            self._to_lead = list(survivors)
        if not self.fault_schedule.membership_changes:
            for number, name in enumerate(survivors):
                colour = None if number % 2 else self.fault_schedule.recovery_colours[0]
                self._call(ScheduledCall(self.now, 2 * RECOVERY_S, name, colour))

    def _owe(self, client: _Client, operation: ScheduledOperation) -> None:
        """Begin a client's call that must succeed in the recovery phase."""
        self._pending.append((client.name, self._begin_owed(operation)))

    def _begin_owed(self, operation: ScheduledOperation) -> LogCall:
        call = self._begin(operation, 2 * RECOVERY_S)
        call.on_outcome = partial(self._note_outcome, call.on_outcome)
        self._has_outcome = self._has_outcome or call.outcome is not None
        self.operations.append((call, operation))
        return call

    def _note_outcome(self, then: Callable[[Outcome], object] | None, outcome: Outcome) -> None:
        self._has_outcome = True
        if then is not None:
            then(outcome)

    def _ask_more(self) -> bool:
        """Ask the next voter that is up to lead. Once it leads, a client writes. At last, wait for leases to end."""
        voters = self.judge.configuration.voters
        while self._to_lead and self._to_lead[0] not in voters:
            del self._to_lead[0]
        if not self._to_lead:
            return self._wait_for_leases()
        self._heir = self._to_lead.pop(0)
        self._end_s = self.now + RECOVERY_S
        self._ask_to_lead(_AskToLead(self._heir, self.now))
        return True

    def _wait_for_leases(self) -> bool:
        """Let nothing happen for long enough that every lease, and each short session, has to end: without a command, too."""
        if self._idle_from is None and self.fault_schedule.idles and (idle_s := self._idle_s()):
            leader = self._idle_leader()
            replica = None if leader is None else self._replica(leader)
            self._idle_from = _IdleFrom(self.now, leader, 0 if replica is None else replica.state.time_ms)
            self._end_s = self.now + idle_s
            client = next(iter(self.clients))
            for kind in _FOLLOWED:
                self._begin(ScheduledOperation(self.now, client, kind, KEYS[0], b""), 2 * RECOVERY_S)
        return self._idle_from is not None

    def _idle_leader(self) -> NodeId | None:
        """Return the leader if nothing is under way there."""
        leader = self.leader()
        replica = None if leader is None else self._replica(leader)
        leads = replica.leader if isinstance(replica, LogReplica) else None
        return None if leads is not None and (leads.flights or leads.waiting) else leader

    def _idle_s(self) -> float:
        """Return for how long nothing must happen until all leases and short sessions have ended; 0 if there are none now."""
        session_ms = self.fault_schedule.tuning.session_idle_ms
        if session_ms <= SHORT_SESSION_MS:
            return _IDLE_S + session_ms / 1000
        scheduled = (call.kind for call in self.fault_schedule.calls if isinstance(call, ScheduledOperation))
        if _LEASE_KINDS.isdisjoint(scheduled) or (log := self.judge.whole_log()) is None:
            return 0.0
        reference = ReferenceLog(self.fault_schedule.tuning)
        for batch in log:
            reference.advance(batch)
        if not (ends_ms := leases(reference).values()):
            return 0.0
        lasts_ms = max(ends_ms) - reference.time_ms + LATE_MS + BEAT_MS
        return lasts_ms / 1000 * max(self._clocks.values())

    def _ask_to_lead(self, event: "_AskToLead") -> None:
        """Have a client ask for a leader, once a second, until the node leads."""
        client = next(iter(self.clients.values()))
        if self._heir != event.node:
            return
        if self.leader() == event.node:
            self._heir = None
            last = ScheduledOperation(self.now, client.name, "put", KEYS[0], encode_value(f"{event.node} leads"))
            self._owe(client, last)
            self.seen["a node that leads when asked"] += 1
            return
        ask_at_s = event.ask_at_s
        if self.now >= ask_at_s:
            client.pipeline.call("cluster", ["hand_over", event.node], self.now, 1.0)
            self._poll_client(client)
            ask_at_s = self.now + 1.0
        self._at(self.now + _LOOK_S, _AskToLead(event.node, ask_at_s))

    def _unanswered(self) -> list[str]:
        """Return the clients whose calls are not answered; after that, the voters if they have not reached the same state."""
        if self._idle_from is not None:
            return []  # all of them were answered before nothing happened any more
        if self._has_outcome:
            self._has_outcome = False
            self._pending = [
                (name, call if call.outcome is None else self._begin_again(name, call))
                for name, call in self._pending
                if not isinstance(call.outcome, Ok)
            ]
        removed = self.judge.configuration.removed  # no member tells them what was decided, and they do not lead
        if removed and self._awaited:
            self._awaited = {request: node for request, node in self._awaited.items() if node not in removed}
        if self._heir in removed:
            self._heir = None
        if self._pending or self._awaited:
            return [name for name, _ in self._pending] + super()._unanswered()
        if self._heir is not None:
            return [f"{self._heir}, which is asked to lead,"]
        replicas = [self._replica(voter) for voter in self.judge.configuration.voters]
        states = {(replica.state.applied, replica.state.chain) for replica in replicas if replica is not None}
        return [] if len(states) <= 1 else list(self.judge.configuration.voters)

    def _waits_for_answers(self) -> bool:
        if self._pending and not self._has_outcome:  # nothing has changed since the last look
            return True
        return super()._waits_for_answers()

    def _begin_again(self, name: str, ended: LogCall) -> LogCall:
        """Call again after an outcome that may come once the network is whole: the session had ended, or too much was waiting."""
        value = encode_value(f"{name} in recovery, again at {self.now:g}")
        again = ScheduledOperation(self.now, name, "get" if ended.read else "put", KEYS[0], value)
        return self._begin_owed(again)

    # --- the end ----------------------------------------------------------------------------------------------------

    def _wrote(self, version: object, key: str, value: bytes) -> bool:
        """Return whether a version is the write of `value` at `key`. A broken node may answer with anything."""
        return isinstance(version, int) and self.judge.changes.get(version) == (key, value)

    def _check_clients(self) -> None:
        """Check that the outcome of each call at its client agrees with the writes that have taken effect."""
        find = partial(Violation, "client")
        done = {value for _, value in self.judge.changes.values()}
        for call, operation in self.operations:
            if operation.kind not in ("put", "get", "cas"):
                continue
            key, value, outcome = operation.key, operation.value, call.outcome
            match outcome:
                case Ok(int(version)) | Ok([_, int(version)]) if self.judge.hides(version):
                    continue
                case Ok(version) if operation.kind != "get" and not self._wrote(version, key, value):
                    text = f"is answered that {key} is {value!r} as version {version}, which is wrong"
                case Ok([read, version]) if not self._wrote(version, key, read):
                    text = f"reads {read!r} at {key} as version {version}, which is wrong"
                case NotDone(_, reason) if operation.kind != "get" and value in done:
                    text = f"is answered that {value!r} was not put at {key} ({reason}), but it was"
                case _:
                    continue
            self.judge.violations.append(find(f"{operation.client} {text}"))
        self.judge.violations += map(find, self._record.odd)

    def _check_answers(self, replicas: dict[NodeId, LogAlgorithm]) -> None:
        """Check that answers, states and leases are those that the log gives, by the reference."""
        log = self.judge.whole_log()
        if log is None:
            return
        tuning = self.fault_schedule.tuning
        wrong, reference = wrong_states(replicas, log, tuning)
        self.judge.violations += wrong
        since = self._idle_from
        if since is not None and since.leader == self._idle_leader() is not None:
            ran_s = (self.now - since.at_s) / max(self._clocks.values())
            self.judge.violations += overdue_leases(reference, since.time_ms + ran_s * 1000)
        asked = [each for call in self._record.calls if (each := asked_of(call)) is not None]
        for text in wrong_answers(asked, log, tuning, lambda event: f"event {event.index}"):
            self.judge.violations.append(Violation("client", text))
        self.seen.update(f"{each.call.f}{'' if each.call.outcome == 'ok' else ' refused'}" for each in asked)
