"""Every pair of five nodes is killed in turn; the other three are queried for an old decision and asked for a new one."""

from itertools import combinations

from harness.runs.experiment import Experiment
from harness.runs.scenarios import Scenario
from node.algorithms import LOGS


def play(run: Experiment, _variant: str) -> None:
    """Kill a pair, query and propose at the others, restart the pair, and go on with the next pair."""
    run.propose("first", "blue", at="n3")
    for pair in combinations(run.nodes, 2):
        run.faults.kill(*pair)
        others = [node for node in run.nodes if node not in pair]
        run.settle(
            run.begin_query("first", at=others[0]),
            run.begin_propose("without-" + "-".join(pair), "red", at=others[1]),
        )
        run.faults.restart(*pair)
        run.query("without-" + "-".join(pair), at=pair[0])
    run.propose("first", "green", at="n5")  # it comes too late, which must be no error
    run.query_all("first")


SCENARIO = Scenario(
    "minority-killed",
    "each pair of five nodes is killed in turn, and comes back",
    play,
    algorithms=("majority", "paxos", *LOGS),
    takes_s=4.0,
)
