"""The options of verbs that take a system which is not ours, and what the words of a user stand for."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from harness.systems.system import System

disk_option = click.option(
    "--volatile/--durable",
    "volatile",
    default=None,
    help="Whether a kill takes what a command's node has in its folder, or leaves it.  [default: --durable]",
)

answers_option = click.option(
    "--answers-within",
    "answers_within_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="A command's nodes answer some client within so long while a majority is up and connected: judge that, too.",
)

system_option = click.option(
    "--system",
    "system_file",
    metavar="FILE",
    help="Instead of ALGORITHM: the TOML file of a system of commands that listen on ports, or etcd, redis, pysyncobj.",
)


def system_under_test(
    target: str | None,
    volatile: bool | None,
    ours: Iterable[str],
    file: str | None = None,
    answers_within_s: float | None = None,
) -> "System | None":
    """Return what a command starts; None if the target is an algorithm of our own nodes.

    Args:
        target: what the user has named.
        volatile: the option `--volatile`.
        ours: the names of parameters that only a cluster of our own nodes has.
        file: the option `--system`.
        answers_within_s: the option `--answers-within`.
    """
    from harness.systems.registry import is_command, system_of_command, system_of_file  # noqa: PLC0415 - see harness.cli.verbs

    if target is None:
        assert file is not None
        if volatile is not None:
            raise click.UsageError("--volatile and --durable are for a command that speaks Maelstrom's protocol")
        if answers_within_s is not None:
            raise click.UsageError("--answers-within is for a command: the file of a system says answers_within_s")
    elif not is_command(target):
        if volatile is not None:
            raise click.UsageError("--volatile and --durable are for a command: our own nodes have disks that can fail")
        if answers_within_s is not None:
            raise click.UsageError("--answers-within is for a command: what our own nodes have to answer is known")
        return None
    source = click.get_current_context().get_parameter_source
    for name in ours:
        if source(name) is click.core.ParameterSource.COMMANDLINE:
            option = {"settings": "set"}.get(name, name.replace("_", "-"))
            raise click.UsageError(f"--{option} is for clusters of our own nodes, and {target or file!r} is none")
    if target is None:
        assert file is not None
        return system_of_file(file)
    return system_of_command(target, volatile=bool(volatile), answers_within_s=answers_within_s)
