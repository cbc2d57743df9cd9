"""What is done to a cluster so that a break shows: short stories of faults and calls, most of them around one message.

A story is told of the broken and of the shipped code alike. It waits for messages to come (`wait_held`, `wait_matched`), so
it does not depend on how fast the machine is; a break may keep one from coming, and then its story ends there.

Here are the stories that any algorithm can be told, and those of the disk and the wire; `harness.mutants.paxos_schedules`
has those that are about Paxos's own messages.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from cluster.errors import BootFailed
from cluster.processes import ProcessState
from harness.faults.active import LinkFault
from harness.faults.power_loss_vfs import FAIL_SYNC, SLOW_SYNC, SPEC
from harness.network.rules import Drop, Duplicate, Pass
from harness.records.links import CLIENT, Link
from harness.runs.experiment import Experiment
from node.contract import NodeId
from node.storage.disk import FILE_NAME

#: How long a client waits that is not to be answered.
SHORT_S: Final = 0.6
#: How long one waits that is owed an answer, where a break leaves it without.
OWED_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.002


@dataclass(frozen=True, slots=True)
class ProcessScript:
    """A script, and the cluster that it needs."""

    name: str
    play: Callable[[Experiment], None]
    nodes: int = 3
    vfs: str | None = None
    breaks: bool = True
    """Whether a fault must have bitten for the script to show anything."""
    on_log: bool = False
    """Whether it puts and gets keys, which only a log has."""

    @property
    def about(self) -> str:
        """What happens, in a line."""
        function = self.play.func if isinstance(self.play, partial) else self.play
        return (function.__doc__ or "").strip().partition("\n")[0]


def links(senders: NodeId | Sequence[NodeId], receivers: NodeId | Sequence[NodeId]) -> list[Link]:
    """From each of these to each of those."""
    from_ = [senders] if isinstance(senders, str) else senders
    to = [receivers] if isinstance(receivers, str) else receivers
    return [(sender, receiver) for sender in from_ for receiver in to]


def drop(run: Experiment, on: Iterable[Link], *types: str) -> LinkFault:
    """Lose messages of these types."""
    return run.faults.apply_rules("drop", [Drop()], on, types=types)


# --- any algorithm --------------------------------------------------------------------------------------------------


def one_after_the_other(run: Experiment) -> None:
    """Blue is proposed, then red and green elsewhere; everybody is asked."""
    run.propose("colour", "blue", at="n2")
    run.query_all("colour")
    run.propose("colour", "red", at="n3")
    run.propose("colour", "green", at="n1")
    run.query_all("colour")


def split(run: Experiment) -> None:
    """{n1,n2} are cut from {n3,n4,n5}, and hear each other twice; blue is proposed at n2, red at n4."""
    twice = run.faults.apply_rules("duplicate", [Duplicate(2)], [("n1", "n2"), ("n2", "n1")], harmless=True)
    with twice, run.faults.partition(["n1", "n2"], ["n3", "n4", "n5"]):
        run.settle(
            run.begin_propose("colour", "blue", at="n2", timeout_s=SHORT_S), run.begin_propose("colour", "red", at="n4")
        )
    run.query_all("colour")


def everybody_killed(run: Experiment) -> None:
    """Blue is decided, and another proposal is under way; all are killed and restarted."""
    run.propose("colour", "blue", at="n1")
    run.query_all("colour")
    begun = run.begin_propose("begun", "perhaps", at="n2", timeout_s=SHORT_S)
    run.faults.kill(*run.nodes)
    run.faults.restart(*run.nodes)
    run.settle(begun)
    run.query_all("colour")


def one_message_lost(run: Experiment, *, type_: str) -> None:
    """n3 is down, and exactly one message from n1 to n2 is lost, that which n1 needs; n1 is asked again."""
    run.faults.kill("n3")
    with run.faults.hold([("n1", "n2")], type_) as held:
        call = run.begin_propose("colour", "blue", at="n1", timeout_s=SHORT_S)
        held.rules[0].wait_held(1)
        held.rules[0].discard()
    run.settle(call)
    run.propose("colour", "red", at="n1", timeout_s=OWED_S)
    run.faults.restart("n3")


def one_back_one_away(run: Experiment) -> None:
    """n2 is killed and comes back; then n3 is killed, so that everything depends on n1 and n2."""
    run.propose("before", "blue", at="n2")
    run.query("before", at="n1")  # so n1 has heard of n2's first life
    run.faults.kill("n2")
    run.faults.restart("n2")
    run.faults.kill("n3")
    run.propose("colour", "red", at="n1", timeout_s=OWED_S)
    run.faults.restart("n3")


def asked_while_cut_off(run: Experiment) -> None:
    """Blue is decided while n3 is cut off; n3 is asked meanwhile, and when it is back."""
    with run.faults.isolate("n3"):
        run.propose("colour", "blue", at="n1")
        run.query("colour", at="n3", timeout_s=SHORT_S)
    run.query("colour", at="n3")


# --- clients and variables ------------------------------------------------------------------------------------------


def two_names(run: Experiment) -> None:
    """Two variables whose names begin alike are set to different values."""
    for number, node in enumerate(run.nodes):
        run.propose(f"variable-{number}", f"value {number}", at=node)
    for number in range(len(run.nodes)):
        run.query_all(f"variable-{number}")


def two_answers_in_a_turn(run: Experiment) -> None:
    """Two variables are set, and both are asked for at n1 while it is suspended."""
    for variable, value in (("left", "port"), ("right", "starboard")):
        run.propose(variable, value, at="n1")
    run.faults.suspend("n1")
    with run.network.install(Pass(), [(CLIENT, "n1")]) as passed:
        calls = [run.begin_query(variable, at="n1") for variable in ("left", "right")]
        passed.wait_matched(len(calls))
    run.faults.resume("n1")
    run.settle(*calls)


def a_lost_answer(run: Experiment) -> None:
    """Blue is decided; red is proposed at n1 and its answer is lost, so the client asks again."""
    run.propose("colour", "blue", at="n2")
    with run.faults.hold([("n1", CLIENT)], "Reply") as lost:
        call = run.begin_propose("colour", "red", at="n1")
        lost.rules[0].wait_held(1)
        lost.rules[0].discard()
    run.settle(call)


def noise(run: Experiment) -> None:
    """What n1 sends to n2 is damaged while n1 proposes; then n2 is asked to decide."""
    with run.inject("corrupt", links=[["n1", "n2"]], probability=1.0):
        run.propose("colour", "blue", at="n1")
    run.propose("other", "red", at="n2", timeout_s=OWED_S)


# --- disks ----------------------------------------------------------------------------------------------------------


def _directory(run: Experiment, node: NodeId) -> Path:
    return run.spec.settings.directory(node)


def power_cut_after_the_answer(run: Experiment) -> None:
    """n1's disk is slow; a proposal that n2 passes on is answered; n1 loses power at once, and returns."""
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
    """n2's disk is slow; n1 decides by its acceptance; both lose power; n3 proposes red with n2 alone."""
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
    """The sync for which n1's answer waits fails; n1 is started again."""
    directory = _directory(run, "n1")
    run.propose("warm", "up", at="n2")
    paper = run.faults.begin("fail-sync", nodes_down=["n1"])
    (directory / FAIL_SYNC).write_text("1")
    call = run.begin_propose("colour", "blue", at="n2", timeout_s=5.0)
    while call.outcome is None and run.cluster.state("n1") is ProcessState.UP:
        run.client.poll()
        time.sleep(_LOOK_EVERY_S)
    paper.bit = (directory / f"{FAIL_SYNC}.struck").exists()
    if run.cluster.state("n1") is ProcessState.UP:
        run.faults.kill("n1")
    run.faults.restart("n1")
    paper.end()
    run.settle(call)
    run.query("colour", at="n3")


def a_wiped_disk(run: Experiment) -> None:
    """Blue is chosen by n1 and n2; n2's directory is taken away; n3 proposes red while n1 is cut off."""
    directory = _directory(run, "n2")
    aside = directory.with_name("n2-aside")
    with run.faults.isolate("n3"), drop(run, [("n1", "n2")], "Decided") as untold:
        run.propose("colour", "blue", at="n1")
        untold.rules[0].wait_matched(1)
        run.faults.kill("n2")
        paper = run.faults.begin("wipe", nodes_down=["n2"], disk_lost=["n2"])
        shutil.move(directory, aside)
        paper.bit = not directory.exists()
        with suppress(BootFailed):
            run.faults.restart("n2")
    started = run.cluster.state("n2") is ProcessState.UP
    with run.faults.isolate("n1"):
        run.propose("colour", "red", at="n3", timeout_s=3.0 if started else SHORT_S)
    if not started:
        shutil.rmtree(directory, ignore_errors=True)
        shutil.move(aside, directory)
        run.faults.restart("n2")
    paper.end()


def a_flipped_bit(run: Experiment) -> None:
    """n2 is stopped, a letter of a value on its disk is changed, it is asked; then its disk is put right."""
    directory = _directory(run, "n2")
    aside = directory.with_name("n2-aside")
    run.propose("colour", "blue", at="n1")
    run.query_all("colour")
    run.faults.terminate("n2")
    shutil.copytree(directory, aside)
    file = directory / FILE_NAME
    before = file.read_bytes()
    file.write_bytes(before.replace(b"blue", b"glue"))
    paper = run.faults.begin("flip", nodes_down=["n2"])
    paper.bit = file.read_bytes() != before
    run.query("colour", at="n3")
    with suppress(BootFailed):
        run.faults.restart("n2")
        run.query("colour", at="n2", timeout_s=SHORT_S)
        run.faults.kill("n2")
    shutil.rmtree(directory)
    shutil.move(aside, directory)
    run.faults.restart("n2")
    paper.end()


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
POWER_CUT_AFTER_THE_ANSWER: Final = ProcessScript("power-cut-after-the-answer", power_cut_after_the_answer, vfs=SPEC)
POWER_CUT_AFTER_THE_ACCEPTANCE: Final = ProcessScript(
    "power-cut-after-the-acceptance", power_cut_after_the_acceptance, vfs=SPEC
)
A_SYNC_FAILS: Final = ProcessScript("a-sync-fails", a_sync_fails, vfs=SPEC)
A_WIPED_DISK: Final = ProcessScript("a-wiped-disk", a_wiped_disk)
A_FLIPPED_BIT: Final = ProcessScript("a-flipped-bit", a_flipped_bit)
