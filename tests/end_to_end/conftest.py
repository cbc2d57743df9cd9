"""What the tests with real processes share."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.processes import is_alive
from tests.end_to_end.hand import Hand, QuickHand


@pytest.fixture
def hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hand]:
    monkeypatch.setenv("COLUMNS", "120")
    hand = QuickHand(tmp_path)
    yield hand
    _end(hand)


@pytest.fixture
def process_hand(tmp_path: Path) -> Iterator[Hand]:
    hand = Hand(tmp_path)
    yield hand
    _end(hand)


def _end(hand: Hand) -> None:
    """End the cluster, by force if need be."""
    if (hand.folder / ".consensus" / "supervisor.json").exists():
        pid = hand.supervisor()
        try:
            hand.run("down")
        finally:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
