"""The commands that show the state of a cluster: ps, logs, inspect."""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cluster import spec as specs
from cluster.errors import Mistake, NoSuchNode, NotUp
from cluster.folder_mark import CopiedFolder, check_no_copy
from cluster.supervisor_file import SupervisorClient
from harness.cli.cluster import SUPERVISOR_TIMEOUT_S, complete_nodes
from harness.cli.convention import json_text, print_json, print_stderr, verb
from harness.cli.plain_text import exact
from harness.records.jsonable import to_jsonable
from harness.records.statuses import is_of_log
from harness.records.tail import FileTail

_WATCH_INTERVAL_S = 0.5
_FOLLOW_INTERVAL_S = 0.2
_STATE_CHARACTERS_MAX = 17  # "killed by SIGKILL"
#: A narrower terminal shows sentences in the place of the table, and a file is so wide that nothing is folded.
_TABLE_COLUMNS_MIN = 80
_FILE_COLUMNS = 1000


@verb()
@click.option("-w", "--watch", is_flag=True, help="Update the table until Ctrl-C.")
@click.option("--all", "everywhere", is_flag=True, help="Show the processes of all your clusters, in any folder.")
@click.pass_obj
def ps(root: Path, watch: bool, everywhere: bool, as_json: bool) -> None:
    """Show each node: process, state, number of boots, role, ballot or vote, decided value.

    With -w and -o json each look is one object on one line.
    """
    if everywhere:
        from harness.cli.everywhere import show_all  # noqa: PLC0415 - only --all needs it

        show_all(as_json=as_json)
        return
    from rich.console import Console  # noqa: PLC0415 - costs 80 ms
    from rich.live import Live  # noqa: PLC0415

    control = SupervisorClient(root)
    if not watch:
        seen = control.ask("ps", SUPERVISOR_TIMEOUT_S)
        if as_json:
            print_json(**seen)
        else:
            is_terminal = sys.stdout is not None and sys.stdout.isatty()  # None: the shell has closed it
            console = Console() if is_terminal or "COLUMNS" in os.environ else Console(width=_FILE_COLUMNS)
            console.print(table_of_nodes(seen, console.width))
        return
    while as_json:
        print_json(**control.ask("ps", SUPERVISOR_TIMEOUT_S))
        time.sleep(_WATCH_INTERVAL_S)
    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            live.update(table_of_nodes(control.ask("ps", SUPERVISOR_TIMEOUT_S), live.console.width), refresh=True)
            time.sleep(_WATCH_INTERVAL_S)


def table_of_nodes(seen: dict[str, Any], columns: int) -> Any:
    """Return what `ps` shows, from the supervisor's answer: a table, or a sentence for each node if there are few columns."""
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    rows = seen["nodes"]
    logs = [row["algorithm_status"] for row in rows if is_of_log(row["algorithm_status"])]
    trouble = any(row["bad_frames"] for row in rows)
    are_ours = not any("address" in row for row in rows)
    titles = ["node", "pid", "state", "boots", *(["bad frames"] if trouble else []), *(["role"] if are_ours else [])]
    kept = len(titles)
    titles += [] if not are_ours else ["ballot", "applied"] if logs else ["variable", "ballot or vote", "decided"]
    titles += ["clients ask at"] if any(row.get("address") for row in rows) else []
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, title in enumerate(titles):
        # In a narrow terminal rich shrinks the columns that may wrap, and leaves the others whole. Nothing is cut.
        justify: Any = "right" if title in ("pid", "boots", "bad frames") else "left"
        table.add_column(title, justify=justify, no_wrap=place < kept, overflow="fold")
    colours = {"up": "green", "suspended": "yellow"}
    sentences = []
    for row in rows:
        cells = [
            row["node"],
            str(row["pid"] or ""),
            _state(row),
            str(row["boots"]),
            *([str(row["bad_frames"])] if trouble else []),
            *(_of_node_of_ours(row, is_log=bool(logs)) if are_ours else []),
            *([row["address"]] if row.get("address") else []),
        ]
        style = colours.get(row["state"], "red")
        table.add_row(
            *(Text(cell, style=style if title == "state" else "") for title, cell in zip(titles, cells, strict=True))
        )
        named = [
            cell if title in ("state", "role", "ballot or vote") else f"{title} {cell}"
            for title, cell in zip(titles, cells, strict=True)
            if cell
        ]
        sentences.append(Text(f"{row['node']}: {', '.join(named[1:])}", style=style if row["state"] != "up" else ""))
    notes = [Text(_content(max(logs, key=lambda status: status["applied"])), style="dim")] if logs else []
    variables = max((row["variable_count"] for row in rows), default=0)
    if variables > 1:
        notes.append(Text(f"{variables} variables; each node's latest is shown", style="dim"))
    notes += [Text(f"{row['node']} is {row['how']}", style="red") for row in rows if _state(row) not in row["how"]]
    if seen["trouble"]:
        notes.append(Text(seen["trouble"], style="red"))
    return Group(*(sentences if columns < _TABLE_COLUMNS_MIN else [table]), *notes)


def _state(row: dict[str, Any]) -> str:
    """Return a node's state for its column. A long one stands below the table, so that it makes no other column narrow."""
    shown = str(row["how"]).removeprefix("down: ")
    return shown if len(shown) <= _STATE_CHARACTERS_MAX else f"{row['state']}, see below"


def _of_node_of_ours(row: dict[str, Any], *, is_log: bool) -> list[str]:
    """Return the cells of a row that a node of ours reports itself."""
    status = row["algorithm_status"]
    role = str(status.get("role", "" if row["answers"] or row["state"] != "up" else "no answer"))
    return [role, *(_of_log(status) if is_log else _of_variable(row["variable"], status))]


def _of_variable(variable: str | None, status: dict[str, Any]) -> tuple[str, str, str]:
    """Return a row's last cells if the algorithm decides single variables."""
    return variable or "", _ballot_or_vote(status), _shown(status.get("decided"))


def _of_log(status: dict[str, Any]) -> tuple[str, str]:
    """Return a row's last cells if the algorithm keeps a log: the ballot, and the last slot that is applied."""
    if not is_of_log(status):
        return "", ""
    applied, commit = status["applied"], status["commit"]
    ballot = _ballot_or_vote(status).removeprefix("ballot ")
    return ballot, f"{applied:,}" if applied == commit else f"{applied:,} of {commit:,}"


def _content(status: dict[str, Any]) -> str:
    """Return the members and the amount of data, by the status of the node that has applied most."""
    names = [
        f"{what} {', '.join(status[key])}"
        for what, key in (("voters", "voters"), ("learning", "learners"), ("removed", "removed"))
        if status[key]
    ]
    holds = [f"{count:,} {what[:-1] if count == 1 else what}" for what, count in status["holds"].items() if count]
    return "; ".join([*names, ", ".join(holds) or "no keys"])


def _ballot_or_vote(status: dict[str, Any]) -> str:
    match status:
        case {"ballot": [round_, node]} if node:
            return f"ballot {round_}.{node}"
        case {"votes": {**votes}} if votes:
            return f"vote {_shown(status.get('vote'))} (knows {len(votes)})"
    return ""


def _shown(value: Any) -> str:
    return "" if value is None else json_text(value)


@verb(streams=True)
@click.argument("nodes", default="all", shell_complete=complete_nodes)
@click.option("-f", "--follow", is_flag=True, help="Show new lines until Ctrl-C.")
@click.option(
    "-n", "--lines", type=click.IntRange(0), default=20, show_default=True, help="How many earlier lines of each node."
)
@click.pass_obj
def logs(root: Path, nodes: str, follow: bool, lines: int, as_json: bool) -> None:
    """Show the log files of NODES, over all their boots. NODES is n1, or n1,n3, or all.

    With -o json each line is one object, with its node and its time.
    """
    known, log = _logs_of(root)
    names = known if nodes == "all" else tuple(nodes.split(","))
    for name in names:
        if name not in known:
            raise NoSuchNode(f"there is no node {name!r}: there are {', '.join(known)}")
    tails = {name: FileTail(log(name)) for name in names}
    past = {name: tail.new_lines() for name, tail in tails.items()}
    if not follow:  # a node that was killed may have written half a line
        past = {name: [*past[name], *filter(None, [tail.unfinished_line])] for name, tail in tails.items()}
    _print_by_time({name: of_one[-lines:] if lines else [] for name, of_one in past.items()}, as_json)
    while follow:
        sys.stdout.flush()
        time.sleep(_FOLLOW_INTERVAL_S)
        _print_by_time({name: tail.new_lines() for name, tail in tails.items()}, as_json)


def _logs_of(root: Path) -> tuple[tuple[str, ...], Callable[[str], Path]]:
    """Return the names of the nodes in a folder, and what finds the log of each."""
    if (root / specs.SPEC_NAME).exists():
        spec = _spec(root)
        return (
            *spec.present_nodes(),
            *(name for name in spec.known_nodes() if name not in spec.present_nodes()),
        ), spec.log
    from harness.runs.system_session import SystemSpec  # noqa: PLC0415 - only nodes that are not ours need it

    system = SystemSpec.load(root)
    return system.nodes, system.log


def _print_by_time(logs_of: Mapping[str, Sequence[str]], as_json: bool) -> None:
    """Print the lines of several log files in the order of their times. A line without a time gets that of the line before."""
    found: list[tuple[str, str, str]] = []
    for name, of_one in logs_of.items():
        when = ""
        for line in of_one:
            stamp = line[: len("2026-01-01 00:00:00,000")]
            when = stamp if stamp[:4].isdigit() and "," in stamp else when
            found.append((when, name, line))
    for when, name, line in sorted(found, key=lambda entry: entry[0]):  # stable: the lines of one node keep their order
        if as_json:
            print_json(node=name, when=when or None, line=line)
        else:
            print(f"{name}  {line}")


@verb()
@click.argument("node", shell_complete=complete_nodes)
@click.pass_obj
def inspect(root: Path, node: str, as_json: bool) -> None:
    """Show what NODE has on its disk, whether it runs or not. NODE is n1, or n1,n3, or all. The disk is only read."""
    from harness.records.disks import dump, log_on_disk, plain_stored  # noqa: PLC0415 - see harness.cli.verbs
    from node.algorithms import load_algorithm  # noqa: PLC0415
    from node.storage.disk import DiskError  # noqa: PLC0415
    from node.storage.disk import inspect as read_disk  # noqa: PLC0415

    spec = _spec(root)
    names = list(spec.known_nodes()) if node == "all" else node.split(",")
    for name in names:
        _known(spec, name)
    algorithm, machines = load_algorithm(spec.settings.algorithm), spec.settings.machines
    shown: list[dict[str, Any]] = []
    for name in names:
        try:
            contents = read_disk(spec.settings.directory(name), without_the_last=True)
        except DiskError as error:
            if len(names) == 1:
                raise
            shown.append({"node": name, "error": str(error)})
            if not as_json:
                print(f"{name}: {error}")
            continue
        log = log_on_disk(algorithm, spec.nodes, contents, machines) if algorithm.keeps_log else None
        if not as_json:
            print(exact(dump(contents, log)), end="")
            continue
        variables = {
            variable: {key: to_jsonable(plain_stored(item)) for key, item in stored.items()}
            for variable, stored in contents.variables.items()
        }
        more = {} if log is None else {"log": {**log, **{key: to_jsonable(log[key]) for key in ("values", "accepted")}}}
        shown.append({"node": name, "incarnation": contents.incarnation, "variables": variables, **more})
    if as_json:
        print_json(**(shown[0] if node == names[0] else {"nodes": shown}))


def _spec(root: Path) -> specs.Spec:
    if not (root / specs.SPEC_NAME).exists():
        from harness.records.run_folders import SYSTEM_NAME  # noqa: PLC0415 - see harness.cli.verbs
        from harness.runs.system_session import SystemSpec  # noqa: PLC0415 - see `_logs_of`

        if (root / SYSTEM_NAME).exists():
            system = SystemSpec.load(root)
            raise Mistake(
                f"the nodes of {system.system.name} are not ours, so no command here can read what they store: what they have "
                f"written is in {system.folder / 'nodes'}"
            )
        raise NotUp(f"there is no cluster in {root}: start one with `consensus up`")
    try:
        check_no_copy(root)
    except CopiedFolder as error:
        print_stderr(f"consensus: this shows the copy only: {error}")
    return specs.open_spec(root)


def _known(spec: specs.Spec, node: str) -> None:
    if node not in spec.known_nodes():
        raise NoSuchNode(f"there is no node {node!r}: there are {', '.join(spec.known_nodes())}")
