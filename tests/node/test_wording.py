"""Words of messages to people."""

import re
from pathlib import Path

import pytest

from node.wording import count, nearest


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs"), (12_345, "12,345 runs"), (-1, "-1 runs")]
)
def test_a_number_and_its_noun(number: int, expected: str) -> None:
    assert count(number, "run") == expected


def test_a_noun_may_have_a_plural_of_its_own() -> None:
    assert [count(number, "life", "lives") for number in (1, 2)] == ["1 life", "2 lives"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("kil", "did you mean kill?"),
        ("KILL", "did you mean kill?"),
        ("pass", "did you mean past or pause?"),
        ("xyz", "there are kill, pause, past"),
    ],
)
def test_the_names_that_look_like_a_word(word: str, expected: str) -> None:
    assert nearest(word, ["kill", "pause", "past"]) == expected


def test_what_is_said_if_no_name_looks_like_it() -> None:
    assert nearest("xyz", ["kill"], "`consensus faults` lists them") == "`consensus faults` lists them"


#: A number of what a user chooses, and a noun that is right only for several of them.
_PLURAL = re.compile(
    r"\{[^{}]+\} (runs|seeds|nodes|boots|rounds|messages|points|power cuts|mutants|proposals|queries)\b"
)


def test_the_command_line_counts_by_one_function() -> None:
    """Only where the number cannot be one may a plural stand in the text."""
    found = [
        f"{path}: {line.strip()}"
        for path in (Path(__file__).parents[2] / "harness" / "cli").glob("*.py")
        for line in path.read_text().splitlines()
        if _PLURAL.search(line)
    ]
    assert found == []
