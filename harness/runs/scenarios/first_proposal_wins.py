"""The first proposal wins: a later proposer gets the decided value, and that is no error."""

from harness.runs.experiment import Experiment
from harness.runs.scenarios import Scenario

#: How long a call may take, in seconds. Every design answers at once, but the first messages may be late on a busy machine.
WAIT_S = 15.0


def play(run: Experiment, _variant: str) -> None:
    """Propose at one node, propose other values at two others, and query every node."""
    run.propose("colour", "blue", at="n2", timeout_s=WAIT_S)
    run.propose("colour", "red", at="n3", timeout_s=WAIT_S)
    run.propose("colour", "green", at="n1", timeout_s=WAIT_S)
    run.query_all("colour", timeout_s=WAIT_S)


SCENARIO = Scenario(
    "first-proposal-wins",
    "blue is proposed, then red and green at other nodes; every node is queried",
    play,
    breaks=False,
)
