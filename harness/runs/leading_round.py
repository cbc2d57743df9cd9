"""After the heal of a log's run: every voter leads in turn, and hears every other.

The last round of calls shows that some node leads. It does not show that the others could: a node that was left deaf, or that
takes itself for a learner, goes unnoticed until it is the one that is needed.
"""

import time
from typing import Any, Final

from cluster.errors import CommandRefused, Unknown
from cluster.membership import leading_node
from cluster.processes import ProcessState
from harness.checkers.leading import HandOver
from harness.runs.experiment import Experiment

#: How long a node may take to lead, and to hear the others, in seconds. A hand-over takes hundredths of a second, but a log whose
#: links or disks have been slow waits for longer when a leader is lost.
LEADS_S: Final = 15.0
_CALL_S: Final = 1.0
_LOOK_S: Final = 0.02


def let_each_lead(run: Experiment) -> list[HandOver]:
    """Ask every voter to lead, one after the other. Returns what came of it; empty if no node says who votes.

    A leader must hear every voter. So while the process of a voter is down, none is asked to lead, and no time is lost.
    """
    statuses = run.cluster.status()
    leader = leading_node(statuses)
    if leader is None:
        return []
    voters = [node for node in statuses[leader]["variables"][""]["voters"] if node in run.nodes]
    others = [voter for voter in voters if voter != leader]
    down = [voter for voter in voters if run.cluster.state(voter) is ProcessState.DOWN]
    if down:
        last = f"{' and '.join(down)} {'is' if len(down) == 1 else 'are'} down"
        return [HandOver(node, time.monotonic_ns(), None, last=last) for node in voters]
    return [_let_lead(run, node) for node in [*others, leader] if others]


def _let_lead(run: Experiment, node: str) -> HandOver:
    """Ask again until the node leads: the leader refuses while the node is behind, and any request may come too late."""
    asked_ns, until, last = time.monotonic_ns(), time.monotonic() + LEADS_S, ""
    with run.cluster.log_client("nemesis") as client:
        while time.monotonic() < until:
            try:
                client.configuration.hand_over(node, _CALL_S)
            except (CommandRefused, Unknown) as error:
                last = str(error)
            while time.monotonic() < until:
                replica = _replica(run, node)
                if replica.get("leads"):
                    heard = tuple(sorted(replica.get("hears", ())))
                    if set(replica["voters"]) <= {*heard, node}:
                        return HandOver(node, asked_ns, time.monotonic_ns(), heard, tuple(replica["voters"]))
                    last = f"it hears {', '.join(heard) or 'no other node'}"
                elif leading_node(run.cluster.status()) is not None:
                    break  # another node leads: ask again
                run.machine.rest(_LOOK_S)
    replica = _replica(run, node)
    heard = tuple(sorted(replica.get("hears", ())))
    return HandOver(node, asked_ns, None, heard, tuple(replica.get("voters", ())), last)


def _replica(run: Experiment, node: str) -> dict[str, Any]:
    status = run.cluster.status(_CALL_S).get(node, {})
    replica: dict[str, Any] = status.get("variables", {}).get("", {})
    return replica
