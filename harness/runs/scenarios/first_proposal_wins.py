"""The first proposal wins: whoever comes later is told what was decided, and that is no error."""

from harness.runs.experiment import Experiment
from harness.runs.scenarios import Scenario


def tell(run: Experiment, _variant: str) -> None:
    """Propose, propose otherwise elsewhere, and ask everybody."""
    run.propose("colour", "blue", at="n2")
    run.propose("colour", "red", at="n3")
    run.propose("colour", "green", at="n1")
    run.query_all("colour")


SCENARIO = Scenario(
    "first-proposal-wins", "blue is proposed, then red and green elsewhere; everybody is asked", tell, breaks=False
)
