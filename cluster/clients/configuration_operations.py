"""Operations on the cluster's own configuration: its nodes. The machine is `node/replication/configuration.py`."""

from typing import Any

from cluster.clients.operation import TIMEOUT_S, Operation, checked_text, no_result
from node.contract import NodeId
from node.replication.configuration import Configuration


def configuration_list(timeout_s: float = TIMEOUT_S) -> Operation[Configuration]:
    """Return the nodes that vote, those that learn, and those that were removed: `voters`, `learners`, `removed`."""
    return Operation("cluster", ["members"], _configuration, read=True, timeout_s=timeout_s)


def configuration_add(node: NodeId, timeout_s: float = TIMEOUT_S) -> Operation[None]:
    """Make a node a learner. The leader makes it a voter when it has caught up.

    Args:
        node: a name that no node of this cluster has had.
        timeout_s: how long the reply may take, in seconds.

    Raises:
        CommandRefused: "refused" or "change_refused": it is a member, or was one, or another change is under way. Nothing was
            changed.
    """
    return Operation("cluster", ["add", _node(node)], no_result, timeout_s=timeout_s)


def configuration_remove(node: NodeId, timeout_s: float = TIMEOUT_S) -> Operation[None]:
    """Remove a node for ever.

    Args:
        node: the node's name.
        timeout_s: how long the reply may take, in seconds.

    Raises:
        CommandRefused: "refused" or "change_refused": it is no member, or the last node, or another change is under way. Nothing
            was changed.
    """
    return Operation("cluster", ["remove", _node(node)], no_result, timeout_s=timeout_s)


def configuration_hand_over(node: NodeId, timeout_s: float = TIMEOUT_S) -> Operation[None]:
    """Ask the leader to let another node lead. That may take some milliseconds, and it may not happen.

    Args:
        node: the node that is to lead.
        timeout_s: how long the reply may take, in seconds.
    """
    return Operation("cluster", ["hand_over", _node(node)], no_result, timeout_s=timeout_s)


def _node(node: object) -> str:
    return checked_text("the name of a node", node)


def _configuration(answer: Any) -> Configuration:
    voters, learners, removed = answer
    return Configuration(tuple(voters), tuple(learners), tuple(removed))
