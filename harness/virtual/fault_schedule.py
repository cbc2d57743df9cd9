"""The fault schedule of a simulated run, drawn from its seed: links, clocks, faults and calls.

Theory of operation
-------------------
A `FaultSchedule` is plain data, so a run can be stored, and repeated with some of its faults left out. Each seed draws which
kinds of fault the run has, and how severe they are, since a run with every kind of fault hides what a run with one kind shows.

A run has two phases. In the fault phase, which lasts `fault_phase_s` at most, faults happen and the judge checks safety only.
In the recovery phase all links are healed, exactly the nodes in `survivors` are up, which are a majority at least, clients call
each of them, and each call must be answered within `RECOVERY_S`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Any, Final, NamedTuple

from harness.faults.drawn_settings import draw_duels
from harness.virtual.plots import draw_plots, draw_turns, with_moment
from harness.virtual.scheduled_events import (
    ONE_INPUT,
    ScheduledCall,
    ScheduledCut,
    ScheduledEvent,
    ScheduledOutage,
    ScheduledPause,
    Times,
    TurnConditions,
)
from node.contract import NodeId
from node.quorum import majority
from node.tuning import SHIPPED, Tuning, tuning_of

#: How long the recovery phase lasts at most, in virtual time.
RECOVERY_S: Final = 20.0
_COLOURS: Final = ("blue", "red", "green", "yellow", "purple", "white")
VALUES_MAX: Final = len(_COLOURS)
#: In which share of the fault phase further rivals call, so that the last of them may finish before its end.
_RIVALS_UNTIL: Final = 0.8
#: The share of queries among their calls, and how long they wait, in seconds.
_RIVAL_QUERIES: Final = 0.2
_RIVALS_WAIT_S: Final = (0.1, 1.0, 10.0)
#: The names in reports of those fields that are named differently here.
_FILE_NAMES: Final = {"fault_phase_s": "storm_s", "recovery_colours": "late_colours", "loss_by_kind": "picky"}


class KindLoss(NamedTuple):
    """The loss of one message class."""

    place: float
    """The place of the class in `Algorithm.messages`: 0 for the first, up to but not including 1 for the last."""
    loss: float
    """The probability for one packet."""


@dataclass(frozen=True, slots=True)
class LinkConditions:
    """How packets travel in the fault phase. `loss`, `repeat` and `slow` are probabilities for one packet."""

    loss: float = 0.0
    """The network loses the packet."""
    repeat: float = 0.0
    """The packet arrives twice."""
    slow: float = 0.0
    """The packet takes up to `slow_s`, so it may arrive out of order."""
    slow_s: float = 1.0
    loss_by_kind: tuple[KindLoss, ...] = ()
    """Overrides `loss` for some message classes."""
    usual_s: tuple[float, ...] = ()
    """How long a packet that is not slow takes at most, for each directed pair of endpoints."""


@dataclass(frozen=True, slots=True)
class FaultSchedule:
    """Everything about one run that is fixed beforehand. The run itself draws how long each packet and each timer takes."""

    seed: int
    members: tuple[NodeId, ...]
    fault_phase_s: float
    links: LinkConditions
    clocks: tuple[float, ...]
    """For each endpoint, the factor by which its timers take longer than they should."""
    faults: tuple[ScheduledEvent, ...]
    calls: tuple[ScheduledEvent, ...]
    survivors: tuple[NodeId, ...]
    """The nodes that are up in the recovery phase."""
    recovery_colours: tuple[str, ...]
    """The values that are proposed in the recovery phase."""
    turns: TurnConditions = ONE_INPUT
    tuning: Tuning = SHIPPED
    """The settings of the cluster."""

    @property
    def newcomers(self) -> tuple[NodeId, ...]:
        """The nodes that are no members and down at the beginning."""
        return ()

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The nodes, and for a log the clients: all that send and receive packets."""
        return self.members

    def to_json(self) -> dict[str, Any]:
        """Return the fault schedule as plain data."""
        data = _with_file_names(asdict(self))
        data.pop("tuning", None)
        return {**data, "links": _with_file_names(data["links"]), "settings": self.tuning.changed()}


def _with_file_names(data: dict[str, Any]) -> dict[str, Any]:
    return {_FILE_NAMES.get(key, key): item for key, item in data.items()}


def draw_fault_schedule(seed: int, nodes: int = 3, values: int = VALUES_MAX) -> FaultSchedule:
    """Draw the fault schedule of a seed.

    Args:
        seed: the same seed gives the same fault schedule.
        nodes: the size of the cluster.
        values: how many different values are proposed at most, from 1 to `VALUES_MAX`.
    """
    assert 1 <= values <= VALUES_MAX
    rng = Random(f"weather/{seed}/{nodes}/{values}")  # another text would change what every seed draws
    colours = _COLOURS[:values]
    members = tuple(f"n{number}" for number in range(1, nodes + 1))
    fault_phase_s = rng.choice((0.3, 1.0, 3.0))
    # Faults do most harm in the middle of an operation, so most events are drawn close to a few moments.
    times = Times(
        rng, [rng.uniform(0, fault_phase_s * 0.7) for _ in range(rng.randint(1, 3))], rng.choice((0.003, 0.03, 0.3))
    )
    favourites = rng.sample(members, rng.randint(1, min(3, nodes)))  # the nodes of most faults and of all proposals
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
    more = Random(f"turns and roles/{seed}/{nodes}/{values}")
    outages = [with_moment(more, outage) for outage in outages]
    plots = draw_plots(more, nodes, times, colours) if more.random() < 0.5 else ()
    return FaultSchedule(
        seed,
        members,
        fault_phase_s,
        _links(rng, members),
        clocks=tuple(rng.choice((1.0, 1.0, rng.uniform(0.5, 2.0))) for _ in members),
        faults=(*cuts, *outages, *pauses, *plots),
        calls=_calls(rng, members, favourites, times, colours),
        survivors=tuple(sorted(survivors)),
        recovery_colours=colours[-2:],
        turns=draw_turns(more),
        tuning=tuning_of(draw_duels(Random(f"settings/{seed}/{nodes}/{values}"))),
    )


def with_rivals(schedule: FaultSchedule, rivals: int, values: int = VALUES_MAX) -> FaultSchedule:
    """Return a fault schedule with `rivals` calls more, at any node, at any time of the fault phase. Each seed draws the same."""
    rng = Random(f"rivals/{schedule.seed}/{rivals}")
    until_s = _RIVALS_UNTIL * schedule.fault_phase_s
    more = [
        ScheduledCall(
            rng.uniform(0.0, until_s),
            rng.choice(_RIVALS_WAIT_S),
            rng.choice(schedule.members),
            None if rng.random() < _RIVAL_QUERIES else rng.choice(_COLOURS[:values]),
        )
        for _ in range(rivals)
    ]
    return replace(schedule, calls=(*schedule.calls, *more))


def _links(rng: Random, members: tuple[NodeId, ...]) -> LinkConditions:
    usual_s = rng.choice((0.001, 0.005, 0.02))
    return LinkConditions(
        loss=rng.choice((0.0, 0.0, 0.05, 0.3)),
        repeat=rng.choice((0.0, 0.0, 0.1, 0.5)),
        slow=rng.choice((0.0, 0.1, 0.5)),
        loss_by_kind=tuple(
            KindLoss(rng.random(), rng.choice((0.5, 0.9, 1.0))) for _ in range(rng.choice((0, 1, 1, 2)))
        ),
        usual_s=tuple(usual_s * rng.choice((1.0, 1.0, 5.0, 25.0)) for _ in range(len(members) ** 2)),
        slow_s=rng.choice((0.05, 0.3, 1.5)),
    )


def draw_cut(rng: Random, members: tuple[NodeId, ...], times: Times) -> ScheduledCut:
    """Draw a cut between some of the members and the others."""
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
    """Draw proposals of different values at the favourites, and queries at any node."""
    waits_s = rng.choice((0.1, 1.0, 10.0))
    proposals = [
        ScheduledCall(times.draw(), waits_s, rng.choice(favourites), colour)
        for colour in colours[: rng.randint(1, len(colours))]
    ]
    queries = [ScheduledCall(times.draw(), waits_s, rng.choice(members), None) for _ in range(rng.choice((0, 0, 1, 3)))]
    return (*proposals, *queries)
