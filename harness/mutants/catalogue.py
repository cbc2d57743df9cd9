"""The catalogue of mutants: what is broken, which breaks of real implementations it imitates, and the script that shows it.

`ROWS` lists how implementations of Paxos and of its logs have been broken. A mutant that imitates no row is this project's own.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cluster.processes import NODE_COMMAND
from harness.mutants import judge_scripts as of_judges
from harness.mutants import log_scripts as of_logs
from harness.mutants import part_scripts as of_parts
from harness.mutants import paxos_scripts as of_paxos
from harness.mutants import process_scripts as of_any
from harness.mutants.part_scripts import PartScript
from harness.mutants.process_scripts import ProcessScript
from harness.mutants.raft import RAFT_MUTANTS
from harness.mutants.virtual_log_scripts import VIRTUAL_SCRIPTS
from harness.mutants.virtual_script import VirtualScript
from node.contract import BadInput
from node.wording import nearest

#: What has been broken in real implementations, by number.
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
    25: "a wait is shorter than a round trip of a slow network",
    26: "a leader with a slow disk goes on leading, or hands over without end",
}


class NoSuchMutant(BadInput):
    """No mutant has that name. The message names those that look like it."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A break of the shipped algorithm `original`, and the script in which it shows.

    With a `PartScript` both name parts of the harness, as `module:Class`. Otherwise either `algorithm` names a broken class,
    or the nodes run `original` and `broken_node` names a break of the node in
    `harness.mutants.broken_parts.BREAKS`.
    """

    name: str
    rows: tuple[int, ...]
    """The numbers of the `ROWS` that it imitates."""
    note: str
    """What is broken, if no row describes it exactly."""
    script: ProcessScript | VirtualScript | PartScript
    algorithm: str
    original: str = "paxos"
    broken_node: str | None = None

    @property
    def imitates(self) -> str:
        """The rows and the note, as one text for people."""
        if not self.rows:
            return self.note
        numbers = [str(row) for row in self.rows]
        named = " and ".join([", ".join(numbers[:-1]), numbers[-1]] if len(numbers) > 1 else numbers)
        return f"row{'s' if len(numbers) > 1 else ''} {named}" + (f": {self.note}" if self.note else "")

    @property
    def command(self) -> tuple[str, ...]:
        """The command that starts a node."""
        if self.broken_node is None:
            return NODE_COMMAND
        return (sys.executable, "-P", "-m", "harness.mutants.broken_node", self.broken_node)


def _paxos(name: str, class_: str, rows: tuple[int, ...], note: str, script: ProcessScript) -> Mutant:
    return Mutant(name, rows, note, script, f"harness.mutants.paxos:{class_}")


def _other(name: str, original: str, class_: str, rows: tuple[int, ...], note: str, script: ProcessScript) -> Mutant:
    return Mutant(name, rows, note, script, f"harness.mutants.majority_and_leader:{class_}", original)


def _node(name: str, rows: tuple[int, ...], note: str, script: ProcessScript, original: str = "paxos") -> Mutant:
    return Mutant(name, rows, note, script, original, original, name)


def _log(name: str, class_: str, rows: tuple[int, ...], note: str, script: ProcessScript | VirtualScript) -> Mutant:
    return Mutant(name, rows, note, script, f"harness.mutants.log:{class_}", "multipaxos")


def _virtual(name: str, class_: str, rows: tuple[int, ...], note: str, script: str) -> Mutant:
    return _log(name, class_, rows, note, VIRTUAL_SCRIPTS[script])


def _part(name: str, class_: str, original: str, note: str, script: PartScript) -> Mutant:
    return Mutant(name, (), note, script, f"harness.mutants.broken_harness:{class_}", original)


def _judge(name: str, class_: str, original: str, note: str, script: PartScript) -> Mutant:
    return Mutant(name, (), note, script, f"harness.mutants.broken_judges:{class_}", original)


_GRAPH: Final = "harness.checkers.dependency_graph:DependencyGraph"
_ANOMALIES: Final = of_judges.TRANSACTIONS_WITH_EACH_ANOMALY
_STREAM_RULES: Final = "harness.network.stream_rules:StreamRules"
_SWITCHBOARD: Final = "harness.network.switchboard:Switchboard"
_FAULTS: Final = "harness.faults.injector:Faults"

MUTANTS: Final = (
    # Phase 1, and what an acceptor keeps.
    _paxos("ignores-accepted", "IgnoresAccepted", (1,), "", of_paxos.CHOSEN_THEN_A_RIVAL),
    _paxos("adopts-lowest", "AdoptsLowest", (2,), "", of_paxos.THREE_BALLOTS),
    _paxos("adopts-last", "AdoptsLast", (2,), "", of_paxos.THREE_BALLOTS),
    _paxos("accept-ignores-promise", "AcceptIgnoresPromise", (3,), "", of_paxos.LATE_ACCEPT),
    _paxos("accept-does-not-raise", "AcceptDoesNotRaise", (4,), "", of_paxos.ACCEPTED_WITHOUT_A_PROMISE),
    _paxos("promise-in-memory", "PromiseInMemory", (5,), "", of_paxos.LATE_ACCEPT_AFTER_A_RESTART),
    _paxos("accepted-in-memory", "AcceptedInMemory", (6,), "", of_paxos.CHOSEN_THEN_A_RESTART),
    _paxos("reuses-ballots", "ReusesBallots", (8,), "", of_paxos.ONE_PROMISE_HELD),
    _paxos("small-quorum-1", "SmallQuorum1", (9,), "phase 1", of_paxos.CHOSEN_THEN_A_RIVAL),
    _paxos("small-quorum-2", "SmallQuorum2", (9,), "phase 2", of_paxos.ONE_ACCEPTANCE),
    _paxos("promises-report-nothing", "PromisesReportNothing", (10,), "", of_paxos.CHOSEN_THEN_A_RIVAL),
    _paxos("starts-afresh", "StartsAfresh", (12,), "", of_paxos.LATE_ACCEPT_AFTER_A_RESTART),
    _paxos("late-accepts-kill", "LateAcceptsKill", (), "a late message ends its receiver", of_paxos.LATE_ACCEPT),
    _paxos("nobodys-ballots", "NobodysBallots", (), "two proposers share a ballot", of_paxos.THE_SAME_MOMENT),
    # Phase 2, and after.
    _paxos("counts-old-acks", "CountsOldAcks", (22,), "", of_paxos.ACKNOWLEDGED_LATE),
    _paxos("counts-old-promises", "CountsOldPromises", (22,), "", of_paxos.PROMISED_LATE),
    _paxos("counts-messages", "CountsMessages", (22,), "", of_paxos.ONE_ACCEPTANCE),
    _paxos("sends-once", "SendsOnce", (23,), "", of_any.ONE_ACCEPT_LOST),
    _paxos(
        "believes-any-accept", "BelievesAnyAccept", (), "a learner does not wait for a quorum", of_paxos.ONE_ACCEPTANCE
    ),
    _paxos(
        "gives-up-when-beaten",
        "GivesUpWhenBeaten",
        (),
        "a proposer waits for a rival that is down",
        of_paxos.BEATEN_BY_THE_DEAD,
    ),
    _paxos("ignores-rejections", "IgnoresRejections", (), "a ballot that stays too low", of_paxos.BEATEN_BY_THE_DEAD),
    _paxos("forgets-decisions", "ForgetsDecisions", (), "a decision is not kept", of_any.ONE_AFTER_THE_OTHER),
    # What clients get.
    _paxos("undecided-without-proof", "UndecidedWithoutProof", (16,), "a local read", of_any.ASKED_WHILE_CUT_OFF),
    _paxos(
        "answers-with-the-proposal",
        "AnswersWithTheProposal",
        (),
        "clients get what they proposed",
        of_any.ONE_AFTER_THE_OTHER,
    ),
    _paxos("proposes-a-default", "ProposesADefault", (), "a value that no client proposed", of_any.ONE_AFTER_THE_OTHER),
    _paxos("refuses-rivals", "RefusesRivals", (), "a late proposal is refused", of_any.ONE_AFTER_THE_OTHER),
    _paxos("last-write-wins", "LastWriteWins", (), "a variable is set twice", of_any.ONE_AFTER_THE_OTHER),
    # The simpler designs.
    Mutant("failover", (), "a silent node is treated as down", of_any.SPLIT, "failover"),
    _other("changes-its-vote", "majority", "ChangesItsVote", (), "two votes of one voter", of_any.ONE_AFTER_THE_OTHER),
    _other("votes-in-memory", "majority", "VotesInMemory", (12,), "votes not on disk", of_any.EVERYBODY_KILLED),
    _other("small-majority", "majority", "SmallMajority", (9,), "", of_any.SPLIT),
    _other("plurality", "majority", "Plurality", (), "the most votes, not a majority", of_any.SPLIT),
    _other("counts-votes-twice", "majority", "CountsVotesTwice", (22,), "", of_any.SPLIT),
    _other("votes-told-once", "majority", "VotesAreToldOnce", (23,), "", of_any.ONE_VOTE_LOST),
    _other(
        "queries-are-answered-at-once",
        "majority",
        "QueriesAreAnsweredAtOnce",
        (16,),
        "",
        of_any.ASKED_WHILE_CUT_OFF,
    ),
    _other(
        "undecided-at-the-first-word",
        "majority",
        "UndecidedAtTheFirstWord",
        (),
        "undecided without proof",
        of_any.ASKED_WHILE_CUT_OFF,
    ),
    _other(
        "takes-a-second-value", "leader", "TakesASecondValue", (), "a variable is set twice", of_any.ONE_AFTER_THE_OTHER
    ),
    _other("followers-answer-alone", "leader", "FollowersAnswerAlone", (16,), "", of_any.ONE_AFTER_THE_OTHER),
    _other("leader-in-memory", "leader", "LeaderInMemory", (6,), "", of_any.EVERYBODY_KILLED),
    # The turn, the wire and the disk.
    _node("replies-before-the-commit", (5, 6), "", of_any.POWER_CUT_AFTER_THE_ANSWER, "leader"),
    Mutant(
        "accepted-before-the-commit",
        (6,),
        "",
        of_any.POWER_CUT_AFTER_THE_ACCEPTANCE,
        "paxos",
        broken_node="replies-before-the-commit",
    ),
    _node("nothing-is-committed", (5, 6, 12), "", of_any.EVERYBODY_KILLED),
    _node("a-commit-saves-one-thing", (13,), "a part of a turn is durable alone", of_any.EVERYBODY_KILLED),
    _node("synchronous-normal", (), "a commit that is not synced", of_any.POWER_CUT),
    _node("synchronous-off", (), "a commit that is not synced", of_any.POWER_CUT),
    _node("failed-commits-are-ignored", (), "an error of fsync is ignored", of_any.A_SYNC_FAILS, "leader"),
    _node("failed-commits-are-repeated", (), "an fsync that failed is repeated", of_any.A_DISK_FAILS),
    _node("a-wiped-disk-votes", (7,), "", of_any.A_WIPED_DISK),
    _node("an-old-copy-votes", (7,), "", of_any.AN_OLD_COPY),
    _node("checksums-are-not-checked", (21,), "", of_any.A_FLIPPED_BIT),
    _node("variables-share-their-rows", (), "a row's key lacks the variable's name", of_any.TWO_NAMES),
    _node("names-are-cut-short", (), "a variable's name is cut short", of_any.TWO_NAMES),
    _node("retries-are-taken-for-done", (14,), "", of_any.A_LOST_ANSWER),
    _node("answers-are-crossed", (), "an answer of another request", of_any.TWO_ANSWERS_IN_A_TURN),
    _node("incarnations-go-back", (), "a boot counter that goes back", of_any.ONE_BACK_ONE_AWAY),
    _node("the-queue-leaks", (23,), "every later send is dropped", of_any.ONE_BACK_ONE_AWAY),
    _node("no-messages-to-oneself", (23,), "", of_any.ONE_BACK_ONE_AWAY),
    _node("timers-never-fire", (23,), "", of_any.ONE_ACCEPT_LOST),
    _node("malformed-frames-kill", (), "a malformed frame ends its receiver", of_any.NOISE),
    _node("gone-clients-kill", (), "a reply to a client that has gone ends its node", of_any.GONE_BEFORE_THE_ANSWER),
    _node("damaged-frames-kill", (), "a malformed frame ends its receiver, as an error of the system", of_any.NOISE),
    # The replicated log, on real processes.
    _log("log-accepts-in-memory", "AcceptsInMemory", (6,), "", of_logs.EVERYBODY_KILLED),
    _log("commit-runs-ahead-of-the-log", "CommitRunsAheadOfTheLog", (13,), "", of_logs.EVERYBODY_KILLED),
    _log("retries-are-done-again", "RetriesAreDoneAgain", (14,), "no dedupe", of_logs.AN_ANSWER_IS_LOST),
    _log("resumed-sessions-count-anew", "ResumedSessionsCountAnew", (15,), "", of_logs.A_CLIENT_COMES_BACK),
    _log("reads-are-local", "ReadsAreLocal", (16,), "", of_logs.A_LEADER_FROM_THE_PAST),
    _node("torn-tails-everywhere", (21,), "", of_logs.A_FLIPPED_BIT_IN_MID_LOG, "multipaxos"),
    _log(
        "frames-are-applied-in-any-order",
        "FramesAreAppliedInAnyOrder",
        (24,),
        "applied out of order",
        of_logs.SOME_AT_ONCE,
    ),
    _log("answers-depend-on-the-node", "AnswersDependOnTheNode", (24,), "not deterministic", of_logs.SOME_AT_ONCE),
    # The replicated log, in virtual time.
    _virtual(
        "log-promises-in-memory",
        "PromisesInMemory",
        (5, 12),
        "promises reset on a full restart",
        "everybody-starts-anew",
    ),
    _virtual("virtual-log-accepts-in-memory", "AcceptsInMemory", (6,), "", "everybody-crashes-after-the-answer"),
    _virtual(
        "leaders-count-their-votes-at-once", "LeadersCountTheirVotesAtOnce", (5,), "", "one-alone-crashes-as-it-answers"
    ),
    _virtual("log-ballots-are-reused", "BallotsAreReused", (8,), "", "a-ballot-after-a-restart"),
    _virtual("damaged-tails-vote", "DamagedTailsVote", (21,), "", "two-of-the-three-that-accepted-are-damaged"),
    _virtual("any-quorum-reports", "AnyQuorumReports", (21,), "", "two-of-the-three-that-accepted-are-damaged"),
    _virtual("voters-in-doubt-vote-at-once", "VotersInDoubtVoteAtOnce", (21,), "", "a-promise-that-was-lost"),
    _virtual("lost-rounds-are-used-again", "LostRoundsAreUsedAgain", (8, 21), "", "a-round-that-was-lost"),
    _virtual("far-rounds-are-used-at-once", "FarRoundsAreUsedAtOnce", (8, 21), "", "a-round-far-above-that-was-lost"),
    _virtual("log-small-quorum", "SmallQuorum", (9,), "", "a-leader-of-a-minority"),
    _virtual(
        "promises-leave-out-what-is-committed",
        "PromisesLeaveOutWhatIsCommitted",
        (10,),
        "",
        "a-candidate-that-is-behind",
    ),
    _virtual("gaps-are-left", "GapsAreLeft", (11,), "", "a-gap"),
    _virtual(
        "virtual-commit-runs-ahead-of-the-log",
        "CommitRunsAheadOfTheLog",
        (13,),
        "",
        "everybody-crashes-after-the-answer",
    ),
    _virtual("virtual-retries-are-done-again", "RetriesAreDoneAgain", (14,), "no dedupe", "an-answer-is-cut-off"),
    _virtual(
        "snapshots-forget-answers",
        "SnapshotsForgetAnswers",
        (14,),
        "no dedupe after a snapshot",
        "an-answer-is-cut-off",
    ),
    _virtual("virtual-resumed-sessions-count-anew", "ResumedSessionsCountAnew", (15,), "", "a-client-restarts"),
    _virtual("virtual-reads-are-local", "ReadsAreLocal", (16,), "", "a-leader-from-the-past-is-asked"),
    _virtual("virtual-saves-are-local", "ReadsAreLocal", (16,), "", "a-leader-from-the-past-is-saved"),
    _virtual("leases-end-by-the-wall-clock", "LeasesEndByTheWallClock", (17,), "", "time-while-nobody-leads"),
    _virtual("locks-have-no-fencing-token", "LocksHaveNoFencingToken", (18,), "", "a-holder-that-is-away-too-long"),
    _virtual("watches-begin-anew", "WatchesBeginAnew", (), "a quiet watch is ended", "a-quiet-watch"),
    _virtual(
        "lost-watches-are-not-missed", "LostWatchesAreNotMissed", (), "a change is not reported", "a-watch-is-lost"
    ),
    _virtual(
        "watches-are-never-dropped", "WatchesAreNeverDropped", (), "what waits adds up", "watches-that-are-given-up"
    ),
    _virtual(
        "phase-one-is-kept-over-a-change",
        "PhaseOneIsKeptOverAChange",
        (19,),
        "before the leader's own no-op",
        "members-change-unheard-of",
    ),
    _virtual("changes-overlap", "ChangesOverlap", (19,), "two changes at once", "two-changes-at-once"),
    _virtual(
        "what-is-told-is-applied-late",
        "AppliesTooLate",
        (),
        "a change of members is not respected",
        "asked-in-the-turn-that-tells",
    ),
    _virtual(
        "changes-are-not-saved",
        "ChangesAreNotSaved",
        (),
        "removed members are waited for",
        "newcomers-start-anew",
    ),
    _virtual(
        "strangers-are-not-heard",
        "StrangersAreNotHeard",
        (),
        "removed members are waited for",
        "somebody-joins-unnoticed",
    ),
    _virtual("copies-are-refused", "CopiesAreRefused", (), "a copy of a frame", "a-change-that-comes-twice"),
    _virtual("the-removed-still-vote", "TheRemovedStillVote", (20,), "a removed node votes", "the-removed-speak"),
    _virtual("ids-are-used-again", "IdsAreUsedAgain", (20,), "an id is used again", "an-id-comes-again"),
    _virtual("voters-count-twice", "VotersCountTwice", (22,), "", "acknowledgements-that-come-again"),
    _virtual("accepts-are-sent-once", "AcceptsAreSentOnce", (23,), "", "one-accept-is-lost"),
    _virtual(
        "canvasses-forget-their-supporters",
        "CanvassesForgetTheirSupporters",
        (25,),
        "no leader is elected",
        "a-leader-crashes-behind-slow-links",
    ),
    _virtual("leaders-keep-slow-disks", "LeadersKeepSlowDisks", (26,), "", "a-leader-with-a-slow-disk"),
    _virtual(
        "slow-leaders-hand-over-again-at-once",
        "SlowLeadersHandOverAgainAtOnce",
        (26,),
        "two nodes hand over to each other",
        "every-leader-has-a-slow-disk",
    ),
    _virtual(
        "slow-disks-hide-no-leader-that-gives-up",
        "LeadersGiveUpOnSlowDisks",
        (26,),
        "it hides behind slow disks",
        "puts-on-slow-disks",
    ),
    _virtual(
        "late-links-hide-no-canvass",
        "CanvassesForgetTheirSupporters",
        (25,),
        "it hides behind late links",
        "a-kill-behind-late-links",
    ),
    _virtual(
        "lossy-links-hide-no-lost-accept",
        "AcceptsAreSentOnce",
        (23,),
        "it hides behind lossy links",
        "puts-over-lossy-links",
    ),
    _virtual(
        "leaders-do-not-wait-for-slow-links",
        "LeadersDoNotWaitForSlowLinks",
        (25,),
        "each leader gives up at once",
        "a-leader-crashes-behind-slow-links",
    ),
    _virtual(
        "virtual-frames-are-applied-in-any-order",
        "FramesAreAppliedInAnyOrder",
        (24,),
        "applied out of order",
        "several-at-once",
    ),
    _virtual(
        "virtual-answers-depend-on-the-node", "AnswersDependOnTheNode", (24,), "not deterministic", "several-at-once"
    ),
    # Raft, in virtual time.
    *(
        Mutant(
            each.name,
            each.rows,
            each.note,
            VIRTUAL_SCRIPTS[each.script],
            f"harness.mutants.raft:{each.broken.__name__}",
            "raft",
        )
        for each in RAFT_MUTANTS
        if each.script
    ),
    # The harness itself: the proxy of streams, and the receipts.
    _part(
        "cuts-one-direction", "CutsOneDirection", _STREAM_RULES, "one way stays open", of_parts.A_CUT_BETWEEN_TWO_NODES
    ),
    _part(
        "counts-but-lets-pass",
        "CountsButLetsPass",
        _STREAM_RULES,
        "a cut that is none",
        of_parts.A_CUT_BETWEEN_TWO_NODES,
    ),
    _part("cuts-messages-one-way", "CutsMessagesOneWay", _SWITCHBOARD, "one way stays open", of_parts.A_CUT_OF_LINES),
    _part(
        "delivers-twice", "DeliversTwice", _SWITCHBOARD, "a message comes twice", of_parts.MESSAGES_BETWEEN_TWO_NODES
    ),
    _part("delays-nothing", "DelaysNothing", _STREAM_RULES, "a delay is not applied", of_parts.A_SLOW_LINK),
    _part("loses-receipts", "LosesReceipts", _FAULTS, "a receipt is lost", of_parts.A_CUT_AND_ITS_RECEIPT),
    _part("receipts-of-nothing", "ReceiptsOfNothing", _FAULTS, "no fault was injected", of_parts.A_CUT_AND_ITS_RECEIPT),
    # The judges.
    _judge("judge-misses-reads", "MissesReads", _GRAPH, "no G1c is found", _ANOMALIES),
    _judge("judge-misses-overwrites", "MissesOverwrites", _GRAPH, "no G-single is found", _ANOMALIES),
    _judge("judge-misses-time", "MissesTime", _GRAPH, "stale reads are allowed", _ANOMALIES),
    _judge(
        "judge-misses-lost-elements",
        "MissesLostElements",
        "harness.checkers.grow_only_sets:CollectedSet",
        "a lost element is not missed",
        of_judges.SETS_WITH_EACH_FLAW,
    ),
    _judge(
        "judge-waits-for-calls-that-need-not",
        "WaitsForCallsThatNeedNot",
        "harness.checkers.return_events:ReturnEvents",
        "a good history is invalid",
        of_judges.A_PART_WITH_AN_ORDER,
    ),
    *(
        _judge(name, class_, "harness.checkers.leader_rules:LeaderLogs", note, of_judges.LOGS_THAT_BREAK_EACH_RULE)
        for name, class_, note in (
            ("judge-misses-elections", "MissesElections", "two leaders of a term are allowed"),
            ("judge-misses-overwritten-records", "MissesOverwrittenRecords", "a leader overwrites its log"),
            ("judge-misses-what-is-before", "MissesWhatIsBefore", "logs that share a record differ below it"),
            (
                "judge-misses-earlier-leaders",
                "MissesEarlierLeaders",
                "a leader that was recorded before lacks what is chosen",
            ),
            ("judge-misses-commits", "MissesCommits", "a later leader lacks what is chosen"),
        )
    ),
)


def table() -> list[str]:
    """Return the rows, each with its mutants and their scripts, as lines of Markdown."""
    lines = ["| | what has really been broken | mutants, with their scripts |", "|---|---|---|"]
    for row, about in ROWS.items():
        mutants = [mutant for mutant in MUTANTS if row in mutant.rows]
        named = "; ".join(f"`{mutant.name}`: {_where(mutant.script)}" for mutant in mutants)
        lines.append(f"| {row} | {about} | {named} |")
    return lines


def _where(script: ProcessScript | VirtualScript | PartScript) -> str:
    return f"{script.name}, in virtual time" if isinstance(script, VirtualScript) else script.name


def choose(names: tuple[str, ...]) -> tuple[Mutant, ...]:
    """Return the mutants of these names, or all mutants if no name is given.

    Raises:
        NoSuchMutant: a name is unknown.
    """
    known = {mutant.name: mutant for mutant in MUTANTS}
    for name in names:
        if name not in known:
            raise NoSuchMutant(f"no mutant is called {name!r}: {_hint(name, known)}")
    return tuple(known[name] for name in dict.fromkeys(names)) or MUTANTS


def _hint(name: str, known: Mapping[str, Mutant]) -> str:
    """Return the end of an error about a name that is no mutant's. A user may have named the algorithm that it breaks."""
    listed = "`consensus mutants --list` lists them"
    of_algorithm = [mutant.name for mutant in MUTANTS if nearest(name, [mutant.original], "")]
    if of_algorithm:
        listed = f"name a mutant, such as {of_algorithm[0]}, and not an algorithm; {listed}"
    return nearest(name, known, listed)
