"""The page of a run in a real browser."""

import json
import re
from html import unescape
from pathlib import Path

from playwright.sync_api import Browser, expect

from harness.report import write_report
from tests.end_to_end.chromium import NEEDS_CHROMIUM, page_in, readable_chips
from tests.run_folders import hostile, lines, message, split_brain

pytestmark = NEEDS_CHROMIUM


class OpenedPage:
    """A page in the browser, when its script has drawn it and nothing is under way any more.

    `document` is its document, `console` has the lines of its console and its errors, `requests` the addresses that it requested.
    """

    def __init__(self, browser: Browser, file: Path) -> None:
        self.console, self.requests = list[str](), list[str]()
        with page_in(browser, 1600, 1200, self._note) as page:
            page.goto(file.as_uri())
            expect(page.locator("[data-drawn=yes]")).to_have_count(1)
            page.wait_for_load_state("networkidle")
            self.document = page.content()

    def _note(self, line: str) -> None:
        if not line.startswith("request "):
            self.console.append(line)
        elif not line.startswith(("request file:", "request data:", "request blob:")):
            self.requests.append(line.removeprefix("request "))

    def picture(self) -> str:
        """Return the picture of the nodes, and what stands beside it."""
        return unescape(self.document[self.document.index('id="stage"') : self.document.index('<section id="diagram"')])

    def diagram(self) -> str:
        """Return the part of the diagram that is in view."""
        return unescape(self.document[self.document.index('id="canvas"') : self.document.index('id="drawn"')])


def test_the_page_draws_the_run_and_makes_no_request(browser: Browser, tmp_path: Path) -> None:
    seen = OpenedPage(browser, write_report(split_brain(tmp_path / "run")))
    assert seen.console == []
    assert seen.requests == []
    diagram = seen.diagram()
    picture = seen.picture()  # of the moment at which agreement breaks
    for text in (
        "n1: up, leader, decided 'blue'",
        "n3: up, decided 'red'",
        "Cut: n1 to n3, n3 to n1, n2 to n3, n3 to n2.",
    ):
        assert text in picture
    assert 'class="predicate broken"' in picture
    assert "colour: n1 shows 'blue', and n3 shows 'red'" in picture
    for text in ("partition: n1, n2 | n3", "Vote 1·n1 'blue'", "propose 'red'", "killed", 'class="loss"', "\u00d72"):
        assert text in diagram


def test_hostile_values_run_no_script(browser: Browser, tmp_path: Path) -> None:
    seen = OpenedPage(browser, write_report(hostile(tmp_path / "run")))
    assert seen.console == []
    assert seen.requests == []


def test_a_large_run_opens(browser: Browser, tmp_path: Path) -> None:
    folder = split_brain(tmp_path / "run")
    lines(folder / "messages.jsonl", (message(index, index / 50, "n1", "n2", type="Alive") for index in range(40_000)))
    seen = OpenedPage(browser, write_report(folder))
    assert seen.console == []
    assert "40,000 messages; 20,000 are on this page" in seen.document


def test_this_test_sees_an_error_and_a_request(browser: Browser, tmp_path: Path) -> None:
    page = write_report(split_brain(tmp_path / "run"))
    text = re.sub(r"<meta http-equiv[^>]*>", "", page.read_text())
    wrong = '<body><img src="http://127.0.0.1:9/x.png"><script>console.error("wrong")</script>'
    page.write_text(text.replace("<body>", wrong))
    seen = OpenedPage(browser, page)
    assert any("wrong" in line for line in seen.console)
    assert seen.requests == ["http://127.0.0.1:9/x.png"]


def test_the_policy_of_the_page_stops_an_unknown_script(browser: Browser, tmp_path: Path) -> None:
    page = write_report(split_brain(tmp_path / "run"))
    page.write_text(page.read_text().replace("<body>", '<body><script>document.title = json("taken over")</script>'))
    seen = OpenedPage(browser, page)
    assert any("Content Security Policy" in line for line in seen.console)
    assert json.dumps("taken over") not in seen.document[: seen.document.index("</title>")]


# --- moving through time with the mouse ---------------------------------------------------------------------------------


def test_the_slider_moves_the_picture_and_the_predicates(browser: Browser, tmp_path: Path) -> None:
    page_file = write_report(split_brain(tmp_path / "run"))
    noted: list[str] = []
    with page_in(browser, 1400, 900, noted.append) as page:
        page.goto(page_file.as_uri())
        ring, broken = page.locator(".ring"), page.locator(".predicate.broken")
        expect(broken).to_have_count(1)  # the page opens at the step that breaks agreement
        page.get_by_role("button", name="previous decision").click()
        expect(page.locator(".clock")).to_contain_text("0.0100 s")
        expect(broken).to_have_count(0)
        expect(ring).to_have_attribute(
            "aria-label", re.compile(r"n1: up, leader, decided 'blue'; .*n3: up, voted 'blue'\.")
        )
        page.locator(".predicate-head").first.click()
        expect(broken).to_have_count(1)
        expect(page.locator(".predicate.broken .evidence")).to_contain_text("and n3 shows 'red'")
        page.get_by_label("time of the run").focus()
        page.keyboard.press("End")
        expect(ring).to_have_attribute("aria-label", re.compile("n2: killed"))
        assert readable_chips(page) == {"✓ ● blue", "✓ ■ red", "disk: vote ● blue"}
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
    assert [line for line in noted if not line.startswith("request ")] == []
