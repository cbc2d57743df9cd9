"""What all tests share: plugins, where temporary files are, and `--regenerate`, which writes what results are compared with."""

import contextlib
import gc
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from unittest.mock import patch

import pytest
from hypothesis import settings

from cluster.errors import FaultFailed, WrongState
from cluster.processes import NodeProcess, ProcessState

pytest_plugins = ("tests.time_limits", "tests.distribution")

# A busy machine is no mistake of the code. An example that takes too long is found by the test's own time limit. Each run draws
# other examples, so half of the usual number is enough for one run.
settings.register_profile("lab", deadline=None, max_examples=50)
settings.load_profile("lab")

#: Where Linux keeps files in memory, and how much room the tests ask for there.
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - pytest makes folders of its own in it
_ROOM_BYTES: Final = 1024**3  # a third of the tests with processes had 107 MB at most at a time


def _keep_files_in_memory() -> None:
    """Make temporary files, and so the disks of the nodes, in memory, as Fedora and Debian 13 do with /tmp anyway.

    Nodes sync all that they promise, and on a disk the nodes of all workers wait for each other's syncs. In memory they make
    the same calls, and SIGKILL does the same to their files; what a loss of power does, the harness plays. Tests also start
    programs that they write. The workers of pytest-xdist inherit TMPDIR, which may name another folder.
    """
    if "TMPDIR" in os.environ or not os.access(_SHARED_MEMORY, os.W_OK):
        return
    memory = os.statvfs(_SHARED_MEMORY)
    if memory.f_bavail * memory.f_frsize >= _ROOM_BYTES and not memory.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = tempfile.tempdir = str(_SHARED_MEMORY)


_keep_files_in_memory()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare `--regenerate`, which writes transcripts, schedules and the like anew. Read the result as a diff."""
    parser.addoption("--regenerate", action="store_true", help="write the files that results are compared with")


def pytest_collection_finish() -> None:
    """Exempt what is there before the first test from garbage collection, which takes a quarter of some tests' time.

    What a test makes, it mostly drops by itself, so the collector looks for cycles less often: that takes a twentieth less.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name in one line what this machine lacks, with the number of tests that were skipped for it."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    )
    if reasons:
        listed = "; ".join(f"{reason} ({count})" for reason, count in sorted(reasons.items()))
        terminalreporter.write_line(f"skipped: {listed}")


@pytest.fixture(autouse=True, scope="session")
def nodes_save_their_coverage() -> Iterator[None]:
    """Under `make coverage`, end nodes with SIGTERM where a cluster is stopped: SIGKILL leaves them no time to save."""
    if "COVERAGE_PROCESS_CONFIG" not in os.environ:
        yield
        return
    kill = NodeProcess.end

    def stop(process: NodeProcess) -> None:
        with contextlib.suppress(WrongState, FaultFailed):
            if process.look() is ProcessState.UP:
                process.terminate()
        kill(process)

    with patch.object(NodeProcess, "end", stop):
        yield


@pytest.fixture
def regenerate(request: pytest.FixtureRequest) -> bool:
    """Whether to write the file first that a result is compared with."""
    return bool(request.config.getoption("--regenerate"))
