"""What can be asked of the machines of a replicated log, and what their answers mean. No I/O: every client shares it.

An `Ask` is a command or a question with the function that makes its answer what the caller gets. A client sends it, waits
and decodes: `client.ask(kv_put("owner", "alice"))`, or `await client.ask(...)` of the asyncio twin.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, TypeVar

from node.contract import NodeId
from node.wire import decode_value, encode_value

T = TypeVar("T")

#: Seconds that an answer may take, if nothing else is said.
TIMEOUT_S: Final = 5.0
_PAGE: Final = 1_000

#: A key, its value, and its version.
Entry = tuple[str, Any, int]
#: A version, a key, and its value then; None if it was deleted.
Change = tuple[int, str, Any]
#: Voters, learners, and the ids that were removed.
Membership = tuple[tuple[NodeId, ...], tuple[NodeId, ...], tuple[NodeId, ...]]


@dataclass(frozen=True, slots=True)
class Ask(Generic[T]):
    """One command, or a question if `read`. `size` is about how many bytes it takes; `wait_ms` how long the answer may wait."""

    machine: str
    command: list[Any]
    decode: Callable[[Any], T]
    read: bool = False
    size: int = 64
    wait_ms: int = 0


# --- keys and values: node/machines/kv.py -------------------------------------------------------------------------------


def kv_put(key: str, value: object) -> Ask[int]:
    """Set a key; its new version. Raises BadValue."""
    packed = encode_value(value)
    return Ask("kv", ["put", key, packed], int, size=len(packed) + 64)


def kv_compare_and_set(key: str, version: int, value: object) -> Ask[int]:
    """Set a key whose version is `version`, 0 for absent; its new version. Raises BadValue."""
    packed = encode_value(value)
    return Ask("kv", ["cas", key, version, packed], int, size=len(packed) + 64)


def kv_delete(key: str) -> Ask[bool]:
    """Remove a key; whether it was there."""
    return Ask("kv", ["delete", key], bool)


def kv_get(key: str) -> Ask[tuple[Any, int] | None]:
    """A key's value and version, or None."""
    return Ask("kv", ["get", key], _value_and_version, read=True)


def kv_range(prefix: str, after: str) -> Ask[tuple[list[Entry], bool]]:
    """The first keys above `after` that begin with `prefix`, and whether there are more."""
    return Ask("kv", ["range", prefix, after, _PAGE], _page, read=True)


def kv_watch(prefix: str, after: int, wait_s: float) -> Ask[list[Change]]:
    """Changes of keys that begin with `prefix` above version `after`; none if none comes within `wait_s` seconds."""
    return Ask("kv", ["watch", prefix, after, _PAGE], _changes, read=True, wait_ms=max(int(wait_s * 1000), 1))


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
    return Ask("locks", ["acquire", name, owner, _ms(ttl_s)], lambda answer: Place(*answer))


def lock_granted(name: str, ticket: int, wait_s: float) -> Ask[int]:
    """The token, as soon as the ticket's turn comes; 0 if that is not within `wait_s` seconds."""
    wait_ms = max(_ms(wait_s), 1)
    return Ask("locks", ["granted", name, ticket], lambda answer: answer or 0, read=True, wait_ms=wait_ms)


def lock_try(name: str, owner: str, ttl_s: float) -> Ask[int]:
    """The token, at once; refused as "held"."""
    return Ask("locks", ["try", name, owner, _ms(ttl_s)], int)


def lock_renew(name: str, token: int) -> Ask[None]:
    """The lease begins anew."""
    return Ask("locks", ["renew", name, token], _nothing)


def lock_release(name: str, token: int) -> Ask[None]:
    """The next in line gets the lock."""
    return Ask("locks", ["release", name, token], _nothing)


def lock_give_up(name: str, owner: str) -> Ask[bool]:
    """Out of the line, whether waiting or holding; whether there was such a place."""
    return Ask("locks", ["give_up", name, owner], bool)


def lock_holder(name: str) -> Ask[Holder | None]:
    """Who holds it, or None."""
    return Ask("locks", ["holder", name], lambda answer: None if answer is None else Holder(*answer), read=True)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _nothing(_answer: Any) -> None:
    return None


# --- the cluster itself: node/configuration.py --------------------------------------------------------------------------


def cluster_members() -> Ask[Membership]:
    """Who votes, who learns, who was removed."""
    return Ask("cluster", ["members"], _membership, read=True)


def cluster_add(node: NodeId) -> Ask[Membership]:
    """Make `node` a learner."""
    return Ask("cluster", ["add", node], _membership)


def cluster_remove(node: NodeId) -> Ask[Membership]:
    """Remove `node` for ever."""
    return Ask("cluster", ["remove", node], _membership)


def cluster_hand_over(node: NodeId) -> Ask[bool]:
    """Have `node` lead instead."""
    return Ask("cluster", ["hand_over", node], bool)


def _membership(answer: Any) -> Membership:
    voters, learners, removed = answer
    return tuple(voters), tuple(learners), tuple(removed)
