"""`consensus flp`: an adversary that only delays messages keeps an algorithm from deciding."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from harness.cli.convention import print_json, print_stderr, print_wrapped, verb
from harness.cli.parameters import FloatRange, algorithm_parameter

if TYPE_CHECKING:
    from harness.systematic.flp_real import RealStandOff
    from harness.virtual.flp import StandOff
    from harness.virtual.flp_majority import Tie

_ROUNDS_PER_REPORT: Final = 100

_PAXOS_SHOWS: Final = """
What this shows: nodes that all work, on a network that loses nothing, may never decide. It takes no crash and no loss. It is
enough that messages arrive at the wrong time, and each of them does arrive."""

_MAJORITY_SHOWS: Final = """
What this shows: at a tie the decision depends on which of two messages arrives first. Both are on their way, so both colours may
still win, and no node can decide. As long as they are late, no node can distinguish them from lost ones, nor the third node from
one that is down."""

_PROVED: Final = """
What Fischer, Lynch and Paterson proved (Impossibility of Distributed Consensus with One Faulty Process, 1985): where
messages may take any time, and one process may crash, no deterministic algorithm can both always decide and never decide two
values. There is an initial configuration in which both values are possible, and from every such configuration a schedule
leads to another one, without a message being withheld for ever. A run illustrates that. Only their proof shows that it
holds for every algorithm."""

_PAXOS_LIVES: Final = """
How Paxos deals with it: it is always safe, and makes progress when the timing allows it. However late messages are, two values
are never decided, and that depends on no clock. Whether one value is decided depends on timing. A proposer whose ballot was
beaten pauses for a random time, longer each time. So one of two rivals succeeds, unless an adversary sees every message and
delays the right ones."""

_MAJORITY_DIES: Final = """
How the majority vote fails: a vote is final. If the third node is down and not only slow, the others can never know whether a
value was decided: the window of vulnerability. They can only wait. Paxos continues under a higher ballot without the late
node, and keeps the value that may have been decided. It is always safe, and makes progress when the timing allows it."""


@verb()
@algorithm_parameter(default="paxos", choices=["paxos", "majority"])
@click.option(
    "--rounds",
    type=click.IntRange(1, 1_000_000),
    default=1000,
    show_default=True,
    help="How many rounds, in virtual time.",
)
@click.option(
    "--real", "seconds", type=FloatRange(0.5, 86_400), help="Run on five real processes for this many seconds instead."
)
@click.option("--seed", type=int, default=0, show_default=True, help="The seed of the run on real processes.")
@click.pass_obj
def flp(root: Path, algorithm: str, rounds: int, seconds: float | None, seed: int, as_json: bool) -> int:
    """Run an adversary that only delays messages, and yet keeps all nodes from deciding.

    ALGORITHM is paxos or majority.

    The adversary lets one Paxos proposer finish phase 1, holds its Accepts until the rival's Prepares have reached a quorum,
    releases them too late, and then does the same to the rival. When it stops, after its time or at Ctrl-C, a value is decided.
    In a majority vote the command finds the two messages on whose order the decision depends.

    Exit code: 0 if that was shown, 1 if a promise was violated, 2 if nothing was shown.
    """
    if algorithm == "majority":
        if seconds is not None:
            raise click.BadParameter("a majority vote is explored in virtual time: leave out --real, or use paxos")
        from harness.virtual.flp_majority import explore_tie  # noqa: PLC0415 - see harness.cli.verbs

        return _print_report("majority", explore_tie(), (_MAJORITY_SHOWS, _PROVED, _MAJORITY_DIES), as_json)
    paxos = (_PAXOS_SHOWS, _PROVED, _PAXOS_LIVES)
    if seconds is not None:
        return _print_report("paxos", _real(root, seconds, seed), paxos, as_json)
    from harness.virtual.flp import stand_off  # noqa: PLC0415 - see harness.cli.verbs

    def progress(report: "StandOff") -> None:
        if report.rounds % _ROUNDS_PER_REPORT == 0:
            print_stderr(
                f"round {report.rounds:,}, ballot {report.ballot.round}.{report.ballot.node}, decisions {report.decisions}"
            )

    return _print_report("paxos", stand_off(rounds, progress=progress), paxos, as_json)


def _real(root: Path, seconds: float, seed: int) -> "RealStandOff":
    from harness.records.run_folders import new_folder  # noqa: PLC0415 - see harness.cli.verbs
    from harness.systematic.flp_real import stand_off  # noqa: PLC0415

    def progress(report: "RealStandOff") -> None:
        print_stderr(
            f"{report.seconds:5.1f} s: round {report.rounds}, ballot {report.ballot.round}.{report.ballot.node}, "
            f"decisions {report.decisions}"
        )

    folder = new_folder(root, "flp")
    print_stderr(f"five Paxos nodes and an adversary, for {seconds:g} s; Ctrl-C stops the adversary")
    with _ctrl_c() as pressed:
        return stand_off(folder, seconds, pressed.is_set, progress, seed)


@contextmanager
def _ctrl_c() -> Iterator[threading.Event]:
    """Set the event at the first Ctrl-C inside the block. The second one interrupts the command."""
    pressed = threading.Event()

    def press(_number: int, _frame: object) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    if threading.current_thread() is not threading.main_thread():  # only the main thread can handle signals
        yield pressed
        return
    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _print_report(
    algorithm: str, report: "StandOff | RealStandOff | Tie", explanations: tuple[str, ...], as_json: bool
) -> int:
    if as_json:
        print_json(algorithm=algorithm, **report.to_json())
    else:
        for line in "\n".join([*report.lines(), *explanations]).splitlines():
            print_wrapped(line, None if line.startswith(" ") else "")
    return report.exit_code
