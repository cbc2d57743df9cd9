"""The reference of keys and values: a dictionary, and the list of all changes."""

from collections.abc import Iterator
from typing import Any

from harness.checkers.reference.terms import LogInstant, No, unknown_command

#: One change: its version, the key, and the encoded value; None if the key was deleted.
Change = tuple[int, str, bytes | None]


class KvReference:
    """Every change since the beginning, and the present entries as encoded value and version."""

    def __init__(self, kept_changes: int = 4_096, kept_bytes: int = 4 * 1024 * 1024) -> None:
        """Begin without keys. A node keeps the latest changes for watches, up to this number and this size of their values."""
        self.entries: dict[str, tuple[bytes, int]] = {}
        self.changes: list[Change] = []
        self._kept_changes, self._kept_bytes = kept_changes, kept_bytes
        self._oldest, self._bytes = 0, 0  # the index of the oldest change that is kept, and the size of those that are

    @property
    def version(self) -> int:
        """The version of the latest change."""
        return len(self.changes)

    def do(self, _at: LogInstant, command: Any) -> Any:
        """Do one command, and return its result. Raises No."""
        match command:
            case ["put", str(key), bytes(value)]:
                return self._put(key, value)
            case ["cas", str(key), int(version), bytes(value)]:
                if version != self.entries.get(key, (b"", 0))[1]:
                    raise No("mismatch")
                return self._put(key, value)
            case ["delete", str(key)]:
                if key not in self.entries:
                    return False
                del self.entries[key]
                self._note(key, None)
                return True
        raise unknown_command(command)

    def _put(self, key: str, value: bytes) -> int:
        if not 1 <= len(key) <= 1_024:
            raise No("bad_key")
        if len(value) > 256 * 1024:
            raise No("too_large")
        self._note(key, value)
        self.entries[key] = value, self.version
        return self.version

    def _note(self, key: str, value: bytes | None) -> None:
        self.changes.append((self.version + 1, key, value))
        self._bytes += len(value or b"")
        while self.version - self._oldest > self._kept_changes or self._bytes > self._kept_bytes:
            self._bytes -= len(self.changes[self._oldest][2] or b"")
            self._oldest += 1

    def compacted(self, after: int) -> bool:
        """Return whether a change after the version `after` is not kept any more, or that version has not been."""
        return not self._oldest <= after <= self.version

    def kept(self) -> list[Change]:
        """Return the changes that a node keeps, in order."""
        return self.changes[self._oldest :]

    def changes_after(self, prefix: str, after: int) -> Iterator[Change]:
        """Yield every change of a key with this prefix after a version, in order."""
        return (change for change in self.changes[after:] if change[1].startswith(prefix))

    def expire(self, _time_ms: int) -> None:
        """Do nothing: keys have no leases."""

    def session_ended(self, _at: LogInstant) -> None:
        """Do nothing: keys belong to no session."""
