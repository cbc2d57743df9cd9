"""A history file from any system, judged against a sequential model: the command `consensus check`.

Rules
-----
1. Every key is judged. The violated keys are reported in the order in which they first appear in the file.
2. A file in which no call was answered has shown nothing: unknown. So has a file with a key that was too hard to search, if
   no other key is violated.
3. Python's garbage collector is off during the work: a million calls make no cyclic garbage, and the collector would only
   traverse them again and again.
"""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from harness.checkers.certificate import Contradiction, describe_action, describe_process
from harness.checkers.external_history import ExternalHistory, read_calls, write_part
from harness.checkers.jit_linearizability import TooHard
from harness.checkers.models import MODELS
from harness.checkers.object_linearizability import certify, find_contradiction
from harness.checkers.sequential_model import ObjectCall
from harness.checkers.verdict import Verdict, invalid, unknown, valid
from node.wording import count

#: How many configurations the search of one key may visit: about 20 seconds and 1 GB on a slow machine.
BUDGET: Final = 2_000_000
#: How long an explanation may take beyond twice the time that the violation took to find, in seconds.
EXPLANATION_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class KeyViolation:
    """A key whose calls are not linearizable.

    Attributes:
        key: the key.
        sentence: the violation in one sentence.
        contradiction: the calls that contradict each other.
        minimised: a small history on that key that is not linearizable either.
    """

    key: str
    sentence: str
    contradiction: Contradiction
    minimised: list[ObjectCall]


@dataclass
class JudgedFile:
    """What a history file shows.

    Attributes:
        verdict: the verdict on the whole file.
        history: the calls of the file.
        violations: the keys that are violated.
        read_s: how long it took to read the file, in seconds.
        judged_s: how long it took to judge it, in seconds.
    """

    verdict: Verdict
    history: ExternalHistory
    violations: list[KeyViolation] = field(default_factory=list)
    read_s: float = 0.0
    judged_s: float = 0.0

    def to_json(self) -> dict[str, object]:
        """Return the result as `consensus check -o json` prints it."""
        return {
            **self.verdict.to_json(),
            "calls": self.history.invoked,
            "answers": self.history.answered,
            "keys": len(self.history.calls),
            "violations": [
                {
                    "key": violation.key,
                    "sentence": violation.sentence,
                    "calls": [self._call_to_json(call) for call in violation.contradiction.calls],
                    "minimised_calls": len(violation.minimised),
                }
                for violation in self.violations
            ],
            "read_s": round(self.read_s, 3),
            "judged_s": round(self.judged_s, 3),
        }

    def _call_to_json(self, call: ObjectCall) -> dict[str, object]:
        ended = call.ended
        return {
            "process": call.process,
            "f": call.f,
            "text": f"{describe_process(call)} {describe_action(call)}",
            "began": {"line": call.began + 1, "seconds": self.history.seconds(call.began)},
            "ended": None if ended is None else {"line": ended + 1, "seconds": self.history.seconds(ended)},
        }


def judge_file(path: Path, model_name: str, budget: int = BUDGET) -> JudgedFile:
    """Judge a history file.

    Args:
        path: the file, in the format of `external_history.py`.
        model_name: a name in `MODELS`.
        budget: how many configurations the search of one key may visit.

    Raises:
        BadFile: the file is no history of that model; the message names the line.
    """
    model = MODELS[model_name]()
    with _without_collector():
        started = time.monotonic()
        history = read_calls(path, model)
        read = time.monotonic()
        violations, too_hard = [], []
        for key, calls in history.calls.items():
            began = time.monotonic()
            try:
                contradiction = find_contradiction(calls, model, budget)
            except TooHard as error:
                too_hard.append(f"{_prefix(key)}{error}: raise --budget")
                continue
            if contradiction is not None:
                now = time.monotonic()
                until = now + 2 * (now - began) + EXPLANATION_S
                certificate = certify(calls, model, contradiction, history.seconds, until)
                sentence = f"{_prefix(key)}{certificate.sentence}"
                violations.append(KeyViolation(key, sentence, certificate.contradiction, certificate.history))
        verdict = _verdict(history, violations, too_hard, model_name)
    return JudgedFile(verdict, history, violations, read - started, time.monotonic() - read)


def write_minimised(judged: JudgedFile, path: Path) -> None:
    """Write the small history of the first violated key to a file, which is invalid by itself.

    Raises:
        OSError: the file cannot be written.
    """
    violation = judged.violations[0]
    write_part(judged.history, violation.key, violation.minimised, path)


def _verdict(history: ExternalHistory, violations: list[KeyViolation], too_hard: list[str], model_name: str) -> Verdict:
    if violations:
        return invalid(*(violation.sentence for violation in violations))
    if not history.invoked:
        return unknown("the file holds no call: was its run interrupted, or is it another file?")
    if not history.answered:
        return unknown(f"none of {count(history.invoked, 'call')} was answered")
    if too_hard:
        return unknown(too_hard[0])
    size = f"{count(history.answered, 'answer')} on {count(len(history.calls), 'key')}"
    return valid(f"the calls have an order that the model {model_name} allows ({size})")


def _prefix(key: str) -> str:
    return f"{key}: " if key else ""


@contextmanager
def _without_collector() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
