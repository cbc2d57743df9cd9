"""What a chapter of the tour is: data, and functions that act on a stage. Nothing here knows how it is shown.

Theory of operation
-------------------
A chapter has screens and a challenge. A screen has a text, and mostly an act: a function that does something to real processes
on the `Stage` and returns what it measured (`Measured`). The text comes before the act, so it says what will be done. The act's
own result says what came of it, from what was measured: the facts, and what they mean. A challenge has a task, and a goal: a
function that looks at what the reader's acts have brought about and rules whether the task is solved.

Rules
-----
1. No text states what was measured. If an act did not show what its screen is about, it says so (`shown` is False).
2. A chapter uses the stage alone, and leaves nothing of it to the next chapter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.tour.stage import Stage


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of an act.

    Attributes:
        facts: what was measured, one line each.
        meaning: what the facts mean, in a few sentences.
        shown: whether they show what the screen is about.
    """

    facts: Sequence[str]
    meaning: str
    shown: bool = True


@dataclass(frozen=True, slots=True)
class Screen:
    """One step of a chapter.

    Attributes:
        title: a few words.
        text: paragraphs, with an empty line between two.
        act: what the act does, for the line before it; "" for a screen without one.
        do: the act.
    """

    title: str
    text: str
    act: str = ""
    do: Callable[[Stage], Measured] | None = None


@dataclass(frozen=True, slots=True)
class GoalRuling:
    """What the judges say of a challenge: whether it is solved, and why, in a sentence."""

    solved: bool
    why: str


@dataclass(frozen=True, slots=True)
class Challenge:
    """A task for the reader, at a cluster of its own.

    Attributes:
        task: what to bring about.
        algorithm: what the cluster runs.
        nodes: how many nodes it has.
        goal: rules whether it is solved.
        hints: what helps, one after the other.
        solution: acts that solve it, or an honest attempt if it cannot be solved.
        possible: whether it can be solved.
        after: what it teaches, once it is solved or given up.
    """

    task: str
    algorithm: str
    nodes: int
    goal: Callable[[Stage], GoalRuling]
    hints: Sequence[str]
    solution: Sequence[str]
    after: str
    possible: bool = True


@dataclass(frozen=True, slots=True)
class TourChapter:
    """One chapter.

    Attributes:
        name: one word for the command line.
        title: what it is about.
        screens: its steps.
        challenge: its task at the end.
        more: the page of the documentation that goes on from here.
    """

    name: str
    title: str
    screens: Sequence[Screen]
    challenge: Challenge
    more: str = ""

    def outline(self, number: int) -> dict[str, Any]:
        """Return the chapter's line of the list of chapters, in which it has this number, as plain data."""
        return {
            "number": number,
            "name": self.name,
            "title": self.title,
            "screens": [screen.title for screen in self.screens],
            "challenge": self.challenge.task,
        }


@dataclass(slots=True)
class ScreenTold:
    """A screen as it was told: its texts, and what was measured."""

    screen: Screen
    measured: Measured | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data for programs."""
        told: dict[str, Any] = {"title": self.screen.title, "text": self.screen.text, "act": self.screen.act}
        if self.measured is not None:
            found = self.measured
            told["measured"] = {"facts": list(found.facts), "meaning": found.meaning, "shown": found.shown}
        return told


@dataclass(slots=True)
class ChapterTold:
    """A chapter as it was told."""

    chapter: TourChapter
    screens: list[ScreenTold] = field(default_factory=list)
    acts: list[str] = field(default_factory=list)
    ruling: GoalRuling | None = None
    runs: list[str] = field(default_factory=list)

    @property
    def shown(self) -> bool:
        """Whether every act showed what its screen is about, and the challenge ended as it can."""
        acted = [screen.measured for screen in self.screens if screen.measured is not None]
        ended = self.ruling is not None and self.ruling.solved == self.chapter.challenge.possible
        return all(measured.shown for measured in acted) and ended

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data for programs."""
        challenge: dict[str, Any] = {"task": self.chapter.challenge.task, "acts": self.acts}
        if self.ruling is not None:
            challenge |= {"solved": self.ruling.solved, "why": self.ruling.why}
        return {
            "name": self.chapter.name,
            "title": self.chapter.title,
            "screens": [screen.to_json() for screen in self.screens],
            "challenge": challenge,
            "shown": self.shown,
            "runs": self.runs,
        }
