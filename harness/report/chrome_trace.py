"""A run as Chrome trace events, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

Rules
-----
1. A "process" of the trace is a node, the clients, or the faults. Clients have a row a process of the history, with a
   slice an operation. A node has a row for each link out of it and into it, and one for when it was down.
2. A message is a short slice on the row of its sender's link, joined by an arrow to one on its receiver's for each delivery.
   A message that was lost has a slice at its sender's alone, whose name says so.
3. Times are microseconds since the first event of the history, moved so that none is negative.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final

from harness.records.links import CLIENT, DELIVERED, LOST
from harness.report.diagram import answered, asked, brief, what_is_broken
from harness.report.reading import DrawnCall, DrawnFault, DrawnMessage, RunFolder

#: Microseconds. A message has no length; a slice of none could not be clicked.
_SLICE_US: Final = 20.0
_FAULTS: Final = "faults"


class _Rows:
    """Numbers for the trace's processes and rows, each with the event that names it."""

    def __init__(self) -> None:
        self.names: list[dict[str, Any]] = []
        self._processes: dict[str, int] = {}
        self._rows: dict[tuple[str, str], int] = {}

    def place(self, process: str, row: str) -> dict[str, int]:
        """`pid` and `tid`."""
        if process not in self._processes:
            self._processes[process] = len(self._processes) + 1
            self._name("process_name", process, self._processes[process], 0)
        pid = self._processes[process]
        if (process, row) not in self._rows:
            self._rows[process, row] = len(self._rows) + 1
            self._name("thread_name", row, pid, self._rows[process, row])
        return {"pid": pid, "tid": self._rows[process, row]}

    def _name(self, kind: str, name: str, pid: int, tid: int) -> None:
        self.names.append({"name": kind, "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}})


def trace(run: RunFolder) -> Iterator[str]:
    """The file, in pieces."""
    rows = _Rows()
    begin = min(run.span[0], 0)
    yield '{"displayTimeUnit":"ms","traceEvents":[\n'
    separator = ""
    for event in chain(_events(run, rows, begin), rows.names):  # the names are complete once the events are
        yield separator + json.dumps(event)
        separator = ",\n"
    yield "\n]}\n"


def _events(run: RunFolder, rows: _Rows, begin: int) -> Iterator[dict[str, Any]]:
    for number, fault in enumerate(run.faults):
        yield from _fault(run, rows, number, fault, begin)
    for operation in run.operations:
        yield _operation(run, rows, operation, begin)
    times = _Moments(run.messages)
    for message in run.messages:
        yield from _message(rows, times, message, begin)


def _fault(run: RunFolder, rows: _Rows, number: int, fault: DrawnFault, begin: int) -> Iterator[dict[str, Any]]:
    ended = run.span[1] if fault.ended is None else fault.ended
    what = what_is_broken(fault, run.nodes)
    event = {
        "name": f"{fault.name} {what}",
        "cat": "fault",
        "ph": "X",
        "ts": (fault.began - begin) / 1000,
        "dur": (ended - fault.began) / 1000,
        "args": {"bit": fault.bit, "evidence": json.dumps(dict(fault.evidence), default=repr)},
    }
    yield {**event, **rows.place(_FAULTS, f"{number + 1}. {fault.name}")}
    for node in fault.nodes:
        yield {**event, **rows.place(node, f"{fault.name} ({number + 1})")}


def _operation(run: RunFolder, rows: _Rows, one: DrawnCall, begin: int) -> dict[str, Any]:
    ended = run.span[1] if one.ended is None else one.ended
    return {
        "name": f"{asked(one)} → {answered(one)}",
        "cat": f"operation,{one.outcome}",
        "ph": "X",
        "ts": (one.began - begin) / 1000,
        "dur": (ended - one.began) / 1000,
        "args": {"variable": one.key, "at": one.asked_node, "by": one.node, "outcome": one.outcome, "error": one.error},
        **rows.place("clients", one.process),
    }


class _Moments:
    """When something stands on each row of messages. Slices of one row may not overlap, so each ends where the next begins."""

    def __init__(self, messages: Iterable[DrawnMessage]) -> None:
        self._times: dict[tuple[str, str], list[int]] = {}
        for one in messages:
            self._times.setdefault((_process(one.sender), f"to {one.receiver}"), []).append(one.time)
            arrivals = [time for time, fate in _steps(one) if fate in DELIVERED]
            self._times.setdefault((_process(one.receiver), f"from {one.sender}"), []).extend(arrivals)
        for times in self._times.values():
            times.sort()

    def length_us(self, row: tuple[str, str], time: int) -> float:
        """How long the slice at a time may be."""
        times = self._times[row]
        after = bisect_right(times, time)
        return min(_SLICE_US, (times[after] - time) / 1000) if after < len(times) else _SLICE_US


def _message(rows: _Rows, times: _Moments, one: DrawnMessage, begin: int) -> Iterator[dict[str, Any]]:
    steps = _steps(one)
    delivered = [time for time, fate in steps if fate in DELIVERED]
    lost = [fate for _, fate in steps if fate in LOST]
    name = brief(one) + (f" ✗ {lost[0]}" if lost and not delivered else "")
    args = {"variable": one.variable, "fields": one.fields, "fates": [fate for _, fate in steps], "rule": one.rule}
    sent = _slice(rows, times, (_process(one.sender), f"to {one.receiver}"), one.time, begin)
    yield {**sent, "name": name, "cat": "message", "args": args}
    for copy, time in enumerate(delivered):
        flow = {"name": one.type, "cat": "message", "id": f"{one.index}.{copy}"}
        arrived = _slice(rows, times, (_process(one.receiver), f"from {one.sender}"), time, begin)
        yield {**arrived, "name": name, "cat": "message"}
        yield {**flow, "ph": "s", "ts": sent["ts"], "pid": sent["pid"], "tid": sent["tid"]}
        yield {**flow, "ph": "f", "bp": "e", "ts": arrived["ts"], "pid": arrived["pid"], "tid": arrived["tid"]}


def _steps(one: DrawnMessage) -> list[tuple[int, str]]:
    return [(one.time, one.fate), *one.later]


def _process(end: str) -> str:
    return "clients" if end == CLIENT else end


def _slice(rows: _Rows, times: _Moments, row: tuple[str, str], time: int, begin: int) -> dict[str, Any]:
    return {"ph": "X", "ts": (time - begin) / 1000, "dur": times.length_us(row, time), **rows.place(*row)}
