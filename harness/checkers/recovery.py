"""The checker of recovery: a node that was started again on its own disk comes up.

A crash must leave a disk on which the node can start. A node that refuses to start is lost for good, and what its disk holds with
it. The exception is a disk that a fault has damaged, set back or taken away. To refuse such a disk is right, since a node that
goes on with it could contradict what it has promised.

The reverse counts, too: a node whose last commit is lost, although it has said something that rests on it, must notice that.
"""

from harness.checkers.evidence import RunEvidence
from harness.checkers.verdict import Found, Verdict, checker, invalid, unknown, valid


def recovery_verdict(run: RunEvidence) -> dict[str, Verdict]:
    """Return the verdict "recovery" by its name if a node has refused to start again, or has not seen a loss; else nothing."""
    return {"recovery": recovery(run)} if run.refusals or run.unnoticed else {}


@checker
def recovery(run: RunEvidence) -> Verdict:
    """Check that no node has refused to start again on a disk that no fault has damaged."""
    with Found() as found:
        for refusal in run.refusals:
            if refusal.node not in run.damaged_disks:
                found.append(
                    f"{refusal.node} refused to start again on its own disk at {run.history.seconds(refusal.at_ns):.2f} s, "
                    f"which no fault had damaged: {refusal.reason}"
                )
        for node in run.unnoticed:
            found.append(
                f"{node} started again as if its disk were whole, and its last commit was lost, on which it had relied"
            )
    if found:
        return invalid(*found)
    if not run.refusals:
        return unknown("no node has refused to start again")
    named = ", ".join(dict.fromkeys(refusal.node for refusal in run.refusals))
    return valid(f"{named} refused to start again, as it must on a disk that a fault had damaged")
