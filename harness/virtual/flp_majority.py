"""The one message whose delay decides everything: a majority vote at a tie, every continuation of it explored.

Theory of operation
-------------------
Three nodes; n1 is asked for blue and n2 for red, and each has voted. From there every interleaving is followed by
`harness.virtual.space`: messages late, out of order, repeated or never arriving. The **valence** of a configuration, as in
Fischer, Lynch and Paterson, is the set of values that are decided in some configuration that can follow it. It is computed
backwards over the whole graph, so "only blue" means that no schedule whatsoever leads to red.

A message is **critical** where both values can still be reached before it arrives, and just one afterwards.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from harness.virtual.bounds import Bounds
from harness.virtual.cluster import VirtualCluster
from harness.virtual.explorer import follow
from harness.virtual.judge import SAFETY
from harness.virtual.narration import listed, name
from harness.virtual.numbering import DecisionSeen
from harness.virtual.space import ClusterSpace
from harness.virtual.steps import Deliver, Packet, Step, plain
from node.algorithms.majority import Majority

_BOUNDS: Final = Bounds(nodes=3, proposals=2, look_for=SAFETY)

#: Configurations, and those that can follow each in one step.
Graph: TypeAlias = dict[int, list[int]]
#: What can be decided from a configuration.
Valence: TypeAlias = frozenset[str]


@dataclass(frozen=True, slots=True)
class Tie:
    """What the exploration has found."""

    story: list[str]
    """How the tie comes about."""
    states: int
    valence: Valence
    ways: dict[str, list[str]]
    """A shortest schedule to each value."""
    after: dict[Packet, Valence]
    """For each message that is on its way: what is still possible once it has arrived, before any other."""
    held: int
    """The configurations that can be reached while the critical messages are late."""
    held_bivalent: int
    held_decided: int
    violations: list[str]

    @property
    def critical(self) -> list[Packet]:
        """The messages whose arrival decides."""
        return [packet for packet, valence in self.after.items() if len(valence) == 1]

    @property
    def shown(self) -> bool:
        """Whether it is bivalent until one of two messages to one node arrives, and whichever is first decides."""
        decided = {value for packet in self.critical for value in self.after[packet]}
        return (
            not self.violations
            and len(self.valence) > 1
            and decided == self.valence
            and len(self.critical) == 2
            and len({packet.to for packet in self.critical}) == 1
            and self.held_bivalent == self.held
            and not self.held_decided
        )

    @property
    def exit_code(self) -> int:
        """0: shown; 1: a promise was violated; 2: it has shown nothing."""
        return 1 if self.violations else 0 if self.shown else 2

    def lines(self) -> list[str]:
        """The report, for people."""
        told = [
            "A majority vote of 3 nodes, at a tie:",
            *(f"  {number}. {line}" for number, line in enumerate(self.story, 1)),
            f"Every continuation was explored: {self.states:,} configurations. What can still be decided: "
            f"{' or '.join(sorted(self.valence))}. The shortest schedules:",
        ]
        for value, story in self.ways.items():
            told += [f"  to {value}:", *(f"    {number}. {line}" for number, line in enumerate(story, 1))]
        told.append("What is still possible, if this message is the next to arrive:")
        for packet, valence in self.after.items():
            told.append(
                f"  {_named(packet)}: {' or '.join(sorted(valence))}{', and nothing else' * (len(valence) == 1)}"
            )
        if self.shown:
            one, other = self.critical
            told.append(
                f"So the one message whose delay decides everything is {_named(one)}. "
                f"In time: {listed(sorted(self.after[one]))}. "
                f"Overtaken by {_named(other)}: {listed(sorted(self.after[other]))}."
            )
        told.append(
            f"While {listed([_named(packet) for packet in self.critical])} are late, {self.held:,} configurations can be "
            f"reached: {self.held_decided} with a decision, {self.held_bivalent:,} from which both values are possible."
        )
        told += self.violations
        return told

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "nodes": _BOUNDS.nodes,
            "story": self.story,
            "states": self.states,
            "valence": sorted(self.valence),
            "ways": self.ways,
            "after": [
                {"from": packet.sender, "to": packet.to, "message": name(packet.message), "valence": sorted(valence)}
                for packet, valence in self.after.items()
            ],
            "held": self.held,
            "held_bivalent": self.held_bivalent,
            "held_decided": self.held_decided,
            "violations": self.violations,
            "shown": self.shown,
        }


def explore_tie() -> Tie:
    """Explore every continuation of the tie."""
    space = ClusterSpace(Majority, _BOUNDS)
    (start,) = space.initial()
    path = [start]
    for client in space.numbering.clients:
        path.append(_after(space, path[-1], client.step()))
    tie = path[-1]
    graph = reachable(space, [tie])
    valences = valences_of(space, graph)
    on_their_way = [fact for fact in space.numbering.facts_in(tie) if isinstance(fact, Packet)]
    after = {packet: valences[_after(space, tie, Deliver(packet))] for packet in on_their_way}
    late = {Deliver(packet) for packet, valence in after.items() if len(valence) == 1}
    held = reachable(space, [tie], late)
    violations = {str(violation) for state in graph for violation in space.violations(state)}
    return Tie(
        story=_told(space, path, len(path) - 1),
        states=len(graph),
        valence=valences[tie],
        ways={value: _shortest(space, graph, path, value) for value in sorted(valences[tie])},
        after=after,
        held=len(held),
        held_bivalent=sum(len(valences[state]) > 1 for state in held),
        held_decided=sum(bool(decided_in(space, state)) for state in held),
        violations=sorted(violations),
    )


def decided_in(space: ClusterSpace, state: int) -> Valence:
    """What anybody has seen decided."""
    return frozenset(
        str(plain(fact.value)) for fact in space.numbering.facts_in(state) if isinstance(fact, DecisionSeen)
    )


def reachable(space: ClusterSpace, start: Iterable[int], without: Iterable[Step] = ()) -> Graph:
    """Every configuration that can follow, where none of the steps `without` is ever taken."""
    graph: Graph = {}
    waiting, forbidden = deque(start), set(without)
    while waiting:
        state = waiting.popleft()
        if state in graph:
            continue
        graph[state] = [
            after
            for after in dict.fromkeys(space.successors(state))
            if after != state and not (forbidden and forbidden & set(space.steps([state, after])))
        ]
        waiting.extend(graph[state])
    return graph


def valences_of(space: ClusterSpace, graph: Graph) -> dict[int, Valence]:
    """What can be decided from each configuration of a graph that lacks none that can follow."""
    before: dict[int, list[int]] = {state: [] for state in graph}
    for state, following in graph.items():
        for after in following:
            before[after].append(state)
    valences = {state: decided_in(space, state) for state in graph}
    waiting = deque(state for state, valence in valences.items() if valence)
    while waiting:
        state = waiting.popleft()
        for earlier in before[state]:
            if not valences[state] <= valences[earlier]:
                valences[earlier] |= valences[state]
                waiting.append(earlier)
    return valences


def _after(space: ClusterSpace, state: int, step: Step) -> int:
    """The configuration to which `step` leads."""
    return next(after for after in space.successors(state) if step in space.steps([state, after])[:1])


def _shortest(space: ClusterSpace, graph: Graph, path: list[int], value: str) -> list[str]:
    """A shortest way on from the end of `path` to a decision for `value`, replayed and told."""
    parents: dict[int, int | None] = {path[-1]: None}
    waiting = deque(parents)
    while waiting:
        state = waiting.popleft()
        if value in decided_in(space, state):
            break
        for after in graph[state]:
            if after not in parents:
                parents[after] = state
                waiting.append(after)
    way: list[int] = []
    at: int | None = state
    while at is not None:
        way.append(at)
        at = parents[at]
    return _told(space, [*path[:-1], *reversed(way)], len(way) - 1)


def _told(space: ClusterSpace, path: list[int], last: int) -> list[str]:
    """The last so many steps of a path, in words, as a cluster goes through them that does not know of the search."""
    cluster = VirtualCluster(Majority, space.members)
    follow(cluster, space.steps(path[: len(path) - last]))
    before = len(cluster.story)
    follow(cluster, space.steps(path[len(path) - last - 1 :]))
    return cluster.story[before:]


def _named(packet: Packet) -> str:
    return f"{name(packet.message)} from {packet.sender} to {packet.to}"
