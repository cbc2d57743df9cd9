import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records.jsonable import BadFile
from harness.records.links import CLIENT
from harness.records.receipts import Receipt, Timeline, load, save

MEMBERS = ("n1", "n2", "n3")
FIVE = ("n1", "n2", "n3", "n4", "n5")

names = st.sampled_from([*FIVE, CLIENT])
links = st.lists(st.tuples(names, names), max_size=3).map(tuple)
receipts = st.builds(
    Receipt,
    fault=st.text(max_size=5),
    began_ns=st.integers(0, 20),
    ended_ns=st.one_of(st.none(), st.integers(0, 30)),
    bit=st.booleans(),
    nodes_down=st.lists(st.sampled_from(FIVE), max_size=2).map(tuple),
    links_cut=links,
    links_disturbed=links,
    evidence=st.dictionaries(st.text(max_size=3), st.one_of(st.integers(), st.binary(max_size=3)), max_size=2),
)


@given(given_receipts=st.lists(receipts, max_size=4))
def test_receipts_come_back_from_their_file(
    given_receipts: list[Receipt], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("receipts") / "receipts.jsonl"
    save(given_receipts, path)
    assert given_receipts == load(path)


GOOD = Receipt("kill", 1).to_json()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"bit": 1}, "a receipt has fault"),
        ({"nodes_down": [1]}, "a receipt has fault"),
        ({"links_cut": [["n1"]]}, r"a link is a pair such as .* \['n1'\]"),
        ({"evidence": {"$map": 1}}, r"\$map"),
        ({"evidence": {"$tuple": []}}, "evidence is not a map"),
    ],
)
def test_a_malformed_receipt_is_refused_with_the_line(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    path = tmp_path / "receipts.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps({**GOOD, **change}) + "\n")
    with pytest.raises(BadFile, match=f"line 2: .*{expected}"):
        load(path)


def test_a_whole_cluster_is_one_majority_side() -> None:
    timeline = Timeline(MEMBERS)
    assert all(timeline.on_majority_side(node, 0, 100, steady_ns=100) for node in MEMBERS)
    assert timeline.on_majority_side("n9", 0, 100) is False


def test_a_node_that_was_down_in_between_was_not_on_a_majority_side() -> None:
    timeline = Timeline(MEMBERS, [Receipt("kill", 40, 60, nodes_down=("n2",))])
    assert timeline.on_majority_side("n2", 0, 100) is False
    assert timeline.on_majority_side("n1", 0, 100)
    assert timeline.on_majority_side("n2", 0, 40)
    assert timeline.on_majority_side("n2", 60, 100)
    assert timeline.on_majority_side("n2", 0, 41) is False
    assert timeline.on_majority_side("n2", 59, 100) is False


def test_a_fault_without_an_end_lasts() -> None:
    timeline = Timeline(MEMBERS, [Receipt("kill", 40, None, nodes_down=("n2", "n3"))])
    assert timeline.on_majority_side("n1", 0, 10**15) is False
    assert timeline.on_majority_side("n1", 0, 40)


def test_a_fault_of_no_length_counts() -> None:
    timeline = Timeline(MEMBERS, [Receipt("kill", 40, 40, nodes_down=("n2",))])
    assert timeline.on_majority_side("n2", 0, 100) is False
    assert timeline.on_majority_side("n2", 40, 40) is False
    assert timeline.on_majority_side("n2", 41, 41)


def test_two_overlapping_faults_add_up() -> None:
    timeline = Timeline(
        MEMBERS, [Receipt("kill", 10, 50, nodes_down=("n2",)), Receipt("suspend", 40, 80, nodes_down=("n3",))]
    )
    assert timeline.on_majority_side("n1", 10, 40)  # n3 is there
    assert timeline.on_majority_side("n1", 50, 80)  # n2 is there
    assert timeline.on_majority_side("n1", 10, 80) is False  # from 40 to 50 n1 is alone
    assert timeline.on_majority_side("n1", 45, 46) is False


@pytest.mark.parametrize("field", ["links_cut", "links_disturbed"])
def test_a_link_must_be_whole_in_both_directions(field: str) -> None:
    one_way: dict[str, Any] = {field: (("n1", "n2"), ("n3", "n1"))}
    timeline = Timeline(MEMBERS, [Receipt("cut", 0, 100, **one_way)])
    assert timeline.on_majority_side("n1", 0, 100) is False
    assert timeline.on_majority_side("n2", 0, 100)  # it has n3
    assert timeline.on_majority_side("n3", 0, 100)


def test_sides_are_pairwise_and_seen_from_the_node() -> None:
    # n1, n2 and n3 are connected; n4 reaches only n2, and n5 only n3.
    whole = {("n1", "n2"), ("n1", "n3"), ("n2", "n3"), ("n4", "n2"), ("n5", "n3")}
    cut = tuple((a, b) for a in FIVE for b in FIVE if a != b and not {(a, b), (b, a)} & whole)
    timeline = Timeline(FIVE, [Receipt("partition", 0, None, links_cut=cut)])
    assert [timeline.on_majority_side(node, 0, 9) for node in FIVE] == [True, True, True, False, False]


def test_a_majority_that_changes_is_not_steady() -> None:
    timeline = Timeline(
        MEMBERS, [Receipt("kill", 0, 50, nodes_down=("n2",)), Receipt("kill", 50, 120, nodes_down=("n3",))]
    )
    assert timeline.on_majority_side("n1", 0, 120)
    assert timeline.on_majority_side("n1", 0, 120, steady_ns=70)
    assert timeline.on_majority_side("n1", 0, 120, steady_ns=71) is False
    assert timeline.on_majority_side("n1", 0, 200, steady_ns=80)  # n2 is back from 50 on


def test_an_answer_is_owed_only_where_the_client_reaches_the_node() -> None:
    timeline = Timeline(
        MEMBERS,
        [
            Receipt("cut", 10, 20, links_cut=((CLIENT, "n1"),)),
            Receipt("delay", 30, 40, links_disturbed=(("n1", CLIENT),)),
            Receipt("kill", 50, 60, nodes_down=("n2", "n3")),
        ],
    )
    assert [timeline.owes_answer("n1", began, began + 5) for began in (0, 15, 22, 33, 42, 48, 70)] == [
        True,
        False,
        True,
        False,
        True,
        False,
        True,
    ]
    assert timeline.owes_answer(None, 0, 45)  # n2 and n3 can be reached all the time
    assert timeline.owes_answer(None, 45, 55) is False


def test_any_node_means_one_node_for_the_whole_time() -> None:
    timeline = Timeline(
        MEMBERS,
        [
            Receipt("cut", 0, 50, links_cut=((CLIENT, "n1"), (CLIENT, "n2"))),
            Receipt("cut", 50, 99, links_cut=((CLIENT, "n3"),)),
        ],
    )
    assert timeline.owes_answer(None, 0, 50)
    assert timeline.owes_answer(None, 50, 99)
    assert timeline.owes_answer(None, 0, 99) is False


@pytest.mark.parametrize("about", [{"nodes_down": ("n9",)}, {"links_cut": (("n1", "n9"),)}])
def test_a_receipt_with_an_unknown_endpoint_is_refused(about: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the receipt of kill names 'n9'"):
        Timeline(MEMBERS, [Receipt("kill", 0, None, **about)])


@given(st.lists(receipts, max_size=4), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_a_longer_time_is_never_easier(faults: list[Receipt], start: int, middle: int, more: int) -> None:
    timeline = Timeline(FIVE, faults)
    for node in FIVE:
        if timeline.on_majority_side(node, start, start + middle + more):
            assert timeline.on_majority_side(node, start, start + middle)
