"""Tasks spread over members: each task has exactly one owner as long as there are members.

Members come and go by the commands of `node/machines/members.py`: join, heartbeat, leave. After each change the machine
spreads the tasks again. No member then has two tasks more than another, and as few tasks as possible change their
owner. The tasks of a member that goes get new owners in the same step.

Further commands, each with its result:
```
["add", task]              True if the task is new
["remove", task]           None; refused as "no_task"
```
Questions, each with its answer:
```
["mine", member, after]    [version, [[task, token], …]]: the member's tasks; waits until they have changed after version
                           `after`; refused as "not_member"
["owners", after]          [version, [[member, [[task, token], …]], …], [task, …]]: the tasks of each member, and the tasks
                           without an owner; waits until they have changed after version `after`
["view"], ["watch", …]     as in `node/machines/members.py`
```
`version` counts changes. With `after` 0 a question is answered at once. A task gets a **token** with each new owner.
Tokens only rise, so a resource that the task uses can refuse a former owner that does not know of the change yet: see
`node/machines/locks.py`.

Refused, without a change: "no_task", "not_member", "bad_name", "full", and the refusals of `node/machines/members.py`.
"""

from collections.abc import Mapping
from typing import Final, Self

from node.machine import Command, Machine, Moment, NotYet, Plain, Refusal, no_such_operation, risen
from node.machines.leases import check_name
from node.machines.members import MembersMachine
from node.tuning import SHIPPED, Tuning

#: The topic of every change.
_OWNERS: Final = "owners"


class TaskShare:
    """The tasks of one member.

    `tasks` maps each task to its token, in the order of assignment. `changed` is the version at which the share last
    changed.
    """

    __slots__ = ("changed", "tasks")

    def __init__(self, changed: int) -> None:
        self.changed = changed
        self.tasks: dict[str, int] = {}


class AssignmentMachine(Machine):
    """Members, tasks, and the share of each member."""

    name = "assignment"

    def __init__(self, tuning: Tuning = SHIPPED) -> None:
        self._most = tuning.tasks_max
        self.members = MembersMachine(tuning)
        self.changed: dict[str, None] = self.members.changed
        self.version = 1
        self.tokens = 0
        self.owners: dict[str, str | None] = {}  # by task; None: no owner
        self.shares: dict[str, TaskShare] = {}  # by member
        self.unassigned: dict[str, None] = {}  # the tasks without an owner, in order

    @classmethod
    def made_with(cls, tuning: Tuning) -> Self:
        return cls(tuning)

    # --- commands ---------------------------------------------------------------------------------------------------

    def apply(self, at: Moment, command: Command) -> Plain:
        match command:
            case ["join" | "heartbeat" | "leave", *_]:
                before = self.members.view
                result = self.members.apply(at, command)
                if self.members.view > before:
                    self._members_changed()
                return result
            case ["add", str(task)]:
                check_name(task, "task")
                if task in self.owners:
                    return False
                if len(self.owners) >= self._most:
                    raise Refusal("full", f"there are {self._most:,} tasks already")
                self._next_version()
                self.owners[task], self.unassigned[task] = None, None
                self._rebalance()
                return True
            case ["remove", str(task)]:
                if task not in self.owners:
                    raise Refusal("no_task", f"there is no task {task!r}")
                self._next_version()
                self._unassign(task)
                del self.owners[task], self.unassigned[task]
                self._rebalance()
                return None
        raise no_such_operation(self, command)

    def _members_changed(self) -> None:
        """Unassign the tasks of members that have gone, add a share for each new member, and spread the tasks again."""
        self._next_version()
        present = self.members.members
        for name in [name for name in self.shares if name not in present]:
            for task in list(self.shares[name].tasks):
                self._unassign(task)
            del self.shares[name]
            self.changed[_topic(name)] = None
        for name in present:
            if name not in self.shares:
                self.shares[name] = TaskShare(self.version)
        self._rebalance()

    def _next_version(self) -> None:
        self.version += 1
        self.changed[_OWNERS] = None

    # --- spreading --------------------------------------------------------------------------------------------------

    def _rebalance(self) -> None:
        """Give every task an owner, evenly. The members with most tasks keep one more than others, so that fewest move."""
        if not self.shares:
            return
        fewest, more = divmod(len(self.owners), len(self.shares))
        fullest_first = sorted(self.shares, key=lambda name: (-len(self.shares[name].tasks), name))
        wanted = {name: fewest + (place < more) for place, name in enumerate(fullest_first)}
        for name in fullest_first:
            tasks = self.shares[name].tasks
            while len(tasks) > wanted[name]:
                self._unassign(next(reversed(tasks)))
        unassigned = iter(list(self.unassigned))
        for name in fullest_first:
            while len(self.shares[name].tasks) < wanted[name]:
                self._assign(next(unassigned), name)
        assert not self.unassigned

    def _assign(self, task: str, name: str) -> None:
        del self.unassigned[task]
        self.tokens += 1
        self.owners[task] = name
        self.shares[name].tasks[task] = self.tokens
        self._share_changed(name)

    def _unassign(self, task: str) -> None:
        owner = self.owners[task]
        if owner is not None:
            del self.shares[owner].tasks[task]
            self._share_changed(owner)
            self.owners[task], self.unassigned[task] = None, None

    def _share_changed(self, name: str) -> None:
        self.shares[name].changed = self.version
        self.changed[_topic(name)] = None

    # --- time -------------------------------------------------------------------------------------------------------

    def due_ms(self) -> int | None:
        return self.members.due_ms()

    def expire(self, at: Moment) -> None:
        self.members.expire(at)
        self._members_changed()

    def session_ended(self, at: Moment) -> None:
        before = self.members.view
        self.members.session_ended(at)
        if self.members.view > before:
            self._members_changed()

    # --- questions --------------------------------------------------------------------------------------------------

    def query(self, question: Command) -> Plain | NotYet:
        match question:
            case ["mine", str(name), int(after)]:
                share = self.shares.get(name)
                if share is None:
                    raise Refusal(
                        "not_member", f"{name!r} is no member: it has left, or its lease or session has ended"
                    )
                return [share.changed, _pairs(share.tasks)] if share.changed > after else NotYet(_topic(name))
            case ["owners", int(after)]:
                if self.version <= after:
                    return NotYet(_OWNERS)
                shares = [[name, _pairs(share.tasks)] for name, share in self.shares.items()]
                return [self.version, shares, list(self.unassigned)]
            case ["view"] | ["watch", _, _]:
                return self.members.query(question)
        raise no_such_operation(self, question)

    def figures(self) -> Mapping[str, int]:
        return {"tasks": len(self.owners)}

    # --- snapshots --------------------------------------------------------------------------------------------------

    def snapshot(self) -> Plain:
        shares = [[name, share.changed, _pairs(share.tasks)] for name, share in self.shares.items()]
        return [self.version, self.tokens, self.members.snapshot(), shares, list(self.unassigned)]

    def restore(self, state: Plain) -> None:
        self.version, self.tokens, members, shares, unassigned = state
        self.members.restore(members)
        self.unassigned = dict.fromkeys(unassigned)
        self.owners = dict.fromkeys(unassigned)
        self.shares = {}
        for name, changed, tasks in shares:
            self.shares[name] = share = TaskShare(changed)
            share.tasks = dict(tasks)
            self.owners.update(dict.fromkeys(share.tasks, name))

    def rise(self, floor: int) -> None:
        self.version = risen(floor, self.version)
        self.tokens = risen(floor, self.tokens)
        self.members.rise(floor)


def _pairs(tasks: dict[str, int]) -> Plain:
    return [[task, token] for task, token in tasks.items()]


def _topic(name: str) -> str:
    """Return the topic of a change of a member's share."""
    return f"mine {name}"
