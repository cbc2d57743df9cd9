"""The watches that one client has open: questions that the leader answers when something changes. No I/O.

Theory of operation
-------------------
A watch is a frame of its own, which goes to the leader and stays there, perhaps for long. So that nothing is sent for each
open watch meanwhile, the client asks at intervals in one frame, the **check**, whether all of them still wait at the leader.
The check is an ordinary question: if no answer comes, the leader is taken for lost, and the check goes elsewhere. An open
watch by itself says nothing about the leader.

The answer to a check names the watches that the leader does not know, since they or their answers were lost, or since it is a
new leader: the client asks them again, and only them. So a leader that is slow does not get thousands of watches again because
of that. For the others the answer says up to which version they have seen every change, and a watch that is asked again goes
on from there.
"""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from cluster.clients.log_call import LogCall
from node.contract import NodeId
from node.frames import ReadFrame
from node.tuning import SHIPPED, Tuning

_NEVER: Final = float("inf")


class _Watch:
    """One watch. `until` is when its time is over, `sends` counts how often it was asked.

    `seen` is the version up to which it has seen every change.
    """

    __slots__ = ("call", "message", "seen", "sends", "until")

    def __init__(self, call: LogCall, message: ReadFrame, until: float) -> None:
        self.call, self.message, self.until = call, message, until
        self.seen = self.sends = 0

    def asked_at(self, now: float) -> ReadFrame:
        """Return the frame that asks for the rest of its time, from where it has seen everything."""
        if not self.sends:
            return self.message
        left_ms = max(int((self.until - now) * 1000), 1)
        return replace(self.message, wait_ms=left_ms, seen=self.seen)


class OpenWatches:
    """The open watches of one client, by the numbers of their frames. Times are in seconds of the client's clock."""

    def __init__(self, tuning: Tuning = SHIPPED) -> None:
        self._first_check_s, self._check_s = tuning.client_first_check_ms / 1000, tuning.client_check_ms / 1000
        self._watches: dict[int, _Watch] = {}
        self._to_ask: dict[int, None] = {}
        self._deadlines: list[tuple[float, int]] = []  # a heap; may also hold watches that are open no more
        self._asked_by_check: tuple[int, ...] = ()
        self._checking = False
        self._check_at = _NEVER
        self._given_up = False  # the leader may keep watches that were given up: the next check lets it drop them

    @property
    def idle(self) -> bool:
        """Whether no watch is open, and the leader keeps none."""
        return not (self._watches or self._given_up)

    @property
    def has_to_ask(self) -> bool:
        """Whether a watch is to be asked now."""
        return bool(self._to_ask)

    @property
    def may_be_due(self) -> bool:
        """Whether `due` may be at some time: there is a watch, or there was one."""
        return bool(self._watches or self._given_up or self._deadlines)

    def __len__(self) -> int:
        return len(self._watches)

    def __contains__(self, number: int) -> bool:
        return number in self._watches

    def open(self, call: LogCall, message: ReadFrame, now: float) -> None:
        """Open a watch: it is to be asked."""
        number = call.frame = message.number
        self._watches[number] = _Watch(call, message, now + message.wait_ms / 1000)
        self._to_ask[number] = None
        heapq.heappush(self._deadlines, (call.deadline, number))

    def close(self, number: int) -> LogCall | None:
        """Close a watch. Returns its call, or None if it is not open."""
        watch = self._watches.pop(number, None)
        self._to_ask.pop(number, None)
        return None if watch is None else watch.call

    def give_up(self, number: int) -> None:
        """Close a watch that is not answered yet."""
        watch = self._watches.get(number)
        if watch is not None:
            self._given_up = self._given_up or watch.sends > 0
            self.close(number)

    def close_all(self) -> list[tuple[LogCall, int]]:
        """Close every watch. Returns each call, and how often it was sent."""
        calls = [(watch.call, watch.sends) for watch in self._watches.values()]
        self._given_up = False
        self._watches.clear()
        self._to_ask.clear()
        self._deadlines.clear()
        return calls

    def has_expired(self, now: float) -> bool:
        """Return whether `expired` has something to close."""
        return bool(self._deadlines) and self._deadlines[0][0] <= now

    def expired(self, now: float) -> list[tuple[LogCall, int]]:
        """Close the watches whose calls are out of time. Returns each call, and how often it was sent."""
        found = []
        while self._deadlines and self._deadlines[0][0] <= now:
            watch = self._watches.get(number := heapq.heappop(self._deadlines)[1])
            if watch is not None:
                self.close(number)
                found.append((watch.call, watch.sends))
        return found

    def doubt(self) -> None:
        """Note that the leader may be another one. The next check, which is due now, tells which watches to ask again."""
        self._given_up = False
        self._check_at = 0.0

    def to_send(self, now: float) -> Iterator[ReadFrame]:
        """Yield the frames of the watches to ask: they are sent to the leader now."""
        if not self._to_ask:
            return
        self._check_at = min(self._check_at, now + self._first_check_s)
        numbers, self._to_ask = self._to_ask, {}
        for number in numbers:
            watch = self._watches[number]
            message = watch.asked_at(now)
            watch.sends += 1
            yield message

    # --- the check ----------------------------------------------------------------------------------------------------

    def check_is_due(self, leader: NodeId | None, now: float) -> bool:
        """Return whether to send a check. Without a leader one is due at once: it finds the leader."""
        if self._checking or self.idle:
            return False
        return now >= self._check_at or (leader is None and bool(self._to_ask))

    def begin_check(self, now: float) -> list[int]:
        """Begin a check. Returns the numbers that it asks for."""
        self._checking, self._given_up, self._check_at = True, False, now + self._check_s
        self._asked_by_check = tuple(self._watches)
        return list(self._asked_by_check)

    def checked(
        self, now: float, unknown: list[int], not_seen_yet: list[int], versions: Mapping[str, int], pause_ms: int
    ) -> None:
        """Take in the leader's answer to a check, which came at `now`: see `node.frames.WATCHES`."""
        if self._check_at > 0:  # no doubt has come up since it was asked
            self._check_at = max(self._check_at, now + pause_ms / 1000)
        without = {*unknown, *not_seen_yet}
        for number in self._asked_by_check:
            watch = self._watches.get(number)
            if watch is not None and number not in without:
                watch.seen = max(watch.seen, versions.get(watch.message.machine, 0))
        for number in unknown:
            if number in self._watches:
                self._to_ask[number] = None

    def end_check(self) -> None:
        """Note that no check is under way."""
        self._checking = False

    def due(self, leader: NodeId | None) -> float:
        """Return when something is to be sent or has expired, at the latest."""
        if self._to_ask and leader is not None:
            return 0.0
        check_at = _NEVER if self._checking or self.idle else self._check_at
        return min(check_at, self._deadlines[0][0] if self._deadlines else _NEVER)
