"""Link rules as plain data: what happens to messages between their sender and their receiver.

A rule is an action, the messages that it is for, and how often it acts. `rule_engine.py` decides a message's fate when several
rules match it.

Which messages a rule is for
----------------------------
A link is a directed pair of endpoints: node names, or "client" for all clients. So one direction is one pair, and both
directions are two. A rule may be limited to message types and to variables. None means any.

How often a rule acts
---------------------
`probability` is drawn for every message. `times` limits how often the rule acts in all ("the next 3"). A rule that has acted
that often still matches messages and counts them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, TypeAlias

from cluster.errors import Mistake
from harness.records.links import Link
from node.contract import BadInput

#: How many copies one duplication may make.
COPIES_MAX: Final = 100
#: The longest delay, in seconds.
SECONDS_MAX: Final = 3600.0


class BadRule(Mistake, BadInput):
    """The caller asked for a rule that is not possible. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Pass:
    """Only counts the message."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Loses every message, including one that was kept before the cut and would leave now."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Loses the message."""


@dataclass(frozen=True, slots=True)
class Burst:
    """Loses messages in bursts (Gilbert 1960): a share `loss` of them in the long run, `length` in a row on average."""

    loss: float
    length: float

    def __post_init__(self) -> None:
        if not 0 < self.loss < 1 or self.length < 1:
            raise BadRule(
                f"loss is {self.loss} and length {self.length}; a burst loses more than 0, less than 1, and 1 or more"
            )


@dataclass(frozen=True, slots=True)
class Hold:
    """Keeps the message until it is released or discarded.

    In a stream of bytes, a rule for the type "byte" or "connection" lets the first `after` of them pass.
    """

    after: int = 0


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Sends `copies` further copies of the message."""

    copies: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.copies <= COPIES_MAX:
            raise BadRule(f"copies is {self.copies}, and must be 1 to {COPIES_MAX}")


@dataclass(frozen=True, slots=True)
class Corrupt:
    """Flips bits of one byte: the byte at `position` (negative counts from the end), or any byte if it is None.

    Every frame ends in a checksum, so the receiver drops the message and counts it as malformed. Corruption is a loss.
    """

    position: int | None = None


@dataclass(frozen=True, slots=True)
class Reorder:
    """Keeps a message until `window` other messages have passed on its link, or `most_s` seconds are over.

    It keeps one message of a link at a time: if it kept every message, none could pass.
    """

    window: int = 1
    most_s: float = 1.0

    def __post_init__(self) -> None:
        if self.window < 1:
            raise BadRule(f"window is {self.window}, and at least 1 other message must pass for the order to change")
        _check_seconds("most_s", self.most_s)


@dataclass(frozen=True, slots=True)
class Delay:
    """Keeps a message for `seconds` and up to `jitter_s` seconds more, drawn uniformly. Jitter can change the order."""

    seconds: float
    jitter_s: float = 0.0

    def __post_init__(self) -> None:
        _check_seconds("seconds", self.seconds)
        _check_seconds("jitter_s", self.jitter_s)


def _check_seconds(name: str, seconds: float) -> None:
    if not 0 <= seconds <= SECONDS_MAX:
        raise BadRule(f"{name} is {seconds}, and must be 0 to {SECONDS_MAX:.0f} seconds")


# --- what only a stream of bytes can suffer: see `stream_rules.py` ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reset:
    """Resets every connection that uses the link, and each new one at once, like a firewall that rejects."""


@dataclass(frozen=True, slots=True)
class HalfOpen:
    """Keeps the end of a connection from the other side, as if its machine had lost power: it looks alive.

    A new connection waits, instead of being refused.
    """


@dataclass(frozen=True, slots=True)
class SlowClose:
    """Tells the other side of the end of a connection `seconds` later."""

    seconds: float

    def __post_init__(self) -> None:
        _check_seconds("seconds", self.seconds)


@dataclass(frozen=True, slots=True)
class Pause:
    """Lets a stream stand still for `seconds` after each `every_bytes` bytes, also in the middle of a message."""

    every_bytes: int
    seconds: float

    def __post_init__(self) -> None:
        _check_seconds("seconds", self.seconds)
        if self.every_bytes < 1:
            raise BadRule(f"every_bytes is {self.every_bytes}, and must be 1 or more")


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Lets through at most `bytes_per_s` bytes a second, of all connections of the link together."""

    bytes_per_s: int

    def __post_init__(self) -> None:
        if self.bytes_per_s < 1:
            raise BadRule(f"bytes_per_s is {self.bytes_per_s}, and must be 1 or more")


MessageAction: TypeAlias = Pass | Cut | Drop | Burst | Hold | Duplicate | Corrupt | Reorder | Delay
StreamAction: TypeAlias = Reset | HalfOpen | SlowClose | Pause | Bandwidth
Action: TypeAlias = MessageAction | StreamAction

#: The kinds of actions on messages, in the order in which the rule engine applies the rules of a link.
ACTIONS: Final[tuple[type[MessageAction], ...]] = (Pass, Cut, Drop, Burst, Hold, Duplicate, Corrupt, Reorder, Delay)
#: The kinds that are for streams alone. A stream has no messages to repeat or to reorder; it takes all other kinds.
STREAM_ACTIONS: Final[tuple[type[StreamAction], ...]] = (Reset, HalfOpen, SlowClose, Pause, Bandwidth)
_ACTION_BY_NAME: Final[dict[str, type[Action]]] = {
    action.__name__.lower(): action for action in (*ACTIONS, *STREAM_ACTIONS)
}


@dataclass(frozen=True, slots=True)
class Rule:
    """An action, the messages that it is for, and how often it acts.

    Attributes:
        id: the rule's name, which the record shows beside a fate.
        action: what the rule does to a message.
        links: the links whose messages match; None for all links.
        types: the message types that match; None for all types.
        variables: the variables whose messages match; None for all variables.
        probability: the chance that the rule acts on a message that matches, from 0 to 1.
        times: how often the rule acts in all; None for no limit.

    Raises:
        BadRule: an attribute is out of its range, or no message could match.
    """

    id: str
    action: Action
    links: frozenset[Link] | None = None
    types: frozenset[str] | None = None
    variables: frozenset[str] | None = None
    probability: float = 1.0
    times: int | None = None

    def __post_init__(self) -> None:
        if not self.id:
            raise BadRule("a rule needs a name, so that it can be found")
        if not 0 <= self.probability <= 1:
            raise BadRule(f"{self.id}: the probability is {self.probability}, and must be between 0 and 1")
        if self.times is not None and self.times < 1:
            raise BadRule(f"{self.id}: times is {self.times}, and must be at least 1; leave it out for no limit")
        for name in ("links", "types", "variables"):
            if getattr(self, name) == frozenset():
                raise BadRule(f"{self.id}: {name} is empty, so no message can match; leave it out to match all")
        if isinstance(self.action, Cut) and (self.probability < 1 or self.times is not None):
            raise BadRule(f"{self.id}: a cut loses every message; use drop to lose some of them")

    def covers(self, link: Link) -> bool:
        """Return whether messages on this link can match."""
        return self.links is None or link in self.links

    def takes(self, type_: str, variable: str | None) -> bool:
        """Return whether a message of this type and variable matches. The caller has checked the link."""
        return (self.types is None or type_ in self.types) and (self.variables is None or variable in self.variables)

    @property
    def kind(self) -> str:
        """The name of the action, in lower case."""
        return type(self.action).__name__.lower()

    def to_plain(self) -> dict[str, Any]:
        """Return the rule as data for JSON or msgpack, with sets as sorted lists."""
        return {
            "id": self.id,
            "action": self.kind,
            **asdict(self.action),
            "links": None if self.links is None else [list(link) for link in sorted(self.links)],
            "types": None if self.types is None else sorted(self.types),
            "variables": None if self.variables is None else sorted(self.variables),
            "probability": self.probability,
            "times": self.times,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Rule":
        """Return the rule of which `to_plain` made this data.

        Raises:
            BadRule: the data is no rule; the message says why.
        """
        given = dict(plain)
        action = _ACTION_BY_NAME.get(given.pop("action", ""))
        if action is None:
            raise BadRule(f"the action is {plain.get('action')!r}, and must be one of {', '.join(_ACTION_BY_NAME)}")
        own = {field.name: given.pop(field.name) for field in fields(action) if field.name in given}
        try:
            links = given.pop("links", None)
            if links is not None:
                links = frozenset((sender, receiver) for sender, receiver in links)
            for name in ("types", "variables"):
                if given.get(name) is not None:
                    given[name] = frozenset(given[name])
            return cls(action=action(**own), links=links, **given)
        except BadRule:
            raise
        except (TypeError, ValueError) as error:
            raise BadRule(f"not a rule: {error}. The data was {dict(plain)!r}") from None
