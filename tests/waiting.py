"""How tests wait: for a condition, with a limit that only a mistake meets."""

import time
from collections.abc import Callable
from typing import Final

#: Seconds that anything may take which a test waits for, also on a machine with much else to do. It is no measure of speed:
#: it is below the test's own time limit, so that the test says what it has waited for.
WAIT_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.01


def wait_until(holds: Callable[[], object], what: str = "it did not come about") -> None:
    """Look again and again until `holds()` is true. Raises AssertionError with `what` after `WAIT_S` seconds."""
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, f"{what} within {WAIT_S:g} s"
        time.sleep(_LOOK_EVERY_S)
