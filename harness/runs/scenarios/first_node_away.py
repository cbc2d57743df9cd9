"""The first node, which is the leader where there is one, is killed, cut off or suspended; then it comes back."""

from harness.runs.experiment import Experiment
from harness.runs.scenarios import Scenario

#: How long a proposal may take while n1 is away, in seconds: a new leader must be found, or two proposers beat each other.
WAIT_S = 8.0


def play(run: Experiment, variant: str) -> None:
    """Decide, take n1 away, query the old decision and propose a new one, bring n1 back, query again."""
    run.propose("before", "blue", at="n1")
    run.query_all("before")
    cut = None
    match variant:
        case "killed":
            run.faults.kill("n1")
        case "suspended":
            run.faults.suspend("n1")
        case "cut-off":
            cut = run.faults.isolate("n1")
    run.settle(
        run.begin_query("before", at="n3"),
        run.begin_propose("meanwhile", "green", at="n2", timeout_s=WAIT_S),
        run.begin_propose("meanwhile", "red", at="n4", timeout_s=WAIT_S),
    )
    match variant:
        case "killed":
            run.faults.restart("n1")
        case "suspended":
            run.faults.resume("n1")
    if cut is not None:
        cut.heal()
    run.query_all("before")
    run.propose("meanwhile", "yellow", at="n1")
    run.query_all("meanwhile")


SCENARIO = Scenario(
    "first-node-away",
    "n1, the leader where there is one, is killed, cut off or suspended, then comes back",
    play,
    variants=("killed", "cut-off", "suspended"),
    takes_s=WAIT_S,
    about="leader",
)
