"""The rules about ballots that Paxos and Multi-Paxos share: each returns what is wrong as one sentence.

Source: Lamport, *Paxos Made Simple* (2001), section 2.2.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from harness.checkers.wire_record import SentMessage, ballot_name, ballot_of
from node.contract import NodeId
from node.quorum import NO_BALLOT, Ballot


def misused_ballots(sent_under_ballots: Iterable[SentMessage]) -> Iterator[str]:
    """Yield a sentence for each ballot that another node than its owner used, or two incarnations of its owner.

    After a restart a node takes a new ballot.
    """
    first_use: dict[Ballot, SentMessage] = {}
    for sent in sent_under_ballots:
        ballot = ballot_of(sent)
        first = first_use.setdefault(ballot, sent)
        if sent.sender != ballot.node:
            yield f"{sent.sender} sent {sent.type} under {ballot_name(ballot)}, which is not its own"
        elif sent.incarnation != first.incarnation:
            yield (
                f"{ballot_name(ballot)} was used by two incarnations, {first.incarnation} ({first.type}) and "
                f"{sent.incarnation} ({sent.type})"
            )


def broken_promise(
    node: NodeId, answers: Iterable[SentMessage], first_request: Callable[[SentMessage], int]
) -> str | None:
    """P1a: an acceptor promises and accepts nothing below a ballot that it has promised.

    Args:
        node: the acceptor.
        answers: the Promises and Accepteds that it sent.
        first_request: returns the first line of the record that delivered a request for this answer; 0 if that is unknown.

    Returns:
        A sentence about the first answer that breaks a promise; None if none does.
    """
    in_order = sorted(answers, key=lambda sent: sent.index)
    lines = [answer.index for answer in in_order]
    highest = list(accumulate(map(ballot_of, in_order), max))  # up to and including each line
    of_incarnation: dict[int, Ballot] = {}
    for answer in in_order:
        highest_before = of_incarnation.get(answer.incarnation, NO_BALLOT)
        of_incarnation[answer.incarnation] = max(ballot_of(answer), highest_before)
    for answer in in_order:
        # Sent before `answer` for certain: by an earlier incarnation, or before any request for `answer` was delivered.
        earlier = bisect_left(lines, first_request(answer))
        before = [ballot for incarnation, ballot in of_incarnation.items() if incarnation < answer.incarnation]
        before += highest[earlier - 1 : earlier] if earlier else []
        if before and max(before) > ballot_of(answer):
            what = f"{node} sent {answer.type} of {ballot_name(ballot_of(answer))}"
            return f"{what} after it had promised {ballot_name(max(before))}"
    return None
