"""The verb that runs a command under a lock of a replicated log that runs by hand: lock.

The command runs in the foreground with everything that a shell gave: terminal, standard input and output, environment. What
ends it here is meant for it: signals are passed on, and its exit code is ours. Only when the lease is lost it is ended for a
reason of ours: somebody else may have the lock.
"""

import os
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import click

from cluster.clients.locks import Lock
from cluster.clients.operation import TTL_S
from cluster.errors import ConsensusError, LeaseLost, Unknown
from harness.cli.keys import open_log
from harness.cli.main import EXIT_VIOLATED, FloatRange, say
from harness.cli.signals import handled, terminated_as_interrupted

VARIABLE: Final = "CONSENSUS_LOCK_TOKEN"
_LOOK_EVERY_S: Final = 0.05
_KILL_AFTER_S: Final = 5.0


@click.command()
@click.option(
    "--ttl",
    "ttl_s",
    type=FloatRange(0.1, 600),
    default=TTL_S,
    show_default=True,
    help="Seconds until others go on, if this vanishes.",
)
@click.option("--wait", "wait_s", type=FloatRange(0, 86_400), help="Seconds to wait in line.  [default: for ever]")
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def lock(root: Path, ttl_s: float, wait_s: float | None, name: str, command: tuple[str, ...]) -> int:
    """Wait for the lock NAME, hold it while COMMAND runs, and exit with its code.

    \b
    consensus lock printer -- lpr page.ps
    consensus lock --wait 0 nightly -- sh -c 'backup --fence $CONSENSUS_LOCK_TOKEN'

    The lease is renewed meanwhile. If it is lost nevertheless, COMMAND gets SIGTERM, and SIGKILL 5 s later; the exit code is
    1. It may have run for a moment beside somebody else by then, and if consensus itself is killed, it runs on: what COMMAND
    changes should refuse a token, CONSENSUS_LOCK_TOKEN, below the highest that it has seen.
    """
    if shutil.which(command[0]) is None:
        raise click.BadParameter(f"there is no command {command[0]!r}")
    with open_log(root) as client, terminated_as_interrupted():
        held = client.lock(name, ttl_s, wait_s)
        holder = client.locks.holder(name)
        if holder is not None and wait_s != 0:
            before = f" after {holder.waiting} more" if holder.waiting else ""
            say(f"waiting for {name!r}{before}: {holder.owner} holds it with token {holder.token}")
        try:
            held.acquire()
        except Unknown as error:
            raise Unknown(f"{error}. If it is ours now, that ends with its lease of {ttl_s:g} s") from error
        try:
            code = _run(held, command)
        finally:
            lost = _let_go(held)
    if lost is not None:
        say(f"consensus: {lost}")
        return EXIT_VIOLATED
    return code


def _let_go(held: Lock) -> LeaseLost | None:
    """Release the lock, or leave that to its lease. Returns why it had been lost, if it had."""
    try:
        held.release()
    except LeaseLost as error:
        return error
    except ConsensusError as error:
        say(f"consensus: {error}; the lock ends with its lease of {held.ttl_s:g} s")
    return None


def _run(held: Lock, command: Sequence[str]) -> int:
    """Run the command until it ends, or until the lock is lost. Returns its exit code, as a shell would tell it."""
    kill_at = float("inf")
    with _signals_kept() as signals:
        try:
            child = subprocess.Popen(command, env={**os.environ, VARIABLE: str(held.token)})
        except OSError as error:
            raise click.BadParameter(f"{command[0]} cannot be run: {error.strerror}") from error
        while child.poll() is None:
            while signals:
                child.send_signal(signals.popleft())
            if held.lost and kill_at == float("inf"):
                say(f"consensus: the lock {held.name!r} is lost, or may be: {command[0]} is asked to end")
                child.terminate()
                kill_at = time.monotonic() + _KILL_AFTER_S
            if time.monotonic() > kill_at:
                child.kill()
            try:
                child.wait(_LOOK_EVERY_S)
            except subprocess.TimeoutExpired:
                continue
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


@contextmanager
def _signals_kept() -> Iterator[deque[int]]:
    """Signals that would end us are for the command, which decides. A terminal's Ctrl-C reaches it without us."""
    came: deque[int] = deque()

    def keep(number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGINT or not _in_foreground():
            came.append(number)

    with handled((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), keep):
        yield came


def _in_foreground() -> bool:
    """Whether a terminal's Ctrl-C is for our process group, so that the command gets it too."""
    try:
        terminal = os.open(os.ctermid(), os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
