"""The view of a run, from its folder alone: calls, messages and faults as they were recorded, and what they show of the nodes.

A run's record has no statuses of nodes. So how a node stood follows from what it sent (`harness/report/changes.py`), and the page
says so. Nothing is run again.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from harness.page.about import about_cluster
from harness.page.event_log import Event, EventLog
from harness.page.events import call_event, cut, fate_event, fault_event, message_event, node_event, value_text
from harness.page.predicates import STAYS, Predicates
from harness.page.view import PageView
from harness.report.changes import NodeChange, changes
from harness.report.drawn_run import DrawnFault, RunFolder
from harness.report.predicates import Predicate, predicates
from harness.report.reading import read_run
from harness.report.thinning import thin
from node.algorithms import load_algorithm

#: How many events are kept: a record is thinned to fewer.
EVENTS_MAX: Final = 200_000
#: How many calls are shown.
_CALLS_MAX: Final = 10_000
#: The faults during which a node's process is there and does nothing.
_PAUSES: Final = frozenset({"suspend", "starve", "leader-slow-cpu"})
#: The algorithm of a run whose results do not name it.
_UNKNOWN: Final = "a run"


def recorded_view(folder: Path) -> PageView:
    """Return the view of a run folder. What cannot be read of it is named in `gaps`, and is no error."""
    run = read_run(folder)
    algorithm = str(run.results.get("algorithm", _UNKNOWN))
    log = EventLog(events_max=EVENTS_MAX)
    try:
        about = about_cluster(algorithm, run.nodes)
    except ValueError:  # its algorithm is not here
        about = {"algorithm": algorithm, "nodes": list(run.nodes), "keeps_log": False, "types": []}
    every_change = changes(run)
    watched = predicates(run, every_change)
    stays = _decisions_stay(run, algorithm)
    every_event = [*_events(run, every_change, watched), *(stays or [])]
    log.add(sorted(every_event, key=lambda event: int(event["t"])))
    verdicts = {
        name: {"status": str(verdict.get("status")), "evidence": cut(str(verdict.get("evidence", "")))}
        for name, verdict in run.verdicts.items()
    }
    about |= {
        "predicates": [*(predicate.name for predicate in watched), *([STAYS] if stays is not None else [])],
        "faults": [],
        "live": False,
        "run": folder.name,
        "verdicts": verdicts,
    }
    view = PageView(log, {**about, "gaps": [cut(gap) for gap in run.gaps]}, folder=lambda: folder)
    view.stand(ended=None, held=[], held_count=0, in_force=[], run=folder.name, trouble=None)
    return view


def _decisions_stay(run: RunFolder, algorithm: str) -> list[Event] | None:
    """Return the event of the answer that shows that a decision did not stay, if there is one; None if no run can show it."""
    try:
        seen = Predicates(load_algorithm(algorithm), len(run.nodes))
    except ValueError:  # its algorithm is not here
        return None
    if STAYS not in seen.names:
        return None
    answered = [(call.ended, call) for call in run.operations if call.ended is not None and call.outcome == "ok"]
    for ended, call in sorted(answered, key=lambda one: one[0]):
        seen.answer(call.began // 1000, ended // 1000, call.f, call.key, call.answer, call.node)
    return [event for event in seen.take_broken() if event["name"] == STAYS]


def _events(run: RunFolder, every_change: Sequence[NodeChange], watched: Sequence[Predicate]) -> Iterator[Event]:
    moments = [time for fault in run.faults for time in (fault.began, fault.ended) if time is not None]
    kept, left_out = thin(run.messages, moments)
    for call in run.operations[:_CALLS_MAX]:
        yield call_event(call)
    for number, fault in enumerate(run.faults):
        yield fault_event(fault, run.nodes, f"{number}")
    for message in kept:
        yield message_event(message)
        for time, fate in message.later:
            yield fate_event(time // 1000, message.index, fate)
    if left_out:
        yield {"k": "thinned", "t": run.span.first // 1000, "count": sum(left_out.values())}
    for one in watched:
        if one.broken is not None:
            yield {"k": "predicate", "t": one.broken // 1000, "name": one.name, "evidence": cut(one.evidence)}
    yield from _nodes(run, every_change)


def _nodes(run: RunFolder, every_change: Sequence[NodeChange]) -> Iterator[Event]:
    """Yield an event for each change of a node, in the order of time. The record and the receipts of faults show the changes."""
    nodes = {node: _NodeSoFar(node) for node in run.nodes}
    for node in nodes.values():
        yield node.event(run.span.first)
    strikes = [
        (time, fault, begins)
        for fault in run.faults
        if fault.mark is None  # else the process goes on
        for time, begins in ((fault.began, True), (fault.ended, False))
        if time is not None
    ]
    entries: list[tuple[int, NodeChange | tuple[DrawnFault, bool]]] = [(each.time, each) for each in every_change]
    entries += [(time, (fault, begins)) for time, fault, begins in strikes]
    for time, entry in sorted(entries, key=lambda one: one[0]):
        if isinstance(entry, NodeChange):
            names = [entry.node]
            nodes[entry.node].shows(entry)
        else:
            fault, begins = entry
            names = [name for name in fault.nodes if name in nodes]
            for name in names:
                nodes[name].strikes(fault, begins=begins)
        for name in names:
            yield nodes[name].event(time)


class _NodeSoFar:
    """What the record has shown of a node so far."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._in_force: dict[str, str] = {}  # by fault in force: its name
        self._facts: dict[str, Any] = {}  # what is not about one variable
        self._vars: dict[str, dict[str, Any]] = {}
        self._latest = ""

    def strikes(self, fault: DrawnFault, *, begins: bool) -> None:
        if begins:
            self._in_force[f"{fault.name}{fault.began}"] = fault.name
        else:
            self._in_force.pop(f"{fault.name}{fault.began}", None)

    def shows(self, change: NodeChange) -> None:
        if change.field == "role" or not change.variable:
            facts = self._facts
        else:
            facts = self._vars.setdefault(change.variable, {})
            self._latest = change.variable
        match change.field:
            case "holds":
                facts["vote"] = value_text(change.value)
            case "decided":
                facts["decided"] = value_text(change.value)
            case "role":
                facts |= {"role": change.value, "leads": change.value == "leader"}
            case "ballot":
                round_, _, node = str(change.value).partition("·")
                facts["ballot"] = [int(round_), node]
            case "log":
                facts["commit"] = facts["applied"] = int(str(change.value).rpartition(" ")[2])

    def event(self, time_ns: int) -> Event:
        """Return the event that shows the node as it is now."""
        names = list(self._in_force.values())
        state = "up" if not names else "suspended" if set(names) <= _PAUSES else "down"
        process = {"node": self._node, "state": state, "how": ", ".join(names) or "up", "pid": None, "boots": 0}
        event = node_event(time_ns // 1000, process, None)
        facts = {name: {**self._facts, **more} for name, more in (self._vars or {"": {}}).items()}
        return {**event, "answers": state == "up", "latest": self._latest, "vars": facts}
