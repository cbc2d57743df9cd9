"""Every mutant: what is broken, which real break it imitates, and the story in which the suite must see it.

The rows are those of `ROWS`, the ways in which Paxos and its logs have really broken; mutants without one are our own.
"""

import re
import sys
from dataclasses import dataclass, replace
from typing import Final

from cluster.processes import NODE_COMMAND
from harness.mutants import log_schedules as of_logs
from harness.mutants import paxos_schedules as of_paxos
from harness.mutants import schedules as of_any
from harness.mutants.log_stories import STORIES, VirtualStory
from harness.mutants.schedules import Schedule
from node.contract import BadInput

_PAXOS: Final = "harness.mutants.paxos"
_OTHERS: Final = "harness.mutants.majority_and_leader"


#: What has really been broken, by number.
ROWS: Final = {
    1: "accepted values are ignored in phase 1",
    2: "the lowest or any accepted value is adopted",
    3: "an Accept ignores the promise",
    4: "an Accept does not raise the promise",
    5: "a promise is not durable before the reply",
    6: "an accepted value is not durable before the reply",
    7: "a node whose disk was wiped votes",
    8: "a ballot is used again after a restart",
    9: "a quorum is one too small",
    10: "phase 1b leaves out what is committed",
    11: "a gap is not filled with a no-op",
    12: "promises or ballots are reset on a full restart",
    13: "the commit index is durable ahead of the log",
    14: "no dedupe, or its table is missing from the snapshot",
    15: "a client restarts and uses its numbers again",
    16: "a leader reads locally, or answers before it has asked its quorum",
    17: "a lease runs on the wall clock",
    18: "a lock has no fencing token",
    19: "a change of members before the new leader's own no-op; two at once",
    20: "a removed node keeps voting; an id is used again",
    21: "a corrupt record is taken for a torn tail",
    22: "an acknowledgement of an old ballot is counted; one voter twice",
    23: "nothing is sent again",
    24: "applied out of order; a command that is not deterministic",
}


class NoSuchMutant(BadInput):
    """No mutant is called that. The message says which are."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A break of `original`: another `algorithm`, or a node that is started with a break of `harness.mutants.broken_node`."""

    name: str
    imitates: str
    schedule: Schedule | VirtualStory
    algorithm: str
    original: str = "paxos"
    broken_node: str | None = None

    @property
    def rows(self) -> tuple[int, ...]:
        """Which of `ROWS` it imitates, if any."""
        named = re.match(r"rows? (\d+(?:(?:, | and )\d+)*)", self.imitates)
        return tuple(map(int, re.findall(r"\d+", named[1]))) if named else ()

    @property
    def command(self) -> tuple[str, ...]:
        """What starts a node."""
        if self.broken_node is None:
            return NODE_COMMAND
        return (sys.executable, "-P", "-m", "harness.mutants.broken_node", self.broken_node)


def _paxos(name: str, class_: str, row: str, schedule: Schedule) -> Mutant:
    return Mutant(name, row, schedule, f"{_PAXOS}:{class_}")


def _other(name: str, original: str, class_: str, row: str, schedule: Schedule) -> Mutant:
    return Mutant(name, row, schedule, f"{_OTHERS}:{class_}", original)


def _node(name: str, row: str, schedule: Schedule, original: str = "paxos") -> Mutant:
    return Mutant(name, row, schedule, original, original, name)


def _log(name: str, row: str, story: str) -> Mutant:
    return Mutant(name, row, STORIES[story], "multipaxos", "multipaxos", name)


def _log_virtual(name: str, row: str, story: str) -> Mutant:
    """The same break as one of real processes, without them."""
    return replace(_log(name, row, story), name=f"virtual-{name}")


MUTANTS: Final = (
    # Phase 1, and what an acceptor keeps.
    _paxos("ignores-accepted", "IgnoresAccepted", "row 1", of_paxos.CHOSEN_THEN_A_RIVAL),
    _paxos("adopts-lowest", "AdoptsLowest", "row 2", of_paxos.THREE_BALLOTS),
    _paxos("adopts-last", "AdoptsLast", "row 2", of_paxos.THREE_BALLOTS),
    _paxos("accept-ignores-promise", "AcceptIgnoresPromise", "row 3", of_paxos.LATE_ACCEPT),
    _paxos("accept-does-not-raise", "AcceptDoesNotRaise", "row 4", of_paxos.ACCEPTED_WITHOUT_A_PROMISE),
    _paxos("promise-in-memory", "PromiseInMemory", "row 5", of_paxos.LATE_ACCEPT_AFTER_A_RESTART),
    _paxos("accepted-in-memory", "AcceptedInMemory", "row 6", of_paxos.CHOSEN_THEN_A_RESTART),
    _paxos("reuses-ballots", "ReusesBallots", "row 8", of_paxos.ONE_PROMISE_HELD),
    _paxos("small-quorum-1", "SmallQuorum1", "row 9, phase 1", of_paxos.CHOSEN_THEN_A_RIVAL),
    _paxos("small-quorum-2", "SmallQuorum2", "row 9, phase 2", of_paxos.ONE_ACCEPTANCE),
    _paxos("promises-report-nothing", "PromisesReportNothing", "row 10", of_paxos.CHOSEN_THEN_A_RIVAL),
    _paxos("starts-afresh", "StartsAfresh", "row 12", of_paxos.LATE_ACCEPT_AFTER_A_RESTART),
    _paxos("nobodys-ballots", "NobodysBallots", "two proposers share a ballot", of_paxos.THE_SAME_MOMENT),
    # Phase 2, and after.
    _paxos("counts-old-acks", "CountsOldAcks", "row 22", of_paxos.ACKNOWLEDGED_LATE),
    _paxos("counts-old-promises", "CountsOldPromises", "row 22", of_paxos.PROMISED_LATE),
    _paxos("counts-messages", "CountsMessages", "row 22", of_paxos.ONE_ACCEPTANCE),
    _paxos("sends-once", "SendsOnce", "row 23", of_any.ONE_ACCEPT_LOST),
    _paxos("believes-any-accept", "BelievesAnyAccept", "a learner asks no quorum", of_paxos.ONE_ACCEPTANCE),
    _paxos("gives-up-when-beaten", "GivesUpWhenBeaten", "a duel with the dead", of_paxos.BEATEN_BY_THE_DEAD),
    _paxos(
        "ignores-rejections", "IgnoresRejections", "a ballot that is too low, for ever", of_paxos.BEATEN_BY_THE_DEAD
    ),
    # What clients are told.
    _paxos("undecided-without-proof", "UndecidedWithoutProof", "row 16: a local read", of_any.ASKED_WHILE_CUT_OFF),
    _paxos(
        "answers-with-the-proposal", "AnswersWithTheProposal", "told what was asked for", of_any.ONE_AFTER_THE_OTHER
    ),
    _paxos("proposes-a-default", "ProposesADefault", "a value out of nowhere", of_any.ONE_AFTER_THE_OTHER),
    _paxos("refuses-rivals", "RefusesRivals", "a race is an error", of_any.ONE_AFTER_THE_OTHER),
    _paxos("last-write-wins", "LastWriteWins", "set twice", of_any.ONE_AFTER_THE_OTHER),
    # The simpler designs.
    Mutant("failover", "silence taken for death", of_any.SPLIT, "failover"),
    _other("changes-its-vote", "majority", "ChangesItsVote", "two votes of one voter", of_any.ONE_AFTER_THE_OTHER),
    _other("votes-in-memory", "majority", "VotesInMemory", "row 12: votes not on disk", of_any.EVERYBODY_KILLED),
    _other("small-majority", "majority", "SmallMajority", "row 9", of_any.SPLIT),
    _other("plurality", "majority", "Plurality", "the most, not more than half", of_any.SPLIT),
    _other("counts-votes-twice", "majority", "CountsVotesTwice", "row 22", of_any.SPLIT),
    _other("votes-told-once", "majority", "VotesAreToldOnce", "row 23", of_any.ONE_VOTE_LOST),
    _other(
        "undecided-at-the-first-word",
        "majority",
        "UndecidedAtTheFirstWord",
        "undecided without proof",
        of_any.ASKED_WHILE_CUT_OFF,
    ),
    _other("takes-a-second-value", "leader", "TakesASecondValue", "set twice", of_any.ONE_AFTER_THE_OTHER),
    _other("followers-answer-alone", "leader", "FollowersAnswerAlone", "row 16", of_any.ONE_AFTER_THE_OTHER),
    _other("leader-in-memory", "leader", "LeaderInMemory", "row 6", of_any.EVERYBODY_KILLED),
    # The turn, the wire, the disk.
    _node("replies-before-the-commit", "rows 5 and 6", of_any.POWER_CUT_AFTER_THE_ANSWER, "leader"),
    Mutant(
        "accepted-before-the-commit",
        "row 6",
        of_any.POWER_CUT_AFTER_THE_ACCEPTANCE,
        "paxos",
        broken_node="replies-before-the-commit",
    ),
    _node("nothing-is-committed", "rows 5, 6 and 12", of_any.EVERYBODY_KILLED),
    _node("a-commit-saves-one-thing", "row 13: a part durable ahead of the rest", of_any.EVERYBODY_KILLED),
    _node("synchronous-normal", "a commit that is not synced", of_any.POWER_CUT),
    _node("synchronous-off", "a commit that is not synced", of_any.POWER_CUT),
    _node("failed-commits-are-ignored", "an error of fsync passed over", of_any.A_SYNC_FAILS, "leader"),
    _node("a-wiped-disk-votes", "row 7", of_any.A_WIPED_DISK),
    _node("checksums-are-not-checked", "row 21", of_any.A_FLIPPED_BIT),
    _node("variables-share-their-rows", "a key without its name", of_any.TWO_NAMES),
    _node("names-are-cut-short", "a key that is cut off", of_any.TWO_NAMES),
    _node("retries-are-taken-for-done", "row 14", of_any.A_LOST_ANSWER),
    _node("answers-are-crossed", "an answer for somebody else", of_any.TWO_ANSWERS_IN_A_TURN),
    _node("incarnations-go-back", "a boot counter that goes back", of_any.ONE_BACK_ONE_AWAY),
    _node("the-queue-leaks", "row 23: sends dropped for ever", of_any.ONE_BACK_ONE_AWAY),
    _node("no-messages-to-oneself", "row 23", of_any.ONE_BACK_ONE_AWAY),
    _node("timers-never-fire", "row 23", of_any.ONE_ACCEPT_LOST),
    _node("malformed-frames-kill", "a frame that ends its reader", of_any.NOISE),
    # The replicated log, on real processes.
    *(
        _node(name, row, schedule, "multipaxos")
        for name, row, schedule in (
            ("log-accepts-in-memory", "row 6", of_logs.EVERYBODY_KILLED),
            ("commit-runs-ahead-of-the-log", "row 13", of_logs.EVERYBODY_KILLED),
            ("retries-are-done-again", "row 14: no dedupe", of_logs.AN_ANSWER_IS_LOST),
            ("resumed-sessions-count-anew", "row 15", of_logs.A_CLIENT_COMES_BACK),
            ("reads-are-local", "row 16", of_logs.A_LEADER_FROM_THE_PAST),
            ("torn-tails-everywhere", "row 21", of_logs.A_FLIPPED_BIT_IN_MID_LOG),
            ("frames-are-applied-in-any-order", "row 24: applied out of order", of_logs.SOME_AT_ONCE),
            ("answers-depend-on-the-node", "row 24: not deterministic", of_logs.SOME_AT_ONCE),
        )
    ),
    # The replicated log, in virtual time.
    _log("log-promises-in-memory", "rows 5 and 12: promises reset on a full restart", "everybody-starts-anew"),
    _log_virtual("log-accepts-in-memory", "row 6", "everybody-crashes-after-the-answer"),
    _log("leaders-count-their-votes-at-once", "row 5", "one-alone-crashes-as-it-answers"),
    _log("log-ballots-are-reused", "row 8", "a-ballot-after-a-restart"),
    _log("log-small-quorum", "row 9", "a-leader-of-a-minority"),
    _log("promises-leave-out-what-is-committed", "row 10", "a-candidate-that-is-behind"),
    _log("gaps-are-left", "row 11", "a-gap"),
    _log_virtual("commit-runs-ahead-of-the-log", "row 13", "everybody-crashes-after-the-answer"),
    _log_virtual("retries-are-done-again", "row 14: no dedupe", "an-answer-is-cut-off"),
    _log("snapshots-forget-answers", "row 14: no dedupe after a snapshot", "an-answer-is-cut-off"),
    _log_virtual("resumed-sessions-count-anew", "row 15", "a-client-restarts"),
    _log_virtual("reads-are-local", "row 16", "a-leader-from-the-past-is-asked"),
    _log("leases-end-by-the-wall-clock", "row 17", "time-while-nobody-leads"),
    _log("locks-have-no-fencing-token", "row 18", "a-holder-that-is-away-too-long"),
    _log("phase-one-is-kept-over-a-change", "row 19: before the leader's own no-op", "members-change-unheard-of"),
    _log("changes-overlap", "row 19: two changes at once", "two-changes-at-once"),
    _log("what-is-told-is-applied-late", "a change of members that is not heeded", "asked-in-the-turn-that-tells"),
    _log("changes-are-not-saved", "members who have gone are waited for", "newcomers-start-anew"),
    _log("strangers-are-not-heard", "members who have gone are waited for", "somebody-joins-unnoticed"),
    _log("the-removed-still-vote", "row 20: a removed node votes", "the-removed-speak"),
    _log("ids-are-used-again", "row 20: an id is used again", "an-id-comes-again"),
    _log("voters-count-twice", "row 22", "acknowledgements-that-come-again"),
    _log("accepts-are-sent-once", "row 23", "one-accept-is-lost"),
    _log_virtual("frames-are-applied-in-any-order", "row 24: applied out of order", "several-at-once"),
    _log_virtual("answers-depend-on-the-node", "row 24: not deterministic", "several-at-once"),
)


def table() -> list[str]:
    """The rows, each with its mutants and their stories, as Markdown."""
    lines = ["| | what has really been broken | mutants, with their stories |", "|---|---|---|"]
    for row, about in ROWS.items():
        mutants = [mutant for mutant in MUTANTS if row in mutant.rows]
        told = "; ".join(f"`{mutant.name}`: {_where(mutant.schedule)}" for mutant in mutants)
        lines.append(f"| {row} | {about} | {told} |")
    return lines


def _where(schedule: Schedule | VirtualStory) -> str:
    return f"{schedule.name}, in virtual time" if isinstance(schedule, VirtualStory) else schedule.name


def choose(names: tuple[str, ...]) -> tuple[Mutant, ...]:
    """The mutants of these names; all of them if none is given. Raises NoSuchMutant."""
    known = {mutant.name: mutant for mutant in MUTANTS}
    for name in names:
        if name not in known:
            raise NoSuchMutant(f"no mutant is called {name!r}; there are {', '.join(known)}")
    return tuple(known[name] for name in dict.fromkeys(names)) or MUTANTS
