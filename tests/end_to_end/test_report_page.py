"""The page in a real browser."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from harness.report import write_report
from tests.run_folders import hostile, lines, message, split_brain

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed to open the page in")


class Opened:
    """What the browser made of a page: its document, what its console said, and every address that it asked for."""

    def __init__(self, page: Path, folder: Path) -> None:
        assert CHROMIUM is not None
        log = folder / "net.json"
        done = subprocess.run(
            [
                CHROMIUM,
                *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
                *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
                "--host-resolver-rules=MAP * ~NOTFOUND",
                f"--user-data-dir={folder / 'profile'}",
                f"--log-net-log={log}",
                "--enable-logging=stderr",
                "--virtual-time-budget=3000",
                "--window-size=1600,1200",
                "--dump-dom",
                page.as_uri(),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        self.document = done.stdout
        self.console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        self.requests = asked_by_the_page(log)

    @property
    def is_drawn(self) -> bool:
        """Whether the page's script came to its end."""
        return 'data-drawn="yes"' in self.document

    def diagram(self) -> str:
        """The drawing of what is in view."""
        return unescape(self.document[self.document.index('id="canvas"') : self.document.index('id="drawn"')])


def asked_by_the_page(log: Path) -> list[str]:
    """The addresses in the browser's own record that a document asked for. What the browser asks on its own has no origin."""
    events = json.loads(log.read_text())["events"]
    started = [event["params"] for event in events if "initiator" in event.get("params", {})]
    return sorted(
        {asked["url"] for asked in started if asked["initiator"] != "not an origin" and asked["url"].startswith("http")}
    )


def opened(page: Path, tmp_path: Path) -> Opened:
    folder = tmp_path / "browser"
    folder.mkdir()
    return Opened(page, folder)


def test_the_page_draws_the_run_and_asks_nobody(tmp_path: Path) -> None:
    seen = opened(write_report(split_brain(tmp_path / "run")), tmp_path)
    assert seen.console == []
    assert seen.requests == []
    assert seen.is_drawn
    diagram = seen.diagram()
    for told in ("partition: n1, n2 | n3", "Vote 1·n1 'blue'", "propose 'red'", "killed", 'class="loss"', "\u00d72"):
        assert told in diagram


def test_hostile_values_run_nothing(tmp_path: Path) -> None:
    seen = opened(write_report(hostile(tmp_path / "run")), tmp_path)
    assert seen.console == []
    assert seen.requests == []
    assert seen.is_drawn


def test_a_large_run_opens(tmp_path: Path) -> None:
    folder = split_brain(tmp_path / "run")
    lines(folder / "messages.jsonl", (message(index, index / 50, "n1", "n2", type="Alive") for index in range(100_000)))
    seen = opened(write_report(folder), tmp_path)
    assert seen.console == []
    assert seen.is_drawn
    assert "100,000 messages; 20,000 are on this page" in seen.document


def test_an_error_and_a_request_would_be_seen(tmp_path: Path) -> None:
    page = write_report(split_brain(tmp_path / "run"))
    text = re.sub(r"<meta http-equiv[^>]*>", "", page.read_text())
    wrong = '<body><img src="http://127.0.0.1:9/x.png"><script>console.error("wrong")</script>'
    page.write_text(text.replace("<body>", wrong))
    seen = opened(page, tmp_path)
    assert any("wrong" in line for line in seen.console)
    assert seen.requests == ["http://127.0.0.1:9/x.png"]


def test_the_policy_of_the_page_stops_what_would_slip_through(tmp_path: Path) -> None:
    page = write_report(split_brain(tmp_path / "run"))
    page.write_text(page.read_text().replace("<body>", '<body><script>document.title = json("taken over")</script>'))
    seen = opened(page, tmp_path)
    assert any("Content Security Policy" in line for line in seen.console)
    assert json.dumps("taken over") not in seen.document[: seen.document.index("</title>")]
    assert seen.is_drawn
