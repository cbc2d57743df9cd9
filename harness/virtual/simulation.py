"""One simulated run: an algorithm in virtual time, under the faults of a fault schedule.

    run = Simulation(Paxos, draw_fault_schedule(seed=7)).run()
    print(run.violations, run.cluster.story)

Theory of operation
-------------------
A heap holds every event that is due, with its time. The simulation takes the earliest event, advances virtual time to it, and
applies it to a `VirtualCluster`. The packets and timers that result become new events. After the fault phase come the recovery
phase and its calls (`harness/virtual/fault_schedule.py`).

A crash in the middle of a turn needs no step of its own unless the turn has sent something early. Otherwise the turn's writes are
not committed and its output has not left, so it equals a crash before the turn together with the loss of its input.

Rules
-----
1. The fault schedule and the algorithm determine the run: a seed that fails, fails again, step by step.
2. The judge checks the cluster after every step. In the recovery phase every call must be answered.
"""

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import product
from random import Random
from typing import Any, ClassVar, Final, NamedTuple

from harness.virtual.cluster import VirtualCluster
from harness.virtual.fault_model import SOUND, FaultModel
from harness.virtual.fault_schedule import RECOVERY_S, FaultSchedule
from harness.virtual.judge import BALLOT, EVERYTHING, Violation, with_contract
from harness.virtual.node import VirtualNode
from harness.virtual.output import TurnOutput
from harness.virtual.roles import BOUND, NodeRole, holder_of
from harness.virtual.scheduled_events import (
    CLIENTS,
    OTHERS,
    ScheduledCall,
    ScheduledCut,
    ScheduledEvent,
    ScheduledOutage,
    ScheduledPause,
    ScheduledPlot,
)
from harness.virtual.steps import (
    Crash,
    CrashInTurn,
    Deliver,
    DoubtDisk,
    DropPacket,
    DuplicatePacket,
    Fire,
    GiveUp,
    LastCommit,
    LoseDisk,
    Packet,
    Propose,
    Query,
    Recover,
    Step,
    TakeOwnMessages,
    Turn,
)
from node.contract import Algorithm, NodeId, Request
from node.quorum import majority
from node.wire import encode_value

#: The most steps of a run.
STEPS_MAX: Final = 100_000
#: How long after a turn the node takes in its own messages: the range of a commit's duration.
_COMMIT_S: Final = (0.0002, 0.002)
#: How soon a plot that has found no node with its role looks again.
_LOOK_S: Final = 0.005


class _TurnBegins(NamedTuple):
    """A node begins a turn, in which it takes in all that has come for it."""

    node: NodeId


class _Look(NamedTuple):
    """A plot looks again for a node that has its role, until a time."""

    plot: ScheduledPlot
    until_s: float


class _OwedAnswer(NamedTuple):
    """A client's call at a node must be answered by now."""

    node: NodeId
    request: Request


@dataclass(slots=True)
class SimulatedRun:
    """The result of one run."""

    fault_schedule: FaultSchedule
    violations: list[Violation]
    steps: list[Step]
    cluster: VirtualCluster
    virtual_s: float
    """The virtual time at the end of the run."""
    seen: Counter[str] = field(default_factory=Counter)
    """By event, such as "a crash", how often it has happened."""


class Simulation:
    """One run. Construct it and call `run` once."""

    RECOVERY_PACKET_S: ClassVar[tuple[float, float]] = (0.0001, 0.01)
    """How long a packet takes in the recovery phase."""
    QUIET_S: ClassVar[float] = float("inf")
    """How long the fault phase goes on once no fault is in force, and neither a fault nor a call is to come.

    The nodes of one variable are silent then. Those of a log send heartbeats, which take time and show nothing.
    """

    def __init__(
        self,
        algorithm: type[Algorithm],
        fault_schedule: FaultSchedule,
        fault_model: FaultModel = SOUND,
        look_for: tuple[str, ...] = EVERYTHING,
    ) -> None:
        self.fault_schedule = fault_schedule
        self._look_for = with_contract(look_for)
        self.cluster = VirtualCluster(
            algorithm, fault_schedule.members, fault_model, fault_schedule.newcomers, fault_schedule.tuning
        )
        self.now = 0.0
        self.seen: Counter[str] = Counter()
        self._rng = Random(f"run/{fault_schedule.seed}")
        self._clocks = dict(zip(fault_schedule.endpoints, fault_schedule.clocks, strict=True))
        self._heap: list[tuple[float, int, object]] = []
        self._count = 0
        pairs = product(fault_schedule.endpoints, repeat=2)
        self._usual_s = dict(zip(pairs, fault_schedule.links.usual_s, strict=True))
        kinds = algorithm.messages
        picky = fault_schedule.links.loss_by_kind if kinds else ()
        self._loss = {kinds[int(place * len(kinds))]: loss for place, loss in picky}
        self._timers: dict[tuple[NodeId, str], float] = {}  # when each timer is due
        self._cuts: dict[ScheduledCut, float] = {}  # when each cut ends
        self._pauses: dict[NodeId, float] = {}  # when each pause ends
        self._moves: dict[NodeId, float] = {}  # how long others take to learn the new address of a node that is down
        self._outages_in_turn: dict[NodeId, ScheduledOutage] = {}  # those that wait for the node's next early send
        self._syncs_s = 0.0  # how long the packet that is being sent waits for the sync of its turn
        self._calls = 0
        self._recovering = False
        self._end_s = 0.0  # when the present phase ends
        self._awaited: dict[Request, NodeId] = {}  # the calls of the recovery phase, and the node of each
        self._bound: dict[str, NodeId] = {}  # by the name of a role, the node that had it when a plot began
        self._inputs: dict[NodeId, list[Step]] = {}  # what waits for the next turn of a node
        self._handlers: dict[type, Callable[[Any], None]] = {
            Deliver: self._packet_arrives,
            Fire: self._timer_expires,
            TakeOwnMessages: self._own_messages_wait,
            GiveUp: self._client_gives_up,
            _TurnBegins: self._begin_turn,
            _Look: self._look_again,
            _OwedAnswer: self._answer_is_owed,
        }
        for node in self.cluster.nodes.values():
            self._follow_up(node)

    def run(self) -> SimulatedRun:
        """Run the fault phase and the recovery phase."""
        fault_schedule = self.fault_schedule
        for event in (*fault_schedule.faults, *fault_schedule.calls):
            self._schedule(event)
        self._run_fault_phase()
        survivors = self._survivors()
        if survivors and not self._violations():
            self._end_s = self.now + RECOVERY_S
            self._begin_recovery(survivors)
            self._run_phase()
            if not self._violations() and (unanswered := self._unanswered()):
                self.cluster.judge.record_unanswered(unanswered, list(survivors))
        steps = [happened.step for happened in self.cluster.happened]
        if self.cluster.judge.decided:
            self.seen["a decision"] += 1
        if self.cluster.judge.has_ballots:
            self.seen[BALLOT] += 1
        return SimulatedRun(fault_schedule, self._violations(), steps, self.cluster, self.now, self.seen)

    def _survivors(self) -> tuple[NodeId, ...]:
        """Return the nodes that are up in the recovery phase. Without a majority of them there is no recovery phase."""
        survivors = self.fault_schedule.survivors
        return survivors if len(survivors) >= majority(len(self.fault_schedule.members)) else ()

    def _unanswered(self) -> list[str]:
        """Return the nodes that have not answered calls of the recovery phase."""
        return list(self._awaited.values())

    def _waits_for_answers(self) -> bool:
        """Return whether `_unanswered` has something to return."""
        return bool(self._unanswered())

    def _violations(self) -> list[Violation]:
        return [violation for violation in self.cluster.violations if violation.kind in self._look_for]

    # --- time -------------------------------------------------------------------------------------------------------

    def _at(self, at_s: float, event: object) -> None:
        """Schedule an event. Events of the same time happen in the order in which they were scheduled."""
        self._count += 1
        heapq.heappush(self._heap, (at_s, self._count, event))

    def _schedule(self, event: ScheduledEvent) -> None:
        """Schedule a fault or a call of the fault phase."""
        self._at(event.at_s, event)
        self._goes_on_until(event.at_s)

    def _goes_on_until(self, at_s: float) -> None:
        """Have the fault phase go on for a while after `at_s`, when something of it begins or ends."""
        if not self._recovering:
            self._end_s = max(self._end_s, min(at_s + self.QUIET_S, self.fault_schedule.fault_phase_s))

    def _run_fault_phase(self) -> None:
        self._run_phase()

    def _run_phase(self) -> None:
        """Let every event happen until the phase ends. Stop at a violation, or when every call of recovery is answered."""
        heap, happened, found = self._heap, self.cluster.happened, self.cluster.violations
        take_earliest, handler_of, scheduled = heapq.heappop, self._handlers.get, self._scheduled
        while heap and heap[0][0] < self._end_s and len(happened) < STEPS_MAX:
            self.now, _, event = take_earliest(heap)
            handler_of(type(event), scheduled)(event)  # as `_happen` does, without a call
            if found and self._violations():
                return
            if self._recovering and not self._waits_for_answers() and not self._ask_more():
                return
        self.now = self._end_s

    def _ask_more(self) -> bool:
        """Ask for more in the recovery phase, once all that was asked is done. Returns False if there is nothing more."""
        return False

    def _happen(self, event: object) -> None:
        """Let an event happen."""
        self._handlers.get(type(event), self._scheduled)(event)

    def _packet_arrives(self, event: Deliver) -> None:
        packet = event.packet
        pause_s = self._pauses.get(packet.to)
        if pause_s is not None and pause_s > self.now:
            self._at(pause_s, event)
        else:
            self._arrive(event, packet)

    def _timer_expires(self, event: Fire) -> None:
        node = event.node
        pause_s = self._pauses.get(node)
        if pause_s is not None and pause_s > self.now:
            self._postpone(event, pause_s)
        elif self._timers.get((node, event.timer)) == self.now and self.cluster.nodes[node].is_set(event.timer):
            self._take_in(node, event)

    def _own_messages_wait(self, event: TakeOwnMessages) -> None:
        node = event.node
        pause_s = self._pauses.get(node)
        if pause_s is not None and pause_s > self.now:
            self._at(pause_s, event)
        elif self.cluster.nodes[node].owes_turn and node not in self._inputs:
            self._take_in(node, event)

    def _client_gives_up(self, event: GiveUp) -> None:
        """A client stops waiting, except in the recovery phase: there it is owed an answer."""
        if event.request in self.cluster.nodes[event.node].waiting and not self._recovering:
            self._take_in(event.node, event)

    def _answer_is_owed(self, event: _OwedAnswer) -> None:
        if event.request in self.cluster.nodes[event.node].waiting:
            self._find_overdue(event.request.client, event.node)

    def _scheduled(self, event: object) -> None:
        """Let a fault or a call of the schedule happen."""
        if not self._recovering and (resolved := self._with_nodes(event)) is not None:
            self._happen_in_fault_phase(resolved)

    def _happen_in_fault_phase(self, event: object) -> None:
        """Begin a fault, end one, or make a scheduled call. The recovery phase ignores these events."""
        match event:
            case ScheduledCall():
                self._call(event)
            case ScheduledPlot():
                self._look_for_role(event, self.now + event.within_s)
            case Recover(node):
                if not self.cluster.nodes[node].up and self.cluster.can_boot(node):
                    self._apply(node, event)
                    self._learn_address(node)
            case ScheduledOutage(node=node):
                if self.cluster.nodes[node].up:
                    self._go_down(event)
            case ScheduledCut():
                self._cuts[event] = self._within_fault_phase(self.now + event.for_s)
                self.seen["a cut"] += 1
            case ScheduledPause(node=node):
                self._pauses[node] = max(self._pauses.get(node, 0.0), self._within_fault_phase(self.now + event.for_s))
                self.seen["a pause"] += 1

    def _within_fault_phase(self, end_s: float) -> float:
        """Return the end of a cut or a pause, which lasts until the end of the fault phase at the longest.

        What the cut or the pause holds is released at its end, and the recovery phase must not wait for that.
        """
        self._goes_on_until(end_s)
        return min(end_s, self.fault_schedule.fault_phase_s)

    def _postpone(self, event: object, to_s: float) -> None:
        if isinstance(event, Fire) and self._timers.get((event.node, event.timer)) == self.now:
            self._timers[event.node, event.timer] = to_s
        self._at(to_s, event)

    # --- roles ------------------------------------------------------------------------------------------------------

    def _node_with(self, role: NodeRole) -> NodeId | None:
        """Return a node that has a role now, or None."""
        return holder_of(role, self.cluster.nodes, self._rng)

    def _look_again(self, look: _Look) -> None:
        if not self._recovering:
            self._look_for_role(look.plot, look.until_s)

    def _look_for_role(self, plot: ScheduledPlot, until_s: float) -> None:
        """Let the events of a plot happen to the node that has its role; if there is none, look again soon."""
        node = self._node_with(plot.role)
        if node is not None:
            self._bound[BOUND[plot.role]] = node
            self.seen[f"a fault at the {plot.role}"] += 1
            for event in plot.then:
                self._schedule(replace(event, at_s=self.now + event.at_s))
        elif self.now < until_s:
            self._at(self.now + _LOOK_S, _Look(plot, until_s))
            self._goes_on_until(self.now + _LOOK_S)

    def _with_nodes(self, event: object) -> Any:
        """Return an event with nodes in the place of the names that stand for them; None if a name stands for nothing."""
        if isinstance(event, ScheduledCut):
            left, right = self._ends(event.left, event.right), self._ends(event.right, event.left)
            return replace(event, left=left, right=right) if left and right else None
        name = getattr(event, "node", None)
        if not isinstance(name, str) or name in self._clocks:
            return event
        node = self._named(name)
        return None if node is None else replace(event, node=node)  # type: ignore[type-var]

    def _named(self, name: str) -> str | None:
        """Return the endpoint that a name stands for, if any."""
        return name if name in self._clocks else self._bound.get(name)

    def _ends(self, names: tuple[str, ...], opposite: tuple[str, ...]) -> tuple[str, ...]:
        """Return the endpoints on one side of a cut, without those that the other side names."""
        nodes = self.cluster.nodes
        named = {self._named(name) for name in opposite}
        ends: dict[str, None] = {}
        for name in names:
            if name == OTHERS:
                ends.update(dict.fromkeys(node for node in nodes if node not in named))
            elif name == CLIENTS:
                ends.update(dict.fromkeys(end for end in self._clocks if end not in nodes and end not in named))
            elif (end := self._named(name)) is not None and end not in named:
                ends[end] = None
        return tuple(ends)

    def _learn_address(self, node: NodeId) -> None:
        """Have each other endpoint learn the address of a node that has moved, some time after its boot."""
        moves_s = self._moves.pop(node, 0.0)
        if moves_s:
            self.seen["a new address"] += 1
            for end in self._clocks:
                if end != node:
                    cut = ScheduledCut(self.now, 0.0, (end,), (node,), one_way=True, holds=False)
                    self._cuts[cut] = self._within_fault_phase(self.now + self._rng.uniform(0.0, moves_s))

    # --- turns ------------------------------------------------------------------------------------------------------

    def _take_in(self, node: NodeId, step: Step) -> None:
        """Have a node take in a step: in a turn of its own now, or in a turn with all that comes until that turn begins."""
        turns, waiting = self.fault_schedule.turns, self._inputs.get(node)
        if waiting is not None:
            waiting.append(step)
        elif turns.waits and not self._recovering and self._rng.random() < turns.waits:
            self._inputs[node] = [step]
            self._at(self.now + self._rng.uniform(0.0, turns.waits_s), _TurnBegins(node))
        else:
            self._apply(node, step)

    def _begin_turn(self, event: "_TurnBegins") -> None:
        """Have a node take in what waits for its next turn, unless the node is suspended or has crashed."""
        node = event.node
        if self._pauses.get(node, 0.0) > self.now:
            self._at(self._pauses[node], event)
            return
        waiting, is_up = self._inputs.pop(node, ()), self.cluster.nodes[node].up
        inputs: list[Any] = [
            step for step in waiting if (is_up if type(step) is Deliver else self._can_take_in(node, step))
        ]
        if len(inputs) > 1 and self._rng.random() < self.fault_schedule.turns.shuffled:
            self._rng.shuffle(inputs)
        if len(inputs) == 1:
            self._apply(node, inputs[0])
        elif inputs:
            self.seen["a turn of several inputs"] += 1
            self._apply(node, Turn(node, tuple(inputs)))

    def _can_take_in(self, node: NodeId, step: Any) -> bool:
        """Return whether a step that has waited for a turn can still happen."""
        replica = self.cluster.nodes[node]
        match step:
            case Fire(_, timer):
                return replica.is_set(timer) and self._timers[node, timer] <= self.now
            case GiveUp(_, request):
                return request in replica.waiting
            case TakeOwnMessages():
                return replica.owes_turn
        return replica.up

    def _lose_inputs(self, node: NodeId) -> None:
        """Lose what waits for the next turn of a node that has crashed."""
        for step in self._inputs.pop(node, ()):
            if isinstance(step, Deliver):
                self.cluster.apply(DropPacket(step.packet))

    # --- packets ----------------------------------------------------------------------------------------------------

    def _apply(self, node: NodeId, step: Step) -> TurnOutput:
        """Apply a step to the cluster, and schedule the packets, timers and turns that result."""
        outcome = self.cluster.apply(step)
        for packet in outcome.packets:
            self._send(packet)
        if self._awaited:
            for reply in outcome.replies:
                if reply.refused is None:
                    self._awaited.pop(reply.request, None)
        replica = self.cluster.nodes[node]
        if outcome.crashed:
            self._went_down(self._outages_in_turn.pop(node))
        self._follow_up(replica)
        return outcome

    def _follow_up(self, replica: VirtualNode) -> None:
        """Schedule the turn in which a node takes in its own messages, and the timers that it has set."""
        node = replica.id
        if replica.owes_turn:
            self._at(self.now + self._rng.uniform(*_COMMIT_S), TakeOwnMessages(node))
        if not replica.timers.set_lately:
            return
        for timer in replica.take_set_timers():
            due = self.now + self._rng.uniform(*replica.timer_range(timer)) * self._clocks[node]
            self._timers[node, timer] = due
            self._at(due, Fire(node, timer))

    def _send(self, packet: Packet) -> None:
        """Send a packet: lose it, or schedule its arrival once or twice."""
        rng, links = self._rng, self.fault_schedule.links
        if self._recovering:
            self._at(self.now + rng.uniform(*self.RECOVERY_PACKET_S), Deliver(packet))
            return
        if rng.random() < self._loss.get(type(packet.message), links.loss):
            self.cluster.apply(DropPacket(packet))
            self.seen["a loss"] += 1
            return
        self._at(self.now + self._travel_s(packet.sender, packet.to), Deliver(packet))
        if rng.random() < links.repeat:
            self.cluster.apply(DuplicatePacket(packet))
            self.seen["a repetition"] += 1
            self._at(self.now + self._travel_s(packet.sender, packet.to), Deliver(packet))

    def _travel_s(self, sender: str, to: str) -> float:
        links, random = self.fault_schedule.links, self._rng.random
        longest_s = links.slow_s if random() < links.slow else self._usual_s[sender, to]
        return 0.0001 + (longest_s - 0.0001) * random() + self._syncs_s  # `Random.uniform`, without a call

    def _arrive(self, step: Deliver, packet: Packet) -> None:
        # Asked also without a cut in `_cuts`: a script has cuts of its own (`LogWorld`).
        cut = self._cut_between(packet.sender, packet.to) if not self._recovering else None
        if cut is not None and cut.holds:
            self._at(self._cuts[cut], step)
        elif cut is not None or not self.cluster.nodes[packet.to].up:
            self.cluster.apply(DropPacket(packet))
        else:
            self._take_in(packet.to, step)

    def _cut_between(self, sender: str, to: str) -> ScheduledCut | None:
        for cut, end_s in self._cuts.items():
            there = sender in cut.left and to in cut.right
            back = sender in cut.right and to in cut.left and not cut.one_way
            if (there or back) and self.now < end_s:
                return cut
        return None

    # --- faults and calls -------------------------------------------------------------------------------------------

    def _go_down(self, outage: ScheduledOutage) -> None:
        if outage.in_turn:
            self.cluster.apply(CrashInTurn(outage.node, moment=outage.moment))
            self._outages_in_turn[outage.node] = outage
            return
        self.cluster.apply(Crash(outage.node))
        if outage.loses_disk:
            self.cluster.apply(LoseDisk(outage.node))
            self.seen["a lost disk"] += 1
        self._went_down(outage)

    def _went_down(self, outage: ScheduledOutage) -> None:
        self.seen["a crash"] += 1
        if outage.in_turn:
            self.seen[f"a crash in a turn, {outage.moment}"] += 1
        self._lose_inputs(outage.node)
        self._moves[outage.node] = outage.moves_s
        if outage.last_commit is not None and self._survives(outage.last_commit):
            self.cluster.apply(DoubtDisk(outage.node, outage.last_commit))
            self.seen[f"a {outage.last_commit} commit"] += 1
        self._at(self.now + outage.for_s, Recover(outage.node))
        self._goes_on_until(self.now + outage.for_s)

    def _survives(self, last_commit: LastCommit) -> bool:
        """Return whether the algorithm promises anything after such damage. A log that does not may lose a commit with it."""
        return True

    def _call(self, call: ScheduledCall) -> Request | None:
        """Make a client's call. Return its request; None if the node is down."""
        if not self.cluster.nodes[call.node].up:
            return None
        self._calls += 1
        request = Request(f"c{self._calls}", 1)
        self._at(self.now + call.for_s, GiveUp(call.node, request))
        if call.owed_s:
            self._at(self.now + call.owed_s, _OwedAnswer(call.node, request))
        if self._recovering:
            self._awaited[request] = call.node
        if call.colour is None:
            self._take_in(call.node, Query(call.node, request))
        else:
            self._take_in(call.node, Propose(call.node, request, encode_value(call.colour)))
        return request

    def _find_overdue(self, what: str, node: NodeId) -> None:
        """Record that a call has no answer by the time by which it is owed one."""
        up = [name for name, other in self.cluster.nodes.items() if other.up]
        self.cluster.judge.record_overdue(what, node, up)

    def _begin_recovery(self, survivors: tuple[NodeId, ...]) -> None:
        """Heal all links, have exactly the survivors up, and make the calls that must be answered."""
        self._recovering = True
        self._pauses.clear()
        for name in list(self._inputs):
            if self.cluster.nodes[name].up:
                self._begin_turn(_TurnBegins(name))
        for name in self._outages_in_turn:
            if self.cluster.nodes[name].up:
                self.cluster.apply(CrashInTurn(name, lifted=True))
        for name, node in self.cluster.nodes.items():
            if node.up and name not in survivors:
                self.cluster.apply(Crash(name))
                self._lose_inputs(name)
            elif not node.up and name in survivors:
                self._apply(name, Recover(name))
        # Who has waited since the fault phase, at a node that is up, is owed an answer like any other.
        for name in survivors:
            self._awaited |= dict.fromkeys(self.cluster.nodes[name].waiting, name)
        self._call_in_recovery(survivors)

    def _call_in_recovery(self, survivors: tuple[NodeId, ...]) -> None:
        colours = self.fault_schedule.recovery_colours
        for number, name in enumerate(survivors):
            self._call(ScheduledCall(self.now, 2 * RECOVERY_S, name, colours[number % len(colours)]))
            self._call(ScheduledCall(self.now, 2 * RECOVERY_S, name, None))
