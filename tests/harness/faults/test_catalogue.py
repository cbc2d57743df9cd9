import inspect
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.spec import node_names
from harness.faults import catalogue as module
from harness.faults.catalogue import BadFault, CatalogueEntry, FaultBudget, catalogue, check, choose, listed, register
from harness.faults.link_faults import spelled_out
from harness.faults.partitions import between, bridged, ring
from harness.records.links import CLIENT
from node.quorum import majority

FIVE = node_names(5)
MESSAGES = ("Prepare", "Promise")
ALL = catalogue()
NAMES = [entry.name for entry in ALL]


def test_the_catalogue_has_what_it_promises() -> None:
    expected = {
        *("kill", "kill-in-recovery", "kill-at", "terminate", "suspend", "starve", "kill-all", "rolling-restart"),
        *("halves", "minority", "majority", "isolate-leader", "isolate", "one-way", "bridge", "ring", "flapping"),
        *("partition", "drop", "delay", "jitter", "duplicate", "reorder", "hold", "corrupt"),
    }
    assert expected <= set(NAMES)
    assert {"process", "cut", "link"} <= {entry.family for entry in ALL}


@pytest.mark.parametrize("entry", ALL, ids=NAMES)
def test_every_fault_says_what_it_does_in_a_line(entry: CatalogueEntry) -> None:
    assert entry.fault.summary
    assert "\n" not in entry.fault.summary
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in entry.parameters.values()), (
        "arguments have names, in plans as in Python"
    )


@pytest.mark.parametrize("entry", ALL, ids=NAMES)
@given(seed=st.integers(0, 10**6), nodes=st.integers(1, 7), data=st.data())
def test_what_is_drawn_can_be_injected_and_keeps_to_the_scene(
    entry: CatalogueEntry, seed: int, nodes: int, data: st.DataObject
) -> None:
    names = node_names(nodes)
    free = tuple(data.draw(st.lists(st.sampled_from(names), unique=True)))
    scene = FaultBudget(names, tuple(sorted(free)), data.draw(st.integers(0, nodes - majority(nodes))), MESSAGES)
    drawn = entry.draw(Random(seed), scene)
    assert drawn == entry.draw(Random(seed), scene)
    if drawn is not None:
        check(entry.name, drawn.arguments, names)
        assert drawn.claims <= set(scene.free)
        assert drawn.takes <= set(names)


@pytest.mark.parametrize("entry", [entry for entry in ALL if entry.family in ("process", "cut", "link")])
def test_every_fault_of_processes_and_links_can_be_drawn(entry: CatalogueEntry) -> None:
    scene = FaultBudget(FIVE, FIVE, 2, MESSAGES)
    assert entry.draw(Random(1), scene) is not None


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("kil", {}, "no fault is called 'kil'; there are .*kill"),
        ("kill", {"node": "n1"}, "kill has no argument 'node'; it takes nodes"),
        ("kill", {"nodes": "n1"}, "nodes is 'n1', and a list of some of n1, n2, n3, n4, n5 is wanted"),
        ("kill", {"nodes": ["n9"]}, "a list of some of n1"),
        ("kill", {"nodes": []}, "a list of some of n1"),
        ("kill-all", {"nodes": ["n1"]}, "it takes none"),
        ("kill-at", {}, "kill-at needs message"),
        ("kill-at", {"message": "Promise", "nth": 1.5}, "nth is 1.5, and a whole number"),
        ("isolate", {"node": "client"}, "one of n1"),
        ("partition", {"groups": [["n1"], ["n1", "n2"]]}, "each named once"),
        ("partition", {"groups": [["n1"], []]}, "each named once"),
        ("drop", {"probability": 2}, "a number from 0 to 1"),
        ("drop", {"links": "everything"}, "nodes, clients, all, or a list of pairs"),
        ("drop", {"links": [["n1", "n1"]]}, "a list of pairs"),
        ("delay", {"seconds": True}, "a number"),
    ],
)
def test_arguments_that_cannot_be_are_told(name: str, arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(BadFault, match=expected):
        check(name, arguments, FIVE)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("kill", {}),
        ("kill", {"nodes": ["leader", "n2"]}),
        ("drop", {"links": [["n1", CLIENT], [CLIENT, "n2"]], "probability": 1}),
        ("partition", {"groups": [["n1"]]}),
    ],
)
def test_arguments_that_can_be_pass(name: str, arguments: dict[str, Any]) -> None:
    check(name, arguments, FIVE)


def test_faults_are_chosen_by_name_and_by_family() -> None:
    chosen = [entry.name for entry in choose(["kill", "cut", "kill"])]
    assert chosen[0] == "kill"
    assert set(chosen) == {"kill", *(entry.name for entry in ALL if entry.family == "cut")}
    with pytest.raises(BadFault, match="no fault is called 'cuts'"):
        choose(["cuts"])
    with pytest.raises(BadFault, match="no fault is named"):
        choose([])


class _Healed:
    def heal(self) -> None:
        pass


class _Unplug:
    """A fault as somebody else would write it."""

    name = "unplug"
    summary = "Pulls a plug"

    def inject(self, _experiment: object, _rng: Random, *, node: str | None = None) -> _Healed:
        return _Healed()


def test_somebody_elses_fault_plugs_in(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue()
    monkeypatch.setattr(module, "_listed", dict(module._listed))
    module._loaded.cache_clear()
    try:
        register(_Unplug(), "power")
        assert [entry.name for entry in choose(["power"])] == ["unplug"]
        check("unplug", {"node": "n3"}, FIVE)
        drawn = listed("unplug").draw(Random(3), FaultBudget(FIVE, ("n2",), 2))
        assert drawn is not None
        assert drawn.arguments == {"node": "n2"}
        assert drawn.takes == {"n2"} == drawn.claims
        assert listed("unplug").draw(Random(3), FaultBudget(FIVE, ("n2",), 0)) is None
        with pytest.raises(BadFault, match="two faults are called 'unplug'"):
            register(_Unplug(), "power")
    finally:
        module._loaded.cache_clear()


# --- shapes of cuts ---------------------------------------------------------------------------------------------------


def reaches(node: str, nodes: tuple[str, ...], cut: tuple[tuple[str, str], ...]) -> frozenset[str]:
    return frozenset(peer for peer in nodes if peer == node or ((node, peer) not in cut and (peer, node) not in cut))


@pytest.mark.parametrize("count", [4, 5, 6, 7, 9])
def test_on_a_ring_each_reaches_a_majority_and_no_two_the_same(count: int) -> None:
    nodes = node_names(count)
    seen = {node: reaches(node, nodes, ring(nodes)) for node in nodes}
    assert all(len(reached) >= majority(count) for reached in seen.values())
    assert all(one != other for one, other in combinations(seen.values(), 2))
    assert all(reached != frozenset(nodes) for reached in seen.values())


def test_a_partition_cuts_both_ways_and_those_that_are_not_named_are_a_group() -> None:
    cut = between([["n1", "n2"]], ("n1", "n2", "n3"))
    assert {("n1", "n3"), ("n3", "n1"), ("n2", "n3"), ("n3", "n2")} == set(cut)


def test_over_a_bridge_only_the_bridge_reaches_both_sides() -> None:
    cut = bridged(["n1", "n2"], "n3", ["n4", "n5"])
    assert {"n1", "n2", "n3"} == reaches("n1", FIVE, cut)
    assert set(FIVE) == reaches("n3", FIVE, cut)


def test_links_are_spelled_out() -> None:
    nodes = ("n1", "n2")
    assert {("n1", "n2"), ("n2", "n1")} == set(spelled_out("nodes", nodes))
    assert {(CLIENT, "n1"), ("n1", CLIENT), (CLIENT, "n2"), ("n2", CLIENT)} == set(spelled_out("clients", nodes))
    assert len(spelled_out("all", nodes)) == 6
    assert spelled_out([["n2", "n1"]], nodes) == (("n2", "n1"),)


def test_every_module_of_the_catalogue_is_there() -> None:
    root = Path(module.__file__).parent
    assert all((root / f"{name.removeprefix('harness.faults.')}.py").exists() for name in module.MODULES)
