"""How the live page shows messages: those that are held, a crowd of them on a link, and their labels. No cluster runs."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from harness.page.recorded_view import recorded_view
from harness.page.server import PageServer
from tests.end_to_end.chromium import NEEDS_CHROMIUM
from tests.end_to_end.test_live_page import Opened, opened
from tests.run_folders import split_brain

pytestmark = [NEEDS_CHROMIUM, pytest.mark.timeout(300)]


#: A fault, as the catalogue describes it to the page.
PARTITION = {
    "name": "partition",
    "family": "links",
    "summary": "cut groups from each other",
    "parameters": [{"name": "groups", "required": True, "default": None}],
}


@contextmanager
def page_with(
    browser: Browser, folder: Path, events: Sequence[dict[str, Any]] = (), **stands: Any
) -> Iterator[tuple[Opened, list[tuple[Any, Any]]]]:
    """Open a page with these events besides those of a run, whose cluster stands so. Yields it, and the acts that it asks for."""
    view, asked = recorded_view(split_brain(folder)), list[tuple[Any, Any]]()
    view.log.add(events)
    view.about |= {"live": True, "cluster": "c", "faults": [PARTITION]}
    view.stand(**{"held": [], "held_count": 0, "in_force": [], "trouble": None, **stands})

    def do(act: Any, arguments: Any) -> dict[str, Any]:
        asked.append((act, arguments))
        return {"ok": True, "text": f"{act} is done"}

    server = PageServer(view, do)
    server.start()
    with closing(server), opened(browser, server.url) as seen:
        yield seen, asked


def node_up(t: int, variables: dict[str, Any]) -> dict[str, Any]:
    """Return the event that n1 is up, at `t` microseconds, with these variables."""
    up = {"state": "up", "how": "up", "answers": True, "pid": 1, "boots": 1}
    return {"k": "node", "t": t, "node": "n1", **up, "vars": variables}


def held(index: int, label: str, to: str) -> dict[str, Any]:
    ends = {"from": "n1", "to": to, "type": "Prepare", "variable": "colour", "rule": "hold/1"}
    return {"index": index, **ends, "label": label, "value": None, "text": f"ballot {label[-4:]}"}


def test_a_message_that_is_held_and_sent_again_is_one_row_with_a_count(browser: Browser, tmp_path: Path) -> None:
    one, other = "Prepare 1·n1", "Prepare 2·n1"
    waits = [held(3, one, "n2"), held(4, one, "n3"), held(5, one, "n2"), held(6, other, "n2"), held(9, one, "n2")]
    with page_with(browser, tmp_path / "run", held=waits, held_count=5) as (seen, asked):
        rows = seen.page.locator("#held li")
        expect(rows).to_have_count(3)
        expect(rows.nth(0)).to_contain_text("Prepare 1·n1\u00d73n1 → n2")
        expect(rows.nth(1)).to_contain_text("Prepare 1·n1n1 → n3")
        expect(rows.nth(2)).to_contain_text("Prepare 2·n1n1 → n2")
        expect(seen.page.locator("#holding h3")).to_have_text("5 messages held")
        expect(seen.page.locator(".held-one")).to_have_count(3)
        expect(seen.page.locator(".held-one .more")).to_have_text(["\u00d73"])
        for act in ("deliver", "deliver-all", "lose-all"):
            rows.nth(0).locator(f"[data-act={act}]").click()
            expect(seen.page.locator("#holding .note.good")).to_contain_text("lose" if act == "lose-all" else "deliver")
        rows.nth(1).locator("[data-act=lose]").click()
        expect(seen.page.locator("#done li")).to_have_count(4)
        assert asked == [
            ("deliver", {"rule": "hold/1", "indices": [3]}),
            ("deliver", {"rule": "hold/1", "indices": [3, 5, 9]}),
            ("lose", {"rule": "hold/1", "indices": [3, 5, 9]}),
            ("lose", {"rule": "hold/1", "indices": [4]}),
        ]


#: The names of the fields and the menus that are shown, as a screen reader says them.
NAMES = """() => [...document.querySelectorAll("#toolbar, #side, #time")].flatMap((part) =>
  [...part.querySelectorAll("input, select")].filter((one) => one.checkVisibility()).map((one) =>
    one.getAttribute("aria-label") ?? [...one.labels].map((label) => label.firstChild.textContent.trim()).join(" ")))"""


def test_no_two_fields_of_the_page_have_one_name(browser: Browser, tmp_path: Path) -> None:
    variables = {"colour": {"decided": "'blue'"}, "shape": {"decided": "'round'"}}
    with page_with(browser, tmp_path / "run", events=[node_up(10_000_000, variables)]) as (seen, _):
        expect(seen.page.locator("#variable")).to_be_visible()
        expect(seen.page.locator("#field-name")).to_be_visible()
        names = seen.page.evaluate(NAMES)
        assert {"picture of", "variable", "value", "at", "time"} <= set(names)
        assert sorted(names) == sorted(set(names))


def test_the_menu_of_faults_takes_groups_as_the_command_line_does(browser: Browser, tmp_path: Path) -> None:
    with page_with(browser, tmp_path / "run") as (seen, asked):
        expect(seen.page.locator("#open-faults")).to_be_visible()  # before it is there, the key opens nothing
        seen.page.keyboard.press("f")
        seen.page.click("[data-fault=partition]")
        for text in ("n1,n2/n3", '[["n1", "n2"], ["n3"]]'):
            seen.page.fill(".fault-form [name=groups]", text)
            seen.page.click("#inject")
            expect(seen.page.locator(".fault-form .note.good")).to_have_text("inject is done")
        assert [arguments["arguments"]["groups"] for _, arguments in asked] == [
            [["n1", "n2"], ["n3"]],
            '[["n1", "n2"], ["n3"]]',  # which the server reads
        ]


def test_a_call_that_waits_says_for_how_long(browser: Browser, tmp_path: Path) -> None:
    call = {
        "k": "call",
        "id": "a",
        "t": 2_000_000,
        "t1": None,
        "f": "query",
        "key": "colour",
        "asked": "query",
        "at": "n3",
    }
    with page_with(browser, tmp_path / "run", events=[call, node_up(9_500_000, {})]) as (seen, _):
        expect(seen.page.locator(".call.waiting").last).to_have_text("n3: query… 7 s")


#: Draws messages in a ring of five nodes, each with its time of a flight of 100. Returns what is drawn, and the labels.
DRAWN = """async (steps) => {
  const [{ TypeMarks }, { Ring }, { MessageLayer }] =
    await Promise.all(["./marks.js", "./ring.js", "./messages.js"].map((name) => import(name)));
  const parent = document.querySelector("#picture");
  parent.replaceChildren();
  const ring = new Ring(parent, new TypeMarks(["Alive", "Vote"]), null, true), layer = new MessageLayer(ring);
  ring.layOut(["n1", "n2", "n3", "n4", "n5"]);
  const nodes = ring.names.map((name) => ({ name, state: "up", how: "up", facts: { decided: "'blue'" }, marks: [] }));
  ring.draw({ nodes, cuts: [], slow: [], held: [] });
  layer.fit();
  const between = steps.map(([t, from, to, type, fate]) => ({ t, fate, message: { from, to, type, label: `${type} 1·n1` } }));
  const leftOut = layer.draw({ stepsBetween: () => between }, 100, 100, null, false);
  const { a, e, f } = layer.pen.getTransform(), { width: row, height } = layer.canvas;
  const { data } = layer.pen.getImageData(0, 0, row, height);
  const inNodes = [...data.keys()].filter((at) => at % 4 === 3 && data[at]).filter((at) => {
    const pixel = (at - 3) / 4, x = (pixel % row - e) / a, y = (Math.floor(pixel / row) - f) / a;
    return ring.names.some((name) => Math.hypot(x - ring.places.get(name)[0], y - ring.places.get(name)[1]) < 42);
  }).length;
  const box = ({ x, y, width, height, text }) => [x, y, width, height, text ?? ""];
  return { leftOut, inNodes, marks: layer.placed.map(({ message: { from, to, type }, fate }) => [from, to, type, fate].join(" ")),
    labels: layer.labels.map(box), chips: ring.chipBoxes().map(box) };
}"""

Step = tuple[float, str, str, str, str]


def drawn(browser: Browser, folder: Path, steps: list[Step]) -> dict[str, Any]:
    with page_with(browser, folder) as (seen, _):
        return dict(seen.page.evaluate(DRAWN, steps))


def overlaps(boxes: list[tuple[float, float, float, float, str]]) -> list[tuple[str, str]]:
    return [
        (one[4], other[4])
        for number, one in enumerate(boxes)
        for other in boxes[number + 1 :]
        if one[0] < other[0] + other[2]
        and other[0] < one[0] + one[2]
        and one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
    ]


def test_labels_cover_neither_each_other_nor_what_a_node_says(browser: Browser, tmp_path: Path) -> None:
    others = ("n1", "n2", "n4", "n5")
    lost: list[Step] = [(20, node, "n3", "Alive", "undeliverable") for node in others]
    passed: list[Step] = [
        (50, *ends, type_, "passed") for ends in (("n5", "n2"), ("n2", "n5")) for type_ in ("Vote", "Alive")
    ]
    found = drawn(browser, tmp_path / "run", [*lost, *passed])
    texts = [label[4] for label in found["labels"]]
    assert texts == [
        "4 \u00d7 Alive 1·n1, undeliverable",
        "Vote 1·n1",
        "Alive 1·n1",
    ]  # of two that are near each other one is named
    assert overlaps([*found["labels"], *found["chips"]]) == []
    assert len(found["marks"]) == 8


#: What a node says while its log grows, and when it begins to lead: how often the page has more to draw than that.
GROWS = """async (said) => {
  const { Store } = await import("./store.js");
  const store = new Store();
  return said.map(([role, applied, chain], t) => {
    const before = store.turns, of = { role, applied, commit: applied, chain, waiting: applied % 3 };
    store.add([{ k: "node", t, node: "n1", state: "up", how: "up", vars: { "": of } }]);
    return store.turns - before;
  });
}"""


def test_a_log_that_only_grows_is_no_change_that_is_drawn_at_once(browser: Browser, tmp_path: Path) -> None:
    with page_with(browser, tmp_path / "run") as (seen, _):
        said = [("follower", 1, "a1"), ("follower", 2, "b2"), ("leader", 2, "b2"), ("leader", 3, "c3")]
        assert seen.page.evaluate(GROWS, said) == [1, 0, 1, 0]


def test_a_crowd_of_equal_messages_is_drawn_apart_and_every_other_one_is_drawn(
    browser: Browser, tmp_path: Path
) -> None:
    crowd: list[Step] = [(number / 4, "n1", "n3", "Vote", "passed") for number in range(400)]  # its link passes no node
    more: list[Step] = [(50, "n1", "n3", "Alive", "passed"), (50, "n1", "n3", "Vote", "dropped")]
    through: list[Step] = [(number / 4, "client", "n1", "Command", "passed") for number in range(400)]  # this one n5
    found = drawn(browser, tmp_path / "run", [*crowd, *more, *through])
    marks = found["marks"]
    assert 8 <= marks.count("n1 n3 Vote passed") <= 12
    assert marks.count("n1 n3 Alive passed") == marks.count("n1 n3 Vote dropped") == 1
    assert found["leftOut"] == 0  # each of them is drawn, by itself or by an equal one
    assert found["inNodes"] == 0


#: By how many pixels the promises stand out of the window on their right, and how many of them have no place.
PROMISES = """() => {
  const boxes = [...document.querySelectorAll("#predicates > *")].map((one) => one.getBoundingClientRect());
  return [Math.max(0, ...boxes.map((box) => Math.ceil(box.right - innerWidth))), boxes.filter((box) => box.width < 60).length];
}"""


def test_broken_promises_stand_within_the_page_at_every_width(browser: Browser, tmp_path: Path) -> None:
    with page_with(browser, tmp_path / "run", run="r" * 60) as (seen, _):
        expect(seen.page.locator(".predicate.broken")).not_to_have_count(0)
        seen.page.evaluate("document.querySelector('#title').textContent = 'AcceptIgnoresPromiseOfALongName'")
        for width in (1600, 1280, 1024, 820, 420):
            seen.page.set_viewport_size({"width": width, "height": 720})
            for css in ("", "touring"):
                seen.page.evaluate("(css) => { document.body.className = css; }", css)
                assert seen.page.evaluate(PROMISES) == [0, 0], (width, css)
        seen.page.set_viewport_size({"width": 1280, "height": 720})
