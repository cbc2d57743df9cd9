"""A run as the data that the page's script draws: what it is about, and its events.

Rules
-----
1. This module makes data, never markup: the script puts every string into the page as text. In the page, the data stands in a
   JSON block without any `<`, so that no value can end the block.
2. The events of a kind are rows under the names of their fields. Strings stand in one table, once.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from harness.report.about import about_run
from harness.report.colours import coloured_values
from harness.report.drawn_run import RunFolder
from harness.report.events import Event
from harness.report.recorded_events import RecordedEvents, recorded_events

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def page_data(run: RunFolder) -> tuple[RecordedEvents, dict[str, Any]]:
    """Return what a run shows, and the same as the data that the script needs, ready for JSON."""
    recorded = recorded_events(run)
    about = about_run(run, recorded.predicates)
    first, last = run.span
    data = {
        "about": {**about, "colours": coloured_values(run, recorded.changes)},
        "span": [first // 1000, last // 1000 + 1],
        "start": _first_shown(run, recorded) // 1000,
        **packed(recorded.events),
    }
    return recorded, data


def packed(events: Iterable[Event]) -> dict[str, Any]:
    """Return events as rows. A string is its number in `texts`, written as a string: "3" is a text, and 3 a number."""
    numbers: dict[str, int] = {}
    kinds: dict[str, tuple[list[str], list[list[Any]]]] = {}
    for event in events:
        fields, rows = kinds.setdefault(event["k"], ([name for name in event if name != "k"], []))
        rows.append([_packed(event[name], numbers) for name in fields])
    return {"texts": list(numbers), "events": {kind: {"fields": f, "rows": rows} for kind, (f, rows) in kinds.items()}}


def _packed(value: Any, numbers: dict[str, int]) -> Any:
    """Return a value; a string as its number in the table, as text."""
    return str(numbers.setdefault(value, len(numbers))) if isinstance(value, str) else value


def as_json_block(data: object) -> str:
    """Return data as JSON text that cannot end the element in which it stands."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    # JSON can carry half of a surrogate pair, and a browser cannot show it: some stop at it.
    return _SURROGATE.sub("\ufffd", text)


def _first_shown(run: RunFolder, recorded: RecordedEvents) -> int:
    """Return the moment that the page shows first, in nanoseconds.

    It is the step that breaks a predicate, or the end of the first call that the evidence names, or the first decision, or the
    end.
    """
    broken = [int(event["t"]) * 1000 for event in recorded.events if event["k"] == "predicate"]
    witnesses = [call for call in run.operations if call.index in run.witnesses]
    ends = [call.ended - 1000 for call in witnesses if call.ended is not None]
    decisions = [change.time for change in recorded.changes if change.field == "decided"]
    return min(broken or ends or decisions[:1] or [run.span.last])
