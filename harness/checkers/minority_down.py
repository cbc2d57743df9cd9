"""Fault tolerance of systems that are not ours, as far as a system says that it has it: `answers_within_s` in its TOML file.

While a majority of the nodes is up and connected, and clients ask those nodes all the time, some call is answered within so many
seconds, and as much later as slow links and a stalled machine excuse. One answer is enough: a client that has asked one node
proves nothing. What a system promises to a single call is not known here.
"""

from harness.checkers.evidence import RunEvidence, ended_ns, was_answered
from harness.checkers.owed_answers import is_owed, silences
from harness.checkers.verdict import Found, Verdict, checker, invalid, unknown, valid
from harness.records.receipts import Receipt
from node.wording import count


@checker
def minority_down(run: RunEvidence, within_s: float) -> Verdict:
    """Check that the system answers while a minority is down or cut off.

    Args:
        run: the evidence.
        within_s: within how many seconds the system says that it answers then.

    Returns:
        Unknown if no fault lasted long enough.
    """
    with Found() as found:
        found.extend(silences(run, within_s))
    if found:
        return invalid(*found)
    tried = [receipt for receipt in run.receipts if _shows_it(run, receipt, within_s)]
    if not tried:
        return unknown(f"no fault of a minority lasted {within_s:g} s")
    faults = count(len(tried), "fault")
    return valid(f"under {faults} of a minority, each longer than {within_s:g} s, clients got answers within that time")


def _shows_it(run: RunEvidence, receipt: Receipt, within_s: float) -> bool:
    """Return whether a fault took away a minority for long enough that an answer was owed under it, and one came."""
    until_ns = receipt.began_ns + int(within_s * 1e9)
    if not (receipt.bit and (receipt.nodes_down or receipt.links_cut)):
        return False
    lasts = receipt.ended_ns is None or receipt.ended_ns >= until_ns
    return (
        lasts
        and is_owed(run, None, receipt.began_ns, until_ns, may_lead=True)
        and any(was_answered(call) and receipt.began_ns < ended_ns(call) <= until_ns for call in run.calls)
    )
