"""Members and assignment of a replicated log, for blocking clients: who is there, and who does what.

```python
with cluster.assignment.joined("worker-1"):
    for task, token in cluster.assignment.mine("worker-1").tasks.items():
        ...
```
"""

from time import monotonic
from typing import TYPE_CHECKING, Any

from cluster.clients import operations as asks
from cluster.clients.lease_renewal import TTL_S, Kept
from cluster.clients.operations import TIMEOUT_S, Share, Spread, View

if TYPE_CHECKING:
    from cluster.clients.log_client import LogClient


class Members:
    """Who is there: a view with a number; every change makes the next one, and everybody sees them in the same order."""

    machine = "members"

    def __init__(self, client: "LogClient") -> None:
        self._client = client

    def joined(self, name: str, details: Any = None, ttl_s: float = TTL_S) -> "Joined":
        """For a `with` block that `name` is a member of, with its lease renewed. See `Joined`."""
        return Joined(self._client, self.machine, name, details, ttl_s)

    def join(self, name: str, details: Any = None, ttl_s: float = TTL_S, timeout_s: float = TIMEOUT_S) -> int:
        """Become a member until `ttl_s` seconds after the last heartbeat. Returns the number of a view that it is in.

        `details` are plain data that everybody sees, such as an address. Raises CommandRefused "already_member".
        """
        return self._client.ask(asks.member_join(self.machine, name, details, ttl_s), timeout_s)

    def heartbeat(self, name: str, timeout_s: float = TIMEOUT_S) -> int:
        """Stay a member. Returns the present view's number. Raises CommandRefused "not_member" or "not_yours"."""
        return self._client.ask(asks.member_heartbeat(self.machine, name), timeout_s)

    def leave(self, name: str, timeout_s: float = TIMEOUT_S) -> int:
        """Be a member no more. Returns a view that it is not in. Raises CommandRefused "not_member" or "not_yours"."""
        return self._client.ask(asks.member_leave(self.machine, name), timeout_s)

    def view(self, timeout_s: float = TIMEOUT_S) -> View:
        """The present members. Never older than the question."""
        return self._client.ask(asks.member_view(self.machine), timeout_s)

    def watch(self, after: View, wait_s: float = 1.0) -> list[View]:
        """Every view that has followed `after`, in order; empty if none comes within `wait_s` seconds.

        Raises CommandRefused "compacted" if changes since `after` are forgotten already: ask for the `view` again.
        """
        return self._client.ask(asks.member_watch(self.machine, after, wait_s), wait_s + TIMEOUT_S)


class Assignment(Members):
    """Tasks spread over members of its own: one owner each, evenly, handed over when a member goes.

    A task's token rises with every hand-over. As with a lock, only the token keeps an owner that does not know yet that it
    is none any more from doing harm: see `cluster/clients/locks.py`.
    """

    machine = "assignment"

    def add(self, task: str, timeout_s: float = TIMEOUT_S) -> bool:
        """Add a task. Returns whether it is new."""
        return self._client.ask(asks.task_add(task), timeout_s)

    def remove(self, task: str, timeout_s: float = TIMEOUT_S) -> None:
        """Remove a task. Raises CommandRefused "no_task"."""
        self._client.ask(asks.task_remove(task), timeout_s)

    def mine(self, name: str, after: Share | None = None, wait_s: float = 0.0, timeout_s: float = TIMEOUT_S) -> Share:
        """What the member `name` has to do: tasks with their tokens. Raises CommandRefused "not_member".

        With `after`, an earlier answer, the answer waits for a change; after `wait_s` seconds without one it is `after`.
        """
        share = self._client.ask(asks.task_mine(name, after, wait_s), wait_s + timeout_s)
        return share or after or Share(0, {})

    def owners(self, after: Spread | None = None, wait_s: float = 0.0, timeout_s: float = TIMEOUT_S) -> Spread:
        """Who has which task. `after` and `wait_s` are as for `mine`."""
        spread = self._client.ask(asks.task_owners(after, wait_s), wait_s + timeout_s)
        return spread or after or Spread(0, {})


class Joined(Kept):
    """A membership for a `with` block, with its lease renewed at a third of it. At the end of the block the member leaves.

    Whoever vanishes instead is lost to the others when its lease ends.
    """

    def __init__(self, client: "LogClient", machine: str, name: str, details: Any, ttl_s: float) -> None:
        super().__init__(client, f"the membership of {name!r}", ttl_s)
        self.name, self.machine, self.details = name, machine, details

    def _begin(self, client: "LogClient") -> float:
        since = monotonic()
        client.ask(asks.member_join(self.machine, self.name, self.details, self.ttl_s))
        return since

    def _renew(self, client: "LogClient", timeout_s: float) -> None:
        client.ask(asks.member_heartbeat(self.machine, self.name), timeout_s)

    def _finish(self, client: "LogClient") -> None:
        client.ask(asks.member_leave(self.machine, self.name))

    def __enter__(self) -> "Joined":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._leave_block(quietly=kind is not None)
