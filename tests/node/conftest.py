import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start `python` with these arguments, pipes on all sides, and kill it when the test ends, however it ends."""
    with ExitStack() as stack:

        def start(*arguments: str, **options: object) -> "subprocess.Popen[str]":
            process: subprocess.Popen[str] = subprocess.Popen(  # type: ignore[call-overload]
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                **options,
            )
            stack.enter_context(process)  # closes the pipes and reaps
            stack.callback(process.kill)  # also what is stopped or has ended already
            return process

        yield start
