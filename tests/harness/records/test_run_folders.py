import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.main import cli
from harness.records.run_folders import NoSuchRun, find_run, run_folders, summary
from tests.run_folders import split_brain


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three runs, the newest last, and one that nobody has judged."""
    for age, name in enumerate(("third/unjudged", "second/split-brain-paxos", "first", "fourth/deep/split-brain")):
        folder = split_brain(tmp_path / "runs" / name)
        if name.endswith("unjudged"):
            (folder / "results.json").unlink()
        for file in folder.iterdir():
            os.utime(file, (1_000_000 - age, 1_000_000 - age))
    (tmp_path / "runs" / "no-run").mkdir()
    return tmp_path


def test_the_newest_comes_first(root: Path) -> None:
    names = [str(folder.relative_to(root / "runs")) for folder in run_folders(root)]
    assert names == ["third/unjudged", "second/split-brain-paxos", "first", "fourth/deep/split-brain"]


def test_a_run_is_found_by_its_folder_by_a_part_of_its_name_or_as_the_newest(root: Path) -> None:
    assert find_run(root, str(root / "runs" / "first")) == root / "runs" / "first"
    assert find_run(root, "split-brain") == root / "runs" / "second" / "split-brain-paxos"
    assert find_run(root, None) == root / "runs" / "third" / "unjudged"
    with pytest.raises(NoSuchRun, match="no run has 'nonsense' in its name"):
        find_run(root, "nonsense")
    with pytest.raises(NoSuchRun, match="there is no run"):
        find_run(root / "runs", None)


def test_a_summary_has_the_worst_verdict(root: Path) -> None:
    judged = summary(root / "runs" / "first", root)
    assert (judged.status, judged.broken, judged.algorithm) == ("invalid", ("coherence",), "failover")
    assert summary(root / "runs" / "third" / "unjudged", root).status == "not judged"


def test_results_of_another_shape_are_not_judged(root: Path) -> None:
    (root / "runs" / "first" / "results.json").write_text('{"verdicts": [1]}')
    assert summary(root / "runs" / "first", root).status == "not judged"


def test_the_command_lists_them(root: Path) -> None:
    told = CliRunner().invoke(cli, ["--dir", str(root), "runs", "--limit", "2"])
    assert told.exit_code == 0
    first, second = told.stdout.splitlines()
    assert first.endswith("third/unjudged")
    assert "invalid: coherence" in second
    listed = json.loads(CliRunner().invoke(cli, ["--dir", str(root), "runs", "-o", "json"]).stdout)
    assert [run["status"] for run in listed["runs"]] == ["not judged", "invalid", "invalid", "invalid"]
    assert listed["total"] == 4


def test_the_command_makes_the_page_of_the_newest_or_where_it_is_told(root: Path, tmp_path: Path) -> None:
    told = CliRunner().invoke(cli, ["--dir", str(root), "report"])
    assert told.stdout.strip() == str(root / "runs" / "third" / "unjudged" / "report.html")
    assert Path(told.stdout.strip()).exists()
    target = tmp_path / "page.html"
    told = CliRunner().invoke(cli, ["--dir", str(root), "report", "first", "-o", str(target)])
    assert told.stdout.strip() == str(target)
    assert "Coherence is broken" in target.read_text()
