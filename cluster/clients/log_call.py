"""A call to a replicated log while it is under way, and the queue operations on calls that have not left yet."""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from cluster.clients.outcomes import Outcome

COMMAND_BYTES_MAX: Final = 512 * 1024  # of one command, and of all commands in a frame


class LogCall:
    """One command, or one read, of a machine. `outcome` is None until the call has one.

    `deadline` is in seconds of the clock that drives the pipeline. `wait_ms` is how long the leader may hold back the reply to
    a read, in milliseconds; a read that may wait is a watch. `packed` is the encoded command. `frame` is the number of a watch's
    frame. `on_outcome`, if it is set, is called once, with the outcome.
    """

    __slots__ = ("command", "deadline", "frame", "machine", "on_outcome", "outcome", "packed", "read", "wait_ms")

    def __init__(
        self, machine: str, command: list[Any], packed: bytes, deadline: float, read: bool, wait_ms: int
    ) -> None:
        self.machine, self.command, self.packed, self.read, self.wait_ms = machine, command, packed, read, wait_ms
        self.deadline, self.frame = deadline, 0
        self.outcome: Outcome | None = None
        self.on_outcome: Callable[[Outcome], object] | None = None

    def settle(self, outcome: Outcome) -> None:
        """Set the outcome, unless the call has one already."""
        if self.outcome is None:
            self.outcome = outcome
            if self.on_outcome is not None:
                self.on_outcome(outcome)


def pop_frame(queue: deque[LogCall], most: int) -> list[LogCall]:
    """Remove the first calls of a queue that fit into one frame, `most` at most, and return them: calls of one machine.

    Each call on the configuration (machine "cluster") has a frame of its own, since a change goes through the log alone.
    """
    calls = [queue.popleft()]
    machine, size = calls[0].machine, len(calls[0].packed)
    while queue and len(calls) < most:
        call = queue[0]
        size += len(call.packed)
        if call.machine != machine or size > COMMAND_BYTES_MAX or machine == "cluster":
            break
        calls.append(queue.popleft())
    return calls


def pop_expired(queue: deque[LogCall], now: float) -> list[LogCall]:
    """Remove the calls of a queue whose time is up, and return them."""
    expired = [call for call in queue if call.deadline <= now]
    if expired:
        waiting = [call for call in queue if call.deadline > now]
        queue.clear()
        queue.extend(waiting)
    return expired
