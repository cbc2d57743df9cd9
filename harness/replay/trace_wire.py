"""The proxy's record of a run, arranged for trace validation: what each link took in and delivered."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.records import messages
from harness.records.jsonable import BadFile
from harness.records.links import DELIVERED, Link
from harness.records.messages import readable_fields
from harness.replay.driver import canonical_json
from node.contract import Message

#: Messages that no algorithm sends or receives.
_STATUS = ("StatusRequest", "StatusReply")


class Difference(NamedTuple):
    """A difference between a run and the pure classes. `time` is of the monotonic clock, in nanoseconds; 0 if there is none."""

    time: int
    text: str


class RecordedMessage(NamedTuple):
    """A message in the proxy's record. `text` has all of its fields; `time` is in nanoseconds; `line` is its index."""

    text: str
    time: int
    line: int
    corrupted: bool = False


def text_of(incarnation: int, variable: str, message: Message) -> str:
    """Return a text that is equal for messages of equal type, fields, variable and incarnation."""
    return _text(incarnation, variable, message.type_name(), readable_fields(message))


def _text(incarnation: int, variable: str, type_: str, fields: Mapping[str, Any]) -> str:
    return f"{type_} {canonical_json(fields)} of {variable!r} in life {incarnation}"


class Wire:
    """The proxy's record of one run."""

    def __init__(self, path: Path, differences: list[Difference], lines_expected: int | None = None) -> None:
        """Read the record.

        Args:
            path: its file.
            differences: gets what is wrong with the record itself.
            lines_expected: how many lines the record had when the run was judged, if that is known.
        """
        self.sent: dict[tuple[Link, int, str], list[RecordedMessage]] = defaultdict(list)
        """What nodes sent each other, by link, incarnation and variable."""
        self.delivered: dict[Link, list[RecordedMessage]] = defaultdict(list)
        self.replies: dict[tuple[str, int], list[RecordedMessage]] = defaultdict(list)
        """The replies to clients, by node and incarnation. Their texts are those of `reply_text`."""
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
            if lines_expected is not None and expected != lines_expected:
                differences.append(
                    Difference(0, f"the proxy's record has {expected} lines, and had {lines_expected} at the run's end")
                )
        except BadFile as error:
            differences.append(Difference(0, f"the proxy's record is damaged: {error}"))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            differences.append(Difference(0, f"the proxy's record, line {expected + 1}, is no message: {error!r}"))

    def _add(self, line: dict[str, Any]) -> None:
        link: Link = (line["from"], line["to"])
        incarnation, fields = line["incarnation"], line["fields"]
        text = _text(incarnation, line["variable"], line["type"], fields)
        recorded = RecordedMessage(text, line["time"], line["index"], line["fate"] == "corrupted")
        if line["fate"] in DELIVERED:
            self.delivered[link].append(recorded)
        if "of" in line:
            return
        replies = self.replies[link[0], incarnation]
        match line["type"]:
            case "Reply":
                reply = reply_text(fields["number"], fields["value"], fields["refused"])
                replies.append(recorded._replace(text=reply))
            case "Replies":
                replies.extend(recorded._replace(text=reply_text(*each)) for each in fields["replies"])
            case _:
                self.sent[link, incarnation, line["variable"]].append(recorded)

    def has_sent(self, node: str) -> bool:
        """Return whether the record has any message from a node."""
        return any(link[0] == node for link, _, _ in self.sent) or any(name == node for name, _ in self.replies)


def reply_text(number: int, value: object, refused: object, leader: object = None) -> str:
    """Return a text that is equal for equal replies. `value` is decoded, as `readable_fields` does it."""
    return f"{number}: {'refused' if refused is not None else canonical_json([value, leader])}"


def end_of_stretch(received: list[str], delivered: list[RecordedMessage], begin: int) -> int | None:
    """Return where the stretch of `delivered` ends that begins at `begin` and equals `received`.

    A message that was corrupted on its way may have arrived as any message, or not at all.

    Returns:
        The index after the stretch, the greatest if there are several; None if no stretch equals `received`.
    """
    ends = {begin}
    for text in received:
        after = set()
        for end in ends:
            at = end
            while at < len(delivered):
                if delivered[at].corrupted or delivered[at].text == text:
                    after.add(at + 1)
                if not delivered[at].corrupted:
                    break
                at += 1
        if not after:
            return None
        ends = after
    return max(ends)


class FirstDifference(NamedTuple):
    """Where `received` and `delivered` first differ: the index in `delivered`, and what was received there."""

    place: int
    text: str


def first_difference(received: list[str], delivered: list[RecordedMessage], begin: int) -> FirstDifference:
    """Return where `received` and the part of `delivered` from `begin` on first differ."""
    for place, text in enumerate(received):
        if begin + place >= len(delivered) or delivered[begin + place].text != text:
            return FirstDifference(begin + place, text)
    return FirstDifference(begin + len(received), "nothing more")
