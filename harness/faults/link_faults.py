"""The faults that spoil links without cutting them, by name: see `harness.faults.catalogue` for how they are used.

`links` says which: those between `nodes`, those between `clients` and nodes, `all` of them, or a list of directed pairs.
The proxy, a process of its own, counts what it did to messages.

Which of them excuse silence: nobody can be blamed over a link that loses, keeps or damages messages, or delays them by
more than `_PROMPT_S`. A message that comes twice, a little late or after the next one must hold nobody up.
"""

from collections.abc import Sequence
from random import Random
from typing import Any, Final

from harness.faults.catalogue import ArgumentDrawer, DrawnArguments, FaultBudget, fault
from harness.faults.injector import ActiveFault, LinkFault
from harness.faults.target import Target
from harness.network.rules import Action, Corrupt, Delay, Drop, Duplicate, Hold, Reorder
from harness.records.links import CLIENT, Link
from node.contract import NodeId

#: Two phases there and back within it are a small part of the time in which an answer is owed.
_PROMPT_S: Final = 0.02

LinkSelection = str | list[list[str]]


def spelled_out(links: LinkSelection, nodes: Sequence[NodeId]) -> tuple[Link, ...]:
    """The directed pairs that `links` means."""
    inside = tuple((one, other) for one in nodes for other in nodes if one != other)
    outside = tuple(link for node in nodes for link in ((CLIENT, node), (node, CLIENT)))
    if isinstance(links, str):
        return {"nodes": inside, "clients": outside, "all": inside + outside}[links]
    return tuple((sender, receiver) for sender, receiver in links)


def _spoil(
    experiment: Target,
    name: str,
    action: Action,
    links: LinkSelection,
    probability: float = 1.0,
    *,
    harmless: bool = False,
) -> LinkFault:
    pairs = spelled_out(links, experiment.nodes)
    return experiment.faults.spoil(name, [action], pairs, probability=probability, harmless=harmless)


def _drawn(**more: Any) -> ArgumentDrawer:
    """Draws the links, and a number for each argument that is given as a range."""

    def draw(rng: Random, scene: FaultBudget) -> DrawnArguments | None:
        if len(scene.nodes) < 2:
            return None
        which = rng.choice(("nodes", "nodes", "clients", "all", "of one"))
        links: LinkSelection = which
        if which == "of one":
            node = rng.choice(scene.free or scene.nodes)  # nothing crosses the links of one that is down
            links = [list(link) for link in spelled_out("nodes", scene.nodes) if node in link]
        drawn = {name: round(rng.uniform(*range_), 3) for name, range_ in more.items()}
        return DrawnArguments({"links": links, **drawn})

    return draw


@fault("drop", "link", draw=_drawn(probability=(0.05, 0.6)), weight=2)
def drop(experiment: Target, _rng: Random, *, links: LinkSelection = "nodes", probability: float = 0.3) -> ActiveFault:
    """Loses messages."""
    return _spoil(experiment, "drop", Drop(), links, probability)


@fault("delay", "link", draw=_drawn(seconds=(0.005, 0.3)))
def delay(experiment: Target, _rng: Random, *, links: LinkSelection = "nodes", seconds: float = 0.1) -> ActiveFault:
    """Delivers messages later, in their order."""
    return _spoil(experiment, "delay", Delay(seconds), links, harmless=seconds <= _PROMPT_S)


@fault("jitter", "link", draw=_drawn(jitter_s=(0.005, 0.3)))
def jitter(
    experiment: Target, _rng: Random, *, links: LinkSelection = "nodes", seconds: float = 0.0, jitter_s: float = 0.1
) -> ActiveFault:
    """Delivers each message later by a time of its own, so that their order changes."""
    return _spoil(experiment, "jitter", Delay(seconds, jitter_s), links, harmless=seconds + jitter_s <= _PROMPT_S)


@fault("duplicate", "link", draw=_drawn(probability=(0.2, 1.0)))
def duplicate(
    experiment: Target, _rng: Random, *, links: LinkSelection = "nodes", probability: float = 0.5, copies: int = 1
) -> ActiveFault:
    """Delivers messages more than once."""
    return _spoil(experiment, "duplicate", Duplicate(copies), links, probability, harmless=True)


@fault("reorder", "link", draw=_drawn(probability=(0.2, 1.0)))
def reorder(
    experiment: Target,
    _rng: Random,
    *,
    links: LinkSelection = "nodes",
    probability: float = 0.5,
    window: int = 1,
    most_s: float = 0.02,
) -> ActiveFault:
    """Delivers messages after later ones."""
    return _spoil(experiment, "reorder", Reorder(window, most_s), links, probability, harmless=most_s <= _PROMPT_S)


@fault("hold", "link", draw=_drawn(), weight=0.5)
def hold(experiment: Target, _rng: Random, *, links: LinkSelection = "nodes", probability: float = 1.0) -> ActiveFault:
    """Keeps messages, and delivers all of them when it heals, however old."""
    return _spoil(experiment, "hold", Hold(), links, probability)


@fault("corrupt", "link", draw=_drawn(probability=(0.1, 0.6)))
def corrupt(
    experiment: Target,
    _rng: Random,
    *,
    links: LinkSelection = "nodes",
    probability: float = 0.3,
    position: int | None = None,
) -> ActiveFault:
    """Damages a byte of a message, any unless one is named: its checksum no longer matches, and nobody takes it."""
    return _spoil(experiment, "corrupt", Corrupt(position), links, probability)
