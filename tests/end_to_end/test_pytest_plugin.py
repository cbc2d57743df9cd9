"""The fixtures, as somebody uses them: in a folder of their own, with an algorithm of their own, by the installed plugin."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, FEW_PLUGINS, blocks

FIFTEEN_LINES = """
import pytest


@pytest.fixture
def consensus_algorithm():
    return "hearsay:Hearsay"


def test_a_cut_and_a_kill(experiment, faults):
    with faults.partition(["n1", "n2"], ["n3", "n4", "n5"]):
        experiment.propose("colour", "blue", at="n1", timeout_s=1)
        experiment.propose("colour", "red", at="n4")
    faults.kill("n5")
    experiment.query("colour", at="n3")


def test_kills_and_cuts_from_a_seed(run_plan):
    run_plan(faults=["kill", "partition"], time_s=3)
"""
HEARSAY = next(block.text for block in blocks(DOCS / "guides" / "algorithm.md") if "class Hearsay" in block.text)


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "CONSENSUS", "PYTHONPATH"))
    }
    environment["PYTEST_ADDOPTS"] = FEW_PLUGINS
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def folders(place: Path) -> Iterator[Path]:
    root = place / ".consensus" / "runs" / "pytest"
    return root.iterdir() if root.exists() else iter(())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder outside of this project, with two algorithms of somebody's own: one works, the guide's does not."""
    (tmp_path / "mine.py").write_text("from node.algorithms.paxos import Paxos\n\n\nclass Mine(Paxos):\n    pass\n")
    (tmp_path / "hearsay.py").write_text(HEARSAY)
    (tmp_path / "test_mine.py").write_text(FIFTEEN_LINES.replace("hearsay:Hearsay", "mine:Mine"))
    return tmp_path


def test_the_plugin_comes_with_the_package() -> None:
    found = {entry.name: entry.value for entry in entry_points(group="pytest11")}
    assert found.get("consensus") == "harness.pytest_plugin", "install this project again: `make test` does"


def test_fifteen_lines_test_an_algorithm_under_kills_and_cuts(place: Path) -> None:
    assert len([line for line in FIFTEEN_LINES.splitlines() if line.strip()]) <= 15
    done = run_pytest(place)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
    assert not (place / ".consensus").exists()  # nothing is left of what passed


def test_a_broken_algorithm_fails_with_a_reason_and_leaves_the_evidence(place: Path) -> None:
    (place / "test_mine.py").write_text(FIFTEEN_LINES)
    done = run_pytest(place, "--consensus-seed", "7", "-k", "a_cut")
    assert done.returncode == 1, done.stdout
    assert re.search(
        r"coherence is broken: n\d answered 'blue' at [\d.]+ s and n\d answered 'red' at [\d.]+ s", done.stdout
    )
    assert re.search(r"replay: pytest test_mine.py::\w+ --consensus-seed 7$", done.stdout, re.MULTILINE)
    (folder,) = folders(place)
    assert f"run folder: {folder}" in done.stdout
    for name in ("results.json", "history.jsonl", "messages.jsonl", "receipts.jsonl", "report.html"):
        assert (folder / name).exists()


def test_a_class_in_the_test_file_factories_plans_and_xdist(tmp_path: Path) -> None:
    (tmp_path / "test_many.py").write_text(
        """
import pytest
from cluster.errors import Unknown
from node.algorithms.leader import Leader

class Mine(Leader):
    pass

@pytest.fixture
def consensus_algorithm():
    return Mine

@pytest.mark.consensus(nodes=3)
@pytest.mark.parametrize("value", ["blue"])
def test_a_class(cluster, faults, value):
    assert cluster.propose("x", value) == value
    faults.kill("n1")
    with pytest.raises(Unknown):
        cluster.query("x", at="n2", timeout_s=0.2)
    faults.restart("n1")
    assert cluster.query("x", at="n2") == value

@pytest.mark.consensus(nodes=3)
def test_two(cluster_factory):
    one, other = cluster_factory(algorithm="paxos"), cluster_factory(algorithm="majority", nodes=["a"])
    assert one.propose("x", 1) == 1
    assert other.query("x") is None

@pytest.mark.consensus(nodes=3, algorithm="leader")  # closer to the test than the fixture
def test_a_plan(run_plan):
    assert run_plan(faults=["suspend"], time_s=1, steps=0).verdicts["coherence"].status == "valid"
"""
    )
    done = run_pytest(tmp_path, "-n", "2", "--consensus-keep", "--consensus-seed", "3")
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout
    names = sorted(folder.name.rsplit("-", 1)[0] for folder in folders(tmp_path))
    assert names == ["test_a_class-blue", "test_a_plan", "test_two", "test_two"]
    specs = [
        (folder / "cluster.toml").read_text() for folder in folders(tmp_path) if folder.name.startswith("test_a_class")
    ]
    assert all("seed = 3" in spec and "test_many:Mine" in spec for spec in specs)
    (plan,) = [folder / "plan.json" for folder in folders(tmp_path) if folder.name.startswith("test_a_plan")]
    assert json.loads(plan.read_text())["algorithm"] == "leader"


def test_what_fails_besides_the_verdict(tmp_path: Path) -> None:
    (tmp_path / "test_wrong.py").write_text(
        """
import pytest

@pytest.mark.consensus(size=3)
def test_marker(cluster):
    pass

@pytest.mark.consensus(nodes=1)
def test_body(cluster):
    cluster.propose("x", "blue")
    assert cluster.query("x") == "red"

@pytest.mark.consensus(nodes=3)
def test_no_test(cluster):
    cluster.propose("x", "blue")
    cluster.kill("n3")

@pytest.mark.consensus(nodes=1)
def test_skipped(cluster):
    pytest.skip("not here")
"""
    )
    done = run_pytest(tmp_path)
    assert "2 failed, 1 skipped, 1 error" in done.stdout
    assert "@pytest.mark.consensus takes nodes, algorithm, seed by name, and not size" in done.stdout
    assert "coherence: valid" in done.stdout or "coherence: unknown" in done.stdout  # told with the failure of the body
    assert "this run was no test of its faults: every operation was over when kill began" in done.stdout
    assert sorted(folder.name.rsplit("-", 1)[0] for folder in folders(tmp_path)) == ["test_body", "test_no_test"]


def test_whoever_does_not_use_it_pays_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_plain.py").write_text(
        "import sys\n\n\ndef test_plain():\n"
        "    assert 'harness.pytest_plugin' in sys.modules\n"
        "    ours = {name for name in sys.modules if name.split('.')[0] in ('harness', 'cluster', 'node')}\n"
        "    assert ours == {'harness', 'harness.pytest_plugin'}\n"
        "    assert not {'zmq', 'apsw', 'msgpack', 'psutil', 'click'} & set(sys.modules)\n"
    )
    done = run_pytest(tmp_path)
    assert done.returncode == 0, done.stdout
    assert not (tmp_path / ".consensus").exists()
