"""Scripts about Paxos's own messages, on real processes: the schedules by which broken implementations of Paxos have failed.

They are the schedules of `tests/node/algorithms/test_paxos_broken.py`. There a message that is not delivered waits. Here the
proxy holds or loses the message, and must do the same with every copy that the proposer sends again.
"""

import time
from functools import partial
from typing import Final

from harness.faults.excuses import HARMLESS
from harness.mutants.process_scripts import ANSWER_TIMEOUT_S, SHORT_TIMEOUT_S, ProcessScript, drop, links
from harness.network.installed_rule import InstalledRule, NotSeen
from harness.network.rules import Duplicate
from harness.runs.experiment import Experiment

_RELEASE_TIMEOUT_S: Final = 5.0
#: The timeout of a call that lasts as long as the script.
_LONG_TIMEOUT_S: Final = 5.0


def chosen_then_a_rival(run: Experiment, *, restart: bool) -> None:
    """Blue is chosen by n1 and n2 alone, and n1 is killed; red is proposed at n3, which needs n2."""
    with drop(run, [("n1", "n2")], "Decided") as dropped, run.faults.isolate("n3"):
        run.propose("colour", "blue", at="n1")
        dropped.rules[0].wait_matched(1)
        run.faults.kill("n1")
    if restart:
        run.faults.kill("n2")
        run.faults.restart("n2")
    run.propose("colour", "red", at="n3")
    run.faults.restart("n1")


def three_ballots(run: Experiment) -> None:
    """n1 alone accepts red; n2 gets blue chosen with n3, and is killed; green is proposed at n3, to which n1 reports red."""
    with drop(run, links("n1", ["n2", "n3"]), "Accept") as lost:
        first = run.begin_propose("colour", "red", at="n1", timeout_s=SHORT_TIMEOUT_S)
        lost.rules[0].wait_matched(2)
        with run.faults.isolate("n1"), drop(run, [("n2", "n3")], "Decided") as dropped:
            run.propose("colour", "blue", at="n2")
            dropped.rules[0].wait_matched(1)
            run.faults.kill("n2")
        run.settle(first)
        run.propose("colour", "green", at="n3")
    run.faults.restart("n2")


def late_accept(run: Experiment, *, restart: bool) -> None:
    """n1's Accepts of blue are held; n2 gets red chosen with n3, and is killed; then n1's old Accept reaches n3."""
    with run.faults.hold(links("n1", ["n2", "n3"]), "Accept") as old:
        first = run.begin_propose("colour", "blue", at="n1", timeout_s=SHORT_TIMEOUT_S)
        old.rules[0].wait_held(2)
        with run.faults.isolate("n1"), drop(run, [("n2", "n3")], "Decided") as dropped:
            run.propose("colour", "red", at="n2")
            dropped.rules[0].wait_matched(1)
            run.faults.kill("n2")
            if restart:
                run.faults.kill("n3")
                run.faults.restart("n3")
        run.settle(first)
    run.query("colour", at="n1")
    run.faults.restart("n2")


def accepted_without_a_promise(run: Experiment) -> None:
    """n5 accepts blue of ballot 2 without having promised it, then receives n1's Accept of ballot 1; n2 and n3 are killed."""
    with (
        run.faults.hold([("n1", "n5")], "Accept") as old,
        drop(run, links("n1", ["n2", "n3", "n4"]), "Accept") as lost,
    ):
        first = run.begin_propose("colour", "red", at="n1", timeout_s=SHORT_TIMEOUT_S)
        old.rules[0].wait_held(1)
        lost.rules[0].wait_matched(3)
        with (
            drop(run, links("n2", ["n1", "n5"]), "Prepare"),
            drop(run, links("n2", ["n1", "n4"]), "Accept"),
            drop(run, links("n2", ["n1", "n3", "n4", "n5"]), "Decided") as dropped,
        ):
            run.propose("colour", "blue", at="n2")
            dropped.rules[0].wait_matched(4)
            run.faults.kill("n2")
        run.settle(first)
    run.faults.kill("n3")
    run.propose("colour", "green", at="n4")
    run.faults.restart("n2", "n3")


def one_promise_held(run: Experiment) -> None:
    """n1's Accepts of blue are held, and it is killed; one of them is delivered; n1 is restarted, and red is proposed at n1."""
    with run.faults.hold(links("n1", ["n2", "n3"]), "Accept") as held:
        first = run.begin_propose("colour", "blue", at="n1", timeout_s=SHORT_TIMEOUT_S)
        held.rules[0].wait_held(2)
        run.faults.kill("n1")
        run.settle(first)
        held.rules[0].release(1)
        held.rules[0].discard()
    run.faults.restart("n1")
    run.propose("colour", "red", at="n1")


def one_acceptance(run: Experiment) -> None:
    """Of five nodes only n1 and n2 accept blue; n2's acceptance arrives three times; both are killed; n4 proposes red."""
    twice = run.faults.apply_rules("duplicate", [Duplicate(2)], [("n2", "n1")], HARMLESS, types=["Accepted"])
    with twice, drop(run, links("n1", ["n3", "n4", "n5"]), "Accept") as lost:
        first = run.begin_propose("colour", "blue", at="n1", timeout_s=SHORT_TIMEOUT_S)
        lost.rules[0].wait_matched(3)
        twice.rules[0].wait_matched(1)
        run.settle(first)
        run.faults.kill("n1", "n2")
    run.propose("colour", "red", at="n4")
    run.faults.restart("n1", "n2")


def acknowledged_late(run: Experiment) -> None:
    """n2's acceptance of n1's ballot 1 arrives when n1 is at ballot 3, with one acceptance of it besides its own."""
    others = ["n1", "n2", "n4", "n5"]
    with (
        run.faults.hold([("n1", "n2")], "Accept") as to_second,
        run.faults.hold([("n1", "n3")], "Accept") as to_third,
        drop(run, links("n1", ["n4", "n5"]), "Accept"),
        run.faults.hold([("n2", "n1")], "Accepted") as late,
    ):
        first = run.begin_propose("colour", "red", at="n1", timeout_s=_LONG_TIMEOUT_S)
        to_second.rules[0].wait_held(1)
        to_second.rules[0].release(1)
        late.rules[0].wait_held(1)
        with (
            drop(run, links("n3", ["n1", "n2"]), "Prepare"),
            drop(run, links("n3", others), "Accept") as rival,
            run.faults.hold([("n3", "n1")], "Accepted") as fresh,
        ):
            second = run.begin_propose("colour", "blue", at="n3", timeout_s=SHORT_TIMEOUT_S)
            rival.rules[0].wait_matched(4)
            _release_until_held(to_third.rules[0], fresh.rules[0])
            late.rules[0].release(1)
        run.settle(second)  # n1 decides before this line or never, since n2's Accept is still held
    run.settle(first)


def _release_until_held(held: InstalledRule, awaited: InstalledRule) -> None:
    """Release what `held` keeps, repeatedly, until `awaited` holds a message.

    Raises:
        NotSeen: `awaited` held none within `_RELEASE_TIMEOUT_S`.
    """
    deadline = time.monotonic() + _RELEASE_TIMEOUT_S
    while True:
        held.release()
        try:
            awaited.wait_held(1, timeout_s=0.1)
        except NotSeen:
            if time.monotonic() > deadline:
                raise
        else:
            return


def promised_late(run: Experiment) -> None:
    """n2's promise of n1's ballot 1 arrives after n2 has accepted blue, which is chosen, and n1 is at ballot 2."""
    with run.faults.hold([("n2", "n1")], "Promise") as promises, drop(run, [("n1", "n3")], "Prepare"):
        first = run.begin_propose("colour", "red", at="n1", timeout_s=_LONG_TIMEOUT_S)
        promises.rules[0].wait_held(1)
        with (
            drop(run, [("n3", "n1")]),
            drop(run, [("n3", "n2")], "Decided") as dropped,
            run.faults.hold([("n2", "n1")], "Rejected") as rejected,
        ):
            run.propose("colour", "blue", at="n3")
            dropped.rules[0].wait_matched(1)
            rejected.rules[0].wait_held(1)
            old = promises.rules[0].total("keeps")
            run.faults.kill("n3")
        promises.rules[0].wait_held(old + 1)
        promises.rules[0].release(old)
    run.settle(first)
    run.faults.restart("n3")


def the_same_moment(run: Experiment) -> None:
    """n1 and n2 begin a ballot each before either receives the other's Prepare."""
    with run.faults.hold([*links("n1", ["n2", "n3"]), *links("n2", ["n1", "n3"])], "Prepare") as held:
        calls = [run.begin_propose("colour", "blue", at="n1"), run.begin_propose("colour", "red", at="n2")]
        held.rules[0].wait_held(4)
    run.settle(*calls)


def beaten_by_the_dead(run: Experiment) -> None:
    """n2 begins a higher ballot than n1, and is killed before any node accepts its value; green is proposed at n1."""
    with run.faults.hold(links("n1", ["n2", "n3"]), "Prepare") as late:
        first = run.begin_propose("colour", "blue", at="n1", timeout_s=SHORT_TIMEOUT_S)
        late.rules[0].wait_held(2)
        with run.faults.hold(links("n2", ["n1", "n3"]), "Accept") as rival:
            second = run.begin_propose("colour", "red", at="n2", timeout_s=SHORT_TIMEOUT_S)
            rival.rules[0].wait_held(2)
            run.faults.kill("n2")
            rival.rules[0].discard()
    run.settle(first, second)
    run.propose("colour", "green", at="n1", timeout_s=ANSWER_TIMEOUT_S)
    run.faults.restart("n2")


CHOSEN_THEN_A_RIVAL: Final = ProcessScript("chosen-then-a-rival", partial(chosen_then_a_rival, restart=False))
CHOSEN_THEN_A_RESTART: Final = ProcessScript("chosen-then-a-restart", partial(chosen_then_a_rival, restart=True))
THREE_BALLOTS: Final = ProcessScript("three-ballots", three_ballots)
LATE_ACCEPT: Final = ProcessScript("late-accept", partial(late_accept, restart=False))
LATE_ACCEPT_AFTER_A_RESTART: Final = ProcessScript("late-accept-after-a-restart", partial(late_accept, restart=True))
ACCEPTED_WITHOUT_A_PROMISE: Final = ProcessScript("accepted-without-a-promise", accepted_without_a_promise, nodes=5)
ONE_PROMISE_HELD: Final = ProcessScript("one-promise-held", one_promise_held)
ONE_ACCEPTANCE: Final = ProcessScript("one-acceptance", one_acceptance, nodes=5)
ACKNOWLEDGED_LATE: Final = ProcessScript("acknowledged-late", acknowledged_late, nodes=5)
PROMISED_LATE: Final = ProcessScript("promised-late", promised_late)
THE_SAME_MOMENT: Final = ProcessScript("the-same-moment", the_same_moment)
BEATEN_BY_THE_DEAD: Final = ProcessScript("beaten-by-the-dead", beaten_by_the_dead)
