"""The reference of sessions: which frames of commands take effect."""

from dataclasses import dataclass, field
from typing import Final

#: How many sequence numbers a client may be ahead of its oldest frame without an answer.
WINDOW: Final = 64
#: After so many milliseconds of the log's time without use a session ends.
IDLE_MS: Final = 15 * 60 * 1000


@dataclass
class Session:
    """One session. The answers to all frames below `done` have arrived; `taken` are the others that have taken effect."""

    used_ms: int
    done: int = 1
    highest: int = 0
    taken: set[int] = field(default_factory=set)
    resumed_by: str = ""


class SessionsReference:
    """All sessions, by number, in the order of their last use."""

    def __init__(self, idle_ms: int = IDLE_MS, window: int = WINDOW) -> None:
        """Begin without sessions. Each ends after `idle_ms` of the log's time without use, and has so many open frames."""
        self.window = window
        self.sessions: dict[int, Session] = {}
        self.idle_ms = idle_ms
        self._last = 0

    def open(self, time_ms: int) -> int:
        """Open a session, and return its number."""
        self._last += 1
        self.sessions[self._last] = Session(time_ms)
        return self._last

    def resume(self, number: int, client: str, time_ms: int) -> int | None:
        """Resume a session for one run of a client. Returns the lowest sequence number that it may use; None: it has ended."""
        session = self._use(number, time_ms)
        if session is None:
            return None
        if session.resumed_by != client:
            session.resumed_by = client
            session.done = session.highest + self.window + 1
            session.highest = session.done - 1
            session.taken.clear()
        return session.done

    def close(self, number: int) -> bool:
        """End a session. Returns whether there was one."""
        return self.sessions.pop(number, None) is not None

    def admits(self, number: int, sequence: int, done: int, time_ms: int) -> bool:
        """Return whether a frame takes effect now, and note that it does."""
        session = self._use(number, time_ms)
        if session is None:
            return False
        if sequence in session.taken or sequence < session.done:
            return False
        if sequence >= session.done + self.window and sequence >= done + self.window:
            return False
        if session.done < done <= sequence:
            session.done = done
            session.taken = {taken for taken in session.taken if taken >= done}
        if sequence >= session.done + self.window:
            return False
        session.taken.add(sequence)
        session.highest = max(session.highest, sequence)
        return True

    def expire(self, time_ms: int) -> list[int]:
        """End the sessions that were idle for too long. Returns their numbers: the one that was used longest ago is the first."""
        ended = [number for number, session in self.sessions.items() if session.used_ms + self.idle_ms <= time_ms]
        for number in ended:
            del self.sessions[number]
        return ended

    def _use(self, number: int, time_ms: int) -> Session | None:
        session = self.sessions.pop(number, None)
        if session is not None:
            session.used_ms = time_ms
            self.sessions[number] = session
        return session
