"""Sessions: a frame of commands that a client sends again takes effect once.

Source: Ongaro, *Consensus: Bridging Theory and Practice* (2014), section 6.3, with a frame in the place of a command.

Rules
-----
1. A session is opened through the log, so no two sessions have the same number, whichever leader was in office. A
   client that restarts opens a new session or resumes its own. In both cases it uses sequence numbers that it has not
   used before.
2. An answer is kept until the client confirms it (`done`). If a frame arrives again and its answer is kept, the client
   gets that answer and the frame does nothing. A frame below `done` is a late copy, and does nothing, either.
3. A client has fewer than `session_window` frames between its oldest unanswered frame and its newest one. Other frames are
   refused. So the memory of a session is bounded. And a resumed session that skips so many numbers cannot collide with
   a frame that is still on its way.
4. A session ends when it was not used for `session_idle_ms` of the log's time. Its client then cannot find out whether a frame
   without an answer took effect; the refusal reports this.

Sessions are part of the replicated state: every snapshot holds them.
"""

from typing import Any, Final, NamedTuple

from node.machine import risen
from node.tuning import SHIPPED, Tuning


class Resumption(NamedTuple):
    """The latest resumption of a session.

    `client` names the run of the client that asked for it; empty if the session was never resumed. `lowest_sequence` is
    what that run was answered: the lowest sequence number that it may use.
    """

    client: str
    lowest_sequence: int


_NEVER_RESUMED: Final = Resumption("", 0)


class ClientSession:
    """The state of one session.

    `used_ms` is the log's time of the last use. All frames with a sequence number below `done` are answered, and the
    client has the answers. `highest` is the highest sequence number that took effect. `answers` holds payloads by
    sequence number.
    """

    __slots__ = ("answers", "done", "highest", "resumed", "used_ms")

    def __init__(
        self,
        used_ms: int,
        done: int = 1,
        highest: int = 0,
        answers: dict[int, bytes] | None = None,
        resumed: Resumption = _NEVER_RESUMED,
    ) -> None:
        self.used_ms, self.done, self.highest = used_ms, done, highest
        self.answers: dict[int, bytes] = answers or {}
        self.resumed = resumed


class Sessions:
    """All sessions, in the order of their last use: the one that was used longest ago is the first."""

    def __init__(self, tuning: Tuning = SHIPPED) -> None:
        self._most, self._window, self._idle_ms = tuning.sessions_max, tuning.session_window, tuning.session_idle_ms
        self._sessions: dict[int, ClientSession] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, time_ms: int) -> int | None:
        """Open a session at the log's time `time_ms`. Returns its number, or None if there are too many sessions."""
        if len(self._sessions) >= self._most:
            return None
        self._last += 1
        self._sessions[self._last] = ClientSession(time_ms)
        return self._last

    def resume(self, number: int, client: str, time_ms: int) -> int | None:
        """Resume a session for a client that has restarted and has forgotten its sequence numbers.

        From now on no frame takes effect that the client sent before it restarted.

        Args:
            number: the session.
            client: names this run of the client. If the same run asks again, it gets the same answer, and the frames
                that it has sent since then stay valid.
            time_ms: the log's time.

        Returns:
            The lowest sequence number that the client may use, or None if the session has ended.
        """
        session = self._use(number, time_ms)
        if session is None:
            return None
        if session.resumed.client == client:
            return session.resumed.lowest_sequence
        session.done = (
            session.highest + self._window + 1
        )  # above every frame that may be under way: the oldest unanswered one is at most `highest` + 1
        session.highest = session.done - 1
        session.answers.clear()
        session.resumed = Resumption(client, session.done)
        return session.done

    def close(self, number: int) -> bool:
        """End the session `number`. Returns False if there is no such session."""
        return self._sessions.pop(number, None) is not None

    def admit(self, number: int, sequence: int, done: int, time_ms: int) -> ClientSession | bytes | str:
        """Decide whether a frame takes effect.

        Args:
            number: the session of the frame.
            sequence: the frame's sequence number in the session.
            done: the client has the answers to all frames below this sequence number.
            time_ms: the log's time.

        Returns:
            The session, if the frame is to take effect. The payload of its answer, if it took effect before. Otherwise
            the kind of the refusal: "session_expired", "stale" or "window_full".
        """
        session = self._use(number, time_ms)
        if session is None:
            return "session_expired"
        answer = session.answers.get(sequence)
        if answer is not None:
            return answer
        if sequence < session.done:
            return "stale"
        if sequence >= session.done + self._window and sequence >= done + self._window:
            return "window_full"
        if session.done < done <= sequence:
            session.done = done
            for old in [old for old in session.answers if old < done]:
                del session.answers[old]
        if sequence >= session.done + self._window:
            return "window_full"
        return session

    def admits(self, number: int, sequence: int, done: int, time_ms: int) -> bool:
        """Return whether `admit` would return a session, if `expire` is called before, both at the log's time `time_ms`."""
        session = self._sessions.get(number)
        if session is None or session.used_ms + self._idle_ms <= time_ms or sequence in session.answers:
            return False
        done = done if session.done < done <= sequence else session.done
        return session.done <= sequence < done + self._window

    @staticmethod
    def store_answer(session: ClientSession, sequence: int, answer: bytes) -> None:
        """Record that the frame `sequence` has taken effect, and the payload of its answer."""
        session.answers[sequence] = answer
        session.highest = max(session.highest, sequence)

    def answer_to(self, number: int, sequence: int) -> bytes | None:
        """Return the answer to a frame that took effect and that its client may not have yet; None if there is none."""
        session = self._sessions.get(number)
        return None if session is None else session.answers.get(sequence)

    def _use(self, number: int, time_ms: int) -> ClientSession | None:
        session = self._sessions.pop(number, None)
        if session is not None:
            session.used_ms = time_ms
            self._sessions[number] = session
        return session

    # --- time -------------------------------------------------------------------------------------------------------

    def due_ms(self) -> int | None:
        """Return the log's time at which the next session ends if it is not used until then, or None without sessions."""
        for session in self._sessions.values():
            return session.used_ms + self._idle_ms
        return None

    def expire(self, time_ms: int) -> list[int]:
        """End every session that was idle for too long at the log's time `time_ms`. Returns their numbers."""
        ended = []
        for number, session in self._sessions.items():
            if session.used_ms + self._idle_ms > time_ms:
                break
            ended.append(number)
        for number in ended:
            del self._sessions[number]
        return ended

    def end_all(self, floor: int) -> list[int]:
        """End every session, and give the next one a number above `floor`. Returns the numbers of those that have ended.

        Raises:
            FloorTooLow: a session has had a number that is not below `floor`.
        """
        self._last = risen(floor, self._last)
        ended = list(self._sessions)
        self._sessions.clear()
        return ended

    # --- snapshots --------------------------------------------------------------------------------------------------

    def snapshot(self) -> Any:
        """Return all sessions as plain data, in the order of their last use."""
        return [
            self._last,
            [
                (number, session.used_ms, session.done, session.highest, session.answers, session.resumed)
                for number, session in self._sessions.items()
            ],
        ]

    def restore(self, state: Any) -> None:
        """Take over the sessions that `snapshot` returned."""
        self._last, sessions = state
        self._sessions = {
            number: ClientSession(used_ms, done, highest, dict(answers), Resumption(*resumed))
            for number, used_ms, done, highest, answers, resumed in sessions
        }
