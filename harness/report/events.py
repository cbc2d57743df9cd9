"""What a picture of a cluster is made of, as events: plain data for JSON, from the records of a run or from a cluster that runs.

The page of a run and the live page draw the same events by the same script.

| `k` | about | fields beside `t`, its time in microseconds |
|---|---|---|
| `node` | how a node stands from now on | `node`, `state`, `how`, `pid`, `boots`, `answers`, `vars`, `kept`: see `node_event` |
| `msg` | a message that has arrived at the proxy | `i`, `from`, `to`, `type`, `variable`, `fate`, `label`, `value`, `text` |
| `fate` | what became of a message later | `of`, the `i` of its arrival, and `fate` |
| `call` | a client's call, as it is known now | `id`, `t1`, `process`, `f`, `key`, `asked`, `at`, `outcome`, `answer` |
| `fault` | a fault, as it is known now | `id`, `t1`, `name`, `bit`, `nodes`, `mark`, `cut`, `disturbed`, `groups`, `what` |
| `predicate` | a promise that is broken from now on | `name`, `evidence` |
| `thinned` | messages that are not shown, since they were too many | `count` |

Every text is cut to a bounded size here. The page's script puts it into the page as text, never as markup.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from harness.records.jsonable import from_jsonable, shown
from harness.records.statuses import is_of_log
from harness.report.drawn_run import DrawnCall, DrawnFault, DrawnMessage
from harness.report.wording import TEXT_MAX, answer_text, call_text, fields_text, message_label, sides, what_is_broken

Event: TypeAlias = dict[str, Any]

#: The longest text of a value, in characters.
VALUE_MAX: Final = 60
#: How many variables of a node an event shows.
VARIABLES_MAX: Final = 8
#: The fields of a status that people are shown, if they are there.
_FACTS: Final = ("role", "leads", "waiting", "leader")
_FACTS_OF_LOG: Final = ("commit", "applied", "chain")
#: Those that are on a node's disk before it says them, so that they stay when it has ended.
_ON_DISK: Final = ("ballot", "accepted", "decided", "vote")


def cut(text: str, most: int = TEXT_MAX) -> str:
    """Return a text, cut short if it is longer than `most` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def value_text(value: Any) -> str:
    """Return a value for people, cut short. A tuple looks like a list, since a status does not tell them apart."""
    return cut(shown(_listed(value), VALUE_MAX), VALUE_MAX)


def _listed(value: Any) -> Any:
    match value:
        case list() | tuple():
            return [_listed(item) for item in value]
        case dict():
            return {key: _listed(item) for key, item in value.items()}
    return value


def message_event(message: DrawnMessage) -> Event:
    """Return the event of a message's arrival."""
    return {
        "k": "msg",
        "t": message.time // 1000,
        "i": message.index,
        "from": message.sender,
        "to": message.receiver,
        "type": cut(message.type, VALUE_MAX),
        "variable": message.variable,
        "fate": message.fate,
        "rule": message.rule,
        "label": message_label(message),
        "value": _value_of(message),
        "text": cut(fields_text(message.fields)),
    }


def _value_of(message: DrawnMessage) -> str | None:
    """Return the value that a message carries, for its colour; None if it carries none."""
    value = message.fields.get("value")
    try:
        return None if value is None else value_text(from_jsonable(value))
    except ValueError:  # the record is of another version, or was changed
        return None


def fate_event(time_us: int, of: int | str, fate: str) -> Event:
    """Return the event of a message's later fate."""
    return {"k": "fate", "t": time_us, "of": of, "fate": fate}


def call_event(call: DrawnCall) -> Event:
    """Return the event of a call. Its `t` is when it began, so that a later event of the same call replaces it."""
    return {
        "k": "call",
        "id": call.index,
        "t": call.began // 1000,
        "t1": None if call.ended is None else call.ended // 1000,
        "process": cut(call.process, VALUE_MAX),
        "f": call.f,
        "key": cut(call.key, VALUE_MAX),
        "asked": cut(call_text(call), VALUE_MAX),
        "at": call.asked_node,
        "outcome": call.outcome if call.ended is not None else None,
        "answer": None if call.ended is None else cut(answer_text(call), VALUE_MAX),
        "by": call.node,
        "error": None if call.error is None else cut(call.error),
    }


def fault_event(fault: DrawnFault, nodes: Sequence[str], identity: str) -> Event:
    """Return the event of a fault, as it is known now."""
    return {
        "k": "fault",
        "id": identity,
        "t": fault.began // 1000,
        "t1": None if fault.ended is None else fault.ended // 1000,
        "name": fault.name,
        "bit": fault.bit,
        "nodes": list(fault.nodes),
        "mark": fault.mark,
        "cut": [list(link) for link in fault.cut],
        "disturbed": [list(link) for link in fault.disturbed],
        "groups": sides(fault, nodes),
        "what": cut(what_is_broken(fault, nodes)),
    }


def node_event(
    time_us: int,
    process: Mapping[str, Any],
    status: Mapping[str, Any] | None,
    last_said: Mapping[str, Any] | None = None,
) -> Event:
    """Return the event of a node.

    Args:
        time_us: when it was so.
        process: its process, as `LiveVerbs.look` describes it.
        status: the last status that it has replied with; None if it does not reply.
        last_said: the last status that it has replied with, also in an earlier life; None if its disk has gone.

    Returns:
        The event. Its `vars` has the facts of each of the node's latest variables, by name: role, ballot, vote, votes, decided.
        Of a node that does not reply they are those of `last_said` that are on its disk, and `kept` is true.
    """
    is_kept = status is None and last_said is not None
    status = status if status is not None else last_said
    variables = {} if status is None else status.get("variables", {})
    latest = None if status is None else status.get("latest")
    # The latest variable is the last that is left out if there are too many.
    names = [name for name in variables if name != latest][: VARIABLES_MAX - 1] + [latest] * (latest in variables)
    facts = {name: variable_facts(variables[name]) for name in names}
    if is_kept:
        facts = {name: {field: each[field] for field in _ON_DISK if field in each} for name, each in facts.items()}
    return {
        "k": "node",
        "t": time_us,
        "node": process["node"],
        "state": process["state"],
        "how": cut(str(process["how"])),
        "pid": process["pid"],
        "boots": process["boots"],
        "answers": status is not None and not is_kept,
        "latest": latest,
        "vars": facts,
        "kept": is_kept,
    }


def variable_facts(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return what people are shown of the status of one replica."""
    facts: dict[str, Any] = {name: status[name] for name in _FACTS if status.get(name) is not None}
    for name, field in (("ballot", "ballot"), ("accepted", "accepted ballot")):
        match status.get(field):
            case [int(round_), str(node)]:
                facts[name] = [round_, node]
    if is_of_log(status):  # `decided` has the values of variables that are set once
        facts |= {name: status[name] for name in _FACTS_OF_LOG}
        return {**facts, "holds": {str(what): count for what, count in status["holds"].items() if count}}
    for name in ("decided", "vote"):
        if status.get(name) is not None:
            facts[name] = value_text(status[name])
    if isinstance(status.get("votes"), Mapping):
        facts["votes"] = {str(voter): value_text(vote) for voter, vote in status["votes"].items()}
    return facts
