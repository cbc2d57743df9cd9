"""What the tests with real processes share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.end_to_end.chromium import CHROMIUM, FLAGS
from tests.end_to_end.hand import Hand, QuickHand, end


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def hand(tmp_path: Path) -> Iterator[Hand]:
    hand = QuickHand(tmp_path)
    yield hand
    end(hand)


@pytest.fixture
def process_hand(tmp_path: Path) -> Iterator[Hand]:
    hand = Hand(tmp_path)
    yield hand
    end(hand)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hand]:
    """A cluster of three nodes, for the tests that leave it as they found it."""
    hand = QuickHand(tmp_path_factory.mktemp("shared"))
    try:
        hand.good("up", "-d", "-n", "3")
        yield hand
    finally:
        end(hand)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium. It ends with its module, since Playwright's event loop is in the way of `asyncio.run`."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()
