"""Changes of a log's members, as faults: nodes join, leave and are replaced while other faults are in force.

A change has an outcome: installed, refused, or indeterminate, if no reply came in time. Its receipt says which, and who voted
before and votes after it, so that the judges know whose majority counts (`harness.records.receipts.MemberChange`). The observer
is the disks of other nodes, which are read when the fault heals: they show the change, or do not.

A node that is removed runs on until the fault heals, as if it had not heard of the change, and clients may still ask it. Its
name never comes back.
"""

import time
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any, Final

from cluster.errors import BootFailed, CommandRefused, NoSuchNode, Unknown
from cluster.membership import end_removed, leading_node, remove_member
from cluster.processes import ProcessState
from harness.faults.active import ActiveFault, EndsOnHeal, LinkFault, ReceiptBuilder
from harness.faults.catalogue import DrawnArguments, FaultBudget, fault
from harness.faults.excuses import Excuse, Kind
from harness.faults.partitions import links_between
from harness.faults.roles import Missed
from harness.faults.target import Target, choose_node, own_cluster
from harness.records.disks import log_on_disk
from harness.records.receipts import CHANGE, INDETERMINATE, INSTALLED, REFUSED
from node.algorithms import load_algorithm
from node.contract import NodeId
from node.storage.disk import DiskError, inspect

_CHANGES: Final = Excuse(
    Kind.NOTHING, "a change needs a majority of those who vote before it, and of those who vote after it"
)
#: How long a change may take, in seconds, until its outcome is indeterminate.
_CHANGE_S: Final = 3.0
#: A cluster keeps so many voters: with fewer, no node may be down.
_VOTERS_LEAST: Final = 3
#: How many disks show what came of a change.
_DISKS: Final = 2
_LOOK_S: Final = 0.02


def _draw(takes: bool) -> Callable[[Random, FaultBudget], DrawnArguments | None]:
    def draw(_rng: Random, budget: FaultBudget) -> DrawnArguments | None:
        if not budget.changes_members or len(budget.nodes) < _VOTERS_LEAST or budget.spare < takes:
            return None
        return DrawnArguments({}, frozenset({"leader"} if takes else ()))

    return draw


@fault("add-node", "member", _CHANGES, draw=_draw(takes=False), weight=2)
def add_node(experiment: Target, _rng: Random) -> ActiveFault:
    """Add a node with a new name, which catches up and votes.

    Observer: the disks of other nodes, which show it as a member.

    Raises:
        Missed: the cluster keeps no log, or no node says who votes now.
    """
    _, receipt = _add(experiment, "add-node")
    return EndsOnHeal(lambda: _look(experiment, receipt))


@fault("remove-node", "member", _CHANGES, draw=_draw(takes=False))
def remove_node(experiment: Target, rng: Random, *, node: NodeId | None = None) -> ActiveFault:
    """Remove a node for ever; its process ends at the heal.

    Args:
        experiment: the target of the fault.
        rng: draws a node that votes, if `node` is None.
        node: the node to remove. If it leads, it hands over first.

    Observer: the disks of other nodes, which show it as removed.

    Raises:
        Missed: the cluster keeps no log, no node says who votes now, or too few nodes do.
    """
    return _remove(experiment, rng, node, "remove-node")


@fault("replace-node", "member", _CHANGES, draw=_draw(takes=False), weight=2)
def replace_node(experiment: Target, rng: Random, *, node: NodeId | None = None) -> ActiveFault:
    """Add a node with a new name, and remove one when the new one votes. The arguments are those of `remove-node`.

    Observer: the disks of other nodes.
    """
    _, added = _add(experiment, "replace-node")
    if added.evidence[CHANGE]["outcome"] != INSTALLED:
        return EndsOnHeal(lambda: _look(experiment, added))
    removed = _remove(experiment, rng, node, "replace-node")

    def end() -> None:
        removed.heal()
        _look(experiment, added)

    return EndsOnHeal(end)


@fault(
    "leader-and-learner",
    "member",
    Excuse(Kind.CUT, "the links carry nothing"),
    draw=_draw(takes=True),
    weight=2,
    least_s=1.5,
)
def leader_and_learner(experiment: Target, rng: Random) -> ActiveFault:
    """Add a node, and cut it off together with the leader before it votes. With them are as many voters as a minority has.

    `rng` draws those voters.

    Observers: the proxy, which counts the messages that it has dropped, and the disks of other nodes.
    """
    cuts: list[LinkFault] = []

    def cut(learner: NodeId) -> None:
        leader = choose_node(experiment, rng, "leader")
        voters = [node for node in experiment.nodes if node not in (leader, learner)]
        side = [leader, learner, *rng.sample(voters, len(voters) // 2 - 1)]
        cuts.append(experiment.faults.cut(links_between([side], experiment.nodes), "leader-and-learner"))

    _, receipt = _add(experiment, "leader-and-learner", cut)

    def end() -> None:
        for each in cuts:
            each.heal()
        _look(experiment, receipt)

    return EndsOnHeal(end)


# --- the changes --------------------------------------------------------------------------------------------------------


def _add(
    experiment: Target, name: str, when_it_learns: Callable[[NodeId], None] | None = None
) -> tuple[NodeId, ReceiptBuilder]:
    """Add a node and start it. Call `when_it_learns` when it is a member, does not run yet, and so has no vote."""
    faults, cluster = experiment.faults, own_cluster(experiment)
    with faults.changing:
        before = _voters(experiment)
        used = {*cluster.spec.known_nodes(), *cluster.nodes, *faults.names_given}
        node = next(each for each in (f"n{number}" for number in count(len(used) + 1)) if each not in used)
        faults.names_given.add(node)
        receipt = _begin(experiment, name, "add", node, before, (*before, node))
        cluster.links.node_joins(node)
        try:
            with cluster.log_client("nemesis") as client:
                client.configuration.add(node, _CHANGE_S)
            if when_it_learns is not None:
                when_it_learns(node)
            with faults.lock:
                cluster.launch_new(node)
            if when_it_learns is None and _wait_for_vote(experiment, node):
                _settle(receipt, INSTALLED)
        except CommandRefused as error:
            _settle(receipt, REFUSED, error)
        except (BootFailed, Unknown) as error:
            receipt.evidence["error"] = str(error)
    return node, receipt


def _remove(experiment: Target, rng: Random, node: NodeId | None, name: str) -> ActiveFault:
    faults, cluster = experiment.faults, own_cluster(experiment)
    with faults.changing:
        before = _voters(experiment)
        if len(before) <= _VOTERS_LEAST:
            raise Missed(f"{len(before)} nodes vote, and no fewer are to: {', '.join(before)}")
        chosen = choose_node(experiment, rng, node or rng.choice([each for each in before if each in cluster.nodes]))
        receipt = _begin(experiment, name, "remove", chosen, before, tuple(each for each in before if each != chosen))
        try:
            remove_member(cluster, chosen, _CHANGE_S)
            _settle(receipt, INSTALLED)
        except (CommandRefused, NoSuchNode) as error:
            _settle(receipt, REFUSED, error)
        except Unknown as error:
            receipt.evidence["error"] = str(error)

    def end() -> None:
        _look(experiment, receipt)
        if receipt.evidence[CHANGE]["outcome"] == INSTALLED:
            with faults.lock:
                if chosen in cluster.processes:
                    end_removed(cluster, chosen)

    return EndsOnHeal(end)


def _begin(
    experiment: Target, name: str, kind: str, node: NodeId, before: tuple[NodeId, ...], after: tuple[NodeId, ...]
) -> ReceiptBuilder:
    change: dict[str, Any] = {"kind": kind, "node": node, "outcome": INDETERMINATE}
    change |= {"before": list(before), "after": list(after), "settled_ns": None}
    return experiment.faults.begin(name, **{CHANGE: change})  # type: ignore[arg-type]  # no argument of `begin` has this name


def _settle(receipt: ReceiptBuilder, outcome: str, error: Exception | None = None) -> None:
    receipt.evidence[CHANGE] = {**receipt.evidence[CHANGE], "outcome": outcome, "settled_ns": time.monotonic_ns()}
    if error is not None:
        receipt.evidence["error"] = str(error)


def _voters(experiment: Target) -> tuple[NodeId, ...]:
    """Return who votes now, as the leader says."""
    if not experiment.cluster.keeps_log:
        raise Missed("the cluster keeps no log, so its members do not change")
    statuses = experiment.cluster.status()
    leader = leading_node(statuses)
    if leader is None:
        raise Missed("no leader says who votes now")
    return tuple(statuses[leader]["variables"][""]["voters"])


def _wait_for_vote(experiment: Target, node: NodeId) -> bool:
    until = time.monotonic() + _CHANGE_S
    while time.monotonic() < until and not experiment.faults.ending.is_set():
        statuses = experiment.cluster.status()
        leader = leading_node(statuses)
        if leader is not None and node in statuses[leader]["variables"][""]["voters"]:
            return True
        time.sleep(_LOOK_S)
    return False


def _look(experiment: Target, receipt: ReceiptBuilder) -> None:
    """End the receipt of a change with what the disks of other nodes show of it."""
    cluster, change = own_cluster(experiment), receipt.evidence[CHANGE]
    algorithm = load_algorithm(cluster.spec.settings.algorithm)
    shown: dict[NodeId, str] = {}
    for node, process in cluster.processes.items():
        if node == change["node"] or process.look() is not ProcessState.UP or len(shown) == _DISKS:
            continue
        try:
            contents = inspect(cluster.spec.settings.directory(node))
        except DiskError:
            continue
        try:
            members = log_on_disk(algorithm, cluster.spec.nodes, contents)
        except Exception:  # noqa: BLE001, S112 - of a disk that a broken node has written. The judges read it when the run is over
            continue
        kinds = [kind for kind in ("voters", "learners", "removed") if change["node"] in members.get(kind, ())]
        shown[node] = kinds[0] if kinds else "unknown"
    receipt.evidence["on the disks of"] = shown
    wanted = ("voters", "learners", "removed") if change["kind"] == "add" else ("removed",)
    receipt.bit = change["outcome"] != INSTALLED or any(kind in wanted for kind in shown.values())
    if change["outcome"] == INDETERMINATE and change["settled_ns"] is None:
        _settle(receipt, INDETERMINATE)
    receipt.end()
