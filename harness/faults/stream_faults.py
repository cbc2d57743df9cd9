"""The faults of streams of bytes, for systems whose nodes speak TCP. `harness.faults.catalogue` says how they are used.

Nodes of ours send messages, which cannot suffer them. The faults of the families "cut" and "link" strike streams, too: what is
lost is then sent again, as TCP does, and is late. `links` selects links as in `harness/faults/link_faults.py`.

The proxy, a process of its own, counts on what it has acted, and its meter counts what crossed nevertheless.
"""

from collections.abc import Sequence
from random import Random

from harness.faults.active import ActiveFault, LinkFault, WatchedFault
from harness.faults.catalogue import DrawnArguments, FaultBudget, fault, find_fault
from harness.faults.excuses import Excuse, Kind
from harness.faults.link_faults import LinkSelection, expand_links
from harness.faults.partitions import links_between, shuffled
from harness.faults.process_faults import kill
from harness.faults.target import Target, choose_node
from harness.network.rules import Action, Bandwidth, HalfOpen, Pause, Reset, SlowClose
from harness.records.links import Link
from node.contract import NodeId

_BROKEN = Excuse(Kind.LOSSY, "each connection is reset, or waits", loss=1.0)


def _apply(experiment: Target, name: str, action: Action, links: Sequence[Link], **arguments: float) -> LinkFault:
    disturbance = find_fault(name).excuse.disturbance(arguments)
    return experiment.faults.apply_rules(name, [action], links, disturbance)


def _draw_links(rng: Random, budget: FaultBudget) -> DrawnArguments | None:
    return DrawnArguments({"links": rng.choice(("nodes", "clients", "all"))}) if len(budget.nodes) > 1 else None


def _draw_groups(rng: Random, budget: FaultBudget) -> DrawnArguments | None:
    if len(budget.nodes) < 2 or budget.spare < 1:
        return None
    group = sorted(shuffled(rng, budget.nodes)[:1])
    return DrawnArguments({"groups": [group]}, frozenset(group))


@fault("reset", "stream", _BROKEN, draw=_draw_groups, weight=0)
def reset(experiment: Target, rng: Random, *, groups: list[list[NodeId]] | None = None) -> ActiveFault:
    """Cut groups of nodes from each other by resets: a connection ends at once, and a new one is reset.

    The arguments are those of "partition", which is silent.

    Observer: the proxy, which counts the connections that it has reset; its meter counts what crossed.
    """
    chosen = groups if groups is not None else [shuffled(rng, experiment.nodes)[:1]]
    return _apply(experiment, "reset", Reset(), links_between(chosen, experiment.nodes))


@fault("half-open", "stream", _BROKEN, weight=0)
def half_open(experiment: Target, rng: Random, *, node: NodeId | None = None) -> ActiveFault:
    """Kill a node, and let nobody see that its connections have ended, as if its machine had lost power.

    New connections to it wait, too, instead of being refused.

    The heal starts the node again, and shows the ends.

    Args:
        experiment: the target of the fault.
        rng: draws the node if it is None.
        node: the node.

    Observer: the kernel, for the kill; the proxy, which counts the ends that it has kept.
    """
    chosen = choose_node(experiment, rng, node)
    links = [link for link in expand_links("all", experiment.nodes) if link[0] == chosen]
    hidden = experiment.faults.apply_rules("half-open", [HalfOpen()], links, _BROKEN.disturbance({}))
    try:
        killed = kill(experiment, rng, nodes=[chosen])
    except BaseException:
        hidden.heal()
        raise

    def end() -> None:
        try:
            killed.heal()
        finally:
            hidden.heal()

    return WatchedFault(end, hidden.has_bitten)


@fault("slow-close", "stream", Excuse(Kind.NOTHING, "only the end of a connection is late"), weight=0, draw=_draw_links)
def slow_close(experiment: Target, _rng: Random, *, links: LinkSelection = "all", seconds: float = 1.0) -> ActiveFault:
    """Tell each side of the end of a connection late, by `seconds`.

    Observer: the proxy, which counts the ends that it has delayed.
    """
    return _apply(experiment, "slow-close", SlowClose(seconds), expand_links(links, experiment.nodes))


@fault(
    "pause-stream", "stream", Excuse(Kind.LATE, "each stream stands still for so long", ("seconds",)), weight=0,
    draw=_draw_links,
)  # fmt: skip
def pause_stream(
    experiment: Target, _rng: Random, *, links: LinkSelection = "all", every_bytes: int = 2000, seconds: float = 0.2
) -> ActiveFault:
    """Let each stream stand still for `seconds` after each `every_bytes` bytes, also in the middle of a message.

    Observer: the proxy, which counts the pauses.
    """
    action = Pause(every_bytes, seconds)
    return _apply(experiment, "pause-stream", action, expand_links(links, experiment.nodes), seconds=seconds)


@fault("narrow", "stream", Excuse(Kind.LOSSY, "a line that is too narrow delays without a bound", loss=0.9), weight=0,
    draw=_draw_links,
)  # fmt: skip
def narrow(
    experiment: Target, _rng: Random, *, links: LinkSelection = "nodes", bytes_per_s: int = 50_000
) -> ActiveFault:
    """Let each link carry at most `bytes_per_s` bytes a second.

    Observer: the proxy, which counts the pieces that had to wait for the line.
    """
    return _apply(experiment, "narrow", Bandwidth(bytes_per_s), expand_links(links, experiment.nodes))
