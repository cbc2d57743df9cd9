"""A process that another process has launched, which has ended: this one takes it over.

Only a parent learns a child's exit status from the kernel. Of an adopted process a pidfd tells for certain that it has ended, and
that a signal reaches this process and no later one with the same id.
"""

import os
import select
import signal
import subprocess
from typing import IO, Final

#: The exit status of a process that only its parent could learn.
UNSEEN_STATUS: Final = 256


class AdoptedProcess:
    """The part of `subprocess.Popen` that a node's process needs."""

    stdin: IO[bytes] | None = None

    def __init__(self, pid: int) -> None:
        """Open a process. Check afterwards that it is the right one. Raises ProcessLookupError if it has ended."""
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return None while the process has not ended, then `UNSEEN_STATUS`."""
        return UNSEEN_STATUS if self._has_ended_within(0) else None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, at most `timeout` seconds. Raises subprocess.TimeoutExpired."""
        if not self._has_ended_within(timeout):
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return UNSEEN_STATUS

    def _has_ended_within(self, timeout_s: float | None) -> bool:
        return bool(select.select([self._pidfd], [], [], timeout_s)[0])

    def send_signal(self, number: int) -> None:
        """Send a signal. A process that has ended gets none."""
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """Forget the process."""
        os.close(self._pidfd)
