"""The references of members, and of tasks that are spread over members."""

from dataclasses import dataclass
from typing import Any

from harness.checkers.reference.terms import BEAT_MS, LogInstant, No, check_lease, check_name, unknown_command


@dataclass
class PresentMember:
    """A present member. `details` are encoded."""

    name: str
    details: bytes
    session: int
    lease_ms: int
    ends_ms: int = 0


#: A view: its number, and each member's encoded details, in the order in which they joined.
View = tuple[int, dict[str, bytes]]


class MembersReference:
    """The present members, and every view since the beginning; the number of a view is its place in the list."""

    def __init__(self, kept_changes: int = 4_096) -> None:
        """Begin without members. A node keeps so many of the latest changes for watches."""
        self.members: dict[str, PresentMember] = {}
        self.views: list[dict[str, bytes]] = [{}]
        self._kept_changes = kept_changes

    @property
    def number(self) -> int:
        """The number of the present view."""
        return len(self.views) - 1

    def compacted(self, after: int) -> bool:
        """Return whether a change after the view `after` is not kept any more, or that view has not been."""
        return not self.number - self._kept_changes <= after <= self.number

    def do(self, at: LogInstant, command: Any) -> Any:
        """Do one command, and return the number of the view after it. Raises No."""
        match command:
            case ["join", str(name), bytes(details), int(lease_ms)]:
                self._join(at, PresentMember(name, details, at.session, lease_ms))
            case ["heartbeat", str(name)]:
                self._begin_lease(at, self._own(at, name))
            case ["leave", str(name)]:
                del self.members[self._own(at, name).name]
                self._next_view()
            case _:
                raise unknown_command(command)
        return self.number

    def _join(self, at: LogInstant, member: PresentMember) -> None:
        check_lease(at, member.lease_ms)
        check_name(member.name)
        if len(member.details) > 1_024:
            raise No("too_large")
        present = self.members.get(member.name)
        if present and (present.session, present.details) != (member.session, member.details):
            raise No("already_member")
        self.members[member.name] = member
        self._begin_lease(at, member)
        if not present:
            self._next_view()

    def _own(self, at: LogInstant, name: str) -> PresentMember:
        if name not in self.members:
            raise No("not_member")
        if self.members[name].session != at.session:
            raise No("not_yours")
        return self.members[name]

    def _begin_lease(self, at: LogInstant, member: PresentMember) -> None:
        member.ends_ms = at.time_ms + BEAT_MS + member.lease_ms

    def _next_view(self) -> None:
        self.views.append({member.name: member.details for member in self.members.values()})

    def expire(self, time_ms: int) -> None:
        """End the leases that are over: the one that ended first is the first."""
        for _, name in sorted((member.ends_ms, member.name) for member in self.members.values()):
            if self.members[name].ends_ms <= time_ms:
                del self.members[name]
                self._next_view()

    def session_ended(self, at: LogInstant) -> None:
        """End the memberships of a session."""
        for name in sorted(self.members):
            if self.members[name].session == at.session:
                del self.members[name]
                self._next_view()


class AssignmentReference:
    """Members, and the tasks that exist. Which member has which task is the machine's choice, and so it is not in here.

    `version` counts the changes of tasks and members.
    """

    def __init__(self, kept_changes: int = 4_096) -> None:
        """Begin without tasks. A node keeps so many of the latest changes of members."""
        self.members = MembersReference(kept_changes)
        self.tasks: set[str] = set()
        self.version = 1

    def do(self, at: LogInstant, command: Any) -> Any:
        """Do one command, and return its result. Raises No."""
        match command:
            case ["add", str(task)]:
                check_name(task)
                if task in self.tasks:
                    return False
                self.tasks.add(task)
                self.version += 1
                return True
            case ["remove", str(task)]:
                if task not in self.tasks:
                    raise No("no_task")
                self.tasks.discard(task)
                self.version += 1
                return None
        before = self.members.number
        result = self.members.do(at, command)
        self.version += self.members.number > before
        return result

    def expire(self, time_ms: int) -> None:
        """End the leases that are over."""
        before = self.members.number
        self.members.expire(time_ms)
        self.version += self.members.number > before

    def session_ended(self, at: LogInstant) -> None:
        """End the memberships of a session."""
        before = self.members.number
        self.members.session_ended(at)
        self.version += self.members.number > before
