"""Which messages have no effect on a replica of Multi-Paxos any more, so that explorers stop following them.

Promises only rise, and a replica prepares and leads once under a ballot. A message of a leader whose ballot is over also tells
that leader so. But its Prepare of that ballot does the same, and explorers go on following that.
"""

from node.algorithms.multipaxos.election import Election
from node.algorithms.multipaxos.leader import Leadership
from node.algorithms.multipaxos.messages import LogAccept, LogAccepted, LogPrepare, LogPromise
from node.contract import Message, NodeId
from node.log_contract import Effect
from node.replication.messages import Heartbeat


def effect_on(election: Election, leader: Leadership | None, sender: NodeId, message: Message) -> Effect | None:
    """Return which effect `message` can still have on the replica with these parts; None if this table does not say."""
    acceptor = election.acceptor
    promised = acceptor.promised
    match message:
        case LogAccept(ballot) | Heartbeat(ballot) | LogPrepare(ballot) if ballot < promised:
            return Effect.SAME_ANSWER
        case LogPromise(ballot):
            counts = ballot == promised and election.prepares(ballot)
            return Effect.ANY if ballot > promised or counts else Effect.NONE
        case LogAccepted(ballot, slots):
            if leader is None or ballot != leader.ballot:
                return Effect.NONE
            flights = [leader.flights[slot] for slot in slots if slot in leader.flights]
            return Effect.ANY if any(sender not in flight.votes for flight in flights) else Effect.NONE
        case Heartbeat(ballot, 0, commit) if ballot == promised and commit <= acceptor.commit:
            return Effect.NONE_UNTIL_BOOT if election.leader == sender else Effect.ANY
    return None
