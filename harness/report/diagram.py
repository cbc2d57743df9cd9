"""A run as the data that the page's script draws: the space-time diagram, and the picture of the nodes at any moment.

Rules
-----
1. This module makes data, never markup: the script puts every string into the page as text. In the page, the data stands in a
   JSON block without any `<`, so that no value can end the block.
2. Times are whole microseconds since the first event of the history. Strings that repeat stand in tables.
3. A message has one time, at which it arrived at the proxy. A later delivery or loss has a time of its own.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from harness.records.jsonable import shown
from harness.records.links import CLIENT
from harness.report.changes import NodeChange, changes, text_of
from harness.report.drawn_run import DrawnCall, DrawnFault, DrawnMessage, RunFolder
from harness.report.thinning import thin

if TYPE_CHECKING:
    from harness.report.predicates import Predicate

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
#: The longest text of a message's fields, in characters.
TEXT_MAX: Final = 400
#: The longest label of a message, in characters.
LABEL_MAX: Final = 26
#: How many calls the page carries at most, beside the witnesses.
OPERATIONS_MAX: Final = 10_000
#: Up to this number of different answers, each has a colour of its own.
COLOURED_MAX: Final = 12


class StringTable:
    """A table of strings. The data refers to a string by its number."""

    def __init__(self, *first: str) -> None:
        self._numbers: dict[str, int] = {}
        for text in first:
            self.number(text)

    def number(self, text: str) -> int:
        """Return the number of a string, which is new if the table lacks it."""
        return self._numbers.setdefault(text, len(self._numbers))

    @property
    def texts(self) -> list[str]:
        """The strings, in the order of their numbers."""
        return list(self._numbers)


class _Tables:
    """The tables of a run's strings. The script expects that number 0 of `ends` is the clients."""

    def __init__(self, nodes: Sequence[str]) -> None:
        self.ends = StringTable(CLIENT, *nodes)
        self.types, self.texts, self.variables = StringTable(), StringTable(), StringTable()
        self.fates, self.rules = StringTable(), StringTable("")


def diagram_data(run: RunFolder) -> dict[str, Any]:
    """Return all data that the script needs, ready for JSON."""
    from harness.report.predicates import predicates  # noqa: PLC0415 - it needs the judges, and the texts below do not

    witnesses = run.witnesses
    moments = [time for call in run.operations if call.index in witnesses for time in (call.began, call.ended)]
    moments += [time for fault in run.faults for time in (fault.began, fault.ended)]
    kept, left_out = thin(run.messages, [time for time in moments if time is not None])
    tables = _Tables(run.nodes)
    messages = [_message(message, tables) for message in kept]
    every_change = changes(run)
    found = predicates(run, every_change)
    operations = kept_operations(run, witnesses)
    colours = answer_colours(run)
    all_colours = _with_held_values(colours, every_change)
    classes = StringTable()
    first, last = run.span
    return {
        "span": [first // 1000, last // 1000 + 1],
        "nodes": list(run.nodes),
        "ends": tables.ends.texts,
        "types": tables.types.texts,
        "fates": tables.fates.texts,
        "rules": tables.rules.texts,
        "messages": messages,
        "leftOut": dict(left_out),
        "operations": [_operation(call, witnesses, colours) for call in operations],
        "operationsLeftOut": len(run.operations) - len(operations),
        "faults": [_fault(fault, run.nodes, tables.ends) for fault in run.faults],
        "changes": [_change(change, run.nodes, tables, classes, all_colours) for change in every_change],
        "colours": classes.texts,
        "variables": tables.variables.texts,
        "texts": tables.texts.texts,  # these tables grow with the changes above
        "holdsWord": "voted" if any(message.type == "Vote" for message in run.messages) else "accepted",
        "legend": _legend(every_change, all_colours),
        "predicates": [_predicate(one) for one in found],
        "start": _first_shown(run, every_change, found) // 1000,
    }


def as_json_block(data: object) -> str:
    """Return data as JSON text that cannot end the element in which it stands."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    # JSON can carry half of a surrogate pair, and a browser cannot show it: some stop at it.
    return _SURROGATE.sub("\ufffd", text)


def kept_operations(run: RunFolder, witnesses: Mapping[int, object]) -> list[DrawnCall]:
    """Return the calls that the page carries: all witnesses, and an even selection of the others."""
    if len(run.operations) <= OPERATIONS_MAX:
        return run.operations
    step = -(-len(run.operations) // OPERATIONS_MAX)
    return [call for number, call in enumerate(run.operations) if call.index in witnesses or number % step == 0]


def answer_colours(run: RunFolder) -> dict[str, int]:
    """Return a number for each different answer.

    If there are too many for colours, only the answers of witnesses have a number. If those are too many too, no answer has one.
    """
    answers = [call for call in run.operations if call.outcome == "ok" and call.answer is not None]
    numbers = _numbered(answers)
    if len(numbers) > COLOURED_MAX:
        numbers = _numbered(call for call in answers if call.index in run.witnesses)
    return numbers if len(numbers) <= COLOURED_MAX else {}


def _numbered(answers: Iterable[DrawnCall]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for call in answers:
        numbers.setdefault(text_of(call.answer), len(numbers))
        if len(numbers) > COLOURED_MAX:
            break
    return numbers


def _with_held_values(colours: Mapping[str, int], every_change: Iterable[NodeChange]) -> dict[str, int]:
    """Return the colours of answers, and further ones for what nodes hold, as long as there are enough."""
    numbers = dict(colours)
    for change in every_change:
        if change.field in ("holds", "decided") and len(numbers) < COLOURED_MAX:
            numbers.setdefault(text_of(change.value), len(numbers))
    return numbers


def _message(message: DrawnMessage, tables: _Tables) -> list[Any]:
    fields = "; ".join(f"{name} {_field_text(item)}" for name, item in message.fields.items())
    row: list[Any] = [
        message.index,
        message.time // 1000,
        tables.ends.number(message.sender),
        tables.ends.number(message.receiver),
        tables.types.number(message.type),
        tables.fates.number(message.fate),
        tables.variables.number(message.variable or ""),
        tables.rules.number(message.rule or ""),
        tables.texts.number(fields if len(fields) <= TEXT_MAX else f"{fields[: TEXT_MAX - 1]}…"),
        tables.texts.number(message_label(message)),
    ]
    if message.later:
        row.append([[time // 1000, tables.fates.number(fate)] for time, fate in message.later])
    return row


def _field_text(item: Any) -> str:
    """Return a field of a message for people: a ballot as `2·n1`, a value as in all other texts."""
    match item:
        case [int(round_), str(node)]:
            return f"{round_}·{node}"
        case None:
            return "none"
    return shown(item, TEXT_MAX)


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


def _operation(call: DrawnCall, witnesses: Mapping[int, list[str]], colours: Mapping[str, int]) -> dict[str, Any]:
    return {
        "id": call.index,
        "process": call.process,
        "asked": call_text(call),
        "answer": answer_text(call),
        "key": call.key,
        "at": call.asked_node or "any node",
        "by": call.node,
        "t0": call.began // 1000,
        "t1": None if call.ended is None else call.ended // 1000,
        "outcome": call.outcome,
        "error": call.error,
        "witness": witnesses.get(call.index, []),
        "colour": value_colour(call.answer, colours) if call.outcome == "ok" else None,
    }


#: A value with one of these names, as in the article, has that colour.
NAMED_COLOURS: Final = ("blue", "red", "green", "yellow", "orange", "purple", "pink", "brown")


def value_colour(value: Any, colours: Mapping[str, int]) -> str | None:
    """Return the class of a value's colour in the style sheet, such as `v-blue` or `v-3`; None for no colour."""
    if value is None or not colours:
        return None
    if isinstance(value, str) and value in NAMED_COLOURS:
        return f"v-{value}"
    number = colours.get(text_of(value))
    return None if number is None else f"v-{number % 8}"


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


def _fault(fault: DrawnFault, nodes: Sequence[str], ends: StringTable) -> dict[str, Any]:
    return {
        "name": fault.name,
        "t0": fault.began // 1000,
        "t1": None if fault.ended is None else fault.ended // 1000,
        "bit": fault.bit,
        "nodes": list(fault.nodes),
        "mark": fault.mark,
        "groups": sides(fault, nodes),
        "what": what_is_broken(fault, nodes),
        "cut": [[ends.number(a), ends.number(b)] for a, b in fault.cut],
        "disturbed": [[ends.number(a), ends.number(b)] for a, b in fault.disturbed],
    }


def _change(
    change: NodeChange, nodes: Sequence[str], tables: _Tables, classes: StringTable, colours: Mapping[str, int]
) -> list[Any]:
    is_value = change.field in ("holds", "decided")
    text = shown(change.value, LABEL_MAX) if is_value else str(change.value)
    colour = value_colour(change.value, colours) if is_value else None
    return [
        change.time // 1000,
        list(nodes).index(change.node),
        tables.variables.number(change.variable) if change.variable else -1,
        change.field,
        tables.texts.number(text),
        -1 if colour is None else classes.number(colour),
    ]


def _legend(every_change: Iterable[NodeChange], colours: Mapping[str, int]) -> list[list[str]]:
    """Return each value that has a colour, with its class, in the order in which they appear."""
    found: dict[str, list[str]] = {}
    for change in every_change:
        colour = value_colour(change.value, colours) if change.field in ("holds", "decided") else None
        if colour is not None:
            found.setdefault(text_of(change.value), [shown(change.value, LABEL_MAX), colour])
    return list(found.values())


def _predicate(one: "Predicate") -> dict[str, Any]:
    return {
        "name": one.name,
        "about": one.about,
        "t": None if one.broken is None else one.broken // 1000,
        "evidence": one.evidence,
        "message": one.message,
        "operation": one.operation,
    }


def _first_shown(run: RunFolder, every_change: Sequence[NodeChange], found: "Iterable[Predicate]") -> int:
    """Return the moment that the page shows first, in nanoseconds.

    It is the step that breaks a predicate, or the end of the first call that the evidence names, or the first decision, or the
    end.
    """
    broken = [one.broken for one in found if one.broken is not None]
    witnesses = [call for call in run.operations if call.index in run.witnesses]
    ends = [call.ended - 1000 for call in witnesses if call.ended is not None]
    decisions = [change.time for change in every_change if change.field == "decided"]
    return min(broken or ends or decisions[:1] or [run.span.last])


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
