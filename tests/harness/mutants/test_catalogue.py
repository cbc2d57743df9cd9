"""The catalogue of mutants: each breaks shipped code, has a script with a description, and its row is in the README."""

from collections import Counter
from pathlib import Path

import pytest

from harness import mutants
from harness.mutants.broken_parts import BREAKS
from harness.mutants.catalogue import MUTANTS, ROWS, Mutant, NoSuchMutant, choose, table
from harness.mutants.part_scripts import PartScript, load_part
from harness.mutants.process_scripts import links
from harness.mutants.trial import try_mutant, try_shipped
from node.algorithms import BUILT_IN, load_algorithm


def test_there_are_many_and_no_two_have_one_name() -> None:
    assert len(MUTANTS) >= 30
    assert {1} == set(Counter(mutant.name for mutant in MUTANTS).values())


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_a_break_of_what_is_shipped(mutant: Mutant) -> None:
    if isinstance(mutant.script, PartScript):
        assert issubclass(load_part(mutant.algorithm), load_part(mutant.original))
        return
    original = load_algorithm(mutant.original)
    assert mutant.original in BUILT_IN
    if mutant.broken_node is not None:
        assert mutant.broken_node in BREAKS
        assert mutant.command[-1] == mutant.broken_node
        assert mutant.algorithm == mutant.original
    elif mutant.name != "failover":  # `failover` is shipped, and broken by design
        broken = load_algorithm(mutant.algorithm)
        assert issubclass(broken, original)
        assert broken is not original


def test_each_script_is_described_in_a_line() -> None:
    assert [mutant.name for mutant in MUTANTS if not mutant.script.about.endswith(".") or not mutant.imitates] == []


def test_every_break_of_a_node_is_used() -> None:
    assert set(BREAKS) == {mutant.broken_node for mutant in MUTANTS if mutant.broken_node is not None}


@pytest.mark.parametrize(
    "mutant", [mutant for mutant in MUTANTS if isinstance(mutant.script, PartScript)], ids=lambda mutant: mutant.name
)
def test_the_harness_finds_each_break_of_its_own_and_none_in_what_is_shipped(mutant: Mutant, tmp_path: Path) -> None:
    assert try_mutant(mutant, tmp_path).caught
    assert try_shipped(mutant.script, mutant.original, tmp_path).valid


def test_every_way_in_which_it_has_really_been_broken_has_a_mutant() -> None:
    assert [row for row in ROWS if not any(row in mutant.rows for mutant in MUTANTS)] == []


def test_the_table_of_what_has_been_broken_is_that_of_the_mutants() -> None:
    readme = (Path(mutants.__file__).parent / "README.md").read_text()
    assert "\n".join(table()) in readme
    assert {row for mutant in MUTANTS for row in mutant.rows} == set(ROWS)


def test_some_can_be_chosen() -> None:
    (chosen,) = choose(("small-quorum-1", "small-quorum-1"))
    assert chosen.name == "small-quorum-1"
    assert choose(()) == MUTANTS
    with pytest.raises(NoSuchMutant, match="did you mean ignores-rejections, ignores-accepted"):
        choose(("ignores-everything",))


def test_links_are_directed_pairs() -> None:
    assert links("n1", ["n2", "n3"]) == [("n1", "n2"), ("n1", "n3")]
