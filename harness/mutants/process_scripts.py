"""Scripts on real processes: short sequences of faults and calls in which a break shows, for any algorithm.

Theory of operation
-------------------
A script runs on the broken and on the shipped code. It waits until the proxy has seen certain messages (`wait_held`,
`wait_matched`), so it does not depend on the speed of the machine. If a break prevents such a message, the script ends there
with an error. Most scripts lose, hold or delay a single message.

`harness.mutants.paxos_scripts` has the scripts about Paxos's own messages, `harness.mutants.log_scripts` those about logs.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from cluster.errors import BootFailed
from cluster.processes import ProcessState
from harness.faults.active import LinkFault
from harness.faults.excuses import HARMLESS
from harness.faults.power_loss_vfs import FAIL_SYNC, SLOW_SYNC, SPEC
from harness.network.rules import Drop, Duplicate, Pass
from harness.records.links import CLIENT, Link
from harness.runs.experiment import Experiment
from harness.runs.passers_by import PassersBy
from node.contract import NodeId
from node.storage.disk import FILE_NAME

#: The timeout of a call that is expected to get no answer.
SHORT_TIMEOUT_S: Final = 0.6
#: The timeout of a call that shipped code answers, and that a break may leave without an answer.
ANSWER_TIMEOUT_S: Final = 2.0
_POLL_INTERVAL_S: Final = 0.002
#: How many clients ask at most, and are gone before the answer.
_VISITS_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class ProcessScript:
    """A script, and the cluster that it needs."""

    name: str
    play: Callable[[Experiment], None]
    nodes: int = 3
    vfs: str | None = None
    breaks: bool = True
    """Whether the script injects faults, so that a run without a fault that bit is no test."""
    on_log: bool = False
    """Whether the script puts and gets keys, which needs a replicated log."""

    @property
    def about(self) -> str:
        """What happens, in one line."""
        function = self.play.func if isinstance(self.play, partial) else self.play
        return (function.__doc__ or "").strip().partition("\n")[0]


def links(senders: NodeId | Sequence[NodeId], receivers: NodeId | Sequence[NodeId]) -> list[Link]:
    """Return the links from each sender to each receiver."""
    from_ = [senders] if isinstance(senders, str) else senders
    to = [receivers] if isinstance(receivers, str) else receivers
    return [(sender, receiver) for sender in from_ for receiver in to]


def drop(run: Experiment, on: Iterable[Link], *types: str) -> LinkFault:
    """Lose messages of these types on these links."""
    return run.faults.apply_rules("drop", [Drop()], on, types=types)


# --- any algorithm --------------------------------------------------------------------------------------------------


def one_after_the_other(run: Experiment) -> None:
    """Blue is proposed, then red and green at other nodes; every node is queried."""
    run.propose("colour", "blue", at="n2")
    run.query_all("colour")
    run.propose("colour", "red", at="n3")
    run.propose("colour", "green", at="n1")
    run.query_all("colour")


def split(run: Experiment) -> None:
    """{n1,n2} are cut from {n3,n4,n5}, and their messages to each other arrive twice; blue is proposed at n2, red at n4."""
    twice = run.faults.apply_rules("duplicate", [Duplicate(2)], [("n1", "n2"), ("n2", "n1")], HARMLESS)
    with twice, run.faults.partition(["n1", "n2"], ["n3", "n4", "n5"]):
        run.settle(
            run.begin_propose("colour", "blue", at="n2", timeout_s=SHORT_TIMEOUT_S),
            run.begin_propose("colour", "red", at="n4"),
        )
    run.query_all("colour")


def everybody_killed(run: Experiment) -> None:
    """Blue is decided, and another proposal is under way; all nodes are killed and restarted."""
    run.propose("colour", "blue", at="n1")
    run.query_all("colour")
    begun = run.begin_propose("begun", "perhaps", at="n2", timeout_s=SHORT_TIMEOUT_S)
    run.faults.kill(*run.nodes)
    run.faults.restart(*run.nodes)
    run.settle(begun)
    run.query_all("colour")


def one_message_lost(run: Experiment, *, type_: str) -> None:
    """n3 is down, and exactly one message from n1 to n2 is lost, which n1 needs; then red is proposed at n1."""
    run.faults.kill("n3")
    with run.faults.hold([("n1", "n2")], type_) as held:
        call = run.begin_propose("colour", "blue", at="n1", timeout_s=SHORT_TIMEOUT_S)
        held.rules[0].wait_held(1)
        held.rules[0].discard()
    run.settle(call)
    run.propose("colour", "red", at="n1", timeout_s=ANSWER_TIMEOUT_S)
    run.faults.restart("n3")


def one_back_one_away(run: Experiment) -> None:
    """n2 is killed and restarted; then n3 is killed, so n1 and n2 must decide."""
    run.propose("before", "blue", at="n2")
    run.query("before", at="n1")  # so n1 has received messages of n2's first incarnation
    run.faults.kill("n2")
    run.faults.restart("n2")
    run.faults.kill("n3")
    run.propose("colour", "red", at="n1", timeout_s=ANSWER_TIMEOUT_S)
    run.faults.restart("n3")


def asked_while_cut_off(run: Experiment) -> None:
    """Blue is decided while n3 is cut off; n3 is queried meanwhile, and again after the cut."""
    with run.faults.isolate("n3"):
        run.propose("colour", "blue", at="n1")
        run.query("colour", at="n3", timeout_s=SHORT_TIMEOUT_S)
    run.query("colour", at="n3")


# --- clients and variables ------------------------------------------------------------------------------------------


def two_names(run: Experiment) -> None:
    """Two variables whose names begin alike are set to different values."""
    for number, node in enumerate(run.nodes):
        run.propose(f"variable-{number}", f"value {number}", at=node)
    for number in range(len(run.nodes)):
        run.query_all(f"variable-{number}")


def two_answers_in_a_turn(run: Experiment) -> None:
    """Two variables are set, and both are queried at n1 while it is suspended."""
    for variable, value in (("left", "port"), ("right", "starboard")):
        run.propose(variable, value, at="n1")
    run.faults.suspend("n1")
    with run.network.install(Pass(), [(CLIENT, "n1")]) as passed:
        calls = [run.begin_query(variable, at="n1") for variable in ("left", "right")]
        passed.wait_matched(len(calls))
    run.faults.resume("n1")
    run.settle(*calls)


def a_lost_answer(run: Experiment) -> None:
    """Blue is decided; red is proposed at n1 and the answer is lost, so the client sends the request again."""
    run.propose("colour", "blue", at="n2")
    with run.faults.hold([("n1", CLIENT)], "Reply") as lost:
        call = run.begin_propose("colour", "red", at="n1")
        lost.rules[0].wait_held(1)
        lost.rules[0].discard()
    run.settle(call)


def noise(run: Experiment) -> None:
    """All messages from n1 to n2 are corrupted while n1 proposes; then red is proposed at n2."""
    with run.inject("corrupt", links=[["n1", "n2"]], probability=1.0):
        run.propose("colour", "blue", at="n1")
    run.propose("other", "red", at="n2", timeout_s=ANSWER_TIMEOUT_S)


def gone_before_the_answer(run: Experiment) -> None:
    """Clients ask nodes and are gone before the answer, until three were dropped; then blue is proposed at n1."""
    passers_by, before = PassersBy(run.cluster, Random(run.seed)), _dropped(run)
    while passers_by.visits < _VISITS_MAX and _dropped(run) < before + 3:
        passers_by.come_by(float(passers_by.visits))
        time.sleep(_POLL_INTERVAL_S)
    run.propose("colour", "blue", at="n1", timeout_s=ANSWER_TIMEOUT_S)


def _dropped(run: Experiment) -> int:
    return sum(status["dropped"] for status in run.cluster.status(0.2).values())


# --- disks ----------------------------------------------------------------------------------------------------------


def _directory(run: Experiment, node: NodeId) -> Path:
    return run.spec.settings.directory(node)


def power_cut_after_the_answer(run: Experiment) -> None:
    """n1's disk is slow; a proposal at n2 is answered; n1 loses power at once, and is restarted."""
    slow = _directory(run, "n1") / SLOW_SYNC
    run.propose("warm", "up", at="n2")
    slow.write_text("0.3")
    run.propose("colour", "blue", at="n2")
    run.faults.kill("n1")
    slow.unlink()
    asked = run.begin_query("colour", at="n2")
    run.faults.restart("n1")
    run.settle(asked)
    run.query("warm", at="n3")


def power_cut_after_the_acceptance(run: Experiment) -> None:
    """n2's disk is slow; n1 decides by n2's acceptance; both lose power; red is proposed at n3, with n2 alone up."""
    slow = _directory(run, "n2") / SLOW_SYNC
    run.propose("warm", "up", at="n1")
    run.query_all("warm")
    with run.faults.isolate("n3"):
        slow.write_text("0.4")
        run.propose("colour", "blue", at="n1", timeout_s=5.0)
        run.faults.kill("n2", "n1")
        slow.unlink()
        run.faults.restart("n2")
    run.propose("colour", "red", at="n3")
    run.faults.restart("n1")


def a_sync_fails(run: Experiment) -> None:
    """The sync before n1's answer fails; n1 is restarted."""
    directory = _directory(run, "n1")
    run.propose("warm", "up", at="n2")
    receipt = run.faults.begin("fail-sync", nodes_down=["n1"])
    (directory / FAIL_SYNC).write_text("1")
    call = run.begin_propose("colour", "blue", at="n2", timeout_s=5.0)
    while call.outcome is None and run.cluster.state("n1") is ProcessState.UP:
        run.client.poll()
        time.sleep(_POLL_INTERVAL_S)
    receipt.bit = (directory / f"{FAIL_SYNC}.struck").exists()
    if run.cluster.state("n1") is ProcessState.UP:
        run.faults.kill("n1")
    run.faults.restart("n1")
    receipt.end()
    run.settle(call)
    run.query("colour", at="n3")


def a_disk_fails(run: Experiment) -> None:
    """The next sync of n1 fails while blue is proposed at n2; n1 is restarted."""
    with run.inject("fail-sync", node="n1", nth=1):
        run.propose("colour", "blue", at="n2", timeout_s=5.0)
    run.query("colour", at="n3")


def a_wiped_disk(run: Experiment) -> None:
    """Blue is chosen by n1 and n2; n2's directory is moved away; red is proposed at n3 while n1 is cut off."""
    _another_disk(run, None)


def an_old_copy(run: Experiment) -> None:
    """n2's directory is copied; blue is chosen by n1 and n2; the copy is put back; red is proposed at n3 while n1 is cut off."""
    old = _directory(run, "n2").with_name("n2-old")
    run.faults.kill("n2")
    shutil.copytree(_directory(run, "n2"), old)
    run.faults.restart("n2")
    _another_disk(run, old)


def _another_disk(run: Experiment, copy: Path | None) -> None:
    """Have n2 forget that it has accepted blue: its directory is moved away, and `copy` put in its place."""
    directory = _directory(run, "n2")
    aside = directory.with_name("n2-aside")
    with run.faults.isolate("n3"), drop(run, [("n1", "n2")], "Decided") as dropped:
        run.propose("colour", "blue", at="n1")
        dropped.rules[0].wait_matched(1)
        run.faults.kill("n2")
        receipt = run.faults.begin("wipe", nodes_down=["n2"], disk_lost=["n2"], disk_damaged=["n2"])
        shutil.move(directory, aside)
        receipt.bit = not directory.exists()
        if copy is not None:
            shutil.move(copy, directory)
        with suppress(BootFailed):
            run.faults.restart("n2")
    started = run.cluster.state("n2") is ProcessState.UP
    with run.faults.isolate("n1"):
        run.propose("colour", "red", at="n3", timeout_s=3.0 if started else SHORT_TIMEOUT_S)
    if not started:
        shutil.rmtree(directory, ignore_errors=True)
        shutil.move(aside, directory)
        run.faults.restart("n2")
    receipt.end()


def a_flipped_bit(run: Experiment) -> None:
    """n2 is stopped, one character of a value on its disk is changed, n2 is queried; then its disk is restored."""
    directory = _directory(run, "n2")
    aside = directory.with_name("n2-aside")
    run.propose("colour", "blue", at="n1")
    run.query_all("colour")
    run.faults.terminate("n2")
    shutil.copytree(directory, aside)
    file = directory / FILE_NAME
    before = file.read_bytes()
    file.write_bytes(before.replace(b"blue", b"glue"))
    receipt = run.faults.begin("flip", nodes_down=["n2"], disk_damaged=["n2"])
    receipt.bit = file.read_bytes() != before
    run.query("colour", at="n3")
    try:
        run.faults.restart("n2")
    except BootFailed:
        shutil.rmtree(directory)
        shutil.move(aside, directory)
        run.faults.restart("n2")
    run.query("colour", at="n2", timeout_s=SHORT_TIMEOUT_S)
    receipt.end()


ONE_AFTER_THE_OTHER: Final = ProcessScript("one-after-the-other", one_after_the_other, breaks=False)
SPLIT: Final = ProcessScript("split", split, nodes=5)
EVERYBODY_KILLED: Final = ProcessScript("everybody-killed", everybody_killed)
POWER_CUT: Final = ProcessScript("power-cut", everybody_killed, vfs=SPEC)
ONE_ACCEPT_LOST: Final = ProcessScript("one-accept-lost", partial(one_message_lost, type_="Accept"))
ONE_VOTE_LOST: Final = ProcessScript("one-vote-lost", partial(one_message_lost, type_="Vote"))
ONE_BACK_ONE_AWAY: Final = ProcessScript("one-back-one-away", one_back_one_away)
ASKED_WHILE_CUT_OFF: Final = ProcessScript("asked-while-cut-off", asked_while_cut_off)
TWO_NAMES: Final = ProcessScript("two-names", two_names, breaks=False)
TWO_ANSWERS_IN_A_TURN: Final = ProcessScript("two-answers-in-a-turn", two_answers_in_a_turn)
A_LOST_ANSWER: Final = ProcessScript("a-lost-answer", a_lost_answer)
NOISE: Final = ProcessScript("noise", noise)
GONE_BEFORE_THE_ANSWER: Final = ProcessScript("gone-before-the-answer", gone_before_the_answer, breaks=False)
POWER_CUT_AFTER_THE_ANSWER: Final = ProcessScript("power-cut-after-the-answer", power_cut_after_the_answer, vfs=SPEC)
POWER_CUT_AFTER_THE_ACCEPTANCE: Final = ProcessScript(
    "power-cut-after-the-acceptance", power_cut_after_the_acceptance, vfs=SPEC
)
A_SYNC_FAILS: Final = ProcessScript("a-sync-fails", a_sync_fails, vfs=SPEC)
A_DISK_FAILS: Final = ProcessScript("a-disk-fails", a_disk_fails, vfs=SPEC)
A_WIPED_DISK: Final = ProcessScript("a-wiped-disk", a_wiped_disk)
AN_OLD_COPY: Final = ProcessScript("an-old-copy", an_old_copy)
A_FLIPPED_BIT: Final = ProcessScript("a-flipped-bit", a_flipped_bit)
