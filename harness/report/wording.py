"""What people read of a call, a message and a fault: the same words on every page, in tables and in exports."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from harness.records.jsonable import shown
from harness.report.drawn_run import DrawnCall, DrawnFault, DrawnMessage

#: The longest text of a message's fields, in characters.
TEXT_MAX: Final = 400
#: The longest label of a message, in characters.
LABEL_MAX: Final = 26


def call_text(call: DrawnCall) -> str:
    """Return what a client called, such as "propose 'blue'"."""
    return call.f if call.value is None else f"{call.f} {shown(call.value)}"


def answer_text(call: DrawnCall) -> str:
    """Return what the client received: a value, "undecided", "refused" or "no answer"."""
    match call.outcome:
        case "ok":
            return "undecided" if call.answer is None and call.f in ("propose", "query") else shown(call.answer)
        case "fail":
            return "refused"
        case _:
            return "no answer"


def message_label(message: DrawnMessage) -> str:
    """Return a short label of a message: its type, and its ballot and value if it has them."""
    parts = [message.type]
    for name, item in message.fields.items():
        match item:
            case [int(round_), str(node)] if "ballot" in name or name == "promised":
                parts.append(f"{round_}·{node}")
    if message.fields.get("value") is not None:
        parts.append(shown(message.fields["value"], 14))
    text = " ".join(parts)
    return text if len(text) <= LABEL_MAX else f"{text[: LABEL_MAX - 1]}…"


def fields_text(fields: Mapping[str, Any]) -> str:
    """Return the fields of a message for people."""
    return "; ".join(f"{name} {_field_text(item)}" for name, item in fields.items())


def _field_text(item: Any) -> str:
    """Return a field of a message for people: a ballot as `2·n1`, a value as in all other texts."""
    match item:
        case [int(round_), str(node)]:
            return f"{round_}·{node}"
        case None:
            return "none"
    return shown(item, TEXT_MAX)


def what_is_broken(fault: DrawnFault, nodes: Sequence[str]) -> str:
    """Return what a fault affects, for people: nodes, groups such as "n1, n2 | n3, n4, n5", or links."""
    if fault.nodes:
        return ", ".join(fault.nodes)
    groups = sides(fault, nodes)
    if groups:
        return " | ".join(", ".join(group) for group in groups)
    links = fault.cut or fault.disturbed
    if len(links) == len(nodes) * (len(nodes) - 1):
        return "every link between nodes"
    return ", ".join(f"{a}→{b}" for a, b in links[:8]) + (f" and {len(links) - 8} more" if len(links) > 8 else "")


def sides(fault: DrawnFault, nodes: Sequence[str]) -> list[list[str]]:
    """Return the groups into which a fault's cuts divide the nodes.

    There are none if every node can still reach every other node, directly or through others.
    """
    cut = set(fault.cut)
    groups: list[list[str]] = []
    left = list(nodes)
    while left and cut:
        group = [left.pop(0)]
        for member in group:
            joined = [node for node in left if not {(member, node), (node, member)} & cut]
            group += joined
            left = [node for node in left if node not in joined]
        groups.append(sorted(group, key=list(nodes).index))
    return groups if len(groups) > 1 else []
