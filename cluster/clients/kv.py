"""Keys and values: the methods `put`, `get` and so on of a client's `kv`."""

from cluster.clients import kv_operations as operations
from cluster.clients.derived import AsyncOperations, BlockingOperations, async_iterated, awaited, blocking, iterated


class Kv(BlockingOperations):
    """Keys and values. A value is plain data, as for `propose`. Each change of any key has a version of its own.

    Every method raises BadValue (an argument cannot be sent), Refused (definitely not done) or Unknown (no reply in time).
    """

    put = blocking(operations.kv_put)
    compare_and_set = blocking(operations.kv_compare_and_set)
    delete = blocking(operations.kv_delete)
    get = blocking(operations.kv_get)
    get_with_version = blocking(operations.kv_get_with_version)
    version = blocking(operations.kv_version)
    range = iterated(operations.kv_range)
    watch = blocking(operations.kv_watch)


class AsyncKv(AsyncOperations):
    """Keys and values for asyncio: `Kv`, awaited. Its `watch` is an iterator without an end."""

    put = awaited(operations.kv_put)
    compare_and_set = awaited(operations.kv_compare_and_set)
    delete = awaited(operations.kv_delete)
    get = awaited(operations.kv_get)
    get_with_version = awaited(operations.kv_get_with_version)
    version = awaited(operations.kv_version)
    range = async_iterated(operations.kv_range)
    watch = async_iterated(operations.kv_changes)
