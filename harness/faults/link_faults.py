"""The faults that disturb links without cutting them. `harness.faults.catalogue` says how they are used.

The argument `links` selects links: `nodes` (between nodes), `clients` (between clients and nodes), `all`, or a list of
directed pairs. `probability` is how likely the fault acts on a message, from 0 to 1. Times are in seconds. `types` are the types
of messages that it acts on, with commas, such as Promise or Accept,Accepted; empty: all.

The proxy, a process of its own, counts the messages on which it has acted. A fault has bitten when there is at least
one. A fault for some types only, of which none came, has done nothing, and leaves no receipt.

What they excuse stands beside each of them, as an `Excuse`. Its receipt names the links as disturbed, with how late messages may
be and which share of them may be lost. A message that arrives twice excuses nothing, so that receipt names no links.
"""

from collections.abc import Sequence
from random import Random
from typing import Any, Final

from harness.faults.active import ActiveFault, LinkFault
from harness.faults.catalogue import ArgumentDrawer, BadFault, DrawnArguments, FaultBudget, fault, find_fault
from harness.faults.excuses import Excuse, Kind
from harness.faults.target import Target
from harness.network.rules import Action, Corrupt, Delay, Drop, Duplicate, Hold, Reorder
from harness.records.links import CLIENT, Link
from node.contract import NodeId

#: The probability that a drawn fault acts on one or two types of messages only. So messages that are few, such as the parts of a
#: snapshot, are struck as often as those that are many.
_PROBABILITY_TYPES: Final = 0.5
#: `nodes`, `clients`, `all`, or a list of directed pairs.
LinkSelection = str | list[list[str]]


def expand_links(links: LinkSelection, nodes: Sequence[NodeId]) -> tuple[Link, ...]:
    """Return the directed pairs that `links` selects."""
    inside = tuple((one, other) for one in nodes for other in nodes if one != other)
    outside = tuple(link for node in nodes for link in ((CLIENT, node), (node, CLIENT)))
    if isinstance(links, str):
        return {"nodes": inside, "clients": outside, "all": inside + outside}[links]
    return tuple((sender, receiver) for sender, receiver in links)


def _disturb(
    experiment: Target,
    name: str,
    action: Action,
    links: LinkSelection,
    types: str,
    likely: float = 1.0,
    **arguments: float,
) -> LinkFault:
    """Put a rule on links. `arguments` are those of the fault that its excuse names. Raises BadFault for an unknown type."""
    known = experiment.message_types
    wanted = [each.strip() for each in types.split(",") if each.strip()]
    if known is not None and (unknown := [each for each in wanted if each not in known]):
        raise BadFault(f"{name}: there is no message {', '.join(unknown)}: there are {', '.join(known)}")
    pairs = expand_links(links, experiment.nodes)
    disturbance = find_fault(name).excuse.disturbance(arguments)
    return experiment.faults.apply_rules(name, [action], pairs, disturbance, types=wanted, probability=likely)


def _draw_links_and(**ranges: Any) -> ArgumentDrawer:
    """Return a function that draws the links, and a number for each argument from its range."""

    def draw(rng: Random, budget: FaultBudget) -> DrawnArguments | None:
        if len(budget.nodes) < 2:
            return None
        which = rng.choice(("nodes", "nodes", "clients", "all", "of one"))
        links: LinkSelection = which
        if which == "of one":
            node = rng.choice(budget.free or budget.nodes)  # no message crosses the links of a node that is down
            links = [list(link) for link in expand_links("nodes", budget.nodes) if node in link]
        drawn = {name: round(rng.uniform(*range_), 3) for name, range_ in ranges.items()}
        types = {}
        if which in ("nodes", "of one") and budget.messages and rng.random() < _PROBABILITY_TYPES:
            types = {
                "types": ",".join(sorted(rng.sample(budget.messages, min(rng.randint(1, 2), len(budget.messages)))))
            }
            drawn = {name: max(value, 0.5) if name == "probability" else value for name, value in drawn.items()}
        return DrawnArguments({"links": links, **drawn, **types})

    return draw


@fault(
    "drop",
    "link",
    Excuse(Kind.LOSSY, "what is lost must be sent again", loss="probability"),
    draw=_draw_links_and(probability=(0.05, 0.6)),
    weight=2,
)
def drop(
    experiment: Target, _rng: Random, *, links: LinkSelection = "nodes", probability: float = 0.3, types: str = ""
) -> ActiveFault:
    """Lose messages.

    Observer: the proxy, which counts the messages on which it has acted.
    """
    return _disturb(experiment, "drop", Drop(), links, types, probability, probability=probability)


@fault(
    "delay",
    "link",
    Excuse(Kind.LATE, "each message is so late", ("seconds",)),
    draw=_draw_links_and(seconds=(0.005, 0.3)),
)
def delay(
    experiment: Target, _rng: Random, *, links: LinkSelection = "nodes", seconds: float = 0.1, types: str = ""
) -> ActiveFault:
    """Deliver messages later, in their order.

    Observer: the proxy, which counts the messages on which it has acted.
    """
    return _disturb(experiment, "delay", Delay(seconds), links, types, seconds=seconds)


@fault(
    "jitter",
    "link",
    Excuse(Kind.LATE, "a message is so late at most", ("seconds", "jitter_s")),
    draw=_draw_links_and(jitter_s=(0.005, 0.3)),
)
def jitter(
    experiment: Target,
    _rng: Random,
    *,
    links: LinkSelection = "nodes",
    seconds: float = 0.0,
    jitter_s: float = 0.1,
    types: str = "",
) -> ActiveFault:
    """Delay each message by a random time, so that the order changes.

    The delay is `seconds`, and up to `jitter_s` more.

    Observer: the proxy, which counts the messages on which it has acted.
    """
    return _disturb(experiment, "jitter", Delay(seconds, jitter_s), links, types, seconds=seconds, jitter_s=jitter_s)


@fault(
    "duplicate",
    "link",
    Excuse(Kind.NOTHING, "a message that comes twice must not stop an algorithm"),
    draw=_draw_links_and(probability=(0.2, 1.0)),
)
def duplicate(
    experiment: Target,
    _rng: Random,
    *,
    links: LinkSelection = "nodes",
    probability: float = 0.5,
    copies: int = 1,
    types: str = "",
) -> ActiveFault:
    """Deliver messages more than once, with `copies` more of each.

    Observer: the proxy, which counts the messages on which it has acted.
    """
    return _disturb(experiment, "duplicate", Duplicate(copies), links, types, probability)


@fault(
    "reorder",
    "link",
    Excuse(Kind.LATE, "a message waits so long for later ones at most", ("most_s",)),
    draw=_draw_links_and(probability=(0.2, 1.0)),
)
def reorder(
    experiment: Target,
    _rng: Random,
    *,
    links: LinkSelection = "nodes",
    probability: float = 0.5,
    window: int = 1,
    most_s: float = 0.02,
    types: str = "",
) -> ActiveFault:
    """Deliver messages after later ones: after `window` others, but at most `most_s` seconds late.

    Observer: the proxy, which counts the messages on which it has acted.
    """
    return _disturb(experiment, "reorder", Reorder(window, most_s), links, types, probability, most_s=most_s)


@fault(
    "hold",
    "link",
    Excuse(Kind.LOSSY, "a held message comes at the heal", loss="probability"),
    draw=_draw_links_and(),
    weight=0.5,
)
def hold(
    experiment: Target,
    _rng: Random,
    *,
    links: LinkSelection = "nodes",
    probability: float = 1.0,
    types: str = "",
) -> ActiveFault:
    """Hold messages, and deliver all of them at the heal, however old.

    Observer: the proxy, which counts the messages on which it has acted.
    """
    return _disturb(experiment, "hold", Hold(), links, types, probability, probability=probability)


@fault(
    "corrupt",
    "link",
    Excuse(Kind.LOSSY, "a receiver drops what is damaged", loss="probability"),
    draw=_draw_links_and(probability=(0.1, 0.6)),
)
def corrupt(
    experiment: Target,
    _rng: Random,
    *,
    links: LinkSelection = "nodes",
    probability: float = 0.3,
    position: int | None = None,
    types: str = "",
) -> ActiveFault:
    """Damage a byte of a message, so that the receiver drops it: its checksum no longer matches.

    `position` is the index of the byte; None stands for a random one.

    Observer: the proxy, which counts the messages on which it has acted.
    """
    return _disturb(experiment, "corrupt", Corrupt(position), links, types, probability, probability=probability)
