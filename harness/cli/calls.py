"""The verbs that ask a cluster that runs by hand: propose, query."""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import click

from cluster.clients.client import TIMEOUT_S, Client, check_call
from cluster.clients.outcomes import NotDone, NotKnown, Ok
from cluster.errors import NotUp
from cluster.running import RunningCluster
from cluster.supervisor_file import SupervisorClient
from harness.cli.cluster import SHORT_S, complete_nodes
from harness.cli.main import EXIT_UNKNOWN, EXIT_VIOLATED, FloatRange, output_option, print_json, say
from harness.records.jsonable import to_jsonable
from node.wire import BadValue


def read_value(text: str) -> Any:
    """As `parse_value`, where - stands for standard input."""
    if text != "-":
        return parse_value(text)
    if sys.stdin is None:
        raise click.BadParameter("- stands for standard input, and that is closed")
    return parse_value(sys.stdin.read())


def parse_value(text: str) -> Any:
    """A value as the command line gives it: JSON, or a bare word for a string."""
    try:
        return json.loads(text)
    except RecursionError:
        raise BadValue("the value is nested too deep") from None
    except ValueError:
        if text[:1] in ('"', "[", "{"):
            raise click.BadParameter(f"{text!r} begins like JSON and is not: check its quotes and brackets") from None
        return text


def _client(root: Path) -> tuple[SupervisorClient, Client]:
    cluster = RunningCluster(root)
    return cluster.control, cluster.client("by-hand")


class Noted:
    """A call that the supervisor writes into the session's history: from before it is sent until its outcome is known."""

    def __init__(
        self, control: SupervisorClient, f: str, key: str, value: Any, timeout_s: float, node: str | None = None
    ) -> None:
        """It is about to be sent."""
        self._control = control
        arguments = {"f": f, "key": key, "value": to_jsonable(value), "node": node, "timeout_s": timeout_s}
        self._number = control.ask("call_began", SHORT_S, **arguments)

    def ok(self, value: Any, node: str | None = None) -> None:
        """It was answered."""
        self._end("ok", to_jsonable(value), None, node)

    def fail(self, error: str) -> None:
        """It was not done."""
        self._end("fail", None, error, None)

    def info(self, error: str) -> None:
        """Nobody knows."""
        self._end("info", None, error, None)

    def outcome(self, outcome: Any) -> None:
        """It has this outcome."""
        match outcome:
            case Ok(value, node):
                self.ok(value, node)
            case NotDone(_, reason):
                self.fail(reason)
            case NotKnown(reason):
                self.info(reason)

    def _end(self, type_: str, value: Any, error: str | None, node: str | None) -> None:
        with contextlib.suppress(NotUp):  # the session has ended meanwhile, and says that the call was open
            self._control.ask("call_ended", SHORT_S, call=self._number, type=type_, value=value, error=error, node=node)


timeout_option = click.option(
    "--timeout", "timeout_s", type=FloatRange(0.001, 3600), default=TIMEOUT_S, show_default=True, help="Seconds."
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
    proposed = read_value(value)
    control, client = _client(root)
    with client:
        node = _one(control, at)
        check_call(name, proposed)
        noted = Noted(control, "propose", name, proposed, timeout_s, node)
        outcome = client.wait(client.begin_propose(name, proposed, node, timeout_s))
        noted.outcome(outcome)
    return _report(control, {"name": name, "at": node}, outcome, as_json, is_proposal=True)


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
        check_call(name)
        if at is None:
            noted = Noted(control, "query", name, None, timeout_s)
            outcome = client.wait(client.begin_query(name, None, timeout_s))
            noted.outcome(outcome)
            return _report(control, {"name": name, "at": None}, outcome, as_json)
        nodes = control.ask("resolve", nodes=at)
        notes = {node: Noted(control, "query", name, None, timeout_s, node) for node in nodes}
        calls = {node: client.begin_query(name, node, timeout_s) for node in nodes}
        outcomes = {node: client.wait(call) for node, call in calls.items()}
        for node, outcome in outcomes.items():
            notes[node].outcome(outcome)
    if len(nodes) == 1:
        return _report(control, {"name": name, "at": nodes[0]}, outcomes[nodes[0]], as_json)
    if as_json:
        print_json(name=name, answers=[{"at": node, **_plain(outcome)} for node, outcome in outcomes.items()])
    else:
        for node, outcome in outcomes.items():
            print(f"{node}  {_in_words(outcome)}")
    return max(_exit_code(outcome) for outcome in outcomes.values())


def _one(control: SupervisorClient, at: str | None) -> str | None:
    if at is None:
        return None
    nodes = control.ask("resolve", nodes=at)
    if len(nodes) != 1:
        raise click.BadParameter(
            f"--at {at} names {len(nodes)} nodes: a proposal goes to one node, or to any without --at"
        )
    return str(nodes[0])


def _report(
    control: SupervisorClient, about: dict[str, Any], outcome: Any, as_json: bool, is_proposal: bool = False
) -> int:
    if as_json:
        print_json(**about, **_plain(outcome))
    elif isinstance(outcome, Ok):
        print(_in_words(outcome))
    if isinstance(outcome, NotKnown):
        say(f"consensus: {_in_words(outcome)}{': it may be decided, or become so' if is_proposal else ''}")
        down = who_is_down(control)
        if down:
            say(f"consensus: {'; '.join(down)}")
    elif isinstance(outcome, NotDone):
        say(f"consensus: {_in_words(outcome)}")
    return _exit_code(outcome)


def who_is_down(control: SupervisorClient) -> list[str]:
    """What may keep the cluster from answering: nodes that are not up, and trouble with what stands between them."""
    seen = control.ask("ps", SHORT_S)
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


def _in_words(outcome: Any) -> str:
    match outcome:
        case Ok(None):
            return "undecided"
        case Ok(value):
            return json.dumps(to_jsonable(value), ensure_ascii=False)
        case NotDone(_, reason):
            return f"refused: {reason}"
        case NotKnown(reason):
            return f"unknown: {reason}"
    raise AssertionError(outcome)


def _exit_code(outcome: Any) -> int:
    return {NotDone: EXIT_VIOLATED, NotKnown: EXIT_UNKNOWN}.get(type(outcome), 0)
