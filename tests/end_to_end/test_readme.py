"""What the READMEs show is run, as it stands there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.hand import Hand

ROOT = Path(__file__).parents[2]


def blocks(readme: str) -> list[str]:
    """The Python in a README."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / readme).read_text(), re.MULTILINE | re.DOTALL)


def block(readme: str, holds: str) -> str:
    (found,) = [text for text in blocks(readme) if holds in text]
    return found


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("readme", "holds"),
    [
        ("README.md", "try_acquire_lock"),
        ("README.md", "from harness.runs.experiment import Experiment"),
        ("README.md", "cluster.kv.compare_and_set"),
        ("README.md", "cluster.members.joined"),
        ("README.md", "class Printer"),
        ("README.md", "async_log_client"),
        ("cluster/README.md", "from cluster import Cluster"),
    ],
)
def test_the_python_runs(tmp_path: Path, readme: str, holds: str) -> None:
    (tmp_path / "example.py").write_text(block(readme, holds))
    done = run(tmp_path, "example.py")
    assert done.returncode == 0, done.stderr
    assert "invalid" not in done.stdout


def test_a_cluster_that_runs_is_found(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "3", "--algorithm", "multipaxos")
    (hand.folder / "example.py").write_text(block("README.md", "RunningCluster("))
    done = run(hand.folder, "example.py")
    assert done.returncode == 0, done.stderr
    assert "with token 1" in done.stdout
    assert hand.good("get", "owner") == '"alice"'


def test_the_machine_of_ones_own_is_driven(tmp_path: Path) -> None:
    (tmp_path / "counter.py").write_text(block("README.md", "class Counter"))
    (tmp_path / "example.py").write_text(block("README.md", "counter:Counter"))
    done = run(tmp_path, "example.py")
    assert done.returncode == 0, done.stderr


def test_the_lock_is_ten_lines() -> None:
    lines = [line for line in block("README.md", "try_acquire_lock").splitlines() if line.strip()]
    assert len(lines) <= 10


def test_the_algorithm_of_ones_own_is_caught_in_the_first_race(tmp_path: Path) -> None:
    (tmp_path / "hearsay.py").write_text(block("README.md", "class Hearsay"))
    done = run(
        tmp_path,
        "-m",
        "harness.cli.main",
        "scorecard",
        "--algorithm",
        "hearsay:Hearsay",
        "--only",
        "race",
        "-o",
        "json",
    )
    assert done.returncode == 0, done.stderr
    crosses = {cell["property"] for cell in json.loads(done.stdout)["cells"] if cell["holds"] is False}
    assert "coherence" in crosses


def test_every_file_that_is_linked_is_there() -> None:
    for readme in ("README.md", "node/README.md", "cluster/README.md", "harness/README.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / readme).read_text()):
            assert (ROOT / readme).parent.joinpath(target).exists(), (readme, target)
