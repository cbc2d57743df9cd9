"""Tells the tour to browsers: what has been told stands in one state, and what a reader presses goes to the chapter.

Theory of operation
-------------------
A chapter is told by `harness.tour.telling.tell`, in a thread of its own, as in a terminal. The teller keeps what has been told as
plain data, and calls `changed` with it; the page draws it. Where the chapter waits for its reader, the state has `waits`, and a
`turn`: the number of this wait. A press names the turn that it answers. So of two presses, or of two browsers, one counts.

| `waits` | what the reader can do |
|---|---|
| `act` | have the act of this step done |
| `next` | go on |
| `say` | at the challenge: acts, `check`, `hint`, `solution`, `give up` |
| None | nothing: an act is under way |
"""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from harness.tour.acts import Act
from harness.tour.story import Challenge, GoalRuling, Measured, Screen, TourChapter
from node.contract import BadInput

#: How many lines of a challenge the page shows; the oldest go first.
LINES_MAX: Final = 200
#: How many acts of a challenge may wait for their turn.
WAITING_MAX: Final = 16


class Left(Exception):
    """The reader has left the chapter."""


class PageTeller:
    """Tells one chapter. `changed` gets the state; `skips` is how many steps are gone through without the reader."""

    def __init__(self, changed: Callable[[dict[str, Any]], None], skips: int = 0) -> None:
        self._changed, self._skips = changed, skips
        self._said: queue.Queue[str | None] = queue.Queue(WAITING_MAX)
        self._lock = threading.RLock()
        #: Whether the reader has left: the chapter ends where it next waits.
        self.has_left = False
        self._state: dict[str, Any] = {"turn": 0, "waits": None, "screens": [], "challenge": None}

    # --- what the reader does -------------------------------------------------------------------------------------------

    def press(self, turn: int) -> None:
        """Have the act of a step done, or go on. Raises BadInput if the chapter does not wait for this press any more."""
        with self._lock:
            if self._state["waits"] not in ("act", "next") or turn != self._state["turn"]:
                raise BadInput("this step is under way, or done already")
            self._state["waits"] = None
        self._said.put("")

    def say(self, text: str) -> None:
        """Do something at the challenge. Raises BadInput if there is no challenge now, or too much waits."""
        challenge = self._state["challenge"]
        if challenge is None or challenge["ruling"]:
            raise BadInput("your turn comes with the challenge, at the end of a chapter")
        try:
            self._said.put_nowait(text)
        except queue.Full:
            raise BadInput(f"{WAITING_MAX} acts wait already: wait for one of them") from None

    def leave(self) -> None:
        """End the chapter where it next waits for its reader."""
        self.has_left = True
        with self._lock:
            while not self._said.empty():
                self._said.get_nowait()
            self._said.put_nowait(None)

    # --- what the chapter tells: see `harness.tour.telling.Teller` --------------------------------------------------------

    def chapter(self, number: int, chapter: TourChapter) -> None:
        """Show a chapter's title."""
        self._tell(number=number, chapter=chapter.name, title=chapter.title, steps=len(chapter.screens) + 1)

    def screen(self, screen: Screen) -> None:
        """Show a screen before its act."""
        told = {"title": screen.title, "text": screen.text, "act": screen.act, "measured": None}
        self._state["screens"].append(told)
        self._wait("act" if screen.act else "next")
        if not screen.act:
            self._skips -= 1

    def measured(self, measured: Measured) -> None:
        """Show what came of the act."""
        found = {"facts": list(measured.facts), "meaning": measured.meaning, "shown": measured.shown}
        self._state["screens"][-1]["measured"] = found
        self._wait("next")
        self._skips -= 1

    def challenge(self, challenge: Challenge, acts: Mapping[str, Act], facts: Sequence[str]) -> None:
        """Show a challenge."""
        self._tell(
            challenge={
                "task": challenge.task,
                "facts": list(facts),
                "acts": [[one.form, one.about] for one in acts.values()],
                "lines": [],
                "ruling": None,
            }
        )

    def next_act(self) -> str:
        """Return what the reader does next."""
        self._state["waits"] = "say" if self._said.empty() else None
        self._tell()
        text = self._take()
        self._line("you", text)
        return text

    def lines(self, lines: Sequence[str]) -> None:
        """Show what came of what the reader did."""
        for line in lines:
            self._line("you" if line.startswith("> ") else "line", line.removeprefix("> "))

    def ruling(self, ruling: GoalRuling, challenge: Challenge) -> None:
        """Show how the challenge ended."""
        ended = {"solved": ruling.solved, "why": ruling.why, "possible": challenge.possible, "after": challenge.after}
        self._state["challenge"]["ruling"] = ended
        self._tell(waits=None)

    # --- how ------------------------------------------------------------------------------------------------------------

    def about_to_begin_challenge(self) -> bool:
        """Return whether every screen was told: the cluster that starts now is that of the challenge."""
        return len(self._state["screens"]) + 1 == self._state.get("steps")

    def _tell(self, **more: Any) -> None:
        self._state |= more
        self._changed(self._state)

    def _wait(self, for_what: str) -> None:
        if self._skips > 0:
            self._tell()
            if self.has_left:
                raise Left
            return
        with self._lock:
            self._state["turn"] += 1
            self._state["waits"] = for_what
        self._tell()
        self._take()
        self._tell()

    def _take(self) -> str:
        text = self._said.get()
        if text is None or self.has_left:
            raise Left
        self._state["waits"] = None
        return text

    def _line(self, kind: str, text: str) -> None:
        lines = self._state["challenge"]["lines"]
        lines.append([kind, text])
        del lines[:-LINES_MAX]
        self._tell()
