"""Encodes values as JSON without loss, and reads and writes files of JSON.

Rules
-----
1. A value that JSON has looks as in JSON: None, bool, int, finite float, str, list, and a map whose keys are all strings.
2. A value that JSON lacks becomes a map with one key that starts with `$`:
   | Python | JSON |
   |---|---|
   | `(1, 2)`, also a NamedTuple | `{"$tuple": [1, 2]}` |
   | `b"blue\\x00"` | `{"$bytes": "blue\\u0000"}`: one character for each byte, with the byte's number (Latin-1) |
   | `{1: "a"}`, `{"$x": 1}` | `{"$map": [[1, "a"]]}`, `{"$map": [["$x", 1]]}`, in the order of the keys' JSON text |
   | `inf`, `-inf`, `nan` | `{"$float": "inf"}` |
3. `canonical` distinguishes values as the wire does: `1`, `1.0` and `True` differ, although Python calls them equal. It is
   a string, so it also serves as a key where a list or a map could not.
4. A file is either one JSON object (a document) or one JSON object a line.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

P = ParamSpec("P")


class BadFile(ValueError):
    """A file of evidence is not in its format. The message names the file, the line and the error."""


# --- values ---------------------------------------------------------------------------------------------------------


def to_jsonable(value: object) -> Any:
    """Encode `value` as data that `json.dumps` takes.

    Raises:
        TypeError: `value` holds something that is not plain data.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else {"$float": str(value)}
        case bytes():
            return {"$bytes": value.decode("latin-1")}
        case tuple():
            return {"$tuple": [to_jsonable(item) for item in value]}
        case list():
            return [to_jsonable(item) for item in value]
        case Mapping() if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: to_jsonable(item) for key, item in value.items()}
        case Mapping():
            pairs = [[to_jsonable(key), to_jsonable(item)] for key, item in value.items()]
            return {"$map": sorted(pairs, key=lambda pair: json.dumps(pair[0], sort_keys=True))}
    raise TypeError(
        f"a value of type {type(value).__name__} cannot be recorded: use int, bool, float, str, bytes, list, map or tuple of them"
    )


def from_jsonable(data: Any) -> Any:
    """Decode what `to_jsonable` returned.

    Raises:
        ValueError: a map has a key that starts with `$` and is not one of the encodings above.
    """
    match data:
        case list():
            return [from_jsonable(item) for item in data]
        case {"$float": str(text)} if len(data) == 1 and text in ("inf", "-inf", "nan"):
            return float(text)
        case {"$bytes": str(text)} if len(data) == 1:
            return text.encode("latin-1")
        case {"$tuple": list(items)} if len(data) == 1:
            return tuple(from_jsonable(item) for item in items)
        case {"$map": list(pairs)} if len(data) == 1:
            return _map(pairs)
        case dict():
            for key in data:
                if isinstance(key, str) and key.startswith("$"):  # of EDN, keys may be numbers
                    raise ValueError(f"a map has the key {key!r}, which is not one of $tuple, $bytes, $map and $float")
            return {key: from_jsonable(item) for key, item in data.items()}
    return data


def _map(pairs: list[Any]) -> dict[Any, Any]:
    try:
        return {from_jsonable(key): from_jsonable(item) for key, item in pairs}
    except TypeError as error:
        raise ValueError(f"a $map is a list of pairs, whose keys can be keys ({error})") from None


def canonical(value: object) -> str:
    """Return a text that two values share exactly if they are the same value."""
    return json.dumps(to_jsonable(value), sort_keys=True)


def wording(function: Callable[P, str]) -> Callable[P, str]:
    """Decorate a function that puts evidence into words: if it raises, the words say so.

    A judge calls it for a violation that it has seen. That violation must count, whether or not it can be described.
    """

    @wraps(function)
    def worded(*args: P.args, **kwargs: P.kwargs) -> str:
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - however the description failed, the violation stands
            return f"(not described: {describe_error(error)})"

    return worded


def describe_error(error: BaseException) -> str:
    """Return the type and the text of an exception, on one line."""
    return f"{type(error).__name__} {' '.join(str(error).split())}".rstrip()


@wording
def shown(value: object, most: int = 60) -> str:
    """Return the value's `repr` for people, on one line of at most `most` characters. A text stands in single quotes, always."""
    text = _single_quoted(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _single_quoted(value: object) -> str:
    """Return the value's `repr`, which would use double quotes for a text that holds a single one."""
    match value:
        case str() if "'" in value and '"' not in value:
            return "'" + repr(value)[1:-1].replace("'", "\\'") + "'"
        case list():
            return f"[{', '.join(map(_single_quoted, value))}]"
        case dict():
            return f"{{{', '.join(f'{_single_quoted(key)}: {_single_quoted(item)}' for key, item in value.items())}}}"
    return repr(value)


# --- files of one object a line -------------------------------------------------------------------------------------


def read_lines(path: "Path") -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each line's number, from 1, and its object.

    Raises:
        BadFile: the file cannot be read, or a line is not a JSON object.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors put a byte-order mark first
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{path} cannot be read: {error}") from error
    *lines, rest = text.split("\n")
    for number, text_line in enumerate([*lines, *([rest] if rest else [])], start=1):
        try:
            data = json.loads(text_line)
        except (json.JSONDecodeError, RecursionError) as error:
            torn = " Was its writer killed in mid-line?" if number > len(lines) else ""
            raise BadFile(f"{path}, line {number}: not JSON ({error}).{torn} It says: {text_line[:100]}") from None
        if not isinstance(data, dict):
            raise BadFile(
                f"{path}, line {number}: a {type(data).__name__}, where an object is wanted: {text_line[:100]}"
            )
        yield number, data


class ReadableLines(NamedTuple):
    """The objects of a file that may be damaged, and how many of its lines are not JSON objects."""

    objects: list[dict[str, Any]]
    unreadable: int


def read_readable_lines(path: "Path") -> ReadableLines:
    """Read every line that is a JSON object, and count the others, such as the last one of a writer that was killed.

    Raises:
        OSError: the file cannot be opened.
    """
    objects, unreadable = [], 0
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        if not line:
            continue
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            data = None
        if isinstance(data, dict):
            objects.append(data)
        else:
            unreadable += 1
    return ReadableLines(objects, unreadable)


def to_line(data: Mapping[str, object]) -> str:
    """Return one line of a file. `data` is JSON's own plain data: pass values through `to_jsonable` first."""
    return json.dumps(data, allow_nan=False) + "\n"


def write_lines(path: "str | PathLike[str]", rows: Iterable[Mapping[str, object]]) -> None:
    """Write the file, one object a line."""
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(to_line(row) for row in rows)


# --- files of one object --------------------------------------------------------------------------------------------


def read_document(path: "Path") -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        BadFile: the file cannot be read, is not JSON, or holds something else than an object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # also text that is not UTF-8
        raise BadFile(f"{path} holds no JSON object: {error}") from error
    if not isinstance(data, dict):
        raise BadFile(f"{path}: a {type(data).__name__}, where an object is wanted")
    return data


def write_document(path: "Path", data: Mapping[str, object]) -> None:
    """Write a file that holds one JSON object, indented for people."""
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8", errors="backslashreplace")
