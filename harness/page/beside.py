"""Two views side by side, under the same acts: "the same moment, under Paxos"; or two runs, with their first differences.

Theory of operation
-------------------
Each view is a whole page, in a frame of its own. An act in one frame that means something in the other, too, is done in both at
the same time: a kill, a cut, a call. Its reply is that of the own frame; the other shows what came of it there. An act on one
message, or a look ahead, is done where it was clicked: another algorithm has other messages.

Each act leads to a pair of positions of two virtual twins. *Back* goes to the pair before.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from harness.page.act_table import UNDER_WAY_MAX
from harness.page.view import PageView
from harness.report.differences import first_differences

#: The acts that are done in both views.
SHARED: Final = (
    frozenset(("start", "kill", "suspend", "resume", "restart", "terminate", "lose_disk"))
    | frozenset(("isolate", "partition", "cut", "inject", "heal", "deliver_all", "pass"))
    | frozenset(("propose", "query", "put", "get", "delete", "acquire", "release"))
)
#: The acts that change nothing.
_LOOKS: Final = frozenset(("ask", "save", "keep_test", "replay"))

Do = Callable[[Any, Any], dict[str, Any]]


class Beside:
    """The acts of two views. `acts` has what does those of either."""

    def __init__(self, views: tuple[PageView, PageView], acts: tuple[Do, Do]) -> None:
        """Share the acts of two views."""
        self._views, self._own = views, acts
        self.acts = (lambda act, args: self._do(0, act, args), lambda act, args: self._do(1, act, args))
        self._pool = ThreadPoolExecutor(UNDER_WAY_MAX, "beside")
        self._lock = threading.RLock()
        self._pairs = [self._positions()]
        self._at = 0

    def close(self) -> None:
        """Take no more acts."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _do(self, side: int, act: Any, arguments: Any) -> dict[str, Any]:
        if act in ("back", "forward") and self._pairs[0] is not None:
            return self._move(side, -1 if act == "back" else 1)
        if act in ("go", "go_to_step") and self._pairs[0] is not None:
            return self._go(side, act, arguments)
        shared = isinstance(act, str) and (act in SHARED or act == "end")
        there = self._pool.submit(self._own[1 - side], act, self._there(side, act, arguments)) if shared else None
        reply = self._own[side](act, arguments)
        if there is not None:
            there.add_done_callback(lambda done: self._views[1 - side].stand(beside={"act": act, **done.result()}))
        if self._pairs[0] is not None and act not in _LOOKS:
            if there is not None:
                there.result()  # the twins go on together
            self._note()
        return reply

    def _there(self, side: int, act: str, arguments: Any) -> Any:
        """Return the arguments for the other view. A fault that is in force has another number there."""
        if act != "end" or not isinstance(arguments, dict):
            return arguments
        here, there = ([*self._in_force(view)] for view in (self._views[side], self._views[1 - side]))
        ended = next((fault for fault in here if fault["number"] == arguments.get("number")), None)
        same = [fault for fault in there if ended and fault["fault"] == ended["fault"]]
        alike = [fault for fault in same if ended and fault["arguments"] == ended["arguments"]] or same
        return {"number": alike[0]["number"] if alike else -1}

    @staticmethod
    def _in_force(view: PageView) -> list[Mapping[str, Any]]:
        standing = view.standing(-1)[1] or {}
        return list(standing.get("in_force") or ())

    # --- time, of two virtual twins -------------------------------------------------------------------------------------

    def _positions(self) -> tuple[int, int] | None:
        """Return the position of each twin; None if the views are no twins."""
        standing = [view.standing(-1)[1] or {} for view in self._views]
        if not all(standing_.get("twin") for standing_ in standing):
            return None
        return standing[0]["twin"]["position"], standing[1]["twin"]["position"]

    def _note(self) -> None:
        """Note the pair of positions after an act, if it is a new one. What had followed the pair before it is forgotten."""
        with self._lock:
            now = self._positions()
            if now is not None and now != self._pairs[self._at]:
                self._pairs[self._at + 1 :] = [now]
                self._at += 1

    def _move(self, side: int, way: int) -> dict[str, Any]:
        with self._lock:
            if not 0 <= self._at + way < len(self._pairs):
                return {"ok": False, "text": "nothing has happened yet" if way < 0 else "nothing has followed here yet"}
            self._at += way
            return self._to(side)

    def _to(self, side: int) -> dict[str, Any]:
        """Go to the present pair."""
        pair = self._pairs[self._at]
        assert pair is not None
        replies = [do("go", {"position": position}) for do, position in zip(self._own, pair, strict=True)]
        self._views[1 - side].stand(beside={"act": "go", **replies[1 - side]})
        return replies[side]

    def _go(self, side: int, act: str, arguments: Any) -> dict[str, Any]:
        """Go to a position, and in the other twin to the one that it had then; if it had none, stay there."""
        with self._lock:
            reply = self._own[side](act, arguments)
            now = self._positions()
            assert now is not None
            of_pairs = [number for number, pair in enumerate(self._pairs) if pair and pair[side] == now[side]]
            if not reply["ok"] or not of_pairs:
                self._note()
                return reply
            self._at = of_pairs[-1]
            return self._to(side)


def compare(views: tuple[PageView, PageView]) -> None:
    """Tell the views of two recorded runs their first differences."""
    events = [view.log.read(0, view.log.end).events for view in views]
    found = first_differences(*events)
    for side, view in enumerate(views):
        view.about |= {
            "beside": views[1 - side].about.get("run"),
            "differences": [one.seen_from(side) for one in found],
        }
