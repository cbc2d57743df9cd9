"""The faults that cut links, by name: see `harness.faults.catalogue` for how they are used.

What is cut loses everything, in the directions that are cut; clients still reach all nodes. The proxy, a process of its
own, counts what it has dropped: without such a count the cut has not bitten.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import permutations, product
from random import Random

from harness.faults.catalogue import DrawnArguments, FaultBudget, fault
from harness.faults.injector import ActiveFault, LinkFault
from harness.faults.process_faults import Cycle, resolve
from harness.faults.target import Target
from harness.network.rules import Cut
from harness.records.links import Link
from node.contract import NodeId
from node.quorum import majority

Groups = Sequence[Sequence[NodeId]]


def between(groups: Groups, nodes: Sequence[NodeId]) -> tuple[Link, ...]:
    """Every link from one group to another, both ways. Nodes in no group are a group of their own."""
    named = [node for group in groups for node in group]
    rest = [node for node in nodes if node not in named]
    parts = [*groups, *([rest] if rest else [])]
    return tuple(link for one, other in permutations(parts, 2) for link in product(one, other))


def bridged(one: Sequence[NodeId], bridge: NodeId, other: Sequence[NodeId]) -> tuple[Link, ...]:
    """Two groups that do not reach each other, and a node between that reaches both."""
    assert bridge not in (*one, *other)
    return tuple(link for pair in product(one, other) for link in (pair, pair[::-1]))


def ring(nodes: Sequence[NodeId]) -> tuple[Link, ...]:
    """Each node reaches its neighbours on a ring, just so many that they are a majority with it: no two the same one."""
    to_each_side = majority(len(nodes)) // 2
    place = {node: number for number, node in enumerate(nodes)}

    def apart(one: NodeId, other: NodeId) -> int:
        steps = abs(place[one] - place[other])
        return min(steps, len(nodes) - steps)

    return tuple(link for link in permutations(nodes, 2) if apart(*link) > to_each_side)


def shuffled(rng: Random, nodes: Sequence[NodeId]) -> list[NodeId]:
    """The nodes in a random order."""
    return rng.sample(list(nodes), len(nodes))


def _cut(experiment: Target, links: Iterable[Link], name: str) -> LinkFault:
    return experiment.faults.cut(links, name)


# --- how they are drawn -----------------------------------------------------------------------------------------------


def _smaller_side(scene: FaultBudget, groups: Groups) -> frozenset[NodeId]:
    """Who is not in the largest group."""
    largest = max(groups, key=len)
    return frozenset(node for node in scene.nodes if node not in largest)


def _draw_groups(rng: Random, scene: FaultBudget) -> DrawnArguments | None:
    if len(scene.nodes) < 2:
        return None
    nodes = shuffled(rng, scene.nodes)
    parts = 2 if len(nodes) < 5 or rng.random() < 0.75 else 3
    ends = sorted(rng.sample(range(1, len(nodes)), parts - 1))
    groups = [sorted(nodes[start:end]) for start, end in zip([0, *ends], [*ends, len(nodes)], strict=True)]
    return DrawnArguments({"groups": groups}, _smaller_side(scene, groups))


def _draw_one(rng: Random, scene: FaultBudget) -> DrawnArguments | None:
    if len(scene.nodes) < 2:
        return None
    node = rng.choice(scene.free or scene.nodes)  # one that is down is cut off already
    return DrawnArguments({"node": node}, frozenset({node}))


def _draw_leader(_rng: Random, scene: FaultBudget) -> DrawnArguments | None:
    return DrawnArguments({}, frozenset({scene.nodes[0]})) if len(scene.nodes) > 1 else None


def _draw_one_way(rng: Random, scene: FaultBudget) -> DrawnArguments | None:
    if len(scene.nodes) < 2:
        return None
    node = rng.choice(scene.free or scene.nodes)  # one that is down is cut off already
    others = sorted(other for other in scene.nodes if other != node)
    sends = rng.random() < 0.5
    return DrawnArguments(
        {"senders": [node] if sends else others, "receivers": others if sends else [node]}, frozenset({node})
    )


def _draw_bridge(rng: Random, scene: FaultBudget) -> DrawnArguments | None:
    if len(scene.nodes) < 3:
        return None
    groups = _sides(shuffled(rng, scene.nodes))
    takes = frozenset(groups[0]) if len(groups[0]) + 1 < majority(len(scene.nodes)) else frozenset[NodeId]()
    return DrawnArguments({"groups": groups}, takes)


def _sides(nodes: Sequence[NodeId]) -> list[list[NodeId]]:
    """Two groups that are equal when one of the second stands between."""
    half = (len(nodes) - 1) // 2
    return [sorted(nodes[:half]), sorted(nodes[half:])]


def _draw_ring(rng: Random, scene: FaultBudget) -> DrawnArguments | None:
    return DrawnArguments({"nodes": shuffled(rng, scene.nodes)}) if len(scene.nodes) >= 4 else None


def _draw_nothing(_rng: Random, scene: FaultBudget) -> DrawnArguments | None:
    size = (len(scene.nodes) - 1) // 2
    return DrawnArguments({}, frozenset(scene.nodes[:size])) if size else None


# --- the faults -------------------------------------------------------------------------------------------------------


@fault("partition", "cut", draw=_draw_groups, weight=2)
def partition(experiment: Target, rng: Random, *, groups: list[list[NodeId]] | None = None) -> ActiveFault:
    """Groups of nodes that do not reach each other."""
    if groups is None:
        nodes = shuffled(rng, experiment.nodes)
        groups = [nodes[: rng.randint(1, len(nodes) - 1)]]
    return _cut(experiment, between(groups, experiment.nodes), "partition")


@fault("halves", "cut", draw=_draw_nothing)
def halves(experiment: Target, rng: Random) -> ActiveFault:
    """Two random halves that do not reach each other; of an odd number one is the larger."""
    nodes = shuffled(rng, experiment.nodes)
    return _cut(experiment, between([nodes[: len(nodes) // 2]], experiment.nodes), "halves")


@fault("minority", "cut", draw=_draw_leader)
def minority(experiment: Target, rng: Random, *, node: NodeId = "leader") -> ActiveFault:
    """A node, the leader if none is named, is on the smaller side of a cut."""
    (chosen,) = resolve(experiment, rng, [node])
    others = [other for other in shuffled(rng, experiment.nodes) if other != chosen]
    side = [chosen, *others[: (len(experiment.nodes) - 1) // 2 - 1]]
    return _cut(experiment, between([side], experiment.nodes), "minority")


@fault("majority", "cut", draw=_draw_nothing)
def majority_(experiment: Target, rng: Random, *, node: NodeId = "leader") -> ActiveFault:
    """A node, the leader if none is named, is on the larger side of a cut."""
    (chosen,) = resolve(experiment, rng, [node])
    others = [other for other in shuffled(rng, experiment.nodes) if other != chosen]
    side = [chosen, *others[: majority(len(experiment.nodes)) - 1]]
    return _cut(experiment, between([side], experiment.nodes), "majority")


@fault("isolate", "cut", draw=_draw_one)
def isolate(experiment: Target, rng: Random, *, node: NodeId | None = None) -> ActiveFault:
    """A node is cut from all others, both ways."""
    chosen = resolve(experiment, rng, None if node is None else [node])
    return _cut(experiment, between([chosen], experiment.nodes), "isolate")


@fault("isolate-leader", "cut", draw=_draw_leader, weight=2)
def isolate_leader(experiment: Target, rng: Random) -> ActiveFault:
    """Whoever leads now is cut from all others; the first node, where nobody leads."""
    return _cut(experiment, between([resolve(experiment, rng, ["leader"])], experiment.nodes), "isolate-leader")


@fault("one-way", "cut", draw=_draw_one_way)
def one_way(
    experiment: Target,
    rng: Random,
    *,
    senders: list[NodeId] | None = None,
    receivers: list[NodeId] | None = None,
) -> ActiveFault:
    """What some nodes send to others is lost, and what they answer is not."""
    from_ = resolve(experiment, rng, senders)
    to = resolve(experiment, rng, receivers) if receivers is not None else experiment.nodes
    return _cut(experiment, [link for link in product(from_, to) if link[0] != link[1]], "one-way")


@fault("bridge", "cut", draw=_draw_bridge)
def bridge(
    experiment: Target, rng: Random, *, node: NodeId | None = None, groups: list[list[NodeId]] | None = None
) -> ActiveFault:
    """Two groups that do not reach each other, and a node between that reaches both.

    If none is named, it is one of the second group that does not lead: with its followers a leader is all that a log's
    nodes talk to, so such a bridge would cut nothing.
    """
    chosen = None if node is None else resolve(experiment, rng, [node])[0]
    if groups is None:
        others = [other for other in shuffled(rng, experiment.nodes) if other != chosen]
        groups = _sides([*others, *([chosen] if chosen else [])])
    if chosen is None:
        (leader,) = resolve(experiment, rng, ["leader"])
        chosen = next((member for member in reversed(groups[1]) if member != leader), groups[1][-1])
    one, other = ([member for member in group if member != chosen] for group in groups[:2])
    return _cut(experiment, bridged(one, chosen, other), "bridge")


@fault("ring", "cut", draw=_draw_ring)
def majorities_ring(experiment: Target, rng: Random, *, nodes: list[NodeId] | None = None) -> ActiveFault:
    """Each node reaches a majority, and no two nodes the same one."""
    around = shuffled(rng, experiment.nodes) if nodes is None else nodes
    return _cut(experiment, ring(around), "ring")


@fault("flapping", "cut", draw=_draw_groups)
def flapping(
    experiment: Target, rng: Random, *, groups: list[list[NodeId]] | None = None, period_s: float = 0.2
) -> ActiveFault:
    """A partition that comes and goes, for half of every period."""
    if groups is None:
        nodes = shuffled(rng, experiment.nodes)
        groups = [nodes[: len(nodes) // 2]]
    links = between(groups, experiment.nodes)
    # Whole links in between do not last long enough to be counted on.
    paper = experiment.faults.begin("flapping", links_disturbed=links, cuts=0)
    dropped: Counter[str] = Counter()

    def turn(over: threading.Event) -> None:
        with experiment.network.install(Cut(), links) as rule:
            paper.evidence["cuts"] += 1
            over.wait(period_s / 2)
        dropped["messages"] += rule.total("dropped")
        over.wait(period_s / 2)

    def end() -> None:
        paper.evidence["dropped"] = dropped["messages"]
        paper.bit = dropped["messages"] > 0
        paper.end()

    return Cycle(turn, end, lambda: dropped["messages"] > 0)
