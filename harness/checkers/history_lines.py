"""The lines of a history file from any system: their objects, the names of their functions, and where their keys stand.

A file has one JSON object on each line, or is one JSON array of them, or is EDN as Jepsen writes it: maps, or a vector of
maps; or it is Jepsen's log. In an array and in EDN, the number of an event stands where the others have the number of a line. An
object is an event, or a whole call (`call_lines.py`).

`external_history.py` describes the format, and makes calls of the lines. A file of a million calls has two million lines, so
the functions here return plain tuples, which Python makes faster than named ones.
"""

import json
import os
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final, Literal

from harness.checkers import call_lines
from harness.checkers.models import MODELS, KvModel
from harness.checkers.sequential_model import Model
from harness.records.jsonable import BadFile, from_jsonable, shown

#: A file, also by its name: `pathlib` takes a while to import.
FilePath = str | os.PathLike[str]
#: The types of a line, with and without a colon, to the type without it.
TYPES: Final = {
    f"{colon}{name}": name.lower()
    for one in ("invoke", "ok", "fail", "info")
    for name in (one, one.upper(), one.capitalize())
    for colon in ("", ":")
}
#: The process whose lines tell of faults.
NEMESIS: Final = ("nemesis", ":nemesis")
_SIMPLE: Final = frozenset({int, str, float, bool, type(None)})
#: How many lines are read to find out where the keys stand.
_LOOK_AHEAD: Final = 10_000

_scan: Final = json.JSONDecoder().raw_decode

#: Where a key stands: in the field `key`; first in a pair; or, for the model kv, alone as the value of a get or a delete.
KeyPlace = Literal["key", "pair", "value"]


def lines_of(path: FilePath) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number (from 0) and the object of each event: of each line that is not empty, or of each call two.

    Raises:
        BadFile: the file cannot be read, or a line is no JSON object; the message names it.
    """
    lines = _objects_of(path)
    first = next(lines, None)
    if first is None:
        return
    lines = chain([first], lines)
    if not call_lines.is_call(first[1]):
        yield from lines
        return
    try:
        yield from call_lines.events_of(lines)
    except ValueError as error:
        raise BadFile(f"{path}, {error}") from None


def number_of(place: int, event: dict[str, Any]) -> int:
    """Return the number of the line, from 1, that an event of `lines_of` comes from."""
    line = event.get(call_lines.LINE, place + 1)
    assert isinstance(line, int)
    return line


def _objects_of(path: FilePath) -> Iterator[tuple[int, dict[str, Any]]]:
    place = -1
    try:
        if not os.path.isfile(path) and os.path.exists(path):  # it is read twice, and a device may have no end
            raise BadFile(f"{path} is no regular file: write what it gives to a file first")
        form = _form_of(path)
        if form in ("edn", "array"):
            for place, event in enumerate(_whole_file(path, form)):
                if type(event) is not dict:
                    raise BadFile(f"{path}, event {place + 1}: it must be a map, and it is {shown(event)}")
                yield place, event
            return
        with open(path, encoding="utf-8-sig") as file:  # some editors put a byte-order mark first
            if form == "log":
                from harness.checkers.jepsen_log import events_of  # noqa: PLC0415

                for place, event in events_of(file):
                    yield place, event
                return
            for place, line in enumerate(file):
                try:
                    event, end = _scan(line)
                    if line[end:] != "\n" and line[end:].strip():
                        raise ValueError(f"more after the object: {line[end : end + 40]!r}")
                except (ValueError, RecursionError) as error:
                    if not line.strip():
                        continue
                    event = _parse_slowly(path, place, line, error)
                if type(event) is not dict:
                    raise BadFile(f"{path}, line {place + 1}: it must be a JSON object, and it is {line.strip()[:100]}")
                yield place, event
    except UnicodeDecodeError as error:
        after = f" after line {place + 1}" if place >= 0 else ""
        raise BadFile(
            f"{path} is no text: it has bytes{after} that are not UTF-8. Is it compressed, or another file?"
        ) from error
    except OSError as error:
        raise BadFile(f"{path} cannot be read, after line {place + 1}: {error}") from error


def _form_of(path: FilePath) -> Literal["lines", "array", "edn", "log"]:
    """Return what a file is, by its first characters."""
    with open(path, encoding="utf-8-sig") as file:
        start = file.read(4_096)
    if re.match(r"\s*\{\s*[\"}]", start):
        return "lines"
    from harness.checkers.jepsen_log import is_log  # noqa: PLC0415 - most files are JSON, and these take a while

    if is_log(start):
        return "log"
    if re.match(r"\s*\[?\s*\{\s*:|\s*[\[(]?\s*[#;]|\s*\(|\s*\[\s*$", start):
        return "edn"
    return "array" if start.lstrip().startswith("[") else "lines"


def _whole_file(path: FilePath, form: Literal["array", "edn"]) -> Iterator[Any]:
    """Yield the events of a file that is no file of lines."""
    with open(path, encoding="utf-8-sig") as file:
        text = file.read()
    try:
        if form == "array":
            yield from json.loads(text)
            return
        from harness.checkers.edn_forms import forms  # noqa: PLC0415

        for one in forms(text):
            if isinstance(one, list):
                yield from one
            else:
                yield one
    except (ValueError, RecursionError) as error:
        what = "EDN" if form == "edn" else "a JSON array"
        raise BadFile(f"{path} is not {what}: {error}") from None


def type_and_process(event: dict[str, Any]) -> tuple[str, int | str]:
    """Return the type of a line (invoke, ok, fail or info), and its process. Lines without a process are those of one client.

    Raises:
        ValueError: the line has no type, or its process is no name.
    """
    type_, process = event.get("type"), event.get("process", 0)
    found = TYPES.get(type_) if isinstance(type_, str) else None
    if found is None:
        raise ValueError(f"type is {type_!r}, and must be invoke, ok, fail or info")
    if type(process) is not int and type(process) is not str:
        raise ValueError(f"process is {process!r}, and must be a number or a name")
    return found, process


def plain_value(value: Any) -> Any:
    """Return a value as the checkers compare it: with the encodings of `jsonable.py` decoded."""
    if type(value) is list:  # a history of transactions has millions of lists of plain values
        return value if _SIMPLE.issuperset(map(type, value)) else [plain_value(item) for item in value]
    if type(value) is not dict:
        return value
    try:
        return from_jsonable(value)
    except ValueError:  # a map of another system, with a key that starts with $
        return value


def _parse_slowly(path: FilePath, place: int, line: str, error: Exception) -> object:
    """Parse a line that does not begin with its object, such as one that is indented."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        torn = "" if line.endswith("\n") else " Was the program that wrote it killed in mid-line?"
        text = line.strip()[:100]
        raise BadFile(f"{path}, line {place + 1}: not JSON ({error}).{torn} The line is: {text}") from None


def names_of_functions(model: Model) -> dict[str, str]:
    """Return every name of each function of a model, with and without a colon, to the function."""
    names = {**model.aliases, **{f: f for f in model.functions}}
    return {f"{colon}{name}": f for name, f in names.items() for colon in ("", ":")}


def function_of(functions: dict[str, str], event: dict[str, Any], model: Model) -> str:
    """Return the function that a line names.

    Args:
        functions: what `names_of_functions(model)` returned.
        event: the line.
        model: the model.

    Raises:
        ValueError: the model has no such function; the message names the models that have one.
    """
    name = event.get("f")
    f = functions.get(name) if isinstance(name, str) else None
    if f is not None:
        return f
    others = [other for other, kind in MODELS.items() if isinstance(name, str) and name in names_of_functions(kind())]
    hint = f": try --model {' or '.join(others)}" if others else ""
    kind = type(model).__name__.removesuffix("Model")
    if name is None:
        raise ValueError(
            f"f is {'null' if 'f' in event else 'missing'}, and the model {kind} has {', '.join(model.functions)}"
        )
    raise ValueError(f"f is {name!r}, and the model {kind} has {', '.join(model.functions)}{hint}")


# --- keys -----------------------------------------------------------------------------------------------------------


def find_key_place(path: FilePath, model: Model, functions: dict[str, str]) -> KeyPlace:
    """Return where the keys of a file stand. The first call without a value of its own shows it.

    Raises:
        BadFile: as for `lines_of`.
    """
    for place, event in lines_of(path):
        if place > _LOOK_AHEAD or "key" in event:
            break
        name = event.get("f")
        f = functions.get(name) if isinstance(name, str) else None
        if TYPES.get(event.get("type", "")) != "invoke" or f not in (*model.reads, *model.without_value):
            continue
        value = event.get("value")
        if isinstance(value, list) and len(value) == 2:
            return "pair"
        return "value" if isinstance(model, KvModel) and type(value) in (int, str) else "key"
    return "key"


def split_key(f: str, value: Any, key_place: KeyPlace) -> tuple[Any, Any]:
    """Return the key and the value of an invoke whose key does not stand in the field `key`.

    Raises:
        ValueError: the value has no key.
    """
    if key_place == "value" and f in ("get", "delete"):
        return value, None
    if isinstance(value, list) and f == "cas" and len(value) == 3:
        return value[0], value[1:]
    if not (isinstance(value, list) and len(value) == 2):
        raise ValueError(f"the value of {f} is {value!r}, and the calls before have [key, value]")
    return value[0], value[1]


def without_key(value: Any, key: Any) -> Any:
    """Return the value of an answer without its key, which the answer may repeat."""
    return value[1] if isinstance(value, list) and len(value) == 2 and value[0] == key else value


def key_name(key: Any) -> str:
    """Return a key as text; "" if there is none."""
    return "" if key is None else json.dumps(key, sort_keys=True)
