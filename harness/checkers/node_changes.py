"""The checker of changes of the cluster's nodes: what the client was told of a change is what the log holds.

A change that was installed is in the chosen log. One that was refused is not. One whose outcome is unknown may be in it or not.
The chosen log is what the disks amount to (`chosen_log.py`), so it does not rest on what any node has said.
"""

from harness.checkers.evidence import RunEvidence
from harness.checkers.verdict import Found, Verdict, checker, invalid, unknown, valid
from harness.records.receipts import INDETERMINATE, INSTALLED, REFUSED
from node.wording import count


def node_changes_verdict(run: RunEvidence) -> dict[str, Verdict]:
    """Return the verdict "node changes" by its name if nodes were to join or leave; nothing otherwise."""
    return {"node changes": node_changes(run)} if any(receipt.change for receipt in run.receipts) else {}


@checker
def node_changes(run: RunEvidence) -> Verdict:
    """Check that each change of nodes that was installed is in the chosen log, and that none is that was refused."""
    changes = [change for receipt in run.receipts if (change := receipt.change) is not None]
    configuration = run.log.applied.configuration
    known = {*configuration.voters, *configuration.learners, *configuration.removed}
    told = {
        outcome: [one for one in changes if one.outcome == outcome] for outcome in (INSTALLED, REFUSED, INDETERMINATE)
    }
    with Found() as found:
        for change in changes:
            took_effect = change.node in (known if change.kind == "add" else configuration.removed)
            if change.outcome == INSTALLED and not took_effect:
                found.append(f"to {change.kind} {change.node} was acknowledged, and the chosen log does not hold it")
            others = [
                one for one in changes if one is not change and one.node == change.node and one.kind == change.kind
            ]
            if change.outcome == REFUSED and took_effect and all(one.outcome == REFUSED for one in others):
                found.append(f"to {change.kind} {change.node} was refused, and the chosen log holds it")
    if found:
        return invalid(*found)
    if not changes:
        return unknown("no node was to join or to leave")
    counts = ", ".join(f"{len(those)} {outcome}" for outcome, those in told.items() if those)
    return valid(f"the chosen log holds what was said of {count(len(changes), 'change')} of nodes: {counts}")
