"""The virtual twin in a real browser: what a person does with the mouse, and reads off the page."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect

from harness.page.beside import Beside, compare
from harness.page.recorded_view import recorded_view
from harness.page.server import PageServer
from harness.page.twin_page import VirtualTwin
from harness.replay.story import find_story
from harness.virtual.fault_model import SOUND
from harness.virtual.search import Budget
from node.algorithms import load_algorithm
from tests.end_to_end.chromium import NEEDS_CHROMIUM
from tests.end_to_end.test_live_page import Opened, cut_off_with_the_mouse, opened_as
from tests.run_folders import event, lines, split_brain

pytestmark = [
    NEEDS_CHROMIUM,
    pytest.mark.timeout(300),
]


#: How far the twin looks ahead here: not by the clock, since the machine may be busy.
BUDGET = Budget(states=2_000)


class OpenedTwin(Opened):
    """A twin in a browser."""

    def propose(self, name: str, colour: str) -> None:
        self.node(name).click()
        self.page.click(f"#selected [data-value={colour}]")
        self.page.click("#selected [data-act=propose]")
        expect(self.page.locator("#selected .note.good")).to_contain_text(f"proposes '{colour}' at {name}")

    def look_ahead(self, **expected: str) -> None:
        """Ask what can still be decided, and read the answer: by value yes, no or unknown."""
        self.page.click("#look-ahead")
        for value, can in expected.items():
            expect(self.chance(value)).to_have_attribute("data-can", can)

    def chance(self, value: str) -> Locator:
        return self.page.locator(f""".chance[data-value="'{value}'"]""")

    def go_to(self, value: str) -> None:
        self.chance(value).get_by_role("button").click()
        expect(self.page.locator("#outlook > .note")).to_contain_text(f"to '{value}'")

    def go_back(self, step: int) -> None:
        """Go back to a step of the present way, by the list of its steps."""
        steps = self.page.locator("#so-far")
        if steps.get_attribute("open") is None:
            steps.locator("summary").click()
        steps.locator(f"[data-depth='{step}']").click()
        expect(self.page.locator("#where")).to_contain_text(f"step {step},")


@contextmanager
def twin(browser: Browser, folder: Path, algorithm: str, nodes: int = 3) -> Iterator[OpenedTwin]:
    made = VirtualTwin(load_algorithm(algorithm), nodes, folder, budget=BUDGET)
    with shown(browser, made) as seen:
        yield seen


@contextmanager
def shown(browser: Browser, made: VirtualTwin) -> Iterator[OpenedTwin]:
    server = PageServer(made.view, made.do)
    server.start()
    try:
        with opened_as(OpenedTwin, browser, server.url) as seen:
            yield seen
    finally:
        server.close()


def test_a_branch_of_a_split_brain_on_real_processes_with_the_same_verdict(browser: Browser, tmp_path: Path) -> None:
    with twin(browser, tmp_path, "failover") as seen:
        page = seen.page
        cut_off_with_the_mouse(seen, "n1", ("n2", "n3"))
        expect(page.locator(".wall")).to_have_count(2)
        seen.propose("n1", "blue")
        expect(seen.node("n1", decided="'blue'")).to_be_visible()
        seen.propose("n2", "red")
        seen.look_ahead(blue="yes", red="yes")  # blue is decided, and red can still be
        agreement = page.locator("[data-predicate=agreement]")
        expect(agreement).to_contain_text("✓")
        seen.go_to("red")
        expect(seen.node("n2", decided="'red'")).to_be_visible()
        expect(agreement).to_contain_text("n1")
        expect(agreement).to_contain_text("✗")

        # Back to before the second proposal, and another way: without it there is one decision.
        page.click("#back")
        expect(agreement).to_contain_text("✓")
        end = page.locator("#tree .point.broken")
        expect(end).to_have_count(1)
        seen.go_back(2)
        page.click("#heal-all")
        expect(page.locator(".wall")).to_have_count(0)
        expect(page.locator("#tree .point.here")).to_have_attribute("data-depth", "3")
        expect(agreement).to_contain_text("✓")

        # The branch that split, on real processes.
        end.click()
        expect(agreement).to_contain_text("✗")
        page.click("#replay")
        compared = page.locator("#comparison")
        expect(compared).to_contain_text("the same verdict")
        expect(page.locator("[data-side='on real processes']")).to_contain_text("coherence")
        expect(page.locator("[data-side='in the twin']")).to_contain_text(
            "agreement: n1 has decided 'blue', and n2 'red'"
        )
        page.click("#keep-test")
        expect(page.locator("#schedule > .note")).to_contain_text("kept as a test")


def test_the_window_of_vulnerability_by_stepping_with_each_of_its_three_pasts(browser: Browser, tmp_path: Path) -> None:
    with twin(browser, tmp_path, "majority", 7) as seen:
        page = seen.page
        for node in ("n1", "n2", "n3"):
            seen.propose(node, "blue")
        for node in ("n4", "n5", "n6"):
            seen.propose(node, "red")
        fork = 6
        seen.act("n7", "kill")  # the first past: it has not voted
        expect(seen.node("n7", state="down")).to_be_visible()
        three_three_one(seen, fork + 1)
        page.check("#may-boot")
        seen.look_ahead(blue="yes", red="yes")  # whichever vote reaches n7 first, when it is back
        expect(page.locator("#bivalent")).to_be_visible()
        page.uncheck("#may-boot")

        for value, voter, other in (("blue", "n1", "red"), ("red", "n4", "blue")):  # the second and the third past
            seen.go_back(fork)
            expect(seen.node("n7", state="up")).to_be_visible()
            row = page.locator(f"#held li[data-from={voter}][data-to=n7]")
            row.locator("[data-act=deliver]").click()
            expect(seen.node("n7", vote=f"'{value}'")).to_be_visible()
            seen.act("n7", "isolate")  # its vote is lost on the way
            expect(page.locator("#held li[data-from=n7]")).to_have_count(0)
            page.click("#heal-all")
            expect(page.locator(".wall")).to_have_count(0)
            seen.act("n7", "kill")
            three_three_one(seen, fork + 4)
            page.check("#may-boot")
            seen.look_ahead(**{value: "yes"})  # the vote on its disk has decided, and no other node could tell
            expect(seen.chance(other)).not_to_have_attribute("data-can", "yes")
            page.uncheck("#may-boot")
            seen.act("n7", "restart")
            expect(seen.node("n7", vote=f"'{value}'")).to_be_visible()
            page.click("#deliver-all")
            page.click("#pass")
            expect(seen.node("n1", decided=f"'{value}'")).to_be_visible()


def three_three_one(seen: OpenedTwin, depth: int) -> None:
    """Deliver all. Then three voters of each colour are known, and nothing can be decided without n7."""
    expect(seen.node("n7", state="down")).to_be_visible()
    expect(seen.page.locator("#tree .here")).to_have_attribute("data-depth", str(depth))
    seen.page.click("#deliver-all")
    expect(seen.page.locator("#holding .note.good")).to_contain_text("messages delivered")
    expect(seen.node("n1").locator(".tally")).to_have_text("●3 ■3")
    seen.look_ahead(blue="no", red="no")


def test_the_same_clicks_beside_each_other_split_failover_and_not_paxos(browser: Browser, tmp_path: Path) -> None:
    failover, paxos = (VirtualTwin(load_algorithm(name), 3, tmp_path, budget=BUDGET) for name in ("failover", "paxos"))
    both = Beside((failover.view, paxos.view), (failover.do, paxos.do))
    server = PageServer(failover.view, both.acts[0], beside=(paxos.view, both.acts[1]))
    server.start()
    with closing(both), closing(server), opened_as(OpenedTwin, browser, server.url) as seen:
        expect(seen.page.locator("iframe")).to_have_count(2)
        left, right = seen.page.frame_locator("iframe >> nth=0"), seen.page.frame_locator("iframe >> nth=1")
        left.locator("#groups").fill("n1/n2,n3")
        left.locator("#partition").click()
        expect(right.locator(".wall")).to_have_count(2)
        for acted, node, colour in ((left, "n1", "blue"), (right, "n2", "red")):
            acted.locator(f".node[data-node={node}]").click()
            for frame in (left, right):  # what is selected in one is selected in the other
                expect(frame.locator("#selected h2")).to_contain_text(node)
            acted.locator(f"#selected [data-value={colour}]").click()
            acted.locator("#selected [data-act=propose]").click()
            expect(acted.locator("#selected .note.good")).to_contain_text(f"proposes '{colour}' at {node}")
        left.locator("#pass-seconds").fill("1")
        left.locator("#pass").click()
        expect(left.locator("[data-predicate=agreement]")).to_have_class("predicate broken")
        expect(right.locator(".node[data-node=n2][data-decided=\"'red'\"]")).to_be_visible()
        expect(right.locator(".node[data-node=n1][data-decided]")).to_have_count(0)
        expect(right.locator("[data-predicate=agreement]")).to_have_class("predicate")
        right.locator("#back").click()
        expect(left.locator("[data-predicate=agreement]")).to_have_class("predicate")


def test_two_runs_beside_each_other_go_to_their_first_difference(browser: Browser, tmp_path: Path) -> None:
    one, other = (split_brain(tmp_path / name) for name in ("one", "other"))
    answered = [event(0, 0, "c1", "invoke", "propose", value="blue", node="n1")]
    lines(other / "history.jsonl", [*answered, event(1, 12, "c1", "ok", "propose", value="green", node="n1")])
    views = (recorded_view(one), recorded_view(other))
    compare(views)
    server = PageServer(views[0], None, beside=(views[1], None))
    server.start()
    with closing(server), opened_as(OpenedTwin, browser, server.url) as seen:
        left, right = seen.page.frame_locator("iframe >> nth=0"), seen.page.frame_locator("iframe >> nth=1")
        expect(right.locator(".marks .difference")).not_to_have_count(0)
        left.locator("[data-difference=calls]").click()
        expect(left.locator("#moment")).to_contain_text("0.0150 s of")  # the first event is 5 ms before the history's
        expect(right.locator("#moment")).to_contain_text("0.0170 s of")
        expect(right.locator("#differences")).to_contain_text("'green'")


def test_the_past_is_acted_in_by_the_slider_and_a_step_of_the_list(browser: Browser, tmp_path: Path) -> None:
    made = VirtualTwin(load_algorithm("harness.mutants.paxos:SmallQuorum1"), 3, tmp_path)
    story = find_story(load_algorithm("harness.mutants.paxos:SmallQuorum1"), 3, SOUND)
    assert story is not None
    made.open(story)
    with shown(browser, made) as seen:
        page = seen.page
        broken = page.locator("[data-predicate=agreement]")
        expect(broken).to_contain_text("✗")
        where = page.locator("#where")
        end = where.text_content() or ""
        page.locator("#slider").focus()
        page.keyboard.press("Home")
        expect(broken).to_contain_text("✓")
        expect(page.locator("#moment")).to_contain_text("step 0 of")
        seen.act("n3", "kill")  # at that moment: a branch
        expect(where).to_contain_text("step 1,")
        expect(seen.node("n3", state="down")).to_be_visible()
        expect(broken).to_contain_text("✓")
        page.locator("#others summary", has_text="boot").click()
        page.click("#others [data-step='b n3']")
        expect(seen.node("n3", state="up")).to_be_visible()
        page.locator("#tree .broken").click()
        expect(where).to_have_text(end)
        expect(broken).to_contain_text("✗")
        page.keyboard.press("b")
        expect(broken).to_contain_text("✓")
        seen.node("n3").press("Enter")  # without the mouse: a node, one of its links, and a cut
        page.locator("#selected [data-link=n1]").press("Enter")
        page.locator("#selected [data-act=cut-both]").press("Enter")
        expect(page.locator(".wall")).to_have_count(1)
