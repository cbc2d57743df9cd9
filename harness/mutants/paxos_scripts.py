"""The stories that single-decree Paxos has really broken on, told message by message: see `harness.mutants.process_scripts`.

They are the schedules of `tests/node/algorithms/test_paxos_broken.py`, on real processes: there a message that is
not delivered waits,
here it is held or lost by the proxy, and what a proposer sends again must be held as well.
"""

import time
from functools import partial
from typing import Final

from harness.mutants.process_scripts import OWED_S, SHORT_S, ProcessScript, drop, links
from harness.network.installed_rule import InstalledRule, NotSeen
from harness.network.rules import Duplicate
from harness.runs.experiment import Experiment

_RELEASE_S: Final = 5.0
#: How long a client waits through a whole story.
_LONG_S: Final = 5.0


def chosen_then_a_rival(run: Experiment, *, restart: bool) -> None:
    """Blue is chosen by n1 and n2 alone, and n1 is killed; n3 proposes red, through n2."""
    with drop(run, [("n1", "n2")], "Decided") as untold, run.faults.isolate("n3"):
        run.propose("colour", "blue", at="n1")
        untold.rules[0].wait_matched(1)
        run.faults.kill("n1")
    if restart:
        run.faults.kill("n2")
        run.faults.restart("n2")
    run.propose("colour", "red", at="n3")
    run.faults.restart("n1")


def three_ballots(run: Experiment) -> None:
    """n1 alone accepts red; n2 has blue chosen with n3, and is killed; n3 proposes green with n1, which tells of red."""
    with drop(run, links("n1", ["n2", "n3"]), "Accept") as lost:
        first = run.begin_propose("colour", "red", at="n1", timeout_s=SHORT_S)
        lost.rules[0].wait_matched(2)
        with run.faults.isolate("n1"), drop(run, [("n2", "n3")], "Decided") as untold:
            run.propose("colour", "blue", at="n2")
            untold.rules[0].wait_matched(1)
            run.faults.kill("n2")
        run.settle(first)
        run.propose("colour", "green", at="n3")
    run.faults.restart("n2")


def late_accept(run: Experiment, *, restart: bool) -> None:
    """n1's Accepts of blue are held; n2 has red chosen with n3, and is killed; then n1's old Accept reaches n3."""
    with run.faults.hold(links("n1", ["n2", "n3"]), "Accept") as old:
        first = run.begin_propose("colour", "blue", at="n1", timeout_s=SHORT_S)
        old.rules[0].wait_held(2)
        with run.faults.isolate("n1"), drop(run, [("n2", "n3")], "Decided") as untold:
            run.propose("colour", "red", at="n2")
            untold.rules[0].wait_matched(1)
            run.faults.kill("n2")
            if restart:
                run.faults.kill("n3")
                run.faults.restart("n3")
        run.settle(first)
    run.query("colour", at="n1")
    run.faults.restart("n2")


def accepted_without_a_promise(run: Experiment) -> None:
    """n5 accepts blue of ballot 2 without having promised it, then gets n1's Accept of ballot 1; n2 and n3 are killed."""
    with (
        run.faults.hold([("n1", "n5")], "Accept") as old,
        drop(run, links("n1", ["n2", "n3", "n4"]), "Accept") as lost,
    ):
        first = run.begin_propose("colour", "red", at="n1", timeout_s=SHORT_S)
        old.rules[0].wait_held(1)
        lost.rules[0].wait_matched(3)
        with (
            drop(run, links("n2", ["n1", "n5"]), "Prepare"),
            drop(run, links("n2", ["n1", "n4"]), "Accept"),
            drop(run, links("n2", ["n1", "n3", "n4", "n5"]), "Decided") as untold,
        ):
            run.propose("colour", "blue", at="n2")
            untold.rules[0].wait_matched(4)
            run.faults.kill("n2")
        run.settle(first)
    run.faults.kill("n3")
    run.propose("colour", "green", at="n4")
    run.faults.restart("n2", "n3")


def one_promise_held(run: Experiment) -> None:
    """n1's Accepts of blue are held, and it is killed; one is delivered; n1 is restarted, and proposes red."""
    with run.faults.hold(links("n1", ["n2", "n3"]), "Accept") as held:
        first = run.begin_propose("colour", "blue", at="n1", timeout_s=SHORT_S)
        held.rules[0].wait_held(2)
        run.faults.kill("n1")
        run.settle(first)
        held.rules[0].release(1)
        held.rules[0].discard()
    run.faults.restart("n1")
    run.propose("colour", "red", at="n1")


def one_acceptance(run: Experiment) -> None:
    """Of five, n1 and n2 alone accept blue, and n2 says so three times; both are killed; n4 proposes red."""
    twice = run.faults.apply_rules("duplicate", [Duplicate(2)], [("n2", "n1")], types=["Accepted"], harmless=True)
    with twice, drop(run, links("n1", ["n3", "n4", "n5"]), "Accept") as lost:
        first = run.begin_propose("colour", "blue", at="n1", timeout_s=SHORT_S)
        lost.rules[0].wait_matched(3)
        twice.rules[0].wait_matched(1)
        run.settle(first)
        run.faults.kill("n1", "n2")
    run.propose("colour", "red", at="n4")
    run.faults.restart("n1", "n2")


def acknowledged_late(run: Experiment) -> None:
    """n2's acceptance of n1's ballot 1 arrives when n1 is at ballot 3, with one acceptance of it besides its own."""
    everybody = ["n1", "n2", "n4", "n5"]
    with (
        run.faults.hold([("n1", "n2")], "Accept") as to_second,
        run.faults.hold([("n1", "n3")], "Accept") as to_third,
        drop(run, links("n1", ["n4", "n5"]), "Accept"),
        run.faults.hold([("n2", "n1")], "Accepted") as late,
    ):
        first = run.begin_propose("colour", "red", at="n1", timeout_s=_LONG_S)
        to_second.rules[0].wait_held(1)
        to_second.rules[0].release(1)
        late.rules[0].wait_held(1)
        with (
            drop(run, links("n3", ["n1", "n2"]), "Prepare"),
            drop(run, links("n3", everybody), "Accept") as rival,
            run.faults.hold([("n3", "n1")], "Accepted") as fresh,
        ):
            second = run.begin_propose("colour", "blue", at="n3", timeout_s=SHORT_S)
            rival.rules[0].wait_matched(4)
            _release_until_held(to_third.rules[0], fresh.rules[0])
            late.rules[0].release(1)
        run.settle(second)  # meanwhile n1 has made up its mind, or not, with n2's Accept still held
    run.settle(first)


def _release_until_held(held: InstalledRule, awaited: InstalledRule) -> None:
    """Let go of what one rule keeps, again and again, until it has caused what the other waits for."""
    deadline = time.monotonic() + _RELEASE_S
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
    """n2's promise of n1's ballot 1 arrives when n2 has accepted blue, which is chosen, and n1 is at ballot 2."""
    with run.faults.hold([("n2", "n1")], "Promise") as promises, drop(run, [("n1", "n3")], "Prepare"):
        first = run.begin_propose("colour", "red", at="n1", timeout_s=_LONG_S)
        promises.rules[0].wait_held(1)
        with (
            drop(run, [("n3", "n1")]),
            drop(run, [("n3", "n2")], "Decided") as untold,
            run.faults.hold([("n2", "n1")], "Rejected") as rejected,
        ):
            run.propose("colour", "blue", at="n3")
            untold.rules[0].wait_matched(1)
            rejected.rules[0].wait_held(1)
            old = promises.rules[0].total("keeps")
            run.faults.kill("n3")
        promises.rules[0].wait_held(old + 1)
        promises.rules[0].release(old)
    run.settle(first)
    run.faults.restart("n3")


def the_same_moment(run: Experiment) -> None:
    """n1 and n2 begin a ballot each before either has heard of the other's."""
    with run.faults.hold([*links("n1", ["n2", "n3"]), *links("n2", ["n1", "n3"])], "Prepare") as held:
        calls = [run.begin_propose("colour", "blue", at="n1"), run.begin_propose("colour", "red", at="n2")]
        held.rules[0].wait_held(4)
    run.settle(*calls)


def beaten_by_the_dead(run: Experiment) -> None:
    """n1's ballot is beaten by that of n2, which is killed before it has asked anybody to accept; n1 is asked again."""
    with run.faults.hold(links("n1", ["n2", "n3"]), "Prepare") as late:
        first = run.begin_propose("colour", "blue", at="n1", timeout_s=SHORT_S)
        late.rules[0].wait_held(2)
        with run.faults.hold(links("n2", ["n1", "n3"]), "Accept") as rival:
            second = run.begin_propose("colour", "red", at="n2", timeout_s=SHORT_S)
            rival.rules[0].wait_held(2)
            run.faults.kill("n2")
            rival.rules[0].discard()
    run.settle(first, second)
    run.propose("colour", "green", at="n1", timeout_s=OWED_S)
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
