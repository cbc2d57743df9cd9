"""A run as Chrome trace events, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

Rules
-----
1. A "process" of the trace is a node, the clients, or the faults. The clients have one row for each process of the history, with
   a slice for each call. A node has a row for each link from it and to it, and a row for each fault that took it down.
2. A message is a short slice on the row of its sender's link. An arrow joins it to a slice on the row of its receiver's link, for
   each delivery. A lost message has only its sender's slice, whose name says so.
3. Times are in microseconds since the first event of the history, shifted so that none is negative.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final

from harness.records.links import CLIENT, DELIVERED, LOST
from harness.report.drawn_run import DrawnCall, DrawnFault, DrawnMessage, RunFolder
from harness.report.wording import answer_text, call_text, message_label, what_is_broken

#: The length of a message's slice, in microseconds. A message has no length, but a slice without one cannot be clicked.
_SLICE_US: Final = 20.0
_FAULTS: Final = "faults"


class _Rows:
    """The numbers of the trace's processes and rows, and the events that name them."""

    def __init__(self) -> None:
        self.names: list[dict[str, Any]] = []
        self._processes: dict[str, int] = {}
        self._rows: dict[tuple[str, str], int] = {}

    def place(self, process: str, row: str) -> dict[str, int]:
        """Return the `pid` and `tid` of a row."""
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
    """Yield the text of the file, in pieces."""
    rows = _Rows()
    begin = min(run.span[0], 0)
    yield '{"displayTimeUnit":"ms","traceEvents":[\n'
    separator = ""
    for event in chain(_events(run, rows, begin), rows.names):  # the names are complete when all events have been made
        yield separator + json.dumps(event)
        separator = ",\n"
    yield "\n]}\n"


def _events(run: RunFolder, rows: _Rows, begin: int) -> Iterator[dict[str, Any]]:
    for number, fault in enumerate(run.faults):
        yield from _fault(run, rows, number, fault, begin)
    for operation in run.operations:
        yield _operation(run, rows, operation, begin)
    times = _SliceTimes(run.messages)
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


def _operation(run: RunFolder, rows: _Rows, call: DrawnCall, begin: int) -> dict[str, Any]:
    ended = run.span[1] if call.ended is None else call.ended
    return {
        "name": f"{call_text(call)} → {answer_text(call)}",
        "cat": f"operation,{call.outcome}",
        "ph": "X",
        "ts": (call.began - begin) / 1000,
        "dur": (ended - call.began) / 1000,
        "args": {
            "variable": call.key,
            "at": call.asked_node,
            "by": call.node,
            "outcome": call.outcome,
            "error": call.error,
        },
        **rows.place("clients", call.process),
    }


class _SliceTimes:
    """The times of the slices on each row of messages. Slices of one row must not overlap, so each ends where the next begins."""

    def __init__(self, messages: Iterable[DrawnMessage]) -> None:
        self._times: dict[tuple[str, str], list[int]] = {}
        for message in messages:
            self._times.setdefault((_process(message.sender), f"to {message.receiver}"), []).append(message.time)
            arrivals = [time for time, fate in _steps(message) if fate in DELIVERED]
            self._times.setdefault((_process(message.receiver), f"from {message.sender}"), []).extend(arrivals)
        for times in self._times.values():
            times.sort()

    def length_us(self, row: tuple[str, str], time: int) -> float:
        """Return how long the slice at a time may be, in microseconds."""
        times = self._times[row]
        after = bisect_right(times, time)
        return min(_SLICE_US, (times[after] - time) / 1000) if after < len(times) else _SLICE_US


def _message(rows: _Rows, times: _SliceTimes, message: DrawnMessage, begin: int) -> Iterator[dict[str, Any]]:
    steps = _steps(message)
    delivered = [time for time, fate in steps if fate in DELIVERED]
    lost = [fate for _, fate in steps if fate in LOST]
    name = message_label(message) + (f" ✗ {lost[0]}" if lost and not delivered else "")
    args = {
        "variable": message.variable,
        "fields": message.fields,
        "fates": [fate for _, fate in steps],
        "rule": message.rule,
    }
    sent = _slice(rows, times, (_process(message.sender), f"to {message.receiver}"), message.time, begin)
    yield {**sent, "name": name, "cat": "message", "args": args}
    for copy, time in enumerate(delivered):
        flow = {"name": message.type, "cat": "message", "id": f"{message.index}.{copy}"}
        arrived = _slice(rows, times, (_process(message.receiver), f"from {message.sender}"), time, begin)
        yield {**arrived, "name": name, "cat": "message"}
        yield {**flow, "ph": "s", "ts": sent["ts"], "pid": sent["pid"], "tid": sent["tid"]}
        yield {**flow, "ph": "f", "bp": "e", "ts": arrived["ts"], "pid": arrived["pid"], "tid": arrived["tid"]}


def _steps(message: DrawnMessage) -> list[tuple[int, str]]:
    return [(message.time, message.fate), *message.later]


def _process(end: str) -> str:
    return "clients" if end == CLIENT else end


def _slice(rows: _Rows, times: _SliceTimes, row: tuple[str, str], time: int, begin: int) -> dict[str, Any]:
    return {"ph": "X", "ts": (time - begin) / 1000, "dur": times.length_us(row, time), **rows.place(*row)}
