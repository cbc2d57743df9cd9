"""Which messages have no effect on a replica of Raft any more, so that explorers stop following them.

Terms only rise, a replica runs and leads once in a term, and what matches stays matched until a boot. A message of a leader whose
term is over also tells that leader so. But its RequestVote of that term does the same, and explorers go on following that.
"""

from node.algorithms.raft.election import RaftElection
from node.algorithms.raft.leader import RaftLeadership
from node.algorithms.raft.messages import (
    Appended,
    AppendEntries,
    Conflict,
    InstallSnapshot,
    RequestVote,
    StaleTerm,
    VoteReply,
)
from node.contract import Message, NodeId
from node.log_contract import Effect
from node.quorum import Ballot
from node.replication.messages import Heartbeat


def effect_on(
    election: RaftElection,
    leader: RaftLeadership | None,
    matched_with: Ballot,
    matched: int,
    sender: NodeId,
    message: Message,
) -> Effect | None:
    """Return which effect `message` can still have on the replica with these parts; None if this table does not say.

    Args:
        matched_with: the ballot of the latest leader that the replica has followed.
        matched: up to which slot its log is known to be that leader's.
    """
    term, log = election.term, election.log
    follows = matched_with if matched_with.node == election.leader else None
    match message:
        case AppendEntries(ballot) | Heartbeat(ballot) | InstallSnapshot(ballot) | RequestVote(ballot) if (
            ballot.round < term
        ):
            return Effect.SAME_ANSWER
        case AppendEntries(ballot, previous, _, entries, commit):
            known = previous + len(entries) <= matched and commit <= log.commit
            return Effect.NONE_UNTIL_BOOT if known and ballot == follows else Effect.ANY
        case Heartbeat(ballot, 0, commit):
            known = commit <= log.commit
            return Effect.NONE_UNTIL_BOOT if known and ballot == follows else Effect.ANY
        case VoteReply(_, other) | StaleTerm(_, other) if other > term:
            return Effect.ANY
        case VoteReply() | StaleTerm() | Appended() | Conflict():
            return Effect.ANY if _counts(election, leader, sender, message) else Effect.NONE
    return None


def _counts(election: RaftElection, leader: RaftLeadership | None, sender: NodeId, answer: Message) -> bool:
    """Return whether an answer adds to the votes of a candidate, or to what a leader knows of a member."""
    match answer:
        case VoteReply(ballot, _, granted):
            runs = election.role == election.RUNNING and ballot == election.ballot
            return runs and granted and sender not in election.votes
        case Appended(ballot, match) if leader is not None and ballot == leader.ballot:
            to = leader.members.get(sender)
            return to is None or to.probing or match > to.match
        case Conflict(ballot, previous) if leader is not None and ballot == leader.ballot:
            to = leader.members.get(sender)
            return to is None or previous > to.match
    return False
