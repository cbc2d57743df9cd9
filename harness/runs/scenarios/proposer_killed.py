"""The proposer is killed after each of its messages in turn: after the first Prepare, after the second, … the last Decided."""

from harness.runs.experiment import Experiment
from harness.runs.scenarios import Scenario

PROPOSER = "n1"
WAIT_S = 20.0


def play(run: Experiment, _variant: str) -> None:
    """Let k messages of the proposer out, kill it, propose a rival at another node, restart, query every node; for each k."""
    messages = 3 * (len(run.nodes) - 1)  # a Prepare, an Accept and a Decided to each peer
    begun = []
    for let_out in range(messages + 1):
        variable = f"after-{let_out}"
        own_links = [(PROPOSER, peer) for peer in run.nodes if peer != PROPOSER]
        with run.faults.hold(own_links) as held:
            rule = held.rules[0]
            # The client waits for longer than the proposer takes: a proposer gives up a proposal whose client has gone.
            begun.append(run.begin_propose(variable, "blue", at=PROPOSER, timeout_s=WAIT_S))
            for _ in range(let_out):
                rule.wait_held(1, timeout_s=WAIT_S)
                rule.release(1)
            if let_out < messages:
                rule.wait_held(1, timeout_s=WAIT_S)
            run.faults.kill(PROPOSER)
            rule.discard()
        run.propose(variable, "red", at="n3")
        run.faults.restart(PROPOSER)
        run.query_all(variable)
    run.settle(*begun)


SCENARIO = Scenario(
    "proposer-killed",
    "the proposer is killed after each of its messages in turn, and a rival proposes",
    play,
    algorithms=("paxos",),
    takes_s=6.0,
)
