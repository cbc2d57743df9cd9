"""Saves and restores the whole state of a virtual node, and reads from it the facts that judges check."""

from typing import Any, NamedTuple

from harness.virtual.node import VirtualNode
from harness.virtual.snapshots import freeze, thaw
from harness.virtual.steps import VARIABLE
from harness.virtual.watchdog import EndlessLoop, one_turn
from node.authors import describe_failure, status_of
from node.contract import Algorithm, ContractBroken, Message, NodeId, Request, Status, Stored, Value
from node.instances import Waiting
from node.quorum import NO_BALLOT, Ballot


class Facts(NamedTuple):
    """What judges check of a node's replica: its decided value, and the ballots it has promised and accepted under."""

    decided: Value | None
    promised: Ballot | None
    accepted: Ballot | None


NO_FACTS = Facts(None, None, None)


class NodeState(NamedTuple):
    """A node between two turns, immutable and hashable."""

    up: bool
    incarnation: int
    attributes: Any
    """The instance's attributes, frozen, as pairs of name and value; None while there is no instance."""
    disk: tuple[tuple[str, Stored], ...] | None
    """The keys and values, in order; None if the disk is lost."""
    synced: tuple[tuple[str, Stored], ...] | None
    """What a crash leaves of them, on a disk that syncs late; None on any other."""
    timers: tuple[tuple[str, tuple[float, float]], ...]
    """The timers that are set, with their ranges in seconds."""
    waiting: tuple[tuple[Request, bool], ...]
    """The requests that wait, and whether each is a proposal."""
    to_self: tuple[Message, ...]
    known: tuple[tuple[NodeId, int], ...]
    """The highest incarnation of each peer of which a message has arrived."""


class StatusFailed(ContractBroken):
    """An algorithm cannot say how a node stands: its `status`, or a boot from what its disk holds, raises."""


def freeze_node(node: VirtualNode) -> NodeState:
    """Return the whole state of a node of one variable, between two turns."""
    disk, core, instance = node.disk, node.core, node.instance
    assert not disk.dirty, "a snapshot is taken between two turns"
    attributes = None
    if instance is not None:
        own = instance.node
        attributes = tuple((name, _frozen(instance, name)) for name, item in vars(instance).items() if item is not own)
    return NodeState(
        node.up,
        node.incarnation,
        attributes,
        tuple(sorted(disk.stored.get(VARIABLE, {}).items())) if node.has_disk else None,
        tuple(sorted(disk.synced.get(VARIABLE, {}).items())) if node.fault_model.disks_sync_late else None,
        tuple(sorted((str(key[1]), times) for key, times in node.timers.running.items())),
        tuple((request, waiting.is_proposal) for request, waiting in core.waiting.items()),
        tuple(message for _, message in core.to_itself),
        tuple(sorted(core.incarnations.items())),
    )


def _frozen(instance: Algorithm, name: str) -> Any:
    try:
        return freeze(getattr(instance, name))
    except TypeError as error:
        raise ContractBroken(f"the attribute {name!r} of {type(instance).__name__} cannot be kept: {error}") from error


def thaw_node(node: VirtualNode, state: NodeState) -> None:
    """Restore a node to a state."""
    node.up, node.incarnation = state.up, state.incarnation
    node.has_disk = state.disk is not None
    synced = None if state.synced is None else {VARIABLE: dict(state.synced)}
    node.disk.load({VARIABLE: dict(state.disk or ())}, synced)
    node.reset()
    core = node.core
    if state.attributes is not None:
        instance = core.instances[VARIABLE] = node.algorithm.__new__(node.algorithm)
        instance.node = core.node_for(VARIABLE)
        for name, item in state.attributes:
            setattr(instance, name, thaw(item))
    for timer, times in state.timers:
        node.timers.running[VARIABLE, timer] = times
    for request, is_proposal in state.waiting:
        core.waiting[request] = Waiting(VARIABLE, request, is_proposal)
    core.to_itself = [(VARIABLE, message) for message in state.to_self]
    core.incarnations = dict(state.known)


def facts_of(node: VirtualNode) -> Facts:
    """Return the facts that the replica's status reports; for a node that is down, what it would report after a boot.

    Raises:
        StatusFailed: the algorithm raises, or returns something else than a `Status`.
    """
    try:
        with one_turn:
            status = _status_of(node)
    except (Exception, SystemExit, EndlessLoop) as error:
        raise StatusFailed(f"its status cannot be read: {describe_failure(error)}") from error
    if status is None:
        return NO_FACTS
    promised, accepted = status.ballot, status.accepted_ballot
    return Facts(
        status.decided, None if promised == NO_BALLOT else promised, None if accepted == NO_BALLOT else accepted
    )


def _status_of(node: VirtualNode) -> Status | None:
    instance = node.instance
    if instance is None and node.disk.variables():
        other = VirtualNode(node.algorithm, node.id, node.members)
        other.disk.load({name: dict(of_one) for name, of_one in node.disk.stored.items()}, None)
        other.boot()
        instance = other.instance
    return None if instance is None else status_of(instance)
