"""Operations on members with leases, and on tasks that are spread over them.

The machines are `node/machines/members.py` and `node/machines/assignment.py`.
"""

from typing import Any, Final, NamedTuple

from cluster.clients.operation import (
    PAGE,
    TIMEOUT_S,
    TTL_S,
    Operation,
    Stream,
    checked_text,
    lease_ms,
    no_result,
    stream_waits_s,
    wait_ms,
)
from node.contract import Value
from node.wire import BadValue, decode_value, encode_value


class View(NamedTuple):
    """The members at some moment: each name with its details. `number` rises with every change."""

    number: int
    members: dict[str, Any]


class Share(NamedTuple):
    """The tasks of one member, each with its fencing token. `version` rises with every change."""

    version: int
    tasks: dict[str, int]


class TaskOwner(NamedTuple):
    """The member that has a task, and the fencing token with which it has it."""

    member: str
    token: int


class TaskOwners(NamedTuple):
    """The owner of each task; None while there is no member. `version` rises with every change."""

    version: int
    owners: dict[str, TaskOwner | None]


# --- members --------------------------------------------------------------------------------------------------------


class GroupOperations:
    """The operations of one machine that keeps members: `MEMBERS`, or `ASSIGNMENT`, which has members of its own."""

    def __init__(self, machine: str) -> None:
        self._machine = machine

    def join(
        self, name: str, details: Any = None, ttl_s: float = TTL_S, timeout_s: float = TIMEOUT_S
    ) -> Operation[int]:
        """Become a member until the lease ends, which is `ttl_s` seconds after the join or the last heartbeat.

        Args:
            name: the member's name.
            details: plain data that the other members see, such as an address: up to 1,024 bytes encoded.
            ttl_s: how long the lease lasts, in seconds: 0.1 to 600.
            timeout_s: how long the reply may take, in seconds.

        Returns:
            The number of a view that the member is in.

        Raises:
            CommandRefused: "already_member": another session has a member of this name.
        """
        packed = b"" if details is None else encode_value(details)
        return self._command(["join", _member(name), packed, lease_ms(ttl_s)], timeout_s)

    def heartbeat(self, name: str, timeout_s: float = TIMEOUT_S) -> Operation[int]:
        """Begin a member's lease anew.

        Args:
            name: the member's name.
            timeout_s: how long the reply may take, in seconds.

        Returns:
            The number of the present view.

        Raises:
            CommandRefused: "not_member": it has left, or its lease has ended; "not_yours": it is another session's.
        """
        return self._command(["heartbeat", _member(name)], timeout_s)

    def leave(self, name: str, timeout_s: float = TIMEOUT_S) -> Operation[int]:
        """Stop being a member. Returns the number of a view that it is not in. Errors are those of `heartbeat`."""
        return self._command(["leave", _member(name)], timeout_s)

    def view(self, timeout_s: float = TIMEOUT_S) -> Operation[View]:
        """Return the present members. The answer is never older than the call."""
        return Operation(self._machine, ["view"], _view, read=True, timeout_s=timeout_s)

    def watch(self, after: View, wait_s: float = 1.0) -> Operation[list[View]]:
        """Return the views that have followed a view, and wait for the first one if there is none yet.

        Args:
            after: a view that `view`, or `watch`, has returned.
            wait_s: how long to wait for a change, in seconds.

        Returns:
            The views in order: at most 1,000, and none if none came in time.

        Raises:
            CommandRefused: "compacted": the log has dropped changes after `after`, or was set back. Read the view again.
        """
        if not isinstance(after, View):
            raise BadValue(f"`after` is a View, such as `view()` returns: not {str(after)[:100]}")
        return Operation(
            self._machine,
            ["watch", after.number, PAGE],
            lambda answer: _views_after(after, answer),
            read=True,
            wait_ms=wait_ms(wait_s),
            timeout_s=wait_s + TIMEOUT_S,
        )

    def views(self, after: View) -> Stream[View]:
        """Iterate over every view that follows a view, as it comes, without an end.

        Args:
            after: a view that `view`, or this iterator, has returned.

        Returns:
            An iterator over `View`.

        Raises:
            CommandRefused: "compacted": the log has dropped changes that this iterator has not returned. Read the view again.
        """
        for wait_s in stream_waits_s():
            views: list[View] = yield self.watch(after, wait_s)
            if views:
                after = views[-1]
            yield views

    def _command(self, command: list[Any], timeout_s: float) -> Operation[int]:
        return Operation(self._machine, command, int, timeout_s=timeout_s)


MEMBERS: Final = GroupOperations("members")
ASSIGNMENT: Final = GroupOperations("assignment")


# --- tasks ----------------------------------------------------------------------------------------------------------


def task_add(task: str, timeout_s: float = TIMEOUT_S) -> Operation[bool]:
    """Add a task. Returns whether it is new."""
    return Operation("assignment", ["add", _task(task)], bool, timeout_s=timeout_s)


def task_remove(task: str, timeout_s: float = TIMEOUT_S) -> Operation[None]:
    """Remove a task. Raises CommandRefused "no_task" if there is no such task."""
    return Operation("assignment", ["remove", _task(task)], no_result, timeout_s=timeout_s)


def task_mine(
    name: str, after: Share | None = None, wait_s: float = 0.0, timeout_s: float = TIMEOUT_S
) -> Operation[Share]:
    """Return the tasks of a member.

    Args:
        name: the member's name.
        after: an earlier answer. Then the call waits until the tasks differ from it.
        wait_s: how long to wait for a change, in seconds; after that the answer is `after`.
        timeout_s: how long the reply may take beyond `wait_s`, in seconds.

    Returns:
        The member's tasks with their fencing tokens.

    Raises:
        CommandRefused: "not_member": it has left, or its lease has ended.
    """

    def share(answer: Any) -> Share:
        return (after or Share(0, {})) if answer is None else Share(answer[0], dict(answer[1]))

    command = ["mine", _member(name), _version_of(after, Share)]
    wait = wait_ms(wait_s)
    return Operation("assignment", command, share, read=True, wait_ms=wait, timeout_s=wait_s + timeout_s)


def task_owners(
    after: TaskOwners | None = None, wait_s: float = 0.0, timeout_s: float = TIMEOUT_S
) -> Operation[TaskOwners]:
    """Return the owner of each task. The arguments are those of `mine`."""

    def owners(answer: Any) -> TaskOwners:
        if answer is None:
            return after or TaskOwners(0, {})
        version, shares, free = answer
        owned = {task: TaskOwner(name, token) for name, tasks in shares for task, token in tasks}
        return TaskOwners(version, dict(sorted((owned | dict.fromkeys(free)).items())))

    command = ["owners", _version_of(after, TaskOwners)]
    wait = wait_ms(wait_s)
    return Operation("assignment", command, owners, read=True, wait_ms=wait, timeout_s=wait_s + timeout_s)


# --- arguments and answers ------------------------------------------------------------------------------------------


def _member(name: object) -> str:
    return checked_text("the name of a member", name)


def _task(task: object) -> str:
    return checked_text("the name of a task", task)


def _version_of(after: Share | TaskOwners | None, wanted: type[Share] | type[TaskOwners]) -> int:
    if after is None:
        return 0
    if not isinstance(after, wanted):
        raise BadValue(f"`after` is a {wanted.__name__} that was returned before: not {str(after)[:100]}")
    return after.version


def _view(answer: Any) -> View:
    number, members = answer
    return View(number, {name: _details(details) for name, details in members})


def _views_after(after: View, answer: Any) -> list[View]:
    """Apply changes to a view, one by one. Each makes the next view."""
    views = [after]
    for number, what, name, details in answer or ():
        members = {other: known for other, known in views[-1].members.items() if other != name}
        if what == "joined":
            members[name] = _details(details)
        views.append(View(number, members))
    return views[1:]


def _details(packed: bytes) -> Any:
    return decode_value(Value(packed)) if packed else None
