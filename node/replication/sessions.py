"""Sessions: a retried frame of commands takes effect once.

Ongaro, *Consensus: Bridging Theory and Practice* (2014), section 6.3, with a frame for a command.

Rules
-----
1. A session is opened through the log, so its number is nobody else's, whichever leader gave it. A client that starts
   anew opens a new one, or resumes its own, and either way its numbers are fresh.
2. An answer is kept until the client says that it has it (`done`). A frame whose answer is kept gets that answer again and
   does nothing; a frame below `done` can only be an echo, and does nothing.
3. A client has fewer than `WINDOW` frames between its oldest unanswered one and its newest; others are refused. So what a
   session costs is bounded, and a resumed session that skips `WINDOW` numbers meets no frame that is still on its way.
4. A session that is not used for `IDLE_MS` of the log's time ends. Its client cannot know any more whether a frame that
   was never answered took effect: it is told so.

All of this is part of the replicated state: it is in every snapshot.
"""

from typing import Any, Final

WINDOW: Final = 64
IDLE_MS: Final = 15 * 60 * 1000
SESSIONS_MAX: Final = 100_000


class ClientSession:
    """What is kept of one client."""

    __slots__ = ("answers", "done", "highest", "resumed", "used_ms")

    def __init__(
        self,
        used_ms: int,
        done: int = 1,
        highest: int = 0,
        answers: dict[int, bytes] | None = None,
        resumed: tuple[str, int] = ("", 0),
    ) -> None:
        self.used_ms, self.done, self.highest = used_ms, done, highest
        self.answers: dict[int, bytes] = answers or {}
        self.resumed = resumed  # by whom last, and what that one was told


class Sessions:
    """Every session, the one that was used longest ago first."""

    def __init__(self) -> None:
        self._sessions: dict[int, ClientSession] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, time_ms: int) -> int | None:
        """A new session's number, or None if there are too many."""
        if len(self._sessions) >= SESSIONS_MAX:
            return None
        self._last += 1
        self._sessions[self._last] = ClientSession(time_ms)
        return self._last

    def resume(self, number: int, client: str, time_ms: int) -> int | None:
        """The lowest sequence that a client which has forgotten its own may use, or None if the session has ended.

        Nothing that it had on its way before takes effect from now on. `client` names this life of it: a repetition is told
        the same again, and does not take for an earlier life what this one has sent since.
        """
        session = self._use(number, time_ms)
        if session is None:
            return None
        if session.resumed[0] == client:
            return session.resumed[1]
        session.done = session.highest + WINDOW + 1  # its oldest unanswered frame was at most `highest` + 1
        session.highest = session.done - 1
        session.answers.clear()
        session.resumed = (client, session.done)
        return session.done

    def close(self, number: int) -> bool:
        """End a session. False if there is none of that number."""
        return self._sessions.pop(number, None) is not None

    def admit(self, number: int, sequence: int, done: int, time_ms: int) -> ClientSession | bytes | str:
        """The session in which the frame is to take effect; or its answer, if it has; or why it must not."""
        session = self._use(number, time_ms)
        if session is None:
            return "session_expired"
        answer = session.answers.get(sequence)
        if answer is not None:
            return answer
        if sequence < session.done:
            return "stale"
        if sequence >= session.done + WINDOW and sequence >= done + WINDOW:
            return "window_full"
        if session.done < done <= sequence:
            session.done = done
            for old in [old for old in session.answers if old < done]:
                del session.answers[old]
        if sequence >= session.done + WINDOW:
            return "window_full"
        return session

    @staticmethod
    def keep(session: ClientSession, sequence: int, answer: bytes) -> None:
        """The frame has taken effect, with this answer."""
        session.answers[sequence] = answer
        session.highest = max(session.highest, sequence)

    def _use(self, number: int, time_ms: int) -> ClientSession | None:
        session = self._sessions.pop(number, None)
        if session is not None:
            session.used_ms = time_ms
            self._sessions[number] = session
        return session

    # --- time -------------------------------------------------------------------------------------------------------

    def due_ms(self) -> int | None:
        """When the session that was used longest ago ends."""
        for session in self._sessions.values():
            return session.used_ms + IDLE_MS
        return None

    def expire(self, time_ms: int) -> list[int]:
        """End every session that has been idle for too long. Returns their numbers."""
        ended = []
        for number, session in self._sessions.items():
            if session.used_ms + IDLE_MS > time_ms:
                break
            ended.append(number)
        for number in ended:
            del self._sessions[number]
        return ended

    # --- snapshots --------------------------------------------------------------------------------------------------

    def snapshot(self) -> Any:
        """Plain data, in the order of use."""
        return [
            self._last,
            [
                (number, session.used_ms, session.done, session.highest, session.answers, session.resumed)
                for number, session in self._sessions.items()
            ],
        ]

    def restore(self, state: Any) -> None:
        """Become what `snapshot` was taken of."""
        self._last, sessions = state
        self._sessions = {
            number: ClientSession(used_ms, done, highest, dict(answers), tuple(resumed))
            for number, used_ms, done, highest, answers, resumed in sessions
        }
