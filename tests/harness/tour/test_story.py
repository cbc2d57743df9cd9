"""The tour's chapters as data, and what a reader types, without a process."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cluster.clients.outcomes import Ok
from harness.tour.acts import ACTS, act, acts_for
from harness.tour.chapters import CHAPTERS
from harness.tour.stage import Stage
from harness.tour.story import ChapterTold, GoalRuling, Measured, Screen, ScreenTold, TourChapter
from harness.tour.telling import SAYINGS
from harness.tour.terminal import TerminalTeller
from node.contract import BadInput

DOCS = Path(__file__).parents[3] / "docs"


class NoStage:
    """Stands in for a stage: notes what it is asked to do."""

    def __init__(self, algorithm: str = "paxos") -> None:
        self.run = SimpleNamespace(nodes=("n1", "n2", "n3"), algorithm=algorithm)
        self.keeps_log = algorithm == "multipaxos"
        self.done: list[tuple[str, tuple[object, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        def note(*arguments: object, **_: object) -> list[str]:
            self.done.append((name, arguments))
            return ["an answer", "a line"]

        return note


def done(text: str, algorithm: str = "paxos") -> list[tuple[str, tuple[object, ...]]]:
    stage = NoStage(algorithm)
    act(cast(Stage, stage), text)
    return stage.done


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kill n1 n2", ("kill", ("n1", "n2"))),
        ("kill n1,n2", ("kill", ("n1", "n2"))),
        ("cut n1 n2 | n3", ("cut", (["n1", "n2"], ["n3"]))),
        ("cut n1/n2,n3", ("cut", (["n1"], ["n2", "n3"]))),
        ("propose blue at n1", ("propose", ("blue", "n1"))),
        ("propose 7 n3", ("propose", (7, "n3"))),
        ("query at n2", ("query", ("n2",))),
        ("query", ("query_all", ())),
        ("hold Accept Prepare", ("hold", ("Accept", "Prepare"))),
        ("heal", ("heal", ())),
        ("look", ("states", ())),
    ],
)
def test_an_act_is_read(text: str, expected: tuple[str, tuple[object, ...]]) -> None:
    assert done(text) == [expected]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("kil n1", "did you mean kill"),
        ("kill", "name a node: n1, n2, n3"),
        ("kill n9", "there is no node 'n9'"),
        ("cut n1 n2", "write the sides with a bar between them"),
        ("cut n1 | n1 n2", "a node can be on one side only"),
        ("propose blue", "propose blue at n1"),
        ("hold Acept", "did you mean Accept"),
        ("put owner alice", "there is no act 'put'"),
    ],
)
def test_a_wrong_act_does_nothing_and_says_what_would_be_right(text: str, error: str) -> None:
    stage = NoStage()
    with pytest.raises(BadInput, match=error):
        act(cast(Stage, stage), text)
    assert stage.done == []


def test_a_log_takes_puts_and_no_proposals() -> None:
    assert done("put owner alice", "multipaxos")[0][0] == "put"
    assert {"propose", "query"} & acts_for(cast(Stage, NoStage("multipaxos"))).keys() == set()


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
def test_a_chapter_is_complete(chapter: TourChapter) -> None:
    assert (DOCS / chapter.more).is_file()
    assert all(screen.text and bool(screen.act) == (screen.do is not None) for screen in chapter.screens)
    assert chapter.challenge.hints
    for text in chapter.challenge.solution:
        assert text.split()[0] in ACTS


@pytest.mark.parametrize(
    ("of_n2", "is_shown", "text"),
    [
        ((5, 77), True, "were equal"),
        ((4, 66), False, "still behind"),
        ((5, 66), False, "bug of the shipped code"),
    ],
)
def test_a_log_is_told_as_it_stands(of_n2: tuple[int, int], is_shown: bool, text: str) -> None:
    def replica(applied: int, chain: int) -> dict[str, object]:
        return {"role": "follower", "applied": applied, "chain": chain}

    class Log:
        """Stands in for a stage whose replicas stand so when the wait for them has ended."""

        def up(self, *_: object) -> list[str]:
            return ["3 nodes are up"]

        def put(self, *_: object) -> tuple[Ok, str]:
            return Ok(1, "n1"), "put"

        def get(self, *_: object) -> tuple[Ok, str]:
            return Ok("bob", "n1"), "get"

        def replicas_alike(self) -> dict[str, dict[str, object]]:
            return {"n1": replica(5, 77), "n2": replica(*of_n2)}

    chapter = next(chapter for chapter in CHAPTERS if chapter.name == "log")
    do = chapter.screens[0].do
    assert do is not None
    measured = do(cast(Stage, Log()))
    assert (measured.shown, f"n2: follower, {of_n2[0]} slots" in "\n".join(measured.facts)) == (is_shown, True)
    assert text in measured.meaning


def test_the_chapters_have_names_of_their_own() -> None:
    assert len({chapter.name for chapter in CHAPTERS}) == len(CHAPTERS) == 8


def test_a_chapter_is_shown_if_each_act_showed_its_point_and_the_challenge_ended_as_it_can() -> None:
    chapter = CHAPTERS[0]
    screen = chapter.screens[0]

    def told(shown: bool, solved: bool) -> bool:
        measured = ScreenTold(screen, Measured(["a fact"], "a meaning", shown))
        return ChapterTold(chapter, [measured], ruling=GoalRuling(solved, "")).shown

    assert told(True, True)
    assert not told(False, True)
    assert not told(True, False)
    assert not ChapterTold(chapter).shown  # it was broken off


def test_the_terminal_waits_between_the_steps_and_not_if_it_has_nobody_to_ask() -> None:
    shown: list[str] = []
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return "hint"

    screen = Screen("a title", "one paragraph\n\nanother", "do something", lambda _stage: Measured((), ""))
    waiting = TerminalTeller(shown.append, ask)
    waiting.screen(screen)
    waiting.measured(Measured(["a fact"], "what it means"))
    assert asked == ["\n[Enter does it] ", "\n[Enter goes on] "]
    assert waiting.next_act() == "hint"
    assert [line for line in shown if line] == [
        "## a title",
        "one paragraph",
        "another",
        "→ do something",
        "  · a fact",
        "what it means",
    ]
    assert TerminalTeller(shown.append, None).next_act() == "solution"
    assert "solution" in SAYINGS
