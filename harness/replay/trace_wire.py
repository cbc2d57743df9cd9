"""What the proxy saw, for `harness.replay.trace_validation`: what each link took in and delivered, and how a node's
note is compared with it."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.records import messages
from harness.records.jsonable import BadFile
from harness.records.links import DELIVERED, Link
from harness.records.messages import readable_fields
from harness.replay.driver import canonical
from node.contract import Message

#: Types that nobody's algorithm has to do with.
_STATUS = ("StatusRequest", "StatusReply")


class Difference(NamedTuple):
    """What is not as it must be. `time` is the machine's monotonic clock, in nanoseconds; 0 for what has none."""

    time: int
    text: str


class Seen(NamedTuple):
    """A message as the proxy has recorded it: `what` says all of it, and `line` is its number in the record."""

    what: str
    time: int
    line: int
    corrupted: bool = False


def what_of(incarnation: int, variable: str, message: Message) -> str:
    """All of a message, as one text."""
    return _what(incarnation, variable, message.type_name(), readable_fields(message))


def _what(incarnation: int, variable: str, type_: str, fields: Mapping[str, Any]) -> str:
    return f"{type_} {canonical(fields)} of {variable!r} in life {incarnation}"


class Wire:
    """The proxy's record of one run."""

    def __init__(self, path: Path, differences: list[Difference], told: int | None = None) -> None:
        """Read it. `told` is how many lines it had when the run was judged, if that is known."""
        self.sent: dict[tuple[Link, int, str], list[Seen]] = defaultdict(list)
        """By link, incarnation and variable."""
        self.delivered: dict[Link, list[Seen]] = defaultdict(list)
        self.answers: dict[tuple[str, int], list[Seen]] = defaultdict(list)
        """By node and incarnation: what clients were told, an answer each, as `answer_of` has it."""
        expected = 0
        try:
            for line in messages.load(path):
                if line["index"] != expected:
                    differences.append(
                        Difference(0, f"the proxy's record has line {line['index']} where {expected} belongs")
                    )
                expected = line["index"] + 1
                if line["incarnation"] is not None and line["type"] not in _STATUS:
                    self._add(line)
            if told is not None and expected != told:
                differences.append(
                    Difference(0, f"the proxy's record has {expected} lines, and had {told} at the run's end")
                )
        except BadFile as error:
            differences.append(Difference(0, f"the proxy's record is damaged: {error}"))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            differences.append(Difference(0, f"the proxy's record, line {expected + 1}, is no message: {error!r}"))

    def _add(self, line: dict[str, Any]) -> None:
        link: Link = (line["from"], line["to"])
        incarnation, fields = line["incarnation"], line["fields"]
        what = _what(incarnation, line["variable"], line["type"], fields)
        seen = Seen(what, line["time"], line["index"], line["fate"] == "corrupted")
        if line["fate"] in DELIVERED:
            self.delivered[link].append(seen)
        if "of" in line:
            return
        answers = self.answers[link[0], incarnation]
        match line["type"]:
            case "Reply":
                told = answer_of(fields["number"], fields["value"], fields["refused"])
                answers.append(seen._replace(what=told))
            case "Replies":
                answers.extend(seen._replace(what=answer_of(*each)) for each in fields["replies"])
            case _:
                self.sent[link, incarnation, line["variable"]].append(seen)

    def has_heard(self, node: str) -> bool:
        """Whether anything has come from a node."""
        return any(link[0] == node for link, _, _ in self.sent) or any(name == node for name, _ in self.answers)


def answer_of(number: int, value: object, refused: object, leader: object = None) -> str:
    """What a client is told, as one text. `value` is readable."""
    return f"{number}: {'refused' if refused is not None else canonical([value, leader])}"


def stretch(received: list[str], delivered: list[Seen], begin: int) -> int | None:
    """Where the stretch ends that begins there and is what was received; None if it is not.

    What was corrupted on its way may have come as anything, or not at all.
    """
    ends = {begin}
    for what in received:
        after = set()
        for end in ends:
            at = end
            while at < len(delivered):
                if delivered[at].corrupted or delivered[at].what == what:
                    after.add(at + 1)
                if not delivered[at].corrupted:
                    break
                at += 1
        if not after:
            return None
        ends = after
    return max(ends)


def first_hole(received: list[str], delivered: list[Seen], begin: int) -> tuple[int, str]:
    """Where the two first differ, and what was received there."""
    for place, what in enumerate(received):
        if begin + place >= len(delivered) or delivered[begin + place].what != what:
            return begin + place, what
    return begin + len(received), "nothing more"
