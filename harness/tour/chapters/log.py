"""Chapter 7: a replicated log, so that state can change."""

from typing import Final

from harness.checkers.linearizable import linearizable
from harness.checkers.models import KvModel
from harness.checkers.verdict import VerdictStatus
from harness.records.jsonable import shown
from harness.tour.goals import lost_put
from harness.tour.stage import Stage, in_words, log_lines, value, verdict_lines
from harness.tour.story import Challenge, Measured, Screen, TourChapter

_ALIKE: Final = (
    "A follower hears a little later than the leader that a slot is chosen. Once each of them had carried out equally many "
    "slots, the checksums of all that they had answered were equal."
)
_BEHIND: Final = (
    "This time one of them is still behind: it learns with the leader's next message which slots are chosen, and has the "
    "same checksum once it has carried out as many."
)
_UNEQUAL: Final = "Their checksums differ after equally many slots: this is a bug of the shipped code."


def _slots(stage: Stage) -> Measured:
    facts = stage.up("multipaxos", 3, "log")
    told = [stage.put("owner", name) for name in ("alice", "bob")]
    got, told_get = stage.get("owner")
    replicas = stage.replicas_alike()
    behind = len({log.get("applied") for log in replicas.values()}) > 1
    same = not behind and len({log.get("chain") for log in replicas.values()}) == 1
    compared = _ALIKE if same else _BEHIND if behind else _UNEQUAL
    return Measured(
        [*facts, *(line for _, line in told), told_get, *log_lines(replicas)],
        f"The key was written twice, and the last one holds: {in_words(got)}. Each command has a numbered place in a "
        "log, a slot, and each slot is decided by Paxos as in the last chapter. Nodes that carry out the same commands "
        f"in the same order have the same state. {compared}",
        value(got) == "bob" and same,
    )


def _the_leader_dies(stage: Stage) -> Measured:
    leader = stage.leader()
    facts = stage.kill(leader)
    got, told_get = stage.get("owner")
    put, told_put = stage.put("owner", "carol")
    facts += [told_get, told_put, f"{stage.leader()} leads now, and before it was {leader}"]
    facts += stage.restart(leader)
    one_order = linearizable(stage.evidence(), KvModel())
    tolerant = stage.end()["fault tolerance"]
    return Measured(
        [*facts, *verdict_lines({"linearizability": one_order, "fault tolerance": tolerant})],
        f"A leader again, and its death cost a moment: what was acknowledged is there ({shown(value(got))}), and "
        "writing went on. The difference to chapter 3: nobody leads by believing it. A new leader asks a majority "
        "first, under a higher ballot, and an earlier leader is refused from then on.",
        value(got) == "bob" and value(put) is not None and {one_order.status, tolerant.status} == {VerdictStatus.VALID},
    )


LOG: Final = TourChapter(
    "log",
    "A log, so that state can change",
    (
        Screen(
            "One variable is not enough",
            "A variable that is set once elects an owner once and for all. A service has state that changes. So let "
            "the nodes agree on a list: first command, second command, third command. One leader runs the first "
            "round of Paxos for all places at once.",
            "start three nodes with a replicated log, put a key twice, and get it",
            _slots,
        ),
        Screen(
            "The leader dies again",
            "The log has a leader, because that is quick. It is not what makes the log right.",
            "kill the leader, get and put, start it again, and have it judged",
            _the_leader_dies,
        ),
    ),
    Challenge(
        "Three nodes with a log. Put something, get an answer, and then have it lost. (You will not, as long as a "
        "majority has its disks. `give up` ends it.)",
        "multipaxos",
        3,
        lost_put,
        (
            "`put owner alice`, and `kill` the node that leads: `look` says which.",
            "Kill all three and start them again.",
        ),
        ("put owner alice", "kill n1 n2 n3", "restart n1 n2 n3", "get owner"),
        "An answer leaves a node only after what it rests on is on the disks of a majority.",
        possible=False,
    ),
    "tutorial/7-state-that-changes.md",
)
