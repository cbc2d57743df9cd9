"""How models and judges read the values of calls, and what the models answer, compared with the files in `forms/`.

Every function of every model gets every form of a value that some system writes, and many that none does. `pytest --regenerate`
writes the files again: read them as a diff.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from harness.checkers.call_judges import CALL_JUDGES
from harness.checkers.history_lines import function_of, names_of_functions, plain_value, type_and_process
from harness.checkers.models import MODELS, CasRegisterModel, FailedCas
from harness.checkers.sequential_model import (
    NO_ANSWER,
    NO_SINGLE_STATE,
    Model,
    ModelState,
    ObjectCall,
    calls_of,
    definite_answer,
)
from harness.records.history import Event, EventType, RecordedCall
from tests.harness.checkers.test_linearizable import TEXTS

FILES = Path(__file__).with_name("forms")
#: What the value of an invoke, or of an ok, may be.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2.5, "a", "done", "mismatch", "not found", "held", [], [1], [None, 1], [1, None], [1, 2],
    [1, 2, 3], ["a", "b"], [[1, 2]], [None, [1, 2]], [2, [3, 4]], ["x", [5, "v"]], {}, {"a": 1}, {"$bytes": "YQ=="},
    [["r", "x", None]], [["r", "x", 1], ["w", "y", 2]], [["w", "x", 1]], [["append", "x", 1]], [[":r", "x", None]],
    [["read", "x"]], [["write", "x", 3], ["read", "x", 3]], [["z", "x", 1]], [[1, "x", 1]],
    [["send", "k", 1], ["poll"]], [["poll", {"k": 1}]], [["send"]],
)  # fmt: skip
ERRORS: tuple[Any, ...] = (
    None, "mismatch", "mismatch: was a", "precondition-failed", "cas_failed", ":not_found", "Not Found", "not-found, x",
    "key does not exist", "held", "lock is held", "not_held", "not holder", "held by c1", "heldish", "timeout",
    ["mismatch", 1], [], {"type": "held"}, {}, 7,
)  # fmt: skip


ENDS: tuple[EventType | None, ...] = ("ok", "fail", "info", None)


def tried(function: Callable[[], object]) -> str:
    try:
        found = function()
    except ValueError as error:
        return f"{type(error).__name__}: {error}"
    except AssertionError:
        return "asserts"
    return "no answer" if found is NO_ANSWER else "several" if found is NO_SINGLE_STATE else repr(found)


def models() -> Iterator[tuple[str, Model]]:
    yield from ((name, kind()) for name, kind in MODELS.items())
    ways: tuple[FailedCas, ...] = ("mismatch", "ignore")
    for failed_cas in ways:
        model = CasRegisterModel()
        model.failed_cas = failed_cas
        yield f"cas-register, a failed cas is {failed_cas}", model


def of_models() -> Iterator[str]:
    """Yield what each model makes of each value of an invoke, of an ok, and of an error."""
    for name, model in models():
        for first in ("3", "text", "1"):
            other = type(model)()
            yield f"{name} starts with {first}: {tried(partial(other.start_with, first))}, {vars(other)}, {other.setting}"
        for f in model.functions:
            arguments: dict[Any, list[Any]] = {}
            for value in VALUES:
                try:
                    arguments.setdefault(model.argument_from(f, value, "c1"), []).append(value)
                except ValueError as error:
                    yield f"{name} {f} of {value!r}: {error}"
            yield f"{name} {f}: {arguments}"
            for argument in list(arguments)[:4]:
                answers: dict[str, list[Any]] = {}
                for value in VALUES:
                    found = tried(partial(model.answer_from, f, argument, value))
                    answers.setdefault(found, []).append(value)
                if len(answers) > 1:
                    yield f"{name} {f} of {argument!r}: {answers}"
            errors: dict[str, list[Any]] = {}
            for failure in ERRORS:
                errors.setdefault(tried(partial(model.answer_from_error, f, failure)), []).append(failure)
            yield f"{name} {f} fails: {errors}"
    for failure in ERRORS:
        yield f"error {failure!r}: {definite_answer(failure)}"


def some_arguments(model: Model, f: str) -> Iterator[Any]:
    for value in (
        None,
        1,
        *TEXTS[:2],
        ["a", "b"],
        ["b", "a"],
        [None, "a"],
        [["r", "x", None], ["w", "x", "a"]],
        [["w", "y", "b"]],
    ):
        try:
            yield model.argument_from(f, value, "c1" if value != 1 else "c2")
        except ValueError:
            continue


def some_answers(model: Model, f: str, argument: Any) -> Iterator[Any]:
    for value in (None, 1, 2, "a", "b", ["a"], [1, "a"], [2, "b"], [["r", "x", "a"], ["w", "x", "a"]]):
        try:
            yield model.answer_from(f, argument, value)
        except ValueError:
            continue
    for error in (None, "mismatch", "not found", "held", "not held"):
        if (answer := model.answer_from_error(f, error)) is not NO_ANSWER:
            yield answer


def stepped(model: Model, state: ModelState, call: ObjectCall) -> str:
    after, answer = model.step(state, call)
    return f"{after!r} and {'no answer' if answer is NO_ANSWER else repr(answer)}"


def of_steps() -> Iterator[str]:
    """Yield what each call does in states that are reached by others, and what the model says of it."""
    for name, model in models():
        calls = [
            ObjectCall(f, argument, answer, 0, ended, process="c1")
            for f in model.functions
            for argument in dict.fromkeys(some_arguments(model, f))
            for answer in dict.fromkeys(some_answers(model, f, argument))
            for ended in (1, None)
        ]
        states = [model.initial]
        for state in states:  # the loop appends to this list
            for after in dict.fromkeys(model.step(state, call)[0] for call in calls):
                if after not in states and len(states) < 4:
                    states.append(after)
        for call in calls:
            about = {
                "read": model.is_read(call), "blind": model.is_blind(call), "needs": model.required_state(call),
                "makes": model.resulting_state(call),
            }  # fmt: skip
            text = ", ".join(
                f"{what} {'several' if found is NO_SINGLE_STATE else found}" for what, found in about.items()
            )
            what = f"{call.f} {call.argument!r} {call.answer!r}{' pending' if call.is_pending else ''}"
            steps = "; ".join(f"{state!r} to {stepped(model, state, call)}" for state in states if not call.is_pending)
            yield f"{name} {what}: {text}: {steps}"
        yield f"{name} accepts all in {[state for state in states if model.accepts_all(state)]}"


def of_lines() -> Iterator[str]:
    """Yield what each field of a line of a history file is taken for."""
    names = ("ok", ":ok", "INVOKE", ":Fail", "info", "oK", None, 1, ["ok"])
    for type_, process in product(names, (0, "c", ":nemesis", None, 1.5)):
        found = tried(partial(type_and_process, {"type": type_, "process": process}))
        yield f"type {type_!r}, process {process!r}: {found}"
    yield f"no process: {tried(partial(type_and_process, {'type': 'ok'}))}"
    for name, model in models():
        functions = names_of_functions(model)
        yield f"{name}: {functions}"
        for event in ({"f": "r"}, {"f": ":acquire"}, {"f": "enqueue"}, {"f": None}, {}, {"f": 3}, {"f": "propose"}):
            yield f"{name} {event}: {tried(partial(function_of, functions, event, model))}"
    for value in VALUES:
        yield f"plain {value!r}: {tried(partial(plain_value, value))}"
    for judge, (f, value) in product(CALL_JUDGES.values(), product(("send", "poll", "txn", "add"), VALUES)):
        if f in judge.functions and (asks := judge.asks_for(f, value)):
            yield f"{judge.functions} {f} of {value!r} must be {asks}"


def of_recorded() -> Iterator[str]:
    """Yield which recorded calls a model judges, and as what."""
    about: dict[str, Any] = {"process": "c1", "key": "x"}
    for name, model in models():
        for f, type_, error in product((*model.functions, "other"), ENDS, (None, "mismatch", "held", "not found")):
            if type_ != "fail" and error:
                continue
            asked: Any = {"cas": ["a", "b"], "txn": [["r", "x", None]], "other": "a"}.get(
                f, 1 if name == "semaphore" else "a"
            )
            invoke = Event(0, 0, type="invoke", f=f, value=asked, **about)
            answer: Any = asked if f == "txn" else [1, "a"] if name in ("versioned-register", "log") else "a"
            value = answer if type_ == "ok" else None
            end = None if type_ is None else Event(1, 1, type=type_, f=f, value=value, error=error, **about)
            found = {key: [(one.f, one.argument, one.answer, one.ended) for one in calls]
                     for key, calls in calls_of([RecordedCall(invoke, end)], model).items()}  # fmt: skip
            yield f"{name} {f} {type_} {error}: {found}"


@pytest.mark.parametrize("forms", [of_models, of_steps, of_lines, of_recorded])
def test_forms_are_read_as_they_were_read(forms: Callable[[], Iterator[str]], regenerate: bool) -> None:
    path = FILES / f"{forms.__name__}.txt"
    found = "".join(f"{line}\n" for line in forms())
    if regenerate:
        path.write_text(found)
    assert found.splitlines() == path.read_text().splitlines()
