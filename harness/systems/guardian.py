"""A small process that ends what a run has started, if the harness itself is killed.

Nodes that are not ours know nothing of their launcher: when it is killed they read the end of their input, and some go on for
ever. The guardian holds a pipe from the harness. Each process group that the harness starts is named there. When the pipe
closes, however the harness has ended, the guardian kills the groups that are still named, and then each process whose
environment has the mark of the run: it may have left its group.
"""

import contextlib
import subprocess
import sys
from typing import Final, Self

_SCRIPT: Final = """
import os, signal, sys
mark, groups = sys.argv[1].encode(), set()
for line in sys.stdin:
    sign, group = line[0], int(line[1:])
    (groups.add if sign == "+" else groups.discard)(group)
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
for entry in os.listdir("/proc") if mark else ():
    try:
        if entry.isdigit() and b"\\0" + mark in b"\\0" + open(f"/proc/{entry}/environ", "rb").read():
            os.kill(int(entry), signal.SIGKILL)
    except OSError:
        pass
"""

#: The variable in the environment of whatever a run has started. Its value begins with the run's own mark.
MARK: Final = "CONSENSUS_LAB_RUN"


class Guardian:
    """The guardian of one run, from `start` to `close`."""

    def __init__(self, mark: str = "") -> None:
        """Describe a guardian. `mark` is how the value of `MARK` begins in the environment of what the run starts."""
        self._mark = f"{MARK}={mark}" if mark else ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start the process, outside of the harness's process group, so that no Ctrl-C reaches it."""
        command = [sys.executable, "-I", "-S", "-c", _SCRIPT, self._mark]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        return self

    def watch(self, group: int) -> None:
        """Name a process group that is to end with the harness."""
        self._say(f"+{group}\n")

    def forget(self, group: int) -> None:
        """Take back the name of a process group that has ended: its number may be used again."""
        self._say(f"-{group}\n")

    def close(self) -> None:
        """End the guardian, which first kills every group that is still named."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.wait()

    def _say(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(line.encode())
                self._process.stdin.flush()
