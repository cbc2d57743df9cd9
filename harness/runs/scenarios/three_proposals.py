"""Three proposals at once, with no node down: the first input of every node is the proposal of its own client."""

from harness.runs.experiment import Experiment
from harness.runs.scenarios import Scenario


def play(run: Experiment, _variant: str) -> None:
    """Hold the messages between nodes until each node has a proposal of its own client, then deliver them all."""
    proposals = {"n1": "blue", "n2": "blue", "n3": "red", "n4": "red", "n5": "green"}
    with run.faults.hold_all() as held:
        early = [run.begin_propose("colour", value, at=node, timeout_s=0.9) for node, value in proposals.items()]
        # Every node has sent a message to every other, except a leader, which sends none.
        held.rules[0].wait_held(len(run.nodes) - 1, timeout_s=20.0)
    run.settle(
        *early,
        *(run.begin_propose("colour", value, at=node) for node, value in proposals.items()),
    )
    # Only an operation that begins after a decision was seen can show that it stays.
    run.settle(*(run.begin_query("colour", at=node) for node in run.nodes))


SCENARIO = Scenario(
    "three-proposals",
    "blue, blue, red, red and green are proposed at the same time; no node is down and nothing is lost",
    play,
    takes_s=3.0,
)
