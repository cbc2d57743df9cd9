"""Members, and tasks that are spread over them: the methods of a client's `members` and `assignment`.

```python
with cluster.assignment.joined("worker-1"):
    for task, token in cluster.assignment.mine("worker-1").tasks.items():
        ...
```

Every member sees the same views in the same order. A member that vanishes is lost to the others when its lease ends.
"""

from time import monotonic
from typing import Any, Self

from cluster.clients import group_operations as operations
from cluster.clients.derived import (
    AsyncClient,
    AsyncOperations,
    BlockingClient,
    BlockingOperations,
    async_iterated,
    awaited,
    blocking,
)
from cluster.clients.group_operations import ASSIGNMENT, MEMBERS, GroupOperations
from cluster.clients.lease_renewal import AsyncKept, Kept, Leased, OnLost
from cluster.clients.lock_queue import LEAST_S
from cluster.clients.operation import TTL_S, Operation, Steps


class LeasedMembership(Leased):
    """A membership, as the operations that begin it, renew it and end it."""

    def __init__(self, group: GroupOperations, name: str, details: Any, ttl_s: float) -> None:
        self.what = f"the membership of {name!r}"
        self.name, self.details, self.ttl_s = name, details, ttl_s
        self._group = group

    def _obtain(self) -> Steps[float]:
        since = monotonic()
        yield self._group.join(self.name, self.details, self.ttl_s)
        return since

    def _renew(self, timeout_s: float) -> Operation[Any]:
        return self._group.heartbeat(self.name, timeout_s)

    def _let_go(self) -> Operation[Any]:
        return self._group.leave(self.name)

    def _abandon(self) -> Operation[Any]:
        return self._group.leave(self.name, LEAST_S)


class Joined(LeasedMembership, Kept):
    """A membership for a `with` block. At the end of the block the member leaves.

    A thread renews its lease each time that a third of it has passed.
    """

    def __init__(
        self,
        client: BlockingClient,
        group: GroupOperations,
        name: str,
        details: Any,
        ttl_s: float,
        on_lost: OnLost | None = None,
    ) -> None:
        LeasedMembership.__init__(self, group, name, details, ttl_s)
        Kept.__init__(self, client, on_lost)

    def __enter__(self) -> Self:
        self.start()
        return self


class AsyncJoined(LeasedMembership, AsyncKept):
    """A membership for an `async with` block: `Joined`, kept by a task.

    If the membership is lost, or may be, the block is cancelled, and raises LeaseLost.
    """

    def __init__(
        self,
        client: AsyncClient,
        group: GroupOperations,
        name: str,
        details: Any,
        ttl_s: float,
        on_lost: OnLost | None = None,
    ) -> None:
        LeasedMembership.__init__(self, group, name, details, ttl_s)
        AsyncKept.__init__(self, client, on_lost)

    async def __aenter__(self) -> Self:
        await self._enter_block()
        return self


class Members(BlockingOperations):
    """The users of a cluster that have joined: a view with a number, and every change makes the next view."""

    _group = MEMBERS

    def joined(self, name: str, details: Any = None, ttl_s: float = TTL_S, on_lost: OnLost | None = None) -> Joined:
        """Return a membership for a `with` block, whose lease is renewed. The arguments are those of `join` and `Lock`."""
        return Joined(self._client, self._group, name, details, ttl_s, on_lost)

    join = blocking(MEMBERS.join)
    heartbeat = blocking(MEMBERS.heartbeat)
    leave = blocking(MEMBERS.leave)
    view = blocking(MEMBERS.view)
    watch = blocking(MEMBERS.watch)


class Assignment(Members):
    """Tasks that are spread evenly over members of its own. Each task has one owner; if that goes, another one gets the task.

    A task's token rises with every owner. As with a lock, only the token keeps an owner that has lost a task, and does not know
    that yet, from doing harm: see `cluster/clients/locks.py`.
    """

    _group = ASSIGNMENT

    join = blocking(ASSIGNMENT.join)
    heartbeat = blocking(ASSIGNMENT.heartbeat)
    leave = blocking(ASSIGNMENT.leave)
    view = blocking(ASSIGNMENT.view)
    watch = blocking(ASSIGNMENT.watch)
    add = blocking(operations.task_add)
    remove = blocking(operations.task_remove)
    mine = blocking(operations.task_mine)
    owners = blocking(operations.task_owners)


class AsyncMembers(AsyncOperations):
    """Members for asyncio: `Members`, awaited. Its `watch` is an iterator without an end."""

    _group = MEMBERS

    def joined(
        self, name: str, details: Any = None, ttl_s: float = TTL_S, on_lost: OnLost | None = None
    ) -> AsyncJoined:
        """Return a membership for an `async with` block, whose lease is renewed. The arguments are as for `Members.joined`."""
        return AsyncJoined(self._client, self._group, name, details, ttl_s, on_lost)

    join = awaited(MEMBERS.join)
    heartbeat = awaited(MEMBERS.heartbeat)
    leave = awaited(MEMBERS.leave)
    view = awaited(MEMBERS.view)
    watch = async_iterated(MEMBERS.views)


class AsyncAssignment(AsyncMembers):
    """Tasks for asyncio: `Assignment`, awaited."""

    _group = ASSIGNMENT

    join = awaited(ASSIGNMENT.join)
    heartbeat = awaited(ASSIGNMENT.heartbeat)
    leave = awaited(ASSIGNMENT.leave)
    view = awaited(ASSIGNMENT.view)
    watch = async_iterated(ASSIGNMENT.views)
    add = awaited(operations.task_add)
    remove = awaited(operations.task_remove)
    mine = awaited(operations.task_mine)
    owners = awaited(operations.task_owners)
