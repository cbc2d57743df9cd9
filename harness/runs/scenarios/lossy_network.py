"""Every link between nodes loses, repeats, delays and reorders what it carries, while clients propose at all nodes."""

from harness.runs.experiment import Experiment
from harness.runs.scenarios import Scenario

ROUNDS = 8
LATE_S = 0.02


def play(run: Experiment, _variant: str) -> None:
    """Let rivals propose at three nodes, round after round; then make the network whole and query every node."""
    with run.faults.lossy(LATE_S):
        for number in range(ROUNDS):
            variable = f"colour-{number}"
            run.settle(
                *(
                    run.begin_propose(variable, colour, at=run.nodes[(number + place) % len(run.nodes)], timeout_s=5.0)
                    for place, colour in enumerate(("blue", "red", "blue"))
                )
            )
            run.query(variable, at=run.nodes[(number + 3) % len(run.nodes)], timeout_s=5.0)
    for number in range(ROUNDS):
        run.query_all(f"colour-{number}")


SCENARIO = Scenario("lossy-network", "every link loses, repeats, delays and reorders a fifth of what it carries", play)
