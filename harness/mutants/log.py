"""Multi-Paxos, broken on purpose: every class of `log_consensus.py`, `log_clients.py` and `log_members.py`.

Each class is the shipped replica with one of its parts replaced, so it runs as a process and in virtual time alike. Its name as
an algorithm is of this module: `harness.mutants.log:AcceptsInMemory`. Files of earlier runs hold such names.
"""

from harness.mutants.log_clients import (
    AnswersDependOnTheNode,
    FramesAreAppliedInAnyOrder,
    LeasesEndByTheWallClock,
    LocksHaveNoFencingToken,
    LostWatchesAreNotMissed,
    ReadsAreLocal,
    ResumedSessionsCountAnew,
    RetriesAreDoneAgain,
    SnapshotsForgetAnswers,
    WatchesAreNeverDropped,
    WatchesBeginAnew,
)
from harness.mutants.log_consensus import (
    AcceptsAreSentOnce,
    AcceptsInMemory,
    AppliesTooLate,
    BallotsAreReused,
    CanvassesForgetTheirSupporters,
    CommitRunsAheadOfTheLog,
    GapsAreLeft,
    LeadersCountTheirVotesAtOnce,
    LeadersDoNotWaitForSlowLinks,
    PromisesInMemory,
    PromisesLeaveOutWhatIsCommitted,
    SmallQuorum,
    VotersCountTwice,
)
from harness.mutants.log_members import (
    ChangesAreNotSaved,
    ChangesOverlap,
    IdsAreUsedAgain,
    PhaseOneIsKeptOverAChange,
    StrangersAreNotHeard,
    TheRemovedStillVote,
)

__all__ = [
    "AcceptsAreSentOnce",
    "AcceptsInMemory",
    "AnswersDependOnTheNode",
    "AppliesTooLate",
    "BallotsAreReused",
    "CanvassesForgetTheirSupporters",
    "ChangesAreNotSaved",
    "ChangesOverlap",
    "CommitRunsAheadOfTheLog",
    "FramesAreAppliedInAnyOrder",
    "GapsAreLeft",
    "IdsAreUsedAgain",
    "LeadersCountTheirVotesAtOnce",
    "LeadersDoNotWaitForSlowLinks",
    "LeasesEndByTheWallClock",
    "LocksHaveNoFencingToken",
    "LostWatchesAreNotMissed",
    "PhaseOneIsKeptOverAChange",
    "PromisesInMemory",
    "PromisesLeaveOutWhatIsCommitted",
    "ReadsAreLocal",
    "ResumedSessionsCountAnew",
    "RetriesAreDoneAgain",
    "SmallQuorum",
    "SnapshotsForgetAnswers",
    "StrangersAreNotHeard",
    "TheRemovedStillVote",
    "VotersCountTwice",
    "WatchesAreNeverDropped",
    "WatchesBeginAnew",
]
