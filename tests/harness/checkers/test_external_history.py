import codecs
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.bench.check import cases
from harness.checkers.external_history import read_calls
from harness.checkers.history_file import judge_file
from harness.checkers.models import MODELS
from harness.checkers.sequential_model import Model, ObjectCall
from harness.checkers.verdict import VerdictStatus
from harness.cli.main import run
from harness.records.jsonable import BadFile

Row = tuple[object, str, str, object]


def line(process: object, type_: str, f: str, value: object = None, **more: object) -> dict[str, object]:
    return {"process": process, "type": type_, "f": f, "value": value, **more}


def file_of(folder: Path, *rows: dict[str, object]) -> Path:
    path = folder / "history.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def calls_in(path: Path, model: str) -> dict[str, list[tuple[Any, ...]]]:
    found = read_calls(path, MODELS[model]()).calls
    return {
        key: [(c.process, c.f, c.argument, c.answer, c.began, c.ended) for c in calls] for key, calls in found.items()
    }


def sentence(path: Path, model: str) -> str:
    verdict = judge_file(path, model).verdict
    assert verdict.status == VerdictStatus.INVALID
    return verdict.evidence


# --- reading --------------------------------------------------------------------------------------------------------


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    path = file_of(tmp_path, line(0, "invoke", "write", 1), line(0, "ok", "write", 1))
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert judge_file(path, "register").verdict.status == VerdictStatus.VALID


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe"):
        with pytest.raises(BadFile, match="is no regular file"):
            judge_file(path, "register")


def test_most_fields_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(
        '{"process": 0, "type": "invoke", "f": "write", "value": 1}\n'
        "\n"
        '  {"process": "nemesis", "type": "info", "f": "start"}\n'
        '{"process": "c1", "type": ":invoke", "f": ":read", "extra": [1]}\n'
        '{"process": 0, "type": "info"}\n'
        '{"process": "c1", "type": ":ok", "value": 1}\n'
        '{"process": 7, "type": "info", "f": "crash"}\n'
        '{"process": 0, "type": "invoke", "f": "w", "value": [1, null]}\n'
        '{"process": 3, "type": "invoke", "f": "read"}'
    )
    expected = [
        (0, "write", "1", None, 0, None),
        ("c1", "read", None, "1", 3, 5),
        (0, "write", "[1, null]", None, 7, None),
    ]
    assert {"": expected} == calls_in(path, "register")


def test_a_key_is_a_field_or_the_first_item_of_a_pair(tmp_path: Path) -> None:
    path = file_of(
        tmp_path,
        line(0, "invoke", "write", ["x", 1]),
        line(1, "invoke", "read", ["y", None]),
        line(0, "ok", "write", ["x", 1]),
        line(1, "ok", "read", ["y", None]),
    )
    pairs = {"x": [(0, "write", "1", None, 0, 2)], "y": [(1, "read", None, None, 1, 3)]}
    assert pairs == calls_in(path, "register")
    path = file_of(
        tmp_path,
        line(0, "invoke", "write", [1, 2], key="x"),
        line(1, "invoke", "read", None, key=7),
        line(0, "ok", "write", [1, 2], key="x"),
        line(1, "ok", "read", [3, 4], key=7),
    )
    fields = {"x": [(0, "write", "[1, 2]", None, 0, 2)], "7": [(1, "read", None, "[3, 4]", 1, 3)]}
    assert fields == calls_in(path, "register")


def test_a_get_and_a_delete_may_have_the_key_as_their_value(tmp_path: Path) -> None:
    path = file_of(
        tmp_path,
        line(0, "invoke", "cas", ["x", 1, 2]),
        line(0, "ok", "cas", ["x", 1, 2]),
        line(0, "invoke", "get", "x"),
        line(0, "ok", "get", ["x", 5]),
        line(0, "invoke", "get", "x"),
        line(0, "ok", "get", 5),
        line(0, "invoke", "delete", "x"),
        line(0, "ok", "delete", True),
    )
    expected = [
        (0, "cas", ("1", "2"), "done", 0, 1),
        (0, "get", None, "5", 2, 3),
        (0, "get", None, "5", 4, 5),
        (0, "delete", None, "done", 6, 7),
    ]
    assert {"x": expected} == calls_in(path, "kv")


@pytest.mark.parametrize(
    ("model", "f", "value", "error", "answer"),
    [
        ("cas-register", "cas", [1, 2], "mismatch", "mismatch"),
        ("cas-register", "cas", [1, 2], ["precondition-failed", "3"], "mismatch"),
        ("cas-register", "cas", [1, 2], {"type": ":key-not-found"}, "not found"),
        ("kv", "get", None, "not found: x", None),
        ("kv", "delete", None, "not_found", "not found"),
        ("register", "read", None, "Not found", None),
        ("lock", "acquire", None, "held by c2", "held"),
        ("lock", "release", None, "not held", "not held"),
    ],
)
def test_an_error_that_describes_the_object_is_an_answer(
    tmp_path: Path, model: str, f: str, value: object, error: object, answer: object
) -> None:
    path = file_of(tmp_path, line(0, "invoke", f, value), line(0, "fail", f, value, error=error))
    ((_, _, _, found, began, ended),) = calls_in(path, model)[""]
    assert (answer, 0, 1) == (found, began, ended)


@pytest.mark.parametrize("error", [None, "timeout", "host not found", "leader not found", ["refused"], 7, "heldover"])
def test_a_call_with_any_other_error_never_happened(tmp_path: Path, error: object) -> None:
    rows = []
    for f, value in (("cas", [1, 2]), ("get", None), ("delete", None)):
        rows += [line(0, "invoke", f, value), line(0, "fail", f, value, error=error)]
    assert calls_in(file_of(tmp_path, *rows), "kv") == {"": []}


@pytest.mark.parametrize(
    ("times", "seconds"),
    [([5_000_000_000, 6_500_000_000], [0.0, 1.5]), ([5.0, 6.5], [0.0, 1.5]), ([None, "noon"], [None, None])],
)
def test_times_in_nanoseconds_in_seconds_and_none(
    tmp_path: Path, times: list[object], seconds: list[float | None]
) -> None:
    rows = [line(place, "invoke", "read", None, time=time) for place, time in enumerate(times)]
    history = read_calls(file_of(tmp_path, *rows), MODELS["register"]())
    assert seconds == [history.seconds(0), history.seconds(1)]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["{"], "line 1: not JSON"),
        (['{"process": 0, "type": "info"}', "[]"], r"line 2: it must be a JSON object, and it is \[\]"),
        (['{"process": 0, "type": "info"} 7'], "line 1: not JSON .more after the object: ' 7"),
        ([line(0, "done", "read")], "line 1: type is 'done'"),
        ([line(None, "invoke", "read")], "line 1: process is None"),
        ([line(0, "ok", "read", 1)], "line 1: process 0 has no call open that this ok could end"),
        ([line(0, "invoke", "read"), line(0, "invoke", "read")], "line 2: process 0 calls while its call of line 1 is"),
        (
            [line(0, "invoke", "read"), line(0, "ok", "write")],
            "line 2: this line ends 'write' .* whose open call is read",
        ),
        ([line(0, "invoke", "cas", [1, 2])], "line 1: f is 'cas', .* write, read: try --model cas-register or kv"),
        (['{"process": 0, "type": "invoke", "f": null}'], "line 1: f is null, and the model Register has write, read"),
        (['{"process": 0, "type": "invoke"}'], "line 1: f is missing, and the model Register has write, read"),
        ([line(0, "invoke", "read", index=3), line(1, "invoke", "read", index=2)], "line 2: index 2 comes after 3"),
        (
            [line(0, "invoke", "read", time=3.5), line(1, "invoke", "read", time=2.5)],
            "line 2: time 2.5 comes after 3.5",
        ),
        ([line(0, "invoke", "read", ["x", None]), line(1, "invoke", "write", 5)], "line 2: the value of write is 5"),
    ],
)
def test_the_error_of_a_bad_file_names_the_line(tmp_path: Path, rows: list[Any], expected: str) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    with pytest.raises(BadFile, match=expected):
        read_calls(path, MODELS["register"]())
    assert run(["check", str(path), "--model", "register"]) == 254


def test_a_file_that_is_no_text_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"\x1f\x8b\x08\xff\xfe")
    with pytest.raises(BadFile, match="is no text: it has bytes that are not UTF-8"):
        read_calls(path, MODELS["register"]())


def test_the_error_of_a_bad_value_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"line 1: the value of a cas must be \[old, new\]"):
        read_calls(file_of(tmp_path, line(0, "invoke", "cas", 5)), MODELS["cas-register"]())
    bad = file_of(tmp_path, line(0, "invoke", "read"), line(0, "ok", "read", 5))
    with pytest.raises(BadFile, match="line 2: a read of a log must return the list of its entries"):
        read_calls(bad, MODELS["log"]())


@pytest.mark.parametrize(
    ("model", "f", "value", "wanted"),
    [
        ("list-append", "txn", [["append", 1]], 'a list of steps, ["append", key, value]'),
        ("list-append", "txn", 5, "a list of steps"),
        ("rw-register", "txn", [["append", 1, 2]], 'a list of steps, ["w", key, value]'),
        ("counter", "add", "5", "a whole number, or null for 1"),
        ("kafka", "send", 3, "[key, value]"),
        ("kafka", "txn", [["sent", 1, 2]], "a list of steps"),
    ],
)
def test_what_no_client_can_have_asked_is_a_mistake_of_the_file_and_no_verdict(
    tmp_path: Path, model: str, f: str, value: object, wanted: str
) -> None:
    path = file_of(tmp_path, line(0, "invoke", f, value), line(0, "ok", f, value))
    with pytest.raises(BadFile, match=re.escape(f"line 1: the value of this {f} must be {wanted}")):
        judge_file(path, model)
    assert run(["check", str(path), "--model", model]) == 254


# --- judging --------------------------------------------------------------------------------------------------------


def history(folder: Path, *rows: Row) -> Path:
    """Write rows of (process, type, f, value), a tenth of a second apart."""
    lines = [line(*row, index=place, time=place * 100_000_000) for place, row in enumerate(rows)]
    return file_of(folder, *lines)


def test_two_holds_of_a_lock_that_overlap(tmp_path: Path) -> None:
    rows: list[Row] = [("a", "invoke", "acquire", None), ("a", "ok", "acquire", 1)]
    rows += [("b", "invoke", "acquire", None), ("b", "ok", "acquire", 2)]
    rows += [("a", "invoke", "release", None), ("a", "ok", "release", None)]
    expected = (
        "a held the lock from 0.10 s on and did not begin to release it before 0.40 s, but b also acquired it by 0.30 s"
    )
    assert expected == sentence(history(tmp_path, *rows), "lock")


def test_a_token_that_does_not_rise(tmp_path: Path) -> None:
    rows: list[Row] = [("a", "invoke", "acquire", None), ("a", "ok", "acquire", {"token": 5})]
    rows += [("a", "invoke", "release", None), ("a", "info", "release", None)]
    rows += [("b", "invoke", "acquire", None), ("b", "ok", "acquire", {"token": 5})]
    first = "a acquired the lock with token 5 by 0.10 s, and after that b acquired it by 0.50 s "
    expected = f"{first}with token 5, which is not higher"
    assert expected == sentence(history(tmp_path, *rows), "lock")


def test_a_log_that_loses_an_entry(tmp_path: Path) -> None:
    rows: list[Row] = [("a", "invoke", "append", 1), ("a", "ok", "append", 1)]
    rows += [("b", "invoke", "append", 2), ("b", "ok", "append", 2)]
    rows += [("b", "invoke", "read", None), ("b", "ok", "read", [2])]
    expected = "a appended 1 by 0.10 s, but b, in a call that began at 0.40 s, read 1 entry (2), which lacks that entry"
    assert expected == sentence(history(tmp_path, *rows), "log")


def test_a_log_that_forks(tmp_path: Path) -> None:
    rows: list[Row] = [("a", "invoke", "append", 1), ("b", "invoke", "append", 2)]
    rows += [("c", "invoke", "read", None), ("c", "ok", "read", [1])]
    rows += [("d", "invoke", "read", None), ("d", "ok", "read", [2, 1])]
    assert sentence(history(tmp_path, *rows), "log").endswith(
        "but the shorter list is not a beginning of the longer one"
    )


def test_a_mismatch_that_no_order_explains(tmp_path: Path) -> None:
    rows: list[Row] = [("a", "invoke", "put", 1), ("a", "ok", "put", 1), ("b", "invoke", "cas", [1, 2])]
    lines = [line(*row) for row in rows] + [line("b", "fail", "cas", [1, 2], error="mismatch")]
    expected = (
        'a wrote 1 from line 1 to line 2, b called cas 2 for 1 and received "mismatch" from line 3 to line 4: '
        "no order explains these calls"
    )
    assert expected == sentence(file_of(tmp_path, *lines), "kv")


def test_each_key_is_judged_by_itself(tmp_path: Path) -> None:
    rows = []
    for key in ("good", "bad", "worse"):
        rows += [line(0, "invoke", "write", 1, key=key), line(0, "ok", "write", 1, key=key)]
        rows += [line(0, "invoke", "read", None, key=key), line(0, "ok", "read", 1 if key == "good" else 9, key=key)]
    verdict = judge_file(file_of(tmp_path, *rows), "register").verdict
    assert verdict.evidence.startswith("bad: process 0 read 9")
    assert len(verdict.more) == 1
    assert verdict.more[0].startswith("worse: ")


@pytest.mark.parametrize("number", range(len(cases(0.02))))
def test_the_verdicts_of_the_benchmark_histories(tmp_path: Path, number: int) -> None:
    case = cases(0.02)[number]
    path = tmp_path / "history.jsonl"
    path.write_text("".join(case.lines))
    assert case.expected == judge_file(path, case.model).verdict.status


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_command_prints_the_verdict_and_exits_with_its_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[Row] = [("a", "invoke", "write", 1), ("a", "ok", "write", 1)]
    path = history(tmp_path, *rows)
    assert run(["check", str(path), "--model", "register"]) == 0
    assert (
        capsys.readouterr().out == "valid: the calls have an order that the model register allows (1 answer on 1 key)\n"
    )
    path = history(tmp_path, *rows[:1])
    assert run(["check", str(path), "--model", "register"]) == 2
    assert capsys.readouterr().out == "unknown: none of 1 call was answered\n"
    path.write_text("\n")
    assert run(["check", str(path), "--model", "register"]) == 2
    assert "unknown: the file holds no call: was its run interrupted" in capsys.readouterr().out
    assert run(["check", str(path), "--model", "stack"]) == 254
    assert run(["check", str(tmp_path / "none"), "--model", "lock"]) == 254


def test_the_command_imports_no_module_that_runs_nodes(tmp_path: Path) -> None:
    """A caller that judges a hundred small files mostly waits for imports."""
    path = history(tmp_path, ("a", "invoke", "write", 1), ("a", "ok", "write", 1))
    script = (
        "import sys; from harness.cli.main import run; "
        f"assert run(['check', {str(path)!r}, '--model', 'register']) == 0; "
        "assert 'harness.checkers.object_linearizability' in sys.modules; "
        "assert not {'zmq', 'apsw', 'msgpack', 'psutil', 'asyncio'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-P", "-c", script], check=True)


@pytest.mark.parametrize("model", ["register", "kv"])
def test_a_minimised_history_is_invalid_by_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    rows: list[Row] = []
    for number in range(300):
        value = number % 100
        rows += [("a", "invoke", "put", ["x", value]), ("b", "invoke", "put", ["x", value + 1000])]
        rows += [("a", "info" if number % 7 == 0 else "ok", "put", None), ("b", "ok", "put", None)]
        rows += [("c", "invoke", "get", ["x", None]), ("c", "ok", "get", ["x", value + 1000])]
    rows += [("c", "invoke", "get", ["x", None]), ("c", "ok", "get", ["x", 50])]
    path = history(tmp_path, *rows)
    assert run(["check", str(path), "--model", model, "--minimise", "-o", "json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert (result["schema"], result["status"], result["calls"], result["keys"]) == (1, "invalid", 901, 1)
    (violation,) = result["violations"]
    assert 2 <= len(violation["calls"]) <= 4
    small = tmp_path / "history.min.jsonl"
    assert str(small) == result["minimised"]
    assert run(["check", str(small), "--model", model, "-o", "json"]) == 1
    again = json.loads(capsys.readouterr().out)
    assert again["calls"] == violation["minimised_calls"] <= 6


def test_a_budget_that_is_too_small_is_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[Row] = [(f"a{number}", "invoke", "append", 1) for number in range(5)]
    rows += [("r", "invoke", "read", None), ("r", "ok", "read", [1] * 5)]
    rows += [("b", "invoke", "append", 1), ("b", "ok", "append", None)]
    rows += [("r", "invoke", "read", None), ("r", "ok", "read", [1] * 5)]
    path = history(tmp_path, *rows)
    assert run(["check", str(path), "--model", "log", "--budget", "1"]) == 2
    assert "raise --budget" in capsys.readouterr().out
    assert run(["check", str(path), "--model", "log"]) == 1


def test_every_alias_names_a_function() -> None:
    for kind in MODELS.values():
        model: Model = kind()
        assert set(model.aliases.values()) <= set(model.functions)
        assert set(model.reads) | set(model.without_value) <= set(model.functions)
        assert ObjectCall(model.functions[0], None, None, 0).is_pending
