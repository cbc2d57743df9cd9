"""Who is there: members with leases, in views that everybody sees in the same order.

Birman and Joseph, *Exploiting Virtual Synchrony in Distributed Systems* (1987), have the term: a **view** is a set of members
with a number, and every change makes the next one.

Commands, each with its result:
```
["join", member, details, lease_ms]   the number of the view that it is in from now on
["heartbeat", member]                 the number of the present view; the lease begins anew
["leave", member]                     the number of the view that it is not in any more
```
Questions:
```
["view"]                     [number, [[member, details], …]] in the order in which they joined
["watch", after, most]       [[number, what, member, details], …]: the changes above view `after`, in order
```
`what` is "joined", "left" or "lost"; lost is a member whose lease or session has ended. `details` are bytes that mean nothing
here, such as an address. The latest changes are kept for watchers; one that has fallen behind them is refused as
"compacted" and asks for the view again.

Refused, and nothing has changed: "already_member", it is one, in another session; "not_member"; "not_yours", it is one in
another session; "too_large", "bad_ttl", "bad_name", "no_session", "full".
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from itertools import islice
from typing import Final

from node.machine import NOT_YET, Command, Machine, Moment, NotYet, Plain, Refusal, no_such_operation
from node.machines.leases import Leases, check_lease, check_name, check_session, lease_ends_ms

MEMBERS_MAX: Final = 1_000
DETAILS_BYTES_MAX: Final = 1_024
HISTORY_CHANGES_MAX: Final = 4_096
ANSWER_CHANGES_MAX: Final = 1_000


@dataclass(slots=True)
class Member:
    """One that has joined and not left."""

    name: str
    details: bytes
    session: int
    lease_ms: int
    due_ms: int


class MembersMachine(Machine):
    """The present view, and the changes that led to it."""

    name = "members"

    def __init__(self) -> None:
        self.view = 0
        self.members: dict[str, Member] = {}  # in the order in which they joined
        self.changes: deque[tuple[int, str, str, bytes]] = deque()  # without a gap
        self.leases: Leases[str] = Leases()

    # --- commands ---------------------------------------------------------------------------------------------------

    def apply(self, at: Moment, command: Command) -> Plain:
        match command:
            case ["join", str(name), bytes(details), int(lease_ms)]:
                self._join(at, Member(name, details, at.session, lease_ms, 0))
            case ["heartbeat", str(name)]:
                self._keep(at, self._own(at, name))
            case ["leave", str(name)]:
                self._remove(self._own(at, name), "left")
            case _:
                raise no_such_operation(self, command)
        return self.view

    def _join(self, at: Moment, member: Member) -> None:
        check_session(at.session)
        check_name(member.name, "member")
        check_lease(member.lease_ms)
        if len(member.details) > DETAILS_BYTES_MAX:
            size = len(member.details)
            raise Refusal("too_large", f"the details have {size:,} bytes, the limit is {DETAILS_BYTES_MAX:,}")
        present = self.members.get(member.name)
        if present is not None and (present.session, present.details) != (member.session, member.details):
            raise Refusal("already_member", f"{member.name!r} is a member already: it leaves first, or its lease ends")
        if present is None:
            if len(self.members) >= MEMBERS_MAX:
                raise Refusal("full", f"there are {MEMBERS_MAX:,} members already")
            self._changed("joined", member)
        self.members[member.name] = member
        self._keep(at, member)

    def _own(self, at: Moment, name: str) -> Member:
        """The member of this name, if it is this session's. Raises CommandRefused."""
        member = self.members.get(name)
        if member is None:
            raise Refusal("not_member", f"{name!r} is no member: it has left, or its lease or session has ended")
        if member.session != at.session:
            raise Refusal("not_yours", f"{name!r} is a member in another session than yours")
        return member

    def _keep(self, at: Moment, member: Member) -> None:
        member.due_ms = lease_ends_ms(at, member.lease_ms)
        self.leases.keep(member.name, member.session, member.due_ms)

    def _remove(self, member: Member, what: str) -> None:
        del self.members[member.name]
        self.leases.drop(member.name)
        self._changed(what, member)

    def _changed(self, what: str, member: Member) -> None:
        self.view += 1
        self.changes.append((self.view, what, member.name, member.details))
        if len(self.changes) > HISTORY_CHANGES_MAX:
            self.changes.popleft()

    # --- time -------------------------------------------------------------------------------------------------------

    def due_ms(self) -> int | None:
        return self.leases.due_ms()

    def expire(self, at: Moment) -> None:
        for name in self.leases.ended(at.time_ms):
            self._remove(self.members[name], "lost")

    def session_ended(self, at: Moment) -> None:
        for name in self.leases.of(at.session):
            self._remove(self.members[name], "lost")

    # --- questions --------------------------------------------------------------------------------------------------

    def query(self, question: Command) -> Plain | NotYet:
        match question:
            case ["view"]:
                return [self.view, [[member.name, member.details] for member in self.members.values()]]
            case ["watch", int(after), int(most)]:
                return self._watch(after, most)
        raise no_such_operation(self, question)

    def _watch(self, after: int, most: int) -> Plain | NotYet:
        forgotten = self.view - len(self.changes)
        if after < forgotten:
            raise Refusal("compacted", f"the changes up to view {forgotten} are forgotten: ask for the view again")
        start = after - forgotten
        found = [list(change) for change in islice(self.changes, start, start + max(min(most, ANSWER_CHANGES_MAX), 0))]
        return found or NOT_YET

    def figures(self) -> Mapping[str, int]:
        return {"members": len(self.members)}

    # --- snapshots --------------------------------------------------------------------------------------------------

    def snapshot(self) -> Plain:
        members = [list(astuple(member)) for member in self.members.values()]
        return [self.view, members, [list(change) for change in self.changes]]

    def restore(self, state: Plain) -> None:
        self.view, members, changes = state
        self.members = {name: Member(name, *rest) for name, *rest in members}
        self.changes = deque((view, what, name, details) for view, what, name, details in changes)
        self.leases = Leases()
        for member in self.members.values():
            self.leases.keep(member.name, member.session, member.due_ms)
