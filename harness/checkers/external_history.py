"""Histories of anybody's, as calls for the checkers: JSON lines with Jepsen's fields, read liberally and fast.

What a line is
--------------
An object with `type` (invoke, ok, fail, info) and `process`, and on an invoke `f`. The rest may be left out, and what else
there is, is ignored. A leading colon, as EDN's keywords have, does not matter. `harness/checkers/models.py` says
which `f` and values
each model takes.

1. The order of the lines is the order of real time. `index` and `time` may be missing, but must not go back: a file whose
   lines are in another order would get a verdict on something that never happened.
2. `process` is a number or a name, and has one call open at a time. After `info` it may go on; the call stays open for ever.
   Lines of the process "nemesis" are skipped, and so is an `info` with no call open.
3. The key is `key`. Without it, a value may be `[key, value]`: it is taken for that if the first call that has no value of
   its own (a read, a delete, an acquire) is asked with a pair. Of kv, `get` and `delete` may have the key for a value.
4. An integer `time` is in nanoseconds, another number in seconds; anything else is no time.
5. A `fail` was never done, unless its error is evidence: see `harness/checkers/models.py`.

Why it is made like this
------------------------
A million calls are two million lines. So nothing is kept of a line but what the checkers need: one `ObjectCall` for two
lines, and the times in an array. Places in the order of events are the lines' numbers, from 0.
"""

import json
import math
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from harness.checkers.models import MODELS, VOID, KvModel, Model, ObjectCall
from harness.records.jsonable import BadFile, from_jsonable, write_lines

_TYPES: Final = {f"{colon}{name}": name for name in ("invoke", "ok", "fail", "info") for colon in ("", ":")}
_NEMESIS: Final = ("nemesis", ":nemesis")
#: How many lines are looked at to find out whether values are pairs with their keys.
_LOOK_AHEAD: Final = 10_000
_NO_TIME: Final = float("nan")
#: The `ended` of a call that never happened.
_NEVER_WAS: Final = -1

_scan: Final = json.JSONDecoder().raw_decode


@dataclass
class AnyHistory:
    """The calls of a file on each key, in the order in which they began. `asked` and `answered` count all of them."""

    path: Path
    keys_in: "Keys" = "key"
    calls: dict[str, list[ObjectCall]] = field(default_factory=dict)
    asked: int = 0
    answered: int = 0
    times: "array[float]" = field(default_factory=lambda: array("d"))
    """By line, from the first one that has a time; NaN for none."""
    per_second: float = 1.0

    def seconds(self, place: int) -> float | None:
        """The time of a line in seconds; None if it has none."""
        time = self.times[place] if place < len(self.times) else _NO_TIME
        return None if math.isnan(time) else time / self.per_second


#: Where a key stands: in `key`; first in a value; or, of kv, alone in the value of a call that has no other.
Keys = Literal["key", "pair", "value"]


def read_calls(path: Path, model: Model) -> AnyHistory:
    """Read a file.

    Raises:
        BadFile: it cannot be read, or a line is no event that can follow those before; the message names it.
    """
    loader = _Loader(path, model)
    place = 0
    for place, event in _events(path):
        try:
            loader.take(place, event)
        except ValueError as error:
            raise BadFile(f"{path}, line {place + 1}: {error}") from None
    return loader.loaded()


class _Loader:
    """Takes one line after the other."""

    def __init__(self, path: Path, model: Model) -> None:
        self.model = model
        self.functions = _functions(model)
        self.found = AnyHistory(path, _keys_in(path, model, self.functions))
        self.open: dict[int | str, tuple[ObjectCall, Any]] = {}
        self.last_index = 0
        self.first_time = self.last_time = -math.inf

    def take(self, place: int, event: dict[str, Any]) -> None:
        """A line. Raises ValueError if it cannot be one, or not here."""
        process = event.get("process")
        if process in _NEMESIS:
            return
        type_ = _TYPES.get(event.get("type", ""))
        if type_ is None:
            raise ValueError(f"type is {event.get('type')!r}, and there are invoke, ok, fail, info")
        if type(process) is not int and type(process) is not str:
            raise ValueError(f"process is {process!r}, and must be a number or a name")
        self._note_order(place, event)
        if type_ == "invoke":
            self._invoke(place, event, process)
        else:
            self._complete(place, event, process, type_)

    def loaded(self) -> AnyHistory:
        """All calls that happened, or may have, and tell something."""
        reads = self.model.reads
        for key, calls in self.found.calls.items():
            self.found.calls[key] = [
                call for call in calls if call.ended != _NEVER_WAS and (call.ended is not None or call.f not in reads)
            ]
        return self.found

    def _invoke(self, place: int, event: dict[str, Any], process: int | str) -> None:
        if process in self.open:
            began = self.open[process][0].began
            raise ValueError(f"process {process} calls while its call of line {began + 1} is open")
        f = _function(self.functions, event, self.model)
        key, value = event.get("key"), event.get("value")
        if self.found.keys_in != "key":
            key, value = _split(f, value, self.found.keys_in)
        call = ObjectCall(f, self.model.asked(f, _plain(value), process), None, place, None, None, process)
        self.open[process] = (call, key)
        name = key if type(key) is str else _name(key)
        calls = self.found.calls.get(name)
        if calls is None:
            self.found.calls[name] = [call]
        else:
            calls.append(call)
        self.found.asked += 1

    def _complete(self, place: int, event: dict[str, Any], process: int | str, type_: str) -> None:
        opened = self.open.pop(process, None)
        if opened is None:
            if type_ == "info":
                return
            raise ValueError(f"process {process} has no call open that this {type_} could end")
        call, key = opened
        if "f" in event and self.functions.get(event["f"]) != call.f:
            raise ValueError(f"this ends {event['f']!r} in process {process}, whose open call is {call.f}")
        if type_ == "ok":
            value = event.get("value")
            if self.found.keys_in != "key":
                value = _without_key(value, key)
            call.answer = self.model.told(call.f, call.argument, _plain(value))
        elif type_ == "fail":
            call.answer = self.model.refused(call.f, event.get("error"))
            if call.answer is VOID:
                call.ended = _NEVER_WAS
                return
        else:
            return
        call.ended = place
        self.found.answered += 1

    def _note_order(self, place: int, event: dict[str, Any]) -> None:
        index, time = event.get("index"), event.get("time")
        if type(index) is int:
            if index < self.last_index:
                raise ValueError(
                    f"index {index} comes after {self.last_index}, and lines are in the order of real time"
                )
            self.last_index = index
        if type(time) is not int and type(time) is not float:
            return
        if time < self.last_time:
            raise ValueError(f"time {time} comes after {self.last_time}, and lines are in the order of real time")
        if self.first_time == -math.inf:
            self.first_time = time
            self.found.per_second = 1e9 if type(time) is int else 1.0
        self.last_time = time
        times = self.found.times
        while len(times) < place:
            times.append(_NO_TIME)
        times.append(time - self.first_time)


# --- lines ----------------------------------------------------------------------------------------------------------


def _events(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each line's place and object; empty lines are skipped."""
    place = -1
    try:
        with path.open(encoding="utf-8") as file:
            for place, line in enumerate(file):
                try:
                    event, end = _scan(line)
                    if line[end:] != "\n" and line[end:].strip():
                        raise ValueError(f"more after the object: {line[end : end + 40]!r}")
                except (ValueError, RecursionError) as error:
                    if not line.strip():
                        continue
                    event = _slowly(path, place, line, error)
                if type(event) is not dict:
                    raise BadFile(f"{path}, line {place + 1}: no object, but {line.strip()[:100]}")
                yield place, event
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{path} cannot be read, after line {place + 1}: {error}") from error


def _slowly(path: Path, place: int, line: str, error: Exception) -> object:
    """A line that does not begin with its object."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        torn = "" if line.endswith("\n") else " Was its writer killed in mid-line?"
        raise BadFile(f"{path}, line {place + 1}: not JSON ({error}).{torn} It says: {line.strip()[:100]}") from None


def _functions(model: Model) -> dict[str, str]:
    """Every name of each function."""
    names = {**model.aliases, **{f: f for f in model.functions}}
    return {f"{colon}{name}": f for name, f in names.items() for colon in ("", ":")}


def _function(functions: dict[str, str], event: dict[str, Any], model: Model) -> str:
    name = event.get("f")
    f = functions.get(name) if isinstance(name, str) else None
    if f is not None:
        return f
    others = [other for other, kind in MODELS.items() if isinstance(name, str) and name in _functions(kind())]
    hint = f": try --model {' or '.join(others)}" if others else ""
    kind = type(model).__name__.removesuffix("Model")
    raise ValueError(f"f is {name!r}, and the model {kind} has {', '.join(model.functions)}{hint}")


def _plain(value: Any) -> Any:
    """A value as the checkers compare it."""
    if type(value) is not list and type(value) is not dict:
        return value
    try:
        return from_jsonable(value)
    except ValueError:  # a foreign map with a key that starts with $
        return value


# --- keys -----------------------------------------------------------------------------------------------------------


def _keys_in(path: Path, model: Model, functions: dict[str, str]) -> Keys:
    """Where keys stand: the first call that has no value of its own tells."""
    for place, event in _events(path):
        if place > _LOOK_AHEAD or "key" in event:
            break
        name = event.get("f")
        f = functions.get(name) if isinstance(name, str) else None
        if _TYPES.get(event.get("type", "")) != "invoke" or f not in (*model.reads, *model.bare):
            continue
        value = event.get("value")
        if isinstance(value, list) and len(value) == 2:
            return "pair"
        return "value" if isinstance(model, KvModel) and type(value) in (int, str) else "key"
    return "key"


def _split(f: str, value: Any, keys_in: Keys) -> tuple[Any, Any]:
    """The key and the value of an invoke's value."""
    if keys_in == "value" and f in ("get", "delete"):
        return value, None
    if isinstance(value, list) and f == "cas" and len(value) == 3:
        return value[0], value[1:]
    if not (isinstance(value, list) and len(value) == 2):
        raise ValueError(f"the value of {f} is {value!r}, where the calls before have [key, value]")
    return value[0], value[1]


def _without_key(value: Any, key: Any) -> Any:
    """The value of an answer, which may repeat its key."""
    return value[1] if isinstance(value, list) and len(value) == 2 and value[0] == key else value


def _name(key: Any) -> str:
    return "" if key is None else json.dumps(key, sort_keys=True)


# --- a part of a file -------------------------------------------------------------------------------------------------


def write_part(history: AnyHistory, key: str, calls: Iterable[ObjectCall], path: Path) -> None:
    """Write those calls on `key` to a file of their own, as the lines that they are, with `key` in its own field.

    Raises:
        OSError: the file cannot be written.
    """
    wanted = {call.began: call for call in calls}
    rows = []
    open_calls: dict[Any, Any] = {}  # process -> its key
    for place, event in _events(history.path):
        process = event.get("process")
        call = wanted.get(place)
        if call is not None:
            own, value = None, event.get("value")
            if history.keys_in != "key":
                own, value = _split(call.f, value, history.keys_in)
            open_calls[process] = own
        elif process in open_calls:
            own, value = open_calls.pop(process), event.get("value")
            if history.keys_in != "key":
                value = _without_key(value, own)
        else:
            continue
        rows.append({**event, "key": key, "value": value})
    write_lines(path, rows)
