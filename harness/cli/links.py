"""The commands for the links of a running cluster: partition, isolate, link, links, heal; and inject, for any fault."""

import re
from pathlib import Path
from typing import Any

import click

from cluster.supervisor_file import SupervisorClient
from harness.cli.cluster import complete_nodes
from harness.cli.convention import print_json, print_stderr, verb
from harness.cli.parameters import FloatRange
from harness.runs.session_call import parse_value
from node.wording import count

#: How many nodes and links `inject` names.
_STRIKES_MAX = 6


@verb()
@click.argument("groups")
@click.pass_obj
def partition(root: Path, groups: str, as_json: bool) -> None:
    """Cut the nodes into GROUPS that cannot reach each other, such as n1,n2/n3,n4,n5.

    Clients reach all groups. If there is one group, it is cut from all other nodes.
    """
    control = SupervisorClient(root)
    rule = control.ask("partition", groups=groups)
    named = groups.split(",")
    others = [] if "/" in groups else [node for node in control.ask("resolve", nodes="all") if node not in named]
    _print_result(rule, f"cut: {groups}" + (f" from {', '.join(others)}" if others else ""), as_json)


@verb()
@click.argument("node", shell_complete=complete_nodes)
@click.pass_obj
def isolate(root: Path, node: str, as_json: bool) -> None:
    """Cut NODE from every other node, in both directions. Clients still reach it."""
    control = SupervisorClient(root)
    names = control.ask("resolve", nodes=node)
    rules = [control.ask("isolate", node=name) for name in names]
    _print_result(rules, "\n".join(f"cut: {name} from all others" for name in names), as_json)


class Duration(click.ParamType[float]):
    """A parameter type: a time, such as 50ms or 1.5s."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the time in seconds.

        Raises:
            BadParameter: the text is no time.
        """
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", str(value))
        if found is None:
            self.fail(f"{value!r} is no time: write, for example, 50ms or 1.5s", param, ctx)
        return float(found[1]) / (1000 if found[2] == "ms" else 1)


@verb()
@click.argument("sender", shell_complete=complete_nodes)
@click.argument("receiver", shell_complete=complete_nodes)
@click.option("--drop", type=FloatRange(0, 1), help="Drop each message with this probability.")
@click.option("--duplicate", type=FloatRange(0, 1), help="Deliver each message twice with this probability.")
@click.option("--delay", type=Duration(), help="Delay each message by this time, such as 50ms or 1.5s.")
@click.option("--jitter", type=Duration(), help="With --delay: delay by up to this much more.")
@click.option("--reorder", type=click.IntRange(1), help="Let up to this many later messages overtake a message.")
@click.option("--cut", is_flag=True, help="Drop every message.")
@click.option("--one-way", is_flag=True, help="Only from SENDER to RECEIVER.  [default: both directions]")
@click.pass_obj
def link(
    root: Path, /, sender: str, receiver: str, one_way: bool, as_json: bool, **actions: float | bool | None
) -> None:
    """Disturb the link between SENDER and RECEIVER. Each is n1, or n1,n3, or leader, or all, or `client` for all clients."""
    given = {action: amount for action, amount in actions.items() if amount not in (None, False)}
    if not given:
        raise click.UsageError("give at least one of --drop, --delay, --duplicate, --reorder and --cut")
    if "jitter" in given and "delay" not in given:
        raise click.UsageError("--jitter needs --delay")
    control = SupervisorClient(root)
    senders, receivers = (_endpoints(control, names) for names in (sender, receiver))
    earlier = _rules_between(control, senders, receivers)
    rules = control.ask("link", senders=senders, receivers=receivers, one_way=one_way, spoil=given)
    arrow = "->" if one_way else "<->"
    _print_result(
        rules, f"{sender} {arrow} {receiver}: " + ", ".join(f"{key} {value}" for key, value in given.items()), as_json
    )
    if earlier:
        print_stderr(f"consensus: there were rules before, and all apply, one after the other: {', '.join(earlier)}")


@verb()
@click.pass_obj
def heal(root: Path, as_json: bool) -> None:
    """Remove all rules from the links, and end every fault of `consensus inject`. One that still waits will not begin.

    Dropped messages stay lost. Held messages are delivered.
    """
    healed = SupervisorClient(root).ask("heal")
    if as_json:
        print_json(rules=[], **healed)
        return
    ended = [fault_of(**one) for one in healed["ended_faults"]]
    print("every link is whole" + (f"; ended: {', '.join(ended)}" if ended else ""))
    if healed["never_began"]:
        print(f"will not begin: {', '.join(healed['never_began'])}")
    if healed["up_again"]:
        print(f"up again: {', '.join(healed['up_again'])}")
    for node, how in healed["not_up"].items():
        remedy = "resume" if how.startswith("suspended") else "restart"
        print(f"{node} is {how}: `consensus {remedy} {node}`")


@verb()
@click.pass_obj
def links(root: Path, as_json: bool) -> None:
    """Show each directed link: how many messages passed, were lost and are kept, and its rules.

    The links of a system of commands (`consensus up --system FILE`) carry streams. Of these it shows how many connections FROM
    has dialed, how many of them TO did not accept, and how many bytes have left.
    """
    rows = SupervisorClient(root).ask("links")
    if as_json:
        print_json(links=rows)
        return
    from rich.console import Console  # noqa: PLC0415 - costs 80 ms
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    titles = tuple(rows[0]) if rows else ()
    for title in titles:
        table.add_column(title, justify="left" if title in ("from", "to", "rules") else "right")
    for row in rows:
        table.add_row(*(", ".join(row[title]) if title == "rules" else str(row[title]) for title in titles))
    Console().print(table)


def fault_of(fault: str, arguments: dict[str, Any]) -> str:
    """Return a fault with what it strikes, such as "partition n1/n2,n3" or "delay n1->n2 and 1 link more"."""
    match arguments:
        case {"groups": groups}:
            return f"{fault} {groups if isinstance(groups, str) else '/'.join(map(','.join, groups))}"
        case {"node": str(node)}:
            return f"{fault} {node}"
        case {"nodes": [*nodes]}:
            return f"{fault} {','.join(nodes)}"
        case {"links": [[sender, receiver], *others]}:
            return f"{fault} {sender}->{receiver}" + (f" and {count(len(others), 'link')} more" if others else "")
    return fault


def _rules_between(control: SupervisorClient, senders: list[str], receivers: list[str]) -> list[str]:
    """Return the rules on the links between the two, in either direction, each once."""
    return list(
        dict.fromkeys(
            rule
            for row in control.ask("links")
            if (row["from"] in senders and row["to"] in receivers)
            or (row["from"] in receivers and row["to"] in senders)
            for rule in row["rules"]
        )
    )


def _endpoints(control: SupervisorClient, names: str) -> list[str]:
    return ["client"] if names == "client" else list(control.ask("resolve", nodes=names))


def _print_result(rules: Any, text: str, as_json: bool) -> None:
    if as_json:
        print_json(rules=[rules] if isinstance(rules, str) else rules or [])
    else:
        print(text)


@verb(context_settings={"ignore_unknown_options": True})
@click.argument("fault")
@click.argument("arguments", nargs=-1)
@click.pass_obj
def inject(root: Path, fault: str, arguments: tuple[str, ...], as_json: bool) -> None:
    """Inject any FAULT of the catalogue, with ARGUMENTS such as node=n1 or links=clients, until `consensus heal`.

    A value is JSON, or a bare word; a list of nodes is also n1,n2. `consensus faults FAULT` lists the arguments. Those that are
    left out are drawn at random. Faults of disks need `consensus up --prepare disk`.
    """
    given: dict[str, Any] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{argument!r} is no argument: write, for example, node=n1 or probability=0.3")
        given[name] = parse_value(text)
    injected = SupervisorClient(root).ask("inject", name=fault, arguments=given)
    if as_json:
        print_json(**injected)
    else:
        strikes = injected["strikes"]
        more = f" and {len(strikes) - _STRIKES_MAX} more" if len(strikes) > _STRIKES_MAX else ""
        waits = "waits for its trigger" if "message" in given else "has begun, and is not in force yet"
        whom = f": {', '.join(strikes[:_STRIKES_MAX])}{more}" if strikes else ""
        print(f"{fault} is in force{whom}" if injected["in_force"] else f"{fault} {waits}")
