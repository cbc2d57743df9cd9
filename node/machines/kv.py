"""Keys and values that change.

Commands, each with its result:
```
["put", key, value]            the key's new version
["delete", key]                whether it was there
["cas", key, version, value]   the new version; refused as "mismatch" unless the key's version is `version` (0: absent)
```
Questions:
```
["get", key]                          [value, version], or None
["version"]                           the version of the latest change of any key
["range", prefix, after, most]        [[key, value, version], …] in order of the key, and whether there are more
["watch", prefix, after, most]        [[version, key, value or None], …]: the changes above version `after`, in order
```
Every change has a version of its own, one higher than the last change of any key. The latest changes are kept for watchers,
up to a number and a size; a watcher that has fallen behind them is refused as "compacted" and reads the range again.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Mapping
from itertools import islice
from typing import Final

from node.machine import NOT_YET, Command, Machine, Moment, NotYet, Plain, Refusal, no_such_operation

KEY_CHARS_MAX: Final = 1_024
VALUE_BYTES_MAX: Final = 256 * 1024
HISTORY_ENTRIES_MAX: Final = 4_096
HISTORY_BYTES_MAX: Final = 4 * 1024 * 1024
ANSWER_ENTRIES_MAX: Final = 1_000
ANSWER_BYTES_MAX: Final = 1024 * 1024


class KvMachine(Machine):
    """A map with versions."""

    name = "kv"

    def __init__(self) -> None:
        self.entries: dict[str, tuple[bytes, int]] = {}
        self.version = 0
        self.history: deque[tuple[int, str, bytes | None]] = deque()  # without a gap
        self.history_bytes = 0
        self._ordered: list[str] = []  # may lack `_new` and hold keys that are gone
        self._new: list[str] = []

    # --- commands ---------------------------------------------------------------------------------------------------

    def apply(self, at: Moment, command: Command) -> Plain:
        match command:
            case ["put", key, value] if (
                type(key) is str and type(value) is bytes
            ):  # the commonest: a class pattern is slow
                return self._put(key, value)
            case ["delete", str(key)]:
                if self.entries.pop(key, None) is None:
                    return False
                self._changed(key, None)
                return True
            case ["cas", str(key), int(version), bytes(value)]:
                present = self.entries.get(key, (b"", 0))[1]
                if present != version:
                    raise Refusal("mismatch", f"the version of {key!r} is {present}, not {version}")
                return self._put(key, value)
        raise no_such_operation(self, command)

    def _put(self, key: str, value: bytes) -> int:
        if not 0 < len(key) <= KEY_CHARS_MAX:
            raise Refusal("bad_key", f"a key has 1 to {KEY_CHARS_MAX:,} characters, and this has {len(key):,}")
        if len(value) > VALUE_BYTES_MAX:
            raise Refusal("too_large", f"the value has {len(value):,} bytes, the limit is {VALUE_BYTES_MAX:,}")
        if key not in self.entries:
            self._new.append(key)
        version = self._changed(key, value)
        self.entries[key] = (value, version)
        return version

    def _changed(self, key: str, value: bytes | None) -> int:
        self.version += 1
        self.history.append((self.version, key, value))
        self.history_bytes += len(value or b"")
        while len(self.history) > HISTORY_ENTRIES_MAX or self.history_bytes > HISTORY_BYTES_MAX:
            self.history_bytes -= len(self.history.popleft()[2] or b"")
        return self.version

    # --- questions --------------------------------------------------------------------------------------------------

    def query(self, question: Command) -> Plain | NotYet:
        match question:
            case ["get", str(key)]:
                entry = self.entries.get(key)
                return None if entry is None else list(entry)
            case ["version"]:
                return self.version
            case ["range", str(prefix), str(after), int(most)]:
                return self._range(prefix, after, most)
            case ["watch", str(prefix), int(after), int(most)]:
                return self._watch(prefix, after, most)
        raise no_such_operation(self, question)

    def _range(self, prefix: str, after: str, most: int) -> Plain:
        self._put_in_order()
        keys = self._ordered
        start = max(bisect_left(keys, prefix), bisect_right(keys, after) if after else 0)
        found: list[Plain] = []
        size = 0
        for key in islice(keys, start, None):
            if not key.startswith(prefix):
                break
            if len(found) >= min(most, ANSWER_ENTRIES_MAX) or size > ANSWER_BYTES_MAX:
                return [found, True]
            value, version = self.entries[key]
            found.append([key, value, version])
            size += len(value) + len(key)
        return [found, False]

    def _put_in_order(self) -> None:
        """Sorting what is nearly sorted is cheap; doing it at each put would not be."""
        if self._new or len(self._ordered) != len(self.entries):
            self._ordered = sorted(self.entries)
            self._new = []

    def _watch(self, prefix: str, after: int, most: int) -> Plain | NotYet:
        first = self.history[0][0] if self.history else self.version + 1
        if after + 1 < first:
            raise Refusal("compacted", f"the changes before {first} are forgotten: read the range again")
        found: list[Plain] = []
        size = 0
        for version, key, value in islice(self.history, max(after + 1 - first, 0), None):
            if len(found) >= min(most, ANSWER_ENTRIES_MAX) or size > ANSWER_BYTES_MAX:
                break
            if key.startswith(prefix):
                found.append([version, key, value])
                size += len(value or b"") + len(key)
        return found or NOT_YET

    def figures(self) -> Mapping[str, int]:
        return {"keys": len(self.entries)}

    # --- snapshots --------------------------------------------------------------------------------------------------

    def snapshot(self) -> Plain:
        return [
            self.version,
            list(self.history),
            list(self.entries.items()),
        ]

    def restore(self, state: Plain) -> None:
        self.version, history, entries = state
        self.history = deque((version, key, value) for version, key, value in history)
        self.history_bytes = sum(len(value or b"") for _, _, value in self.history)
        self.entries = {key: (value, version) for key, (value, version) in entries}
        self._ordered, self._new = [], list(self.entries)
