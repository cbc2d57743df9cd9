"""Explores every continuation of a majority vote at a tie, and finds the two messages whose order decides the result.

Theory of operation
-------------------
Of three nodes, n1 has voted blue for one client and n2 has voted red for another. From there `harness.virtual.space` follows
every interleaving: messages may be late, out of order, repeated or lost. The **valence** of a configuration, as in Fischer,
Lynch and Paterson, is the set of values that are decided in some configuration that can follow it. It is computed backwards
over the whole graph, so "only blue" means that no schedule leads to red.

A message is **critical** if both values can be decided before it arrives, and only one after it has arrived.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from harness.records.jsonable import shown
from harness.virtual.bounds import Bounds
from harness.virtual.cluster import VirtualCluster, follow
from harness.virtual.judge import SAFETY
from harness.virtual.narration import describe_message, join_with_and
from harness.virtual.numbering import DecisionSeen
from harness.virtual.space import ClusterSpace
from harness.virtual.steps import Deliver, Packet, Step, plain
from node.algorithms.majority import Majority

_BOUNDS: Final = Bounds(nodes=3, proposals=2, look_for=SAFETY)

#: By configuration, the configurations that can follow it in one step.
Graph: TypeAlias = dict[int, list[int]]
#: The values that can be decided from a configuration.
Valence: TypeAlias = frozenset[str]


@dataclass(frozen=True, slots=True)
class Tie:
    """What the exploration has found."""

    story: list[str]
    """The steps to the tie, a line for each."""
    states: int
    """How many configurations can follow the tie."""
    valence: Valence
    """The values that can be decided from the tie."""
    ways: dict[str, list[str]]
    """By value, a shortest schedule to its decision, a line for each step."""
    after: dict[Packet, Valence]
    """By message on its way at the tie, the values that can still be decided if it arrives next."""
    held: int
    """How many configurations can be reached while the critical messages are held."""
    held_bivalent: int
    """From how many of them both values can be decided."""
    held_decided: int
    """In how many of them a value is decided."""
    violations: list[str]

    @property
    def critical(self) -> list[Packet]:
        """The critical messages."""
        return [packet for packet, valence in self.after.items() if len(valence) == 1]

    @property
    def shown(self) -> bool:
        """Whether the vote is bivalent until one of two messages to one node arrives, and the first of them decides."""
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
        """0 if the exploration shows this, 1 if a property was violated, 2 otherwise."""
        return 1 if self.violations else 0 if self.shown else 2

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        text = [
            "A majority vote of 3 nodes, at a tie:",
            *(f"  {number}. {line}" for number, line in enumerate(self.story, 1)),
            f"Every continuation was explored: {self.states:,} configurations. What can still be decided: "
            f"{' or '.join(map(shown, sorted(self.valence)))}. The shortest schedules:",
        ]
        for value, story in self.ways.items():
            text += [f"  to {shown(value)}:", *(f"    {number}. {line}" for number, line in enumerate(story, 1))]
        text.append("What is still possible, if this message is the next to arrive:")
        for packet, valence in self.after.items():
            alone = ", and nothing else" * (len(valence) == 1)
            text.append(f"  {_describe_packet(packet)}: {' or '.join(map(shown, sorted(valence)))}{alone}")
        if self.shown:
            one, other = self.critical
            text.append(
                f"So everything depends on which of two messages to {one.to} is late, and neither is special: the tie is "
                f"symmetric. {_describe_packet(one)} first: {join_with_and([*map(shown, sorted(self.after[one]))])}. "
                f"{_describe_packet(other)} first: {join_with_and([*map(shown, sorted(self.after[other]))])}."
            )
        late = join_with_and([_describe_packet(packet) for packet in self.critical])
        text.append(
            f"While {late} are late, {self.held:,} configurations can be reached: "
            f"{self.held_decided} with a decision, {self.held_bivalent:,} from which both values are possible."
        )
        text += self.violations
        return text

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "nodes": _BOUNDS.nodes,
            "story": self.story,
            "states": self.states,
            "valence": sorted(self.valence),
            "ways": self.ways,
            "after": [
                {
                    "from": packet.sender,
                    "to": packet.to,
                    "message": describe_message(packet.message),
                    "valence": sorted(valence),
                }
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
        story=_narrate(space, path, len(path) - 1),
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
    """Return the values that a node or a client has seen decided."""
    return frozenset(
        str(plain(fact.value)) for fact in space.numbering.facts_in(state) if isinstance(fact, DecisionSeen)
    )


def reachable(space: ClusterSpace, start: Iterable[int], without: Iterable[Step] = ()) -> Graph:
    """Return every configuration that can be reached from `start` without taking any of the steps `without`."""
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
    """Return the valence of each configuration. The graph must contain every configuration that can follow another."""
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
    """Return the configuration to which `step` leads."""
    return next(after for after in space.successors(state) if step in space.steps([state, after])[:1])


def _shortest(space: ClusterSpace, graph: Graph, path: list[int], value: str) -> list[str]:
    """Return a shortest schedule from the end of `path` to a decision for `value`, a line for each step."""
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
    return _narrate(space, [*path[:-1], *reversed(way)], len(way) - 1)


def _narrate(space: ClusterSpace, path: list[int], last: int) -> list[str]:
    """Replay a path on a cluster. Return its last `last` steps, a line for each."""
    cluster = VirtualCluster(Majority, space.members)
    follow(cluster, space.steps(path[: len(path) - last]))
    before = len(cluster.story)
    follow(cluster, space.steps(path[len(path) - last - 1 :]))
    return cluster.story[before:]


def _describe_packet(packet: Packet) -> str:
    return f"{describe_message(packet.message)} from {packet.sender} to {packet.to}"
