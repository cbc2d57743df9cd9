"""Figure 8 of Raft's paper: what counting entries of an earlier term loses."""

from pathlib import Path

import pytest

from harness.mutants.figure_8 import NoRaft, act_out
from harness.mutants.raft import EarlierTermsAreCounted
from node.algorithms import load_algorithm

TRANSCRIPT = Path(__file__).parent / "figure_8.txt"


def committed(lines: list[str], node: str) -> list[str]:
    """Return how far a server has said to have committed, at the end of each part."""
    return [line.rpartition("; ")[2] for line in lines if line.startswith(f"     {node}: terms")]


def test_raft_commits_no_entry_of_an_earlier_term_by_counting(regenerate: bool) -> None:
    told = act_out(load_algorithm("raft"))
    assert told.cluster.violations == []
    assert committed(told.lines, "n1") == ["down", "down", "committed up to slot 0", "down"]
    text = "\n".join(told.lines).strip() + "\n"
    if regenerate:
        TRANSCRIPT.write_text(text, encoding="utf-8")
    assert TRANSCRIPT.read_text(encoding="utf-8") == text


def test_counting_loses_an_entry_that_was_taken_for_committed() -> None:
    told = act_out(EarlierTermsAreCounted)
    assert committed(told.lines, "n1") == ["down", "down", "committed up to slot 3", "down"]
    assert [violation.kind for violation in told.cluster.violations] == ["agreement", "state"]
    assert told.cluster.violations[0].text == "in slot 3 n1 has applied one batch and n5 another"
    entries = {node: told.cluster.nodes[node].disk.log.get(3) for node in ("n1", "n5")}
    assert [entry.round if entry else None for entry in entries.values()] == [1, 2]


@pytest.mark.parametrize("algorithm", ["multipaxos", "paxos"])
def test_it_is_about_raft_alone(algorithm: str) -> None:
    with pytest.raises(NoRaft, match="try `raft`"):
        act_out(load_algorithm(algorithm))
