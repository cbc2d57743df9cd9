"""Group membership: members with leases, and numbered views that all clients see in the same order.

The term is from Birman and Joseph, *Exploiting Virtual Synchrony in Distributed Systems* (1987): a **view** is a
numbered set of members, and each change makes the next view.

Commands, each with its result:
```
["join", member, details, lease_ms]   the number of the view; the member is in it from now on
["heartbeat", member]                 the number of the present view; renews the lease
["leave", member]                     the number of the first view without the member
```
Questions, each with its answer:
```
["view"]                     [number, [[member, details], …]], in the order in which the members joined
["watch", after, most]       [[number, event, member, details], …]: at most `most` changes above the view `after`, in order;
                             waits until there is one
```
An event is "joined", "left" or "lost". A member is lost when its lease or its session ends. `details` are bytes of the
client, such as an address; the machine does not use them. The machine keeps the latest changes for watches. A watch
that begins before them is refused as "compacted"; its client asks for the view again. So is a watch after a view that has not
been, as in `kv.py`.

Refused, without a change: "already_member", there is a member of this name with another session or other details;
"not_member"; "not_yours", the member belongs to another session; "too_large", "bad_ttl", "bad_name", "no_session",
"full", "compacted".
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Final, Self

from node.machine import Command, Machine, Moment, NotYet, Plain, Refusal, no_such_operation, risen
from node.machines.leases import Leases, check_lease, check_name, check_session, lease_ends_ms
from node.tuning import SHIPPED, Tuning

DETAILS_BYTES_MAX: Final = 1_024
#: The topic of every change of the view.
_VIEW: Final = "view"


@dataclass(slots=True)
class Member:
    """A present member. `due_ms` is the log's time at which its lease ends."""

    name: str
    details: bytes
    session: int
    lease_ms: int
    due_ms: int


_member_fields = attrgetter(*Member.__slots__)  # `astuple` copies each field, and takes sixty times as long


class MembersMachine(Machine):
    """The present view, and the latest changes that led to it. `view` is its number."""

    name = "members"

    def __init__(self, tuning: Tuning = SHIPPED) -> None:
        self._most, self._history, self._answer = tuning.members_max, tuning.members_history, tuning.members_answer
        self._lease_ms_max = tuning.lease_ms_max
        self.changed: dict[str, None] = {}
        self.view = 0
        self.members: dict[str, Member] = {}  # in the order in which they joined
        #: The latest changes, as number of the view, event, member and details. Their numbers have no gaps.
        self.changes: deque[tuple[int, str, str, bytes]] = deque()
        self.leases: Leases[str] = Leases()

    @classmethod
    def made_with(cls, tuning: Tuning) -> Self:
        return cls(tuning)

    # --- commands ---------------------------------------------------------------------------------------------------

    def apply(self, at: Moment, command: Command) -> Plain:
        match command:
            case ["join", str(name), bytes(details), int(lease_ms)]:
                self._join(at, Member(name, details, at.session, lease_ms, 0))
            case ["heartbeat", str(name)]:
                self._renew(at, self._member_of_session(at, name))
            case ["leave", str(name)]:
                self._remove(self._member_of_session(at, name), "left")
            case _:
                raise no_such_operation(self, command)
        return self.view

    def _join(self, at: Moment, member: Member) -> None:
        check_session(at.session)
        check_name(member.name, "member")
        check_lease(member.lease_ms, self._lease_ms_max)
        if len(member.details) > DETAILS_BYTES_MAX:
            size = len(member.details)
            raise Refusal("too_large", f"the details have {size:,} bytes, the limit is {DETAILS_BYTES_MAX:,}")
        present = self.members.get(member.name)
        if present is not None and (present.session, present.details) != (member.session, member.details):
            raise Refusal(
                "already_member", f"{member.name!r} is a member already: let it leave, or wait until its lease ends"
            )
        if present is None:
            if len(self.members) >= self._most:
                raise Refusal("full", f"there are {self._most:,} members already")
            self._changed("joined", member)
        self.members[member.name] = member
        self._renew(at, member)

    def _member_of_session(self, at: Moment, name: str) -> Member:
        """Return the member `name`.

        Raises:
            Refusal: there is no such member, or it belongs to another session.
        """
        member = self.members.get(name)
        if member is None:
            raise Refusal("not_member", f"{name!r} is no member: it has left, or its lease or session has ended")
        if member.session != at.session:
            raise Refusal("not_yours", f"{name!r} is a member of another session")
        return member

    def _renew(self, at: Moment, member: Member) -> None:
        member.due_ms = lease_ends_ms(at, member.lease_ms)
        self.leases.renew(member.name, member.session, member.due_ms)

    def _remove(self, member: Member, event: str) -> None:
        del self.members[member.name]
        self.leases.drop(member.name)
        self._changed(event, member)

    def _changed(self, event: str, member: Member) -> None:
        self.view += 1
        self.changed[_VIEW] = None
        self.changes.append((self.view, event, member.name, member.details))
        if len(self.changes) > self._history:
            self.changes.popleft()

    # --- time -------------------------------------------------------------------------------------------------------

    def due_ms(self) -> int | None:
        return self.leases.due_ms()

    def expire(self, at: Moment) -> None:
        for name in self.leases.drop_ended(at.time_ms):
            self._remove(self.members[name], "lost")

    def session_ended(self, at: Moment) -> None:
        for name in self.leases.of_session(at.session):
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
        last_dropped = self.view - len(self.changes)
        if after > self.view:
            raise Refusal(
                "compacted",
                f"view {after} is not in this log's history, whose latest is {self.view}: ask for the view again",
            )
        if after < last_dropped:
            raise Refusal(
                "compacted", f"the changes up to view {last_dropped} are no longer kept: ask for the view again"
            )
        start = after - last_dropped
        found = [list(change) for change in islice(self.changes, start, start + max(min(most, self._answer), 0))]
        return found or NotYet(_VIEW)

    def figures(self) -> Mapping[str, int]:
        return {"members": len(self.members)}

    # --- snapshots --------------------------------------------------------------------------------------------------

    def snapshot(self) -> Plain:
        members = [list(_member_fields(member)) for member in self.members.values()]
        return [self.view, members, [list(change) for change in self.changes]]

    def restore(self, state: Plain) -> None:
        self.view, members, changes = state
        self.members = {name: Member(name, *rest) for name, *rest in members}
        self.changes = deque((view, event, name, details) for view, event, name, details in changes)
        self.leases = Leases()
        for member in self.members.values():
            self.leases.renew(member.name, member.session, member.due_ms)

    def rise(self, floor: int) -> None:
        """Continue with a view above `floor`. A watch of the old views is "compacted"."""
        self.view = risen(floor, self.view)
        self.changes.clear()
