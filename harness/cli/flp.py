"""`consensus flp`: an adversary who loses nothing and kills nobody, and yet nothing is decided."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from harness.cli.main import FloatRange, output_option, print_json, say

if TYPE_CHECKING:
    from harness.virtual.flp import StandOff
    from harness.virtual.flp_majority import Tie
    from harness.virtual.flp_real import RealStandOff

_TELL_EVERY: Final = 100

_PAXOS_SHOWS: Final = """
What this shows: computers that all work, on a network that loses nothing, need not ever decide. It takes no crash and no
loss; it is enough that messages come at the wrong time, and each of them does come."""

_MAJORITY_SHOWS: Final = """
What this shows: at a tie all hangs on one message. It is on its way, so both colours may still win, and nobody can decide.
As long as it is late, nobody can tell it from one that never comes, nor the third computer from one that is down."""

_PROVED: Final = """
What Fischer, Lynch and Paterson proved (Impossibility of Distributed Consensus with One Faulty Process, 1985): where
messages may take any time, and one computer may crash, no deterministic algorithm can promise always to decide and never
to decide two things. There is a configuration in which both values are possible to begin with, and from any such one a
schedule leads to another, without a message being withheld for ever. A run illustrates that; only their proof says
that no cleverer algorithm escapes."""

_PAXOS_LIVES: Final = """
How Paxos lives with it: safety always, progress when timing is kind. However late messages come, two values are never
decided; that rests on no clock. Whether one is decided rests on luck that is easy to have: whoever is beaten pauses for a
random while, longer each time, so one of the two gets through, unless somebody who sees every message arranges otherwise."""

_MAJORITY_DIES: Final = """
How the majority vote fails to live with it: a vote is for ever. If the third computer is dead, rather than slow, the others
can never tell whether a decision has been made: the window of vulnerability. All that they can do is wait. Paxos lives
with it: it goes on under a higher ballot without whoever is late, and keeps what may have been decided. Safety always,
progress when timing is kind."""


@click.command()
@click.option("--algorithm", type=click.Choice(["paxos", "majority"]), default="paxos", show_default=True)
@click.option("--rounds", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="In virtual time.")
@click.option("--real", "seconds", type=FloatRange(0.5, 86_400), help="On five real processes, for so many seconds.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the real run.")
@output_option
@click.pass_obj
def flp(root: Path, algorithm: str, rounds: int, seconds: float | None, seed: int, as_json: bool) -> int:
    """Watch an adversary who may only choose when messages arrive keep everybody from deciding.

    It lets one Paxos proposer prepare, holds its Accepts until the rival's Prepares have reached a quorum, releases them too
    late, and turns to the other. Then it stops, after its time or at Ctrl-C, and a decision follows. Of a majority vote, it
    finds the one message whose delay decides everything. The exit code is 0 if all that was shown, 1 if a promise was
    violated, 2 if it has shown nothing.
    """
    if algorithm == "majority":
        if seconds is not None:
            raise click.BadParameter("a majority vote is explored, not run: leave out --real, or take paxos")
        from harness.virtual.flp_majority import explore_tie  # noqa: PLC0415 - only this needs it

        return _tell("majority", explore_tie(), (_MAJORITY_SHOWS, _PROVED, _MAJORITY_DIES), as_json)
    paxos = (_PAXOS_SHOWS, _PROVED, _PAXOS_LIVES)
    if seconds is not None:
        return _tell("paxos", _real(root, seconds, seed), paxos, as_json)
    from harness.virtual.flp import stand_off  # noqa: PLC0415 - only this needs it

    def progress(report: "StandOff") -> None:
        if report.rounds % _TELL_EVERY == 0:
            say(
                f"round {report.rounds:,}, ballot {report.ballot.round}.{report.ballot.node}, decisions {report.decisions}"
            )

    return _tell("paxos", stand_off(rounds, progress=progress), paxos, as_json)


def _real(root: Path, seconds: float, seed: int) -> "RealStandOff":
    from harness.records.run_folders import new_folder  # noqa: PLC0415 - only this needs them
    from harness.virtual.flp_real import stand_off  # noqa: PLC0415

    def progress(report: "RealStandOff") -> None:
        say(
            f"{report.seconds:5.1f} s: round {report.rounds}, ballot {report.ballot.round}.{report.ballot.node}, "
            f"decisions {report.decisions}"
        )

    folder = new_folder(root, "flp", make=False)
    say(f"five Paxos nodes and an adversary, for {seconds:g} s; Ctrl-C stops the adversary")
    with _ctrl_c() as pressed:
        return stand_off(folder, seconds, pressed.is_set, progress, seed)


@contextmanager
def _ctrl_c() -> Iterator[threading.Event]:
    """Ctrl-C sets the event. A second one ends the command, as anywhere."""
    pressed = threading.Event()

    def press(_number: int, _frame: object) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    if threading.current_thread() is not threading.main_thread():  # signals are for the main thread
        yield pressed
        return
    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _tell(algorithm: str, report: "StandOff | RealStandOff | Tie", says: tuple[str, ...], as_json: bool) -> int:
    if as_json:
        print_json(algorithm=algorithm, **report.to_json())
    else:
        print("\n".join(report.lines()))
        print("\n".join(says))
    return report.exit_code
