"""The faults that cut links between nodes. `harness.faults.catalogue` says how they are used.

A link that is cut loses every message, in the directions that are cut. Clients still reach all nodes.

The proxy, a process of its own, counts the messages that it has dropped. A cut has bitten when there is at least one.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import permutations, product
from random import Random
from typing import Final

from cluster.errors import NoSuchNode
from harness.faults.active import ActiveFault, LinkFault, RepeatingFault
from harness.faults.catalogue import DrawnArguments, FaultBudget, fault, find_fault
from harness.faults.excuses import Excuse, Kind
from harness.faults.target import Target, choose_node, resolve_nodes
from harness.network.rules import Cut
from harness.records.links import Link
from node.contract import BadInput, NodeId
from node.quorum import majority

_CUT: Final = Excuse(Kind.CUT, "the links carry nothing")

Groups = Sequence[Sequence[NodeId]]


def checked_groups(groups: str, nodes: Sequence[NodeId]) -> list[list[NodeId]]:
    """Return the groups of a partition of `nodes`.

    Raises:
        BadInput: a node is named twice, or is in no group; or one group has all nodes.
    """
    sides = parse_groups(groups)
    named = [node for side in sides for node in side]
    if len(set(named)) < len(named):
        raise BadInput(f"{groups!r} names a node twice: each is in one group")
    rest = [node for node in nodes if node not in named]
    if rest and len(sides) > 1:
        raise BadInput(f"{groups!r} leaves out {', '.join(rest)}: put each node in a group")
    if not rest and len(sides) == 1:
        raise BadInput(f"{groups!r} is one group of all nodes, which cuts no link: write groups as n1,n2/n3,n4,n5")
    return sides


def parse_groups(text: str) -> list[list[str]]:
    """Return the groups of names that a text such as `n1,n2/n3,n4` stands for. Raises BadInput if a group is empty."""
    groups = [[name.strip() for name in group.split(",") if name.strip()] for group in text.split("/")]
    if not all(groups):
        raise BadInput(f"{text!r} has an empty group: write partitions as n1,n2/n3,n4,n5")
    return groups


def links_between(groups: Groups, nodes: Sequence[NodeId]) -> tuple[Link, ...]:
    """Return every link from one group to another, in both directions. Nodes in no group are a group of their own."""
    named = [node for group in groups for node in group]
    rest = [node for node in nodes if node not in named]
    parts = [*groups, *([rest] if rest else [])]
    return tuple(link for one, other in permutations(parts, 2) for link in product(one, other))


def links_of_bridge(one: Sequence[NodeId], bridge: NodeId, other: Sequence[NodeId]) -> tuple[Link, ...]:
    """Return the links between two groups, in both directions. The node `bridge`, which is in neither, reaches both."""
    assert bridge not in (*one, *other)
    return tuple(link for pair in product(one, other) for link in (pair, pair[::-1]))


def links_of_ring(nodes: Sequence[NodeId]) -> tuple[Link, ...]:
    """Return the links to cut so that each node reaches only its neighbours on a ring, in the order of `nodes`.

    Each node and the neighbours that it reaches are a smallest majority, and no two nodes reach the same one.
    """
    to_each_side = majority(len(nodes)) // 2
    place = {node: number for number, node in enumerate(nodes)}

    def distance(one: NodeId, other: NodeId) -> int:
        steps = abs(place[one] - place[other])
        return min(steps, len(nodes) - steps)

    return tuple(link for link in permutations(nodes, 2) if distance(*link) > to_each_side)


def shuffled(rng: Random, nodes: Sequence[NodeId]) -> list[NodeId]:
    """Return the nodes in a random order."""
    return rng.sample(list(nodes), len(nodes))


def _cut(experiment: Target, links: Iterable[Link], name: str) -> LinkFault:
    return experiment.faults.cut(links, name)


# --- arguments for generated plans ------------------------------------------------------------------------------------


def _outside_largest(budget: FaultBudget, groups: Groups) -> frozenset[NodeId]:
    """Return the nodes that are not in the largest group."""
    largest = max(groups, key=len)
    return frozenset(node for node in budget.nodes if node not in largest)


def _draw_groups(rng: Random, budget: FaultBudget) -> DrawnArguments | None:
    if len(budget.nodes) < 2:
        return None
    nodes = shuffled(rng, budget.nodes)
    parts = 2 if len(nodes) < 5 or rng.random() < 0.75 else 3
    ends = sorted(rng.sample(range(1, len(nodes)), parts - 1))
    groups = [sorted(nodes[start:end]) for start, end in zip([0, *ends], [*ends, len(nodes)], strict=True)]
    return DrawnArguments({"groups": groups}, _outside_largest(budget, groups))


def _draw_node(rng: Random, budget: FaultBudget) -> DrawnArguments | None:
    if len(budget.nodes) < 2:
        return None
    node = rng.choice(budget.free or budget.nodes)  # a node that is down is cut off already
    return DrawnArguments({"node": node}, frozenset({node}))


def _draw_leader(_rng: Random, budget: FaultBudget) -> DrawnArguments | None:
    return DrawnArguments({}, frozenset({"leader"})) if len(budget.nodes) > 1 else None


def _draw_one_way(rng: Random, budget: FaultBudget) -> DrawnArguments | None:
    if len(budget.nodes) < 2:
        return None
    node = rng.choice(budget.free or budget.nodes)  # a node that is down is cut off already
    others = sorted(other for other in budget.nodes if other != node)
    sends = rng.random() < 0.5
    return DrawnArguments(
        {"senders": [node] if sends else others, "receivers": others if sends else [node]}, frozenset({node})
    )


def _draw_bridge(rng: Random, budget: FaultBudget) -> DrawnArguments | None:
    if len(budget.nodes) < 3:
        return None
    groups = _bridge_groups(shuffled(rng, budget.nodes))
    takes = frozenset(groups[0]) if len(groups[0]) + 1 < majority(len(budget.nodes)) else frozenset[NodeId]()
    return DrawnArguments({"groups": groups}, takes)


def _bridge_groups(nodes: Sequence[NodeId]) -> list[list[NodeId]]:
    """Return two groups. When one node of the second is the bridge, both have the same size, or the second one more."""
    half = (len(nodes) - 1) // 2
    return [sorted(nodes[:half]), sorted(nodes[half:])]


def _draw_ring(rng: Random, budget: FaultBudget) -> DrawnArguments | None:
    return DrawnArguments({"nodes": shuffled(rng, budget.nodes)}) if len(budget.nodes) >= 4 else None


def _draw_no_arguments(_rng: Random, budget: FaultBudget) -> DrawnArguments | None:
    size = (len(budget.nodes) - 1) // 2
    return DrawnArguments({}, frozenset(budget.nodes[:size])) if size else None


# --- the faults -------------------------------------------------------------------------------------------------------


@fault("partition", "cut", _CUT, draw=_draw_groups, weight=2)
def partition(experiment: Target, rng: Random, *, groups: list[list[NodeId]] | None = None) -> ActiveFault:
    """Cut groups of nodes from each other.

    Args:
        experiment: the target of the fault.
        rng: draws one group if `groups` is None.
        groups: the groups; nodes in no group are a group of their own.

    Observer: the proxy, which counts the messages that it has dropped.
    """
    if groups is None:
        nodes = shuffled(rng, experiment.nodes)
        groups = [nodes[: rng.randint(1, len(nodes) - 1)]]
    return _cut(experiment, links_between(groups, experiment.nodes), "partition")


@fault("halves", "cut", _CUT, draw=_draw_no_arguments)
def halves(experiment: Target, rng: Random) -> ActiveFault:
    """Cut the nodes into two random halves; with an odd number of nodes, one half is larger.

    Observer: the proxy, which counts the messages that it has dropped.
    """
    nodes = shuffled(rng, experiment.nodes)
    return _cut(experiment, links_between([nodes[: len(nodes) // 2]], experiment.nodes), "halves")


@fault("minority", "cut", _CUT, draw=_draw_leader)
def minority(experiment: Target, rng: Random, *, node: NodeId = "leader") -> ActiveFault:
    """Cut the nodes into two sides, with a node, by default the leader, on the smaller side.

    `rng` draws the other nodes of its side.

    Observer: the proxy, which counts the messages that it has dropped.
    """
    chosen = choose_node(experiment, rng, node)
    others = [other for other in shuffled(rng, experiment.nodes) if other != chosen]
    side = [chosen, *others[: (len(experiment.nodes) - 1) // 2 - 1]]
    return _cut(experiment, links_between([side], experiment.nodes), "minority")


@fault("majority", "cut", _CUT, draw=_draw_no_arguments)
def majority_(experiment: Target, rng: Random, *, node: NodeId = "leader") -> ActiveFault:
    """Cut the nodes into two sides, with a node, by default the leader, on the larger side.

    `rng` draws the other nodes of its side.

    Observer: the proxy, which counts the messages that it has dropped.
    """
    chosen = choose_node(experiment, rng, node)
    others = [other for other in shuffled(rng, experiment.nodes) if other != chosen]
    side = [chosen, *others[: majority(len(experiment.nodes)) - 1]]
    return _cut(experiment, links_between([side], experiment.nodes), "majority")


@fault("isolate", "cut", _CUT, draw=_draw_node)
def isolate(experiment: Target, rng: Random, *, node: NodeId | None = None) -> ActiveFault:
    """Cut a node from all other nodes, in both directions.

    `rng` draws the node if it is None.

    Observer: the proxy, which counts the messages that it has dropped.
    """
    return _cut(experiment, links_between([[choose_node(experiment, rng, node)]], experiment.nodes), "isolate")


@fault("isolate-leader", "cut", _CUT, draw=_draw_leader, weight=2)
def isolate_leader(experiment: Target, rng: Random) -> ActiveFault:
    """Cut the present leader from all other nodes; without a leader, the first node.

    Observer: the proxy, which counts the messages that it has dropped.
    """
    leader = choose_node(experiment, rng, "leader")
    return _cut(experiment, links_between([[leader]], experiment.nodes), "isolate-leader")


@fault("one-way", "cut", _CUT, draw=_draw_one_way)
def one_way(
    experiment: Target,
    rng: Random,
    *,
    senders: list[NodeId] | None = None,
    receivers: list[NodeId] | None = None,
) -> ActiveFault:
    """Cut links in one direction only: messages from senders are lost, and answers to them are not.

    Args:
        experiment: the target of the fault.
        rng: draws one sender if `senders` is None.
        senders: the nodes whose messages are lost.
        receivers: the nodes that do not get them; None stands for all nodes.

    Observer: the proxy, which counts the messages that it has dropped.
    """
    from_nodes = resolve_nodes(experiment, rng, senders)
    to_nodes = resolve_nodes(experiment, rng, receivers) if receivers is not None else experiment.nodes
    return _cut(experiment, [link for link in product(from_nodes, to_nodes) if link[0] != link[1]], "one-way")


@fault("bridge", "cut", _CUT, draw=_draw_bridge)
def bridge(
    experiment: Target, rng: Random, *, node: NodeId | None = None, groups: list[list[NodeId]] | None = None
) -> ActiveFault:
    """Cut two groups of nodes from each other, except for one node, the bridge, which reaches both.

    Without `node`, the bridge is a node of the second group that does not lead. In a log the followers talk to the
    leader only, so a bridge around the leader would cut nothing that matters.

    Args:
        experiment: the target of the fault.
        rng: draws the groups if `groups` is None.
        node: the bridge.
        groups: the two groups; the bridge may be in one of them.

    Observer: the proxy, which counts the messages that it has dropped.
    """
    chosen = None if node is None else choose_node(experiment, rng, node)
    if groups is None:
        others = [other for other in shuffled(rng, experiment.nodes) if other != chosen]
        groups = _bridge_groups([*others, *([chosen] if chosen else [])])
    if chosen is None:
        leader = choose_node(experiment, rng, "leader")
        chosen = next((member for member in reversed(groups[1]) if member != leader), groups[1][-1])
    one, other = ([member for member in group if member != chosen] for group in groups[:2])
    return _cut(experiment, links_of_bridge(one, chosen, other), "bridge")


@fault("ring", "cut", _CUT, draw=_draw_ring)
def majorities_ring(experiment: Target, rng: Random, *, nodes: list[NodeId] | None = None) -> ActiveFault:
    """Cut links so that each node reaches a majority, and no two nodes reach the same one.

    `nodes` is the order of the nodes on the ring; `rng` draws it if it is None.

    Observer: the proxy, which counts the messages that it has dropped.
    """
    order = shuffled(rng, experiment.nodes) if nodes is None else nodes
    links = links_of_ring(order)
    if not links:
        raise BadInput(
            f"a ring of {len(order)} nodes cuts no link: each node reaches all others. It needs four nodes or more"
        )
    return _cut(experiment, links, "ring")


@fault(
    "flapping",
    "cut",
    Excuse(Kind.LOSSY, "each link is cut for half of each period", ("period_s",), loss=0.5),
    draw=_draw_groups,
)
def flapping(
    experiment: Target, rng: Random, *, groups: list[list[NodeId]] | None = None, period_s: float = 0.2
) -> ActiveFault:
    """Cut groups of nodes from each other for half of every period.

    Args:
        experiment: the target of the fault.
        rng: draws one group if `groups` is None.
        groups: the groups; nodes in no group are a group of their own.
        period_s: the length of a period, in seconds.

    Observer: the proxy, which counts the messages that it has dropped.
    """
    if groups is None:
        nodes = shuffled(rng, experiment.nodes)
        groups = [nodes[: len(nodes) // 2]]
    links = experiment.network.links_left(links_between(groups, experiment.nodes))
    disturbance = find_fault("flapping").excuse.disturbance({"period_s": period_s})
    receipt = experiment.faults.begin("flapping", links_disturbed=links, disturbance=disturbance, cuts=0)
    dropped: Counter[str] = Counter()

    def cut_and_restore(healing: threading.Event) -> None:
        with suppress(NoSuchNode):  # nodes may leave meanwhile, and take all of the links with them
            with experiment.network.install(Cut(), links) as rule:
                receipt.evidence["cuts"] += 1
                healing.wait(period_s / 2)
            dropped["messages"] += rule.total("dropped")
        healing.wait(period_s / 2)

    def end() -> None:
        receipt.evidence["dropped"] = dropped["messages"]
        receipt.bit = dropped["messages"] > 0
        receipt.end()
        if not receipt.bit and experiment.faults.links_may_idle:
            experiment.faults.forget(receipt)

    return RepeatingFault(cut_and_restore, end, lambda: dropped["messages"] > 0)
