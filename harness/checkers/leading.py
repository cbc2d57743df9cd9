"""The checker of leading: after the heal every voter of a log leads if it is asked to, and hears every other voter then."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from harness.checkers.evidence import RunEvidence
from harness.checkers.verdict import Found, Verdict, checker, invalid, unknown, valid
from node.wording import count

#: What the machine takes counts for so long after the request, in nanoseconds: as long as the node is asked.
_LOOKS_NS: Final = 15_000_000_000
#: If it takes more of that time, in seconds, too little is left.
_SPARE_S: Final = 5.0


class HandOver(NamedTuple):
    """What came of asking a voter to lead, after all faults had healed.

    Attributes:
        node: the voter.
        asked_ns: when it was first asked, in nanoseconds of the harness's clock.
        led_ns: when it led and heard all other voters; None if it did not in time.
        heard: the voters that it heard at last.
        voters: who voted.
        last: the last answer, if it did not lead.
    """

    node: str
    asked_ns: int
    led_ns: int | None
    heard: tuple[str, ...] = ()
    voters: tuple[str, ...] = ()
    last: str = ""


def leading_verdict(run: RunEvidence, hand_overs: Sequence[HandOver]) -> dict[str, Verdict]:
    """Return the verdict "leading" by its name if nodes were asked to lead; nothing otherwise."""
    return {"leading": leading(run, hand_overs)} if hand_overs else {}


@checker
def leading(run: RunEvidence, hand_overs: Sequence[HandOver]) -> Verdict:
    """Check that each voter led, and heard every other voter, in time.

    Unknown if other programs on the machine took too much of that time.
    """
    missing = [one for one in hand_overs if one.led_ns is None]
    judged = [one for one in missing if run.allowance_s(one.asked_ns, one.asked_ns + _LOOKS_NS) <= _SPARE_S]
    with Found() as found:
        for one in judged:
            deaf = [voter for voter in one.voters if voter not in (*one.heard, one.node)]
            what = f"did not hear {', '.join(deaf)}" if one.heard and deaf else "did not lead"
            found.append(
                f"{one.node} {what} although it was asked to lead from {run.history.seconds(one.asked_ns):.2f} s on, when all "
                f"faults had healed{': ' + one.last if one.last else ''}"
            )
    if found:
        return invalid(*found)
    if missing:
        return unknown(f"{count(len(missing), 'node')} did not lead in time, and the machine stalled meanwhile")
    slowest_s = max((one.led_ns or 0) - one.asked_ns for one in hand_overs) / 1e9
    return valid(f"each of {count(len(hand_overs), 'voter')} led, and heard all others, within {slowest_s:.2f} s")
