"""`consensus check`: its formats, its options, and every judge by its name."""

import json
import os
import signal
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from harness.checkers import history_file
from harness.checkers.call_judges import CALL_JUDGES
from harness.checkers.edn_forms import BadEdn, forms
from harness.checkers.jit_linearizability import TooHard
from harness.checkers.known_bad_calls import known_bad_calls
from harness.checkers.models import MODELS
from harness.checkers.object_linearizability import find_contradiction
from harness.checkers.transactions import ISOLATION_LEVELS
from harness.checkers.work_limits import _memory_used
from harness.cli.check_files import JUDGE_NAMES, LEVEL_NAMES, MODEL_NAMES, OPTIONS
from harness.cli.main import run
from harness.cli.plain_options import read
from harness.cli.verbs import run_verb
from harness.records.history import Event, History
from harness.report.edn import history_as_edn

JEPSEN = """{:type :invoke, :f :write, :value 3, :process 0, :time 3291485317, :index 0}
{:type :invoke, :f :read, :value nil, :process 1, :time 3291485000, :index 1} ; the time steps back
#jepsen.history.Op{:type :ok, :f :write, :value 3, :process 0, :time 3291490000, :index 2}
{:type :info, :f :start, :process :nemesis, :value {:cut #{"n1" "n2"}}, :time 3291490001, :index 3}
{:type :ok, :f :read, :value %s, :process 1, :time 3291490002, :index 4}
"""


def events(*rows: tuple[Any, str, str, Any]) -> list[dict[str, Any]]:
    return [{"process": process, "type": type_, "f": f, "value": value} for process, type_, f, value in rows]


WRITE_THEN_READ = events(
    (0, "invoke", "write", 1), (0, "ok", "write", 1), (0, "invoke", "read", None), (0, "ok", "read", 1)
)


def saved(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_the_help_names_every_model_judge_and_level() -> None:
    assert (tuple(MODELS), tuple(CALL_JUDGES), tuple(ISOLATION_LEVELS)) == (MODEL_NAMES, JUDGE_NAMES, LEVEL_NAMES)


def test_edn_as_jepsen_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in (("lines.edn", JEPSEN), ("vector.edn", f"[{JEPSEN}]"), ("late.edn", f"\n;\n{JEPSEN}")):
        assert run(["check", saved(tmp_path, name, text % "3"), "--model", "register"]) == 0
        assert "note: time steps back once, by less than a millisecond" in capsys.readouterr().err
        assert run(["check", saved(tmp_path, name, text % "4"), "--model", "register"]) == 1
        assert "process 1 read 4" in capsys.readouterr().out
    assert run(["check", saved(tmp_path, "torn.edn", JEPSEN[:-20]), "--model", "register"]) == 254
    assert "is not EDN: line 5: the text ends within a form" in capsys.readouterr().err


def test_the_forms_of_edn() -> None:
    text = r"""[:a "b\n\"" -3 4N 1.5 2M true nil \c {:k [1 #{2}]} #inst "2020"
            #_ :gone (sym) ##Inf {:tuple [1 {:bytes "00ff"}]}]"""
    expected = [
        "a",
        'b\n"',
        -3,
        4,
        1.5,
        2.0,
        True,
        None,
        "c",
        {"k": [1, [2]]},
        "2020",
        ["sym"],
        float("inf"),
        (1, b"\x00\xff"),
    ]
    assert [expected] == list(forms(text))
    for bad in ("]", "{:a}", "[1", '"open'):
        with pytest.raises(BadEdn, match="line 1"):
            list(forms(bad))


def test_an_exported_history_can_be_read_again(tmp_path: Path) -> None:
    about: dict[str, Any] = {"process": "c1", "f": "write", "key": "x", "value": (1, b"\x00", {"a": [None, 1.5]})}
    written = [Event(0, 5, type="invoke", **about), Event(1, 9, type="ok", **about)]
    read: dict[str, Any] = {"process": "c2", "f": "read", "key": "x"}
    seen = [Event(2, 10, type="invoke", **read), Event(3, 11, type="ok", value=about["value"], **read)]
    text = "\n".join(history_as_edn(History([*written, *seen]), []))
    assert run(["check", saved(tmp_path, "export.edn", text), "--model", "register"]) == 0


def test_an_array_upper_case_types_and_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(["check", saved(tmp_path, "a.json", json.dumps(WRITE_THEN_READ, indent=1)), "--model", "register"]) == 0
    upper = [{**row, "type": row["type"].upper()} for row in WRITE_THEN_READ]
    assert run(["check", saved(tmp_path, "b.jsonl", lines(upper)), "--model", "register"]) == 0
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(lines(WRITE_THEN_READ).encode())))
    assert run(["check", "-", "--model", "register"]) == 0
    assert run(["check", "-", "--model", "register", "--minimise"]) == 254


def test_the_log_of_jepsen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """INFO  jepsen.os.debian - :n1 setting up
INFO  jepsen.util - 0\t:invoke\t:write\t3
INFO  jepsen.util - :nemesis\t:info\t:start\tnil
INFO  jepsen.util - 0\t:ok\t:write\t3
INFO  jepsen.util - 1\t:invoke\t:cas\t[3 4]
INFO  jepsen.util - 1\t:fail\t:cas\t[3 4]%s
2   :invoke :read  nil
2   :ok     :read  3
"""
    path = saved(tmp_path, "jepsen.log", text % "")
    assert run(["check", path, "--model", "cas-register"]) == 0
    assert run(["check", path, "--model", "cas-register", "--failed-cas", "mismatch"]) == 1
    assert 'called cas 4 for 3 and received "mismatch"' in capsys.readouterr().out
    for error, options, code in (
        ("timed-out", "mismatch", 0),
        ("mismatch", "by-error", 1),
        ("mismatch", "ignore", 0),
    ):
        path = saved(tmp_path, "jepsen.log", text % f"\t:{error}")
        assert run(["check", path, "--model", "cas-register", "--failed-cas", options]) == code
    assert run(["check", path, "--model", "lock", "--failed-cas", "ignore"]) == 254


def test_one_line_for_each_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = [
        {"process": 1, "f": "write", "value": 7, "start": 0.1, "end": 0.2},
        {"process": 1, "f": "write", "value": 8, "start": 0.15, "end": None},
        {"f": "read", "result": 7, "start": 0.3, "end": 0.4, "type": "OK"},
        {"f": "read", "value": 8, "start": 0.35, "end": 0.6},
    ]
    path = saved(tmp_path, "a.jsonl", lines(rows))
    assert run(["check", path, "--model", "register"]) == 0
    stale = {"f": "read", "result": 7, "start": 0.7, "end": 0.8}
    path = saved(tmp_path, "b.jsonl", lines([stale, *rows]))
    assert run(["check", path, "--model", "register", "--minimise"]) == 1
    assert "8 was read by line 5 within that time, from 0.25 s to 0.50 s" in capsys.readouterr().out
    assert run(["check", str(tmp_path / "b.min.jsonl"), "--model", "register"]) == 1
    touching = [{**rows[0], "end": 0.2}, {"f": "read", "value": None, "start": 0.2, "end": 0.3}]
    assert run(["check", saved(tmp_path, "c.jsonl", lines(touching)), "--model", "register"]) == 0
    for wrong in ({"start": 2, "end": 1}, {"start": "now", "end": 1}, {"start": 0, "end": 1, "f": "push"}):
        path = saved(tmp_path, "d.jsonl", lines([rows[0], {**rows[0], **wrong}]))
        assert run(["check", path, "--model", "register"]) == 254
        assert "d.jsonl, line 2: " in capsys.readouterr().err


def test_the_order_of_lines_counts_if_their_index_rises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{**row, "time": 9.0 - place} for place, row in enumerate(WRITE_THEN_READ)]
    assert run(["check", saved(tmp_path, "a.jsonl", lines(rows)), "--model", "register"]) == 254
    indexed = [{**row, "index": place} for place, row in enumerate(rows)]
    assert run(["check", saved(tmp_path, "a.jsonl", lines(indexed)), "--model", "register"]) == 0
    assert "time steps back 3 times, by up to 3 s while the index rises" in capsys.readouterr().err


def test_transactions_versions_and_permits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def verdict(model: str, *rows: tuple[str, Any, Any], initial: str | None = None) -> int:
        of_all = [row for f, asked, got in rows for row in events((0, "invoke", f, asked), (0, "ok", f, got))]
        option = [] if initial is None else ["--initial", initial]
        return run(["check", saved(tmp_path, "a.jsonl", lines(of_all)), "--model", model, *option])

    write = ("txn", [["w", "x", 1], ["w", "y", 2]], [["w", "x", 1], ["w", "y", 2]])
    assert verdict("multi-register", write, ("txn", [["r", "x", None]], [["r", "x", 1]])) == 0
    assert verdict("multi-register", write, ("txn", [["r", "y", None]], [["r", "y", 1]])) == 1
    assert verdict("multi-register", ("txn", [["read", "z", None]], [["read", "z", 0]]), initial="0") == 0
    assert verdict("multi-register", ("txn", [["r", "z", None]], [["r", "q", 0]])) == 254
    assert verdict("multi-register", ("txn", [["w", "x", 1]], [["w", "x", 2]])) == 254
    assert (
        'a.jsonl, line 2: the ok of a transaction has its own steps, and this one writes 2 to "x"'
        in capsys.readouterr().err
    )
    assert verdict("versioned-register", ("write", "a", 1), ("read", None, [1, "a"]), ("cas", ["a", "b"], 2)) == 0
    assert (
        verdict("versioned-register", ("write", "a", None), ("write", "a", [None, "a"]), ("read", None, [1, "a"])) == 1
    )
    assert verdict("mutex", ("acquire", None, None), ("release", None, None), ("acquire", None, None)) == 0
    assert verdict("mutex", ("acquire", None, None), ("acquire", None, None)) == 1
    two = [("acquire", 1, 1), ("acquire", 1, 1)]
    assert (verdict("semaphore", *two), verdict("semaphore", *two, initial="2")) == (1, 0)
    assert verdict("semaphore", ("release", 1, 1)) == 1
    assert (
        verdict("kv", ("append", ["k", "a"], None), ("append", ["k", "b"], None), ("get", ["k", None], ["k", "ab"]))
        == 0
    )
    assert (
        verdict("kv", ("append", ["k", "a"], None), ("append", ["k", "b"], None), ("get", ["k", None], ["k", "ba"]))
        == 1
    )


def test_keys_that_take_long_come_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets = []

    def hard(calls: Any, model: Any, budget: int) -> Any:
        budgets.append(budget)
        if calls[0].argument == '"hard"':
            raise TooHard
        return find_contradiction(calls, model, budget)

    monkeypatch.setattr("harness.checkers.history_file.find_contradiction", hard)
    rows = [{**row, "key": "b"} for row in events((0, "invoke", "write", "hard"), (0, "ok", "write", None))]
    good = [{**row, "key": "a"} for row in WRITE_THEN_READ]
    path = saved(tmp_path, "a.jsonl", lines([*rows, *good]))
    assert run(["check", path, "--model", "register"]) == 2
    assert len(set(budgets)) == 2
    path = saved(tmp_path, "a.jsonl", lines([*rows, *good[:-1], {**good[-1], "value": 7}]))
    assert run(["check", path, "--model", "register"]) == 1
    assert "note: 1 further key could not be decided quickly" in capsys.readouterr().err


def test_a_folder_and_several_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = saved(tmp_path, "good.jsonl", lines(WRITE_THEN_READ))
    (tmp_path / "deep").mkdir()
    bad = saved(tmp_path / "deep", "bad.jsonl", lines(events((1, "invoke", "read", None), (1, "ok", "read", 5))))
    assert run(["check", str(tmp_path), "--model", "register"]) == 1
    out, err = capsys.readouterr()
    rows = [row.split(maxsplit=5) for row in out.splitlines()]
    assert [[bad, "invalid", "1"], [good, "valid", "2"]] == [row[:3] for row in rows]
    assert "process 1 read 5 at line 2, which no client had written\n" in out
    assert err.startswith("2 files: 1 invalid, 1 valid; 3 calls; ")
    torn = saved(tmp_path, "torn.jsonl", "{")
    assert run(["check", good, torn, "--model", "register", "-o", "json"]) == 254
    assert [row["status"] for row in json.loads(capsys.readouterr().out)["files"]] == ["valid", "no history"]


def test_an_initial_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = events((0, "invoke", "read", None), (0, "ok", "read", 0), (0, "invoke", "write", 1), (0, "ok", "write", 1))
    path = saved(tmp_path, "a.jsonl", lines(rows))
    assert run(["check", path, "--model", "register"]) == 1
    for model in ("register", "cas-register", "kv"):
        assert run(["check", path, "--model", model, "--initial", "0"]) == 0
    late = saved(tmp_path, "b.jsonl", lines([*rows, *rows[:2]]))
    assert run(["check", late, "--model", "register", "--initial", "0"]) == 1
    assert "the value was 0 until" in capsys.readouterr().out
    assert run(["check", path, "--model", "log", "--initial", "0"]) == 254


def test_no_explanation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row for number in range(40) for row in events((0, "invoke", "write", number % 2), (0, "ok", "write", None))]
    rows += events(
        (0, "invoke", "read", None), (0, "ok", "read", 0), (0, "invoke", "cas", [1, 0]), (0, "ok", "cas", [1, 0])
    )
    path = saved(tmp_path, "a.jsonl", lines(rows))
    assert run(["check", path, "--model", "cas-register", "--no-explain", "-o", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["violations"][0]["minimised_calls"] == 42


def test_a_limit_of_time_ends_any_loop_as_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(*_: object) -> None:
        while True:
            pass

    monkeypatch.setattr("harness.checkers.history_file.find_contradiction", endless)
    monkeypatch.setattr("harness.checkers.client_calls.judge_keys", endless)
    path = saved(tmp_path, "a.jsonl", lines(WRITE_THEN_READ))
    sets = saved(tmp_path, "b.jsonl", lines(events((0, "invoke", "add", 1), (0, "ok", "add", 1))))
    for file, model in ((path, "register"), (sets, "set")):
        assert run(["check", file, "--model", model, "--timeout", "0.05"]) == 2
        assert "not decided within 0.05 s: raise --timeout" in capsys.readouterr().out


def test_a_limit_of_memory_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(*_: object) -> None:
        kept: list[object] = []
        while True:
            kept.append([None] * 1_000)

    def denied(*_: object) -> None:
        raise MemoryError

    path = saved(tmp_path, "a.jsonl", lines(WRITE_THEN_READ))
    now_gb = _memory_used() / 1e9
    for name, limit, expected in ((endless, now_gb + 0.1, "raise --memory"), (denied, 9, "denies more memory")):
        monkeypatch.setattr("harness.checkers.history_file.find_contradiction", name)
        assert run(["check", path, "--model", "register", "--memory", str(limit)]) == 2
        assert expected in capsys.readouterr().out


def test_a_file_whose_process_is_killed_is_unknown_and_the_others_are_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = history_file.judge_file

    def killed(path: Path, *more: Any) -> Any:
        if Path(path).name == "b.jsonl":
            os.kill(os.getpid(), signal.SIGKILL)
        return real(path, *more)

    monkeypatch.setattr(history_file, "judge_file", killed)
    for name in "abc":
        saved(tmp_path, f"{name}.jsonl", lines(WRITE_THEN_READ))
    assert run(["check", str(tmp_path), "--model", "register", "--workers", "3"]) == 2
    rows = [row.split(maxsplit=2) for row in capsys.readouterr().out.splitlines()]
    assert [row[1] for row in rows] == ["valid", "unknown", "valid"]
    assert "was killed: did the machine run out of memory?" in rows[1][2]


@pytest.mark.parametrize("value", ["[" * 700 + "]" * 700, '{"a":' * 700 + "1" + "}" * 700])
def test_values_that_are_nested_very_deeply_are_no_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    text = f'{{"process": 0, "type": "invoke", "f": "write", "value": {value}}}\n'
    assert run(["check", saved(tmp_path, "a.jsonl", text), "--model", "register"]) == 254
    assert "line 1: a value is nested too deeply" in capsys.readouterr().err


def test_a_map_of_edn_with_numbers_as_keys_is_a_value(tmp_path: Path) -> None:
    text = "".join(f"{{:process 0, :type {type_}, :f :write, :value {{7 1}}}}\n" for type_ in (":invoke", ":ok"))
    text += "{:process 0, :type :invoke, :f :read, :value nil}\n{:process 0, :type :ok, :f :read, :value {7 2}}\n"
    assert run(["check", saved(tmp_path, "a.edn", text), "--model", "register"]) == 1


PLAIN_LINES = (
    "{file} --model register",
    "--model=register {file} {file} -o json",
    "{file} - --model lock --no-explain --minimise --output=json",
    "{file} --model kv --initial 3 --timeout 0.5 --memory 2 --budget 7 --workers 3 --failed-cas ignore",
    "{file} --model list-append --consistency serializable --timeout 1 --timeout 2",
)
OTHER_LINES = (
    "{file}",
    "{folder} --model register",
    "--model register",
    "{file} --model registers",
    "{file} --model register --workers 65",
    "{file} --model register --budget 0",
    "{file} --model register --timeout 0",
    "{file} --model register --timeout nan",
    "{file} --model register --memory inf",
    "{file} --model register --minimise=1",
    "{file} --model register --timeout",
    "{file}x --model register",
    "{folder}//{name} --model register",
    "{file} --model register --dir x",
    "{file} --model register -ojson",
    "{file} --model register -- {file}",
    "--help",
)


def test_plain_command_lines_are_read_as_click_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, "a.jsonl", lines(WRITE_THEN_READ))
    by_click: list[dict[str, Any]] = []
    monkeypatch.setattr("harness.cli.check.run", lambda **parameters: by_click.append(parameters))
    for line in PLAIN_LINES:
        words = line.format(file=path).split()
        run_verb(["check", *words], in_own_process=False)
        assert read(OPTIONS, words) == by_click.pop()
    for line in OTHER_LINES:
        assert read(OPTIONS, line.format(file=path, folder=tmp_path, name="a.jsonl").split()) is None


def test_a_plain_command_line_imports_no_click_and_no_dataclasses(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.jsonl", lines(WRITE_THEN_READ))
    program = (
        "import sys\nbefore = set(sys.modules)\nfrom harness.cli.main import run\n"
        f"assert run(['check', {str(path)!r}, '--model', 'register'], in_own_process=True) == 0\n"
        "print([name for name in ('click', 'dataclasses', 'inspect', 'pathlib') if name in sys.modules and name not in before])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_one_client_and_one_function_need_no_name(tmp_path: Path) -> None:
    txns = [[["append", "x", 1]], [["r", "x", None]]]
    rows = [{"type": type_, "value": txn} for txn in txns for type_ in ("invoke", "ok")]
    rows[-1] = {"type": "ok", "value": [["r", "x", [1]]]}
    assert run(["check", saved(tmp_path, "a.jsonl", lines(rows)), "--model", "list-append"]) == 0
    rows[-1] = {"type": "ok", "value": [["r", "x", [2]]]}
    assert run(["check", saved(tmp_path, "a.jsonl", lines(rows)), "--model", "list-append"]) == 1


def test_every_judge_by_its_name(tmp_path: Path) -> None:
    for name, (evidence, *_) in known_bad_calls().items():
        path = saved(tmp_path, f"{name}.jsonl", lines([event.to_json() for event in evidence.history.events]))
        assert run(["check", path, "--model", name]) == 1, name
    jepsen = """{:type :invoke, :f :txn, :value [[:append 1 2] [:r 3 nil]], :process 0}
                {:type :ok, :f :txn, :value [[:append 1 2] [:r 3 []]], :process 0}
                {:type :invoke, :f :txn, :value [[:r 1 nil]], :process 0}
                {:type :ok, :f :txn, :value [[:r 1 nil]], :process 0}"""
    path = saved(tmp_path, "a.edn", jepsen)
    assert run(["check", path, "--model", "list-append"]) == 1
    assert run(["check", path, "--model", "list-append", "--consistency", "serializable"]) == 0


def test_a_judge_without_a_model_names_who_was_answered_what_and_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lines name processes, nodes and keys; a line that ends no call is a mistake of the file."""

    def said(*rows: dict[str, Any]) -> tuple[int, str]:
        code = run(["check", saved(tmp_path, "a.jsonl", lines([*rows])), "--model", "set"])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    added = [
        {"process": "c1", "node": "n2", "type": kind, "f": "add", "value": 1, "key": "k"} for kind in ("invoke", "ok")
    ]
    read: list[dict[str, Any]] = [
        {"process": "c3", "node": "n4", "type": kind, "f": "read", "value": [], "key": "k"} for kind in ("invoke", "ok")
    ]
    code, text = said(*added, *read)
    assert code == 1
    assert "c1 at n2" in text
    assert "c3 at n4" in text
    assert "no call open that this ok could end" in said(added[1])[1]
    assert "whose open call is add" in said(added[0], {**added[1], "f": "read"})[1]
    assert said(added[0], {"process": "c1", "type": "info"}, {"process": "c1", "type": "info"}, *read)[0] == 0
    other = [{**row, "key": "other"} for row in read]
    assert said(*added, *read, *other)[0] == 1


def test_a_map_of_edn_may_have_a_list_or_a_map_as_its_key() -> None:
    assert [*forms('{[1 2] 3, {:a 1} "b"}')] == [{"[1, 2]": 3, "{'a': 1}": "b"}]
