"""The core and the timers of a stepped node: what it sends to itself, and what expires, waits for a command of the driver."""

from collections.abc import Iterator
from typing import Any

from node.contract import NodeId
from node.instances import TimerKey
from node.timers import Timers
from node.turn import NodeCore


class SteppedTimers(Timers[TimerKey]):
    """Timers that expire on request, until `free` is set."""

    free = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._commanded: list[tuple[TimerKey, float]] = []

    def fire(self, key: TimerKey) -> bool:
        """Have `key` expire at the end of this turn, unless it is cancelled or set again before. Return whether it is set."""
        if key not in self._due:
            return False
        self._commanded.append((key, self._due[key]))
        return True

    def wait_s(self, most_s: float) -> float:
        return super().wait_s(most_s) if self.free else most_s

    def take_expired(self) -> Iterator[TimerKey]:
        if self.free:
            yield from super().take_expired()
        commanded, self._commanded = self._commanded, []
        for key, due in commanded:
            if self._due.get(key) == due:
                del self._due[key]
                yield key


class SteppedCore(NodeCore):
    """A core that takes in its messages to itself on request, until `free` is set."""

    free = False
    may_hear_itself = False

    def take_own_messages(self) -> None:
        if self.free or self.may_hear_itself:
            super().take_own_messages()
        self.may_hear_itself = False

    def peer_lost(self, peer: NodeId) -> None:
        """A connection that closes is no input until the driver says so, nor is the duration of a commit."""
        if self.free:
            super().peer_lost(peer)

    def commit_took(self, milliseconds: int | None) -> None:
        if self.free:
            super().commit_took(milliseconds)

    @property
    def has_work(self) -> bool:
        if self.free or self.may_hear_itself:
            return super().has_work
        return self.has_output or self.disk.dirty


class TimelessCore(SteppedCore):
    """A stepped core in whose log no time passes, until `free` is set."""

    def after_turn(self) -> None:
        super().after_turn()
        if self._log is not None and not self.free:
            self._log.forget_time()
