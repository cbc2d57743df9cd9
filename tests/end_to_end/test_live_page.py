"""The live page in a real browser, on real processes: what a person does with the mouse, and reads off the page."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from harness.page.recorded_view import recorded_view
from harness.page.server import PageServer
from tests.end_to_end.chromium import NEEDS_CHROMIUM, page_in, readable_chips
from tests.harness.systems.store import store_in_memory
from tests.run_folders import hostile, split_brain
from tests.waiting import WAIT_S

COMMAND = [sys.executable, "-m", "harness.cli.main"]

pytestmark = [
    NEEDS_CHROMIUM,
    pytest.mark.timeout(300),  # a browser beside a cluster, on a machine that may have much else to do
]
expect.set_options(timeout=WAIT_S * 1000)


class Opened:
    """The live page in a browser. At its end there must have been no error, and no request to another host."""

    def __init__(self, url: str) -> None:
        self.page: Page
        self.errors = list[str]()
        self._own = url.rpartition("/")[0].rpartition("/")[0]

    def note(self, line: str) -> None:
        """Keep a line of the console, an error, or a request to another host."""
        own = (f"request {start}" for start in (self._own, self._own.replace("http:", "ws:"), "data:"))
        if not line.startswith(tuple(own)):
            self.errors.append(line)

    def node(self, name: str, **data: str) -> Locator:
        """Return a node in the picture, with these data, such as its state or its decided value."""
        return self.page.locator(
            f".node[data-node={name}]" + "".join(f"[data-{key}={value!r}]" for key, value in data.items())
        )

    def act(self, name: str, *acts: str) -> None:
        """Click a node, and then these buttons beside the picture; wait for the reply to each."""
        self.node(name).click()
        expect(self.page.locator("#selected h2")).to_contain_text(name)
        for act in acts:
            self.page.click(f"#selected [data-act={act}]")

    def propose(self, name: str, colour: str) -> None:
        self.node(name).click()
        expect(self.page.locator("#selected h2")).to_contain_text(name)
        self.page.click(f"#selected [data-value={colour}]")
        self.page.fill("#field-within", f"{WAIT_S:g}")  # on a busy machine a node may take long
        self.page.click("#selected [data-act=propose]")

    def held(self, **data: str) -> Locator:
        return self.page.locator("#held li" + "".join(f"[data-{key}={value!r}]" for key, value in data.items()))


@contextmanager
def opened(browser: Browser, url: str) -> Iterator[Opened]:
    with opened_as(Opened, browser, url) as open_page:
        yield open_page


AnOpened = TypeVar("AnOpened", bound=Opened)


@contextmanager
def opened_as(kind: type[AnOpened], browser: Browser, url: str) -> Iterator[AnOpened]:
    open_page = kind(url)
    with page_in(browser, 1280, 720, open_page.note) as open_page.page:
        open_page.page.goto(url)
        yield open_page
        assert open_page.errors == []


@contextmanager
def live(folder: Path, *arguments: str) -> Iterator[tuple[str, Path]]:
    """Run a command that opens the page. Yields the page's address, and the cluster's folder; at the end nothing runs there."""
    command = [*COMMAND, *arguments, "--dir", str(folder)]
    no_browser = {**os.environ, "BROWSER": "true"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=no_browser) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            yield json.loads(line)["url"] if line.startswith("{") else line.strip(), folder
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(WAIT_S) == 130
    assert not (folder / "supervisor.json").exists()


def test_a_split_brain_with_the_mouse_and_back_to_the_moment_before_it(browser: Browser, tmp_path: Path) -> None:
    with (
        live(tmp_path / "c", "live", "failover", "-n", "3", "--no-open", "-o", "json") as (url, _),
        opened(browser, url) as seen,
    ):
        page = seen.page
        expect(seen.node("n3", state="up")).to_be_visible()
        cut_off_with_the_mouse(seen, "n1", ("n2", "n3"))
        expect(page.locator(".wall")).to_have_count(2)
        seen.propose("n1", "blue")
        expect(seen.node("n1", role="leader", decided="'blue'")).to_be_visible()
        agreement = page.locator("[data-predicate=agreement]")
        expect(agreement).not_to_have_class("broken")
        seen.propose("n2", "red")
        expect(seen.node("n2", decided="'red'")).to_be_visible()
        expect(agreement).to_contain_text("'red'")
        expect(page.locator(".call.answered")).to_have_count(2)

        page.select_option("#step-kind", "decision")
        moments = page.locator("#step-text")
        page.click("#previous")
        while "n2 " not in (moments.text_content() or ""):  # n3 may have followed n2
            page.click("#previous")
        page.click("#previous")
        expect(moments).to_contain_text("n1 knows that colour is 'blue'")
        expect(seen.node("n1", decided="'blue'")).to_be_visible()
        expect(seen.node("n2", decided="'red'")).to_have_count(0)
        expect(page.locator(".predicate.broken")).to_have_count(0)
        seen.act("n1")
        expect(page.locator("#selected .past")).to_be_visible()  # acts do not go back to the moment shown
        expect(page.locator("#selected [data-act=resume]")).to_be_disabled()  # it is up now
        page.click("#live")
        expect(page.locator("#selected .past")).to_be_hidden()
        expect(page.locator(".predicate.broken")).to_have_count(2)  # agreement, and a decision stays

        page.click("#heal-all")
        expect(page.locator(".wall")).to_have_count(0)
        seen.act("n3")
        facts = page.locator("#selected .facts")
        expect(facts).to_contain_text("pid ")
        kill = page.locator("#selected [data-act=kill]")
        stood = kill.bounding_box()
        os.kill(int((facts.text_content() or "").partition("pid ")[2].partition(",")[0]), signal.SIGKILL)
        expect(seen.node("n3", state="down")).to_be_visible()
        expect(page.locator("#tolerance.predicate-of-kept")).to_have_text("✓ fault tolerance: 2 of 3 up")
        expect(facts).to_contain_text("killed by SIGKILL from outside")
        assert kill.bounding_box() == stood  # a second click meets no other button
        for act in ("kill", "suspend", "resume"):  # nothing that a dead node can do
            expect(page.locator(f"#selected [data-act={act}]")).to_be_disabled()
        for within in ("0", "abc", "inf", ""):
            page.fill("#field-within", within)
            page.click("#selected [data-act=query]")
            expect(page.locator("#selected .note.bad")).to_contain_text(f"the timeout is {within or 'empty'}")
        seen.act("n3", "restart")
        expect(seen.node("n3", state="up")).to_be_visible()


def cut_off_with_the_mouse(seen: Opened, node: str, others: tuple[str, ...]) -> None:
    """Draw a line between a node and the others, from the left of the picture to its right."""
    page = seen.page
    names = [node, *others]
    for name in names:
        expect(seen.node(name)).to_be_visible()
    # In one go, since the page draws the nodes anew at each change.
    middles = page.locator("#picture svg").evaluate(
        """(svg, names) => names.map((name) => {
          const box = svg.querySelector(`.node[data-node=${name}]`).getBoundingClientRect();
          return box.y + box.height / 2;
        })""",
        names,
    )
    ys = dict(zip(names, middles, strict=True))
    picture = page.locator("#picture svg").bounding_box()
    assert picture is not None
    y = (ys[node] + min(ys[other] for other in others)) / 2
    page.mouse.move(picture["x"] + picture["width"] * 0.2, y)
    page.mouse.down()
    page.mouse.move(picture["x"] + picture["width"] * 0.6, y, steps=4)
    page.mouse.move(picture["x"] + picture["width"] * 0.98, y, steps=4)
    page.mouse.up()


def test_the_window_of_vulnerability_by_stepping_and_a_cluster_that_ends(browser: Browser, tmp_path: Path) -> None:
    with live(tmp_path / "c", "up", "--live", "majority", "-n", "3") as (url, folder), opened(browser, url) as seen:
        page = seen.page
        expect(seen.node("n3", state="up")).to_be_visible()
        page.click("#hold")
        page.click("#stop-clocks")
        expect(page.locator("#force")).to_contain_text("3 clocks")
        for node, colour in (
            ("n1", "blue"),
            ("n2", "red"),
            ("n3", "red"),
        ):  # n3 votes, and dies before anybody learns how
            seen.propose(node, colour)
            expect(seen.node(node, vote=f"'{colour}'")).to_be_visible()
        expect(seen.held(type="Vote")).to_have_count(6)
        for to in ("n1", "n2"):
            seen.held(**{"from": "n3", "to": to}).locator("[data-act=lose]").click()
            expect(seen.held(**{"from": "n3", "to": to})).to_have_count(0)
        seen.act("n3", "kill")
        expect(seen.node("n3", state="down")).to_be_visible()
        page.keyboard.press("n")  # n1's vote reaches n2
        expect(seen.held(**{"from": "n1", "to": "n2", "type": "Vote"})).to_have_count(0)
        seen.held(**{"from": "n2", "to": "n1", "type": "Vote"}).locator("[data-act=deliver]").click()
        expect(seen.held(**{"from": "n2", "to": "n1", "type": "Vote"})).to_have_count(0)
        seen.act("n1")
        expect(page.locator("#selected .facts")).to_contain_text("n1 'blue', n2 'red'")
        for node in ("n1", "n2"):  # both know both votes, and cannot decide
            expect(seen.node(node, decided="'red'")).to_have_count(0)
            expect(seen.node(node, decided="'blue'")).to_have_count(0)
        seen.act("n3", "restart")
        page.click("#let-go")
        for node in ("n1", "n2", "n3"):
            expect(seen.node(node, decided="'red'")).to_be_visible()
        expect(page.locator(".predicate.broken")).to_have_count(0)

        subprocess.run([*COMMAND, "down", "--dir", str(folder)], check=True, capture_output=True)
        expect(page.locator("#banner")).to_contain_text("The cluster does not run: ")
        page.click("#start")
        expect(seen.node("n2", decided="'red'", state="up")).to_be_visible()
        expect(page.locator("#banner")).to_be_hidden()
        plan = next(path for path in sorted(folder.glob("runs/*/plan.json")) if '"hold"' in path.read_text())
        assert {step["fault"] for step in json.loads(plan.read_text())["steps"]} == {"hold", "clock-skew", "kill"}


#: A call at n1 of 9 s, in the first `held_s` of which messages are held: what the mark says of it.
TOLERANCE = """async (heldS) => {
  const { tolerance } = await import("./tolerance.mjs");
  const call = { asked: "propose 'blue'", at: "n1", t: 0, t1: 9e6, outcome: "info" };
  const hold = { t: 0, t1: heldS * 1e6, nodes: [], cut: [], disturbed: [["n1", "n2"]] };
  const store = {
    faultsAt: () => [], cutsAt: () => new Set(), nodeAt: () => ({ state: "up" }), callsAt: () => [call],
    faults: new Map([[0, hold]]) };
  const { state, text, why } = tolerance(store, ["n1", "n2", "n3"], 10e6);
  return [state, text, why];
}"""


def test_a_call_breaks_fault_tolerance_by_the_time_since_messages_were_let_go(browser: Browser, tmp_path: Path) -> None:
    server = PageServer(recorded_view(split_brain(tmp_path / "run")), None)
    server.start()
    with closing(server), opened(browser, server.url) as seen:
        state, text, why = seen.page.evaluate(TOLERANCE, 4)
        assert state == "broken"
        assert text == "✗ fault tolerance: no answer to propose 'blue' at n1, given up at 9.0 s; 3 of 3 up now"
        assert "5.0 s that this call waited since the last fault" in why
        for held_s in (7, 20):  # too short to send again, and held still
            state, text, _ = seen.page.evaluate(TOLERANCE, held_s)
            assert state == "nothing"
            assert "3 of 3 up, but the last call had no answer" in text


@pytest.mark.parametrize(
    ("status", "kind", "says"), [("invalid", "broken", "✗"), ("valid", "kept", "✓"), ("unknown", "nothing", "\u2013")]
)
def test_the_header_shows_the_verdict_of_the_judges_where_there_is_one(
    browser: Browser, tmp_path: Path, status: str, kind: str, says: str
) -> None:
    view = recorded_view(split_brain(tmp_path / "run"))
    view.about["verdicts"] = {"fault tolerance": {"status": status, "evidence": "what they found"}}
    server = PageServer(view, None)
    server.start()
    with closing(server), opened(browser, server.url) as seen:
        mark = seen.page.locator(f"#tolerance.predicate-of-{kind}")
        word = "not shown" if status == "unknown" else kind
        expect(mark).to_have_text(f"{says} fault tolerance: {word}, say the judges; 2 of 3 up")
        expect(mark).to_have_attribute("title", "the judges about the whole run: what they found")


def test_a_promise_that_follows_from_messages_is_not_green_if_some_were_not_seen(
    browser: Browser, tmp_path: Path
) -> None:
    view = recorded_view(split_brain(tmp_path / "run"))
    view.about |= {"live": True, "predicates": ["agreement", "one value chosen"], "of_messages": ["one value chosen"]}
    server = PageServer(view, None)
    server.start()
    with closing(server), opened(browser, server.url) as seen:
        chosen = seen.page.locator("[data-predicate='one value chosen']")
        expect(chosen).to_have_text("✓ one value chosen")
        view.log.add([{"k": "thinned", "t": 1, "count": 7}])
        expect(chosen).to_have_text("\u2013 one value chosen")
        expect(chosen).to_have_class("predicate unseen")


#: An act whose connection is lost before the reply comes.
LOST_REPLY = """async () => {
  const { Connection } = await import("./connection.mjs");
  const { Panels } = await import("./panels.mjs");
  let connection;
  await new Promise((isOpen) => { connection = new Connection(() => {}, isOpen); });
  const reply = connection.act("kill", { nodes: "n1" });
  connection.lost(1012);
  const panels = { done: document.createElement("ol") };
  Panels.prototype.tell.call(panels, await reply, null);
  return panels.done.textContent;
}"""


def test_an_act_whose_reply_was_lost_is_unknown_and_not_refused(browser: Browser, tmp_path: Path) -> None:
    server = PageServer(recorded_view(split_brain(tmp_path / "run")), None)
    server.start()
    with closing(server), opened(browser, server.url) as seen:
        said = "unknown: the connection was lost before the reply came, so it may have been done"
        assert seen.page.evaluate(LOST_REPLY) == said


#: n2 knows red, and answers blue: what it says at a time in ms, by the answers that it has given.
TOLD = """async ([calls, ms]) => {
  const { Store } = await import("./store.js");
  const { pictureAt } = await import("./picture.js");
  const node = (node, decided, t, state = "up") =>
    ({ k: "node", t, node, state, how: state, answers: true, vars: { colour: { decided } } });
  const store = new Store(), call = { k: "call", key: "colour", asked: "query", outcome: "ok" };
  store.add([node("n1", "'blue'", 0), node("n2", "'red'", 0), node("n2", "'red'", 90e3, "down")]);
  store.add(calls.map(([t, t1, by, answer], id) => ({ ...call, id, t: t * 1e3, t1: t1 * 1e3, by, at: by, answer })));
  const { nodes } = pictureAt(store, { nodes: ["n1", "n2"] }, ["n1", "n2"], ms * 1e3, "colour");
  return nodes.map(({ told }) => told ?? "");
}"""
#: Draws n2, which knows red and answers blue, and messages everywhere. Returns how many pixels of messages are on each of its two
#: chips, and in a corner.
TOLD_DRAWN = """async () => {
  const [{ TypeMarks }, { Ring }, { MessageLayer }] =
    await Promise.all(["./marks.js", "./ring.js", "./messages.js"].map((name) => import(name)));
  const parent = document.querySelector("#picture");
  parent.replaceChildren();
  const ring = new Ring(parent, new TypeMarks(["Alive"]), null, true), layer = new MessageLayer(ring);
  ring.layOut(["n1", "n2"]);
  const node = { name: "n2", state: "up", how: "up", facts: { decided: "'red'" }, told: "'blue'", marks: [] };
  ring.draw({ nodes: [node], cuts: [], slow: [], held: [] });
  layer.fit();
  layer.trail = () => layer.pen.fillRect(0, 0, 1000, 600);
  const message = { from: "n1", to: "n2", type: "Alive", label: "Alive" };
  layer.draw({ stepsBetween: () => [{ message, fate: "passed", t: 0 }] }, 1, 10, null, false);
  const { a, e, f } = layer.pen.getTransform(), { width: row, height } = layer.canvas;
  const { data } = layer.pen.getImageData(0, 0, row, height);
  const drawnIn = (box) => [...data.keys()].filter((at) => at % 4 === 3 && data[at]).filter((at) => {
    const pixel = (at - 3) / 4, x = (pixel % row - e) / a - box.x, y = (Math.floor(pixel / row) - f) / a - box.y;
    return 0 <= x && x < box.width && 0 <= y && y < box.height;
  }).length;
  const between = ({ x, y, width, height }) => ({ x: x + height / 2, y, width: width - height, height }); // its round ends
  return [...ring.chips.get("n2").map(between), { x: 0, y: 0, width: 50, height: 50 }].map(drawnIn);
}"""


def test_a_node_that_answers_other_than_it_knows_says_so(browser: Browser, tmp_path: Path) -> None:
    server = PageServer(recorded_view(split_brain(tmp_path / "run")), None)
    server.start()
    with closing(server), opened(browser, server.url) as seen:

        def words(calls: list[tuple[int, int, str, str]], ms: int) -> list[str]:
            return list(seen.page.evaluate(TOLD, [calls, ms]))

        asks_its_leader = (10, 20, "n2", "'blue'")
        assert words([asks_its_leader], 15) == ["", ""]  # not answered yet
        assert words([asks_its_leader], 30) == ["", "'blue'"]
        assert words([asks_its_leader, (40, 50, "n2", "'red'")], 60) == ["", ""]  # its last answer is what it knows
        assert words([asks_its_leader, (40, 50, "n1", "'blue'")], 60) == ["", "'blue'"]
        assert words([(10, 20, "n2", "undecided")], 30) == ["", ""]
        assert words([asks_its_leader], 95) == ["", ""]  # it is down, and answers nothing
        *on_chips, beside_them = seen.page.evaluate(TOLD_DRAWN)
        assert on_chips == [0, 0]
        assert beside_them > 0
        assert readable_chips(seen.page) == {"answers ● blue", "disk: ✓ ■ red"}


#: The middle of an element.
MIDDLE = """(name) => {
  const element = document.querySelector(name);
  element.scrollIntoView({ block: "center" });
  const box = element.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
}"""


def test_a_click_counts_while_what_it_is_on_changes(browser: Browser, tmp_path: Path) -> None:
    """A node, and a message in the list of those that are held. Both change more often than a press is long."""
    view = recorded_view(split_brain(tmp_path / "run"))
    view.about |= {"live": True, "cluster": "c", "faults": []}
    view.stand(held=[], held_count=0, in_force=[], trouble=None)
    events = view.log.read(0, 1 << 20).events
    node = [event for event in events if event["k"] == "node"][-1]
    message = {**next(event for event in events if event["k"] == "msg"), "rule": "r", "index": 1}
    delivered, ended = threading.Event(), threading.Event()

    def do(act: object, _arguments: object) -> dict[str, object]:
        if act == "deliver":
            delivered.set()
        return {"ok": True, "text": "done"}

    def change() -> None:
        for number in itertools.count(2):
            if ended.wait(0.02):
                return
            view.log.add([{**node, "boots": number, "state": ("up", "suspended")[number % 2]}])
            view.stand(held=[message], held_count=number)

    server = PageServer(view, do)
    server.start()
    changes = threading.Thread(target=change)
    with closing(server), opened(browser, server.url) as seen:
        seen.act("n1")
        changes.start()
        try:
            # Ten of each, since a slow machine may miss the time of one press.
            for _ in range(10):
                seen.node("n2").click(delay=200)
                if "n2" in (chosen := seen.page.locator("#selected h2").text_content() or ""):
                    break
            assert "n2" in chosen
            for _ in range(10):
                # By its place: the button is another one with each change.
                seen.page.mouse.click(*seen.page.evaluate(MIDDLE, "#held [data-act=deliver]"), delay=200)
                if delivered.wait(0.5):
                    break
            assert delivered.is_set()
        finally:
            ended.set()
            changes.join()


def test_a_run_opens_on_the_page_also_a_hostile_one(browser: Browser, tmp_path: Path) -> None:
    for make in (split_brain, hostile):
        server = PageServer(recorded_view(make(tmp_path / make.__name__)), None)
        server.start()
        with closing(server), opened(browser, server.url) as seen:
            expect(seen.page.locator(".node")).not_to_have_count(0)
            expect(seen.page.locator("#verdicts li")).not_to_have_count(0)
            with seen.page.expect_download() as saved:
                seen.page.click("#save-svg")
            assert "n1" in Path(saved.value.path()).read_text()
            seen.page.click("#show-diagram")
            expect(seen.page.locator("#diagram")).to_be_visible()
            seen.page.focus("#slider")
            seen.page.keyboard.press("Home")
            seen.page.click("#next")
            seen.page.select_option("[aria-label=speed]", "10")
            seen.page.click("#play")
            expect(seen.page.locator("#play")).to_have_text("▶")  # it has played to the end


def test_nodes_that_are_not_ours_are_broken_and_asked_with_the_mouse(browser: Browser, tmp_path: Path) -> None:
    file = store_in_memory(tmp_path, "AsPatientAsAsked")
    arguments = ("up", "--system", str(file), "--nodes", "2", "--live")
    with live(tmp_path / "c", *arguments) as (url, folder), opened(browser, url) as seen:
        page = seen.page
        note = page.locator("#selected .note")
        seen.act("n1")
        page.fill("#field-within", f"{WAIT_S:g}")  # on a busy machine an answer may take long
        page.click("#selected [data-act=put]")
        expect(note).to_have_text("n1 answers: None")
        page.click("#selected [data-act=get]")
        expect(note).to_have_text("n1 answers: 'blue'")
        page.click("#selected [data-act=isolate]")
        expect(page.locator("[data-cut='n1 n2']")).to_be_visible()
        page.click("#selected [data-act=power-cut]")
        expect(note).to_contain_text("power-cut cannot strike store, whose nodes are not ours")
        page.click("#selected [data-act=kill]")
        expect(seen.node("n1", state="down")).to_be_visible()
        page.click("#selected [data-act=restart]")
        expect(seen.node("n1", state="up")).to_be_visible()
        page.click("#selected [data-act=get]")
        expect(note).to_have_text("n1 answers: None")  # it had kept it in memory alone
        expect(page.locator("#legend")).to_contain_text("of clients")
    (run,) = (folder / "runs").iterdir()
    results = json.loads((run / "results.json").read_text())
    assert results["verdicts"]["linearizability"]["status"] == "invalid"
    recorded = recorded_view(run)
    events = recorded.log.read(0, 10_000).events
    assert {"connection", "bytes"} <= {event["type"] for event in events if event["k"] == "msg"}
    assert "kill" in {event["name"] for event in events if event["k"] == "fault"}
    assert [event["asked"] for event in events if event["k"] == "call"][:2] == ["put 'blue'", "get"]
