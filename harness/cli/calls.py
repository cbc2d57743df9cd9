"""The commands for calls on variables of a running cluster: propose, query."""

import sys
from pathlib import Path
from typing import Any

import click

from cluster.clients.client import TIMEOUT_S, Client, check_call, check_proposal
from cluster.clients.outcomes import NotDone, NotKnown, Ok
from cluster.errors import WrongState
from cluster.running import RunningCluster
from cluster.supervisor_file import SupervisorClient
from harness.cli.cluster import SUPERVISOR_TIMEOUT_S, complete_nodes
from harness.cli.convention import EXIT_UNKNOWN, EXIT_VIOLATED, json_text, print_json, print_stderr, verb
from harness.cli.parameters import FloatRange
from harness.records.jsonable import to_jsonable
from harness.runs.session_call import SessionCall, parse_value
from node.wording import count


def read_value(text: str) -> Any:
    """Return the value that `text` stands for, as `parse_value` does. `-` stands for standard input."""
    if text != "-":
        return parse_value(text)
    if sys.stdin is None:
        raise click.BadParameter("- stands for standard input, and standard input is closed")
    return parse_value(sys.stdin.read())


def _client(root: Path) -> tuple[SupervisorClient, Client]:
    cluster = RunningCluster(root, records_calls=True)
    return cluster.control, cluster.client("by-hand")


timeout_option = click.option(
    "--timeout",
    "timeout_s",
    type=FloatRange(0.001, 3600),
    default=TIMEOUT_S,
    show_default=True,
    help="Seconds until the outcome is unknown.",
)


@verb(context_settings={"ignore_unknown_options": True})  # so that -1 is a value
@click.argument("name")
@click.argument("value")
@click.option("--at", help="The node to ask.  [default: any]", shell_complete=complete_nodes)
@timeout_option
@click.pass_obj
def propose(root: Path, name: str, value: str, at: str | None, timeout_s: float, as_json: bool) -> int:
    """Propose VALUE for the variable NAME, and print the decided value: VALUE, or one that was proposed earlier.

    VALUE is JSON, or a bare word for a string, or - to read it from standard input.
    """
    proposed = read_value(value)
    control, client = _client(root)
    with client:
        node = _one(control, at)
        check_proposal(name, proposed)
        recorded = SessionCall(control, "propose", name, proposed, timeout_s, node)
        outcome = client.wait(client.begin_propose(name, proposed, node, timeout_s))
        recorded.outcome(outcome)
    return _report(control, {"name": name, "at": node}, outcome, as_json, is_proposal=True)


@verb()
@click.argument("name")
@click.option("--at", help="The node to ask, or all.  [default: any]", shell_complete=complete_nodes)
@timeout_option
@click.pass_obj
def query(root: Path, name: str, at: str | None, timeout_s: float, as_json: bool) -> int:
    """Print the decided value of the variable NAME, or "undecided"."""
    control, client = _client(root)
    with client:
        check_call(name)
        if at is None:
            recorded = SessionCall(control, "query", name, None, timeout_s)
            outcome = client.wait(client.begin_query(name, None, timeout_s))
            recorded.outcome(outcome)
            return _report(control, {"name": name, "at": None}, outcome, as_json)
        nodes = control.ask("resolve", nodes=at)
        if len(nodes) == 1:
            _check_not_down(control, nodes[0])
        records = {node: SessionCall(control, "query", name, None, timeout_s, node) for node in nodes}
        calls = {node: client.begin_query(name, node, timeout_s) for node in nodes}
        outcomes = {node: client.wait(call) for node, call in calls.items()}
        for node, outcome in outcomes.items():
            records[node].outcome(outcome)
    if len(nodes) == 1:
        return _report(control, {"name": name, "at": nodes[0]}, outcomes[nodes[0]], as_json)
    if as_json:
        print_json(name=name, answers=[{"at": node, **_plain(outcome)} for node, outcome in outcomes.items()])
    else:
        for node, outcome in outcomes.items():
            print(f"{node}  {_text(outcome)}")
    return max(_exit_code(outcome) for outcome in outcomes.values())


def _one(control: SupervisorClient, at: str | None) -> str | None:
    if at is None:
        return None
    nodes = control.ask("resolve", nodes=at)
    if len(nodes) != 1:
        raise click.BadParameter(
            f"--at {at} names {count(len(nodes), 'node')}: a proposal goes to one node, or to any without --at"
        )
    _check_not_down(control, str(nodes[0]))
    return str(nodes[0])


def _check_not_down(control: SupervisorClient, node: str) -> None:
    """Raise WrongState if a node is known as down, so that nobody waits for an answer that cannot come."""
    for row in control.ask("ps", SUPERVISOR_TIMEOUT_S)["nodes"]:
        if row["node"] == node and row["state"] == "down":
            raise WrongState(
                f"{node} is {row['how']}, and was not asked: ask another node, or any without --at, or `consensus restart {node}`"
            )


def _report(
    control: SupervisorClient, about: dict[str, Any], outcome: Any, as_json: bool, is_proposal: bool = False
) -> int:
    if as_json:
        print_json(**about, **_plain(outcome))
    elif isinstance(outcome, Ok):
        print(_text(outcome))
    if isinstance(outcome, NotKnown):
        print_stderr(
            f"consensus: {_text(outcome)}{': the proposal may be decided, now or later' if is_proposal else ''}"
        )
        down = reasons_for_no_answer(control)
        if down:
            print_stderr(f"consensus: {'; '.join(down)}")
    elif isinstance(outcome, NotDone):
        print_stderr(f"consensus: {_text(outcome)}")
    return _exit_code(outcome)


def reasons_for_no_answer(control: SupervisorClient) -> list[str]:
    """Return what may keep the cluster from answering: nodes that are not up, and trouble with the proxy."""
    seen = control.ask("ps", SUPERVISOR_TIMEOUT_S)
    down = [f"{row['node']} is {row['how']}" for row in seen["nodes"] if row["state"] != "up"]
    return [*down, *filter(None, [seen["trouble"]])]


def _plain(outcome: Any) -> dict[str, Any]:
    match outcome:
        case Ok(None, node):
            return {"outcome": "undecided", "value": None, "node": node}
        case Ok(value, node):
            return {"outcome": "decided", "value": to_jsonable(value), "node": node}
        case NotDone(_, reason):
            return {"outcome": "refused", "reason": reason}
        case NotKnown(reason):
            return {"outcome": "unknown", "reason": reason}
    raise AssertionError(outcome)


def _text(outcome: Any) -> str:
    match outcome:
        case Ok(None):
            return "undecided"
        case Ok(value):
            return json_text(to_jsonable(value))
        case NotDone(_, reason):
            return f"refused: {reason}"
        case NotKnown(reason):
            return f"unknown: {reason}"
    raise AssertionError(outcome)


def _exit_code(outcome: Any) -> int:
    return {NotDone: EXIT_VIOLATED, NotKnown: EXIT_UNKNOWN}.get(type(outcome), 0)
