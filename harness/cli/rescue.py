"""The commands for the day on which disks are lost: save, restore, recover."""

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cluster.running import RunningCluster
from harness.cli.cluster import complete_nodes
from harness.cli.convention import EXIT_VIOLATED, ProgressTimer, print_json, print_stderr, shown_path, verb
from harness.cli.parameters import FloatRange, Folder

if TYPE_CHECKING:
    from cluster.spec import Spec

_nodes_option = click.option(
    "-n",
    "--nodes",
    type=click.IntRange(1, 99),
    help="How many nodes the new cluster has.  [default: as many as had a vote, under the same names]",
)


class _ShownBytes:
    """Prints how far a long copy has come, every few seconds."""

    def __init__(self, what: str) -> None:
        self._what, self._timer = what, ProgressTimer(2.0)

    def __call__(self, done: int, of_all: int) -> None:
        if self._timer.is_due():
            print_stderr(f"{self._what}: {done / 1e6:,.1f} of {of_all / 1e6:,.1f} MB")


@verb()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--timeout",
    "timeout_s",
    type=FloatRange(0.001, 3600),
    default=5.0,
    show_default=True,
    help="How many seconds each reply may take.",
)
@click.pass_obj
def save(root: Path, file: Path, timeout_s: float, as_json: bool) -> None:
    """Save the whole state of the running cluster to FILE, which must not exist. `consensus restore` makes a cluster of it.

    The save holds everything that was answered before it began. The cluster goes on serving meanwhile.
    """
    from cluster.errors import NotUp, Unknown  # noqa: PLC0415 - see harness.cli.verbs
    from harness.cli.calls import reasons_for_no_answer  # noqa: PLC0415

    with RunningCluster(root, records_calls=True) as cluster:
        try:
            header = cluster.save(file, timeout_s, _ShownBytes("fetched"))
        except Unknown as error:
            reasons: list[str] = []
            with suppress(NotUp):  # nodes that have outlived their supervisor
                reasons = reasons_for_no_answer(cluster.control)
            raise Unknown("; ".join([str(error), *reasons])) from error
    if as_json:
        print_json(file=str(file.absolute()), **asdict(header))
    else:
        size = file.stat().st_size
        print(f"{file}: cluster {header.cluster[:8]} after slot {header.slot:,}, {size:,} bytes")


@verb()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--into",
    required=True,
    type=Folder(),
    metavar="DIR",
    help="The folder of the new cluster: missing or empty.",
)
@_nodes_option
def restore(file: Path, into: Path, nodes: int | None, as_json: bool) -> None:
    """Make a new cluster from FILE, which `consensus save` has written. It is started by `consensus --dir DIR up`.

    It has a new id. Versions and fencing tokens are above those of the saved cluster. Its sessions, locks and members end.
    """
    from cluster.restoring import restore as make  # noqa: PLC0415 - see harness.cli.verbs

    spec = make(file, into, nodes, _ShownBytes("written"))
    if as_json:
        print_json(folder=str(spec.root), cluster=spec.settings.cluster, nodes=list(spec.nodes))
    else:
        _print_made(spec)


@verb()
@click.option(
    "--from",
    "node",
    required=True,
    metavar="NODE",
    shell_complete=complete_nodes,
    help="The node whose disk is used.",
)
@click.option("--accept-loss", is_flag=True, help="What is lost may be lost. Without this nothing is changed.")
@_nodes_option
@click.option(
    "--into",
    type=Folder(),
    metavar="DIR",
    help="A folder for the new cluster, missing or empty.  [default: the place of the old one]",
)
@click.pass_obj
def recover(
    root: Path, node: str, accept_loss: bool, nodes: int | None, into: Path | None, as_json: bool
) -> int | None:
    """Make a new cluster from what the disk of one NODE holds. For when a majority of the disks is lost for ever.

    Without --accept-loss it says what would be kept and what may be lost, and changes nothing: exit code 1.
    The old folder is kept. The new cluster has a new id, so old nodes that come back do not reach it.
    """
    from cluster.recovering import examine  # noqa: PLC0415 - see harness.cli.verbs
    from cluster.recovering import recover as make  # noqa: PLC0415

    examined = examine(root, node)
    for line in examined.lines:
        print_stderr(line)
    found = {
        "from": node,
        "chosen": examined.source.chosen,
        "last": examined.source.last,
        "disks": {
            name: {"chosen": each.chosen, "last": each.last, "ballot": list(each.newest)}
            for name, each in examined.found.survivors.items()
        },
        "lost": examined.found.lost,
    }
    if not accept_loss:
        print_stderr("Nothing was changed. Repeat with --accept-loss to make the new cluster.")
        if as_json:
            print_json(**found, recovered=False)
        return EXIT_VIOLATED
    done = make(root, node, nodes, accept_loss=True, into=into, show=_ShownBytes("written"))
    if as_json:
        folder, settings = str(done.spec.root), done.spec.settings
        print_json(
            **found,
            recovered=True,
            folder=folder,
            kept=str(done.kept),
            cluster=settings.cluster,
            nodes=list(settings.nodes),
        )
    else:
        print(f"the old cluster is kept in {shown_path(done.kept)}")
        _print_made(done.spec)
    return None


def _print_made(spec: "Spec") -> None:
    count = len(spec.nodes)
    print(
        f"{shown_path(spec.root)} holds a new cluster of {count} {spec.settings.algorithm} node{'' if count == 1 else 's'}"
    )
    print_stderr(f"Next: consensus --dir {shown_path(spec.root)} up -d")
