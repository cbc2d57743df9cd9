"""What a simulated run goes through, drawn from its seed: links, clocks, faults and calls.

Theory of operation
-------------------
Everything that is decided beforehand stands in a `FaultSchedule`, as plain data; so a run can be told, stored, and repeated with
some of its faults left out. Each seed draws which kinds of fault it has at all, and how hard: a run with every fault at once
hides what a run with one of them shows.

Two phases. In the first, until `storm_s`, faults happen and only safety is demanded. Then all links are healed, the nodes
in `survivors` (a majority, at the least) are up and nobody else is; each of them is called, and each call must be
answered within `CALM_S`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from node.contract import NodeId
from node.limits import SHIPPED_LIMITS, LogLimits
from node.quorum import majority

CALM_S: Final = 20.0
_COLOURS: Final = ("blue", "red", "green", "yellow", "purple", "white")
VALUES_MAX: Final = len(_COLOURS)


@dataclass(frozen=True, slots=True)
class LinkConditions:
    """How packets travel during the storm. Each rate is the probability for one packet."""

    loss: float = 0.0
    repeat: float = 0.0
    slow: float = 0.0
    """How many take up to `slow_s`, and so come out of order."""
    slow_s: float = 1.0
    picky: tuple[tuple[float, float], ...] = ()
    """Kinds of message that are lost more often: where the kind stands in `Algorithm.messages` (0 the first, 1 beyond the
    last), and its loss."""
    usual_s: tuple[float, ...] = ()
    """How long the others take at the most, for each directed pair of nodes."""


@dataclass(frozen=True, slots=True)
class ScheduledEvent:
    """Something that happens at a time, in seconds from the beginning."""

    at_s: float


@dataclass(frozen=True, slots=True)
class ScheduledCut(ScheduledEvent):
    """No packet passes from `left` to `right`, nor back unless `one_way`, from `at_s` on for `for_s` seconds."""

    for_s: float
    left: tuple[NodeId, ...]
    right: tuple[NodeId, ...]
    one_way: bool
    holds: bool
    """Packets wait for its end. Otherwise they are lost."""


@dataclass(frozen=True, slots=True)
class ScheduledOutage(ScheduledEvent):
    """A node crashes at `at_s` and boots again after `for_s` seconds; never, if its disk is lost."""

    for_s: float
    node: NodeId
    loses_disk: bool
    in_turn: bool = False
    """It crashes in the next turn in which it sends something early, between that and its commit."""


@dataclass(frozen=True, slots=True)
class ScheduledPause(ScheduledEvent):
    """A node does nothing for a while, and then goes on as if nothing had been; what came in has waited."""

    for_s: float
    node: NodeId


@dataclass(frozen=True, slots=True)
class ScheduledCall(ScheduledEvent):
    """A client's call at `node`: a proposal of `colour`, or a query if that is None. It waits for `for_s` seconds."""

    for_s: float
    node: NodeId
    colour: str | None


@dataclass(frozen=True, slots=True)
class FaultSchedule:
    """One run, but for the draws on the way: how long each packet and each timer takes."""

    seed: int
    members: tuple[NodeId, ...]
    storm_s: float
    links: LinkConditions
    clocks: tuple[float, ...]
    """For each node, by how much its timers take longer than they should."""
    faults: tuple[ScheduledEvent, ...]
    calls: tuple[ScheduledEvent, ...]
    survivors: tuple[NodeId, ...]
    late_colours: tuple[str, ...]
    """What is proposed in the calm."""

    @property
    def newcomers(self) -> tuple[NodeId, ...]:
        """Nodes that are no members, and down, in the beginning."""
        return ()

    @property
    def ends(self) -> tuple[str, ...]:
        """Whoever sends or gets packets."""
        return self.members

    @property
    def log_limits(self) -> LogLimits:
        """The limits under which its nodes keep their logs."""
        return SHIPPED_LIMITS


def forecast(seed: int, nodes: int = 3, values: int = VALUES_MAX) -> FaultSchedule:
    """The weather of a seed, in which at most `values` different values are proposed."""
    assert 1 <= values <= VALUES_MAX
    rng = Random(f"weather/{seed}/{nodes}/{values}")
    colours = _COLOURS[:values]
    members = tuple(f"n{number}" for number in range(1, nodes + 1))
    storm_s = rng.choice((0.3, 1.0, 3.0))
    # Faults do most harm in the middle of something, so most of what happens, happens about the same times.
    times = Times(
        rng, [rng.uniform(0, storm_s * 0.7) for _ in range(rng.randint(1, 3))], rng.choice((0.003, 0.03, 0.3))
    )
    favourites = rng.sample(members, rng.randint(1, min(3, nodes)))  # where most things happen
    cuts = [draw_cut(rng, members, times) for _ in range(rng.choice((0, 0, 1, 2, 5)) if nodes > 1 else 0)]
    outages = [_outage(rng, favourites, times, loses_disk=False) for _ in range(rng.choice((0, 0, 1, 2, 5)))]
    pauses = [
        ScheduledPause(times.draw(), times.length(), rng.choice(favourites)) for _ in range(rng.choice((0, 0, 1, 3)))
    ]
    if rng.random() < 0.15:
        outages.append(_outage(rng, members, times, loses_disk=True))
    lost = {outage.node for outage in outages if outage.loses_disk}
    whole = [member for member in members if member not in lost]
    least = min(majority(nodes), len(whole))
    survivors = rng.sample(whole, rng.randint(least, len(whole)))
    return FaultSchedule(
        seed,
        members,
        storm_s,
        _links(rng, members),
        clocks=tuple(rng.choice((1.0, 1.0, rng.uniform(0.5, 2.0))) for _ in members),
        faults=(*cuts, *outages, *pauses),
        calls=_calls(rng, members, favourites, times, colours),
        survivors=tuple(sorted(survivors)),
        late_colours=colours[-2:],
    )


@dataclass(frozen=True, slots=True)
class Times:
    """When things happen: soon after one of a few moments."""

    rng: Random
    moments: list[float]
    spread_s: float

    def draw(self) -> float:
        return self.rng.choice(self.moments) + self.rng.expovariate(1 / self.spread_s)

    def length(self) -> float:
        return self.rng.expovariate(1 / self.spread_s) * self.rng.choice((1, 10))


def _links(rng: Random, members: tuple[NodeId, ...]) -> LinkConditions:
    usual_s = rng.choice((0.001, 0.005, 0.02))
    return LinkConditions(
        loss=rng.choice((0.0, 0.0, 0.05, 0.3)),
        repeat=rng.choice((0.0, 0.0, 0.1, 0.5)),
        slow=rng.choice((0.0, 0.1, 0.5)),
        picky=tuple((rng.random(), rng.choice((0.5, 0.9, 1.0))) for _ in range(rng.choice((0, 1, 1, 2)))),
        usual_s=tuple(usual_s * rng.choice((1.0, 1.0, 5.0, 25.0)) for _ in range(len(members) ** 2)),
        slow_s=rng.choice((0.05, 0.3, 1.5)),
    )


def draw_cut(rng: Random, members: tuple[NodeId, ...], times: Times) -> ScheduledCut:
    """A cut between some of these and the others."""
    left = rng.sample(members, rng.randint(1, len(members) - 1))
    right = [member for member in members if member not in left]
    return ScheduledCut(
        times.draw(),
        times.length(),
        tuple(sorted(left)),
        tuple(right),
        one_way=rng.random() < 0.4,
        holds=rng.random() < 0.4,
    )


def _outage(rng: Random, members: Sequence[NodeId], times: Times, *, loses_disk: bool) -> ScheduledOutage:
    return ScheduledOutage(times.draw(), rng.choice((0.0, times.length())), rng.choice(members), loses_disk=loses_disk)


def _calls(
    rng: Random, members: tuple[NodeId, ...], favourites: list[NodeId], times: Times, colours: tuple[str, ...]
) -> tuple[ScheduledCall, ...]:
    """Proposals of different values at the favourites, and queries at any node."""
    waits_s = rng.choice((0.1, 1.0, 10.0))
    proposals = [
        ScheduledCall(times.draw(), waits_s, rng.choice(favourites), colour)
        for colour in colours[: rng.randint(1, len(colours))]
    ]
    queries = [ScheduledCall(times.draw(), waits_s, rng.choice(members), None) for _ in range(rng.choice((0, 0, 1, 3)))]
    return (*proposals, *queries)
