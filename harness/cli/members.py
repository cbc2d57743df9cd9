"""The verbs for the nodes of a replicated log that runs by hand: member list, add, remove, replace.

The supervisor has the change go through the log and starts or ends the process; that takes a moment, so that it is there for
others. Waiting until a new node has caught up is done here.
"""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from cluster import spec as specs
from cluster.errors import WrongState
from cluster.membership import TIMEOUT_S, check_member, wait_until_it_votes
from cluster.supervisor_file import SupervisorClient
from harness.cli.cluster import SHORT_S, complete_nodes
from harness.cli.keys import open_log
from harness.cli.main import FloatRange, output_option, print_json, say
from node.contract import NodeId
from node.settings import check_node_name


def _complete_member(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """One node's name."""
    return [item for item in complete_nodes(ctx, param, incomplete) if item.value not in ("all", "leader")]


def _complete_new(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """A name that no node has had."""
    try:
        known = specs.open_spec(Path(str(ctx.find_root().params.get("root") or ".consensus"))).known_nodes()
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
    help="Seconds that the new node may take to catch up.",
)


@click.group()
def member() -> None:
    """Who forms a cluster that keeps a log, and changes of that while it runs, one at a time."""


@member.command("list")
@output_option
@click.pass_obj
def list_(root: Path, as_json: bool) -> None:
    """Show who votes, who learns, and which names are used up."""
    with open_log(root) as client:
        voters, learners, removed = client.configuration.list()
    control = SupervisorClient(root)
    seen = {row["node"]: row["how"] for row in control.ask("ps", SHORT_S)["nodes"]}
    leader: list[NodeId] = []
    with suppress(WrongState):  # nobody does
        leader = control.ask("resolve", SHORT_S, nodes="leader")
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
@output_option
@click.pass_obj
def add(root: Path, node: str, timeout_s: float, as_json: bool) -> None:
    """Add NODE, on an empty disk, and wait until it votes.

    Its name must be one that no node has had: a node's vote counts only as long as it forgets nothing.
    """
    check_node_name(node)
    _add(root, node, timeout_s)
    _tell({"added": node}, f"{node} votes", as_json)


@member.command()
@click.argument("node", shell_complete=_complete_member)
@output_option
@click.pass_obj
def remove(root: Path, node: str, as_json: bool) -> None:
    """Remove NODE for ever, and end its process. If it leads, it hands over first."""
    with open_log(root) as client:
        check_member(client, node)
        SupervisorClient(root).ask("remove_node", node=node)
    _tell({"removed": node}, f"{node} is removed, and its name is used up", as_json)


@member.command()
@click.argument("old", shell_complete=_complete_member)
@click.argument("new", shell_complete=_complete_new)
@_timeout_option
@output_option
@click.pass_obj
def replace(root: Path, old: str, new: str, timeout_s: float, as_json: bool) -> None:
    """Put NEW, on an empty disk, in the place of OLD.

    OLD may be down, or have lost its disk. If NEW cannot be added, OLD stays.
    """
    check_node_name(new)
    with open_log(root) as client:
        check_member(client, old)
    _add(root, new, timeout_s)
    say(f"{new} votes; removing {old}")
    with open_log(root):
        SupervisorClient(root).ask("remove_node", node=old)
    _tell({"added": new, "removed": old}, f"{new} votes in the place of {old}", as_json)


def _add(root: Path, node: NodeId, timeout_s: float) -> None:
    try:
        with open_log(root):  # it keeps a log
            SupervisorClient(root).ask("add_learner", node=node)
        say(f"{node} is up and learns; it votes when it has caught up")
        with open_log(root) as client:  # one that knows where the new node is, too
            wait_until_it_votes(client, node, timeout_s)
    except KeyboardInterrupt:
        say(f"consensus: nobody waits any more; {node} may be added, and comes to vote by itself")
        raise


def _tell(content: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        print_json(**content)
    else:
        print(text)
