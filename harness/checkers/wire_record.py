"""The proxy's record of messages, read for what it proves about who sent what, in which order.

What the order of the lines proves
----------------------------------
The lines stand in the order in which the proxy read and forwarded messages. Different links are different connections, so
of two messages that a node sent over two links the later may stand first. Two orders are certain:

1. A line about a message precedes whatever its delivery causes. So what is sent because of a message stands after the
   line that delivered it, and if a message was delivered by a line below that of what its receiver had sent, then the
   receiver had sent that before it got the message.
2. All that one incarnation of a node sent, it sent before all that a later one sent.

What the record does not show
-----------------------------
A corrupted message stands in the record as it was sent, and nobody can say what its receiver read. What a node sends
itself is not on the wire. A link without a single line may not be recorded at all. The rules that argue from what is
*missing* count all of these as if anything could have travelled there (`hidden_from`), and are skipped if the record does
not begin with the cluster (`is_complete`). Values stand as people read them, so two different ones may look the same, and
never the other way round.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.records.links import DELIVERED
from node.contract import NodeId
from node.quorum import Ballot


@dataclass(frozen=True, slots=True)
class Sent:
    """A message as its sender sent it. `delivered` are the lines that forwarded it."""

    index: int
    sender: NodeId
    to: NodeId
    type: str
    variable: str
    incarnation: int
    fields: Mapping[str, Any]
    delivered: tuple[int, ...]

    def ballot(self, field: str = "ballot") -> Ballot | None:
        """A field that holds a ballot."""
        return as_ballot(self.fields.get(field))

    def text(self, field: str = "value") -> str:
        """A value as text that equal values share: see `harness.records.jsonable.canonical`."""
        return json.dumps(self.fields.get(field), sort_keys=True)


def as_ballot(data: object) -> Ballot | None:
    """A ballot as it stands in a record or on a disk."""
    match data:
        case [int(round_), str(node)]:
            return Ballot(round_, node)
    return None


@dataclass
class WireRecord:
    """The messages between members."""

    sent: list[Sent]
    is_complete: bool
    seen_links: frozenset[tuple[NodeId, NodeId]]
    corrupted_links: frozenset[tuple[NodeId, NodeId]]

    def by_variable(self) -> dict[str, list[Sent]]:
        """The messages of each variable, in order."""
        found: dict[str, list[Sent]] = {}
        for sent in self.sent:
            found.setdefault(sent.variable, []).append(sent)
        return found

    def hidden_from(self, node: NodeId, members: Sequence[NodeId]) -> tuple[NodeId, ...]:
        """Who may have told `node` something that the record does not show; `node` itself is the first."""
        return (
            node,
            *(
                peer
                for peer in members
                if peer != node
                and ((peer, node) in self.corrupted_links or not {(peer, node), (node, peer)} & self.seen_links)
            ),
        )


def read_record(messages: Iterable[Mapping[str, Any]], members: Sequence[NodeId]) -> WireRecord:
    """Put together what the lines say.

    Raises:
        KeyError: a line lacks a field of the format.
    """
    lines = [line for line in messages if line["from"] in members and line["to"] in members]
    delivered: dict[int, list[int]] = {}
    for line in lines:
        if line["fate"] in DELIVERED:
            delivered.setdefault(line.get("of", line["index"]), []).append(line["index"])
    sent = [
        Sent(
            line["index"],
            line["from"],
            line["to"],
            line["type"],
            line["variable"],
            line["incarnation"],
            line["fields"],
            tuple(delivered.get(line["index"], ())),
        )
        for line in lines
        if "of" not in line and line["incarnation"] is not None
    ]
    first: dict[NodeId, int] = {}
    for message in sent:
        first[message.sender] = min(message.incarnation, first.get(message.sender, message.incarnation))
    return WireRecord(
        sent,
        is_complete=all(incarnation == 1 for incarnation in first.values()),
        seen_links=frozenset((line["from"], line["to"]) for line in lines),
        corrupted_links=frozenset((line["from"], line["to"]) for line in lines if line["fate"] == "corrupted"),
    )
