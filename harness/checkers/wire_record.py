"""The proxy's record of messages: what it proves about which node sent what, and in which order.

What the order of the lines proves
----------------------------------
The lines stand in the order in which the proxy read and forwarded messages. Different links are different connections, so of
two messages that a node sent over two links, the later may stand first. Two orders are certain:

1. A line about a message stands before every line that the delivery of this message causes. So a message that a node sends
   because of another stands after the line that delivered the other. And if a message is delivered below the line of a
   message that its receiver had sent, then the receiver had sent that before it received the delivered one.
2. Everything that one incarnation of a node sent, it sent before everything that a later incarnation sent.

What the record does not show
-----------------------------
A corrupted message stands in the record as its sender sent it; what its receiver read is unknown. A message that a node sends
to itself does not cross the wire. A link without any line may not be recorded at all. Rules that argue from a *missing*
message treat all of these as if any message could have travelled there (`hidden_from`), and skip a record that does not begin
with the cluster (`is_complete`). Values stand in the form that people read. So two different values may look the same, and two
equal values never look different.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.records.jsonable import wording
from harness.records.links import DELIVERED
from node.contract import NodeId
from node.quorum import NO_BALLOT, Ballot


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message as its sender sent it.

    Attributes:
        index: the line that records it.
        sender: the node that sent it.
        to: the node that it was sent to.
        type: the name of the message's type.
        variable: the variable that it concerns; "" for an algorithm that serves all variables.
        incarnation: the sender's incarnation.
        fields: the message's fields, in the form that people read.
        delivered: the lines that delivered it, in order.
    """

    index: int
    sender: NodeId
    to: NodeId
    type: str
    variable: str
    incarnation: int
    fields: Mapping[str, Any]
    delivered: tuple[int, ...]

    def ballot(self, field: str = "ballot") -> Ballot | None:
        """Return the ballot in a field; None if the field holds none."""
        return as_ballot(self.fields.get(field))

    def text(self, field: str = "value") -> str:
        """Return the value in a field as JSON text, which is equal for equal values."""
        return json.dumps(self.fields.get(field), sort_keys=True)


def as_ballot(data: object) -> Ballot | None:
    """Return the ballot that a record or a disk holds as a pair; None if `data` is not such a pair."""
    if (
        isinstance(data, list | tuple) and len(data) == 2
    ):  # no pattern, because this runs several times for each message
        round_, node = data
        if isinstance(round_, int) and isinstance(node, str):
            return Ballot(round_, node)
    return None


def ballot_of(sent: SentMessage) -> Ballot:
    """Return the ballot under which a message was sent; `NO_BALLOT` if the message has none."""
    return sent.ballot() or NO_BALLOT


@wording
def ballot_name(ballot: Ballot) -> str:
    """Return a ballot as text, such as "ballot 3 of n1"."""
    return f"ballot {ballot.round} of {ballot.node}"


@dataclass
class WireRecord:
    """The messages between the members of a cluster.

    Attributes:
        sent: every message, in the order of the record.
        is_complete: whether the record begins with the first incarnation of every sender.
        seen_links: the links with at least one line.
        corrupted_links: the links on which the proxy corrupted a message.
    """

    sent: list[SentMessage]
    is_complete: bool
    seen_links: frozenset[tuple[NodeId, NodeId]]
    corrupted_links: frozenset[tuple[NodeId, NodeId]]

    def by_variable(self) -> dict[str, list[SentMessage]]:
        """Return the messages of each variable, in the order of the record."""
        found: dict[str, list[SentMessage]] = {}
        for sent in self.sent:
            found.setdefault(sent.variable, []).append(sent)
        return found

    def hidden_from(self, node: NodeId, members: Sequence[NodeId]) -> tuple[NodeId, ...]:
        """Return the nodes that may have sent `node` a message that the record does not show. `node` itself is the first."""
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
    """Read the lines of a record, each a map as `messages.jsonl` holds it. Lines of clients are left out.

    Raises:
        KeyError: a line lacks a field of the format.
    """
    lines = [line for line in messages if line["from"] in members and line["to"] in members]
    delivered: dict[int, list[int]] = {}
    for line in lines:
        if line["fate"] in DELIVERED:
            delivered.setdefault(line.get("of", line["index"]), []).append(line["index"])
    sent = [
        SentMessage(
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
