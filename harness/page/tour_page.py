"""The tour on a page: tells chapters to browsers, and shows them each cluster that a chapter starts.

Theory of operation
-------------------
One thread tells one chapter at a time (`harness.tour.telling.tell`, by a `PageTeller`). Each cluster that it starts gets a
`LiveView`, which asks no supervisor: this program holds the cluster. The page then shows that view, until the next one. A cluster
that has ended stays on the page, with its slider. What the tour tells stands with each view, so that every browser has it.

Rules
-----
1. Only at a challenge does a click do anything to a cluster, and then it is the line that a reader would type.
2. Whatever ends a chapter ends its cluster: its end, another chapter, Ctrl-C.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

from cluster.errors import ConsensusError, NotUp
from harness.page.event_log import EventLog
from harness.page.live_view import LiveView
from harness.page.tour_acts import ACTS, as_line
from harness.page.tour_teller import Left, PageTeller
from harness.page.view import PageView
from harness.report.about import about_cluster
from harness.report.events import cut
from harness.runs.experiment import Experiment
from harness.runs.live_verbs import look_at_run
from harness.tour.chapters import CHAPTERS
from harness.tour.telling import tell
from node.algorithms import BUILT_IN, load_algorithm
from node.contract import BadInput

_STEPS: Final = {chapter.name: len(chapter.screens) + 1 for chapter in CHAPTERS}


class TourPage:
    """The tour. `view` is what browsers look at first; `on_view` is called with each further one."""

    def __init__(self, new_folder: Callable[[str], Path]) -> None:
        """Prepare the tour. `new_folder` makes the folder for the runs of a chapter, by its name."""
        self._new_folder = new_folder
        self.on_view: Callable[[PageView], None] = lambda _view: None
        self.view = _no_cluster()
        self._nodes: tuple[str, ...] = ()
        self._live: LiveView | None = None
        self._teller: PageTeller | None = None
        self._wanted: tuple[str, int] | None = None
        self._changing = threading.Condition()
        self._is_closing = False
        self._solved: set[str] = set()
        self._tour: dict[str, Any] = {}
        self._stand({"chapter": None})
        self._thread = threading.Thread(target=self._keep_telling, name="tour", daemon=True)
        self._thread.start()

    # --- what a reader does -----------------------------------------------------------------------------------------------

    def do(self, act: Any, arguments: Any) -> dict[str, Any]:
        """Do what a browser asks. Returns `ok`, and `text`: what came of it, or why it was refused."""
        try:
            match act, arguments:
                case "tour-open", {"chapter": str(chapter), "step": int(step)}:
                    self._open(chapter, step)
                case "tour-leave", {}:
                    self._open(None, 1)
                case "tour-press", {"turn": int(turn)}:
                    self._told().press(turn)
                case "tour-say", {"text": str(text)}:
                    self._told().say(cut(text))
                case str(act), dict(arguments) if act in ACTS:
                    text = as_line(act, arguments, self._nodes)
                    self._told().say(text)
                    return {"ok": True, "text": text}
                case _:
                    return _refused("the tour has no such act")
        except BadInput as error:
            return _refused(str(error))
        return {"ok": True, "text": ""}

    def _told(self) -> PageTeller:
        if self._teller is None:
            raise BadInput("no chapter is told just now: choose one")
        return self._teller

    def _open(self, chapter: str | None, step: int) -> None:
        """Tell a chapter, from this step on, which is a number from 1. None: the list of the chapters."""
        if chapter is not None and chapter not in _STEPS:
            raise BadInput(f"there is no chapter {cut(chapter, 40)!r}: there are {', '.join(_STEPS)}")
        with self._changing:
            self._wanted = None if chapter is None else (chapter, min(max(step, 1), _STEPS[chapter]))
            if self._teller is not None:
                self._teller.leave()
            elif chapter is None:
                self._stand({"chapter": None})
            self._changing.notify()

    def close(self) -> None:
        """End the chapter, with its cluster. Returns when nothing of it runs any more."""
        with self._changing:
            self._is_closing, self._wanted = True, None
            if self._teller is not None:
                self._teller.leave()
            self._changing.notify()
        self._thread.join()

    # --- the thread that tells --------------------------------------------------------------------------------------------

    def _keep_telling(self) -> None:
        while True:
            with self._changing:
                self._changing.wait_for(lambda: self._wanted is not None or self._is_closing)
                if self._wanted is None:
                    return
                name, step = self._wanted
                self._wanted = None
                teller = self._teller = PageTeller(self._stand, step - 1)
            self._tell(name, teller)

    def _tell(self, name: str, teller: PageTeller) -> None:
        number, chapter = next((place, one) for place, one in enumerate(CHAPTERS, 1) if one.name == name)
        trouble = None
        self._nodes = ()
        self._show(_no_cluster())  # that of the last chapter is not what this one speaks of
        try:
            told = tell(number, chapter, teller, self._new_folder(f"tour-{name}"), lambda run: self._watch(run, teller))
            if told.ruling is not None and told.ruling.solved == chapter.challenge.possible:
                self._solved.add(name)
            self._stand({})
        except Left:
            pass
        except (ConsensusError, BadInput, OSError, ValueError) as error:  # such as an act that was awaited in vain
            trouble = cut(f"{type(error).__name__}: {error}")
        with self._changing:
            self._teller = None
            if trouble is not None:
                self._stand({"waits": None, "trouble": trouble})
            elif teller.has_left and not self._wanted:
                self._stand({"chapter": None})

    def _stand(self, state: dict[str, Any]) -> None:
        """Note what stands on the page beside the cluster: the state of the chapter, and what was solved."""
        chapters = [
            {**chapter.outline(number), "solved": chapter.name in self._solved}
            for number, chapter in enumerate(CHAPTERS, 1)
        ]
        told = {} if state.get("chapter", "") is None else self._tour
        self._tour = {**told, "trouble": None, **state, "chapters": chapters}
        self.view.stand(tour=deepcopy(self._tour))

    def _show(self, view: PageView) -> None:
        view.stand(tour=deepcopy(self._tour))
        self.view = view
        self.on_view(view)

    @contextmanager
    def _watch(self, run: Experiment, teller: PageTeller) -> Iterator[None]:
        """Show a cluster on the page, from now until it ends."""
        lookout = _Held(run)
        about = about_cluster(
            run.algorithm,
            run.nodes,
            cluster=run.spec.settings.cluster,
            original=_original(run.algorithm),
            faults=[],
            live=True,
            tour=True,
            read_only=not teller.about_to_begin_challenge(),
            acts=sorted(ACTS),
        )
        live = LiveView(lambda: lookout, about)
        live.start()
        self._nodes = run.nodes
        self._show(live.view)
        try:
            yield
        finally:
            live.close()
            live.view.stand(over="ended; the slider goes back", held=[], held_count=0)


class _Held:
    """Answers the looks at a run that this program holds."""

    def __init__(self, run: Experiment) -> None:
        self._run = run
        self.pid = run.network.proxy.pid

    def ask(self, verb: str, _timeout_s: float, /, **arguments: Any) -> Any:
        assert verb == "look"
        try:
            seen = look_at_run(self._run, **arguments)
        except ConsensusError as error:
            raise NotUp(str(error)) from None
        return {**seen, "in_force": [], "trouble": None}


def _refused(why: str) -> dict[str, Any]:
    return {"ok": False, "text": cut(why)}


def _original(algorithm: str) -> str:
    """Return the shipped algorithm of which this one is a copy with something missing, or its own name."""
    loaded = load_algorithm(algorithm)
    return next((name for name in BUILT_IN if issubclass(loaded, load_algorithm(name))), algorithm)


def _no_cluster() -> PageView:
    about = {"algorithm": "the tour", "nodes": [], "keeps_log": False, "types": [], "predicates": [], "faults": []}
    view = PageView(EventLog(), {**about, "live": False, "tour": True, "verdicts": {}, "gaps": []})
    view.stand(ended=None, held=[], held_count=0, in_force=[], run=None, trouble=None)
    return view
