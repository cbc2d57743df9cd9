"""Tasks spread over members: each task has exactly one owner as long as there are members.

Members come and go by the commands of `node/machines/members.py`: join, heartbeat, leave. After every change the tasks are
spread anew: no member has two more than another, and as few tasks as possible change hands. A task whose owner goes is handed
over in the same step.

More commands, each with its result:
```
["add", task]              whether it is new
["remove", task]           None; refused as "no_task"
```
Questions:
```
["mine", member, after]    [version, [[task, token], …]], as soon as that has changed since `after`; refused as "not_member"
["owners", after]          [version, [[member, [[task, token], …]], …], [task, …]]: who has what, and what nobody has
["view"], ["watch", …]     as in `node/machines/members.py`
```
`version` counts changes; with `after` 0 a question is answered at once. A **token** comes with every task that is given to
somebody. Tokens only rise, so what a task works on can tell its owner from an earlier one that does not know yet: see
`node/machines/locks.py`.
"""

from collections.abc import Mapping
from typing import Final

from node.machine import NOT_YET, Command, Machine, Moment, NotYet, Plain, Refusal, no_such_operation
from node.machines.leases import check_name
from node.machines.members import MembersMachine

TASKS_MAX: Final = 10_000


class TaskShare:
    """What one member has: its tasks with their tokens, in the order in which they were given, and when that changed."""

    __slots__ = ("changed", "tasks")

    def __init__(self, changed: int) -> None:
        self.changed = changed
        self.tasks: dict[str, int] = {}


class AssignmentMachine(Machine):
    """Members, and the share of each."""

    name = "assignment"

    def __init__(self) -> None:
        self.members = MembersMachine()
        self.version = 1
        self.tokens = 0
        self.owners: dict[str, str | None] = {}  # every task; None: nobody's
        self.shares: dict[str, TaskShare] = {}  # every member
        self.free: dict[str, None] = {}  # the tasks that are nobody's, in order

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
                if len(self.owners) >= TASKS_MAX:
                    raise Refusal("full", f"there are {TASKS_MAX:,} tasks already")
                self.version += 1
                self.owners[task], self.free[task] = None, None
                self._spread()
                return True
            case ["remove", str(task)]:
                if task not in self.owners:
                    raise Refusal("no_task", f"there is no task {task!r}")
                self.version += 1
                self._take_back(task)
                del self.owners[task], self.free[task]
                self._spread()
                return None
        raise no_such_operation(self, command)

    def _members_changed(self) -> None:
        """Free the tasks of who has gone, have a share for who has come, and spread."""
        self.version += 1
        present = self.members.members
        for name in [name for name in self.shares if name not in present]:
            for task in list(self.shares[name].tasks):
                self._take_back(task)
            del self.shares[name]
        for name in present:
            if name not in self.shares:
                self.shares[name] = TaskShare(self.version)
        self._spread()

    # --- spreading --------------------------------------------------------------------------------------------------

    def _spread(self) -> None:
        """Give every task to somebody, evenly. Who has most keeps one more than others, so that least is moved."""
        if not self.shares:
            return
        fewest, more = divmod(len(self.owners), len(self.shares))
        fullest_first = sorted(self.shares, key=lambda name: (-len(self.shares[name].tasks), name))
        wanted = {name: fewest + (place < more) for place, name in enumerate(fullest_first)}
        for name in fullest_first:
            tasks = self.shares[name].tasks
            while len(tasks) > wanted[name]:
                self._take_back(next(reversed(tasks)))
        free = iter(list(self.free))
        for name in fullest_first:
            while len(self.shares[name].tasks) < wanted[name]:
                self._give(next(free), name)
        assert not self.free

    def _give(self, task: str, name: str) -> None:
        del self.free[task]
        self.tokens += 1
        self.owners[task] = name
        self.shares[name].tasks[task] = self.tokens
        self.shares[name].changed = self.version

    def _take_back(self, task: str) -> None:
        owner = self.owners[task]
        if owner is not None:
            del self.shares[owner].tasks[task]
            self.shares[owner].changed = self.version
            self.owners[task], self.free[task] = None, None

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
                return [share.changed, _pairs(share.tasks)] if share.changed > after else NOT_YET
            case ["owners", int(after)]:
                if self.version <= after:
                    return NOT_YET
                return [
                    self.version, [[name, _pairs(share.tasks)] for name, share in self.shares.items()], list(self.free)
                ]  # fmt: skip
            case ["view"] | ["watch", _, _]:
                return self.members.query(question)
        raise no_such_operation(self, question)

    def figures(self) -> Mapping[str, int]:
        return {"tasks": len(self.owners)}

    # --- snapshots --------------------------------------------------------------------------------------------------

    def snapshot(self) -> Plain:
        shares = [[name, share.changed, _pairs(share.tasks)] for name, share in self.shares.items()]
        return [self.version, self.tokens, self.members.snapshot(), shares, list(self.free)]

    def restore(self, state: Plain) -> None:
        self.version, self.tokens, members, shares, free = state
        self.members.restore(members)
        self.free = dict.fromkeys(free)
        self.owners = dict.fromkeys(free)
        self.shares = {}
        for name, changed, tasks in shares:
            self.shares[name] = share = TaskShare(changed)
            share.tasks = dict(tasks)
            self.owners.update(dict.fromkeys(share.tasks, name))


def _pairs(tasks: dict[str, int]) -> Plain:
    return [[task, token] for task, token in tasks.items()]
