"""The page of a run in a real browser."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from harness.report import write_report
from tests.run_folders import hostile, lines, message, split_brain
from tests.waiting import WAIT_S

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed to open the page in")


class OpenedPage:
    """A page in the browser: its document, the lines of its console, and the addresses that it requested."""

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
        self.requests = requests_of_the_page(log)

    @property
    def is_drawn(self) -> bool:
        """Whether the page's script has run to its end."""
        return 'data-drawn="yes"' in self.document

    def picture(self) -> str:
        """Return the picture of the nodes, and what stands beside it."""
        return unescape(self.document[self.document.index('id="stage"') : self.document.index('<section id="diagram"')])

    def diagram(self) -> str:
        """Return the part of the diagram that is in view."""
        return unescape(self.document[self.document.index('id="canvas"') : self.document.index('id="drawn"')])


def requests_of_the_page(log: Path) -> list[str]:
    """Return the addresses that a document requested, from the browser's record.

    Requests of the browser itself have no origin.
    """
    events = json.loads(log.read_text())["events"]
    started = [event["params"] for event in events if "initiator" in event.get("params", {})]
    return sorted(
        {each["url"] for each in started if each["initiator"] != "not an origin" and each["url"].startswith("http")}
    )


def opened(page: Path, tmp_path: Path) -> OpenedPage:
    folder = tmp_path / "browser"
    folder.mkdir()
    return OpenedPage(page, folder)


def test_the_page_draws_the_run_and_makes_no_request(tmp_path: Path) -> None:
    seen = opened(write_report(split_brain(tmp_path / "run")), tmp_path)
    assert seen.console == []
    assert seen.requests == []
    assert seen.is_drawn
    diagram = seen.diagram()
    picture = seen.picture()  # of the moment at which agreement breaks
    for text in (
        "n1: up, leader, decided 'blue'",
        "n3: up, decided 'red'",
        "Cut: n1 to n3, n3 to n1, n2 to n3, n3 to n2.",
    ):
        assert text in picture
    assert 'class="predicate broken"' in picture
    assert "n1 decided 'blue' at 0.010 s, and n3 'red' at 0.500 s" in picture
    for text in ("partition: n1, n2 | n3", "Vote 1·n1 'blue'", "propose 'red'", "killed", 'class="loss"', "\u00d72"):
        assert text in diagram


def test_hostile_values_run_no_script(tmp_path: Path) -> None:
    seen = opened(write_report(hostile(tmp_path / "run")), tmp_path)
    assert seen.console == []
    assert seen.requests == []
    assert seen.is_drawn


def test_a_large_run_opens(tmp_path: Path) -> None:
    folder = split_brain(tmp_path / "run")
    lines(folder / "messages.jsonl", (message(index, index / 50, "n1", "n2", type="Alive") for index in range(40_000)))
    seen = opened(write_report(folder), tmp_path)
    assert seen.console == []
    assert seen.is_drawn
    assert "40,000 messages; 20,000 are on this page" in seen.document


def test_this_test_sees_an_error_and_a_request(tmp_path: Path) -> None:
    page = write_report(split_brain(tmp_path / "run"))
    text = re.sub(r"<meta http-equiv[^>]*>", "", page.read_text())
    wrong = '<body><img src="http://127.0.0.1:9/x.png"><script>console.error("wrong")</script>'
    page.write_text(text.replace("<body>", wrong))
    seen = opened(page, tmp_path)
    assert any("wrong" in line for line in seen.console)
    assert seen.requests == ["http://127.0.0.1:9/x.png"]


def test_the_policy_of_the_page_stops_an_unknown_script(tmp_path: Path) -> None:
    page = write_report(split_brain(tmp_path / "run"))
    page.write_text(page.read_text().replace("<body>", '<body><script>document.title = json("taken over")</script>'))
    seen = opened(page, tmp_path)
    assert any("Content Security Policy" in line for line in seen.console)
    assert json.dumps("taken over") not in seen.document[: seen.document.index("</title>")]
    assert seen.is_drawn


# --- moving through time with the mouse ---------------------------------------------------------------------------------


def test_the_slider_moves_the_picture_and_the_predicates(tmp_path: Path) -> None:
    page_file = write_report(split_brain(tmp_path / "run"))
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900}, accept_downloads=True)
        page.set_default_timeout(WAIT_S * 1000)
        page.on("console", lambda line: errors.append(line.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(page_file.as_uri())
        ring, broken = page.locator("#ring"), page.locator(".predicate.broken")
        expect(broken).to_have_count(1)  # the page opens at the step that breaks agreement
        page.get_by_role("button", name="previous decision").click()
        expect(page.locator(".clock")).to_contain_text("0.0100 s")
        expect(broken).to_have_count(0)
        expect(ring).to_have_attribute(
            "aria-label", re.compile(r"n1: up, leader, decided 'blue'; .*n3: up, voted 'blue'\.")
        )
        page.locator(".predicate-head").first.click()
        expect(broken).to_have_count(1)
        expect(page.locator(".predicate.broken .evidence")).to_contain_text("and n3 'red' at 0.500 s")
        page.get_by_label("time of the run").focus()
        page.keyboard.press("End")
        expect(ring).to_have_attribute("aria-label", re.compile("n2: killed"))
        page.keyboard.press("Home")
        expect(page.locator(".clock")).to_contain_text("-0.0050 s")
        page.get_by_role("button", name="▶ play").click()
        expect(page.locator(".clock")).not_to_contain_text("-0.00")  # the time runs
        page.get_by_role("button", name="⏸ pause").click()
        page.get_by_role("button", name="next message").click()
        with page.expect_download() as saved:
            page.click("#save-ring")
        drawing = saved.value.path().read_text()
        assert drawing.startswith("<svg")
        assert "class=" not in drawing  # it needs no style sheet
        assert all(f">{node}</text>" in drawing for node in ("n1", "n2", "n3"))
        browser.close()
    assert errors == []
