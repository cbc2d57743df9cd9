"""What each workload's calls look like as requests and answers, after Maelstrom's `doc/workloads.md`.

| workload | call | request | answer |
|---|---|---|---|
| echo | echo | `echo` | `echo` |
| unique-ids | generate | | `id` |
| broadcast | broadcast, read | `message`; none | none; `messages` |
| g-set | add, read | `element`; none | none; `value` |
| g-counter, pn-counter | add, read | `delta`; none | none; `value` |
| lin-kv | read, write, cas | `key`; `key`, `value`; `key`, `from`, `to` | `value`; none; none |
| txn-list-append, txn-rw-register | txn | `txn` | `txn` |
| kafka | send | `key`, `msg` | `offset` |
| kafka | poll, commit_offsets | `offsets` | `msgs`; none |
| kafka | list_committed_offsets | `keys` | `offsets` |

The keys of a history are texts, and those of Maelstrom's requests are numbers where the text is one.
"""

from collections.abc import Callable
from typing import Any, Final

from harness.systems.maelstrom.protocol import Body
from harness.workloads.planned_call import PlannedCall
from node.contract import NodeId

#: The workloads of the table.
WORKLOADS: Final = (
    "lin-kv", "echo", "unique-ids", "broadcast", "g-set", "g-counter", "pn-counter",
    "txn-list-append", "txn-rw-register", "kafka",
)  # fmt: skip

#: The requests of each workload that change something, so that a fault at their answer may undo what was acknowledged.
CHANGES: Final = {
    "lin-kv": ("write", "cas"), "unique-ids": ("generate",), "broadcast": ("broadcast",), "g-set": ("add",),
    "g-counter": ("add",), "pn-counter": ("add",), "txn-list-append": ("txn",), "txn-rw-register": ("txn",), "kafka": ("send",),
}  # fmt: skip


class BadAnswer(ValueError):
    """An answer has not the form that the workload asks for. The message says what is wrong."""


def request_of(workload: str, call: PlannedCall) -> Body:
    """Return the body of a call's request, without its `msg_id`."""
    body: Body = {"type": call.f}
    match workload, call.f, call.value:
        case "echo", _, value:
            body["echo"] = value
        case "broadcast", "broadcast", value:
            body["message"] = value
        case "g-set", "add", value:
            body["element"] = value
        case "g-counter" | "pn-counter", "add", value:
            body["delta"] = value
        case "lin-kv", "write", value:
            body |= {"key": _key(call), "value": value}
        case "lin-kv", "cas", [old, new]:
            body |= {"key": _key(call), "from": old, "to": new}
        case "lin-kv", "read", _:
            body["key"] = _key(call)
        case "txn-list-append" | "txn-rw-register", "txn", value:
            body["txn"] = value
        case "kafka", "send", [key, value]:
            body |= {"key": key, "msg": value}
        case "kafka", "poll" | "commit_offsets", value:
            body["offsets"] = value
        case "kafka", "list_committed_offsets", value:
            body["keys"] = value
    return body


def answer_of(workload: str, call: PlannedCall, body: Body) -> Any:
    """Return the value that the history holds of an answer. Raises BadAnswer."""
    found = _ANSWERS.get((workload, call.f))
    if found is None:
        return None
    read, name = found
    return read(body, name)


def setup_of(workload: str, nodes: tuple[NodeId, ...]) -> list[Body]:
    """Return the bodies of the requests that each node gets after `init`, whenever it has started."""
    if workload != "broadcast":
        return []
    # As in Maelstrom by default: a grid, in which each node has neighbours to its left, to its right, above and below.
    width = max(round(len(nodes) ** 0.5), 1)
    places = {divmod(number, width): node for number, node in enumerate(nodes)}
    topology = {
        node: [
            places[near]
            for near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1))
            if near in places
        ]
        for (row, column), node in places.items()
    }
    return [{"type": "topology", "topology": topology}]


def _key(call: PlannedCall) -> int | str:
    return int(call.key) if call.key.isdecimal() else call.key


def _field(body: Body, name: str) -> Any:
    if name not in body:
        raise BadAnswer(f"{name} is missing")
    return body[name]


def _list(body: Body, name: str) -> list[Any]:
    found = _field(body, name)
    if found is None:  # some libraries write an empty list so
        return []
    if not isinstance(found, list):
        raise BadAnswer(f"{name} is {str(found)[:80]!r}, where a list is wanted")
    return found


def _number(body: Body, name: str) -> int:
    found = _field(body, name)
    if isinstance(found, float) and found.is_integer():
        return int(found)  # some languages have no other numbers
    if not isinstance(found, int) or isinstance(found, bool):
        raise BadAnswer(f"{name} is {str(found)[:80]!r}, where a whole number is wanted")
    return found


def _map(body: Body, name: str) -> dict[str, Any]:
    found = _field(body, name)
    if not isinstance(found, dict):
        raise BadAnswer(f"{name} is {str(found)[:80]!r}, where a map is wanted")
    return found


#: By workload and call: how the value is read, and the field that it stands in. Other answers have no value.
_ANSWERS: Final[dict[tuple[str, str], tuple[Callable[[Body, str], Any], str]]] = {
    ("echo", "echo"): (_field, "echo"),
    ("unique-ids", "generate"): (_field, "id"),
    ("broadcast", "read"): (_list, "messages"),
    ("g-set", "read"): (_list, "value"),
    ("g-counter", "read"): (_number, "value"),
    ("pn-counter", "read"): (_number, "value"),
    ("lin-kv", "read"): (_field, "value"),
    ("txn-list-append", "txn"): (_list, "txn"),
    ("txn-rw-register", "txn"): (_list, "txn"),
    ("kafka", "send"): (_number, "offset"),
    ("kafka", "poll"): (_map, "msgs"),
    ("kafka", "list_committed_offsets"): (_map, "offsets"),
}
