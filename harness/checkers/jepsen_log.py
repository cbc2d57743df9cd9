"""Reads Jepsen's log, and its `history.txt`: lines with process, type, function, value and error, with tabs or spaces between.

A line of the log begins with a level and the name of the logger: `INFO  jepsen.util - 2<tab>:invoke<tab>:cas<tab>[3 0]`. Lines
that are no events are passed over, such as those of other loggers. Values are EDN.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from harness.checkers.edn_forms import BadEdn, forms
from harness.records.jsonable import BadFile

_EVENT: Final = re.compile(
    r"(?:.*\bjepsen\.util\b[ -]*)?(?P<process>:?[\w.-]+)\s+:(?P<type>invoke|ok|fail|info)\s+(?P<f>:\S+)"
    r"(?:\s+(?P<value>[^\t\n]+))?(?:\t(?P<error>[^\n]*))?\s*$"
)


def is_log(start: str) -> bool:
    """Return whether a text, the start of a file, has an event of such a log."""
    return any(_EVENT.match(line) for line in start.splitlines())


def events_of(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number (from 0) and the event of each line that is one.

    Raises:
        BadFile: a value is no EDN.
    """
    for place, line in enumerate(lines):
        match = _EVENT.match(line)
        if match is None:
            continue
        process = match["process"]
        event = {
            "process": int(process) if process.isdecimal() else process,
            "type": match["type"],
            "f": match["f"],
            "value": _form(match["value"]),
        }
        if match["error"] is not None:
            event["error"] = _form(match["error"])
        yield place, event


def _form(text: str | None) -> Any:
    if text is None:
        return None
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    try:
        return next(forms(text), None)
    except BadEdn as error:
        raise BadFile(f"the value {text} is no EDN: {error}") from None
