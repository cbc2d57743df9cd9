"""Operations on keys and values. The machine is `node/machines/kv.py`."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from cluster.clients.operation import (
    PAGE,
    TIMEOUT_S,
    Operation,
    Stream,
    checked_number,
    checked_text,
    stream_waits_s,
    wait_ms,
)
from node.wire import decode_value, encode_value


class VersionedValue(NamedTuple):
    """The value of a key, and the version of the change that set it."""

    value: Any
    version: int


class KeyEntry(NamedTuple):
    """A key, its value, and the version of the change that set it."""

    key: str
    value: Any
    version: int


class KeyChange(NamedTuple):
    """One change of a key. `value` is None if the key was deleted."""

    version: int
    key: str
    value: Any


class KeyChanges(list[KeyChange]):
    """Changes of keys with a prefix, in order. `seen` is the version up to which these are all of them.

    It is at least the version of the last change, and higher if only other keys have changed since.
    """

    def __init__(self, changes: Iterable[KeyChange], seen: int) -> None:
        super().__init__(changes)
        self.seen = seen


class KeyPage(NamedTuple):
    """Some entries in the order of their keys, and whether more follow."""

    entries: list[KeyEntry]
    more: bool


def kv_put(key: str, value: object, timeout_s: float = TIMEOUT_S) -> Operation[int]:
    """Set a key.

    Args:
        key: 1 to 1,024 characters.
        value: plain data, as for `propose`: up to 256 KiB encoded, and not None.
        timeout_s: how long the reply may take, in seconds.

    Returns:
        The key's new version. It is one higher than the version of the last change of any key.
    """
    packed = encode_value(value)
    return Operation("kv", ["put", _key(key), packed], int, timeout_s=timeout_s)


def kv_compare_and_set(key: str, version: int, value: object, timeout_s: float = TIMEOUT_S) -> Operation[int]:
    """Set a key if it has a certain version.

    Args:
        key: 1 to 1,024 characters.
        version: the version that the key must have; 0: the key must be absent.
        value: plain data, as for `put`.
        timeout_s: how long the reply may take, in seconds.

    Returns:
        The key's new version.

    Raises:
        CommandRefused: "mismatch": the key has another version. Nothing was changed.
    """
    packed = encode_value(value)
    return Operation("kv", ["cas", _key(key), _version(version), packed], int, timeout_s=timeout_s)


def kv_delete(key: str, timeout_s: float = TIMEOUT_S) -> Operation[bool]:
    """Remove a key. Returns whether it was present."""
    return Operation("kv", ["delete", _key(key)], bool, timeout_s=timeout_s)


def kv_get(key: str, timeout_s: float = TIMEOUT_S) -> Operation[Any]:
    """Return the value of a key, or None if it is absent. The value is never older than the call."""
    return Operation("kv", ["get", _key(key)], _value, read=True, timeout_s=timeout_s)


def kv_get_with_version(key: str, timeout_s: float = TIMEOUT_S) -> Operation[VersionedValue | None]:
    """Return the value of a key and its version, or None if the key is absent. They are never older than the call."""
    return Operation("kv", ["get", _key(key)], _versioned_value, read=True, timeout_s=timeout_s)


def kv_version(timeout_s: float = TIMEOUT_S) -> Operation[int]:
    """Return the version of the latest change of any key. A `watch` from there returns only later changes."""
    return Operation("kv", ["version"], int, read=True, timeout_s=timeout_s)


def kv_page(prefix: str, after: str, timeout_s: float = TIMEOUT_S) -> Operation[KeyPage]:
    """Return the first entries whose keys begin with `prefix` and come after the key `after`."""
    command = ["range", checked_text("a prefix", prefix), after, PAGE]
    return Operation("kv", command, _page, read=True, timeout_s=timeout_s)


def kv_range(prefix: str = "", timeout_s: float = TIMEOUT_S) -> Stream[KeyEntry]:
    """Iterate over all entries whose keys begin with a prefix, in the order of the keys.

    The client reads pages as the caller needs them, so entries of different pages may be of different moments.

    Args:
        prefix: what the keys begin with; empty: all keys.
        timeout_s: how long the reply to each page may take, in seconds.

    Returns:
        An iterator over `KeyEntry`: key, value, version.
    """
    after, more = "", True
    while more:
        page: KeyPage = yield kv_page(prefix, after, timeout_s)
        if page.entries:
            after = page.entries[-1].key
        more = page.more
        yield page.entries


def kv_watch(prefix: str, after: int, wait_s: float = 1.0) -> Operation[KeyChanges]:
    """Return the changes of keys with a prefix after a version, and wait for the first one if there is none yet.

    Args:
        prefix: what the keys begin with; empty: all keys.
        after: the version after which the changes begin.
        wait_s: how long to wait for a change, in seconds.

    Returns:
        The changes as `KeyChange` (version, key, value), in order: at most 1,000, and none if none came in time. It is a list
        with an attribute `seen`: the next watch goes on from there, also if there was no change.

    Raises:
        CommandRefused: "compacted": the log has dropped changes after `after`, or was set back before it. Read the range again.
    """
    command = ["watch", checked_text("a prefix", prefix), _version(after), PAGE]
    wait = wait_ms(wait_s)
    return Operation(
        "kv", command, lambda answer: _changes(after, answer), read=True, wait_ms=wait, timeout_s=wait_s + TIMEOUT_S
    )


def kv_changes(prefix: str, after: int) -> Stream[KeyChange]:
    """Iterate over every change of keys with a prefix after a version, as it happens, without an end.

    Args:
        prefix: what the keys begin with; empty: all keys.
        after: the version after which the changes begin.

    Returns:
        An iterator over `KeyChange`: version, key, value.

    Raises:
        CommandRefused: "compacted": the log has dropped changes that this iterator has not returned. Read the range again.
    """
    for wait_s in stream_waits_s():
        changes: KeyChanges = yield kv_watch(prefix, after, wait_s)
        after = changes.seen
        yield changes


def _key(key: object) -> str:
    return checked_text("a key", key)


def _version(version: object) -> int:
    return checked_number("a version is a whole number, 0 for an absent key", version)


def _value(answer: Any) -> Any:
    return None if answer is None else decode_value(answer[0])


def _versioned_value(answer: Any) -> VersionedValue | None:
    return None if answer is None else VersionedValue(decode_value(answer[0]), int(answer[1]))


def _page(answer: Any) -> KeyPage:
    entries, more = answer
    return KeyPage([KeyEntry(key, decode_value(value), version) for key, value, version in entries], more)


def _changes(after: int, answer: Any) -> KeyChanges:
    seen, changes = answer
    decoded = (
        KeyChange(version, key, None if value is None else decode_value(value)) for version, key, value in changes
    )
    return KeyChanges(decoded, max(after, seen))
