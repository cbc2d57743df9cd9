"""What is said of simulated runs of a log in which one answer is another one, word by word; and what is right.

`pytest --regenerate` writes `sentences/of_answers.txt` again: read it as a diff.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from harness.checkers.answers import wrong_answers
from harness.checkers.asked import asked_of
from harness.checkers.reference.log import Batch
from harness.records.history import Event, RecordedCall
from harness.virtual import log_simulation
from harness.virtual.simulation_settings import SimulationSettings
from node.algorithms.multipaxos import MultiPaxos
from node.tuning import Tuning

FILE = Path(__file__).with_name("sentences") / "of_answers.txt"
SEEDS = 60
#: How many answers of each kind are changed, and how often.
OF_A_KIND, CHANGES = 6, 3
ERRORS = ("held: x", "compacted: x", "not_yours: x", "not_member: x", "not_waiting: x", "mismatch: x", "stale: x")

#: What a log's run is judged by: its answered calls, its batches and its settings.
Judged = tuple[list[RecordedCall], Sequence[Batch], Tuning]


def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Judged]:
    """Yield what runs of the simulator are judged by."""
    found: list[Judged] = []

    def judge(asked: Any, log: Any, tuning: Tuning, time_of: Any) -> list[str]:
        found.append(([one.call for one in asked], log, tuning))
        return wrong_answers(asked, log, tuning, time_of)

    monkeypatch.setattr(log_simulation, "wrong_answers", judge)
    for seed in range(SEEDS):
        SimulationSettings().simulate(MultiPaxos, seed)
        yield from found
        found.clear()


def varied(value: Any, rng: Random) -> Any:
    """Return a value that differs in one respect and has the same form."""
    match value:
        case bool():
            return not value
        case int():
            return max(value + rng.choice((-1, 1)), 0)
        case str():
            return "another"
        case [*items] if items:
            place = rng.randrange(len(items))
            ways = [[*items[:place], varied(items[place], rng), *items[place + 1 :]]]
            if all(isinstance(item, list) for item in items):
                ways += [items[:-1], [*items, items[-1]], items[::-1]]
            return rng.choice(ways)
        case {"seen": seen, "changes": changes}:
            return {"seen": varied(seen, rng), "changes": changes} if rng.random() < 0.5 else {
                "seen": seen, "changes": varied(changes, rng)
            }  # fmt: skip
        case dict() if value:
            name = rng.choice(list(value))
            return rng.choice([
                {other: item for other, item in value.items() if other != name},
                {**value, name: varied(value[name], rng)},
            ])  # fmt: skip
    return value


def changed(call: RecordedCall, rng: Random) -> RecordedCall:
    """Return a call that received another answer, or another refusal."""
    event = call.completion
    assert event is not None
    if event.type == "fail" or rng.random() < 0.2:
        error = rng.choice(ERRORS)
        return replace(call, completion=replace(event, type="fail", value=None, error=error))
    return replace(call, completion=replace(event, value=varied(event.value, rng)))


def said(calls: Sequence[RecordedCall], log: Sequence[Batch], tuning: Tuning) -> list[str]:
    asked = [one for call in calls if (one := asked_of(call)) is not None]
    return wrong_answers(asked, log, tuning, _number)


def _number(event: Event) -> str:
    return f"event {event.index}"


def sentences(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    rng = Random(1)
    kinds: Counter[tuple[str, str]] = Counter()
    for calls, log, tuning in runs(monkeypatch):
        judged = partial(said, log=log, tuning=tuning)
        assert judged(calls) == []
        for place, call in enumerate(calls):
            kind = call.f, call.outcome
            if kinds[kind] >= OF_A_KIND or rng.random() < 0.5:
                continue
            kinds[kind] += 1
            for _ in range(CHANGES):
                other = changed(call, rng)
                found = judged([*calls[:place], other, *calls[place + 1 :]])
                yield f"{call.f} {call.outcome}: {'; '.join(found) or 'no contradiction'}"
    assert len(kinds) > 35, kinds


def test_what_is_said_of_a_wrong_answer_is_what_was_said(regenerate: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    found = "".join(f"{line}\n" for line in sentences(monkeypatch))
    if regenerate:
        FILE.write_text(found)
    assert found.splitlines() == FILE.read_text().splitlines()
