"""Every node is killed at once, in the middle of a proposal, and started again on its disk."""

from harness.runs.experiment import Experiment
from harness.runs.scenarios import Scenario


def play(run: Experiment, _variant: str) -> None:
    """Decide three variables, begin a fourth, kill every node, restart every node, query all four."""
    for number in range(3):
        run.propose(f"settled-{number}", f"value {number}", at=run.nodes[number])
    begun = run.begin_propose("begun", "perhaps", at="n4", timeout_s=0.3)
    run.faults.kill(*run.nodes)
    run.settle(begun)
    run.faults.restart(*run.nodes)
    for variable in ("settled-0", "settled-1", "settled-2", "begun"):
        run.query_all(variable)
    run.propose("begun", "certainly", at="n2")
    run.query_all("begun")


SCENARIO = Scenario(
    "everybody-killed", "every node is killed at once, in the middle of a proposal, and restarted", play
)
