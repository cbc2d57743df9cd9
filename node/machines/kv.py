"""Keys and values that change, with versions.

Commands, each with its result:
```
["put", key, value]            the key's new version
["delete", key]                True if the key existed
["cas", key, version, value]   the new version; refused as "mismatch" unless the key's version is `version` (0: absent)
```
Questions, each with its answer:
```
["get", key]                          [value, version], or None
["version"]                           the version of the latest change of any key
["range", prefix, after, most]        [[[key, value, version], …], more]: at most `most` keys with this prefix above the key
                                      `after`, in order; `more` is True if there are more
["watch", prefix, after, most]        [seen, [[version, key, value], …]]: at most `most` changes of keys with this prefix above
                                      the version `after`, in order, and the version up to which these are all of them; a
                                      value of None is a delete; waits until there is a change
```
Each change has a version of its own: one more than that of the last change of any key. The machine keeps the latest
changes for watches, up to a number and a size. A watch that begins before them is refused as "compacted"; its client
reads the range again. So is a watch after a version that has not been: its client has seen a later history, which was lost
when the cluster was set back to an old copy. So a client watches on from `seen`, which also rises while only other keys change.

Refused, without a change: "mismatch", "bad_key", "too_large", "compacted".
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Mapping
from itertools import islice
from typing import Final, Self

from node.machine import Command, Machine, Moment, NotYet, Plain, Refusal, no_such_operation, risen
from node.tuning import SHIPPED, Tuning

KEY_CHARS_MAX: Final = 1_024
VALUE_BYTES_MAX: Final = 256 * 1024


class KvMachine(Machine):
    """The present entries, and the latest changes. `version` is that of the latest change. A change's topic is its key."""

    name = "kv"

    def __init__(self, tuning: Tuning = SHIPPED) -> None:
        self._history_entries, self._history_bytes = tuning.kv_history_entries, tuning.kv_history_bytes
        self._answer_entries, self._answer_bytes = tuning.kv_answer_entries, tuning.kv_answer_bytes
        self.changed: dict[str, None] = {}
        self.entries: dict[str, tuple[bytes, int]] = {}
        self.version = 0
        #: The latest changes, as version, key and value. Their versions have no gaps.
        self.history: deque[tuple[int, str, bytes | None]] = deque()
        self.history_bytes = 0
        #: Sorted keys, for ranges. Until `_sort_keys` it may lack the keys of `_new_keys`, and hold deleted ones.
        self._sorted_keys: list[str] = []
        self._new_keys: list[str] = []

    @classmethod
    def made_with(cls, tuning: Tuning) -> Self:
        return cls(tuning)

    # --- commands ---------------------------------------------------------------------------------------------------

    def apply(self, at: Moment, command: Command) -> Plain:
        match command:
            # No class patterns here: they are slow, and this is the most frequent command.
            case ["put", key, value] if type(key) is str and type(value) is bytes:
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
            raise Refusal("bad_key", f"a key has 1 to {KEY_CHARS_MAX:,} characters, but this one has {len(key):,}")
        if len(value) > VALUE_BYTES_MAX:
            raise Refusal("too_large", f"the value has {len(value):,} bytes, the limit is {VALUE_BYTES_MAX:,}")
        if key not in self.entries:
            self._new_keys.append(key)
        version = self._changed(key, value)
        self.entries[key] = (value, version)
        return version

    def _changed(self, key: str, value: bytes | None) -> int:
        self.version += 1
        self.changed[key] = None
        self.history.append((self.version, key, value))
        self.history_bytes += len(value or b"")
        while len(self.history) > self._history_entries or self.history_bytes > self._history_bytes:
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
        self._sort_keys()
        keys = self._sorted_keys
        start = max(bisect_left(keys, prefix), bisect_right(keys, after) if after else 0)
        found: list[Plain] = []
        size = 0
        for key in islice(keys, start, None):
            if not key.startswith(prefix):
                break
            if len(found) >= min(most, self._answer_entries) or size > self._answer_bytes:
                return [found, True]
            value, version = self.entries[key]
            found.append([key, value, version])
            size += len(value) + len(key)
        return [found, False]

    def _sort_keys(self) -> None:
        # Sorting at a range is cheap, because the keys are nearly sorted. Sorting at each put would not be.
        if self._new_keys or len(self._sorted_keys) != len(self.entries):
            self._sorted_keys = sorted(self.entries)
            self._new_keys = []

    def query_again(self, question: Command, seen: int) -> Plain | NotYet:
        match question:
            case ["watch", str(prefix), int(after), int(most)]:
                return self._watch(prefix, max(after, seen), most)
        return self.query(question)

    def latest_version(self) -> int:
        return self.version

    def nothing_new(self) -> Plain:
        return [self.version, []]

    def _watch(self, prefix: str, after: int, most: int) -> Plain | NotYet:
        first = self.history[0][0] if self.history else self.version + 1
        if after > self.version:
            raise Refusal(
                "compacted",
                f"version {after} is not in this log's history, whose latest is {self.version}: read the range again",
            )
        if after + 1 < first:
            raise Refusal("compacted", f"the changes before version {first} are no longer kept: read the range again")
        found: list[Plain] = []
        size = 0
        # By index, so that the changes up to `after` cost nothing.
        for index in range(max(after + 1 - first, 0), len(self.history)):
            version, key, value = self.history[index]
            if key.startswith(prefix):
                if len(found) >= min(most, self._answer_entries) or size > self._answer_bytes:
                    return [version - 1, found]
                found.append([version, key, value])
                size += len(value or b"") + len(key)
        return [self.version, found] if found else NotYet(prefix)

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
        self._sorted_keys, self._new_keys = [], list(self.entries)

    def rise(self, floor: int) -> None:
        """Give each key a version above `floor`, in the order of the old versions. A watch of the old versions is "compacted"."""
        self.version = risen(floor, self.version)
        self.history.clear()
        self.history_bytes = 0
        for key, (value, _) in sorted(self.entries.items(), key=lambda entry: entry[1][1]):
            self.version += 1
            self.entries[key] = (value, self.version)
