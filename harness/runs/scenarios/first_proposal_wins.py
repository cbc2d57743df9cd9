"""The first proposal wins: a later proposer gets the decided value, and that is no error."""

from harness.runs.experiment import Experiment
from harness.runs.scenarios import Scenario


def play(run: Experiment, _variant: str) -> None:
    """Propose at one node, propose other values at two others, and query every node."""
    run.propose("colour", "blue", at="n2")
    run.propose("colour", "red", at="n3")
    run.propose("colour", "green", at="n1")
    run.query_all("colour")


SCENARIO = Scenario(
    "first-proposal-wins",
    "blue is proposed, then red and green at other nodes; every node is queried",
    play,
    breaks=False,
)
