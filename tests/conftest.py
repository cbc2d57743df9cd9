"""What all tests share: the plugins, and `--regenerate`, which writes the files that results are compared with."""

import contextlib
import gc
import os
from collections import Counter
from collections.abc import Iterator
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


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare `--regenerate`, which writes transcripts, schedules and the like anew. Read the result as a diff."""
    parser.addoption("--regenerate", action="store_true", help="write the files that results are compared with")


def pytest_collection_finish() -> None:
    """Exempt what is there before the first test from garbage collection, which takes a quarter of some tests' time."""
    gc.collect()
    gc.freeze()


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
