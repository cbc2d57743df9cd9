"""Histories from any system, as calls for the checkers: JSON lines with Jepsen's fields, read liberally and fast.

The format
----------
A line is an object with `type` (invoke, ok, fail, info) and `process`, and on an invoke `f`. Every other field may be left
out, and unknown fields are ignored. A leading colon, as keywords of EDN have, makes no difference. `models.py` lists the `f`
and the values that each model takes.

1. The order of the lines is the order of real time. `index` and `time` may be missing, but must not decrease: a verdict on
   lines in another order would be about events that never happened.
2. `process` is a number or a name, and has one call open at a time. After an `info` the process may continue; the call stays
   open for ever. Lines of the process "nemesis" are skipped, and so is an `info` of a process with no open call.
3. The key is the field `key`. Without it, a value may be `[key, value]`: a file has such pairs if the first call without a
   value of its own (a read, a delete, an acquire) has a pair as its value. For the model kv, `get` and `delete` may have the
   key as their value.
4. An integer `time` is in nanoseconds, any other number in seconds. Anything else is no time.
5. A `fail` was never done, unless its error is an answer: see `sequential_model.py`.

Why it is built like this
-------------------------
A million calls are two million lines. So the reader keeps only what the checkers need: one `ObjectCall` for two lines, and
the times in an array. A place in the order of events is the number of a line, from 0.
"""

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from harness.checkers.history_lines import (
    TYPES,
    KeyPlace,
    find_key_place,
    function_of,
    key_name,
    lines_of,
    names_of_functions,
    split_key,
    without_key,
)
from harness.checkers.sequential_model import NO_ANSWER, Model, ObjectCall
from harness.records.jsonable import BadFile, from_jsonable, write_lines

_NEMESIS: Final = ("nemesis", ":nemesis")
_NO_TIME: Final = float("nan")
#: The `ended` of a call that never happened.
_NEVER_HAPPENED: Final = -1


@dataclass
class ExternalHistory:
    """The calls of a file.

    Attributes:
        path: the file.
        key_place: where the keys stand.
        calls: the calls on each key, in the order in which they began.
        invoked: how many calls the file has.
        answered: how many of them were answered.
        times: the time of each line since the first one that has a time; NaN for none.
        per_second: how many units of `times` a second has.
    """

    path: Path
    key_place: KeyPlace = "key"
    calls: dict[str, list[ObjectCall]] = field(default_factory=dict)
    invoked: int = 0
    answered: int = 0
    times: "array[float]" = field(default_factory=lambda: array("d"))
    per_second: float = 1.0

    def seconds(self, place: int) -> float | None:
        """Return the time of a line in seconds; None if it has none."""
        time = self.times[place] if place < len(self.times) else _NO_TIME
        return None if math.isnan(time) else time / self.per_second


def read_calls(path: Path, model: Model) -> ExternalHistory:
    """Read a file as calls of a model.

    Raises:
        BadFile: the file cannot be read, or a line is no event that can follow the lines before; the message names it.
    """
    loader = _Loader(path, model)
    place = 0
    for place, event in lines_of(path):
        try:
            loader.add_line(place, event)
        except ValueError as error:
            raise BadFile(f"{path}, line {place + 1}: {error}") from None
    return loader.finish()


class _Loader:
    """Builds the history, line by line."""

    def __init__(self, path: Path, model: Model) -> None:
        self.model = model
        self.functions = names_of_functions(model)
        self.history = ExternalHistory(path, find_key_place(path, model, self.functions))
        self.open: dict[int | str, tuple[ObjectCall, Any]] = {}  # process to its open call and that call's key
        self.last_index = 0
        self.first_time = self.last_time = -math.inf

    def add_line(self, place: int, event: dict[str, Any]) -> None:
        """Add one line.

        Raises:
            ValueError: the line is no event, or cannot follow the lines before.
        """
        process = event.get("process")
        if process in _NEMESIS:
            return
        type_ = TYPES.get(event.get("type", ""))
        if type_ is None:
            raise ValueError(f"type is {event.get('type')!r}, and must be invoke, ok, fail or info")
        if type(process) is not int and type(process) is not str:
            raise ValueError(f"process is {process!r}, and must be a number or a name")
        self._check_order(place, event)
        if type_ == "invoke":
            self._invoke(place, event, process)
        else:
            self._complete(place, event, process, type_)

    def finish(self) -> ExternalHistory:
        """Return the history, without calls that never happened and without reads of unknown outcome."""
        reads = self.model.reads
        for key, calls in self.history.calls.items():
            self.history.calls[key] = [
                call
                for call in calls
                if call.ended != _NEVER_HAPPENED and (call.ended is not None or call.f not in reads)
            ]
        return self.history

    def _invoke(self, place: int, event: dict[str, Any], process: int | str) -> None:
        if process in self.open:
            began = self.open[process][0].began
            raise ValueError(f"process {process} calls while its call of line {began + 1} is open")
        f = function_of(self.functions, event, self.model)
        key, value = event.get("key"), event.get("value")
        if self.history.key_place != "key":
            key, value = split_key(f, value, self.history.key_place)
        call = ObjectCall(f, self.model.argument_from(f, _plain(value), process), None, place, None, None, process)
        self.open[process] = (call, key)
        name = key if type(key) is str else key_name(key)
        calls = self.history.calls.get(name)
        if calls is None:
            self.history.calls[name] = [call]
        else:
            calls.append(call)
        self.history.invoked += 1

    def _complete(self, place: int, event: dict[str, Any], process: int | str, type_: str) -> None:
        opened = self.open.pop(process, None)
        if opened is None:
            if type_ == "info":
                return
            raise ValueError(f"process {process} has no call open that this {type_} could end")
        call, key = opened
        if "f" in event and self.functions.get(event["f"]) != call.f:
            raise ValueError(f"this line ends {event['f']!r} in process {process}, whose open call is {call.f}")
        if type_ == "ok":
            value = event.get("value")
            if self.history.key_place != "key":
                value = without_key(value, key)
            call.answer = self.model.answer_from(call.f, call.argument, _plain(value))
        elif type_ == "fail":
            call.answer = self.model.answer_from_error(call.f, event.get("error"))
            if call.answer is NO_ANSWER:
                call.ended = _NEVER_HAPPENED
                return
        else:
            return
        call.ended = place
        self.history.answered += 1

    def _check_order(self, place: int, event: dict[str, Any]) -> None:
        """Check a line's index and time against rule 1, and keep the time."""
        index, time = event.get("index"), event.get("time")
        if type(index) is int:
            if index < self.last_index:
                raise ValueError(
                    f"index {index} comes after {self.last_index}, but the lines must be in the order of real time"
                )
            self.last_index = index
        if type(time) is not int and type(time) is not float:
            return
        if time < self.last_time:
            raise ValueError(
                f"time {time} comes after {self.last_time}, but the lines must be in the order of real time"
            )
        if self.first_time == -math.inf:
            self.first_time = time
            self.history.per_second = 1e9 if type(time) is int else 1.0
        self.last_time = time
        times = self.history.times
        while len(times) < place:
            times.append(_NO_TIME)
        times.append(time - self.first_time)


def _plain(value: Any) -> Any:
    """Return a value as the checkers compare it: with the encodings of `jsonable.py` decoded."""
    if type(value) is not list and type(value) is not dict:
        return value
    try:
        return from_jsonable(value)
    except ValueError:  # a map of another system, with a key that starts with $
        return value


def write_part(history: ExternalHistory, key: str, calls: Iterable[ObjectCall], path: Path) -> None:
    """Write some calls on one key to a file of their own: their lines as they stand, with the key in the field `key`.

    Raises:
        BadFile: the history's own file cannot be read any more.
        OSError: the new file cannot be written.
    """
    wanted = {call.began: call for call in calls}
    rows = []
    open_calls: dict[Any, Any] = {}  # process to the key of its open call
    for place, event in lines_of(history.path):
        process = event.get("process")
        call = wanted.get(place)
        if call is not None:
            own_key, value = None, event.get("value")
            if history.key_place != "key":
                own_key, value = split_key(call.f, value, history.key_place)
            open_calls[process] = own_key
        elif process in open_calls:
            own_key, value = open_calls.pop(process), event.get("value")
            if history.key_place != "key":
                value = without_key(value, own_key)
        else:
            continue
        rows.append({**event, "key": key, "value": value})
    write_lines(path, rows)
