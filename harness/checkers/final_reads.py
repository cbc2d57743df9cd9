"""Final reads: the reads that show what each node has in the end, for services that only promise to agree eventually."""

from collections.abc import Sequence
from typing import NamedTuple

from harness.checkers.client_calls import CallContext, ClientCall


class FinalReads(NamedTuple):
    """The last read of each reader after the end of all writes, and why these show too little; None if they suffice."""

    reads: list[ClientCall]
    too_little: str | None
    after: int
    """The place after which all writes had ended."""


def final_reads(calls: Sequence[ClientCall], read: str, context: CallContext) -> FinalReads:
    """Return the last read of each node, or of each process if the history names no nodes.

    A read counts if it began after every write had ended. If the history marks reads as final, only these count.

    Args:
        calls: all calls, in the order in which they began.
        read: the function of a read; every other function writes.
        context: the nodes that must each have been read.
    """
    after = max((call.began if call.ended is None else call.ended for call in calls if call.f != read), default=-1)
    marked = any(call.is_final for call in calls)
    last: dict[int | str, ClientCall] = {}
    for call in calls:
        if call.f == read and call.is_ok and call.began > after and (call.is_final or not marked):
            last[call.reader] = call
    unread = [node for node in context.nodes if node not in last]
    too_little = f"no read of {unread[0]} began after the end of all writes" if unread else None
    if not last:
        too_little = "no read began after the end of all writes"
    return FinalReads(list(last.values()), too_little, after)
