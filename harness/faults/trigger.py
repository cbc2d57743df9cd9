"""A trigger that waits for the nth message of a type, or byte or connection, and holds it while a fault is injected.

The type "message" stands for every type.

So the fault happens exactly at that message. A node that is killed meanwhile has sent the message and done nothing
after it, or has not received it.
"""

import time
from collections.abc import Sequence
from typing import Final

from harness.faults.active import ReceiptBuilder
from harness.faults.target import Target
from harness.network.installed_rule import NotSeen
from harness.network.rules import Hold
from harness.records.links import Link

#: Stands for every type of message.
ANY_MESSAGE: Final = "message"
_LOOK_S: Final = 0.2


class MessageTrigger:
    """Waits for the nth message of a type on some links, and holds it until `release`. The messages before it pass."""

    def __init__(self, experiment: Target, links: Sequence[Link], message: str, nth: int) -> None:
        """Begin to hold the messages.

        Args:
            experiment: the target of the fault.
            links: the directed links on which messages count.
            message: the type of the message, or `ANY_MESSAGE`.
            nth: the number of the message that triggers the fault, from 1.
        """
        self._faults, self._links, self._message = experiment.faults, tuple(links), message
        counts = experiment.network.holds_after  # the network lets pass what comes before
        self._left = 1 if counts else nth
        types = None if message == ANY_MESSAGE else [message]
        self._held = experiment.network.install(Hold(nth - 1 if counts else 0), links, types=types)
        self._receipt: ReceiptBuilder | None = None
        self._released = False

    def wait(self, timeout_s: float) -> Link:
        """Wait at most `timeout_s` seconds until the message is held. Returns the link on which it came.

        Raises:
            NotSeen: the message did not come in time, or the run is ending.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self._held.wait_held(1, max(min(deadline - time.monotonic(), _LOOK_S), 0.0))
            except NotSeen:
                if time.monotonic() > deadline or self._faults.ending.is_set():
                    raise
                continue
            if self._left <= 1:
                break
            self._left -= self._held.release(1)
        # From now on the links are disturbed, and a receipt must excuse it.
        self._receipt = self._faults.begin("hold", links_disturbed=self._links, message=self._message)
        self._receipt.bit = True
        return next(link for link, counts in self._held.counts().items() if counts["keeps"])

    def release(self) -> None:
        """Let all held messages pass, and hold no more. A second call does nothing."""
        if self._released:
            return
        self._released = True
        self._held.remove()
        if self._receipt is not None:
            self._receipt.end()
