"""`consensus mutate` on a small module of a user, with the user's tests."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MODULE = """
def limit(number):
    return number if number < 10 else 10


def forgotten(number):
    return number + 1
"""
TESTS = """
from mine import limit

def test_limit():
    assert [limit(9), limit(10), limit(11)] == [9, 10, 10]
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "test_mine.py").write_text(TESTS)
    return tmp_path


def mutate(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "harness.cli.main", "mutate", "-o", "json", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


def test_what_the_tests_do_not_guard_survives_and_the_killed_are_remembered(mine: Path) -> None:
    options = ("mine", "--seeds", "0", "--seconds", "0.2", "--tests", "test_mine.py")
    code, report = mutate(mine, *options)
    fates = {(one["function"], one["kind"]): one["fate"] for one in report["survivors"]}
    assert code == 1
    assert fates[("forgotten", "arithmetic")] == "not reached"
    assert ("limit", "condition turned") not in fates
    assert ("limit", "result is None") not in fates
    assert report["tried"] == report["asked"]

    code, report = mutate(mine, *options)
    assert (code, report["tried"]) == (1, 0)


ENDLESS = """
from harness.runs.forks import Forks

def endless():
    while True:
        pass

def raising():
    raise ValueError("no")

forks = Forks(wall_s=60)
forks.start("endless", endless, cpu_s=0.1)
forks.start("raising", raising, cpu_s=9)
forks.start("right", lambda: {"by": "x"}, cpu_s=9)
while len(forks):
    for one in forks.ended():
        print(one.about, one.result, one.how)
"""


def test_a_change_that_never_ends_is_ended() -> None:
    done = subprocess.run([sys.executable, "-c", ENDLESS], capture_output=True, text=True, check=True)
    assert set(done.stdout.splitlines()) == {
        "endless None it did not end in time",
        "raising None ValueError: no",
        "right {'by': 'x'} ",
    }


def test_nothing_to_run_is_said(mine: Path) -> None:
    code, report = mutate(mine, "mine", "--seeds", "0")
    assert code == 254
    assert "nothing runs mine" in report["error"]["message"]
