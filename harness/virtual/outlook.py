"""What can still be decided: explores what may follow the present state of a virtual cluster.

    chance = Outlook(cluster).of(encode_value("red"))
    chance.way       # a schedule that leads to the decision, or None
    chance.is_never  # True only if no schedule within the limits does

Theory of operation
-------------------
`harness.virtual.space` encodes the present state of the cluster. A breadth-first search follows every order in which the messages
on their way may arrive or be repeated, and in which timers may expire, until a node or a client has seen that the value is
decided. No client calls any more.

Before that, each node is looked at alone: often what is on its way to one node suffices, and that is found in a moment. So a way
that is found need not be a shortest one.

A search that ends by its budget has shown nothing. So a proof is tried, too. It forgets that a node's states exclude each other:
each node may be in every state that any message could lead it to that any node could send in any of its states. These are more
states than can really happen, and few enough to be gone through. If the value is decided in none of them, then it never is.
"""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Final

from harness.virtual.bounds import Bounds
from harness.virtual.cluster import VirtualCluster, follow
from harness.virtual.judge import ballots_in, numbers_in
from harness.virtual.node_state import NodeState, freeze_node
from harness.virtual.numbering import NODE_MASK, BallotBegun, CrashHappened, DecisionSeen
from harness.virtual.search import Budget, SearchResult, search
from harness.virtual.space import NO_MOVES, ClusterSpace, NodeMove, NodeMoves
from harness.virtual.steps import Crash, Deliver, Recover, Step
from harness.virtual.watchdog import watching
from node.contract import NodeId, Value
from node.wording import count

BUDGET: Final = Budget(states=100_000, seconds=6.0)
#: How many states the search of one node alone looks at, at most.
ALONE_STATES: Final = 1_000
#: How many turns the proof tries, at most, for each state that the search may look at: a turn takes as long as several states.
PROOF_SHARE: Final = 0.2


@dataclass(frozen=True, slots=True)
class OutlookLimits:
    """What may follow, besides messages that arrive and timers that expire."""

    boots: bool = False
    """Nodes that are down may boot again."""
    crashes: int = 0
    """How many nodes may crash."""
    ballots: int = 1
    """How many ballots may begin, besides those that have begun."""
    cut: frozenset[tuple[NodeId, NodeId]] = frozenset()
    """The links on which nothing arrives."""
    still: frozenset[NodeId] = frozenset()
    """The nodes that do nothing, since they are suspended."""

    def lines(self) -> list[str]:
        """Return the limits in English."""
        return [
            "messages on their way may arrive, late or twice, and timers may expire; no client calls any more",
            f"at most {count(self.ballots, 'further ballot')}, {count(self.crashes, 'further crash', 'further crashes')}; "
            + ("a node that is down may boot" if self.boots else "a node that is down stays down"),
        ]


@dataclass(frozen=True, slots=True)
class Chance:
    """Whether a value can still be decided."""

    value: Value
    way: tuple[Step, ...] | None
    """A schedule to the decision; empty if it is decided already, None if none was found."""
    story: tuple[str, ...]
    """The way in English, a line for each step."""
    is_never: bool
    """Whether no schedule within the limits leads to the decision."""
    states: int
    """How many states of the cluster were looked at."""

    def __str__(self) -> str:
        if self.way is not None:
            return f"yes, in {count(len(self.story), 'step')}" if self.way else "it is decided"
        if self.is_never:
            return "no, by no schedule"
        return f"not within {count(self.states, 'state')}"


class Outlook:
    """What may follow the present state of a cluster, which stays as it is."""

    def __init__(self, cluster: VirtualCluster, limits: OutlookLimits = OutlookLimits()) -> None:
        """Prepare to look ahead. Raises TypeError if an attribute of the algorithm is no plain data."""
        self._cluster = cluster
        self._space = _Future(cluster, limits)

    def of(self, value: Value, budget: Budget = BUDGET) -> Chance:
        """Return whether a value can still be decided."""
        with watching():
            self._space.wanted = self._space.numbering.bit(DecisionSeen(value))
            found, looked_at = self._search(budget)
            if found.bad is not None:
                way, story = self._way(self._space.steps(found.bad))
                return Chance(value, way, story, False, looked_at)
            tries_max = int(PROOF_SHARE * (budget.states or 0))
            is_never = found.exhausted or not self._space.may_hold(self._space.wanted, tries_max)
            return Chance(value, None, (), is_never, looked_at)

    def _search(self, budget: Budget) -> tuple[SearchResult[int], int]:
        """Return the search that has found a way, or else that of the whole cluster; and how many states all have looked at."""
        looked_at = 0
        alone = replace(budget, states=min(ALONE_STATES, budget.states or ALONE_STATES))
        for place in range(len(self._cluster.members)):
            found = search(_OneNode(self._space, place), alone)
            looked_at += found.states
            if found.bad is not None:
                return found, looked_at
        found = search(self._space, budget)
        return found, found.states + looked_at

    def _way(self, steps: Iterable[Step]) -> tuple[tuple[Step, ...], tuple[str, ...]]:
        cluster = deepcopy(self._cluster)
        cluster.happened.clear()  # a story of what follows
        return tuple(follow(cluster, steps)), tuple(cluster.story)


class _Future(ClusterSpace):
    """The states that may follow the present one. `wanted` is the bit of the fact that a search looks for."""

    def __init__(self, cluster: VirtualCluster, limits: OutlookLimits) -> None:
        fields = cluster.algorithm.ballot_fields
        begun = [
            ballot
            for packet in cluster.sent
            for ballot in (*ballots_in(packet.message), *numbers_in(packet.message, fields))
            if ballot.node in (packet.sender, "")
        ]
        bounds = Bounds(
            nodes=len(cluster.members),
            proposals=0,
            ballots=len(set(begun)) + limits.ballots,
            ballot_fields=fields,
            crashes=limits.crashes,
            fault_model=cluster.nodes[cluster.members[0]].fault_model,
            look_for=(),
        )
        super().__init__(cluster.algorithm, bounds)
        self.wanted = 0
        self._limits = limits
        numbering = self.numbering
        facts = [*cluster.pending, *map(DecisionSeen, cluster.judge.decided), *map(BallotBegun, begun)]
        self._first = sum(
            numbering.number(place, freeze_node(cluster.nodes[node])) << numbering.shifts[place]
            for place, node in enumerate(self.members)
        )
        for fact in facts:
            self._first |= numbering.bit(fact)

    def initial(self) -> list[int]:
        return [self._first]

    def is_bad(self, state: int) -> bool:
        return bool(state & self.wanted)

    def _compute_moves(self, place: int, state: int) -> NodeMoves:
        numbering = self.numbering
        is_up = numbering.states[place][numbering.number_in(state, place)].up
        if self.members[place] in self._limits.still or not (is_up or self._limits.boots):
            return NO_MOVES
        return super()._compute_moves(place, state)

    def _inputs(self, place: int, local: NodeState, state: int) -> Iterator[Step]:
        for step in super()._inputs(place, local, state):
            if not (isinstance(step, Deliver) and (step.packet.sender, step.packet.to) in self._limits.cut):
                yield step

    def may_hold(self, wanted: int, tries_max: int) -> bool:
        """Return False only if no state that can follow has the fact with the bit `wanted`.

        Args:
            wanted: the bit.
            tries_max: after so many turns the proof is given up, and True is returned.
        """
        numbering = self.numbering
        known: list[dict[int, int]] = [
            {numbering.number_in(self._first, place): 0} for place in range(len(self.members))
        ]
        facts = self._first & ~sum(NODE_MASK << shift for shift in numbering.shifts)
        tries, size = 0, -1
        while size != (size := facts.bit_count() + sum(map(len, known))):
            for place, numbers in enumerate(known):
                for number, seen in list(numbers.items()):
                    numbers[number] = facts
                    for move in self._moves_at(place, number, facts, seen):
                        tries += 1
                        if ((self._first | move.add) & numbering.ballots).bit_count() <= self.bounds.ballots:
                            facts |= move.add
                            numbers.setdefault(number ^ move.flip >> numbering.shifts[place], 0)
                    if facts & wanted or tries > tries_max:
                        return True
        return False

    def successors_by(self, place: int, state: int) -> list[int]:
        """Return the states that may follow `state` by what one node does."""
        moves = self._compute_moves(place, state)
        found = [(state ^ move.flip) | move.add for move in (*moves.progress, *moves.other)]
        self._add_bounded(state, moves, found)
        return found

    def _moves_at(self, place: int, number: int, facts: int, seen: int) -> Iterator[NodeMove]:
        """Yield what a node can do in one of its states now that `facts` hold, and not only `seen`: 0 for the first time."""
        node, local = self.members[place], self.numbering.states[place][number]
        if node in self._limits.still or facts == seen:
            return
        if not local.up:
            if self._limits.boots and self._can_boot(local):
                yield self._try(place, number, Recover(node))
            return
        crash = self.numbering.bit(CrashHappened(1)) if self.bounds.crashes else 0
        if crash:
            yield self._try(place, number, Crash(node), crash)
        for step in self._inputs(place, local, facts & ~seen):
            yield from self._tries(place, number, step, 0, crash)

    def _can_boot(self, local: NodeState) -> bool:
        return local.disk is not None or self.bounds.fault_model.empty_disks_vote


class _OneNode:
    """The states that may follow if one node alone does something."""

    def __init__(self, space: _Future, place: int) -> None:
        self._space, self._place = space, place

    def initial(self) -> list[int]:
        return self._space.initial()

    def successors(self, state: int) -> list[int]:
        return self._space.successors_by(self._place, state)

    def is_bad(self, state: int) -> bool:
        return self._space.is_bad(state)
