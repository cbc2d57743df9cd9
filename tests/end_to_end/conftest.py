"""What the tests with real processes share."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.processes import is_alive
from tests.end_to_end.hand import Hand, QuickHand


@pytest.fixture
def hand(tmp_path: Path) -> Iterator[Hand]:
    hand = Hand(tmp_path)
    yield hand
    _end(hand)


@pytest.fixture
def quick_hand(tmp_path: Path) -> Iterator[Hand]:
    hand = QuickHand(tmp_path)
    yield hand
    _end(hand)


def _end(hand: Hand) -> None:
    if (hand.folder / ".consensus" / "supervisor.json").exists():
        pid = hand.supervisor()
        hand.run("down")
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
