"""Striking at a message: what is done while the nth message of a type is kept is done at that message.

Neither sooner nor later: a node that is killed meanwhile has sent it, or has not got it.
"""

import time
from collections.abc import Sequence
from typing import Final

from harness.faults.injector import OpenReceipt
from harness.faults.target import Target
from harness.network.installed_rule import NotSeen
from harness.records.links import Link

_LOOK_S: Final = 0.2


class MessageTrigger:
    """Waits for the nth message of a type on some links, and keeps it until `let_go`. Those before it pass."""

    def __init__(self, experiment: Target, links: Sequence[Link], message: str, nth: int) -> None:
        self._faults, self._links, self._message, self._left = experiment.faults, tuple(links), message, nth
        self._held = experiment.network.hold(links, types=[message])
        self._paper: OpenReceipt | None = None

    def wait(self, timeout_s: float) -> None:
        """Return when the message is there. Raises NotSeen, also if the run is ending."""
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
        # From here on the links are not whole, and whoever is judged is to be excused for it.
        self._paper = self._faults.begin("hold", links_disturbed=self._links, until_after=self._message)
        self._paper.bit = True

    def let_go(self) -> None:
        """Let everything pass."""
        self._held.remove()
        if self._paper is not None:
            self._paper.end()
