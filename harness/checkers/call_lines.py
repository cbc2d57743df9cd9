"""Histories with one line for each call: `{"process": 1, "f": "write", "value": 7, "start": 0.1, "end": 0.2}`.

1. `start` and `end` are times as in the field `time`: integers in nanoseconds, or seconds with a fraction. Without `end`, or with
   null, the outcome is unknown, whatever `type` says.
2. `type` is `ok` if it is missing. `value` is what the call was given, and `result` what it returned. Of a read without a
   `result`, the value is what it returned.
3. Two calls overlap if one ends when the other starts: a clock that does not tell them apart orders nothing. `process` may be
   missing, and calls of one process may overlap; then they count as calls of several.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from harness.records.jsonable import shown

#: The field that holds the number of the line which an event comes from, from 1.
LINE: Final = "$line"


def is_call(event: dict[str, Any]) -> bool:
    """Return whether a line is a whole call."""
    return "start" in event and "time" not in event and str(event.get("type", "ok")).lower().lstrip(":") != "invoke"


def events_of(lines: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the events that the calls consist of, in the order of time, numbered from 0.

    Args:
        lines: the number (from 0) and the object of each line.

    Raises:
        ValueError: a line is no call; the message names it.
    """
    moments: list[tuple[float, int, int, dict[str, Any]]] = []
    for place, call in lines:
        start: Any = call.get("start")
        end: Any = call.get("end")
        if type(start) not in (int, float) or type(end) not in (int, float, type(None)):
            raise ValueError(
                f"line {place + 1}: start and end must be numbers, and they are {shown(start)} and {shown(end)}"
            )
        if end is not None and end < start:
            raise ValueError(f"line {place + 1}: the call ends at {end}, before it starts at {start}")
        base = {name: value for name, value in call.items() if name not in ("start", "end", "type", "result", "index")}
        base |= {LINE: place + 1, "process": call.get("process")}
        moments.append((start, 0, place, {**base, "type": "invoke", "time": start}))
        if end is not None:
            ended = {
                **base,
                "type": call.get("type", "ok"),
                "time": end,
                "value": call.get("result", call.get("value")),
            }
            moments.append((end, 1, place, ended))
    moments.sort(key=lambda moment: moment[:3])
    yield from enumerate(_with_processes(event for *_, event in moments))


def _with_processes(events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Give calls that overlap different processes: to the second one that of a client of its own, and so on."""
    open_calls: dict[Any, int] = {}  # process to the line of its open call
    renamed: dict[int, str] = {}  # line to the process that its call got
    for event in events:
        line, process = event[LINE], event["process"]
        if event["type"] == "invoke":
            name, number = process, 1
            while name is None or name in open_calls:
                number += 1
                name = f"line {line}" if process is None else f"{process}#{number}"
            open_calls[name] = line
            if name != process:
                renamed[line] = name
        else:
            name = renamed.get(line, process)
            del open_calls[name]
        event["process"] = name
        yield event
