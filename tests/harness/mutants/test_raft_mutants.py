"""A test of Raft's paper fails on each mutant of Raft, and a simulated run shows those that random faults can show soon."""

from pathlib import Path

import pytest

from harness import mutants
from harness.mutants.raft import RAFT_MUTANTS, RaftMutant
from tests.node.algorithms import test_raft_paper


@pytest.mark.parametrize("mutant", RAFT_MUTANTS, ids=lambda mutant: mutant.broken.__name__)
def test_a_rule_of_the_paper_shows_it(mutant: RaftMutant, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = getattr(test_raft_paper, f"test_{mutant.paper}")
    rule()
    monkeypatch.setattr(test_raft_paper, "Raft", mutant.broken)
    with pytest.raises(AssertionError):
        rule()


def test_the_readme_names_each_with_its_source_and_its_script() -> None:
    readme = (Path(mutants.__file__).parent / "README.md").read_text()
    for broken, source, _, script, _ in RAFT_MUTANTS:
        assert f"| `{broken.__name__}` | {source} | {broken.__doc__} | {script} |" in readme
