"""Three proposals at once, with nobody down: what every node hears first is its own client."""

from harness.runs.experiment import Experiment
from harness.runs.scenarios import Scenario


def tell(run: Experiment, _variant: str) -> None:
    """Messages between nodes are held until each node has heard its own client, then all are delivered."""
    proposals = {"n1": "blue", "n2": "blue", "n3": "red", "n4": "red", "n5": "green"}
    with run.faults.hold_all() as held:
        early = [run.begin_propose("colour", value, at=node, timeout_s=0.9) for node, value in proposals.items()]
        # Every node has said something to every other, except a leader, who has nothing to say.
        held.rules[0].wait_held(len(run.nodes) - 1, timeout_s=20.0)
    run.settle(
        *early,
        *(run.begin_propose("colour", value, at=node) for node, value in proposals.items()),
        *(run.begin_query("colour", at=node) for node in run.nodes),
    )


SCENARIO = Scenario(
    "three-proposals",
    "blue, blue, red, red and green are proposed at the same time; nobody is down and nothing is lost",
    tell,
    takes_s=3.0,
)
