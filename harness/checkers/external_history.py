"""Histories from any system, as calls for the checkers: JSON lines with Jepsen's fields, read liberally and fast.

The format
----------
A line is an object with `type` (invoke, ok, fail, info) and `process`, and on an invoke `f`. Every other field may be left
out, and unknown fields are ignored. A leading colon, as keywords of EDN have, makes no difference. `models.py` lists the `f`
and the values that each model takes.

1. The order of the lines is the order of real time: see `event_times.py`.
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

from collections.abc import Iterable
from typing import Any, Final

from harness.checkers.call_lines import LINE
from harness.checkers.event_times import EventTimes
from harness.checkers.history_lines import (
    NEMESIS,
    FilePath,
    KeyPlace,
    find_key_place,
    function_of,
    key_name,
    lines_of,
    names_of_functions,
    number_of,
    plain_value,
    split_key,
    type_and_process,
    without_key,
)
from harness.checkers.sequential_model import NO_ANSWER, Model, ObjectCall
from harness.records.jsonable import BadFile, to_jsonable, write_lines

#: The `ended` of a call that never happened.
_NEVER_HAPPENED: Final = -1


class ExternalHistory:
    """The calls of a file.

    Attributes:
        path: the file.
        key_place: where the keys stand.
        calls: the calls on each key, in the order in which they began.
        invoked: how many calls the file has.
        answered: how many of them were answered.
        times: the times of the lines.
    """

    def __init__(self, path: FilePath, key_place: KeyPlace) -> None:
        self.path, self.key_place = path, key_place
        self.calls: dict[str, list[ObjectCall]] = {}
        self.invoked = self.answered = 0
        self.times = EventTimes()

    def seconds(self, place: int) -> float | None:
        """Return the time of a line in seconds; None if it has none."""
        return self.times.seconds(place)


def read_calls(path: FilePath, model: Model) -> ExternalHistory:
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
            raise BadFile(f"{path}, line {number_of(place, event)}: {error}") from None
        except RecursionError:
            raise BadFile(f"{path}, line {number_of(place, event)}: a value is nested too deeply") from None
    return loader.finish()


class _Loader:
    """Builds the history, line by line."""

    def __init__(self, path: FilePath, model: Model) -> None:
        self.model = model
        self.functions = names_of_functions(model)
        self.history = ExternalHistory(path, find_key_place(path, model, self.functions))
        self.open: dict[int | str, tuple[ObjectCall, Any]] = {}  # process to its open call and that call's key

    def add_line(self, place: int, event: dict[str, Any]) -> None:
        """Add one line.

        Raises:
            ValueError: the line is no event, or cannot follow the lines before.
        """
        if event.get("process") in NEMESIS:
            return
        type_, process = type_and_process(event)
        self.history.times.add(place, event)
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
        call = ObjectCall(f, self.model.argument_from(f, plain_value(value), process), None, place, None, None, process)
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
            call.answer = self.model.answer_from(call.f, call.argument, plain_value(value))
        elif type_ == "fail":
            call.answer = self.model.answer_from_error(call.f, event.get("error"))
            if call.answer is NO_ANSWER:
                call.ended = _NEVER_HAPPENED
                return
        else:
            return
        call.ended = place
        self.history.answered += 1


def write_part(history: ExternalHistory, key: str, calls: Iterable[ObjectCall], path: FilePath) -> None:
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
        row = {**event, "key": key, "value": to_jsonable(plain_value(value))}
        row.pop(LINE, None)
        rows.append(row)
    write_lines(path, rows)
