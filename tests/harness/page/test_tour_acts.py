"""What a click says at a challenge of the tour."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from harness.page.tour_acts import as_line, sides
from harness.page.tour_page import TourPage
from harness.page.tour_teller import Left, PageTeller
from harness.tour.chapters import CHAPTERS
from harness.tour.story import Measured
from node.contract import BadInput
from tests.run_folders import HOSTILE

NODES = ("n1", "n2", "n3")


@pytest.mark.parametrize(
    ("act", "arguments", "line"),
    [
        ("kill", {"nodes": "n1"}, "kill n1"),
        ("isolate", {"node": "n2"}, "cut n2 | n1 n3"),
        ("partition", {"groups": "n1/n2,n3"}, "cut n1/n2,n3"),
        ("cut", {"links": [["n2", "n1"], ["n1", "n3"]], "one_way": False}, "cut n1 | n2 n3"),
        ("propose", {"name": "x", "value": "blue", "at": "n3", "timeout_s": 5}, "propose blue at n3"),
        ("propose", {"name": "x", "value": "blue", "at": "", "timeout_s": 5}, "propose blue at n1"),
        ("query", {"name": "x", "at": "", "timeout_s": 5}, "query"),
        ("put", {"key": "owner", "value": "7", "timeout_s": 5}, "put owner 7"),
        ("inject", {"fault": "hold", "arguments": {"links": "nodes", "types": "Accept"}}, "hold Accept"),
        ("heal", {}, "heal"),
    ],
)
def test_a_click_is_the_line_that_a_reader_would_type(act: str, arguments: dict[str, Any], line: str) -> None:
    assert as_line(act, arguments, NODES) == line


@pytest.mark.parametrize(
    ("act", "arguments"),
    [
        ("cut", {"links": [["n1", "n2"]], "one_way": False}),  # n3 still joins them
        ("cut", {"links": [["n2", "n1"], ["n1", "n3"]], "one_way": True}),
        ("cut", {"links": [[{}], 7, "n1"], "one_way": False}),
        ("propose", {"name": "x", "value": "two words", "at": "n1"}),
        ("put", {"key": "", "value": "7"}),
        ("inject", {"fault": "power-cut", "arguments": {"node": "n1"}}),
        ("kill", {"nodes": ["n1"]}),
        ("tour-say", {}),
    ],
)
def test_a_click_that_a_challenge_does_not_take_is_refused(act: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        as_line(act, arguments, NODES)


def test_links_between_some_of_the_groups_are_no_cut_of_groups() -> None:
    with pytest.raises(BadInput, match="groups"):
        sides([["n1", "n2"], ["n1", "n3"], ["n2", "n3"], ["n1", "n4"]], ("n1", "n2", "n3", "n4"))


def test_of_two_presses_for_the_same_step_one_counts_and_a_reader_who_leaves_ends_the_chapter() -> None:
    states: list[Any] = []

    def press_twice(state: dict[str, Any]) -> None:
        states.append(dict(state))
        if state["waits"] == "act":
            teller.press(state["turn"])
            with pytest.raises(BadInput, match="under way, or done already"):
                teller.press(state["turn"])
        elif state["waits"] == "next":
            teller.leave()

    teller = PageTeller(press_twice)
    teller.chapter(1, CHAPTERS[0])
    with pytest.raises(BadInput, match="your turn comes with the challenge"):
        teller.say("kill n1")
    teller.screen(CHAPTERS[0].screens[0])
    with pytest.raises(Left):
        teller.measured(Measured(["a fact"], "a meaning"))
    assert [state["waits"] for state in states] == [None, "act", None, "next"]
    assert states[-1]["screens"][0]["measured"]["facts"] == ["a fact"]


def test_a_link_to_a_later_step_goes_through_the_earlier_ones_without_waiting() -> None:
    waits: list[Any] = []
    teller = PageTeller(lambda state: waits.append(state["waits"]), skips=2)
    teller.chapter(1, CHAPTERS[0])
    for screen in CHAPTERS[0].screens[:2]:
        teller.screen(screen)
        teller.measured(Measured([], ""))
    assert waits.count(None) == len(waits)


def test_whatever_a_browser_sends_is_answered_and_starts_nothing(tmp_path: Path) -> None:
    sent: list[tuple[Any, Any]] = [
        (None, None),
        ("tour-open", {"chapter": HOSTILE, "step": 1}),
        ("tour-open", {"chapter": "vote", "step": "2"}),
        ("tour-open", ["vote"]),
        ("tour-press", {"turn": 1}),
        ("tour-say", {"text": "kill n1"}),
        ("tour-say", {"text": ["kill"]}),
        ("kill", {"nodes": "n1"}),
        ("inject", {"fault": "power-cut", "arguments": {"node": "n1"}}),
        ("_open", {"chapter": "vote", "step": 1}),
        ({"act": 1}, 7),
    ]
    with closing(TourPage(lambda name: tmp_path / name)) as page:
        replies = [page.do(act, arguments) for act, arguments in sent]
        standing = page.view.standing(-1)[1]
    assert [reply["ok"] for reply in replies] == [False] * len(sent)
    assert all(len(reply["text"]) <= 400 for reply in replies)
    assert standing is not None
    assert standing["tour"]["chapter"] is None
    assert list(tmp_path.iterdir()) == []
