"""For every test: whatever it starts has ended when it ends. And `--regenerate`, for what is compared with a file."""

import os
from collections.abc import Iterator

import psutil
import pytest
from hypothesis import settings

# A busy machine is no mistake of the code: what takes too long is found by pytest's own timeout.
settings.register_profile("lab", deadline=None)
settings.load_profile("lab")


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    """A child that outlives its test is a mistake of the test, or of ours."""
    before = {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)}
    yield
    left = [child for child in psutil.Process(os.getpid()).children(recursive=True) if child.pid not in before]
    alive = [child for child in left if child.status() != psutil.STATUS_ZOMBIE]
    told = [" ".join(child.cmdline()) for child in alive]
    for child in alive:
        child.kill()
    assert told == []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Files that tests compare with, such as transcripts and schedules, are written anew with this, and read as a diff."""
    parser.addoption("--regenerate", action="store_true", help="write the files that results are compared with")


@pytest.fixture
def regenerate(request: pytest.FixtureRequest) -> bool:
    """Whether the file that a result is compared with is to be written first."""
    return bool(request.config.getoption("--regenerate"))
