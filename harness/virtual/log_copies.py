"""Checks that what a log applies is on the disks of a majority of its voters.

A client may be answered as soon as its command is applied anywhere. If only a minority of the disks holds it then, the loss of
these disks loses what was acknowledged, and a log has to survive the loss of a minority. The disks show it at that moment, and
perhaps never again: the next heartbeat may bring the record to the others.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from harness.virtual.node import VirtualNode
from node.contract import NodeId
from node.log_contract import Record
from node.quorum import majority


class FirstApplied(NamedTuple):
    """A record that a node has applied, and no node before it.

    Attributes:
        voters, voters_then: the voters as of what was applied before, and as of the last slot that this node has applied. One of
            both had to choose the record, unless two changes lie between them.
    """

    node: NodeId
    record: Record
    voters: tuple[NodeId, ...]
    voters_then: tuple[NodeId, ...]


def missing_copies(first: FirstApplied, nodes: Mapping[NodeId, VirtualNode], spoilt: Collection[NodeId]) -> str | None:
    """Return what is wrong if a majority of the voters does not hold a record; None if it does.

    Args:
        first: the record, and who has applied it.
        nodes: all nodes, with their disks.
        spoilt: the nodes whose disk was lost or damaged. They may have held the record.
    """
    slot, batch = first.record.slot, first.record.batch
    holders = [name for name, node in nodes.items() if name in spoilt or _holds(node, slot, batch)]
    if first.voters and len(set(first.voters).symmetric_difference(first.voters_then)) > 1:
        return None
    for voters in (first.voters, first.voters_then):
        if voters and len(set(voters).intersection(holders)) >= majority(len(voters)):
            return None
    having, all_ = ", ".join(name for name in holders if name in first.voters_then), ", ".join(first.voters_then)
    only = f"only {having}" if having else "none of them"
    return f"{first.node} has applied slot {slot}, which no majority of the disks of {all_} holds: {only}"


def _holds(node: VirtualNode, slot: int, batch: bytes) -> bool:
    log = node.disk.log
    record = log.get(slot)
    return log.first > slot if record is None else record.batch == batch
