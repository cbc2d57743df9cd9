"""Draws faults that strike nodes by their roles, crashes in the middle of a turn, and how many inputs share a turn."""

from dataclasses import replace
from random import Random

from harness.virtual.roles import BOUND, NodeRole
from harness.virtual.scheduled_events import (
    CLIENTS,
    OTHERS,
    ScheduledCall,
    ScheduledCut,
    ScheduledEvent,
    ScheduledOutage,
    ScheduledPause,
    ScheduledPlot,
    Times,
    TurnConditions,
)
from harness.virtual.steps import CrashMoment


def draw_turns(rng: Random) -> TurnConditions:
    """Draw how many inputs share a turn."""
    return TurnConditions(
        waits=rng.choice((0.0, 0.3, 1.0, 1.0)),
        waits_s=rng.choice((0.002, 0.01, 0.05)),
        shuffled=rng.choice((0.0, 0.0, 0.5)),
    )


def with_moment(rng: Random, outage: ScheduledOutage) -> ScheduledOutage:
    """Draw whether a crash happens in the middle of a turn, and whether the node boots at a new address."""
    if outage.loses_disk:
        return outage
    moves_s = rng.choice((0.01, 0.1, 1.0)) if rng.random() < 0.1 else 0.0
    if outage.in_turn or rng.random() < 0.4:
        return replace(outage, in_turn=True, moment=rng.choice(tuple(CrashMoment)), moves_s=moves_s)
    return replace(outage, moves_s=moves_s)


def fault_on(rng: Random, name: str, times: Times) -> ScheduledEvent:
    """Draw a fault that begins at once and strikes the node that `name` stands for."""
    for_s = rng.choice((times.length(), rng.uniform(0.2, 2.0)))
    rest: tuple[str, ...] = (OTHERS, CLIENTS) if rng.random() < 0.3 else (OTHERS,)
    holds = rng.random() < 0.3
    match rng.randrange(6):
        case 0:  # it is deaf
            return ScheduledCut(0.0, for_s, rest, (name,), one_way=True, holds=holds)
        case 1:  # it is mute
            return ScheduledCut(0.0, for_s, (name,), rest, one_way=True, holds=holds)
        case 2:
            return ScheduledCut(0.0, for_s, (name,), rest, one_way=False, holds=holds)
        case 3:
            return ScheduledPause(0.0, for_s, name)
        case 4:
            moment = rng.choice(tuple(CrashMoment))
            return ScheduledOutage(0.0, rng.choice((0.0, for_s)), name, loses_disk=False, in_turn=True, moment=moment)
        case _:
            return ScheduledOutage(0.0, rng.choice((0.0, for_s)), name, loses_disk=False)


def draw_plots(rng: Random, nodes: int, times: Times, colours: tuple[str, ...]) -> tuple[ScheduledPlot, ...]:
    """Draw faults that strike nodes by their roles, and calls at these nodes and at others soon after."""
    plots = []
    for _ in range(rng.randint(1, 2)):
        role = rng.choice((NodeRole.CANDIDATE, NodeRole.CANDIDATE, NodeRole.LEADER, NodeRole.FOLLOWER))
        name, then = BOUND[role], [fault_on(rng, BOUND[role], times)]
        for _ in range(rng.randint(0, 3)):
            at = rng.choice((name, f"n{rng.randint(1, nodes)}"))
            colour = rng.choice((None, rng.choice(colours)))
            then.append(ScheduledCall(times.length(), rng.choice((1.0, 30.0)), at, colour))
        plots.append(ScheduledPlot(times.draw(), 0.5, role, tuple(then)))
    return tuple(plots)
