"""A history file of anybody's, judged against a model: `consensus check`.

Rules
-----
1. Every key is judged, and each that is violated is told, in the order in which the keys first appear.
2. A file in which no call was answered has shown nothing: unknown. So has one with a key that was too hard, if no other key
   is violated.
3. A million calls make no garbage that a collector could find, only work for it; so it rests meanwhile.
"""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from harness.checkers.certificate import Contradiction, phrase, who
from harness.checkers.decide import certificate, decide
from harness.checkers.external_history import AnyHistory, read_calls, write_part
from harness.checkers.jit_linearizability import TooHard
from harness.checkers.models import MODELS, ObjectCall
from harness.checkers.verdict import Verdict, count, invalid, unknown, valid

#: Configurations that a search of one key may meet: some 20 seconds and 1 GB on a slow machine.
BUDGET: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class KeyViolation:
    """One key has no order."""

    key: str
    sentence: str
    violation: Contradiction
    few: list[ObjectCall]
    """A small history on that key that has none either."""


@dataclass
class Judged:
    """What a file shows. Times are in seconds."""

    verdict: Verdict
    history: AnyHistory
    broken: list[KeyViolation] = field(default_factory=list)
    read_s: float = 0.0
    judged_s: float = 0.0

    def to_json(self) -> dict[str, object]:
        """For programs."""
        return {
            **self.verdict.to_json(),
            "calls": self.history.asked,
            "answers": self.history.answered,
            "keys": len(self.history.calls),
            "violations": [
                {
                    "key": broken.key,
                    "sentence": broken.sentence,
                    "calls": [self._call(call) for call in broken.violation.calls],
                    "minimised_calls": len(broken.few),
                }
                for broken in self.broken
            ],
            "read_s": round(self.read_s, 3),
            "judged_s": round(self.judged_s, 3),
        }

    def _call(self, call: ObjectCall) -> dict[str, object]:
        ended = call.ended
        return {
            "process": call.process,
            "f": call.f,
            "text": f"{who(call)} {phrase(call)}",
            "began": {"line": call.began + 1, "seconds": self.history.seconds(call.began)},
            "ended": None if ended is None else {"line": ended + 1, "seconds": self.history.seconds(ended)},
        }


def judge_file(path: Path, model_name: str, budget: int = BUDGET) -> Judged:
    """Judge it. `model_name` is one of `MODELS`; `budget` bounds the search of each key, in configurations.

    Raises:
        BadFile: it is no history of that model; the message names the line.
    """
    model = MODELS[model_name]()
    with _no_collector():
        started = time.monotonic()
        history = read_calls(path, model)
        read = time.monotonic()
        broken, too_hard = [], []
        for key, calls in history.calls.items():
            try:
                violation = decide(calls, model, budget)
            except TooHard as error:
                too_hard.append(f"{_of(key)}{error}: raise --budget")
                continue
            if violation is not None:
                sentence, violation, few = certificate(calls, model, violation, history.seconds)
                broken.append(KeyViolation(key, f"{_of(key)}{sentence}", violation, few))
        verdict = _verdict(history, broken, too_hard, model_name)
    return Judged(verdict, history, broken, read - started, time.monotonic() - read)


def write_minimised(judged: Judged, path: Path) -> None:
    """Write the small history of the first key that is broken. Judged again, it is invalid too.

    Raises:
        OSError: the file cannot be written.
    """
    broken = judged.broken[0]
    write_part(judged.history, broken.key, broken.few, path)


def _verdict(history: AnyHistory, broken: list[KeyViolation], too_hard: list[str], model_name: str) -> Verdict:
    if broken:
        return invalid(*(one.sentence for one in broken))
    if not history.answered:
        return unknown(f"none of {count(history.asked, 'call')} was answered")
    if too_hard:
        return unknown(too_hard[0])
    keys = count(len(history.calls), "key")
    return valid(f"the model {model_name} allows an order of {count(history.answered, 'answer')} on {keys}")


def _of(key: str) -> str:
    return f"{key}: " if key else ""


@contextmanager
def _no_collector() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
