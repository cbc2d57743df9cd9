"""Chapter 8: the three uses: a store of keys and values, membership, and locks with assignment."""

from typing import Final

from cluster.errors import CommandRefused
from harness.records.jsonable import shown
from harness.tour.goals import fewest_crashes
from harness.tour.stage import Stage
from harness.tour.story import Challenge, Measured, Screen, TourChapter

#: The lease of the holder that goes silent, in seconds.
_LEASE_S: Final = 0.5


def _keys(stage: Stage) -> Measured:
    facts = stage.up("multipaxos", 3, "uses")
    with stage.run.cluster.log_client() as one, stage.run.cluster.log_client() as other:
        version = one.kv.put("visits", 1)
        seen = other.kv.get("visits")
        after = one.kv.compare_and_set("visits", version, 2)
        try:
            refused = f"is told version {other.kv.compare_and_set('visits', version, 2)}, too"
        except CommandRefused as error:
            refused = f"is refused: {error}"
        last = other.kv.get("visits")
    facts += [
        f"one client puts 1 and is told version {version}; the other one gets {shown(seen)}",
        f"both ask: if it still has version {version}, make it 2. One is told version {after}, and the other {refused}",
        f"now it is {shown(last)}",
    ]
    return Measured(
        facts,
        "Two clients that count without each other would have lost one visit. Compare-and-set makes the log decide "
        "who was first, and the other one is told.",
        "refused" in refused and last == 2,
    )


def _members(stage: Stage) -> Measured:
    members = stage.run.cluster.members
    before = members.view()
    with members.joined("web-1", {"port": 8001}), members.joined("web-2", {"port": 8002}):
        both = members.view()
    after = members.view()
    views = [(view.number, list(view.members)) for view in members.watch(before)]
    facts = [f"view {number}: {', '.join(names) or 'nobody'}" for number, names in views]
    return Measured(
        facts,
        "All who watch see the same views in the same order, so two programs never act on different lists under "
        "the same number. Who goes without a word is removed when its lease ends.",
        len(both.members) == 2 and not after.members and len(views) == 4,
    )


class _Printer:
    """What the lock protects. It does not ask who holds the lock: it refuses a token below the highest that it has seen."""

    def __init__(self) -> None:
        self._highest = 0

    def prints(self, token: int) -> bool:
        """Return whether it takes a page that comes with this token."""
        taken = token >= self._highest
        self._highest = max(self._highest, token)
        return taken


def _locks(stage: Stage) -> Measured:
    cluster, printer = stage.run.cluster, _Printer()
    with cluster.log_client() as paused:
        stale = paused.locks.acquire("printer", ttl_s=_LEASE_S)  # and from here on this client does nothing any more
        facts = [f"a first client holds the lock, with token {stale}, and falls silent"]
        leader = stage.leader()
        facts += stage.kill(leader)
        with cluster.lock("printer") as token:
            printed = printer.prints(token)
            facts.append(
                f"its lease ends, and a second client holds the lock, with token {token}: the printer "
                f"{'takes' if printed else 'refuses'} its page"
            )
            late = printer.prints(stale)
            facts.append(
                f"the first client wakes up, and sends its page with token {stale}: the printer "
                f"{'takes it, too' if late else f'refuses it, since it has seen token {token}'}"
            )
            try:
                paused.locks.release("printer", stale)
                released = "it releases a lock that it no longer holds"
            except CommandRefused as error:
                released = f"it releases the lock, and the lock service refuses, too: {error}"
        facts.append(released)
        facts += stage.restart(leader)
    return Measured(
        facts,
        "Between its last look at the clock and its next act a client can be paused for any time, so it cannot know "
        f"that it still holds a lock, and no lock service can stop what it sends elsewhere. The token can: {token} is "
        f"above {stale}, so the printer knows by itself which page is late.",
        printed and not late and "refuses" in released,
    )


def _tasks(stage: Stage) -> Measured:
    assignment = stage.run.cluster.assignment
    for task in ("mornings", "evenings"):
        assignment.add(task)
    with assignment.joined("alice"):
        with assignment.joined("bob"):
            both = {name: list(assignment.mine(name).tasks) for name in ("alice", "bob")}
        alone = list(assignment.mine("alice").tasks)
    facts = [f"alice and bob are there: alice has {', '.join(both['alice'])}, bob has {', '.join(both['bob'])}"]
    facts.append(f"bob goes: alice has {', '.join(sorted(alone))}")
    stage.end()
    return Measured(
        facts,
        "Each task has one owner at a time, spread evenly, and what a leaver had is handed on with a new token. All "
        "three uses are one log and small deterministic programs that read it.",
        len(both["alice"]) == len(both["bob"]) == 1 and len(alone) == 2,
    )


USES: Final = TourChapter(
    "uses",
    "Three uses",
    (
        Screen(
            "Keys and values",
            "A place for settings, and for all that several programs have to see alike.",
            "start three nodes, and have two clients change the same key",
            _keys,
        ),
        Screen(
            "Who is there",
            "Which servers take requests just now? Everybody needs the same list.",
            "two servers join and go again, and somebody watches",
            _members,
        ),
        Screen(
            "One at a time",
            "A lock that works when its holder dies needs a lease: it ends by itself. But a holder may only be slow.",
            "a client takes the lock of a printer and falls silent; the leader is killed; another client takes the lock "
            "and prints; the first one wakes up and prints, too",
            _locks,
        ),
        Screen(
            "Who does what",
            "Tasks that must each be done by exactly one of those who are there.",
            "two tasks, alice and bob; then bob goes",
            _tasks,
        ),
    ),
    Challenge(
        "Three nodes keep a log. Stop the service with as few crashes as can do it.",
        "multipaxos",
        3,
        fewest_crashes,
        ("`kill` one, then `put probe 1`.", "A majority of three is two."),
        ("kill n1", "put probe 1", "kill n2"),
        "Two of three. No design goes on without a majority and is right: the rest could not know what the others "
        "decide meanwhile.",
    ),
    "guides/service.md",
)
