"""Which protocol an algorithm speaks, by its messages: single-decree Paxos, a majority vote, or Multi-Paxos.

An algorithm of a user's own counts as one of these if all messages of that protocol are among its messages, with the same fields.
The live page asks this before it shows anything, so nothing else of this room is imported here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from typing import Final

from node.contract import Algorithm, Message

#: The messages of each protocol, and their fields.
PAXOS: Final[Mapping[str, frozenset[str]]] = {
    "Prepare": frozenset({"ballot"}),
    "Promise": frozenset({"ballot", "accepted", "value"}),
    "Accept": frozenset({"ballot", "value"}),
    "Accepted": frozenset({"ballot"}),
    "Decided": frozenset({"value"}),
}


@cache
def of_log() -> Mapping[str, frozenset[str]]:
    """Return the messages of Multi-Paxos that the rules of a log are about, and their fields."""
    from node.algorithms.multipaxos import messages as log  # noqa: PLC0415 - for logs alone
    from node.replication.messages import Heartbeat, InDoubt  # noqa: PLC0415

    kinds = (log.LogPrepare, log.LogPromise, log.LogAccept, log.LogAccepted, Heartbeat, InDoubt, log.Chosen)
    return {kind.type_name(): frozenset(kind.__slots__) for kind in kinds}


@cache
def _of_vote() -> Mapping[str, frozenset[str]]:
    from node.algorithms.majority import Heard, NotVoted, Vote, VoteQuery  # noqa: PLC0415

    return _declared((Vote, Heard, VoteQuery, NotVoted))


def _declared(messages: Iterable[type[Message]]) -> Mapping[str, frozenset[str]]:
    return {message.type_name(): frozenset(field.name for field in fields(message)) for message in messages}


def _has(algorithm: type[Algorithm], wanted: Mapping[str, frozenset[str]]) -> bool:
    declared = _declared(algorithm.messages)
    return all(declared.get(name) == its_fields for name, its_fields in wanted.items())


def is_log(algorithm: type[Algorithm]) -> bool:
    """Return whether an algorithm is a log that speaks Multi-Paxos."""
    return algorithm.keeps_log and _has(algorithm, of_log())


def is_paxos(algorithm: type[Algorithm]) -> bool:
    """Return whether an algorithm speaks single-decree Paxos, whether or not it announces decisions."""
    return _has(algorithm, {name: its_fields for name, its_fields in PAXOS.items() if name != "Decided"})


def is_vote(algorithm: type[Algorithm]) -> bool:
    """Return whether an algorithm is a majority vote."""
    return _has(algorithm, _of_vote())


def keeps_promises(algorithm: type[Algorithm]) -> bool:
    """Return whether an algorithm has ballots, promises and acceptances as Paxos has them, for one value or for a log."""
    return is_log(algorithm) or is_paxos(algorithm)


def chooses_by_majority(algorithm: type[Algorithm]) -> bool:
    """Return whether an algorithm's messages show which value a majority has accepted or voted for."""
    return is_paxos(algorithm) or is_vote(algorithm)
