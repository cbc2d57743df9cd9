"""Grey faults: something works, and badly. A disk hangs, a leader is slow, messages are lost in bursts, one direction is late.

The term is that of Huang et al., *Gray Failure: The Achilles' Heel of Cloud-Scale Systems* (HotOS'17): those who look see nothing
wrong, and those who depend on it do. "slow-sync", "clock-skew", "starve" and "flapping" are such faults of other families.

Nodes that share a failure domain, such as one disk, are struck together: see `harness.runs.plan_generator`.
"""

from collections.abc import Callable
from random import Random
from typing import Final

from harness.faults import power_loss_vfs
from harness.faults.active import ActiveFault, WatchedFault
from harness.faults.catalogue import BadFault, DrawnArguments, FaultBudget, fault, find_fault
from harness.faults.disk_faults import steer_disk
from harness.faults.excuses import Excuse, Kind
from harness.faults.link_faults import LinkSelection, expand_links
from harness.faults.process_faults import starve_nodes
from harness.faults.target import Target, choose_node, resolve_nodes
from harness.network.rules import Burst, Delay
from node.contract import NodeId

#: A disk that hangs does so for seconds: the default of Linux's `nvme_core.io_timeout` is 30.
_HANGS_S_LEAST: Final = 1.0
#: A slow leader is slow for longer than an election takes, and than the pause before it may hand over.
_SLOW_S_LEAST: Final = 1.5
#: How often nodes send again what was not answered, in seconds, at the slowest.
_SEND_AGAIN_S: Final = 0.2


def _draw_hanging(rng: Random, budget: FaultBudget) -> DrawnArguments | None:
    if not budget.free or budget.spare < 1:
        return None
    node = rng.choice(budget.free)
    return DrawnArguments({"nodes": [node]}, frozenset({node}), frozenset({node}))


@fault(
    "hung-disk",
    "grey",
    Excuse(Kind.DOWN, "a node sends nothing that rests on a commit which has not ended"),
    draw=_draw_hanging,
    weight=2,
    least_s=_HANGS_S_LEAST,
)
def hung_disk(experiment: Target, rng: Random, *, nodes: list[NodeId] | None = None) -> ActiveFault:
    """Let the disks of nodes hang: no sync ends before the heal.

    Args:
        experiment: the target of the fault.
        rng: draws one node if `nodes` is None.
        nodes: the nodes whose disks hang.

    Observer: the disks, whose receipts say that a sync waits.
    """
    hanging: list[WatchedFault] = []
    try:
        hanging.extend(
            steer_disk(experiment, rng, node, power_loss_vfs.HANG_SYNC, "", hangs=True, fault_name="hung-disk")
            for node in resolve_nodes(experiment, rng, nodes)
        )
    except BaseException:
        _heal_all(hanging)
        raise
    return WatchedFault(lambda: _heal_all(hanging), lambda: all(each.has_bitten() for each in hanging))


def _heal_all(faults: list[WatchedFault]) -> None:
    for each in faults:
        each.heal()


def _draw_slow(name: str, choose: Callable[[Random], float]) -> Callable[[Random, FaultBudget], DrawnArguments | None]:
    def draw(rng: Random, budget: FaultBudget) -> DrawnArguments | None:
        if len(budget.nodes) < 2 or budget.spare < 1:
            return None
        return DrawnArguments({name: choose(rng)}, frozenset({"leader"}))

    return draw


@fault(
    "leader-slow-disk",
    "grey",
    Excuse(
        Kind.LATE,
        "a message waits for the turn before it and for its own, of two syncs each at most",
        ("seconds",),
        times=4,
    ),
    draw=_draw_slow("seconds", lambda rng: round(rng.uniform(0.02, 0.3), 3)),
    least_s=_SLOW_S_LEAST,
)
def leader_slow_disk(experiment: Target, rng: Random, *, node: NodeId = "leader", seconds: float = 0.1) -> ActiveFault:
    """Let every sync of the leader take longer, by `seconds`, also when it leads no more.

    `node` is the node whose disk is slow.

    Observer: the disk's receipt.
    """
    chosen = choose_node(experiment, rng, node)
    late_s = find_fault("leader-slow-disk").excuse.disturbance({"seconds": seconds}).late_s
    name, setting = power_loss_vfs.SLOW_SYNC, str(seconds)
    return steer_disk(experiment, rng, chosen, name, setting, late_s=late_s, fault_name="leader-slow-disk")


@fault(
    "leader-slow-cpu",
    "grey",
    Excuse(Kind.DOWN, "how slow a starved process is depends on the machine"),
    draw=_draw_slow("stopped", lambda rng: round(rng.uniform(0.5, 0.95), 2)),
    least_s=_SLOW_S_LEAST,
)
def leader_slow_cpu(
    experiment: Target, rng: Random, *, node: NodeId = "leader", stopped: float = 0.8, period_s: float = 0.1
) -> ActiveFault:
    """Suspend the leader for a part of every period, like an overloaded machine, also when it leads no more.

    `node` is the node that is slow. The other arguments are those of `starve`.

    Observer: the kernel; the process table has shown the process as stopped ("T").
    """
    return starve_nodes(experiment, "leader-slow-cpu", [choose_node(experiment, rng, node)], stopped, period_s)


def _draw_burst(rng: Random, budget: FaultBudget) -> DrawnArguments | None:
    if len(budget.nodes) < 2:
        return None
    links = rng.choice(("nodes", "nodes", "clients", "all"))
    return DrawnArguments({"links": links, "loss": round(rng.uniform(0.05, 0.3), 2), "length": rng.randint(2, 8)})


@fault(
    "burst-loss",
    "grey",
    Excuse(
        Kind.LOSSY,
        "what is lost must be sent again, and each message of a burst that is sent again waits 0.2 s at most",
        ("length",),
        times=_SEND_AGAIN_S,
        loss="loss",
    ),
    draw=_draw_burst,
)
def burst_loss(
    experiment: Target, _rng: Random, *, links: LinkSelection = "nodes", loss: float = 0.2, length: int = 5
) -> ActiveFault:
    """Lose messages in bursts (the model of Gilbert and Elliott).

    Args:
        experiment: the target of the fault.
        links: as for `drop`.
        loss: the share of messages that is lost in the long run.
        length: how many messages of a link a burst loses in a row, on average.

    Observer: the proxy, which counts the messages on which it has acted.
    """
    disturbance = find_fault("burst-loss").excuse.disturbance({"loss": loss, "length": length})
    pairs = expand_links(links, experiment.nodes)
    return experiment.faults.apply_rules("burst-loss", [Burst(loss, length)], pairs, disturbance)


def _draw_one_way(rng: Random, budget: FaultBudget) -> DrawnArguments | None:
    if len(budget.nodes) < 2:
        return None
    node = rng.choice(("leader", rng.choice(budget.free or budget.nodes)))
    direction = rng.choice(("from", "to"))
    return DrawnArguments({"node": node, "direction": direction, "seconds": round(rng.uniform(0.05, 0.5), 3)})


@fault(
    "one-way-delay",
    "grey",
    Excuse(Kind.LATE, "each message is so late", ("seconds",)),
    draw=_draw_one_way,
)
def one_way_delay(
    experiment: Target, rng: Random, *, node: NodeId | None = None, direction: str = "from", seconds: float = 0.2
) -> ActiveFault:
    """Deliver messages later in one direction only: from a node to the others, or to it.

    Args:
        experiment: the target of the fault.
        rng: draws the node if `node` is None.
        node: the node at whose links messages are late.
        direction: from or to.
        seconds: how late.

    Observer: the proxy, which counts the messages on which it has acted.
    """
    if direction not in ("from", "to"):
        raise BadFault(f"one-way-delay: direction is {direction!r}, but must be from or to")
    chosen = choose_node(experiment, rng, node)
    links = [link for link in expand_links("nodes", experiment.nodes) if link[direction == "to"] == chosen]
    disturbance = find_fault("one-way-delay").excuse.disturbance({"seconds": seconds})
    return experiment.faults.apply_rules("one-way-delay", [Delay(seconds)], links, disturbance)
