"""For every test: whatever it starts has ended when it ends."""

import os
from collections.abc import Iterator

import psutil
import pytest


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
