"""The cluster's own nodes: the methods `list`, `add` and so on of a client's `configuration`."""

from cluster.clients import configuration_operations as operations
from cluster.clients.derived import AsyncOperations, BlockingOperations, awaited, blocking


class ClusterConfiguration(BlockingOperations):
    """The nodes that vote and those that learn, and changes of that, one at a time.

    A method raises CommandRefused (the change was not made) or Unknown (no reply in time).
    """

    list = blocking(operations.configuration_list)
    add = blocking(operations.configuration_add)
    remove = blocking(operations.configuration_remove)
    hand_over = blocking(operations.configuration_hand_over)


class AsyncClusterConfiguration(AsyncOperations):
    """The cluster's nodes for asyncio: `ClusterConfiguration`, awaited."""

    list = awaited(operations.configuration_list)
    add = awaited(operations.configuration_add)
    remove = awaited(operations.configuration_remove)
    hand_over = awaited(operations.configuration_hand_over)
