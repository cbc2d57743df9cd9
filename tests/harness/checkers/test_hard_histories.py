"""Histories that are wide, long or repetitive: their verdicts, how quickly they come, and that the quick searches are right."""

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from harness.bench.hard_check import build_driver, judged, run_measured, summary
from harness.bench.hard_histories import KINDS, circuit, hard_histories, lines_of, some_run, with_stale_end
from harness.checkers.external_history import read_calls
from harness.checkers.jit_linearizability import judge_window, search
from harness.checkers.models import MODELS, CasRegisterModel, LockModel, LogModel, RegisterModel
from harness.checkers.object_linearizability import certify, find_contradiction
from harness.checkers.sequential_model import DONE, Model, ObjectCall
from harness.checkers.suspect_windows import make_window, possible_states, windows
from node.contract import BadInput


def hard_ones() -> Iterator[tuple[str, Model, list[ObjectCall], bool]]:
    rng = Random(17)
    for clients, values in ((40, 6), (100, 30)):
        yield f"circuit of {clients}", CasRegisterModel(), circuit(rng, clients, values), True
    for clients, values in ((30, 3), (60, 5)):
        yield (
            f"{clients} clients",
            CasRegisterModel(),
            with_stale_end(rng, some_run(rng, CasRegisterModel(), clients, 1_000, values)),
            False,
        )
    yield "log with repeated entries", LogModel(), some_run(rng, LogModel(), 10, 400, 3), True


@pytest.mark.parametrize(
    ("model", "calls", "expected"), [case[1:] for case in hard_ones()], ids=[case[0] for case in hard_ones()]
)
def test_a_hard_history_is_judged_quickly(model: Model, calls: list[ObjectCall], expected: bool) -> None:
    began = time.process_time()
    found = find_contradiction(calls, model, 100_000)
    assert expected == (found is None)
    if found is not None:
        certificate = certify(calls, model, found, lambda place: place / 10)
        assert len(certificate.contradiction.calls) <= 4
    assert time.process_time() - began < 2


@pytest.mark.parametrize("model", [RegisterModel(), CasRegisterModel()])
def test_a_window_of_a_history_with_an_order_has_an_order(model: Model) -> None:
    rng = Random(3)
    for _ in range(6):
        calls = some_run(rng, model, rng.randint(2, 6), 80, 3)
        assert len(calls) > 60
        assert search(calls, model) is None
        for window in windows(calls, model):
            assert judge_window(window, model, None)[0] is None


def test_a_part_of_a_history_with_an_order_has_an_order_whichever_calls_are_required() -> None:
    rng = Random(11)
    model = CasRegisterModel()
    required_ones = 0
    for _ in range(400):
        calls = some_run(rng, model, rng.randint(2, 8), rng.randint(6, 24), 2)
        states = possible_states(calls, model)
        assert states is not None
        ends = sorted(call.ended for call in calls if call.ended is not None)
        begin, end = sorted(rng.sample([-1, *ends], 2))
        some = {call for call in calls if call.ended is not None and call.began > begin and rng.random() < 0.6}
        for required in (None, some):
            window = make_window(calls, model, states, begin, end, required)
            required_ones += len(window.calls) - len(window.skippable)
            assert judge_window(window, model, None)[0] is None
    assert required_ones > 2_000


def test_few_calls_are_named_where_the_writes_of_a_value_cannot_have_come_in_between() -> None:
    calls = [ObjectCall("write", str(number % 3), None, 2 * number, 2 * number + 1, None, 0) for number in range(40)]
    calls += [
        ObjectCall("cas", ("9", "4"), DONE, 80, None, None, 1),  # may make 4, but nothing makes 9
        ObjectCall("write", "4", None, 81, 82, None, 2),
        ObjectCall("write", "1", None, 83, 84, None, 3),
        *(ObjectCall("write", str(number % 3), None, 85, 95 + number, None, 10 + number) for number in range(4)),
        ObjectCall("read", None, "4", 86, 87, None, 4),
    ]
    found = find_contradiction(calls, CasRegisterModel())
    assert found is not None
    named = certify(calls, CasRegisterModel(), found, lambda _: None).contradiction
    assert [call.process for call in named.calls] == [3, 4]
    assert named.supporting == ()
    assert named.template.endswith("no order explains these calls, whichever further calls took effect")


def test_two_holds_of_a_lock_are_named_among_many_that_found_it_held() -> None:
    calls = [ObjectCall("acquire", "a", None, 0, 1, None, "a")]
    calls += [
        ObjectCall("acquire", f"p{number}", "held", 2 + 2 * number, 3 + 2 * number, None, f"p{number}")
        for number in range(100)
    ]
    calls.append(ObjectCall("acquire", "b", None, 300, 301, None, "b"))
    found = find_contradiction(calls, LockModel())
    assert found is not None
    certificate = certify(calls, LockModel(), found, lambda place: place / 10)
    assert [call.process for call in certificate.history] == ["a", "b"]


def test_a_log_whose_entries_repeat_and_whose_read_came_too_early() -> None:
    calls = [
        ObjectCall("append", "1", None, 0, 1, None, "a"),
        ObjectCall("read", None, ("1", "1"), 2, 3, None, "r"),
        ObjectCall("append", "1", None, 4, 5, None, "b"),
    ]
    found = find_contradiction(calls, LogModel())
    assert found is not None
    certificate = certify(calls, LogModel(), found, lambda place: place / 10)
    assert "read 2 entries" in certificate.sentence


def test_hard_histories_of_every_kind_have_their_known_verdicts(tmp_path: Path) -> None:
    rows = list(judged(len(KINDS), 3, 60, 2))
    assert [row for row in rows if row["status"] != row["expected"]] == []
    figures = list(summary(rows))
    assert [(row["kind"], row["right"], row["wrong"]) for row in figures] == [
        *((kind, 1, 0) for kind in KINDS),
        ("all", len(KINDS), 0),
    ]
    assert figures[-1]["named_calls_max"] <= 4
    assert figures[-1]["unnamed_calls_max"] == 0
    for history in hard_histories(len(KINDS), 3):  # as files, too
        path = tmp_path / "history.jsonl"
        path.write_text("".join(lines_of(history)))
        read = read_calls(path, MODELS[history.model]())
        assert [(call.f, call.argument, call.answer) for call in history.calls] == [
            (call.f, call.argument, call.answer) for call in sorted(read.calls[""], key=lambda call: call.began)
        ]


def test_what_is_missing_for_porcupine_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="install golang-go"):
        build_driver(tmp_path, None)
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho no such module >&2\nexit 1\n")
    go.chmod(0o755)
    with pytest.raises(BadInput, match=r"clone it, and name the clone with --porcupine DIR.*no such module"):
        build_driver(tmp_path, None)


def test_a_command_is_measured_and_one_that_fails_is_no_verdict() -> None:
    assert run_measured(["/bin/sh", "-c", 'echo \'{"status": "valid"}\''])["status"] == "valid"
    assert run_measured(["/bin/sh", "-c", "exit 3"])["status"] == "ended with 3"
