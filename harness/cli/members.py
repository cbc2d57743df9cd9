"""The commands for the members of a running cluster that keeps a log: member list, add, remove, replace.

The supervisor puts the change into the log and starts or ends the process, which is short, so it can serve other commands
again. This process waits until a new node has caught up.
"""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from cluster import spec as specs
from cluster.errors import ConsensusError, WrongState
from cluster.membership import TIMEOUT_S, check_member, wait_until_it_votes
from cluster.supervisor_file import SupervisorClient
from harness.cli.cluster import SUPERVISOR_TIMEOUT_S, complete_nodes
from harness.cli.convention import VerbGroup, print_json, print_stderr
from harness.cli.keys import open_log
from harness.cli.parameters import FloatRange, folder_of
from node.contract import NodeId
from node.settings import check_node_name


def _complete_member(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the nodes' names for the shell's completion."""
    return [item for item in complete_nodes(ctx, param, incomplete) if item.value not in ("all", "leader")]


def _complete_new(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return a name that no node has had, for the shell's completion."""
    try:
        known = specs.open_spec(folder_of(ctx)).known_nodes()
    except ValueError:
        return []
    numbers = [int(found[1]) for node in known if (found := re.fullmatch(r"n(\d+)", node))]
    fresh = f"n{max(numbers, default=0) + 1}"
    return [CompletionItem(fresh)] if fresh.startswith(incomplete) else []


_timeout_option = click.option(
    "--timeout",
    "timeout_s",
    type=FloatRange(0.001, 3600),
    default=TIMEOUT_S,
    show_default=True,
    help="How many seconds the new node may take to catch up.",
)


@click.group(cls=VerbGroup)
def member() -> None:
    """Show and change the members of a cluster that keeps a log, while it runs, one at a time."""


@member.command("list")
@click.pass_obj
def list_(root: Path, as_json: bool) -> None:
    """Show the voters, the learners, and the removed nodes, whose names cannot be used again."""
    with open_log(root) as client:
        voters, learners, removed = client.configuration.list()
    control = SupervisorClient(root)
    seen = {row["node"]: row["how"] for row in control.ask("ps", SUPERVISOR_TIMEOUT_S)["nodes"]}
    leader: list[NodeId] = []
    with suppress(WrongState):  # no node leads
        leader = control.ask("resolve", SUPERVISOR_TIMEOUT_S, nodes="leader")
    rows = [
        {
            "node": node,
            "votes": node in voters,
            "leads": node in leader,
            "state": seen.get(node, "not started"),
        }
        for node in (*voters, *learners)
    ]
    if as_json:
        print_json(members=rows, removed=removed)
        return
    width = max(len(node) for node in (*voters, *learners, *removed))
    for row in rows:
        role = "leads" if row["leads"] else "votes" if row["votes"] else "learns"
        print(f"{row['node']:<{width}}  {role:<6}  {row['state']}")
    for node in removed:
        print(f"{node:<{width}}  removed")


@member.command()
@click.argument("node", shell_complete=_complete_new)
@_timeout_option
@click.pass_obj
def add(root: Path, node: str, timeout_s: float, as_json: bool) -> None:
    """Add NODE, on an empty disk, and wait until it votes.

    No node may have had this name before: a node must never forget what it has voted, and the new disk is empty.
    """
    check_node_name(node)
    _add(root, node, timeout_s)
    _print_result({"added": node}, f"{node} votes", as_json)


@member.command()
@click.argument("node", shell_complete=_complete_member)
@click.pass_obj
def remove(root: Path, node: str, as_json: bool) -> None:
    """Remove NODE for ever, and end its process. If NODE leads, it hands over first."""
    with open_log(root) as client:
        check_member(client, node)
        SupervisorClient(root).ask("remove_node", node=node)
    _print_result({"removed": node}, f"{node} is removed; its name cannot be used again", as_json)


@member.command()
@click.argument("old", shell_complete=_complete_member)
@click.argument("new", shell_complete=_complete_new)
@_timeout_option
@click.pass_obj
def replace(root: Path, old: str, new: str, timeout_s: float, as_json: bool) -> None:
    """Replace OLD by NEW, which starts on an empty disk.

    OLD may be down, or have lost its disk. If NEW cannot be added, OLD stays.
    """
    check_node_name(new)
    with open_log(root) as client:
        check_member(client, old)
    _add(root, new, timeout_s)
    print_stderr(f"{new} votes; removing {old}")
    with open_log(root):
        SupervisorClient(root).ask("remove_node", node=old)
    _print_result({"added": new, "removed": old}, f"{new} votes in the place of {old}", as_json)


def _warn_of_whole_links(root: Path, node: NodeId) -> None:
    """Say that faults of links do not hold for a node that came later, which makes a bridge of it."""
    with suppress(ConsensusError):  # the links of nodes that outlive their supervisor cannot be broken
        rows = SupervisorClient(root).ask("links")
        if any(row["rules"] for row in rows) and not any(
            row["rules"] for row in rows if node in (row["from"], row["to"])
        ):
            print_stderr(
                f"the faults of links that are in force leave the links of {node} whole: break them again to include it"
            )


def _add(root: Path, node: NodeId, timeout_s: float) -> None:
    try:
        with open_log(root):  # raises Mistake if the cluster keeps no log
            SupervisorClient(root).ask("add_learner", node=node)
        print_stderr(f"{node} is up and learns; it votes when it has caught up")
        _warn_of_whole_links(root, node)
        with open_log(root) as client:  # a new client, which knows the address of the new node
            wait_until_it_votes(client, node, timeout_s)
    except KeyboardInterrupt:
        print_stderr(f"consensus: interrupted; {node} may be added, and then votes as soon as it has caught up")
        raise


def _print_result(content: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        print_json(**content)
    else:
        print(text)
