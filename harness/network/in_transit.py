"""A message between its arrival at the proxy and its fate.

The rule engine decides the fate (`rule_engine.py`), the switchboard carries it out (`switchboard.py`), and the recorder writes
it down (`harness/records/messages.py`).
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from harness.records.links import UNKNOWN_TYPE, Fate, Link
from node.wire import Envelope


@dataclass(slots=True, eq=False)
class InTransit:
    """A message that has arrived at the proxy, or a copy of one.

    Attributes:
        link: the link on which it arrived.
        payload: its bytes.
        envelope: the decoded message; None if it did not decode, or if no rule and no record needs it.
        route: the frames before the payload, which lead back to a client.
        index: the number of its first line in the record; None before it is recorded.
        original: the message of which this is a copy; None if it is no copy.
        delivered_as: the fate that it has when it is delivered.
        delivered_by: the id of the rule that stands beside that fate in the record; None for no rule.
    """

    link: Link
    payload: bytes
    envelope: Envelope | None = None
    route: tuple[bytes, ...] = ()
    index: int | None = None
    original: "InTransit | None" = None
    delivered_as: Fate = "passed"
    delivered_by: str | None = None

    @property
    def type(self) -> str:
        """The name of the message's type; "?" if it did not decode."""
        return UNKNOWN_TYPE if self.envelope is None else self.envelope.message.type_name()

    @property
    def variable(self) -> str | None:
        """The variable that the message concerns; None if it did not decode."""
        return None if self.envelope is None else self.envelope.variable

    def copy_by(self, rule: str) -> "InTransit":
        """Return a copy that the rule with this id makes."""
        return replace(self, original=self.original or self, delivered_as="duplicated", delivered_by=rule)


class Ruling(NamedTuple):
    """What happens to a message now."""

    message: InTransit
    fate: Fate
    rule: str | None
    """The id of the rule that decided; None if no rule did."""
