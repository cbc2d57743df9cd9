"""`consensus lock`: runs a command under a lock of a running cluster that keeps a log.

Theory of operation
-------------------
The child process gets the terminal, the standard input and output, and the environment of this process. Signals are passed on
to it, and its exit code becomes the exit code of `consensus`. This process ends the child only if the lease is lost, since
another client may have the lock then.
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
from harness.cli.convention import EXIT_VIOLATED, print_json, print_stderr, verb
from harness.cli.keys import open_log
from harness.cli.parameters import FloatRange
from harness.cli.signals import handled
from node.wording import count

VARIABLE: Final = "CONSENSUS_LOCK_TOKEN"
_POLL_INTERVAL_S: Final = 0.05
_KILL_AFTER_S: Final = 5.0
#: The descriptor of the standard error.
_STDERR: Final = 2


@verb()
@click.option(
    "--ttl",
    "ttl_s",
    type=FloatRange(0.1, 600),
    default=TTL_S,
    show_default=True,
    help="Seconds until another client gets the lock, if this process vanishes.",
)
@click.option("--wait", "wait_s", type=FloatRange(0, 86_400), help="Seconds to wait for the lock.  [default: for ever]")
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def lock(root: Path, ttl_s: float, wait_s: float | None, name: str, command: tuple[str, ...], as_json: bool) -> int:
    """Wait for the lock NAME, hold it while COMMAND runs, and exit with its code.

    \b
    consensus lock printer -- lpr page.ps
    consensus lock --wait 0 nightly -- sh -c 'backup --fence $CONSENSUS_LOCK_TOKEN'

    The lease is renewed while COMMAND runs. If it is lost, COMMAND gets SIGTERM, and SIGKILL 5 s later, and the exit code is
    1. COMMAND may then have run for a moment while another client held the lock. If consensus itself is killed, COMMAND
    continues without the lock. So whatever COMMAND changes should refuse a fencing token, CONSENSUS_LOCK_TOKEN, that is lower
    than the highest one it has seen.

    With -o json, what COMMAND prints goes to stderr.
    """
    if shutil.which(command[0]) is None:
        raise click.BadParameter(f"there is no command {command[0]!r}")
    with open_log(root) as client:
        held = client.lock(name, ttl_s, wait_s)
        holder = client.locks.holder(name)
        if holder is not None and wait_s != 0:
            before = f" behind {count(holder.waiting, 'other')}" if holder.waiting else ""
            print_stderr(f"waiting for {name!r}{before}: {holder.owner} holds it with token {holder.token}")
        try:
            held.acquire()
        except Unknown as error:
            raise Unknown(f"{error}. If this client has the lock now, it ends with its lease of {ttl_s:g} s") from error
        try:
            code = _run(held, command, _STDERR if as_json else None)
        finally:
            lost = _release(held)
    if lost is not None:
        print_stderr(f"consensus: {lost}")
    if as_json:
        print_json(lock=name, token=held.token, lost=lost and str(lost), command_exit_code=code)
    return code if lost is None else EXIT_VIOLATED


def _release(held: Lock) -> LeaseLost | None:
    """Release the lock, or let its lease end. Return why it had been lost, if it had."""
    try:
        held.release()
    except LeaseLost as error:
        return error
    except ConsensusError as error:
        print_stderr(f"consensus: {error}; the lock ends with its lease of {held.ttl_s:g} s")
    return None


def _run(held: Lock, command: Sequence[str], stdout: int | None) -> int:
    """Run the command until it ends, or until the lock is lost. Return its exit code, as a shell would."""
    kill_at = float("inf")
    with _collected_signals() as signals:
        try:
            child = subprocess.Popen(command, stdout=stdout, env={**os.environ, VARIABLE: str(held.token)})
        except OSError as error:
            raise click.BadParameter(f"{command[0]} cannot be run: {error.strerror}") from error
        while child.poll() is None:
            while signals:
                child.send_signal(signals.popleft())
            if held.lost and kill_at == float("inf"):
                print_stderr(f"consensus: the lock {held.name!r} is lost, or may be: {command[0]} gets SIGTERM")
                child.terminate()
                kill_at = time.monotonic() + _KILL_AFTER_S
            if time.monotonic() > kill_at:
                child.kill()
            try:
                child.wait(_POLL_INTERVAL_S)
            except subprocess.TimeoutExpired:
                continue
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


@contextmanager
def _collected_signals() -> Iterator[deque[int]]:
    """Collect the signals that would end this process, for the child process. A terminal's Ctrl-C reaches it directly."""
    collected: deque[int] = deque()

    def collect(number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGINT or not _in_foreground():
            collected.append(number)

    with handled((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), collect):
        yield collected


def _in_foreground() -> bool:
    """Return whether a terminal's Ctrl-C goes to this process group, and so to the child process, too."""
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
