"""The commands `consensus assign`: tasks, and the members that have them, on a running cluster that keeps a log."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

from cluster.clients.operation import TTL_S
from cluster.clients.operations import Share
from cluster.errors import ConsensusError, Unknown
from harness.cli.calls import timeout_option
from harness.cli.convention import VerbGroup, print_json, print_stderr
from harness.cli.keys import open_log
from harness.cli.parameters import FloatRange
from node.contract import BadInput

_LONG_POLL_S: Final = 2.0


@click.group(cls=VerbGroup)
def assign() -> None:
    """Assign tasks: each task has one member, evenly spread; the tasks of a member that leaves go to others."""


@assign.command()
@click.argument("tasks", nargs=-1, required=True)
@timeout_option
@click.pass_obj
def add(root: Path, tasks: tuple[str, ...], timeout_s: float, as_json: bool) -> None:
    """Add TASKS. A task that exists already stays as it is."""
    with open_log(root) as client:
        were_new = _each(tasks, lambda task: client.assignment.add(task, timeout_s))
    if as_json:
        print_json(tasks=tasks, new=[task for task, is_new in zip(tasks, were_new, strict=True) if is_new])


@assign.command()
@click.argument("tasks", nargs=-1, required=True)
@timeout_option
@click.pass_obj
def remove(root: Path, tasks: tuple[str, ...], timeout_s: float, as_json: bool) -> None:
    """Remove TASKS, whichever members have them."""
    with open_log(root) as client:
        _each(tasks, lambda task: client.assignment.remove(task, timeout_s))
    if as_json:
        print_json(tasks=tasks)


def _each(tasks: Sequence[str], do: Callable[[str], object]) -> list[object]:
    """Return what `do` returns for each task. At an error, print the tasks that are done before it is raised again."""
    answers: list[object] = []
    try:
        for task in tasks:
            answers += [do(task)]
    except (ConsensusError, BadInput):
        if answers:
            print_stderr(f"consensus: already done before the error: {', '.join(tasks[: len(answers)])}")
        raise
    return answers


@assign.command("list")
@timeout_option
@click.pass_obj
def list_(root: Path, timeout_s: float, as_json: bool) -> None:
    """Show each task, the member that has it, and its fencing token."""
    with open_log(root) as client:
        owners = client.assignment.owners(timeout_s=timeout_s).owners
        members = client.assignment.view(timeout_s).members
    if as_json:
        rows = [
            {"task": task, "member": owner and owner.member, "token": owner and owner.token}
            for task, owner in owners.items()
        ]
        print_json(tasks=rows, members=list(members))
        return
    width = max(map(len, owners), default=0)
    for task, owner in owners.items():
        print(f"{task:{width}}  {owner.member}  {owner.token}" if owner else f"{task:{width}}  -")
    print_stderr(f"members: {', '.join(members) or 'none'}")


@assign.command(streams=True)
@click.argument("name")
@click.option(
    "--ttl",
    "ttl_s",
    type=FloatRange(0.1, 600),
    default=TTL_S,
    show_default=True,
    help="Seconds until other members get the tasks, if this process vanishes.",
)
@click.pass_obj
def join(root: Path, name: str, ttl_s: float, as_json: bool) -> None:
    """Join as the member NAME until Ctrl-C, and print each change of its tasks: + TASK TOKEN, and - TASK.

    With -o json each change is one object on one line, with all tasks of NAME.
    """
    with open_log(root) as client, client.assignment.joined(name, ttl_s=ttl_s):
        print_stderr(f"{name} is a member; Ctrl-C ends the membership and hands its tasks over")
        share = Share(0, {})
        while True:
            before = share
            with suppress(Unknown):  # no leader at the moment; the lease cannot end meanwhile
                share = client.assignment.mine(name, before if before.version else None, _LONG_POLL_S)
            if as_json and share.version > before.version:
                print_json(version=share.version, tasks=share.tasks)
            elif not as_json:
                for line in _difference(before, share):
                    print(line, flush=True)


def _difference(before: Share, after: Share) -> Iterator[str]:
    """Yield one line for each change of the tasks."""
    for task in before.tasks:
        if task not in after.tasks:
            yield f"- {task}"
    for task, token in after.tasks.items():
        if before.tasks.get(task) != token:
            yield f"+ {task} {token}"
