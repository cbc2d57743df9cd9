"""A virtual cluster that clicks steer: one way of going on after the other, with a virtual clock and what the network does.

Rules
-----
1. The same moves give the same run, with the same numbers of messages. So a run is made again from its moves.
2. Nothing moves by itself. Time passes only in `passing`: there a message takes `LINK_S`, and a timer expires within its range.
3. What is on its way over a link that is cut is lost. A node that is suspended does nothing, and its messages wait.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from harness.page.twin_picture import TwinPicture
from harness.records.links import Link
from harness.virtual.cluster import ImpossibleStep, VirtualCluster
from harness.virtual.fault_model import FaultModel
from harness.virtual.narration import describe_message, narrate
from harness.virtual.output import TurnOutput
from harness.virtual.steps import (
    Crash,
    Deliver,
    DropPacket,
    DuplicatePacket,
    Fire,
    GiveUp,
    LoseDisk,
    Packet,
    Recover,
    Step,
    TakeOwnMessages,
    inputs_of,
)
from node.contract import Algorithm, BadInput, NodeId

#: How long a message travels while time passes, in seconds.
LINK_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class Conditions:
    """What holds from one step to the next, besides the state of the cluster."""

    cut: frozenset[Link] = frozenset()
    suspended: frozenset[NodeId] = frozenset()


@dataclass(frozen=True, slots=True)
class TwinMove:
    """What one click has done: steps of a schedule, or a change of the conditions, or both."""

    steps: tuple[Step, ...]
    text: str
    """The same in English."""
    now_s: float
    """The virtual time after it, in seconds."""
    conditions: Conditions


@dataclass(slots=True)
class OnItsWay:
    """One copy of a packet that is on its way."""

    number: int
    packet: Packet
    sent_s: float


@dataclass(frozen=True, slots=True)
class PossibleStep:
    """A step that can happen next. `name` is its name on the page."""

    name: str
    kind: str
    step: Step
    text: str


class TwinRun:
    """A cluster that has taken some moves. `picture` has the events that they made."""

    def __init__(self, algorithm: type[Algorithm], members: tuple[NodeId, ...], fault_model: FaultModel) -> None:
        self.cluster = VirtualCluster(algorithm, members, fault_model)
        self.conditions = Conditions()
        self.now_s = 0.0
        self.on_their_way: dict[int, OnItsWay] = {}
        self._copies: dict[Packet, deque[int]] = {}
        self._messages = 0
        self._due: dict[tuple[NodeId, str], float] = {}
        self._timers_set: dict[tuple[NodeId, str], int] = {}
        self.picture = TwinPicture(self.cluster)
        for packet, copies in self.cluster.pending.items():
            for _ in range(copies):
                self._sent(packet)
        self._set_timers()
        self.picture.nodes(self.conditions.suspended)

    # --- moves ------------------------------------------------------------------------------------------------------

    def repeat(self, move: TwinMove) -> None:
        """Make a move again."""
        self.picture.next_step()
        for step in move.steps:
            self._apply(step)
        self._end(move.conditions)
        self.now_s = move.now_s

    def take(self, steps: Iterable[Step], *, alone: bool = False) -> TwinMove:
        """Take one step, and what follows at once: nodes take in their own messages, and what meets a wall is lost.

        Args:
            steps: the step; with `alone`, all steps of the move.
            alone: nothing follows at once.

        Raises:
            ImpossibleStep: the step cannot happen. Nothing has changed.
        """
        return self._move(steps, self.conditions, alone=alone)

    def change(self, text: str, conditions: Conditions) -> TwinMove:
        """Change the conditions. What is on its way over a link that is cut now is lost."""
        lost = [
            DropPacket(one.packet)
            for one in self.on_their_way.values()
            if (one.packet.sender, one.packet.to) in conditions.cut
        ]
        return self._move(lost, conditions, text)

    def passing(self, seconds: float, steps_max: int) -> Iterator[TwinMove]:
        """Let virtual time pass, and yield each move. The caller asks for the next when it has noted the last one.

        Raises:
            BadInput: more than `steps_max` steps happen in that time.
        """
        end = self.now_s + seconds
        for _ in range(steps_max):
            due = self._next_due(end)
            if due is None:
                before, self.now_s = self.now_s, end
                yield self.change(f"{end - before:.3g} s pass, and nothing happens", self.conditions)
                return
            self.now_s, step = due
            yield self.take([step])
        raise BadInput(f"more than {steps_max} steps happen in {seconds:g} s: let less time pass at once")

    def _move(self, steps: Iterable[Step], conditions: Conditions, text: str = "", *, alone: bool = False) -> TwinMove:
        steps = list(steps)
        if steps and not self.cluster.can_happen(steps[0]):
            raise ImpossibleStep(f"{steps[0]} cannot happen now")
        self.picture.next_step()
        done = [(step, self._apply(step)) for step in steps]
        if not alone:
            done += [(step, self._apply(step)) for step in self.cluster.own_turns()]
            for one in list(self.on_their_way.values()):
                if (one.packet.sender, one.packet.to) in conditions.cut:
                    step = DropPacket(one.packet)
                    done.append((step, self._apply(step)))
        awake = {node for node in conditions.suspended if not self.cluster.nodes[node].up}
        conditions = Conditions(conditions.cut, conditions.suspended - awake)  # a node that boots is another process
        self._end(conditions)
        text = text or "; ".join(narrate(entry for entry in done if not isinstance(entry[0], DropPacket)))
        return TwinMove(tuple(step for step, _ in done), text or "; ".join(narrate(done)), self.now_s, conditions)

    def _apply(self, step: Step) -> TurnOutput:
        outcome = self.cluster.apply(step)
        for each in inputs_of(step):
            match each:
                case Deliver(packet):
                    self.picture.fate(self._taken(packet), "released")
                case DropPacket(packet):
                    self.picture.fate(self._taken(packet), "discarded")
                case DuplicatePacket(packet):
                    self._sent(packet)
                case _:
                    pass
        for packet in outcome.packets:
            self._sent(packet)
        self.picture.step(step, outcome)
        self._set_timers()
        return outcome

    def _end(self, conditions: Conditions) -> None:
        self.conditions = conditions
        self.picture.conditions(conditions.cut, conditions.suspended)
        self.picture.nodes(conditions.suspended)
        self.picture.broken()

    def _sent(self, packet: Packet) -> None:
        self._messages += 1
        self.on_their_way[self._messages] = OnItsWay(self._messages, packet, self.now_s)
        self._copies.setdefault(packet, deque()).append(self._messages)
        self.picture.message(self._messages, packet)

    def _taken(self, packet: Packet) -> int:
        number = self._copies[packet].popleft()
        del self.on_their_way[number]
        return number

    # --- time -------------------------------------------------------------------------------------------------------

    def _set_timers(self) -> None:
        for name, node in self.cluster.nodes.items():
            for timer in node.take_set_timers():
                key = (name, timer)
                self._timers_set[key] = self._timers_set.get(key, 0) + 1
                rng = Random(f"{name} {timer} {self._timers_set[key]}")
                self._due[key] = self.now_s + rng.uniform(*node.timer_range(timer))

    def _next_due(self, end: float) -> tuple[float, Step] | None:
        """Return the next step that time brings, with its time; None if there is none before `end`."""
        found: list[tuple[float, int, Step]] = [
            (one.sent_s + LINK_S, one.number, Deliver(one.packet))
            for one in self.on_their_way.values()
            if self.does(one.packet.to)
        ]
        for (name, timer), due_s in self._due.items():
            if self.does(name) and self.cluster.nodes[name].is_set(timer):
                found.append((due_s, 0, Fire(name, timer)))
        if not found:
            return None
        due_s, _, step = min(found, key=lambda each: each[:2])
        return (max(due_s, self.now_s), step) if due_s <= end else None

    # --- what can happen --------------------------------------------------------------------------------------------

    def does(self, node: NodeId) -> bool:
        """Return whether a node takes steps: it is up, and not suspended."""
        return self.cluster.nodes[node].up and node not in self.conditions.suspended

    def possible(self) -> list[PossibleStep]:
        """Return every step that can happen now, except for new calls of clients and for what a wall or a suspension prevents."""
        found = []
        for one in self.on_their_way.values():
            what = f"{describe_message(one.packet.message)} from {one.packet.sender} to {one.packet.to}"
            if self.does(one.packet.to):
                found.append(PossibleStep(f"m{one.number}", "deliver", Deliver(one.packet), f"{what} arrives"))
            found.append(PossibleStep(f"d{one.number}", "drop", DropPacket(one.packet), f"{what} is lost"))
        for number, packet in enumerate(self.cluster.sent):
            what = f"{describe_message(packet.message)} from {packet.sender} to {packet.to}"
            if (packet.sender, packet.to) not in self.conditions.cut:
                found.append(PossibleStep(f"r{number}", "repeat", DuplicatePacket(packet), f"{what}, once more"))
        for step in self.cluster.possible():
            match step:
                case Fire(node, timer) if self.does(node):
                    found.append(PossibleStep(f"t {node} {timer}", "timer", step, f"{node}'s timer {timer!r} expires"))
                case TakeOwnMessages(node) if self.does(node):
                    found.append(PossibleStep(f"o {node}", "own", step, f"{node} takes in what it has sent to itself"))
                case GiveUp(node, request) if self.does(node):
                    text = f"{request.client} stops waiting for {node}"
                    found.append(PossibleStep(f"g {node} {request.client}", "give up", step, text))
                case Crash(node):
                    found.append(PossibleStep(f"c {node}", "crash", step, f"{node} crashes"))
                case Recover(node):
                    found.append(PossibleStep(f"b {node}", "boot", step, f"{node} boots from its disk"))
                case LoseDisk(node):
                    found.append(PossibleStep(f"l {node}", "lose disk", step, f"{node}'s disk is lost"))
                case _:
                    pass
        return found
