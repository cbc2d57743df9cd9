"""Makes the report of a run for the page's link, in a process of its own.

Rules
-----
1. A long session has a million messages, which take half a minute. They are read outside the server, so that the page goes on
   meanwhile, and the command can end before a report is made.
2. One report is made at a time. A request that comes meanwhile is told how long it has taken, and gets it when it is done.
"""

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Final

#: How nice the process that makes the report is (nice(2)): the nodes come first if the processors do not suffice for both.
_NICE: Final = 5
#: For how long a request waits for the report before it is told that it is being made, in seconds.
_PATIENCE_S: Final = 2.0


class ReportMaker:
    """The report that is being made, if one is. For the thread of one event loop."""

    def __init__(self, patience_s: float = _PATIENCE_S) -> None:
        """Make nothing yet. `patience_s` is for how long a request waits."""
        self._patience_s = patience_s
        self._folder: Path | None = None
        self._began = 0.0
        self._making: asyncio.Task[str] | None = None

    async def report(self, folder: Path, *, is_under_way: bool = False) -> str | float:
        """Return the report of a run folder as it is now, or for how many seconds it has been made so far.

        Args:
            folder: the run folder.
            is_under_way: whether its session still runs, which the report then says.

        Raises:
            OSError: it could not be made. The message ends with what its process has said.
        """
        if self._making is None or self._folder != folder:
            await self.close()
            self._folder, self._began = folder, time.monotonic()
            self._making = asyncio.create_task(_made(folder, is_under_way))
        making = self._making
        await asyncio.wait([making], timeout=self._patience_s)
        if not making.done() or making.cancelled():  # cancelled: the page shows another run meanwhile
            return time.monotonic() - self._began
        if self._making is making:
            self._making = None
        return making.result()

    async def close(self) -> None:
        """End the process that makes a report. Its report is lost."""
        making, self._making = self._making, None
        if making is not None:
            making.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await making


async def _made(folder: Path, is_under_way: bool) -> str:
    command = [sys.executable, "-P", "-m", "harness.page.report_maker", str(folder)]
    command += ["under way"] if is_under_way else []
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    try:
        text, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = said.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise OSError(f"the report could not be made: {''.join(last) or f'exit status {process.returncode}'}")
    return text.decode("utf-8", "backslashreplace")


def main() -> None:
    """Print the report of the run folder that is the first argument. A second argument says that its session still runs."""
    from harness.report.page import page  # noqa: PLC0415 - for this process alone
    from harness.report.reading import read_run  # noqa: PLC0415

    os.nice(_NICE)
    run = read_run(Path(sys.argv[1]), is_under_way=len(sys.argv) > 2)
    sys.stdout.buffer.write(page(run).encode("utf-8", "backslashreplace"))


if __name__ == "__main__":
    main()
