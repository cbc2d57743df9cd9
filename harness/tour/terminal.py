"""Shows the tour in a terminal: text, Enter between the steps, and a prompt at a challenge.

Rules
-----
1. Where there is no terminal to press Enter at, or the reader wants no waiting, nothing waits, and each challenge is solved by
   its own solution.
2. Everything goes through `show`, a line at a time, so that it can be shown elsewhere, or nowhere.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from harness.tour.acts import Act
from harness.tour.story import Challenge, GoalRuling, Measured, Screen, TourChapter

_RULE: Final = "─" * 60


class TerminalTeller:
    """Tells a chapter by lines of text. `ask` shows a prompt and returns what the reader types; None for no waiting."""

    def __init__(self, show: Callable[[str], object], ask: Callable[[str], str] | None) -> None:
        self._show, self._ask = show, ask

    def chapter(self, number: int, chapter: TourChapter) -> None:
        self._lines("", _RULE, f"Chapter {number}: {chapter.title}", _RULE)

    def screen(self, screen: Screen) -> None:
        self._lines("", f"## {screen.title}", "")
        self._paragraphs(screen.text)
        if screen.act:
            self._lines("", f"→ {screen.act}")
        self._wait("Enter does it" if screen.act else "Enter goes on")

    def measured(self, measured: Measured) -> None:
        self._lines("", *(f"  · {fact}" for fact in measured.facts), "")
        self._paragraphs(measured.meaning)
        self._wait("Enter goes on")

    def challenge(self, challenge: Challenge, acts: Mapping[str, Act], facts: Sequence[str]) -> None:
        self._lines("", "## Your turn", "")
        self._paragraphs(challenge.task)
        self._lines("", *(f"  · {fact}" for fact in facts), "")
        self._paragraphs(
            f"You can say: {', '.join(one.form for one in acts.values())}; and check, hint, solution, give up, help."
        )

    def next_act(self) -> str:
        return "solution" if self._ask is None else self._ask("tour> ")

    def lines(self, lines: Sequence[str]) -> None:
        self._lines(*(line if line.startswith(">") else f"  {line}" for line in lines))

    def ruling(self, ruling: GoalRuling, challenge: Challenge) -> None:
        if ruling.solved:
            self._lines(
                "",
                "✓ solved."
                if challenge.possible
                else "✗ solved, and it should have been impossible: please report it.",
            )
        else:
            self._lines("", "Not solved." if challenge.possible else "Not solved: as it should be.")
        self._paragraphs(challenge.after)

    def _wait(self, what: str) -> None:
        if self._ask is not None:
            self._ask(f"\n[{what}] ")

    def _paragraphs(self, text: str) -> None:
        for number, paragraph in enumerate(text.split("\n\n")):
            self._lines(*([""] if number else []), paragraph)

    def _lines(self, *lines: str) -> None:
        for line in lines:
            self._show(line)
