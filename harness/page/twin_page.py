"""The virtual twin on the page: how it stands, what can still be decided, and the schedules that are kept.

Whatever takes long, a search or a run on real processes, works on a copy of its own, and other acts go on meanwhile.
"""

import threading
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

from harness.page.act_table import Acts, ActTable
from harness.page.event_log import EventLog
from harness.page.twin import Twin
from harness.page.twin_acts import TwinActs
from harness.page.twin_picture import STEP_US
from harness.page.twin_run import PossibleStep
from harness.page.twin_schedules import KeptSchedules
from harness.page.view import PageView
from harness.replay.schedule import Schedule, name_of
from harness.report.about import about_cluster
from harness.report.events import cut, message_event, value_text
from harness.virtual.fault_model import SOUND, FaultModel
from harness.virtual.outlook import BUDGET, Chance, Outlook, OutlookLimits
from harness.virtual.search import Budget
from harness.virtual.steps import Propose, Step, plain
from node.contract import Algorithm, BadInput, Value
from node.wording import count

#: How many events of one way the page is told.
_EVENTS_MAX: Final = 200_000
#: How many messages and other steps the page lists.
_LISTED_MAX: Final = 300
#: The buttons of a node and of a link.
_BUTTONS: Final = ("kill", "suspend", "resume", "restart", "isolate", "lose-disk", "cut-both", "cut-one", "cut-back")
#: The steps that the page has buttons for, beside the messages and the nodes.
_LISTED: Final = ("timer", "own", "give up", "boot", "crash", "lose disk", "repeat")


class VirtualTwin(ActTable):
    """A twin with its view and its acts. Any thread may call `do`."""

    def __init__(
        self,
        algorithm: type[Algorithm],
        nodes: int,
        root: Path,
        fault_model: FaultModel = SOUND,
        budget: Budget = BUDGET,
    ) -> None:
        """Make a twin whose nodes have booted.

        Args:
            algorithm: what every node runs.
            nodes: how many nodes there are.
            root: the folder below which schedules and their runs are kept.
            fault_model: how nodes and disks differ from real nodes on good disks.
            budget: how far to look ahead.
        """
        log = EventLog(events_max=_EVENTS_MAX)
        self._twin = Twin(algorithm, nodes, log, fault_model)
        self._lock = threading.RLock()
        self._chances: dict[int, dict[str, Any]] = {}  # by position, what can still be decided
        self._ways: dict[tuple[int, str], tuple[Step, ...]] = {}
        self._searching, self._budget = False, budget
        self._kept = KeptSchedules(root, self._stand)
        name = name_of(algorithm)
        self.view = PageView(
            log,
            {
                **about_cluster(name, self._twin.members, cluster=None, faults=[], live=True),
                "virtual": True,
                "acts": list(_BUTTONS),
                "step_us": STEP_US,
                "predicates": self._twin.run.picture.predicates,
            },
            folder=lambda: self._kept.last_run,
        )
        self.view.stand(ended=None, in_force=[], run=None, trouble=None, held_count=0, held=[])
        super().__init__({**TwinActs(self._twin, self._lock, self._tell).table(), **self._table()}, lambda: None)
        self._stand()

    def _table(self) -> Acts:
        return {
            "ask": (self._ask, {"boots": bool, "crashes": int}),
            "follow": (self._follow, {"value": str}),
            "save": (self._save, {}),
            "keep_test": (self._keep_test, {}),
            "replay": (self._replay, {}),
        }

    def open(self, schedule: Schedule) -> None:
        """Take every step of a schedule. Raises BadSchedule if one cannot happen."""
        steps = schedule.decoded()
        with self._lock:
            self._twin.follow(steps)
            self._tell()

    # --- how it stands ------------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        self._twin.tell()
        self._stand()

    def _stand(self) -> None:
        """Tell the page how the present position stands."""
        with self._lock:
            twin, run = self._twin, self._twin.run
            held = [
                {
                    **message_event(run.picture.drawn(one.number, one.packet)),
                    "index": one.number,
                    "rule": "",
                    "ready": run.does(one.packet.to),
                }
                for one in list(run.on_their_way.values())[:_LISTED_MAX]
            ]
            cuts = sorted(run.conditions.cut)
            possible = run.possible()
            self.view.stand(
                held=held,
                held_count=len(run.on_their_way),
                in_force=[{"number": 0, "fault": "cut", "arguments": {"links": cuts}}] if cuts else [],
                run=self._kept.last_run and self._kept.last_run.name,
                twin={
                    "position": twin.at.number,
                    "depth": twin.at.depth,
                    "now_s": round(run.now_s, 4),
                    "forward": bool(twin.at.children),
                    "count": sum(step.kind in ("deliver", *_LISTED) for step in possible),
                    "next": list(_listed(possible)),
                    "tree": list(twin.tree()),
                    "so_far": [
                        {"step": position.depth, "text": cut(position.move.text)}
                        for position in twin.at.path()[-_LISTED_MAX:]
                        if position.move is not None
                    ],
                    "searching": self._searching,
                    "chances": self._chances.get(twin.at.number),
                    "kept": self._kept.of(twin.at.number),
                },
            )

    # --- what can still be decided ------------------------------------------------------------------------------------

    def _ask(self, boots: bool, crashes: int) -> str:
        """Look for a schedule to each value's decision, from here on."""
        if self._twin.algorithm.keeps_log:
            raise BadInput("a log decides without end: this question is for a variable that is set once")
        if not 0 <= crashes <= len(self._twin.members):
            raise BadInput(f"{crashes} crashes: give 0 to {len(self._twin.members)}")
        with self._lock:
            if self._searching:
                raise BadInput("a search is under way")
            position, conditions, proposed = self._twin.at.number, self._twin.run.conditions, self._proposed()
            if not proposed:
                raise BadInput("no client has proposed anything yet")
            cluster = deepcopy(self._twin.run.cluster)
            self._searching = True
            self._stand()
        limits = OutlookLimits(boots, crashes, cut=conditions.cut, still=conditions.suspended)
        chances: dict[str, Chance] = {}
        try:
            outlook = Outlook(cluster, limits)
            chances = {text: outlook.of(value, self._budget) for text, value in proposed.items()}
        finally:
            with self._lock:
                self._searching = False
                if chances:
                    self._chances[position] = {"limits": limits.lines(), "values": [*map(_plain, chances.items())]}
                    self._ways |= {(position, text): chance.way for text, chance in chances.items() if chance.way}
                self._stand()
        return "; ".join(f"{text}: {chance}" for text, chance in chances.items())

    def _proposed(self) -> dict[str, Value]:
        """Return the values that clients have proposed, by the text that people read."""
        steps = [done.step for done in self._twin.run.cluster.happened]
        return {value_text(plain(step.value)): step.value for step in steps if isinstance(step, Propose)}

    def _follow(self, value: str) -> str:
        """Go on by the schedule that was found for a value."""
        with self._lock:
            way = self._ways.get((self._twin.at.number, value))
            if way is None:
                raise BadInput(f"no schedule to {cut(value, 40)} was found from here")
            try:
                moves = self._twin.follow(way)
            finally:
                self._tell()
            return f"{count(moves, 'step')} to {value}"

    # --- schedules ----------------------------------------------------------------------------------------------------

    def _present(self) -> tuple[int, Schedule]:
        with self._lock:
            return self._twin.at.number, self._twin.schedule()

    def _save(self) -> str:
        return self._kept.save(*self._present())

    def _keep_test(self) -> str:
        return self._kept.keep_test(*self._present())

    def _replay(self) -> str:
        return self._kept.replay(*self._present())


def _listed(possible: Sequence[PossibleStep]) -> Iterator[dict[str, str]]:
    listed = [one for one in possible if one.kind in _LISTED]
    for one in listed[:_LISTED_MAX]:
        yield {"step": one.name, "kind": one.kind, "text": cut(one.text)}


def _plain(entry: tuple[str, Chance]) -> dict[str, Any]:
    value, chance = entry
    can = "yes" if chance.way is not None else "no" if chance.is_never else "unknown"
    return {"value": value, "can": can, "text": str(chance), "story": list(chance.story), "states": chance.states}
