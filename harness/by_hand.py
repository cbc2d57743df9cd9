"""The verbs for running a cluster by hand: up, down, ps, propose, query, kill, suspend, resume, restart, logs, inspect."""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from cluster import spec as specs
from cluster.client import TIMEOUT_S, Client, NotDone, NotKnown, Ok
from cluster.control import ControlClient
from cluster.errors import AlreadyUp, ConsensusError, Mistake, NoSuchNode, NotUp
from harness.cli import EXIT_UNKNOWN, EXIT_VIOLATED, output_option, print_json, say
from harness.history import to_jsonable
from node.settings import BadSpec

_DOWN_S = 20.0
_WATCH_S = 0.5


def complete_nodes(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Node names for the shell's completion, also after a comma."""
    parent = ctx.find_root().params.get("root")
    try:
        nodes = specs.open_spec(Path(str(parent or ".consensus"))).nodes
    except ValueError:
        return []
    done, comma, begun = incomplete.rpartition(",")
    return [CompletionItem(done + comma + name) for name in (*nodes, "all", "leader") if name.startswith(begun)]


nodes_argument = click.argument("nodes", shell_complete=complete_nodes)


# --- up and down ------------------------------------------------------------------------------------------------------


@click.command()
@click.option("-n", "--nodes", type=click.IntRange(1, 99), help="How many nodes.  [default: 5]")
@click.option("--algorithm", help="leader, failover, majority, paxos, or module:Class of your own.  [default: paxos]")
@click.option("--seed", type=int, help="Where every random draw of the nodes comes from.  [default: 0]")
@click.option("-d", "--detach", is_flag=True, help="Return when the cluster is ready, and leave it running.")
@click.option("--record", is_flag=True, help="Write every message to messages.jsonl in the state's folder.")
@click.pass_obj
def up(root: Path, nodes: int | None, algorithm: str | None, seed: int | None, detach: bool, record: bool) -> None:
    """Launch a cluster here, or launch again the one that was here, with all that it had decided."""
    try:
        pid = ControlClient(root).pid
    except NotUp:
        pass
    else:
        raise AlreadyUp(
            f"a cluster is up in {root} already (supervisor {pid}): use it, or stop it with `consensus down`"
        )
    spec = _new_or_known(root, nodes, algorithm, seed)
    from harness.serve import serve, serve_detached  # noqa: PLC0415 - only `up` needs it

    if detach:
        serve_detached(spec, record=record)
        say(
            f"{len(spec.nodes)} {spec.settings.algorithm} nodes are up. Next: consensus ps; consensus propose colour blue"
        )
    else:
        serve(
            spec,
            record=record,
            tell=say,
            ready=lambda: say(
                f"{len(spec.nodes)} {spec.settings.algorithm} nodes are up. Steer them from another terminal; Ctrl-C ends them."
            ),
        )


def _new_or_known(root: Path, nodes: int | None, algorithm: str | None, seed: int | None) -> specs.Spec:
    if not (root / specs.SPEC_NAME).exists():
        return specs.create(root, nodes=nodes or 5, algorithm=algorithm or "paxos", seed=seed or 0)
    spec = specs.open_spec(root)
    known = (len(spec.nodes), spec.settings.algorithm, spec.settings.seed)
    if (nodes or known[0], algorithm or known[1], known[2] if seed is None else seed) != known:
        raise Mistake(
            f"{root} holds a cluster of {known[0]} {known[1]} nodes with seed {known[2]}. `consensus up` without options "
            "starts it again; `consensus down --wipe` deletes it and all that it has decided; --dir makes another one elsewhere"
        )
    return spec


@click.command()
@click.option("--wipe", is_flag=True, help="Delete the cluster's folder too, with all that was decided.")
@click.pass_obj
def down(root: Path, wipe: bool) -> None:
    """End the cluster. What it has decided stays on its disks, unless --wipe is given."""
    try:
        control = ControlClient(root)
    except NotUp:
        if not (wipe and (root / specs.SPEC_NAME).exists()):
            raise
    else:
        control.ask("stop")
        deadline = time.monotonic() + _DOWN_S
        while control.is_alive():
            if time.monotonic() > deadline:
                raise ConsensusError(f"the supervisor (process {control.pid}) has not ended within {_DOWN_S:g} s")
            time.sleep(0.01)
    if wipe:
        for name in (specs.SPEC_NAME, "supervisor.json", "supervisor.log", "messages.jsonl"):
            (root / name).unlink(missing_ok=True)
        for name in ("nodes", "logs", "booted"):
            shutil.rmtree(root / name, ignore_errors=True)


# --- looking ----------------------------------------------------------------------------------------------------------


@click.command()
@click.option("-w", "--watch", is_flag=True, help="Go on showing it, until Ctrl-C.")
@output_option
@click.pass_obj
def ps(root: Path, watch: bool, as_json: bool) -> None:
    """Show each node: process, state, role, ballot or vote, boots."""
    from rich.console import Console  # noqa: PLC0415 - costs 80 ms
    from rich.live import Live  # noqa: PLC0415

    control = ControlClient(root)
    if not watch:
        rows = control.ask("ps")
        if as_json:
            print_json(nodes=rows)
        else:
            Console().print(_table(rows))
        return
    if as_json:
        raise click.UsageError("--watch is for people: without it, -o json can be asked for as often as is wanted")
    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            live.update(_table(control.ask("ps")), refresh=True)
            time.sleep(_WATCH_S)


def _table(rows: list[dict[str, Any]]) -> Any:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    trouble = any(row["bad_frames"] for row in rows)
    for title in ("node", "pid", "state", "boots", "role", "variable", "ballot or vote", "decided"):
        table.add_column(title, justify="right" if title in ("pid", "boots") else "left", no_wrap=True)
    if trouble:
        table.add_column("bad frames", justify="right", no_wrap=True)
    for row in rows:
        status = row["algorithm_status"]
        colour = {"up": "green", "suspended": "yellow"}.get(row["state"], "red")
        table.add_row(
            row["node"],
            str(row["pid"] or ""),
            Text(row["how"].removeprefix("down: "), style=colour),
            str(row["boots"]),
            status.get("role", "" if row["answers"] or row["state"] != "up" else "no answer"),
            row["variable"] or "",
            _ballot_or_vote(status),
            _shown(status.get("decided")),
            *([str(row["bad_frames"])] if trouble else []),
        )
    return table


def _ballot_or_vote(status: dict[str, Any]) -> str:
    match status:
        case {"ballot": [round_, node]} if node:
            return f"ballot {round_}.{node}"
        case {"votes": votes} if votes:
            return f"vote {_shown(status.get('vote'))} (knows {len(votes)})"
    return ""


def _shown(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)


@click.command()
@click.argument("nodes", default="all", shell_complete=complete_nodes)
@click.option("-f", "--follow", is_flag=True, help="Go on showing what is added, until Ctrl-C.")
@click.option(
    "-n", "--lines", type=click.IntRange(0), default=20, show_default=True, help="How many lines of the past."
)
@click.pass_obj
def logs(root: Path, nodes: str, follow: bool, lines: int) -> None:
    """Show what the nodes said, over all their lives."""
    spec = _spec(root)
    names = spec.nodes if nodes == "all" else tuple(nodes.split(","))
    for name in names:
        _known(spec, name)
    at = dict.fromkeys(names, 0)
    first = True
    while True:
        for name in names:
            path = spec.log(name)
            if path.exists():
                with path.open(errors="replace") as file:
                    file.seek(at[name])
                    new = file.read().splitlines()
                    at[name] = file.tell()
                for line in new[-lines or len(new) :] if first else new:
                    print(f"{name}  {line}")
        if not follow:
            return
        first = False
        sys.stdout.flush()
        time.sleep(0.2)


@click.command()
@click.argument("node", shell_complete=complete_nodes)
@output_option
@click.pass_obj
def inspect(root: Path, node: str, as_json: bool) -> None:
    """Show what a node's disk says, whether the node runs or not. Changes nothing."""
    from harness.disks import dump, plain_stored  # noqa: PLC0415 - only this needs it
    from node.disk import inspect as read_disk  # noqa: PLC0415

    spec = _spec(root)
    _known(spec, node)
    contents = read_disk(spec.settings.directory(node))
    if as_json:
        variables = {
            variable: {key: to_jsonable(plain_stored(item)) for key, item in stored.items()}
            for variable, stored in contents.variables.items()
        }
        print_json(node=node, incarnation=contents.incarnation, variables=variables)
    else:
        print(dump(contents), end="")


def _spec(root: Path) -> specs.Spec:
    if not (root / specs.SPEC_NAME).exists():
        raise NotUp(f"there is no cluster in {root}: make one with `consensus up`")
    return specs.open_spec(root)


def _known(spec: specs.Spec, node: str) -> None:
    if node not in spec.nodes:
        raise NoSuchNode(f"there is no node {node!r}: there are {', '.join(spec.nodes)}")


# --- propose and query ------------------------------------------------------------------------------------------------


def parse_value(text: str) -> Any:
    """A value as the command line gives it: JSON, or a bare word for a string."""
    try:
        return json.loads(text)
    except ValueError:
        if text[:1] in ('"', "[", "{"):
            raise click.BadParameter(f"{text!r} begins like JSON and is not: check its quotes and brackets") from None
        return text


def _client(root: Path) -> tuple[ControlClient, Client]:
    control = ControlClient(root)
    where = control.ask("where")
    # Nodes that are up come first, so that a call to any node does not begin with one that cannot answer.
    addresses = dict(sorted(where["addresses"].items(), key=lambda entry: where["states"][entry[0]] != "up"))
    return control, Client(where["cluster"], lambda: addresses, "by-hand")


timeout_option = click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0.001, 3600), default=TIMEOUT_S, show_default=True, help="Seconds."
)


@click.command(context_settings={"ignore_unknown_options": True})  # so that -1 is a value
@click.argument("name")
@click.argument("value")
@click.option("--at", help="Which node to ask; any, if not given.", shell_complete=complete_nodes)
@timeout_option
@output_option
@click.pass_obj
def propose(root: Path, name: str, value: str, at: str | None, timeout_s: float, as_json: bool) -> int:
    """Propose VALUE for the variable NAME, and print the value that is decided: yours, or an earlier one.

    VALUE is JSON, or a bare word for a string, or - to read it from standard input.
    """
    proposed = parse_value(sys.stdin.read() if value == "-" else value)
    control, client = _client(root)
    with client:
        node = _one(control, at)
        outcome = client.wait(client.begin_propose(name, proposed, node, timeout_s))
    return _report(control, {"name": name, "at": node}, outcome, as_json)


@click.command()
@click.argument("name")
@click.option("--at", help="Which node to ask, or all; any, if not given.", shell_complete=complete_nodes)
@timeout_option
@output_option
@click.pass_obj
def query(root: Path, name: str, at: str | None, timeout_s: float, as_json: bool) -> int:
    """Print the value that is decided for the variable NAME."""
    control, client = _client(root)
    with client:
        if at is None:
            outcome = client.wait(client.begin_query(name, None, timeout_s))
            return _report(control, {"name": name, "at": None}, outcome, as_json)
        nodes = control.ask("resolve", nodes=at)
        calls = {node: client.begin_query(name, node, timeout_s) for node in nodes}
        outcomes = {node: client.wait(call) for node, call in calls.items()}
    if len(nodes) == 1:
        return _report(control, {"name": name, "at": nodes[0]}, outcomes[nodes[0]], as_json)
    if as_json:
        print_json(name=name, answers=[{"at": node, **_plain(outcome)} for node, outcome in outcomes.items()])
    else:
        for node, outcome in outcomes.items():
            print(f"{node}  {_in_words(outcome)}")
    return max(_exit_code(outcome) for outcome in outcomes.values())


def _one(control: ControlClient, at: str | None) -> str | None:
    if at is None:
        return None
    nodes = control.ask("resolve", nodes=at)
    if len(nodes) != 1:
        raise click.BadParameter(
            f"--at {at} names {len(nodes)} nodes: a proposal goes to one node, or to any without --at"
        )
    return str(nodes[0])


def _report(control: ControlClient, about: dict[str, Any], outcome: Any, as_json: bool) -> int:
    if as_json:
        print_json(**about, **_plain(outcome))
    elif isinstance(outcome, Ok):
        print(_in_words(outcome))
    if isinstance(outcome, NotKnown):
        say(f"consensus: {_in_words(outcome)}")
        down = [f"{row['node']} is {row['how']}" for row in control.ask("ps") if row["state"] != "up"]
        if down:
            say(f"consensus: {'; '.join(down)}")
    elif isinstance(outcome, NotDone):
        say(f"consensus: {_in_words(outcome)}")
    return _exit_code(outcome)


def _plain(outcome: Any) -> dict[str, Any]:
    match outcome:
        case Ok(None, node):
            return {"outcome": "undecided", "value": None, "node": node}
        case Ok(value, node):
            return {"outcome": "decided", "value": to_jsonable(value), "node": node}
        case NotDone(reason):
            return {"outcome": "refused", "reason": reason}
        case NotKnown(reason):
            return {"outcome": "unknown", "reason": reason}
    raise AssertionError(outcome)


def _in_words(outcome: Any) -> str:
    match outcome:
        case Ok(None):
            return "undecided"
        case Ok(value):
            return json.dumps(to_jsonable(value), ensure_ascii=False)
        case NotDone(reason):
            return f"refused: {reason}"
        case NotKnown(reason):
            return f"unknown: {reason}: it may be decided, or become so"
    raise AssertionError(outcome)


def _exit_code(outcome: Any) -> int:
    return {NotDone: EXIT_VIOLATED, NotKnown: EXIT_UNKNOWN}.get(type(outcome), 0)


# --- processes --------------------------------------------------------------------------------------------------------


def _act(root: Path, verb: str, done: str, nodes: str, as_json: bool) -> None:
    proofs = ControlClient(root).ask(verb, nodes=nodes)
    if as_json:
        print_json(proofs=proofs)
        return
    for proof in proofs:
        details = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in proof.items() if key != "node")
        print(f"{proof['node']} {done} ({details})")


@click.command()
@nodes_argument
@output_option
@click.pass_obj
def kill(root: Path, nodes: str, as_json: bool) -> None:
    """Kill NODES with SIGKILL. NODES is n1, or n1,n3, or leader, or all."""
    _act(root, "kill", "is dead", nodes, as_json)


@click.command()
@nodes_argument
@output_option
@click.pass_obj
def suspend(root: Path, nodes: str, as_json: bool) -> None:
    """Suspend NODES with SIGSTOP: they neither run nor know it."""
    _act(root, "suspend", "is suspended", nodes, as_json)


@click.command()
@nodes_argument
@output_option
@click.pass_obj
def resume(root: Path, nodes: str, as_json: bool) -> None:
    """Resume suspended NODES with SIGCONT."""
    _act(root, "resume", "runs again", nodes, as_json)


@click.command()
@nodes_argument
@output_option
@click.pass_obj
def restart(root: Path, nodes: str, as_json: bool) -> None:
    """Start NODES again on the same disks. One that still runs is killed first."""
    _act(root, "restart", "is up again", nodes, as_json)


__all__ = ["BadSpec", "down", "inspect", "kill", "logs", "propose", "ps", "query", "restart", "resume", "suspend", "up"]
