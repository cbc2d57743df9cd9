"""`consensus simulate`: the same classes in virtual time, under seeded faults, thousands of runs a minute.

    report = run_simulate("paxos", range(1000))
    print("\\n".join(report.lines()))

Rules
-----
1. A run is determined by its weather and its algorithm: a seed that fails, fails again, step by step.
2. The judge looks after every step. In the calm at the end (see `harness.virtual.fault_schedule`), every call must be answered.
3. "No violation" is said of the seeds that were run, with how many of them saw a crash, a cut, a decision.

A crash in mid-turn needs no step of its own: what the turn had written was not committed and what it would have sent never
left, so it is a crash before the turn's input, which is lost. A disk that loses what it has confirmed is `FaultModel`.
"""

import heapq
from collections import Counter
from dataclasses import dataclass, field
from itertools import product
from random import Random
from typing import Final

from harness.virtual.cluster import VirtualCluster
from harness.virtual.fault_model import SOUND, FaultModel
from harness.virtual.fault_schedule import (
    CALM_S,
    FaultSchedule,
    ScheduledCall,
    ScheduledCut,
    ScheduledOutage,
    ScheduledPause,
)
from harness.virtual.judge import EVERYTHING, Violation
from harness.virtual.node import VirtualNode
from harness.virtual.output import TurnOutput
from harness.virtual.steps import (
    Crash,
    CrashInTurn,
    Deliver,
    DropPacket,
    DuplicatePacket,
    Fire,
    GiveUp,
    HearSelf,
    LoseDisk,
    Packet,
    Propose,
    Query,
    Recover,
    Step,
)
from node.contract import Algorithm, NodeId, Request
from node.quorum import majority
from node.wire import encode_value

STEPS_MAX: Final = 100_000
_COMMIT_S: Final = (0.0002, 0.002)
CALM_PACKET_S: Final = (0.0001, 0.01)


@dataclass(slots=True)
class SimulatedRun:
    """What came of one run."""

    weather: FaultSchedule
    violations: list[Violation]
    steps: list[Step]
    cluster: VirtualCluster
    virtual_s: float
    seen: Counter[str] = field(default_factory=Counter)


class Simulation:
    """One run: a heap of what happens when, and a cluster to which it happens."""

    def __init__(
        self,
        algorithm: type[Algorithm],
        weather: FaultSchedule,
        oddities: FaultModel = SOUND,
        look_for: tuple[str, ...] = EVERYTHING,
    ) -> None:
        self.weather = weather
        self._look_for = look_for
        self.cluster = VirtualCluster(algorithm, weather.members, oddities, weather.newcomers, weather.log_limits)
        self.now = 0.0
        self.seen: Counter[str] = Counter()
        self._rng = Random(f"run/{weather.seed}")
        self._clocks = dict(zip(weather.ends, weather.clocks, strict=True))
        self._heap: list[tuple[float, int, object]] = []
        self._count = 0
        pairs = product(weather.ends, repeat=2)
        self._usual_s = dict(zip(pairs, weather.links.usual_s, strict=True))
        kinds = algorithm.messages
        self._loss = {kinds[int(place * len(kinds))]: loss for place, loss in weather.links.picky}
        self._timers: dict[tuple[NodeId, str], float] = {}
        self._cuts: dict[ScheduledCut, float] = {}
        self._pauses: dict[NodeId, float] = {}
        self._doomed: dict[NodeId, ScheduledOutage] = {}
        self._calls = 0
        self._calm = False
        self._awaited: dict[Request, NodeId] = {}
        for node in self.cluster.nodes.values():
            self._follow_up(node)

    def run(self) -> SimulatedRun:
        """Through the storm and the calm."""
        weather = self.weather
        for what in (*weather.faults, *weather.calls):
            self._at(what.at_s, what)
        self._until(weather.storm_s)
        survivors = self._survivors()
        if survivors and not self._violations():
            self._calm_down(survivors)
            self._until(weather.storm_s + CALM_S)
            if not self._violations() and (unanswered := self._unanswered()):
                self.cluster.judge.see_unanswered(unanswered, list(survivors))
        steps = [happened.step for happened in self.cluster.happened]
        if self.cluster.judge.decided:
            self.seen["a decision"] += 1
        return SimulatedRun(weather, self._violations(), steps, self.cluster, self.now, self.seen)

    def _survivors(self) -> tuple[NodeId, ...]:
        """Who is up in the calm: a majority, or else nobody and there is none."""
        survivors = self.weather.survivors
        return survivors if len(survivors) >= majority(len(self.weather.members)) else ()

    def _unanswered(self) -> list[str]:
        """Whose calls of the calm have not been answered."""
        return list(self._awaited.values())

    def _violations(self) -> list[Violation]:
        return [violation for violation in self.cluster.violations if violation.kind in self._look_for]

    # --- time -------------------------------------------------------------------------------------------------------

    def _at(self, at_s: float, what: object) -> None:
        self._count += 1
        heapq.heappush(self._heap, (at_s, self._count, what))

    def _until(self, end_s: float) -> None:
        """Let everything happen that is due before `end_s`; stop at a violation, and in the calm when all is answered."""
        cluster, heap = self.cluster, self._heap
        while heap and heap[0][0] < end_s and len(cluster.happened) < STEPS_MAX:
            self.now, _, what = heapq.heappop(heap)
            self._happen(what)
            if cluster.violations and self._violations():
                return
            if self._calm and not self._unanswered():
                return
        self.now = end_s

    def _happen(self, what: object) -> None:
        match what:
            case Deliver(Packet(to=node)) | Fire(node) | HearSelf(node) if self._pauses.get(node, 0.0) > self.now:
                self._postpone(what, self._pauses[node])
            case Deliver(packet):
                self._arrive(what, packet)
            case Fire(node, timer):
                if self._timers.get((node, timer)) == self.now and self.cluster.nodes[node].is_set(timer):
                    self._apply(node, what)
            case HearSelf(node):
                if self.cluster.nodes[node].owes_turn:
                    self._apply(node, what)
            case GiveUp(node, request):
                if request in self.cluster.nodes[node].waiting:
                    self._apply(node, what)
            case _ if not self._calm:
                self._befall(what)

    def _befall(self, what: object) -> None:
        """A fault, the end of one, or a call: of the storm alone."""
        match what:
            case ScheduledCall():
                self._call(what)
            case Recover(node):
                if not self.cluster.nodes[node].up and self.cluster.can_boot(node):
                    self._apply(node, what)
            case ScheduledOutage(node=node):
                if self.cluster.nodes[node].up:
                    self._go_down(what)
            case ScheduledCut():
                self._cuts[what] = self._in_the_storm(self.now + what.for_s)
                self.seen["a cut"] += 1
            case ScheduledPause(node=node):
                self._pauses[node] = max(self._pauses.get(node, 0.0), self._in_the_storm(self.now + what.for_s))
                self.seen["a pause"] += 1

    def _in_the_storm(self, end_s: float) -> float:
        """What a cut or a pause has held back waits for its end, and the calm must not wait for that."""
        return min(end_s, self.weather.storm_s)

    def _postpone(self, what: object, to_s: float) -> None:
        if isinstance(what, Fire) and self._timers.get((what.node, what.timer)) == self.now:
            self._timers[what.node, what.timer] = to_s
        self._at(to_s, what)

    # --- packets ----------------------------------------------------------------------------------------------------

    def _apply(self, node: NodeId, step: Step) -> TurnOutput:
        """Let a step happen, and see to it that what it leads to comes in its time."""
        outcome = self.cluster.apply(step)
        for packet in outcome.packets:
            self._leave(packet)
        for reply in outcome.replies:
            if reply.refused is None:
                self._awaited.pop(reply.request, None)
        replica = self.cluster.nodes[node]
        if outcome.crashed:
            self._went_down(self._doomed.pop(node))
        self._follow_up(replica)
        return outcome

    def _follow_up(self, replica: VirtualNode) -> None:
        """See to what a node has sent to itself, and to its timers."""
        node = replica.id
        if replica.owes_turn:
            self._at(self.now + self._rng.uniform(*_COMMIT_S), HearSelf(node))
        for timer in replica.take_set_timers():
            due = self.now + self._rng.uniform(*replica.timer_range(timer)) * self._clocks[node]
            self._timers[node, timer] = due
            self._at(due, Fire(node, timer))

    def _leave(self, packet: Packet) -> None:
        """A packet is sent: it is lost, or arrives later, once or twice."""
        rng, links = self._rng, self.weather.links
        if self._calm:
            self._at(self.now + rng.uniform(*CALM_PACKET_S), Deliver(packet))
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
        links = self.weather.links
        if self._rng.random() < links.slow:
            return self._rng.uniform(0.0001, links.slow_s)
        return self._rng.uniform(0.0001, self._usual_s[sender, to])

    def _arrive(self, step: Deliver, packet: Packet) -> None:
        cut = None if self._calm else self._cut_between(packet.sender, packet.to)
        if cut is not None and cut.holds:
            self._at(self._cuts[cut], step)
        elif cut is not None or not self.cluster.nodes[packet.to].up:
            self.cluster.apply(DropPacket(packet))
        else:
            self._apply(packet.to, step)

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
            self.cluster.apply(CrashInTurn(outage.node))
            self._doomed[outage.node] = outage
            return
        self.cluster.apply(Crash(outage.node))
        if outage.loses_disk:
            self.cluster.apply(LoseDisk(outage.node))
            self.seen["a lost disk"] += 1
        self._went_down(outage)

    def _went_down(self, outage: ScheduledOutage) -> None:
        self.seen["a crash"] += 1
        self._at(self.now + outage.for_s, Recover(outage.node))

    def _call(self, call: ScheduledCall) -> Request | None:
        """A client calls, if the node is there to be called."""
        if not self.cluster.nodes[call.node].up:
            return None
        self._calls += 1
        request = Request(f"c{self._calls}", 1)
        self._at(self.now + call.for_s, GiveUp(call.node, request))
        if self._calm:
            self._awaited[request] = call.node
        if call.colour is None:
            self._apply(call.node, Query(call.node, request))
        else:
            self._apply(call.node, Propose(call.node, request, encode_value(call.colour)))
        return request

    def _calm_down(self, survivors: tuple[NodeId, ...]) -> None:
        """Heal all links, let the survivors be up and nobody else, and call whoever must answer."""
        self._calm = True
        self._pauses.clear()
        for name in self._doomed:
            if self.cluster.nodes[name].up:
                self.cluster.apply(CrashInTurn(name, lifted=True))
        for name, node in self.cluster.nodes.items():
            if node.up and name not in survivors:
                self.cluster.apply(Crash(name))
            elif not node.up and name in survivors:
                self._apply(name, Recover(name))
        self._call_in_the_calm(survivors)

    def _call_in_the_calm(self, survivors: tuple[NodeId, ...]) -> None:
        colours = self.weather.late_colours
        for number, name in enumerate(survivors):
            self._call(ScheduledCall(self.now, 2 * CALM_S, name, colours[number % len(colours)]))
            self._call(ScheduledCall(self.now, 2 * CALM_S, name, None))
