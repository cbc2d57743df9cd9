from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records.tail import FileTail


def test_only_whole_lines_are_returned_and_each_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = FileTail(path)
    assert tail.new_lines() == []  # the file does not exist yet
    with path.open("ab", buffering=0) as file:
        file.write(b"one\ntwo\nthr")
        assert tail.new_lines() == ["one", "two"]
        assert tail.new_lines() == []
        assert tail.unfinished_line == "thr"
        file.write(b"ee\n\n")
        assert tail.new_lines() == ["three", ""]
        assert tail.unfinished_line == ""


def test_a_tail_from_now_leaves_out_the_past(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("past\n")
    tail = FileTail(path, from_now=True)
    with path.open("a") as file:
        file.write("new\n")
    assert tail.new_lines() == ["new"]


@pytest.mark.parametrize("unfinished", ["", "half", "h" * 9000])
@pytest.mark.parametrize("past", ["", "past\n", "past\n" * 2000])
def test_a_tail_from_now_returns_the_line_that_is_being_written_whole(
    tmp_path: Path, past: str, unfinished: str
) -> None:
    path = tmp_path / "log"
    path.write_text(past + unfinished)
    tail = FileTail(path, from_now=True)
    with path.open("a") as file:
        file.write(" a line\n")
    assert tail.new_lines() == [unfinished + " a line"]


def test_objects_are_read_and_bytes_that_are_not_utf8_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"a": "\xff"}\n{"b": 1}\n')
    assert FileTail(path).new_objects() == [{"a": "�"}, {"b": 1}]


@given(text=st.text(alphabet="ab\n"), cuts=st.lists(st.integers(0, 30)))
def test_the_lines_do_not_depend_on_how_the_file_grows(
    text: str, cuts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("tail") / "log"
    tail, found, written = FileTail(path), list[str](), 0
    for cut in [*sorted(min(cut, len(text)) for cut in cuts), len(text)]:
        with path.open("a") as file:
            file.write(text[written:cut])
        written = cut
        found += tail.new_lines()
    *whole, rest = text.split("\n")
    assert found == whole
    assert tail.unfinished_line == rest
