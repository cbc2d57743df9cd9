"""The tour on the page, in a real browser and on real processes: from the list of the chapters to a challenge that is solved."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from harness.page.server import PageServer
from harness.page.tour_page import TourPage
from harness.tour.chapters import CHAPTERS
from harness.tour.stage import Stage
from harness.tour.story import GoalRuling, Measured, TourChapter
from tests.end_to_end.chromium import NEEDS_CHROMIUM
from tests.end_to_end.test_live_page import COMMAND, Opened, cut_off_with_the_mouse, opened
from tests.waiting import WAIT_S, wait_until

pytestmark = [
    NEEDS_CHROMIUM,
    pytest.mark.timeout(300),
]
expect.set_options(timeout=WAIT_S * 1000)


@contextmanager
def tour(folder: Path, *arguments: str) -> Iterator[str]:
    """Run `consensus tour`, and yield the page's address. At the end nothing of it runs."""
    command = [*COMMAND, "tour", "--no-open", "--dir", str(folder), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(WAIT_S) == 130


def go_on(seen: Opened, step: str, waits: str) -> None:
    """Wait until the step with this number waits for the reader, and press Enter."""
    expect(seen.page.locator("#tour-step")).to_have_text(step)
    expect(seen.page.locator(f"#tour-press[data-waits={waits}]")).to_be_visible()
    seen.page.keyboard.press("Enter")


def propose(seen: Opened, node: str, colour: str) -> None:
    """Click a node, a colour, and then the button that proposes it there."""
    seen.act(node)
    seen.page.click(f"#selected [data-value={colour}]")
    seen.page.click("#selected [data-act=propose]")


def pids_in(text: str) -> list[int]:
    return [int(pid) for pid in re.findall(r"is process (\d+)", text)]


def test_a_program_is_told_the_address(browser: Browser, tmp_path: Path) -> None:
    with tour(tmp_path / "lab", "-o", "json") as line, opened(browser, json.loads(line)["url"]) as seen:
        expect(seen.page.locator("#chapters button")).to_have_count(len(CHAPTERS))


def test_a_chapter_from_its_first_screen_to_its_challenge_solved_with_the_mouse(
    browser: Browser, tmp_path: Path
) -> None:
    with tour(tmp_path / "lab") as url, opened(browser, url) as seen:
        page = seen.page
        expect(page.locator("#chapters button")).to_have_count(len(CHAPTERS))
        page.click("[data-chapter=failover]")
        go_on(seen, "1 of 4", "act")
        expect(page.locator("#tour > .measured")).to_contain_text("n1 is dead: SIGKILL to process")
        told = page.locator("#tour > .measured").text_content() or ""
        pids = pids_in(told)
        assert len(pids) == 5
        assert f"SIGKILL to process {pids[0]}, wait status -9" in told
        expect(seen.node("n1", state="up")).to_be_visible()  # started again
        expect(page.locator("#side")).to_be_hidden()  # a reader acts at the challenge only
        go_on(seen, "1 of 4", "next")
        go_on(seen, "2 of 4", "act")
        for node, colour in (("n2", "blue"), ("n4", "red")):
            expect(seen.node(node, decided=f"'{colour}'")).to_be_visible()
        expect(page.locator("[data-predicate=agreement]")).to_have_class("predicate broken")
        expect(page.locator("#tour > .measured")).to_contain_text("Two decisions:")

        expect(page).to_have_url(re.compile("#chapter=failover&step=2$"))
        with opened(browser, page.url) as other:  # a link, in a second browser, opens the same
            expect(other.page.locator("#tour > .measured")).to_contain_text("Two decisions:")
            go_on(other, "2 of 4", "next")
        go_on(seen, "3 of 4", "act")
        expect(page.locator("#tour > .measured")).to_contain_text("the judges: no decoherence is invalid")
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
        go_on(seen, "3 of 4", "next")

        expect(page.locator("#tour-step")).to_have_text("4 of 4")
        expect(page.locator(".node")).to_have_count(3)  # the challenge's own cluster
        expect(seen.node("n3", state="up")).to_be_visible()
        page.click("[data-say=hint]")
        expect(page.locator("#said")).to_contain_text("Two nodes have to believe that they lead.")
        page.click("[data-say=check]")
        expect(page.locator("#said")).to_contain_text("finds no two decisions so far")
        cut_off_with_the_mouse(seen, "n1", ("n2", "n3"))
        expect(page.locator("#said")).to_contain_text("cut: n1 | n2, n3")
        propose(seen, "n1", "blue")
        expect(seen.node("n1", decided="'blue'")).to_be_visible()
        while not page.locator(".predicate.broken").count():  # n2 has to notice first that n1 is silent
            said = page.locator("#said .you", has_text="propose red at n2")
            before = said.count()
            propose(seen, "n2", "red")
            expect(said).to_have_count(before + 1)
            expect(page.locator(".busy")).to_have_count(0)
        page.click("[data-say=check]")
        expect(page.locator(".ruling")).to_have_text("✓ solved")
        page.click("#tour-chapters")
        expect(page.locator("[data-chapter=failover]")).to_contain_text("✓ solved")


def test_a_link_goes_through_the_steps_before_its_own(browser: Browser, tmp_path: Path) -> None:
    with tour(tmp_path / "lab", "--chapter", "leader") as url, opened(browser, f"{url}&step=2") as seen:
        expect(seen.page.locator("#tour-step")).to_have_text("2 of 4")
        expect(seen.page.locator("#tour-press[data-waits=act]")).to_be_visible()
        expect(seen.node("n2", role="follower", state="up")).to_be_visible()
        go_on(seen, "2 of 4", "act")  # n1 dies, and the others leave calls without an answer
        expect(seen.page.locator("#tour > .measured")).to_contain_text("Two of three nodes are up")
        expect(seen.page.locator("#tolerance.predicate-of-broken")).to_contain_text("2 of 3 up now")
        go_on(seen, "2 of 4", "next")
        go_on(seen, "3 of 4", "act")  # the header says of the ended cluster what its judges say
        judged = seen.page.locator(
            "#tolerance.predicate-of-broken", has_text="fault tolerance: broken, say the judges; "
        )
        expect(judged).to_be_visible()
        seen.page.goto(f"{url}&step=1")  # a link opens its chapter, also while one is told
        expect(seen.page.locator("#tour-step")).to_have_text("1 of 4")
        expect(seen.page.locator(".node")).to_have_count(0)  # the chapter has no cluster yet
        seen.page.click("#tour-chapters")  # the chapter, and its cluster, end
        expect(seen.page.locator("#chapters button")).to_have_count(len(CHAPTERS))


def test_the_header_shows_broken_what_the_broken_variants_of_paxos_break(tmp_path: Path) -> None:
    with closing(TourPage(lambda name: tmp_path / name)) as tour_page:

        def state() -> dict[str, Any]:
            _, standing = tour_page.view.standing(-1)
            assert standing is not None
            return dict(standing["tour"])

        def wait_for(step: int, waits: str) -> dict[str, Any]:
            wait_until(lambda: len(state().get("screens", ())) == step and state()["waits"] == waits)
            return state()

        tour_page.do("tour-open", {"chapter": "paxos", "step": 2})
        broken = {}
        for step in range(2, 6):
            tour_page.do("tour-press", {"turn": wait_for(step, "act")["turn"]})
            turn = wait_for(step, "next")["turn"]
            events = tour_page.view.log.read(0, 10_000).events
            broken[step] = {event["name"] for event in events if event["k"] == "predicate"}
            tour_page.do("tour-press", {"turn": turn})
    lost = {"agreement", "a decision stays", "one value chosen"}
    assert broken == {2: {*lost, "a promise never goes back"}, 3: set(), 4: lost, 5: lost}


#: Whether what the facts mean ends above the button that goes on, and the button is on the screen.
LAST_SENTENCE_IS_SHOWN = """() => {
  const box = (name) => document.querySelector(`#tour > ${name}`).getBoundingClientRect();
  const [meaning, acts] = [box(".measured > .meaning"), box(".acts")];
  return meaning.bottom <= acts.top && acts.bottom <= innerHeight;
}"""


# --- every chapter, with its texts and its challenge, and without a process ---------------------------------------------


class StageWithoutProcesses(Stage):
    """A stage whose acts do nothing: the chapters' texts are told, and their challenges end as they can."""

    def up(self, algorithm: str, nodes: int, name: str) -> list[str]:
        self.run_of = SimpleNamespace(nodes=tuple(f"n{number}" for number in range(1, nodes + 1)), algorithm=algorithm)
        return [f"{nodes} {algorithm} nodes would be up"]

    @property
    def run(self) -> Any:
        return self.run_of

    def __getattribute__(self, name: str) -> Any:
        if name in ("kill", "restart", "cut", "hold", "heal", "states"):
            return lambda *_: [f"{name} was done"]
        if name in ("propose", "query", "put", "get"):
            return lambda *_, **__: (None, f"{name} was answered")
        return super().__getattribute__(name)


def without_processes(chapter: TourChapter) -> TourChapter:
    def measured(_stage: Stage) -> Measured:
        kept = [f"the judges: promise {number} is valid: {'evidence ' * 40}" for number in (1, 2)]
        return Measured(["a long fact " * 150, *kept], "what it `means`")

    challenge = replace(chapter.challenge, goal=lambda _stage: GoalRuling(chapter.challenge.possible, "ruled"))
    screens = [replace(screen, do=measured if screen.do else None) for screen in chapter.screens]
    return replace(chapter, screens=screens, challenge=challenge)


def test_every_chapter_is_told_from_its_first_screen_to_its_challenge(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chapters = tuple(map(without_processes, CHAPTERS))
    monkeypatch.setattr("harness.page.tour_page.CHAPTERS", chapters)
    monkeypatch.setattr("harness.tour.telling.Stage", StageWithoutProcesses)
    with closing(TourPage(lambda name: tmp_path / name)) as tour_page:
        server = PageServer(tour_page.view, tour_page.do)
        tour_page.on_view = server.show
        server.start()
        with closing(server), opened(browser, server.url) as seen:
            page = seen.page
            page.click("[data-chapter=promises]")
            expect(page.locator("#tour-step")).to_have_text(f"1 of {len(chapters[0].screens) + 1}")
            for link, answer in {
                "chapter=nonsense": "There is no chapter “nonsense”: there are promises, leader,",
                "chapter=vote&step=9": "Chapter “vote” has no step “9”: it has the steps 1 to 5.",
                "chapter=vote&step=1.5": "Chapter “vote” has no step “1.5”",
            }.items():
                page.goto(f"{server.url}#{link}")
                expect(page.locator("#hint")).to_contain_text(answer)
                expect(page).to_have_url(re.compile("#chapter=promises&step=1$"))
            page.goto(f"{server.url}#chapter=leader&step=2")
            expect(page.locator("#tour > h2")).to_have_text(chapters[1].screens[1].title)
            expect(page.locator("#hint")).to_be_hidden()
            page.goto(f"{server.url}#chapter=promises&step=1")
            for number, chapter in enumerate(CHAPTERS, 1):
                steps = len(chapter.screens) + 1
                for place, screen in enumerate(chapter.screens, 1):
                    expect(page.locator("#tour > h2")).to_have_text(screen.title)
                    if screen.act:
                        go_on(seen, f"{place} of {steps}", "act")
                        expect(page.locator("#tour > .measured code")).to_have_text("means")
                        expect(page.locator("#tour > .measured summary")).to_have_text(
                            "the judges: promise 1 and promise 2 are valid"
                        )
                        assert page.evaluate(LAST_SENTENCE_IS_SHOWN)
                    go_on(seen, f"{place} of {steps}", "next")
                expect(page.locator("#tour > .task")).to_contain_text(chapter.challenge.task.split("`")[0])
                page.click("[data-say=hint]")
                expect(page.locator("#said")).to_contain_text(chapter.challenge.hints[0].split("`")[0])
                page.fill("#tour-line", "kil n1")
                page.keyboard.press("Enter")
                expect(page.locator("#said")).to_contain_text("did you mean kill")
                page.click("[data-say=solution]")
                expect(page.locator(".ruling.good")).to_be_visible()
                if number < len(CHAPTERS):
                    page.click("#next-chapter")
            page.click("#tour-chapters")
            expect(page.locator(".solved")).to_have_count(len(CHAPTERS))
