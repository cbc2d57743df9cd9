import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records.jsonable import (
    BadFile,
    canonical,
    from_jsonable,
    read_document,
    read_lines,
    read_readable_lines,
    shown,
    to_jsonable,
    write_document,
    write_lines,
)
from node.quorum import Ballot

keys = st.one_of(
    st.text(max_size=5),
    st.integers(),
    st.booleans(),
    st.binary(max_size=5),
    st.tuples(st.integers(), st.text(max_size=3)),
    st.sampled_from(["$bytes", "$tuple", "$map", "$float", "$"]),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(tuple), st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=12,
)


@given(values)
def test_a_value_comes_back_through_json_as_it_was(value: object) -> None:
    back = from_jsonable(json.loads(json.dumps(to_jsonable(value), allow_nan=False)))
    assert value == back
    assert canonical(value) == canonical(back)


@pytest.mark.parametrize("value", [None, True, 0, -1.5, "blue", ["a", 1], {"colour": "blue", "n": [1]}], ids=str)
def test_what_json_has_looks_as_in_json(value: object) -> None:
    assert value == to_jsonable(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"blue\x00", {"$bytes": "blue\0"}),
        ((1, "a"), {"$tuple": [1, "a"]}),
        (Ballot(2, "n1"), {"$tuple": [2, "n1"]}),
        ({2: "b", 1: "a"}, {"$map": [[1, "a"], [2, "b"]]}),
        ({"$bytes": "no"}, {"$map": [["$bytes", "no"]]}),
        (float("inf"), {"$float": "inf"}),
    ],
)
def test_what_json_lacks_is_readable(value: object, expected: object) -> None:
    assert expected == to_jsonable(value)


def test_a_value_that_is_not_plain_data_is_refused_with_a_hint() -> None:
    with pytest.raises(TypeError, match="of type set cannot be recorded: use int"):
        to_jsonable({"colours": {1, 2}})


@pytest.mark.parametrize(
    "data", [{"$set": [1]}, {"$bytes": "a", "b": 1}, {"$map": [[[1], 2]]}, {"$map": [1]}, {"$float": "1"}]
)
def test_an_unknown_encoding_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match=r"\$"):
        from_jsonable(data)


def test_canonical_distinguishes_what_python_calls_equal() -> None:
    alike: list[object] = [1, 1.0, True, "1", b"1", [1], (1,), {1: 1}, {"1": 1}]
    assert len(alike) == len({canonical(value) for value in alike})
    assert canonical({"a": 1, "b": 2}) == canonical({"b": 2, "a": 1})
    assert canonical({1: 1, 2: 2}) == canonical({2: 2, 1: 1})


def test_shown_is_one_short_line() -> None:
    assert shown("blue") == "'blue'"
    assert shown("a\nb" * 100, 20).endswith("…")
    assert len(shown("a\nb" * 100, 20)) == 20


@given(rows=st.lists(st.dictionaries(st.text(), st.one_of(st.integers(), st.text()), max_size=3), max_size=5))
def test_a_file_comes_back_as_it_was(rows: list[dict[str, object]], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_lines(path, rows)
    assert list(enumerate(rows, start=1)) == list(read_lines(path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1}\nnot json\n', "line 2: not JSON"),
        ('{"a": 1}\n[1]\n', "line 2: a list, where an object is wanted"),
        ('{"a": 1}\n{"a": ', "line 2: not JSON.*killed in mid-line"),
        ('{"a": 1}\n\n{"a": 1}\n', "line 2: not JSON"),
    ],
)
def test_a_malformed_line_is_refused_with_its_number(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(BadFile, match=expected):
        list(read_lines(path))


def test_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"gone\.jsonl cannot be read"):
        list(read_lines(tmp_path / "gone.jsonl"))


def test_a_damaged_file_gives_the_lines_that_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\nnull\n[1]\n\n{"b": 2}\n{"c": ')
    assert read_readable_lines(path) == ([{"a": 1}, {"b": 2}], 3)


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n', encoding="utf-8-sig")
    assert list(read_lines(path)) == [(1, {"a": 1})]
    assert read_document(path) == {"a": 1}


def test_a_document_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "document.json"
    data = {"colour": "blåu", "nodes": ["n1"], "lone surrogate": "\ud800"}
    write_document(path, data)
    assert "blåu" in path.read_text(encoding="utf-8")
    assert read_document(path) == data


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"{", "holds no JSON object"), (b"\xff", "holds no JSON object"), (b"[1]", "a list, where an object is wanted")],
)
def test_a_file_that_is_not_a_document_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "document.json"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=rf"document\.json.*{expected}"):
        read_document(path)
    with pytest.raises(BadFile, match=r"gone\.json cannot be read: No such file"):
        read_document(tmp_path / "gone.json")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("blue", "'blue'"),
        ("it's", r"'it\'s'"),
        ('say "no"', "'say \"no\"'"),
        ("both ' and \"", "'both \\' and \"'"),
        (["it's", 7], r"['it\'s', 7]"),
        ({"it's": None}, r"{'it\'s': None}"),
    ],
)
def test_a_text_is_shown_in_single_quotes_whatever_it_holds(value: object, text: str) -> None:
    assert shown(value) == text
