"""A run that is known to be bad for each of `CALL_JUDGES`, by the judge's name. See `known_bad.py`."""

from collections.abc import Iterable
from typing import Any, Final

from harness.checkers.evidence import RunEvidence
from harness.records.history import Event, History
from node.algorithms.paxos import Paxos

_NODES: Final = ("n1", "n2", "n3")
_SECOND: Final = 1_000_000_000
_Row = tuple[str, Any, Any]
"""The function, the value of the invoke, and the value of the ok."""

_READS_OF_ALL: Final[tuple[list[int], ...]] = ([7], [7], [])
_ROWS: Final[dict[str, list[_Row]]] = {
    "echo": [("echo", "hello", "hell")],
    "unique-ids": [("generate", None, 7), ("generate", None, 8), ("generate", None, 7)],
    "broadcast": [("broadcast", 7, None), *(("read", None, answer) for answer in _READS_OF_ALL)],
    "set": [("add", 7, None), ("read", None, [])],
    "g-set": [("add", 7, None), *(("read", None, answer) for answer in _READS_OF_ALL)],
    "counter": [("add", 2, None), ("read", None, 1)],
    "g-counter": [("add", 2, None), *(("read", None, answer) for answer in (2, 2, 0))],
    "pn-counter": [("add", 2, None), ("add", -1, None), *(("read", None, answer) for answer in (1, 1, 2))],
    "queue": [("enqueue", 1, None), ("enqueue", 2, None), ("dequeue", None, 2), ("dequeue", None, 1)],
    "unordered-queue": [("enqueue", 1, None), ("dequeue", None, 1), ("dequeue", None, 1)],
    "kafka": [("send", ["k", 1], 0), ("send", ["k", 2], 1), ("poll", {"k": 0}, {"k": [[1, 2]]})],
    "list-append": [("txn", [["append", "x", 1]], [["append", "x", 1]]), ("txn", [["r", "x", None]], [["r", "x", []]])],
    "rw-register": [("txn", [["w", "x", 1]], [["w", "x", 1]]), ("txn", [["r", "x", None]], [["r", "x", None]])],
}


def known_bad_calls() -> dict[str, RunEvidence]:
    """Return the known bad runs by the names in `CALL_JUDGES`. Each call ends before the next begins."""
    return {name: RunEvidence(_NODES, Paxos, _history(rows)) for name, rows in _ROWS.items()}


def _history(rows: Iterable[_Row]) -> History:
    events: list[Event] = []
    for number, (f, value, answer) in enumerate(rows):
        about: dict[str, Any] = {"process": f"c{number % 3}", "f": f, "key": "", "node": _NODES[number % 3]}
        events.append(Event(len(events), 2 * number * _SECOND, type="invoke", value=value, timeout_s=1.0, **about))
        events.append(Event(len(events), (2 * number + 1) * _SECOND, type="ok", value=answer, **about))
    return History(events)
