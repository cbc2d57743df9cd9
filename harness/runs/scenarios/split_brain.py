"""The network is cut in two, and clients propose on both sides. Then the cut heals."""

from harness.runs.experiment import Experiment
from harness.runs.scenarios import Scenario

MINORITY_S = 1.5


def play(run: Experiment, _variant: str) -> None:
    """Cut {n1, n2} from {n3, n4, n5}, propose blue at n2 and red at n4, heal the cut, and query every node."""
    with run.faults.partition(["n1", "n2"], ["n3", "n4", "n5"]):
        run.settle(
            run.begin_propose("colour", "blue", at="n2", timeout_s=MINORITY_S),
            run.begin_propose("colour", "red", at="n4"),
        )
        run.settle(run.begin_query("colour", at="n1", timeout_s=MINORITY_S), run.begin_query("colour", at="n5"))
    run.query_all("colour")
    run.propose("colour", "green", at="n3")
    run.query_all("colour")


SCENARIO = Scenario(
    "split-brain",
    "{n1,n2} are cut from {n3,n4,n5}; blue is proposed at n2, red at n4; the cut heals",
    play,
    takes_s=5.0,
    about="failover",
)
