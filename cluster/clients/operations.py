"""What can be asked of the machines of a replicated log, and what their answers mean. No I/O: every client shares it.

An `Ask` is a command or a question with the function that makes its answer what the caller gets. A client sends it, waits
and decodes: `client.ask(kv_put("owner", "alice"))`, or `await client.ask(...)` of the asyncio twin.

What has the wrong type raises BadValue here, before anything is sent. What the machine itself knows better, such as how long
a lease may be, it refuses.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, TypeVar

from node.contract import NodeId, Value
from node.wire import BadValue, decode_value, encode_value

T = TypeVar("T")

#: Seconds that an answer may take, if nothing else is said.
TIMEOUT_S: Final = 5.0
_PAGE: Final = 1_000
_SECONDS_MAX: Final = 1e9

#: A key, its value, and its version.
Entry = tuple[str, Any, int]
#: A version, a key, and its value then; None if it was deleted.
Change = tuple[int, str, Any]
#: Voters, learners, and the ids that were removed.
Membership = tuple[tuple[NodeId, ...], tuple[NodeId, ...], tuple[NodeId, ...]]


@dataclass(frozen=True, slots=True)
class Ask(Generic[T]):
    """One command, or a question if `read`. `wait_ms` is how long the answer may wait."""

    machine: str
    command: list[Any]
    decode: Callable[[Any], T]
    read: bool = False
    wait_ms: int = 0


# --- keys and values: node/machines/kv.py -------------------------------------------------------------------------------


def kv_put(key: str, value: object) -> Ask[int]:
    """Set a key; its new version. Raises BadValue."""
    packed = encode_value(value)
    return Ask("kv", ["put", _text("a key", key), packed], int)


def kv_compare_and_set(key: str, version: int, value: object) -> Ask[int]:
    """Set a key whose version is `version`, 0 for absent; its new version. Raises BadValue."""
    packed = encode_value(value)
    return Ask("kv", ["cas", _text("a key", key), _version(version), packed], int)


def kv_delete(key: str) -> Ask[bool]:
    """Remove a key; whether it was there."""
    return Ask("kv", ["delete", _text("a key", key)], bool)


def kv_get(key: str) -> Ask[tuple[Any, int] | None]:
    """A key's value and version, or None."""
    return Ask("kv", ["get", _text("a key", key)], _value_and_version, read=True)


def kv_version() -> Ask[int]:
    """The version of the latest change of any key."""
    return Ask("kv", ["version"], int, read=True)


def kv_range(prefix: str, after: str) -> Ask[tuple[list[Entry], bool]]:
    """The first keys above `after` that begin with `prefix`, and whether there are more."""
    return Ask("kv", ["range", _text("a prefix", prefix), after, _PAGE], _page, read=True)


def kv_watch(prefix: str, after: int, wait_s: float) -> Ask[list[Change]]:
    """Changes of keys that begin with `prefix` above version `after`; none if none comes within `wait_s` seconds."""
    return Ask(
        "kv",
        ["watch", _text("a prefix", prefix), _version(after), _PAGE],
        _changes,
        read=True,
        wait_ms=_wait_ms(wait_s),
    )


def _value_and_version(entry: Any) -> tuple[Any, int] | None:
    return None if entry is None else (decode_value(entry[0]), int(entry[1]))


def _page(answer: Any) -> tuple[list[Entry], bool]:
    entries, more = answer
    return [(key, decode_value(value), version) for key, value, version in entries], more


def _changes(answer: Any) -> list[Change]:
    return [(version, key, None if value is None else decode_value(value)) for version, key, value in answer or ()]


# --- locks: node/machines/locks.py --------------------------------------------------------------------------------------


class Place(NamedTuple):
    """A place in the line of a lock. `token` is 0 as long as it waits."""

    ticket: int
    token: int


class Holder(NamedTuple):
    """Who holds a lock, with which fencing token, and how many wait for it."""

    owner: str
    token: int
    waiting: int


def lock_acquire(name: str, owner: str, ttl_s: float) -> Ask[Place]:
    """A place in line, or the one that this session's `owner` has already; its lease begins anew."""
    return Ask("locks", ["acquire", *_claim(name, owner), _ms(ttl_s)], lambda answer: Place(*answer))


def lock_granted(name: str, ticket: int, wait_s: float) -> Ask[int]:
    """The token, as soon as the ticket's turn comes; 0 if that is not within `wait_s` seconds."""
    return Ask(
        "locks", ["granted", _lock(name), ticket], lambda answer: answer or 0, read=True, wait_ms=_wait_ms(wait_s)
    )


def lock_try(name: str, owner: str, ttl_s: float) -> Ask[int]:
    """The token, at once; refused as "held"."""
    return Ask("locks", ["try", *_claim(name, owner), _ms(ttl_s)], int)


def lock_renew(name: str, token: int) -> Ask[None]:
    """The lease begins anew."""
    return Ask("locks", ["renew", _lock(name), _token(token)], _nothing)


def lock_release(name: str, token: int) -> Ask[None]:
    """The next in line gets the lock."""
    return Ask("locks", ["release", _lock(name), _token(token)], _nothing)


def lock_give_up(name: str, owner: str) -> Ask[bool]:
    """Out of the line, whether waiting or holding; whether there was such a place."""
    return Ask("locks", ["give_up", *_claim(name, owner)], bool)


def lock_holder(name: str) -> Ask[Holder | None]:
    """Who holds it, or None."""
    return Ask("locks", ["holder", _lock(name)], lambda answer: None if answer is None else Holder(*answer), read=True)


# --- members, and tasks: node/machines/members.py and assignment.py -----------------------------------------------------


class View(NamedTuple):
    """Who is there, with what they tell of themselves. `number` rises with every change."""

    number: int
    members: dict[str, Any]


class Share(NamedTuple):
    """What one member has to do: tasks, each with its fencing token."""

    version: int
    tasks: dict[str, int]


class Owner(NamedTuple):
    """Who has a task, and with which fencing token."""

    member: str
    token: int


class Spread(NamedTuple):
    """Who has which task; None while there is nobody."""

    version: int
    owners: dict[str, Owner | None]


def member_join(machine: str, name: str, details: Any, ttl_s: float) -> Ask[int]:
    """Become a member; a view that it is in. Raises BadValue."""
    packed = b"" if details is None else encode_value(details)
    return Ask(machine, ["join", _member(name), packed, _ms(ttl_s)], int)


def member_heartbeat(machine: str, name: str) -> Ask[int]:
    """The lease begins anew; the present view."""
    return Ask(machine, ["heartbeat", _member(name)], int)


def member_leave(machine: str, name: str) -> Ask[int]:
    """Be a member no more; a view that it is not in."""
    return Ask(machine, ["leave", _member(name)], int)


def member_view(machine: str) -> Ask[View]:
    """The present view."""
    return Ask(machine, ["view"], lambda answer: View(answer[0], {n: _details(d) for n, d in answer[1]}), read=True)


def member_watch(machine: str, after: View, wait_s: float) -> Ask[list[View]]:
    """The views that followed `after`; none if none comes within `wait_s` seconds."""

    def views(answer: Any) -> list[View]:
        found = [after]
        for number, what, name, details in answer or ():
            members = {other: told for other, told in found[-1].members.items() if other != name}
            if what == "joined":
                members[name] = _details(details)
            found.append(View(number, members))
        return found[1:]

    if not isinstance(after, View):
        raise BadValue(f"what is watched is what followed a View, such as `view()` gives: not {str(after)[:100]}")
    return Ask(machine, ["watch", after.number, _PAGE], views, read=True, wait_ms=_wait_ms(wait_s))


def task_add(task: str) -> Ask[bool]:
    """Whether it is new."""
    return Ask("assignment", ["add", _text("the name of a task", task)], bool)


def task_remove(task: str) -> Ask[None]:
    """Refused as "no_task"."""
    return Ask("assignment", ["remove", _text("the name of a task", task)], _nothing)


def task_mine(name: str, after: Share | None, wait_s: float) -> Ask[Share | None]:
    """A member's tasks; None if they have not changed since `after` within `wait_s` seconds."""

    def share(answer: Any) -> Share | None:
        return None if answer is None else Share(answer[0], dict(answer[1]))

    return Ask(
        "assignment", ["mine", _member(name), _version_in(after, Share)], share, read=True, wait_ms=_wait_ms(wait_s)
    )


def task_owners(after: Spread | None, wait_s: float) -> Ask[Spread | None]:
    """Who has what; None if that has not changed since `after` within `wait_s` seconds."""

    def spread(answer: Any) -> Spread | None:
        if answer is None:
            return None
        version, shares, free = answer
        owned = {task: Owner(name, token) for name, tasks in shares for task, token in tasks}
        return Spread(version, dict(sorted((owned | dict.fromkeys(free)).items())))

    return Ask("assignment", ["owners", _version_in(after, Spread)], spread, read=True, wait_ms=_wait_ms(wait_s))


def _claim(name: str, owner: str) -> tuple[str, str]:
    return _lock(name), _text("the owner of a lock", owner)


def _lock(name: str) -> str:
    return _text("the name of a lock", name)


def _member(name: str) -> str:
    return _text("the name of a member", name)


def _version_in(after: Share | Spread | None, wanted: type[Share] | type[Spread]) -> int:
    if after is None:
        return 0
    if not isinstance(after, wanted):
        raise BadValue(f"`after` is a {wanted.__name__} that was answered before: not {str(after)[:100]}")
    return after.version


def _details(packed: bytes) -> Any:
    return decode_value(Value(packed)) if packed else None


def _text(what: str, text: object) -> str:
    if not isinstance(text, str):
        raise BadValue(f"{what} is a string, and not the {type(text).__name__} {str(text)[:100]}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadValue(f"{what} is valid Unicode, and {text[:100]!r} is not: {error.reason}") from None
    return text


def _version(version: object) -> int:
    return _whole("a version is a whole number, 0 of what is absent", version)


def _token(token: object) -> int:
    return _whole("a fencing token is a whole number", token)


def _whole(rule: str, number: object) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**63:
        raise BadValue(f"{rule}: not {str(number)[:100]}")
    return number


def check_seconds(seconds: object) -> float:
    """A time that is finite. Raises BadValue."""
    with suppress(OverflowError):  # an int of hundreds of digits
        if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and math.isfinite(seconds):
            return seconds
    raise BadValue(f"a time is a number of seconds: not {str(seconds)[:100]}")


def _ms(seconds: object) -> int:
    return int(max(min(check_seconds(seconds), _SECONDS_MAX), -_SECONDS_MAX) * 1000)


def _wait_ms(seconds: object) -> int:
    return max(_ms(seconds), 1)


def _nothing(_answer: Any) -> None:
    return None


# --- the cluster itself: node/replication/configuration.py -----------------------------------------------------------


def cluster_members() -> Ask[Membership]:
    """Who votes, who learns, who was removed."""
    return Ask("cluster", ["members"], _membership, read=True)


def cluster_add(node: NodeId) -> Ask[Membership]:
    """Make `node` a learner."""
    return Ask("cluster", ["add", _text("the name of a node", node)], _membership)


def cluster_remove(node: NodeId) -> Ask[Membership]:
    """Remove `node` for ever."""
    return Ask("cluster", ["remove", _text("the name of a node", node)], _membership)


def cluster_hand_over(node: NodeId) -> Ask[bool]:
    """Have `node` lead instead."""
    return Ask("cluster", ["hand_over", _text("the name of a node", node)], bool)


def _membership(answer: Any) -> Membership:
    voters, learners, removed = answer
    return tuple(voters), tuple(learners), tuple(removed)
