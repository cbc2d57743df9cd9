"""Runs that are known to be bad for each of `CALL_JUDGES`: one for each flaw that a judge names. See `known_bad.py`."""

from collections.abc import Iterable
from typing import Any, Final

from harness.checkers.evidence import RunEvidence
from harness.records.history import Event, History
from node.algorithms.paxos import Paxos

_NODES: Final = ("n1", "n2", "n3")
_SECOND: Final = 1_000_000_000
_FAILED: Final = object()
_Row = tuple[str, Any, Any]
"""The function, the value of the invoke, and the value of the ok; `_FAILED` for a call that failed."""


def _reads(*answers: Any) -> list[_Row]:
    return [("read", None, answer) for answer in answers]


def _sends(*values: int) -> list[_Row]:
    return [("send", ["k", value], value) for value in values]


def _transactions(*texts: str) -> list[_Row]:
    """Return transactions of steps such as "a x 1, r x 1 2, w x 1": append 1, read [1, 2], write 1. A ! means that it failed."""
    rows: list[_Row] = []
    for text in texts:
        steps: list[list[Any]] = []
        for step in text.removeprefix("!").split(", "):
            f, key, *values = step.split()
            numbers = [int(value) for value in values]
            steps.append([{"a": "append"}.get(f, f), key, numbers if f == "r" else numbers[0]])
        asked = [[f, key, None if f == "r" else value] for f, key, value in steps]
        rows.append(("txn", asked, _FAILED if text.startswith("!") else steps))
    return rows


def _of_registers(rows: Iterable[_Row]) -> list[_Row]:
    """Return the same transactions on registers: a read returns one value, or none."""
    found = []
    for f, asked, answer in rows:
        values = answer
        if answer is not _FAILED:
            values = [[g, key, (value[0] if value else None) if g == "r" else value] for g, key, value in answer]
        found.append((f, asked, values))
    return found


_IN_THE_END: Final[dict[str, list[_Row]]] = {
    "lost": [("add", 7, None), *_reads([7], [7], [])],
    "unexpected": _reads([7], [], []),
    "duplicate": [("add", 7, None), *_reads([7], [7, 7], [7])],
}
_ONCE_EACH: Final[dict[str, list[_Row]]] = {
    "unexpected": [("dequeue", None, 1)],
    "duplicate": [("enqueue", 1, None), ("dequeue", None, 1), ("dequeue", None, 1)],
    "lost": [("enqueue", 1, None), ("dequeue", None, None)],
}
#: For each judge, the histories by the flaw that they have; "" for a judge that has one kind of flaw. No two calls overlap.
_ROWS: Final[dict[str, dict[str, list[_Row]]]] = {
    "echo": {"": [("echo", "hello", "hell")]},
    "unique-ids": {"": [("generate", None, 7), ("generate", None, 8), ("generate", None, 7)]},
    "broadcast": {
        flaw: [("broadcast" if f == "add" else f, value, answer) for f, value, answer in rows]
        for flaw, rows in _IN_THE_END.items()
    },
    "set": {
        "lost": [("add", 7, None), *_reads([])],
        "stale": [("add", 7, None), *_reads([], [7])],
        "unexpected": _reads([7]),
        "duplicate": [("add", 7, None), *_reads([7, 7])],
    },
    "g-set": _IN_THE_END,
    "counter": {"": [("add", 2, None), *_reads(1)]},
    "g-counter": {"": [("add", 2, None), *_reads(2, 2, 0)]},
    "pn-counter": {"": [("add", 2, None), ("add", -1, None), *_reads(1, 1, 2)]},
    "queue": {
        **_ONCE_EACH,
        "order": [("enqueue", 1, None), ("enqueue", 2, None), ("dequeue", None, 2), ("dequeue", None, 1)],
        "empty": [("enqueue", 1, None), ("dequeue", None, None), ("dequeue", None, 1)],
    },
    "unordered-queue": _ONCE_EACH,
    "kafka": {
        "inconsistent offsets": [*_sends(1), ("send", ["k", 2], 1), ("poll", None, {"k": [[1, 2]]})],
        "duplicate": [*_sends(1), ("poll", None, {"k": [[1, 1], [2, 1]]})],
        "unexpected": [("poll", None, {"k": [[1, 1]]})],
        "skipped": [*_sends(1, 2), ("poll", {"k": 1}, {"k": [[2, 2]]}), ("poll", {"k": 1}, {"k": [[1, 1]]})],
        "lost": [*_sends(1, 2), ("poll", {"k": 1}, {"k": [[2, 2]]})],
        "not in order": [*_sends(1, 2), ("poll", None, {"k": [[2, 2], [1, 1]]})],
        "committed": [("commit_offsets", {"k": 3}, None), ("list_committed_offsets", ["k"], {})],
    },
    "list-append": {
        "G0": _transactions("a x 1, a y 1", "a x 2, a y 2", "r x 1 2, r y 2 1"),
        "G1a": _transactions("!a x 1", "r x 1"),
        "G1b": _transactions("a x 1, a x 2", "r x 1"),
        "G1c": _transactions("a x 1, r y 1", "a y 1, r x 1"),
        "dirty update": _transactions("!a x 1", "a x 2", "r x 1 2"),
        "duplicate elements": _transactions("a x 1", "r x 1 1"),
        "incompatible order": _transactions("a x 1", "a x 2", "r x 1 2", "r x 2 1"),
        "unexpected": _transactions("r x 1"),
        "internal": _transactions("a x 1, r x"),
        "lost update": _transactions("r x, a x 1", "r x, a x 2"),
        "G-single": _transactions("a x 1, a y 1", "r x 1, r y"),
        "G-nonadjacent": _transactions("a x 1, a y 1", "a z 1, a w 1", "r x 1, r z", "r z 1, r x"),
        "G2-item": _transactions("r x, a y 1", "r y, a x 1"),
        "G0-realtime": _transactions("a x 1", "a x 2", "r x 2 1"),
        "G1c-realtime": _transactions("r x 1", "a x 1"),
        "G-single-realtime": _transactions("a x 1", "r x"),
    },
    "rw-register": {
        "G1a": _of_registers(_transactions("!w x 1", "r x 1")),
        "G1b": _of_registers(_transactions("w x 1, w x 2", "r x 1")),
        "G1c": _of_registers(_transactions("w x 1, r y 1", "w y 1, r x 1")),
        "unexpected": _of_registers(_transactions("r x 1")),
        "internal": _of_registers(_transactions("w x 1, r x")),
        "lost update": _of_registers(_transactions("r x, w x 1", "r x, w x 2")),
        "G-single": _of_registers(_transactions("w x 1, w y 1", "r x 1, r y")),
        "G2-item": _of_registers(_transactions("r x, w y 1", "r y, w x 1")),
        "G1c-realtime": _of_registers(_transactions("r x 1", "w x 1")),
        "G-single-realtime": _of_registers(_transactions("w x 1", "r x")),
    },
}


def known_bad_calls() -> dict[str, tuple[RunEvidence, ...]]:
    """Return the known bad runs by the names in `CALL_JUDGES`, one for each flaw. Each call ends before the next begins."""
    return {name: tuple(known_flaws(name).values()) for name in _ROWS}


def known_flaws(name: str) -> dict[str, RunEvidence]:
    """Return the known bad runs of one judge, by the flaw that it must name; "" if it has one kind of flaw."""
    return {flaw: RunEvidence(_NODES, Paxos, _history(rows)) for flaw, rows in _ROWS[name].items()}


def _history(rows: Iterable[_Row]) -> History:
    events: list[Event] = []
    for number, (f, value, answer) in enumerate(rows):
        about: dict[str, Any] = {"process": f"c{number % 3}", "f": f, "key": "", "node": _NODES[number % 3]}
        events.append(Event(len(events), 2 * number * _SECOND, type="invoke", value=value, timeout_s=1.0, **about))
        done: dict[str, Any] = {"type": "fail"} if answer is _FAILED else {"type": "ok", "value": answer}
        events.append(Event(len(events), (2 * number + 1) * _SECOND, **done, **about))
    return History(events)
