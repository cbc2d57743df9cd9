"""Every interleaving of the shipped classes, up to a bound.

Theory of operation
-------------------
A node's step depends on its own state and its input alone. So each distinct node state is kept once, under a small number;
each distinct fact (a packet was sent, a client was answered, a ballot was begun, ...) is one bit; and the state of the whole
cluster is **one integer**: the numbers of the nodes' states, and above them the bits of the facts. What a node can do is
worked out once for each node state and each set of facts that concern it, by running the algorithm's real code in a scratch
node; from then on a step of the cluster is a dictionary lookup, an exclusive-or and an or.

Facts are never taken back. So a packet, once sent, may arrive at any later time, any number of times, or never: loss,
repetition and reordering need no steps of their own. The price is nothing: whatever could happen with a network that
keeps a bag of packets can happen here.

What makes it finite
--------------------
1. Each client proposes or queries once, at a fixed node: the first at n1, the second at n2, and so on.
2. At most `ballots` distinct ballots are begun, over all nodes together. (It bounds only algorithms that send `Ballot`s.)
3. At most `crashes` crashes happen.
4. A timer that is set may run out at any time, and how long it was set for counts for nothing.

What a step is
--------------
A turn with one input, and with it the turns in which the node takes in what it thereby sends to itself; a crash may
fall between any two of them. Nothing is lost by not looking in between: a node takes in what it has sent to itself before
anything that others could answer, so what they do in the meantime commutes with it. One thing is different in a real node:
two inputs that arrive together share a turn, and the second is taken in before what the first made the node send to
itself. `own_messages_wait=True` covers that and more: then what a node sends to itself travels like any other message.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from harness.virtual.bounds import Bounds
from harness.virtual.judge import FAULT_TOLERANCE, Violation, asks_for, ballots_in, changed
from harness.virtual.narration import listed
from harness.virtual.node import VirtualNode
from harness.virtual.node_state import NodeState, freeze_node, thaw_node
from harness.virtual.numbering import (
    BallotBegun,
    CallMade,
    CrashHappened,
    DecisionSeen,
    Numbering,
    UndecidedAnswered,
    ValueRequested,
)
from harness.virtual.output import TurnOutput
from harness.virtual.steps import Crash, Deliver, Fire, HearSelf, LoseDisk, Recover, Step
from harness.virtual.symmetry import Symmetry
from node.contract import Algorithm
from node.quorum import majority

_SELF_TURNS_MAX: Final = 1000


class _Move(NamedTuple):
    """What a node can do: `flip` turns its number into the next, `add` are new facts, `steps` tell it."""

    flip: int
    add: int
    steps: tuple[Step, ...]


class _Moves(NamedTuple):
    """Progress is what a node does by itself: it takes in a packet, or a timer runs out."""

    progress: tuple[_Move, ...]
    other: tuple[_Move, ...]  # calls, crashes, recoveries: nobody owes them
    progress_by_ballot: tuple[_Move, ...]  # what begins a ballot stands apart, since that is bounded
    other_by_ballot: tuple[_Move, ...]


class ClusterSpace:
    """The state space of a cluster, for `harness.virtual.search`. A state is an int; see `harness.virtual.numbering`."""

    def __init__(self, algorithm: type[Algorithm], bounds: Bounds) -> None:
        self.bounds = bounds
        self.numbering = Numbering(algorithm, bounds)
        self.members = self.numbering.members
        self.symmetry = Symmetry(algorithm, self.numbering) if bounds.symmetry else None
        self.cut = 0
        """How many steps were not taken, because they would have begun one ballot more."""
        self._happened = 0
        self._competed = False
        # What a node can do, by what concerns it; and what comes of each single step, by node state and step.
        self._moves: list[dict[int, _Moves]] = [{} for _ in self.members]
        self._tried: list[dict[tuple[int, Step, int | None], _Move]] = [{} for _ in self.members]

    @property
    def begins_ballots(self) -> bool:
        """Whether any node has begun a ballot, as far as messages show it: a `node.quorum.Ballot` of the sender's own."""
        return self.numbering.knows(BallotBegun)

    # --- the space --------------------------------------------------------------------------------------------------

    def initial(self) -> list[int]:
        """Every node has booted on an empty disk."""
        state = 0
        for place, node in enumerate(self.numbering.nodes):
            node.boot()
            state |= self.numbering.number(place, freeze_node(node)) << self.numbering.shifts[place]
        assert self.symmetry is None or self.symmetry.representative(state) == state
        return [state]

    def successors(self, state: int) -> list[int]:
        """What may follow `state`."""
        found: list[int] = []
        can_go_on = False
        for place, table in enumerate(self._moves):
            seen = state & self.numbering.views[place]
            moves = table.get(seen)
            if moves is None:
                moves = table[seen] = self._work_out(place, state)
            for flip, add, _ in moves[0]:
                after = (state ^ flip) | add
                if after != state:
                    can_go_on = True
                    found.append(after)
            for flip, add, _ in moves[1]:
                found.append((state ^ flip) | add)
            if moves[2] or moves[3]:
                can_go_on |= bool(moves[2])
                self._add_bounded(state, moves, found)
        if self.symmetry is not None:
            found = [self.symmetry.representative(after) for after in found]
        if not can_go_on and FAULT_TOLERANCE in self.bounds.look_for and (violation := self._blocked(state)):
            found.append(state | self.numbering.bit(violation))
        return found

    def _add_bounded(self, state: int, moves: _Moves, found: list[int]) -> None:
        for flip, add, _ in (*moves.progress_by_ballot, *moves.other_by_ballot):
            after = (state ^ flip) | add
            if (after & self.numbering.ballots).bit_count() <= self.bounds.ballots:
                found.append(after)
            else:
                self.cut += 1

    def is_bad(self, state: int) -> bool:
        """Whether something that must never happen has happened. Also notes what has happened at all."""
        numbering = self.numbering
        self._happened |= state
        if not self._competed and (state & numbering.ballots).bit_count() > 1:
            self._competed = True
        if state & numbering.violations:
            return True
        if decided := state & numbering.decided:
            if decided & (decided - 1):
                return "agreement" in self.bounds.look_for
            if not state & numbering.proposals_of[decided]:
                return "validity" in self.bounds.look_for
        return any(state & pair == pair for pair in numbering.contradictions) if numbering.contradictions else False

    def sometimes(self) -> dict[str, bool]:
        """Whether what makes a search worth something has happened in some state."""
        facts = list(self.numbering.facts_in(self._happened))
        proposed = {fact.client for fact in facts if isinstance(fact, CallMade) and fact.client.value is not None}
        told = {"a decision was reached": any(isinstance(fact, DecisionSeen) for fact in facts)}
        if self.bounds.proposals > 1:
            told["two clients proposed"] = len(proposed) > 1
        if self.numbering.ballots and min(self.bounds.ballots, len(self.numbering.clients)) > 1:
            told["two ballots competed"] = self._competed
        if self.bounds.crashes:
            told["a node crashed"] = any(isinstance(fact, CrashHappened) for fact in facts)
        return told

    def steps(self, path: list[int]) -> list[Step]:
        """The steps along a path of states."""
        told: list[Step] = []
        at = path[0]
        for after in path[1:]:
            at, steps = self._step_to(after, at)
            told.extend(steps)
        return told

    def _step_to(self, aim: int, state: int) -> tuple[int, tuple[Step, ...]]:
        """Go on from `state` to the one for which `aim` stands."""
        for place, table in enumerate(self._moves):
            seen = state & self.numbering.views[place]
            moves = table.get(seen)
            for some in moves if moves is not None else self._work_out(place, state):
                for flip, add, steps in some:
                    after = (state ^ flip) | add
                    if aim == (after if self.symmetry is None else self.symmetry.representative(after)):
                        return after, steps
        return aim, ()  # nothing can happen any more: that is what is wrong

    def violations(self, state: int) -> list[Violation]:
        """Everything that is wrong with a state."""
        return self.numbering.violations_in(state)

    def _blocked(self, state: int) -> Violation | None:
        """Fault tolerance: while a majority is up, whoever asks one of them is answered in the end."""
        numbering = self.numbering
        locals_ = [numbering.states[place][numbering.number_in(state, place)] for place in range(len(self.members))]
        waiting = [member for member, local in zip(self.members, locals_, strict=True) if local.waiting]
        down = [member for member, local in zip(self.members, locals_, strict=True) if not local.up]
        if not waiting or len(self.members) - len(down) < majority(len(self.members)):
            return None
        text = f"{listed(waiting)} can never answer"
        return Violation(FAULT_TOLERANCE, f"{text} while {listed(down)} is down" if down else text)

    # --- what a node can do -----------------------------------------------------------------------------------------

    def _work_out(self, place: int, state: int) -> _Moves:
        """Everything that the node at `place` can do in `state`."""
        numbering = self.numbering
        number = numbering.number_in(state, place)
        local = numbering.states[place][number]
        crashed = (state & numbering.crashes).bit_count()
        crash = numbering.bit(CrashHappened(crashed + 1)) if crashed < self.bounds.crashes else 0
        progress: list[_Move] = []
        other: list[_Move] = []
        if local.up:
            if crash:
                other.append(self._try(place, number, Crash(self.members[place]), crash))
            for step in self._inputs(place, local, state):
                progress.extend(self._tries(place, number, step, 0, crash))
            for call in self._calls(place, state):
                other.extend(self._tries(place, number, call.client.step(), numbering.bit(call), crash))
        else:
            if local.disk is not None or self.bounds.oddities.empty_disks_vote:
                other.append(self._try(place, number, Recover(self.members[place])))
            if local.disk is not None and self.bounds.lose_disk:
                other.append(self._try(place, number, LoseDisk(self.members[place])))
        # Only of what concerns this node may be asked what `state` holds: others share what is worked out here.
        begin = numbering.ballots & ~state
        return _Moves(
            tuple(move for move in progress if not move.add & begin and (move.flip or move.add)),
            tuple(move for move in other if not move.add & begin),
            tuple(move for move in progress if move.add & begin),
            tuple(move for move in other if move.add & begin),
        )

    def _inputs(self, place: int, local: NodeState, state: int) -> Iterator[Step]:
        """What a node may take in: any packet that was ever sent to it, any timer that is set."""
        member = self.members[place]
        known = dict(local.known)
        known[member] = local.incarnation  # what an earlier life has sent to itself is gone with it
        for bit, packet in list(self.numbering.packets_to[place].items()):  # trying may add some
            if state & bit and packet.incarnation >= known.get(packet.sender, 0):
                yield Deliver(packet)
        for timer, _ in local.timers:
            yield Fire(member, timer)

    def _calls(self, place: int, state: int) -> Iterator[CallMade]:
        """The calls that clients have yet to make at this node."""
        for client in self.numbering.clients:
            if client.node == self.members[place] and not any(
                self.numbering.holds(state, CallMade(client, late)) for late in (False, True)
            ):
                yield CallMade(client, late=client.value is None and bool(state & self.numbering.decided))

    def _tries(self, place: int, number: int, step: Step, add: int, crash: int) -> Iterator[_Move]:
        """A step, and the same with a crash before the node has heard all that it sends to itself."""
        whole = self._try(place, number, step, add)
        yield whole
        if crash:
            for turns in range(1, len(whole.steps)):
                yield self._try(place, number, step, add | crash, turns)

    def _try(self, place: int, number: int, step: Step, add: int = 0, crash_after: int | None = None) -> _Move:
        key = (number, step, crash_after)
        move = self._tried[place].get(key)
        if move is None:
            move = self._tried[place][key] = self._run(place, number, step, crash_after)
        return _Move(move.flip, move.add | add, move.steps) if add else move

    def _run(self, place: int, number: int, step: Step, crash_after: int | None) -> _Move:
        """Run the real code: what a step makes of a node, and which facts come of it."""
        numbering = self.numbering
        node = numbering.nodes[place]
        thaw_node(node, numbering.states[place][number])
        steps = [step]
        facts: list[object] = []
        try:
            facts.extend(_came_of(perform(node, step)))
            while node.core.to_itself:
                assert len(steps) < _SELF_TURNS_MAX, f"{node.id} sends to itself without end"
                steps.append(Crash(node.id) if len(steps) == crash_after else HearSelf(node.id))
                facts.extend(_came_of(perform(node, steps[-1])))
            after = numbering.number(place, freeze_node(node))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - an algorithm may raise anything, and that is a finding
            facts.append(Violation("contract", f"{node.id} fails: {type(error).__name__} {error}"))
            node.crash()
            after = number  # nothing comes after a violation
        before_facts, after_facts = numbering.facts_of[place][number], numbering.facts_of[place][after]
        if not isinstance(step, LoseDisk):
            facts.extend(changed(node.id, before_facts, after_facts))
        if after_facts.decided is not None:
            facts.append(DecisionSeen(after_facts.decided))
        add = 0
        for fact in facts:
            add |= numbering.bit(fact)
        return _Move((number ^ after) << numbering.shifts[place], add, tuple(steps))


def perform(node: VirtualNode, step: Step) -> TurnOutput:
    """Let a step happen to a node."""
    match step:
        case Crash():
            node.crash()
        case LoseDisk():
            node.lose_disk()
        case Recover():
            return node.boot()
        case _:
            return node.turn(step)
    return TurnOutput()


def _came_of(outcome: TurnOutput) -> Iterator[object]:
    """The facts that a turn has made."""
    for packet in outcome.packets:
        yield packet
        for ballot in ballots_in(packet.message):
            if ballot.node == packet.sender:
                yield BallotBegun(ballot)
        if (asked := asks_for(packet)) is not None:
            yield ValueRequested(*asked)
    for request, value, refused, *_ in outcome.replies:
        if value is not None:
            yield DecisionSeen(value)
        elif refused is None:
            yield UndecidedAnswered(request)
