"""A history file from any system, judged: the command `consensus check`.

Rules
-----
1. Every key is judged, except that a key which takes long is not decided if another one is violated: a note says so. The
   violated keys are reported in the order in which they first appear in the file.
2. A file in which no call was answered has shown nothing: unknown. So has a file with a key that was too hard to search, or
   that was not decided within the limits of time and memory, if no other key is violated.
3. A violation counts, however little time was left to explain it.
4. Python's garbage collector is off during the work: a million calls make no cyclic garbage, and the collector would only
   traverse them again and again.
"""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from harness.checkers.certificate import Contradiction, describe_action, describe_process, sentence_of
from harness.checkers.event_times import EventTimes
from harness.checkers.external_history import ExternalHistory, read_calls, write_part
from harness.checkers.history_lines import FilePath
from harness.checkers.jit_linearizability import TooHard
from harness.checkers.models import MODELS, CasRegisterModel, FailedCas
from harness.checkers.object_linearizability import Certificate, certify, find_contradiction
from harness.checkers.sequential_model import Model, ObjectCall
from harness.checkers.verdict import Verdict, invalid, unknown, valid
from harness.checkers.work_limits import LimitReached, work_limits
from node.wording import count

#: How many configurations the search of one key may visit: about 20 seconds and 1 GB on a slow machine.
BUDGET: Final = 2_000_000
#: How many it may visit in the first round, in which every key has its turn: about a second.
_FIRST_BUDGET: Final = 50_000
#: How long an explanation may take beyond twice the time that the violation took to find, in seconds.
EXPLANATION_S: Final = 1.0
_NO_CALL: Final = "the file holds no call: was its run interrupted, or is it another file?"


class KeyViolation(NamedTuple):
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


class CheckOptions(NamedTuple):
    """How a file is judged.

    Attributes:
        initial: the first value of each register, as text that is compared (`text_of`); None for none.
        isolation: the level of isolation that transactions were promised, a name in `ISOLATION_LEVELS`.
        budget: how many configurations the search of one key may visit.
        timeout_s: after how many seconds the verdict is unknown; None for never.
        memory_gb: at how many GB of memory of this process the verdict is unknown; None for no limit but the machine's.
        explain: whether violations are explained by few calls.
        failed_cas: whether a `cas` that failed is evidence.
    """

    initial: str | None = None
    isolation: str = "strict-serializable"
    budget: int = BUDGET
    timeout_s: float | None = None
    memory_gb: float | None = None
    explain: bool = True
    failed_cas: FailedCas = "by-error"

    def model(self, model_name: str) -> Model | None:
        """Return the model of that name, as these options have it; None if a judge of `call_judges.py` has that name.

        Raises:
            ValueError: the model has no initial value, or no `cas`.
        """
        model = MODELS[model_name]() if model_name in MODELS else None
        if self.initial is not None:
            if model is None:
                raise ValueError(f"{model_name} has no initial value")
            model.start_with(self.initial)
        if isinstance(model, CasRegisterModel):
            model.failed_cas = self.failed_cas
        elif self.failed_cas != "by-error":
            raise ValueError(f"{model_name} has no cas whose failure could count")
        return model


class JudgedFile:
    """What a history file shows.

    Attributes:
        verdict: the verdict on the whole file.
        history: the calls of the file; None if a judge of `call_judges.py` judged it.
        invoked: how many calls the file has.
        answered: how many of them were answered.
        keys: how many keys they are about.
        notes: what a reader should know besides.
        violations: the keys that are violated, by the models.
        read_s: how long it took to read the file, in seconds.
        judged_s: how long it took to judge it, in seconds.
    """

    def __init__(self) -> None:
        self.verdict = unknown("")
        self.history: ExternalHistory | None = None
        self.invoked = self.answered = self.keys = 0
        self.notes: tuple[str, ...] = ()
        self.violations: list[KeyViolation] = []
        self.read_s = self.judged_s = 0.0

    def to_json(self) -> dict[str, object]:
        """Return the result as `consensus check -o json` prints it."""
        return {
            **self.verdict.to_json(),
            "calls": self.invoked,
            "answers": self.answered,
            "keys": self.keys,
            "notes": list(self.notes),
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
        assert self.history is not None
        ended = call.ended
        return {
            "process": call.process,
            "f": call.f,
            "text": f"{describe_process(call)} {describe_action(call)}",
            "began": {"line": call.began + 1, "seconds": self.history.seconds(call.began)},
            "ended": None if ended is None else {"line": ended + 1, "seconds": self.history.seconds(ended)},
        }


def judge_file(path: FilePath, model_name: str, options: CheckOptions | None = None) -> JudgedFile:
    """Judge a history file.

    Args:
        path: the file, in the format of `external_history.py`.
        model_name: a name in `MODELS` or `CALL_JUDGES`.
        options: how to judge it.

    Raises:
        BadFile: the file is no history of that model; the message names the line.
        ValueError: the options do not fit the model.
    """
    options = options or CheckOptions()
    model = options.model(model_name)
    with _without_collector():
        if model is not None:
            return _judge_by_model(path, model_name, model, options)
        return _judge_calls(path, model_name, options)


def _judge_by_model(path: FilePath, model_name: str, model: Model, options: CheckOptions) -> JudgedFile:
    judged = JudgedFile()
    keys = _Keys(model, options)
    started = read = time.monotonic()
    try:
        with work_limits(options.timeout_s, options.memory_gb):
            history = read_calls(path, model)
            read = time.monotonic()
            judged.history = history
            keys.judge(history)
    except LimitReached as limit:
        keys.undecided.append(str(limit))
    if judged.history is None:
        judged.verdict, read = unknown(keys.undecided[0]), time.monotonic()
    else:
        history = judged.history
        judged.violations = keys.violations(history)
        judged.verdict = _verdict(history, judged.violations, keys.undecided, model_name)
        judged.invoked, judged.answered, judged.keys = history.invoked, history.answered, len(history.calls)
        judged.notes = _notes(history.times) + keys.notes
    judged.read_s, judged.judged_s = read - started, time.monotonic() - read
    return judged


class _Keys:
    """The keys of a history while they are judged."""

    def __init__(self, model: Model, options: CheckOptions) -> None:
        self.model, self.options = model, options
        self.undecided: list[str] = []
        self.notes: tuple[str, ...] = ()
        self._found: dict[str, Contradiction] = {}
        self._certificates: dict[str, Certificate] = {}

    def judge(self, history: ExternalHistory) -> None:
        """Judge every key, and explain each violation. Keys that take long come last, and only if no other is violated."""
        hard = [key for key in history.calls if not self._judge(history, key, min(_FIRST_BUDGET, self.options.budget))]
        if self._found and hard:
            self.notes = (
                f"{count(len(hard), 'further key')} could not be decided quickly, and would not change the verdict",
            )
            return
        for key in hard:
            if self.options.budget <= _FIRST_BUDGET or not self._judge(history, key, self.options.budget):
                self.undecided.append(f"{_prefix(key)}the search for an order was given up: raise --budget")

    def _judge(self, history: ExternalHistory, key: str, budget: int) -> bool:
        """Judge a key, and explain a violation. Return False if the question is open."""
        calls = history.calls[key]
        began = time.monotonic()
        try:
            contradiction = find_contradiction(calls, self.model, budget)
        except TooHard:
            return False
        if contradiction is not None:
            self._found[key] = contradiction
            if self.options.explain:
                now = time.monotonic()
                until = now + 2 * (now - began) + EXPLANATION_S
                self._certificates[key] = certify(calls, self.model, contradiction, history.seconds, until)
        return True

    def violations(self, history: ExternalHistory) -> list[KeyViolation]:
        """Return the violations; those without an explanation have all calls on their key."""
        violations = []
        for key, found in self._found.items():
            certificate = self._certificates.get(key)
            if certificate is None:
                certificate = Certificate(sentence_of(found, history.seconds), found, history.calls[key])
            sentence = f"{_prefix(key)}{certificate.sentence}"
            violations.append(KeyViolation(key, sentence, certificate.contradiction, certificate.history))
        return violations


def _judge_calls(path: FilePath, judge_name: str, options: CheckOptions) -> JudgedFile:
    # A third of the modules of this command are for these judges, and most histories need none of them.
    from harness.checkers.call_judges import call_judge  # noqa: PLC0415
    from harness.checkers.client_call_file import read_client_calls  # noqa: PLC0415
    from harness.checkers.client_calls import CallContext, judge_keys  # noqa: PLC0415
    from harness.checkers.transactions import ISOLATION_LEVELS  # noqa: PLC0415

    judge = call_judge(judge_name, ISOLATION_LEVELS[options.isolation])
    started = read = time.monotonic()
    judged = JudgedFile()
    try:
        with work_limits(options.timeout_s, options.memory_gb):
            history = read_client_calls(path, judge)
            judged.invoked, judged.answered, judged.keys = history.invoked, history.answered, len(history.calls)
            judged.notes = _notes(history.times)
            read = time.monotonic()
            judged.verdict = judge_keys(judge, history.calls, CallContext(history.times.seconds))
            if not history.invoked:
                judged.verdict = unknown(_NO_CALL)
    except LimitReached as limit:
        judged.verdict = unknown(str(limit))
    judged.read_s, judged.judged_s = read - started, time.monotonic() - read
    return judged


def _notes(times: EventTimes) -> tuple[str, ...]:
    return () if times.note is None else (times.note,)


def write_minimised(judged: JudgedFile, path: FilePath) -> None:
    """Write the small history of the first violated key to a file, which is invalid by itself.

    Raises:
        OSError: the file cannot be written.
    """
    violation = judged.violations[0]
    assert judged.history is not None
    write_part(judged.history, violation.key, violation.minimised, path)


def _verdict(history: ExternalHistory, violations: list[KeyViolation], too_hard: list[str], model_name: str) -> Verdict:
    if violations:
        return invalid(*(violation.sentence for violation in violations))
    if not history.invoked:
        return unknown(_NO_CALL)
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
