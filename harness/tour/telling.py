"""Tells a chapter: shows its screens, acts, and holds its challenge. How it is shown is up to a `Teller`.

Rule: whatever ends a chapter (its end, an error, Ctrl-C) ends its cluster, because the stage is a context manager.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final, Protocol

from cluster.errors import ConsensusError
from harness.tour.acts import Act, act, acts_for
from harness.tour.stage import Stage, Watch
from harness.tour.story import Challenge, ChapterTold, GoalRuling, Measured, Screen, ScreenTold, TourChapter
from node.contract import BadInput

#: What a reader can say at a challenge beside the acts.
SAYINGS: Final[Mapping[str, str]] = {
    "check": "have the judges rule",
    "hint": "be told a little more",
    "solution": "have it acted out",
    "give up": "end it",
    "help": "show this list",
}


class Teller(Protocol):
    """What shows a chapter, and asks its reader."""

    def chapter(self, number: int, chapter: TourChapter) -> None:
        """Show a chapter's title."""

    def screen(self, screen: Screen) -> None:
        """Show a screen before its act. Return when the reader wants the act."""

    def measured(self, measured: Measured) -> None:
        """Show what came of the act. Return when the reader goes on."""

    def challenge(self, challenge: Challenge, acts: Mapping[str, Act], facts: Sequence[str]) -> None:
        """Show a challenge, the acts that its cluster takes, and what is up."""

    def next_act(self) -> str:
        """Return what the reader does next: an act, or one of `SAYINGS`."""

    def lines(self, lines: Sequence[str]) -> None:
        """Show what came of what the reader did."""

    def ruling(self, ruling: GoalRuling, challenge: Challenge) -> None:
        """Show how the challenge ended."""


def tell(
    number: int, chapter: TourChapter, teller: Teller, folder: Path, watch: Watch = lambda _run: nullcontext()
) -> ChapterTold:
    """Tell a chapter on a stage of its own. Its clusters' run folders are made in `folder`. `watch` follows each of them."""
    told = ChapterTold(chapter)
    with Stage(folder, watch=watch) as stage:
        teller.chapter(number, chapter)
        for screen in chapter.screens:
            teller.screen(screen)
            measured = None if screen.do is None else screen.do(stage)
            told.screens.append(ScreenTold(screen, measured))
            if measured is not None:
                teller.measured(measured)
        stage.end()
        told.ruling = _challenge(chapter.challenge, stage, teller, told.acts, f"{chapter.name}-challenge")
        stage.end()
        told.runs = [str(run) for run in stage.runs]
    return told


def _challenge(challenge: Challenge, stage: Stage, teller: Teller, done: list[str], name: str) -> GoalRuling:
    facts = stage.up(challenge.algorithm, challenge.nodes, name)
    acts = acts_for(stage)
    teller.challenge(challenge, acts, facts)
    hints = iter(challenge.hints)
    ruling = GoalRuling(False, "nothing was tried")
    while True:
        match teller.next_act().strip():
            case "":
                continue
            case "check":
                ruling = challenge.goal(stage)
                teller.lines([ruling.why])
                if ruling.solved:
                    break
            case "give up":
                ruling = challenge.goal(stage)
                break
            case "hint":
                teller.lines([next(hints, "there is no further hint; `solution` acts it out")])
            case "help":
                teller.lines([f"{one.form:22} {one.about}" for one in acts.values()])
                teller.lines([f"{saying:22} {about}" for saying, about in SAYINGS.items()])
            case "solution":
                for text in challenge.solution:
                    teller.lines([f"> {text}"])
                    _do(stage, text, done, teller.lines)
                ruling = challenge.goal(stage)
                teller.lines(["> check", ruling.why])
                break
            case text:
                _do(stage, text, done, teller.lines)
    teller.ruling(ruling, challenge)
    return ruling


def _do(stage: Stage, text: str, done: list[str], show: Callable[[Sequence[str]], object]) -> None:
    """Do an act, and show what came of it, or why it was not done."""
    try:
        lines = act(stage, text)
    except (BadInput, ConsensusError) as error:
        show([str(error)])
    else:
        done.append(text)
        show(lines)
