"""Saves the whole state of a virtual node, restores it, and says what is checked of it."""

from typing import Any, NamedTuple

from harness.virtual.node import VARIABLE, VirtualNode
from harness.virtual.snapshots import freeze, thaw
from node.contract import BadInput, Message, NodeId, Request, Stored, Value
from node.instances import Waiting
from node.quorum import NO_BALLOT, Ballot
from node.status import status_of


class Facts(NamedTuple):
    """What is checked about a node."""

    decided: Value | None
    promised: Ballot | None
    accepted: Ballot | None


NO_FACTS = Facts(None, None, None)


class NodeState(NamedTuple):
    """A node between two turns, immutable and hashable. `attributes` is None while there is no instance."""

    up: bool
    incarnation: int
    attributes: Any
    disk: tuple[tuple[str, Stored], ...] | None
    synced: tuple[tuple[str, Stored], ...] | None
    timers: tuple[tuple[str, tuple[float, float]], ...]
    waiting: tuple[tuple[Request, bool], ...]
    to_self: tuple[Message, ...]
    known: tuple[tuple[NodeId, int], ...]


class StatusFailed(BadInput):
    """An algorithm's `status` fails, so nothing can be judged."""


def freeze_node(node: VirtualNode) -> NodeState:
    """Return the whole state of a node with one variable, between two turns."""
    disk, core, instance = node.disk, node.core, node.instance
    assert not disk.dirty, "a snapshot is taken between two turns"
    attributes = None
    if instance is not None:
        own = instance.node
        attributes = tuple((name, freeze(item)) for name, item in vars(instance).items() if item is not own)
    return NodeState(
        node.up,
        node.incarnation,
        attributes,
        tuple(sorted(disk.stored.get(VARIABLE, {}).items())) if node.has_disk else None,
        tuple(sorted(disk.synced.get(VARIABLE, {}).items())) if node.faults.disks_sync_late else None,
        tuple(sorted((str(key[1]), times) for key, times in node.timers.running.items())),
        tuple((request, waiting.is_proposal) for request, waiting in core.waiting.items()),
        tuple(message for _, message in core.to_itself),
        tuple(sorted(core.incarnations.items())),
    )


def thaw_node(node: VirtualNode, state: NodeState) -> None:
    """Have a node be in that state again."""
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
    """Return what the replica says about itself; of a node that is down, what it would say if it booted.

    Raises:
        StatusFailed: its `status` raises, or returns no `Status`.
    """
    instance = node.instance
    if instance is None and node.disk.variables():
        other = VirtualNode(node.algorithm, node.id, node.members)
        other.disk.load({name: dict(of_one) for name, of_one in node.disk.stored.items()}, None)
        other.boot()
        instance = other.instance
    if instance is None:
        return NO_FACTS
    try:
        status = status_of(instance)
    except Exception as error:
        raise StatusFailed(f"the status() of {node.id}'s {node.algorithm.__name__} fails: {error!r}") from error
    promised, accepted = status.ballot, status.accepted_ballot
    return Facts(
        status.decided, None if promised == NO_BALLOT else promised, None if accepted == NO_BALLOT else accepted
    )
