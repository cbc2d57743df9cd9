"""A race of two colours: five clients propose at five nodes at the same time."""

from harness.runs.experiment import Experiment
from harness.runs.scenarios import Scenario

ROUNDS = 5
#: How long a call may take, in seconds. Five Paxos proposers beat each other for up to twenty hops, long ones on a busy machine.
WAIT_S = 15.0


def play(run: Experiment, _variant: str) -> None:
    """Race a few times, and query every node after each race."""
    for number in range(ROUNDS):
        variable = f"colour-{number}"
        colours = ("blue", "red")
        run.settle(
            *(
                run.begin_propose(variable, colours[(place + number) % 2], at=node, timeout_s=WAIT_S)
                for place, node in enumerate(run.nodes)
            )
        )
        run.query_all(variable)


SCENARIO = Scenario(
    "race", "two colours are proposed at five nodes at the same time, five times over", play, breaks=False
)
