"""The state space of a virtual cluster: every interleaving of an algorithm's steps, up to a bound.

Theory of operation
-------------------
A node's step depends only on its own state and its input. So each distinct node state is kept once, under a small number;
each distinct fact (a packet was sent, a client was answered, a ballot was begun, ...) is one bit; and the state of the whole
cluster is **one integer**: the numbers of the nodes' states, and above them the bits of the facts. The moves of a node are
computed once for each node state and each set of facts that concern the node, by running the algorithm's real code in a
scratch node. After that, a step of the cluster is a dictionary lookup, an exclusive-or and an or.

Facts are never removed. So a packet that was sent may arrive at any later time, any number of times, or never: loss,
repetition and reordering need no steps of their own. Every schedule of a network that keeps a bag of packets is included.

What makes it finite
--------------------
1. Each client proposes or queries once, at a fixed node: the first at n1, the second at n2, and so on.
2. At most `ballots` distinct ballots are begun, over all nodes together. What counts are the `Ballot`s in messages, and the
   integers in the fields that `ballot_fields` names.
3. At most `crashes` crashes happen.
4. A timer that is set may expire at any time: the time for which it was set is ignored.

What a step is
--------------
A step is a turn with one input, followed by the turns in which the node takes in the messages that it thereby sends to
itself. A crash may happen between any two of these turns. No interleaving is missed by treating them as one step: a node takes
in its own messages before anything that other nodes could answer, so the steps of other nodes commute with these turns.

A real node may take in several inputs in one turn, so it takes in the second before the messages that the first made it send to
itself. With `turn_inputs` above 1, the moves of a node include the turns of up to so many of its inputs, in every order, if the
first of them makes the node send to itself: otherwise the others might as well come in a turn of their own. The
fault model `own_messages_wait` covers that and more: then a node's messages to itself travel like any other message.
"""

from collections.abc import Iterator
from itertools import permutations
from typing import Final, NamedTuple, cast

from harness.virtual.bounds import Bounds
from harness.virtual.judge import (
    FAULT_TOLERANCE,
    Violation,
    accept_request_in,
    ballots_in,
    contract_violation,
    missing_timers,
    numbers_in,
    violations_of_change,
)
from harness.virtual.narration import join_with_and
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
from harness.virtual.steps import (
    Crash,
    Deliver,
    Fire,
    Input,
    LoseDisk,
    Recover,
    Step,
    TakeOwnMessages,
    Turn,
    inputs_of,
)
from harness.virtual.symmetry import Symmetry
from harness.virtual.watchdog import EndlessLoop
from node.contract import Algorithm, ContractBroken
from node.quorum import majority

_SELF_TURNS_MAX: Final = 1000


class NodeMove(NamedTuple):
    """One thing that a node can do."""

    flip: int
    """The exclusive-or of the node's number before and after, shifted to its place in the cluster's state."""
    add: int
    """The bits of the facts that it adds."""
    steps: tuple[Step, ...]
    """Its turns."""


class NodeMoves(NamedTuple):
    """Everything that a node can do. The moves that begin a ballot are separate, since the number of ballots is bounded."""

    progress: tuple[NodeMove, ...]
    """The node takes in a packet or an expired timer. These happen eventually, so a call may rely on them."""
    other: tuple[NodeMove, ...]
    """Calls, crashes and boots. These need not happen."""
    progress_by_ballot: tuple[NodeMove, ...]
    other_by_ballot: tuple[NodeMove, ...]


NO_MOVES: Final = NodeMoves((), (), (), ())


class ClusterSpace:
    """The state space of a cluster, for `harness.virtual.search`. A state is an int; see `harness.virtual.numbering`."""

    def __init__(self, algorithm: type[Algorithm], bounds: Bounds) -> None:
        self.bounds = bounds
        self.numbering = self._new_numbering(algorithm)
        self.members = self.numbering.members
        self.symmetry = Symmetry(algorithm, self.numbering) if bounds.symmetry else None
        self.cut = 0
        """How many steps were not taken because they would have begun one ballot too many."""
        self._happened = 0
        self._competed = False
        # By place: the moves of a node, by its view of a state; and the move of one step, by node state and step.
        self._moves: list[dict[int, NodeMoves]] = [{} for _ in self.members]
        self._tried: list[dict[tuple[int, Step, int | None], NodeMove]] = [{} for _ in self.members]

    def _new_numbering(self, algorithm: type[Algorithm]) -> Numbering:
        return Numbering(algorithm, self.bounds)

    @property
    def begins_ballots(self) -> bool:
        """Whether any node has sent a `node.quorum.Ballot` of its own in a message, so that the bound on ballots applies."""
        return self.numbering.knows(BallotBegun)

    # --- the space --------------------------------------------------------------------------------------------------

    def initial(self) -> list[int]:
        """Return the one initial state: every node has booted on an empty disk."""
        state = 0
        for place, node in enumerate(self.numbering.nodes):
            node.boot()
            state |= self.numbering.number(place, self.numbering.freeze(node)) << self.numbering.shifts[place]
        assert self.symmetry is None or self.symmetry.representative(state) == state
        return [state]

    def successors(self, state: int) -> list[int]:
        """Return the states that may follow `state`, with repetitions."""
        found: list[int] = []
        can_go_on = False
        for place, table in enumerate(self._moves):
            seen = state & self.numbering.views[place]
            moves = table.get(seen)
            if moves is None:
                moves = table[seen] = self._compute_moves(place, state)
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

    def _add_bounded(self, state: int, moves: NodeMoves, found: list[int]) -> None:
        for flip, add, _ in (*moves.progress_by_ballot, *moves.other_by_ballot):
            after = (state ^ flip) | add
            if (after & self.numbering.ballots).bit_count() <= self.bounds.ballots:
                found.append(after)
            else:
                self.cut += 1

    def is_bad(self, state: int) -> bool:
        """Return whether the state violates a property that is looked for. Also record its facts for `sometimes`."""
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

    # --- for a search by several processes: see harness.virtual.divided_search ----------------------------------------

    def knows(self, state: int) -> bool:
        """Return whether the moves of every node in `state` are known."""
        return all(state & view in table for view, table in zip(self.numbering.views, self._moves, strict=True))

    def learn(self, states: list[int]) -> int:
        """Compute the moves of every node in these states. Return a digest of them."""
        digest = self.numbering.size()
        for state in states:
            for place, table in enumerate(self._moves):
                seen = state & self.numbering.views[place]
                if seen not in table:
                    table[seen] = moves = self._compute_moves(place, state)
                    digest = hash((digest, *((move.flip, move.add) for group in moves for move in group)))
        return digest

    def size(self) -> int:
        """Return how many facts were met."""
        return self.numbering.size()

    def begin_share(self) -> None:
        """Count from now on what this process alone finds."""
        self.cut = 0

    def findings(self) -> tuple[int, bool, int]:
        """Return what the states have shown: the facts that happened, whether ballots competed, and how many steps were cut."""
        return self._happened, self._competed, self.cut

    def add_findings(self, findings: tuple[int, bool, int]) -> None:
        """Add what another process has found."""
        happened, competed, cut = findings
        self._happened |= happened
        self._competed |= competed
        self.cut += cut

    def sometimes(self) -> dict[str, bool]:
        """Return whether each condition held in some state. A search in which one of them never held has shown nothing."""
        facts = list(self.numbering.facts_in(self._happened))
        proposed = {fact.client for fact in facts if isinstance(fact, CallMade) and fact.client.value is not None}
        held = {"a decision was reached": any(isinstance(fact, DecisionSeen) for fact in facts)}
        if self.bounds.proposals > 1:
            held["two clients proposed"] = len(proposed) > 1
        if self.numbering.ballots and min(self.bounds.ballots, len(self.numbering.clients)) > 1:
            held["two ballots competed"] = self._competed
        if self.bounds.crashes:
            held["a node crashed"] = any(isinstance(fact, CrashHappened) for fact in facts)
        return held

    def steps(self, path: list[int]) -> list[Step]:
        """Return the steps along a path of states."""
        along: list[Step] = []
        at = path[0]
        for after in path[1:]:
            at, steps = self._step_to(after, at)
            along.extend(steps)
        return along

    def _step_to(self, aim: int, state: int) -> tuple[int, tuple[Step, ...]]:
        """Return the successor of `state` that `aim` represents, and the steps to it."""
        for place, table in enumerate(self._moves):
            seen = state & self.numbering.views[place]
            moves = table.get(seen)
            for group in moves if moves is not None else self._compute_moves(place, state):
                for flip, add, steps in group:
                    after = (state ^ flip) | add
                    if aim == (after if self.symmetry is None else self.symmetry.representative(after)):
                        return after, steps
        return aim, ()  # `aim` is `state` with the violation that no node can make progress: no step leads to it

    def violations(self, state: int) -> list[Violation]:
        """Return every violation in a state."""
        return self.numbering.violations_in(state)

    def _blocked(self, state: int) -> Violation | None:
        """Return the violation that a call is never answered though a majority is up, in a state without progress."""
        numbering = self.numbering
        locals_ = [numbering.states[place][numbering.number_in(state, place)] for place in range(len(self.members))]
        waiting = [member for member, local in zip(self.members, locals_, strict=True) if local.waiting]
        down = [member for member, local in zip(self.members, locals_, strict=True) if not local.up]
        if not waiting or len(self.members) - len(down) < majority(len(self.members)):
            return None
        text = f"{join_with_and(waiting)} can never answer"
        return Violation(FAULT_TOLERANCE, f"{text} while {join_with_and(down)} is down" if down else text)

    # --- what a node can do -----------------------------------------------------------------------------------------

    def _compute_moves(self, place: int, state: int) -> NodeMoves:
        """Return everything that the node at `place` can do in `state`."""
        numbering = self.numbering
        number = numbering.number_in(state, place)
        local = numbering.states[place][number]
        crashed = (state & numbering.crashes).bit_count()
        crash = numbering.bit(CrashHappened(crashed + 1)) if crashed < self.bounds.crashes else 0
        progress: list[NodeMove] = []
        other: list[NodeMove] = []
        if local.up:
            if crash:
                other.append(self._try(place, number, Crash(self.members[place]), crash))
            inputs = [(step, 0) for step in self._inputs(place, local, state)]
            calls = [(step, numbering.bit(call)) for step, call in self._calls(place, state)]
            for step, added in (*inputs, *calls):
                (other if added else progress).extend(self._tries(place, number, step, added, crash))
            for count in range(2, self.bounds.turn_inputs + 1):
                for some in permutations((*inputs, *calls), count):
                    if len(self._try(place, number, some[0][0]).steps) == 1:
                        continue  # it sends nothing to itself, so it may as well have a turn of its own
                    turn = Turn(self.members[place], tuple(cast(Input, step) for step, _ in some))
                    added = sum(bit for _, bit in some)
                    (other if added else progress).extend(self._tries(place, number, turn, added, crash))
        else:
            if local.disk is not None or self.bounds.fault_model.empty_disks_vote:
                other.append(self._try(place, number, Recover(self.members[place])))
            if local.disk is not None and self.bounds.lose_disk:
                other.append(self._try(place, number, LoseDisk(self.members[place])))
        # Every state with the same view shares this result, so it may depend on nothing of `state` outside the view.
        begin = numbering.ballots & ~state
        return NodeMoves(
            tuple(move for move in progress if not move.add & begin and (move.flip or move.add)),
            tuple(move for move in other if not move.add & begin),
            tuple(move for move in progress if move.add & begin),
            tuple(move for move in other if move.add & begin),
        )

    def _inputs(self, place: int, local: NodeState, state: int) -> Iterator[Step]:
        """Yield what a node may take in: each packet that was ever sent to it and is not stale, each timer that is set."""
        member = self.members[place]
        known = dict(local.known)
        known[member] = local.incarnation  # a crash loses what the node has sent to itself
        for bit, packet in list(self.numbering.packets_to[place].items()):  # a copy, since `_try` may add packets
            if state & bit and packet.incarnation >= known.get(packet.sender, 0):
                yield Deliver(packet)
        for timer, _ in local.timers:
            yield Fire(member, timer)

    def _calls(self, place: int, state: int) -> Iterator[tuple[Step, object]]:
        """Yield the calls that clients have not made yet at this node, each with its fact."""
        for client in self.numbering.clients:
            if client.node == self.members[place] and not any(
                self.numbering.holds(state, CallMade(client, late)) for late in (False, True)
            ):
                late = client.value is None and bool(state & self.numbering.decided)
                yield client.step(), CallMade(client, late)

    def _tries(self, place: int, number: int, step: Step, add: int, crash: int) -> Iterator[NodeMove]:
        """Yield a step, and the same step with a crash after each of its turns but the last."""
        whole = self._try(place, number, step, add)
        yield whole
        if crash:
            for turns in range(1, len(whole.steps)):
                yield self._try(place, number, step, add | crash, turns)

    def _try(self, place: int, number: int, step: Step, add: int = 0, crash_after: int | None = None) -> NodeMove:
        key = (number, step, crash_after)
        move = self._tried[place].get(key)
        if move is None:
            move = self._tried[place][key] = self._run(place, number, step, crash_after)
        return NodeMove(move.flip, move.add | add, move.steps) if add else move

    def _run(self, place: int, number: int, step: Step, crash_after: int | None) -> NodeMove:
        """Run the algorithm's real code in a scratch node. Return the change of the node's number and the new facts."""
        numbering = self.numbering
        node = numbering.nodes[place]
        thaw_node(node, numbering.states[place][number])
        steps = [step]
        facts: list[object] = []
        try:
            facts.extend(_facts_of_output(perform(node, step), self.bounds.ballot_fields))
            while node.core.to_itself:
                if len(steps) >= _SELF_TURNS_MAX:
                    raise ContractBroken(f"{node.id} sends to itself without end, in each turn after an input")
                steps.append(Crash(node.id) if len(steps) == crash_after else TakeOwnMessages(node.id))
                facts.extend(_facts_of_output(perform(node, steps[-1]), self.bounds.ballot_fields))
            if node.up:
                facts.extend(missing_timers(node))
            after = numbering.number(place, freeze_node(node))
        except (Exception, SystemExit, EndlessLoop) as error:  # noqa: BLE001 - an algorithm may raise anything, and that is a finding
            facts.append(contract_violation(node.id, error))
            node.crash()
            after = number  # the search ends at a violation, so the state after it does not matter
        before_facts, after_facts = numbering.facts_of[place][number], numbering.facts_of[place][after]
        if not isinstance(step, LoseDisk):
            facts.extend(violations_of_change(node.id, before_facts, after_facts))
        if after_facts.decided is not None:
            facts.append(DecisionSeen(after_facts.decided))
        add = 0
        for fact in facts:
            add |= numbering.bit(fact)
        return NodeMove((number ^ after) << numbering.shifts[place], add, tuple(steps))


def perform(node: VirtualNode, step: Step) -> TurnOutput:
    """Let a step happen to a node. Return what the node releases in it."""
    match step:
        case Crash():
            node.crash()
        case LoseDisk():
            node.lose_disk()
        case Recover():
            return node.boot()
        case _:
            return node.turn(*inputs_of(step))
    return TurnOutput()


def _facts_of_output(outcome: TurnOutput, ballot_fields: tuple[str, ...]) -> Iterator[object]:
    """Yield the facts that a turn's output adds."""
    for packet in outcome.packets:
        yield packet
        yield from map(BallotBegun, numbers_in(packet.message, ballot_fields))
        for ballot in ballots_in(packet.message):
            if ballot.node == packet.sender:
                yield BallotBegun(ballot)
        if (request := accept_request_in(packet)) is not None:
            yield ValueRequested(request)
    for reply in outcome.replies:
        if reply.value is not None:
            yield DecisionSeen(reply.value)
        elif reply.refused is None:
            yield UndecidedAnswered(reply.request)
