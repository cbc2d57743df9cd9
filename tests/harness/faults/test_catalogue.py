import inspect
from itertools import combinations
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.spec import node_names
from harness.faults import catalogue as module
from harness.faults.catalogue import (
    BadFault,
    CatalogueEntry,
    FaultBudget,
    catalogue,
    check_arguments,
    choose_faults,
    find_fault,
    register,
)
from harness.faults.excuses import Kind
from harness.faults.link_faults import expand_links
from harness.faults.partitions import links_between, links_of_bridge, links_of_ring, majorities_ring
from harness.faults.roles import ROLES
from harness.records.links import CLIENT
from node.contract import BadInput
from node.quorum import majority

FIVE = node_names(5)
MESSAGES = ("Prepare", "Promise")
ALL = catalogue()
NAMES = [entry.name for entry in ALL]


def test_the_catalogue_has_the_expected_faults_and_families() -> None:
    expected = {
        *("kill", "kill-in-recovery", "kill-at", "terminate", "suspend", "starve", "kill-all", "rolling-restart"),
        *("halves", "minority", "majority", "isolate-leader", "isolate", "one-way", "bridge", "ring", "flapping"),
        *("partition", "drop", "delay", "jitter", "duplicate", "reorder", "hold", "corrupt"),
    }
    assert expected <= set(NAMES)
    assert {"process", "cut", "link"} <= {entry.family for entry in ALL}


def test_every_fault_has_a_summary_of_one_line() -> None:
    assert [entry.fault.name for entry in ALL if len(entry.fault.summary.splitlines()) != 1] == []


def test_every_argument_has_a_name_in_plans_as_in_python() -> None:
    kinds = {entry.fault.name: {parameter.kind for parameter in entry.parameters.values()} for entry in ALL}
    assert {name for name, found in kinds.items() if not found <= {inspect.Parameter.KEYWORD_ONLY}} == set()


@pytest.mark.parametrize("entry", ALL, ids=NAMES)
def test_every_fault_says_what_it_excuses_by_its_own_arguments(entry: CatalogueEntry) -> None:
    excuse = entry.excuse
    assert excuse.because
    arguments = {name: parameter.default for name, parameter in entry.parameters.items()}
    named = [*excuse.late, *([excuse.loss] if isinstance(excuse.loss, str) else [])]
    assert set(named) <= set(arguments)
    late_s, loss = excuse.disturbance(arguments)
    assert (late_s > 0 or loss > 0) == (excuse.kind in (Kind.LATE, Kind.LOSSY))
    assert str(excuse)


@pytest.mark.parametrize(
    ("name", "arguments", "late_s", "loss"),
    [
        ("delay", {"seconds": 0.1}, 0.1, 0.0),
        ("jitter", {"seconds": 0.1, "jitter_s": 0.2}, 0.3, 0.0),
        ("drop", {"probability": 0.2}, 0.0, 0.2),
        ("slow-sync", {"seconds": 0.2}, 0.8, 0.0),
        ("flapping", {"period_s": 0.2}, 0.2, 0.5),
        ("kill", {}, 0.0, 0.0),
    ],
)
def test_an_excuse_is_as_large_as_the_arguments(
    name: str, arguments: dict[str, float], late_s: float, loss: float
) -> None:
    disturbance = find_fault(name).excuse.disturbance(arguments)
    assert (round(disturbance.late_s, 6), disturbance.loss) == (late_s, loss)


@pytest.mark.parametrize("entry", ALL, ids=NAMES)
@settings(max_examples=25)  # of each of two dozen faults
@given(seed=st.integers(0, 10**6), nodes=st.integers(1, 7), data=st.data())
def test_drawn_arguments_are_allowed_and_keep_to_the_budget(
    entry: CatalogueEntry, seed: int, nodes: int, data: st.DataObject
) -> None:
    names = node_names(nodes)
    free = tuple(data.draw(st.lists(st.sampled_from(names), unique=True)))
    budget = FaultBudget(names, tuple(sorted(free)), data.draw(st.integers(0, nodes - majority(nodes))), MESSAGES)
    drawn = entry.draw(Random(seed), budget)
    assert drawn == entry.draw(Random(seed), budget)
    if drawn is not None:
        check_arguments(entry.name, drawn.arguments, names)
        assert drawn.claims <= set(budget.free)
        assert drawn.takes <= {*names, *ROLES}


@pytest.mark.parametrize("entry", [entry for entry in ALL if entry.family in ("process", "cut", "link")])
def test_every_fault_of_processes_and_links_can_be_drawn(entry: CatalogueEntry) -> None:
    budget = FaultBudget(FIVE, FIVE, 2, MESSAGES)
    assert entry.draw(Random(1), budget) is not None


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("kil", {}, "no fault is called 'kil': did you mean kill\\b"),
        ("kill", {"node": "n1"}, "kill has no argument 'node'; it takes nodes"),
        ("kill", {"nodes": "n1"}, "nodes is 'n1', but must be a list of some of n1, n2, n3, n4, n5"),
        ("kill", {"nodes": ["n9"]}, "a list of some of n1"),
        ("kill", {"nodes": []}, "a list of some of n1"),
        ("kill-all", {"nodes": ["n1"]}, "it takes none"),
        ("kill-at", {}, "kill-at needs message"),
        ("kill-at", {"message": "Promise", "nth": 1.5}, "nth is 1.5, but must be a whole number"),
        ("isolate", {"node": "client"}, "one of n1"),
        ("partition", {"groups": [["n1"], ["n1", "n2"]]}, "each named once"),
        ("partition", {"groups": [["n1"], []]}, "each named once"),
        ("drop", {"probability": 2}, "a number from 0 to 1"),
        ("drop", {"links": "everything"}, "nodes, clients, all, or a list of pairs"),
        ("drop", {"links": [["n1", "n1"]]}, "a list of pairs"),
        ("delay", {"seconds": True}, "a number"),
    ],
)
def test_arguments_that_are_not_allowed_are_refused_with_the_reason(
    name: str, arguments: dict[str, Any], expected: str
) -> None:
    with pytest.raises(BadFault, match=expected):
        check_arguments(name, arguments, FIVE)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("kill", {}),
        ("kill", {"nodes": ["leader", "n2"]}),
        ("drop", {"links": [["n1", CLIENT], [CLIENT, "n2"]], "probability": 1}),
        ("partition", {"groups": [["n1"]]}),
    ],
)
def test_allowed_arguments_pass(name: str, arguments: dict[str, Any]) -> None:
    check_arguments(name, arguments, FIVE)


def test_faults_are_chosen_by_name_and_by_family() -> None:
    chosen = [entry.name for entry in choose_faults(["kill", "cut", "kill"])]
    assert chosen[0] == "kill"
    assert set(chosen) == {"kill", *(entry.name for entry in ALL if entry.family == "cut")}
    with pytest.raises(BadFault, match="no fault is called 'cuts'"):
        choose_faults(["cuts"])
    with pytest.raises(BadFault, match="no fault is named"):
        choose_faults([])


class _Healed:
    def heal(self) -> None:
        pass


class _Unplug:
    """A fault as a user of the harness would write it."""

    name = "unplug"
    summary = "Pulls a plug"

    def inject(self, _experiment: object, _rng: Random, *, node: str | None = None) -> _Healed:
        return _Healed()


def test_a_users_fault_can_be_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue()
    monkeypatch.setattr(module, "_registered", dict(module._registered))
    module._all_registered.cache_clear()
    try:
        register(_Unplug(), "power")
        assert [entry.name for entry in choose_faults(["power"])] == ["unplug"]
        check_arguments("unplug", {"node": "n3"}, FIVE)
        drawn = find_fault("unplug").draw(Random(3), FaultBudget(FIVE, ("n2",), 2))
        assert drawn is not None
        assert drawn.arguments == {"node": "n2"}
        assert drawn.takes == {"n2"} == drawn.claims
        assert find_fault("unplug").draw(Random(3), FaultBudget(FIVE, ("n2",), 0)) is None
        with pytest.raises(BadFault, match="two faults are called 'unplug'"):
            register(_Unplug(), "power")
    finally:
        module._all_registered.cache_clear()


# --- shapes of cuts ---------------------------------------------------------------------------------------------------


def reaches(node: str, nodes: tuple[str, ...], cut: tuple[tuple[str, str], ...]) -> frozenset[str]:
    return frozenset(peer for peer in nodes if peer == node or ((node, peer) not in cut and (peer, node) not in cut))


@pytest.mark.parametrize("count", [4, 5, 6, 7, 9])
def test_on_a_ring_each_node_reaches_a_majority_of_its_own(count: int) -> None:
    nodes = node_names(count)
    seen = {node: reaches(node, nodes, links_of_ring(nodes)) for node in nodes}
    assert all(len(reached) >= majority(count) for reached in seen.values())
    assert all(one != other for one, other in combinations(seen.values(), 2))
    assert all(reached != frozenset(nodes) for reached in seen.values())


def test_a_ring_of_three_nodes_is_refused_since_it_cuts_nothing() -> None:
    target: Any = SimpleNamespace(nodes=node_names(3))
    with pytest.raises(BadInput, match=r"a ring of 3 nodes cuts no link: .* four nodes"):
        majorities_ring(target, Random(0))


def test_a_partition_cuts_both_directions_and_nodes_in_no_group_are_a_group() -> None:
    cut = links_between([["n1", "n2"]], ("n1", "n2", "n3"))
    assert {("n1", "n3"), ("n3", "n1"), ("n2", "n3"), ("n3", "n2")} == set(cut)


def test_only_the_bridge_reaches_both_groups() -> None:
    cut = links_of_bridge(["n1", "n2"], "n3", ["n4", "n5"])
    assert {"n1", "n2", "n3"} == reaches("n1", FIVE, cut)
    assert set(FIVE) == reaches("n3", FIVE, cut)


def test_a_selection_of_links_is_expanded_to_pairs() -> None:
    nodes = ("n1", "n2")
    assert {("n1", "n2"), ("n2", "n1")} == set(expand_links("nodes", nodes))
    assert {(CLIENT, "n1"), ("n1", CLIENT), (CLIENT, "n2"), ("n2", CLIENT)} == set(expand_links("clients", nodes))
    assert len(expand_links("all", nodes)) == 6
    assert expand_links([["n2", "n1"]], nodes) == (("n2", "n1"),)


def test_every_module_of_the_catalogue_exists() -> None:
    root = Path(module.__file__).parent
    assert all((root / f"{name.removeprefix('harness.faults.')}.py").exists() for name in module.MODULES)
