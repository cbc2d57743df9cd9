"""Faults of roles: they find the leader, or the node that is to lead next, when they strike.

They last for longer than others in generated plans: an election, a lease or the deadline of a call is over before they heal.
"""

import time
from collections.abc import Iterable
from itertools import product
from random import Random
from typing import Final

from cluster.errors import CommandRefused, Unknown
from cluster.membership import leading_node
from harness.faults.active import ActiveFault, EndsOnHeal, LinkFault, WatchedFault
from harness.faults.catalogue import ArgumentDrawer, BadFault, DrawnArguments, FaultBudget, fault
from harness.faults.excuses import Excuse, Kind
from harness.faults.log_traits import log_traits
from harness.faults.partitions import links_between
from harness.faults.roles import Missed
from harness.faults.target import Target, bring_up, choose_node, own_cluster
from harness.faults.trigger import MessageTrigger
from harness.network.installed_rule import NotSeen
from node.contract import NodeId

_CUT: Final = Excuse(Kind.CUT, "the links carry nothing")
#: A plan lets these faults last for so many seconds at least: naive failover and a log elect another leader in less, and an
#: answer is owed within a second.
_LEAST_S: Final = 1.5
#: How long the request to hand over, and the message that follows it, may take, in seconds.
_HAND_OVER_S: Final = 1.5
#: How long to wait for another leader, and between two looks at all statuses, in seconds.
_ELECTED_S: Final = 2.0
_LOOK_S: Final = 0.05


def _draw_leader(**choices: tuple[str, ...]) -> ArgumentDrawer:
    """Return a function that takes the leader away, and draws an argument from each tuple."""

    def draw(rng: Random, budget: FaultBudget) -> DrawnArguments | None:
        if len(budget.nodes) < 2 or budget.spare < 1:
            return None
        return DrawnArguments({name: rng.choice(values) for name, values in choices.items()}, frozenset({"leader"}))

    return draw


def _draw_hand_over(rng: Random, budget: FaultBudget) -> DrawnArguments | None:
    drawn = _draw_leader(lose=("heir", "heir", "leader"), how=("kill", "suspend", "isolate"))(rng, budget)
    return drawn if budget.hand_over else None


@fault("deaf-leader", "role", _CUT, draw=_draw_leader(), weight=2, least_s=_LEAST_S)
def deaf_leader(experiment: Target, rng: Random, *, node: NodeId = "leader") -> ActiveFault:
    """Let the leader send to all others and receive nothing from them.

    `node` is the node that is deaf.

    Observer: the proxy, which counts the messages that it has dropped.
    """
    chosen = choose_node(experiment, rng, node)
    return _cut(experiment, product(experiment.nodes, [chosen]), "deaf-leader")


@fault("mute-leader", "role", _CUT, draw=_draw_leader(), least_s=_LEAST_S)
def mute_leader(experiment: Target, rng: Random, *, node: NodeId = "leader") -> ActiveFault:
    """Let the leader receive from all others and send nothing to them.

    `node` is the node that is mute.

    Observer: the proxy, which counts the messages that it has dropped.
    """
    chosen = choose_node(experiment, rng, node)
    return _cut(experiment, product([chosen], experiment.nodes), "mute-leader")


@fault("leader-alone", "role", _CUT, draw=_draw_leader(), least_s=_LEAST_S)
def leader_alone(experiment: Target, rng: Random, *, node: NodeId = "leader") -> ActiveFault:
    """Cut the leader from all other nodes, and let the clients reach both sides, for longer than an election takes.

    `node` is the node that is alone.

    Observer: the proxy, which counts the messages that it has dropped.
    """
    chosen = choose_node(experiment, rng, node)
    return _cut(experiment, links_between([[chosen]], experiment.nodes), "leader-alone")


@fault("leader-from-the-past", "role", _CUT, draw=_draw_leader(), weight=8, least_s=_LEAST_S)
def leader_from_the_past(experiment: Target, rng: Random, *, node: NodeId = "leader") -> ActiveFault:
    """Cut the leader from all other nodes, and suspend it until another node leads. Then it goes on, and clients still reach it.

    It cannot know yet that it leads no more, so it must not answer a question by itself. The links stay cut until the heal.

    `node` is the node that is cut off and suspended.

    Observers: the proxy, which counts the messages that it has dropped, and the kernel, by the process table.
    """
    chosen = choose_node(experiment, rng, node)
    faults = experiment.faults
    end_claim = faults.claim("leader-from-the-past", [chosen])
    links = _cut(experiment, links_between([[chosen]], experiment.nodes), "leader-from-the-past")
    try:
        faults.suspend(chosen)
        _wait_for_another_leader(experiment, chosen)
        faults.resume(chosen)
    except BaseException:
        links.heal()
        bring_up(faults, [chosen])
        end_claim()
        raise

    def end() -> None:
        try:
            links.heal()
        finally:
            end_claim()

    return WatchedFault(end, links.has_bitten)


def _wait_for_another_leader(experiment: Target, node: NodeId) -> None:
    """Wait until another node than `node`, which is suspended, reports that it leads, for as long as elections take."""
    until = time.monotonic() + _ELECTED_S
    while time.monotonic() < until and not experiment.faults.ending.wait(_LOOK_S):
        if leading_node(experiment.cluster.status(_LOOK_S)) not in (None, node):
            return


def _cut(experiment: Target, links: Iterable[tuple[NodeId, NodeId]], name: str) -> LinkFault:
    return experiment.faults.cut([link for link in links if link[0] != link[1]], name)


@fault(
    "leader-down",
    "role",
    Excuse(Kind.DOWN, "a process that has ended or is suspended does nothing"),
    draw=_draw_leader(how=("kill", "suspend")),
    weight=2,
    least_s=_LEAST_S,
)
def leader_down(experiment: Target, rng: Random, *, node: NodeId = "leader", how: str = "suspend") -> ActiveFault:
    """Kill or suspend the leader, for longer than an election takes.

    Args:
        experiment: the target of the fault.
        rng: unused, since the leader is no draw.
        node: the node that is lost.
        how: kill or suspend. A suspended leader goes on, when it is resumed, as if it still led.

    Observer: the kernel, by the wait status or the process table.
    """
    chosen = choose_node(experiment, rng, node)
    if how not in ("kill", "suspend"):
        raise BadFault(f"leader-down: how is {how!r}, but must be kill or suspend")
    return _lose(experiment, "leader-down", chosen, how)


@fault(
    "hand-over",
    "role",
    Excuse(Kind.DOWN, "the node that is lost does nothing, or its links carry nothing"),
    draw=_draw_hand_over,
    weight=2,
    least_s=_LEAST_S,
)
def hand_over(
    experiment: Target, rng: Random, *, node: NodeId = "heir", lose: str = "heir", how: str = "isolate"
) -> ActiveFault:
    """Let the leader of a log hand over, and lose the heir or the old leader when the request to take over is on its way.

    Args:
        experiment: the target of the fault.
        rng: draws the heir, if `node` is the role of several.
        node: the node that is to lead.
        lose: heir or leader, the node that is lost. If it is the old leader, the heir has received the request.
        how: kill, suspend or isolate.

    Observers: the proxy, which holds the request to take over, and the kernel or the proxy for the loss.

    Raises:
        Missed: leaders of this algorithm do not hand over, or this one did not.
    """
    if lose not in ("heir", "leader") or how not in ("kill", "suspend", "isolate"):
        raise BadFault(f"hand-over: lose is heir or leader, how is kill, suspend or isolate; not {lose!r}, {how!r}")
    request = log_traits(experiment.algorithm).hand_over if experiment.cluster.keeps_log else ""
    if not request:
        raise Missed(f"no leader of {experiment.algorithm} can be asked to hand over")
    leader, heir = (choose_node(experiment, rng, role) for role in ("leader", node))
    if heir == leader:
        raise Missed(f"{heir} leads already")
    trigger = MessageTrigger(experiment, [(leader, heir)], request, 1)
    try:
        with own_cluster(experiment).log_client("hand-over") as client:
            client.configuration.hand_over(heir, _HAND_OVER_S)
        trigger.wait(_HAND_OVER_S)
        if lose == "leader":
            trigger.release()
        return _lose(experiment, "hand-over", heir if lose == "heir" else leader, how)
    except (CommandRefused, Unknown, NotSeen) as error:
        raise Missed(f"{leader} did not hand over to {heir}: {error}") from error
    finally:
        trigger.release()


def _lose(experiment: Target, name: str, node: NodeId, how: str) -> ActiveFault:
    """Kill, suspend or isolate a node for the fault `name`. The heal brings it back."""
    faults = experiment.faults
    if how == "isolate":
        return _cut(experiment, links_between([[node]], experiment.nodes), name)
    end_claim = faults.claim(name, [node])
    try:
        (faults.kill if how == "kill" else faults.suspend)(node)
    except BaseException:
        end_claim()
        raise

    def end() -> None:
        try:
            bring_up(faults, [node])
        finally:
            end_claim()

    return EndsOnHeal(end)
