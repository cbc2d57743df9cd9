"""Reads a history file of any system as calls with plain values, for the judges of `call_judges.py`.

The format is that of `external_history.py`, with two differences. Keys stand in the field `key` only. And `final`, or
`final?` as Jepsen has it, marks a call as one after the end of all writes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from harness.checkers.client_calls import CallJudge, ClientCall
from harness.checkers.event_times import EventTimes
from harness.checkers.history_lines import (
    NEMESIS,
    FilePath,
    key_name,
    lines_of,
    number_of,
    plain_value,
    type_and_process,
)
from harness.records.jsonable import BadFile, shown


@dataclass
class ClientCallFile:
    """The calls of a file.

    Attributes:
        calls: the calls on each key, in the order in which they began.
        invoked: how many calls the file has.
        answered: how many of them were answered.
        times: the times of the lines.
    """

    calls: dict[str, list[ClientCall]] = field(default_factory=dict)
    invoked: int = 0
    answered: int = 0
    times: EventTimes = field(default_factory=EventTimes)


def read_client_calls(path: FilePath, judge: CallJudge) -> ClientCallFile:
    """Read a file as calls that a judge takes.

    Raises:
        BadFile: the file cannot be read, or a line is no event that can follow the lines before; the message names it.
    """
    names = {**judge.aliases, **{f: f for f in judge.functions}}
    loader = _Loader({f"{colon}{name}": f for name, f in names.items() for colon in ("", ":")}, judge.asks_for)
    place = 0
    for place, event in lines_of(path):
        try:
            loader.add_line(place, event)
        except ValueError as error:
            raise BadFile(f"{path}, line {number_of(place, event)}: {error}") from None
    return loader.file


class _Loader:
    def __init__(self, functions: dict[str, str], asks_for: Callable[[str, Any], str]) -> None:
        self.functions, self.asks_for = functions, asks_for
        distinct = set(functions.values())
        self.only_function = distinct.pop() if len(distinct) == 1 else None
        self.file = ClientCallFile()
        self.open: dict[int | str, ClientCall] = {}

    def add_line(self, place: int, event: dict[str, Any]) -> None:
        """Add one line.

        Raises:
            ValueError: the line is no event, or cannot follow the lines before.
        """
        if event.get("process") in NEMESIS:
            return
        type_, process = type_and_process(event)
        self.file.times.add(place, event)
        if type_ == "invoke":
            self._invoke(place, event, process)
        else:
            self._complete(place, event, process, type_)

    def _invoke(self, place: int, event: dict[str, Any], process: int | str) -> None:
        if process in self.open:
            raise ValueError(f"process {process} calls while its call of line {self.open[process].began + 1} is open")
        name = event.get("f")
        f = self.functions.get(name) if isinstance(name, str) else self.only_function if name is None else None
        if f is None:
            raise ValueError(f"f is {name!r}, and this judge takes {', '.join(dict.fromkeys(self.functions.values()))}")
        value = plain_value(event.get("value"))
        if wanted := self.asks_for(f, value):
            raise ValueError(f"the value of this {f} must be {wanted}, and it is {shown(value)}")
        call = ClientCall(f, value, None, "info", place, None, process, _node(event))
        call.is_final = bool(event.get("final") or event.get("final?"))
        self.open[process] = call
        self.file.calls.setdefault(key_name(event.get("key")), []).append(call)
        self.file.invoked += 1

    def _complete(self, place: int, event: dict[str, Any], process: int | str, type_: str) -> None:
        call = self.open.pop(process, None)
        if call is None:
            if type_ == "info":
                return
            raise ValueError(f"process {process} has no call open that this {type_} could end")
        if "f" in event and self.functions.get(event["f"]) != call.f:
            raise ValueError(f"this line ends {event['f']!r} in process {process}, whose open call is {call.f}")
        call.error = event.get("error")
        call.node = _node(event) or call.node
        if type_ == "info":
            return
        call.outcome = "ok" if type_ == "ok" else "fail"
        call.ended = place
        if type_ == "ok":
            call.answer = plain_value(event.get("value"))
            self.file.answered += 1


def _node(event: dict[str, Any]) -> str | None:
    node = event.get("node")
    return node if isinstance(node, str) else None
