"""The page of the waits names each wait of a node, of a client and of the processes around them."""

import re
from pathlib import Path

import pytest

from node.tuning import SETTINGS

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "explanation" / "waits.md").read_text()
#: A constant of a module that is a time, by its name.
TIME = re.compile(r"^(_?[A-Z][A-Z_]*_M?S(?:_MAX|_MIN)?)\b[^=\n]*= ", re.MULTILINE)
#: Those that only look like a time.
NO_TIMES = {"NUMBERS_PER_MS"}


def times_in(source: str) -> set[str]:
    return set(TIME.findall(source)) - NO_TIMES


@pytest.mark.parametrize("floor", ["node", "cluster"])
def test_the_page_names_each_constant_that_is_a_time(floor: str) -> None:
    found = {name for path in (ROOT / floor).rglob("*.py") for name in times_in(path.read_text())}
    assert len(found) > 5
    assert {name for name in found if f"`{name}`" not in PAGE} == set()


def test_the_page_names_each_setting_that_is_a_time() -> None:
    times = [name for name, setting in SETTINGS.items() if setting.unit in ("ms", "ticks", "beats")]
    assert len(times) > 30
    assert [name for name in times if f"`{name}`" not in PAGE] == []


def test_the_page_names_nothing_that_is_gone() -> None:
    sources = "\n".join(path.read_text() for floor in ("node", "cluster") for path in (ROOT / floor).rglob("*.py"))
    named = set(re.findall(r"`(_?[A-Z][A-Z_]*_S|[a-z]+(?:_[a-z]+)+)`", PAGE))
    assert {name for name in named if name not in sources} == set()


def test_a_time_is_found_by_its_name() -> None:
    assert times_in("_A_S: Final = 0.5\nB_MS = 3\nC: Final = 1\n_D_S_MAX: Final = 1.0\nE_SIZE = 3\n") == {
        "_A_S", "B_MS", "_D_S_MAX",
    }  # fmt: skip
