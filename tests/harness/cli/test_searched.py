"""What `explore` and `simulate` look for."""

import re
from pathlib import Path

import pytest

from harness.cli.main import run
from harness.cli.searched import kinds_that_count
from harness.cli.virtual import explore, simulate
from harness.virtual.judge import EVERYTHING, FAULT_TOLERANCE
from node.contract import BadInput


def test_kinds_are_chosen_or_left_out() -> None:
    assert kinds_that_count((), ()) == EVERYTHING
    assert kinds_that_count(("agreement", "order"), ("order",)) == ("agreement",)
    left = kinds_that_count((), ("fault-tolerance", "timer"))
    assert set(EVERYTHING) - set(left) == {FAULT_TOLERANCE, "timer"}


@pytest.mark.parametrize(
    ("look_for", "ignore", "says"),
    [
        ((), ("speed",), "no kind of violation speed: there are agreement"),
        ((), ("contract",), "cannot be ignored"),
        (("order",), ("order",), "every kind"),
    ],
)
def test_a_wrong_choice_is_refused(look_for: tuple[str, ...], ignore: tuple[str, ...], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        kinds_that_count(look_for, ignore)


def test_the_help_lists_the_kinds() -> None:
    for verb in (explore, simulate):
        listed = re.search(r"Kinds of violations: ([^.]*)\.", str(verb.help))
        assert listed is not None
        assert tuple(kind.replace("-", " ") for kind in re.split(r",\s+", listed[1])) == EVERYTHING


def test_explore_says_why_it_does_not_divide_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["--dir", str(tmp_path), "explore", "raft", "-n", "1", "--workers", "2", "--seconds", "1"])
    assert "on 1 core: a log" in capsys.readouterr().err
