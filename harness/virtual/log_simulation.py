"""A simulated run of a replicated log: `harness.virtual.simulation`, with clients, and with what befalls logs alone.

Rules
-----
1. Clients are `cluster.clients.pipeline.Pipeline`, the protocol of the real ones: they find the leader, retry, open sessions and
   resume them. Between them and the nodes there are links as between nodes.
2. `harness.virtual.log_judge` looks after every step. What clients make of the answers is checked at the end.
3. In the calm, whoever is sure to hold a majority is up. Every client writes and reads, each must succeed, and all voters that
   are up must come to the same state.
"""

from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple

from cluster.clients.log_call import LogCall
from cluster.clients.outcomes import NotDone, Ok
from cluster.clients.pipeline import Pipeline
from harness.virtual.fault_model import SOUND, FaultModel
from harness.virtual.fault_schedule import CALM_S, ScheduledCall, ScheduledCut, ScheduledOutage, ScheduledPause
from harness.virtual.judge import EVERYTHING, Violation
from harness.virtual.log_fault_schedule import (
    KEYS,
    LEADER,
    ClientRestart,
    LogFaultSchedule,
    MembershipChange,
    ScheduledHandOver,
    ScheduledHint,
    ScheduledOperation,
)
from harness.virtual.log_judge import LogJudge
from harness.virtual.output import TurnOutput, VirtualReply
from harness.virtual.simulation import CALM_PACKET_S, SimulatedRun, Simulation
from harness.virtual.steps import PeerLost, Recover, Retire, SendFrame, Step
from node.contract import Algorithm, NodeId, Request
from node.frames import CommandFrame, FrameReply, ReadFrame, Replies
from node.log_contract import LogAlgorithm
from node.quorum import majority
from node.wire import Codec, Envelope

_CLUSTER: Final = "0" * 32
_CALL_S: Final = 3.0
_LEASE_MS: Final = 150
_SOON_S: Final = 0.0005
_NEVER: Final = float("inf")


class _Asks(NamedTuple):
    """A frame on its way to a node."""

    client: "_Client"
    life: str
    node: NodeId
    frame: CommandFrame | ReadFrame


class _Told(NamedTuple):
    """An answer on its way to a client."""

    client: "_Client"
    life: str
    node: NodeId
    data: bytes


class _Pump(NamedTuple):
    """A client looks whether it has something to send."""

    client: "_Client"
    at_s: float


class _Client:
    """One client, through all its lives."""

    def __init__(self, name: str, nodes: tuple[NodeId, ...]) -> None:
        self.name, self.lives, self.pump_at = name, 0, _NEVER
        self.lost: dict[NodeId, int] = {}  # which life of a node it has seen end
        self._addresses = {node: node for node in nodes}
        self.restart(None)

    def restart(self, session: int | None) -> None:
        """Begin anew, and go on in `session` if one is given."""
        self.lives += 1
        self.pipeline = Pipeline(_CLUSTER, lambda: self._addresses, self.name, resume=session)
        self.pipeline.id = f"{self.name}.{self.lives}"


class LogSimulation(Simulation):
    """One run."""

    weather: LogFaultSchedule

    def __init__(
        self,
        algorithm: type[Algorithm],
        weather: LogFaultSchedule,
        oddities: FaultModel = SOUND,
        look_for: tuple[str, ...] = EVERYTHING,
    ) -> None:
        super().__init__(algorithm, weather, oddities, look_for)
        judge = self.cluster.judge
        assert isinstance(judge, LogJudge)
        self.judge = judge
        self._codec = Codec(_CLUSTER, algorithm.messages)
        self.clients = {name: _Client(name, tuple(self.cluster.nodes)) for name in weather.clients}
        self.operations: list[tuple[LogCall, ScheduledOperation]] = []
        self._pending: list[tuple[str, LogCall]] = []

    def run(self) -> SimulatedRun:
        done = super().run()
        self._look_at_clients()
        replicas = [replica for replica in map(self._replica, self.cluster.nodes) if replica is not None]
        self._compare(replicas)
        self.seen["a decision"] = len(self.judge.changes)
        self.seen["a snapshot"] = sum(replica.snapshot_slot > 0 for replica in replicas)
        self.seen["a change of members"] = len(self.judge.configuration.removed) + sum(
            node in self.judge.configuration.voters for node in self.weather.newcomers
        )
        self.seen["a retry"] = sum(client.pipeline.sent_again for client in self.clients.values())
        self.seen["a change of leader"] = self.judge.leaders - 1
        self.seen = +self.seen  # without zeros
        return replace(done, violations=self._violations(), seen=self.seen)

    # --- what befalls it --------------------------------------------------------------------------------------------

    def _happen(self, what: object) -> None:
        match what:
            case _Asks(node=node) if self._pauses.get(node, 0.0) > self.now:
                self._at(self._pauses[node], what)
            case _Asks():
                self._asked(what)
            case _Told():
                self._told(what)
            case _Pump(client, at_s):
                if client.pump_at == at_s:
                    self._pump(client)
            case _:
                super()._happen(what)

    def _befall(self, what: object) -> None:
        match what:
            case ScheduledOutage(node=node) | ScheduledPause(node=node) if node == LEADER:
                if (leader := self.leader()) is not None:
                    super()._befall(replace(what, node=leader))
            case ScheduledCut(left=(node,)) if node == LEADER:
                if (leader := self.leader()) is not None:
                    right = tuple(end for end in what.right if end != leader)
                    super()._befall(replace(what, left=(leader,), right=right))
            case ScheduledHandOver():
                if (leader := self.leader()) is not None:
                    self._apply(leader, Retire(leader))
                    self.seen["a hand-over"] += 1
            case ScheduledHint(node=node):
                self._hint(node)
            case ClientRestart(client=client, resumes=resumes):
                self.clients[client].restart(self.clients[client].pipeline.session if resumes else None)
                self.seen["a restart of a client"] += 1
            case ScheduledOperation(client=client):
                self.operations.append((self._begin(what, _CALL_S), what))
            case MembershipChange(client=client, kind=kind, node=node):
                if kind == "add" and not self.cluster.nodes[node].up and self.cluster.can_boot(node):
                    self._apply(node, Recover(node))
                self.clients[client].pipeline.call("cluster", [kind, node], self.now, _CALL_S)
                self._pump(self.clients[client])
            case _:
                super()._befall(what)

    def _hint(self, node: NodeId) -> None:
        lost = self.leader() if node == LEADER else node
        for name, other in self.cluster.nodes.items():
            if lost is not None and other.up and name != lost and self._pauses.get(name, 0.0) <= self.now:
                self._apply(name, PeerLost(name, lost))

    def leader(self) -> NodeId | None:
        """Who leads under the highest ballot."""
        leading = [
            (replica.leading, name)
            for name in self.cluster.nodes
            if (replica := self._replica(name)) is not None and replica.leading is not None and replica.serving
        ]
        return max(leading)[1] if leading else None

    def _replica(self, node: NodeId) -> LogAlgorithm | None:
        instance = self.cluster.nodes[node].instance
        return instance if isinstance(instance, LogAlgorithm) else None

    # --- clients ----------------------------------------------------------------------------------------------------

    def _begin(self, operation: ScheduledOperation, for_s: float) -> LogCall:
        client = self.clients[operation.client]
        key, value = operation.key, operation.value
        command: list[Any]
        match operation.kind:
            case "get":
                command = ["get", key]
            case "cas":
                command = ["cas", key, self.judge.answered_version(key), value]
            case "try":
                command = ["try", key, client.name, _LEASE_MS]
            case _:
                command = ["put", key, value]
        machine = "locks" if operation.kind == "try" else "kv"
        call = client.pipeline.call(machine, command, self.now, for_s, read=operation.kind == "get")
        self._pump(client)
        return call

    def _pump(self, client: _Client) -> None:
        """Send what the client wants sent, and look again when it says."""
        pipeline = client.pipeline
        for node, _, data in pipeline.outgoing(self.now):
            frame = self._codec.decode(data).message
            assert isinstance(frame, CommandFrame | ReadFrame)
            self._carry(client.name, node, _Asks(client, pipeline.id, node, frame))
        client.pump_at = _NEVER if pipeline.idle else max(pipeline.due(), self.now + _SOON_S)
        if client.pump_at != _NEVER:
            self._at(client.pump_at, _Pump(client, client.pump_at))

    def _carry(self, sender: str, to: str, what: _Asks | _Told) -> None:
        rng, links = self._rng, self.weather.links
        if self._calm:
            self._at(self.now + rng.uniform(*CALM_PACKET_S), what)
        elif rng.random() >= links.loss:
            self._at(self.now + self._travel_s(sender, to), what)
        else:
            self.seen["a loss"] += 1

    def _held_back(self, sender: str, to: str, what: object) -> bool:
        """Whether a cut keeps it, for some time or for ever."""
        cut = None if self._calm else self._cut_between(sender, to)
        if cut is not None and cut.holds:
            self._at(self._cuts[cut], what)
        return cut is not None

    def _asked(self, what: _Asks) -> None:
        client, life, node, frame = what
        if self._held_back(client.name, node, what):
            return
        there = self.cluster.nodes[node]
        if there.up:
            self._apply(node, SendFrame(node, Request(life, frame.number), frame))
        elif client.lost.get(node, 0) < there.incarnation:  # a connection closes once
            client.lost[node] = there.incarnation
            client.pipeline.disconnected(node, self.now)
            self._pump(client)

    def _apply(self, node: NodeId, step: Step) -> TurnOutput:
        outcome = super()._apply(node, step)
        for reply in outcome.replies:
            if reply.to_frame:
                self._answer(node, reply)
        return outcome

    def _answer(self, node: NodeId, reply: VirtualReply) -> None:
        life, number = reply.request
        client = self.clients[life.partition(".")[0]]
        answer = FrameReply(number, reply.value, reply.refused, reply.leader)
        data = self._codec.encode(Envelope(node, 1, "", Replies((answer,))))
        self._carry(node, client.name, _Told(client, life, node, data))

    def _told(self, what: _Told) -> None:
        client, life, node, data = what
        if life == client.pipeline.id and not self._held_back(node, client.name, what):
            client.pipeline.incoming(node, data, self.now)
            self._pump(client)

    # --- the calm ---------------------------------------------------------------------------------------------------

    def _survivors(self) -> tuple[NodeId, ...]:
        nodes = self.cluster.nodes.values()
        whole = tuple(node.id for node in nodes if node.has_disk and node.incarnation)
        wished = tuple(node for node in whole if node in self.weather.survivors or node not in self.weather.members)
        return next((up for up in (wished, whole) if self._is_majority(up)), ())

    def _is_majority(self, up: tuple[NodeId, ...]) -> bool:
        """Whether these hold a majority for certain, also if there is one change of members more than is known."""
        voters = self.judge.configuration.voters or self.weather.members
        there, all_ = sum(voter in up for voter in voters), len(voters)
        if not any(isinstance(call, MembershipChange) for call in self.weather.calls):
            return there >= majority(all_)
        return there >= majority(all_ + 1) and there - 1 >= majority(all_ - 1)

    def _call_in_the_calm(self, survivors: tuple[NodeId, ...]) -> None:
        for client in self.clients.values():
            for kind in ("put", "get"):
                last = ScheduledOperation(self.now, client.name, kind, KEYS[0], f"{client.name} in the calm".encode())
                self._pending.append((client.name, call := self._begin(last, 2 * CALM_S)))
                self.operations.append((call, last))
        if not any(isinstance(call, MembershipChange) for call in self.weather.calls):
            self._call(ScheduledCall(self.now, 2 * CALM_S, survivors[0], self.weather.late_colours[0]))

    def _unanswered(self) -> list[str]:
        self._pending = [(name, call) for name, call in self._pending if not isinstance(call.outcome, Ok)]
        if self._pending or self._awaited:
            return [*(name for name, _ in self._pending), *super()._unanswered()]
        replicas = [self._replica(voter) for voter in self.judge.configuration.voters]
        states = {(replica.state.applied, replica.state.chain) for replica in replicas if replica is not None}
        return [] if len(states) <= 1 else list(self.judge.configuration.voters)

    # --- the end ----------------------------------------------------------------------------------------------------

    def _compare(self, replicas: list[LogAlgorithm]) -> None:
        """Replicas at the same slot are the same in every machine, every session, and in who the members are."""
        states: dict[int, tuple[NodeId, bytes]] = {}
        for replica in replicas:
            if not replica.state.applied:
                continue
            name, state = states.setdefault(replica.state.applied, (replica.node.id, replica.state.snapshot()))
            if replica.state.snapshot() != state:
                text = f"after slot {replica.state.applied} {replica.node.id} is in another state than {name}"
                self.judge.violations.append(Violation("state", text))

    def _look_at_clients(self) -> None:
        find = partial(Violation, "client")
        done = {value for _, value in self.judge.changes.values()}
        for call, operation in self.operations:
            if operation.kind == "try":
                continue
            key, value, outcome = operation.key, operation.value, call.outcome
            match outcome:
                case Ok(version) if operation.kind != "get" and self.judge.changes.get(version) != (key, value):
                    text = f"is told that {key} is {value!r} as version {version}, which is not so"
                case Ok([read, version]) if self.judge.changes.get(version) != (key, read):
                    text = f"is told that it reads {read!r} at {key} as version {version}, which is not so"
                case NotDone(_, reason) if operation.kind != "get" and value in done:
                    text = f"is told that {value!r} was not put at {key} ({reason}), and it was"
                case _:
                    continue
            self.judge.violations.append(find(f"{operation.client} {text}"))
