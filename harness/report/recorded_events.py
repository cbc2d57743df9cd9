"""The events of a recorded run (`events.py`): its calls, messages and faults, and what they show of the nodes.

A record has no statuses of nodes. So how a node stood follows from what it sent (`changes.py`), and from the receipts of faults.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from harness.checkers.evidence import RunEvidence
from harness.checkers.invariants import broken_promises
from harness.report.changes import NodeChange, changes
from harness.report.drawn_run import DrawnFault, RunFolder
from harness.report.events import Event, call_event, cut, fate_event, fault_event, message_event, node_event, value_text
from harness.report.predicates import AGREEMENT, CHOSEN, PROMISES, REPLICAS, STAYS, TOKENS, Predicates
from harness.report.thinning import thin
from node.algorithms import load_algorithm
from node.contract import Algorithm

#: How many calls the events have at most, beside the witnesses.
CALLS_MAX: Final = 10_000
#: Beyond so many lines of the record, the promises are not looked at: each look takes seconds.
LINES_MAX: Final = 60_000
#: The faults during which a node's process is there and does nothing.
_PAUSES: Final = frozenset({"suspend", "starve", "leader-slow-cpu"})


@dataclass(frozen=True, slots=True)
class RecordedEvents:
    """What a run folder shows.

    Attributes:
        events: all of it, in the order of time.
        predicates: the promises that this run can show, kept or broken.
        left_out: how many messages have no event, by type, because there are too many.
        calls_left_out: how many calls have none.
        changes: what the record shows of the nodes.
    """

    events: list[Event]
    predicates: list[str]
    left_out: Mapping[str, int]
    calls_left_out: int
    changes: list[NodeChange]


def recorded_events(run: RunFolder) -> RecordedEvents:
    """Return the events of a run. What cannot be looked at adds a sentence to `run.gaps`."""
    witnesses = run.witnesses
    moments = [time for fault in run.faults for time in (fault.began, fault.ended)]
    moments += [time for call in run.operations if call.index in witnesses for time in (call.began, call.ended)]
    kept, left_out = thin(run.messages, [time for time in moments if time is not None])
    step = max(-(-len(run.operations) // CALLS_MAX), 1)
    calls = [call for number, call in enumerate(run.operations) if call.index in witnesses or number % step == 0]
    every_change = changes(run)
    names, broken = _predicates(run, every_change)

    events = [{**call_event(call), "witness": witnesses.get(call.index, [])} for call in calls]
    events += [fault_event(fault, run.nodes, f"{number}") for number, fault in enumerate(run.faults)]
    for message in kept:
        events.append(message_event(message))
        events += [fate_event(time // 1000, message.index, fate) for time, fate in message.later]
    if left_out:
        events.append({"k": "thinned", "t": run.span.first // 1000, "count": sum(left_out.values())})
    events += [*broken, *_nodes(run, every_change)]
    events.sort(key=lambda event: int(event["t"]))
    return RecordedEvents(events, names, left_out, len(run.operations) - len(calls), every_change)


# --- how the nodes stood ------------------------------------------------------------------------------------------------


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
            case "holds" if change.ballot:
                facts["accepted_value"] = value_text(change.value)
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
        how = ", ".join("killed" if name == "kill" else name for name in names) or "up"
        process = {"node": self._node, "state": state, "how": how, "pid": None, "boots": 0}
        event = node_event(time_ns // 1000, process, None)
        facts = {name: {**self._facts, **more} for name, more in (self._vars or {"": {}}).items()}
        is_up = state == "up"
        return {**event, "answers": is_up, "latest": self._latest, "vars": facts, "kept": not is_up}


# --- the predicates -----------------------------------------------------------------------------------------------------


def _predicates(run: RunFolder, every_change: Sequence[NodeChange]) -> tuple[list[str], list[Event]]:
    """Return the predicates that the run can show, and an event for each that is broken."""
    try:
        algorithm = load_algorithm(str(run.results["algorithm"])) if run.is_ours else None
    except Exception:  # noqa: BLE001 - a user's algorithm may be elsewhere, or raise anything
        algorithm = None
    if algorithm is None:
        return [], []
    seen = Predicates(algorithm, len(run.nodes), sets_once=True)
    decided = [change for change in every_change if change.field == "decided"]
    answered = [(call.ended, call) for call in run.operations if call.ended is not None and call.outcome == "ok"]
    entries: list[tuple[int, Any]] = [(change.time, change) for change in decided]
    entries += [(message.time, message) for message in run.messages]
    entries += answered
    for time, entry in sorted(entries, key=lambda one: one[0]):
        t = time // 1000
        if isinstance(entry, NodeChange):
            seen.status(t, entry.node, {entry.variable: {"decided": value_text(entry.value)}})
        elif hasattr(entry, "sender"):
            seen.message(t, entry.sender, entry.type, entry.variable, entry.fields)
        else:
            seen.answer(entry.began // 1000, t, entry.f, entry.key, entry.answer, entry.node)
    can_show = {
        AGREEMENT: bool(decided),
        STAYS: any(call.f in ("propose", "query") for _, call in answered),
        CHOSEN: any(change.field == "holds" for change in every_change),
        TOKENS: any(call.f == "acquire" for call in run.operations),
        REPLICAS: False,  # a record does not have the digests of the logs
        PROMISES: False,
    }
    names = [name for name in seen.names if can_show.get(name, True)]
    broken = [event for event in seen.take_broken() if event["name"] in names]
    if PROMISES in seen.names:
        promises = _promises(run, algorithm)
        names += [] if promises is None else [PROMISES]
        broken += promises or []
    return names, broken


def _promises(run: RunFolder, algorithm: type[Algorithm]) -> list[Event] | None:
    """Return the event of the step that broke a promise, if one did; None if the record cannot show it.

    The judge itself is asked about beginnings of the record, by bisection: the shortest in which it finds something ends with
    the step that broke it.
    """
    if not run.lines or len(run.lines) > LINES_MAX:
        return None

    def broken(number: int) -> str | None:
        evidence = RunEvidence(run.nodes, algorithm, messages=run.lines[:number])
        return next((finding.text for finding in broken_promises(evidence)), None)

    try:
        text = broken(len(run.lines))
        if text is None:
            return []
        low, high = 0, len(run.lines)  # the first `low` lines break nothing, and the first `high` do
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if broken(middle) else (middle, high)
        text = broken(high) or text
    except Exception as error:  # noqa: BLE001 - a record may hold anything, and a user's algorithm may raise anything
        run.gaps.append(f"The promises could not be looked at: {type(error).__name__} {error}")
        return None
    line = run.lines[high - 1]
    number = line.get("of", line.get("index"))
    time = next((message.time for message in run.messages if message.index == number), run.span.first)
    return [{"k": "predicate", "t": time // 1000, "name": PROMISES, "evidence": cut(text)}]
