"""What may happen to messages on their way: link rules, as plain data.

A rule is an action, the messages that it is for, and how often it acts. It says nothing about how a message's fate is
decided when there are several rules; `harness.network.rule_engine` does.

Who a rule is for
-----------------
A link is a directed pair of endpoints: node names, or "client" for every client. So one way is one pair, both ways are
two. A rule may be narrowed to message types and to variables; None means any.

How often it acts
-----------------
`probability` is drawn for every message; `times` is how often the rule acts at all ("the next 3"). A rule that has used
them up still matches and counts.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, TypeAlias

from cluster.errors import Mistake
from harness.records.links import Link
from node.contract import BadInput

COPIES_MAX: Final = 100
SECONDS_MAX: Final = 3600.0


class BadRule(Mistake, BadInput):
    """You asked for a rule that cannot be. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Pass:
    """Does nothing but count."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Loses everything, also what was kept before the cut and would leave now."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Loses the message."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Keeps the message until it is released or discarded."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Sends `copies` more of the message."""

    copies: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.copies <= COPIES_MAX:
            raise BadRule(f"copies is {self.copies}, and 1 to {COPIES_MAX} can be sent")


@dataclass(frozen=True, slots=True)
class Corrupt:
    """Flips bits of one byte: the one at `position`, counted as Python does, or any.

    Every frame of ours ends in a checksum that finds this, so it is dropped and counted as malformed, which is a loss.
    """

    position: int | None = None


@dataclass(frozen=True, slots=True)
class Reorder:
    """Keeps a message until `window` others have passed on its link, or `most_s` seconds are over.

    It keeps one message of a link at a time: if it kept every one, none could pass.
    """

    window: int = 1
    most_s: float = 1.0

    def __post_init__(self) -> None:
        if self.window < 1:
            raise BadRule(f"window is {self.window}: at least 1 other message must pass for an order to change")
        _check_seconds("most_s", self.most_s)


@dataclass(frozen=True, slots=True)
class Delay:
    """Keeps a message for `seconds`, and up to `jitter_s` more, drawn evenly. Jitter can change the order."""

    seconds: float
    jitter_s: float = 0.0

    def __post_init__(self) -> None:
        _check_seconds("seconds", self.seconds)
        _check_seconds("jitter_s", self.jitter_s)


def _check_seconds(name: str, seconds: float) -> None:
    if not 0 <= seconds <= SECONDS_MAX:
        raise BadRule(f"{name} is {seconds}, and 0 to {SECONDS_MAX:.0f} seconds can be waited")


Action: TypeAlias = Pass | Cut | Drop | Hold | Duplicate | Corrupt | Reorder | Delay

#: In the order in which the rules of a link are asked.
ACTIONS: Final[tuple[type[Action], ...]] = (Pass, Cut, Drop, Hold, Duplicate, Corrupt, Reorder, Delay)
_ACTION_BY_NAME: Final = {action.__name__.lower(): action for action in ACTIONS}


@dataclass(frozen=True, slots=True)
class Rule:
    """An action, the messages that it is for (None is any), and how often it acts."""

    id: str
    action: Action
    links: frozenset[Link] | None = None
    types: frozenset[str] | None = None
    variables: frozenset[str] | None = None
    probability: float = 1.0
    times: int | None = None

    def __post_init__(self) -> None:
        if not self.id:
            raise BadRule("a rule needs a name, to be found by")
        if not 0 <= self.probability <= 1:
            raise BadRule(f"{self.id}: the probability is {self.probability}, and must be between 0 and 1")
        if self.times is not None and self.times < 1:
            raise BadRule(f"{self.id}: times is {self.times}: leave it out for no limit, or give at least 1")
        for name in ("links", "types", "variables"):
            if getattr(self, name) == frozenset():
                raise BadRule(f"{self.id}: {name} is empty, so no message can match: leave it out for any")
        if isinstance(self.action, Cut) and (self.probability < 1 or self.times is not None):
            raise BadRule(f"{self.id}: a cut loses everything: use drop for a part")

    def covers(self, link: Link) -> bool:
        """Whether messages of this link can match."""
        return self.links is None or link in self.links

    def takes(self, type_: str, variable: str | None) -> bool:
        """Whether such a message, on a link that this rule covers, matches."""
        return (self.types is None or type_ in self.types) and (self.variables is None or variable in self.variables)

    @property
    def kind(self) -> str:
        """The action's name, in lower case."""
        return type(self.action).__name__.lower()

    def to_plain(self) -> dict[str, Any]:
        """This rule as data for JSON or msgpack. Sets come out sorted."""
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
        """What `to_plain` was called on.

        Raises:
            BadRule: it is no rule. The message says why.
        """
        given = dict(plain)
        action = _ACTION_BY_NAME.get(given.pop("action", ""))
        if action is None:
            raise BadRule(f"the action is {plain.get('action')!r}; there are {', '.join(_ACTION_BY_NAME)}")
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
            raise BadRule(f"not a rule: {error}. It was {dict(plain)!r}") from None
