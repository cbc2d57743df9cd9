import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

import harness.cli
from harness.cli.judged_session import judgement, session_since
from harness.cli.verbs import cli
from harness.records import run_folders as folders
from harness.records.run_folders import (
    NoSuchRun,
    drop_empty,
    find_run,
    new_folder,
    new_test_folder,
    run_folders,
    summary,
)
from node.contract import BadInput
from tests.run_folders import split_brain


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three runs, the newest last, and one that was not judged."""
    for age, name in enumerate(("third/unjudged", "second/split-brain-paxos", "first", "fourth/deep/split-brain")):
        folder = split_brain(tmp_path / "runs" / name)
        if name.endswith("unjudged"):
            (folder / "results.json").unlink()
        for file in folder.iterdir():
            os.utime(file, (1_000_000 - age, 1_000_000 - age))
    (tmp_path / "runs" / "no-run").mkdir()
    return tmp_path


def test_new_folders_differ_also_within_a_second(tmp_path: Path) -> None:
    folders = [new_folder(tmp_path, "mine:Mine-7") for _ in range(3)]
    assert len(set(folders)) == 3
    for folder in folders:
        assert folder.is_dir()
        assert folder.parent == tmp_path / "runs"
        assert re.fullmatch(r"\d{8}-\d{6}-mine-Mine-7(-[23])?", folder.name), folder.name
    assert re.fullmatch(r"\d{8}-\d{6}", new_folder(tmp_path).name)


def test_no_two_of_many_commands_get_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda _format: "20260101-000000")
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: new_folder(tmp_path, "flp"), range(200)))
    assert len(set(folders)) == 200
    assert all(folder.is_dir() for folder in folders)


def test_a_folder_is_dropped_only_if_it_is_empty(tmp_path: Path) -> None:
    empty, full = new_folder(tmp_path, "empty"), new_folder(tmp_path, "full")
    (full / "history.jsonl").touch()
    drop_empty(empty)
    drop_empty(full)
    assert (empty.exists(), full.exists()) == (False, True)


def test_no_command_makes_run_folders_in_another_way() -> None:
    """The folder of a run comes from `new_folder`, which makes it, or from a folder of the caller's own."""
    cli = Path(harness.cli.__file__).parent
    for path in cli.glob("*.py"):
        assert not re.search(r"mkdir\(|strftime\(.*%H%M", path.read_text()), path.name


def test_tests_have_folders_of_their_own(tmp_path: Path) -> None:
    one, other = new_test_folder(tmp_path, "test_x"), new_test_folder(tmp_path, "test_x")
    assert one != other
    assert one.parent == other.parent == tmp_path / "runs" / "pytest"
    assert one.name.startswith("test_x-")


def test_a_root_that_cannot_be_written_is_an_error_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"cannot be made: .* Choose another folder"):
        new_folder(tmp_path / "file", "x")


def test_the_newest_comes_first(root: Path) -> None:
    names = [str(folder.relative_to(root / "runs")) for folder in run_folders(root)]
    assert names == ["third/unjudged", "second/split-brain-paxos", "first", "fourth/deep/split-brain"]


def test_a_run_is_found_by_its_folder_by_a_part_of_its_name_or_as_the_newest(root: Path) -> None:
    assert find_run(root, str(root / "runs" / "first")) == root / "runs" / "first"
    assert find_run(root, "split-brain") == root / "runs" / "second" / "split-brain-paxos"
    assert find_run(root, None) == root / "runs" / "third" / "unjudged"
    with pytest.raises(NoSuchRun, match="is no run's folder: it has neither results nor a history"):
        find_run(root, str(root / "runs"))
    with pytest.raises(NoSuchRun, match="no run has 'nonsense' in its name"):
        find_run(root, "nonsense")
    with pytest.raises(NoSuchRun, match="there is no run"):
        find_run(root / "runs", None)


def test_a_summary_has_the_worst_verdict(root: Path) -> None:
    judged = summary(root / "runs" / "first", root)
    assert (judged.status, judged.broken, judged.algorithm) == ("invalid", ("coherence",), "failover")
    unjudged = summary(root / "runs" / "third" / "unjudged", root)
    assert unjudged.status == "not judged"
    assert "it was interrupted, or is under way" in unjudged.evidence


def test_results_of_another_shape_are_not_judged(root: Path) -> None:
    (root / "runs" / "first" / "results.json").write_text('{"verdicts": [1]}')
    assert summary(root / "runs" / "first", root).status == "not judged"


def test_a_session_by_hand_whose_results_could_not_be_written_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = split_brain(tmp_path / "runs" / "20260101-000000-by-hand-paxos")
    (folder / "results.json").unlink()
    written_s = (folder / "history.jsonl").stat().st_mtime
    found = session_since(tmp_path, written_s + 10, written_s - 10)
    assert found is not None
    assert judgement(found) == "not judged as a run (it has no results: it was interrupted, or is under way)"
    monkeypatch.setattr(folders, "is_full", lambda _: True)
    assert summary(folder, tmp_path).evidence == "it has no results: the disk is full"
    assert session_since(tmp_path, written_s + 20, written_s + 10) is None  # it was another session's


def test_the_command_lists_them(root: Path) -> None:
    result = CliRunner().invoke(cli, ["--dir", str(root), "runs", "--limit", "2"])
    assert result.exit_code == 0
    first, why, second = result.stdout.splitlines()
    assert why.startswith("    it has no results")
    assert first.endswith("third/unjudged")
    assert "invalid: coherence" in second
    listed = json.loads(CliRunner().invoke(cli, ["--dir", str(root), "runs", "-o", "json"]).stdout)
    assert [run["status"] for run in listed["runs"]] == ["not judged", "invalid", "invalid", "invalid"]
    assert listed["total"] == 4


def test_the_command_writes_the_page_of_the_newest_or_of_the_named_run(root: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["--dir", str(root), "report"])
    assert result.stdout.strip() == str(root / "runs" / "third" / "unjudged" / "report.html")
    assert Path(result.stdout.strip()).exists()
    target = tmp_path / "page.html"
    result = CliRunner().invoke(cli, ["--dir", str(root), "report", "first", "--file", str(target)])
    assert result.stdout.strip() == str(target)
    assert "Coherence is broken" in target.read_text()
