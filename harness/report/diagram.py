"""What the space-time diagram draws, as data: the page's script (`assets/report.js`) draws the part that is in view.

Rules
-----
1. Data, never markup: the script puts every string into the page as text. In the page it stands in a JSON block in which
   no `<` is left, so no value can end the block.
2. Times are whole microseconds since the first event of the history. Strings that repeat stand in tables.
3. A message is stamped once, where the proxy took it in; a delivery or a loss that came later has a time of its own.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from harness.records.jsonable import canonical, shown
from harness.records.links import CLIENT
from harness.report.reading import DrawnCall, DrawnFault, DrawnMessage, RunFolder
from harness.report.thinning import thin

_HALF: Final = re.compile("[\ud800-\udfff]")
TEXT_MAX: Final = 400
BRIEF_MAX: Final = 26
OPERATIONS_MAX: Final = 10_000
#: Answers get a colour each while there are no more different ones than this.
COLOURED_MAX: Final = 12


class Table:
    """Strings that are named by their numbers."""

    def __init__(self, *first: str) -> None:
        self._numbers: dict[str, int] = {}
        for text in first:
            self.number(text)

    def number(self, text: str) -> int:
        """The number of a string."""
        return self._numbers.setdefault(text, len(self._numbers))

    @property
    def texts(self) -> list[str]:
        """The strings, by number."""
        return list(self._numbers)


def diagram_data(run: RunFolder) -> dict[str, Any]:
    """Everything that the script needs."""
    witnesses = run.witnesses()
    moments = [time for one in run.operations if one.index in witnesses for time in (one.began, one.ended)]
    moments += [time for fault in run.faults for time in (fault.began, fault.ended)]
    kept, left_out = thin(run.messages, [time for time in moments if time is not None])
    ends, types, texts, variables = Table(CLIENT, *run.nodes), Table(), Table(), Table()
    fates, rules = Table(), Table("")
    messages = [_message(one, ends, types, fates, variables, rules, texts) for one in kept]
    operations = kept_operations(run, witnesses)
    colours = answer_colours(run)
    first, last = run.span
    return {
        "span": [first // 1000, last // 1000 + 1],
        "nodes": list(run.nodes),
        "ends": ends.texts,
        "types": types.texts,
        "fates": fates.texts,
        "variables": variables.texts,
        "rules": rules.texts,
        "texts": texts.texts,
        "messages": messages,
        "leftOut": dict(left_out),
        "operations": [_operation(one, witnesses, colours) for one in operations],
        "operationsLeftOut": len(run.operations) - len(operations),
        "faults": [_fault(fault, run.nodes) for fault in run.faults],
    }


def as_json_block(data: object) -> str:
    """JSON that cannot end the element that it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    # Half of a character, which JSON can carry, is nothing that a browser could show: some end over it.
    return _HALF.sub("\ufffd", text)


def kept_operations(run: RunFolder, witnesses: Mapping[int, object]) -> list[DrawnCall]:
    """The operations that the page carries: the witnesses, and of the others as many as it can."""
    if len(run.operations) <= OPERATIONS_MAX:
        return run.operations
    step = -(-len(run.operations) // OPERATIONS_MAX)
    return [one for number, one in enumerate(run.operations) if one.index in witnesses or number % step == 0]


def answer_colours(run: RunFolder) -> dict[str, int]:
    """A number for each different answer, if there are few enough for colours to tell them apart; else for the witnesses'."""
    answers = [one for one in run.operations if one.outcome == "ok" and one.answer is not None]
    numbers = _numbered(answers)
    if len(numbers) > COLOURED_MAX:
        witnesses = run.witnesses()
        numbers = _numbered(one for one in answers if one.index in witnesses)
    return numbers if len(numbers) <= COLOURED_MAX else {}


def _numbered(answers: Iterable[DrawnCall]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for one in answers:
        numbers.setdefault(_same(one.answer), len(numbers))
        if len(numbers) > COLOURED_MAX:
            break
    return numbers


def _same(value: Any) -> str:
    try:
        return canonical(value)
    except TypeError:
        return repr(value)


def _message(
    one: DrawnMessage, ends: Table, types: Table, fates: Table, variables: Table, rules: Table, texts: Table
) -> list[Any]:
    fields = json.dumps(one.fields, ensure_ascii=False)
    row: list[Any] = [
        one.index,
        one.time // 1000,
        ends.number(one.sender),
        ends.number(one.receiver),
        types.number(one.type),
        fates.number(one.fate),
        variables.number(one.variable or ""),
        rules.number(one.rule or ""),
        texts.number(fields if len(fields) <= TEXT_MAX else f"{fields[: TEXT_MAX - 1]}…"),
        texts.number(brief(one)),
    ]
    if one.later:
        row.append([[time // 1000, fates.number(fate)] for time, fate in one.later])
    return row


def brief(one: DrawnMessage) -> str:
    """A message in a few characters: its type, its ballot and its value, if it has them."""
    words = [one.type]
    for name, item in one.fields.items():
        match item:
            case [int(round_), str(node)] if "ballot" in name or name == "promised":
                words.append(f"{round_}·{node}")
    if one.fields.get("value") is not None:
        words.append(shown(one.fields["value"], 14))
    text = " ".join(words)
    return text if len(text) <= BRIEF_MAX else f"{text[: BRIEF_MAX - 1]}…"


def _operation(one: DrawnCall, witnesses: Mapping[int, list[str]], colours: Mapping[str, int]) -> dict[str, Any]:
    return {
        "id": one.index,
        "process": one.process,
        "asked": asked(one),
        "answer": answered(one),
        "key": one.key,
        "at": one.asked_node or "any node",
        "by": one.node,
        "t0": one.began // 1000,
        "t1": None if one.ended is None else one.ended // 1000,
        "outcome": one.outcome,
        "error": one.error,
        "witness": witnesses.get(one.index, []),
        "colour": value_colour(one.answer, colours) if one.outcome == "ok" else None,
    }


#: Values that are colours, as in the article, are drawn in that colour.
NAMED_COLOURS: Final = ("blue", "red", "green", "yellow", "orange", "purple", "pink", "brown")


def value_colour(value: Any, colours: Mapping[str, int]) -> str | None:
    """The name of a value's colour in the style sheet: `v-blue`, or `v-3`."""
    if value is None or not colours:
        return None
    if isinstance(value, str) and value in NAMED_COLOURS:
        return f"v-{value}"
    number = colours.get(_same(value))
    return None if number is None else f"v-{number % 8}"


def asked(one: DrawnCall) -> str:
    """What a client asked: "propose 'blue'"."""
    return one.f if one.asked is None else f"{one.f} {shown(one.asked)}"


def answered(one: DrawnCall) -> str:
    """What it was told."""
    match one.outcome:
        case "ok":
            return "undecided" if one.answer is None and one.f in ("propose", "query") else shown(one.answer)
        case "fail":
            return "refused"
        case _:
            return "no answer"


def _fault(fault: DrawnFault, nodes: Sequence[str]) -> dict[str, Any]:
    return {
        "name": fault.name,
        "t0": fault.began // 1000,
        "t1": None if fault.ended is None else fault.ended // 1000,
        "bit": fault.bit,
        "nodes": list(fault.nodes),
        "groups": sides(fault, nodes),
        "what": what_is_broken(fault, nodes),
    }


def sides(fault: DrawnFault, nodes: Sequence[str]) -> list[list[str]]:
    """The groups into which its cuts divide the nodes; none if everybody can still reach everybody in some way."""
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
    """Whom a fault is about, for people: "n1, n2 | n3, n4, n5", or the links."""
    if fault.nodes:
        return ", ".join(fault.nodes)
    groups = sides(fault, nodes)
    if groups:
        return " | ".join(", ".join(group) for group in groups)
    links = fault.cut or fault.disturbed
    if len(links) == len(nodes) * (len(nodes) - 1):
        return "every link between nodes"
    return ", ".join(f"{a}→{b}" for a, b in links[:8]) + (f" and {len(links) - 8} more" if len(links) > 8 else "")
