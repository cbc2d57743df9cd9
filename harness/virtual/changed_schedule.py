"""Changes a fault schedule a little: moves, drops, adds or repeats faults and calls, exchanges conditions, or draws the run anew.

A changed schedule keeps what judges rely on: what a call writes is unique in its run, no more disks are lost or damaged than were
drawn, and a schedule whose calls are owed an answer during a fault keeps its faults.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from random import Random
from typing import Final, TypeVar

from harness.virtual.fault_schedule import FaultSchedule
from harness.virtual.log_events import LEADER, MembershipChange, ScheduledOperation
from harness.virtual.log_fault_schedule import LogFaultSchedule
from harness.virtual.roles import BOUND
from harness.virtual.scheduled_events import CLIENTS, OTHERS, ScheduledEvent, ScheduledOutage, ScheduledPlot
from node.wire import encode_value

S = TypeVar("S", bound=FaultSchedule)

_EVENTS_MAX: Final = 60
_SEEDS: Final = 1 << 40
_CHANGES: Final = ("run", "run", "move", "move", "move", "near", "drop", "drop", "add", "add", "again", "conditions")
#: The fields of link conditions that any schedule may take from any other one.
_OF_LINKS: Final = ("loss", "repeat", "slow", "slow_s", "loss_by_kind")


def changed_schedule(schedule: S, other: S, fresh: S, rng: Random) -> S:
    """Return a schedule with one to three changes.

    Args:
        schedule: what is changed.
        other: a schedule from which an event or conditions may be taken.
        fresh: a new draw, from which they may be taken, too.
        rng: draws the changes.
    """
    for _ in range(rng.randint(1, 3)):
        schedule = _changed(schedule, rng.choice((other, fresh)), rng)
    return schedule


def _changed(schedule: S, giving: S, rng: Random) -> S:
    events = (*schedule.faults, *schedule.calls)
    change = "run" if any(_owes(event) for event in events) else rng.choice(_CHANGES)
    if change == "run":  # the same faults and calls, and other times of packets and timers
        return replace(schedule, seed=rng.randrange(_SEEDS))
    if change == "conditions":
        return _with_conditions(schedule, giving, rng)
    if rng.random() < 0.5:
        faults = _edited(change, schedule.faults, giving.faults, schedule, rng)
        return replace(schedule, faults=faults)
    return replace(schedule, calls=_edited(change, schedule.calls, giving.calls, schedule, rng))


def _edited(
    change: str,
    own: Sequence[ScheduledEvent],
    giving: Sequence[ScheduledEvent],
    schedule: FaultSchedule,
    rng: Random,
) -> tuple[ScheduledEvent, ...]:
    """Return events with one that is added, repeated, dropped or moved."""
    events = list(own)
    damaged = any(_harms_disks(event) for event in schedule.faults)
    if change in ("add", "again"):
        chosen = [
            event
            for event in (giving if change == "add" else own)
            if _fits(event, schedule)
            and not _harms_disks(event)
            and not _owes(event)
            and not (damaged and isinstance(event, MembershipChange | ScheduledPlot))
        ]
        if chosen and len(events) < _EVENTS_MAX:
            events.append(_renewed(_moved(rng.choice(chosen), schedule, rng), rng))
    elif events:
        place = rng.randrange(len(events))
        match change:
            case "drop":
                del events[place]
            case "move":
                events[place] = _moved(events[place], schedule, rng)
            case "near":  # two things at nearly the same time
                at_s = rng.choice((*schedule.faults, *schedule.calls)).at_s + rng.gauss(0.0, 0.01)
                events[place] = replace(events[place], at_s=max(at_s, 0.0))
    return tuple(events)


def _owes(event: ScheduledEvent) -> bool:
    """Return whether an event is a call that is owed an answer, or leads to one."""
    if isinstance(event, ScheduledPlot):
        return any(_owes(then) for then in event.then)
    return getattr(event, "owed_s", 0.0) > 0


def _harms_disks(event: ScheduledEvent) -> bool:
    """Return whether an event loses a disk, or what was last committed to it."""
    if isinstance(event, ScheduledPlot):
        return any(_harms_disks(then) for then in event.then)
    return isinstance(event, ScheduledOutage) and (event.loses_disk or event.last_commit is not None)


def _renewed(event: ScheduledEvent, rng: Random) -> ScheduledEvent:
    """Return an event that writes values of its own."""
    if isinstance(event, ScheduledPlot):
        return replace(event, then=tuple(_renewed(then, rng) for then in event.then))
    if isinstance(event, ScheduledOperation) and event.value:
        return replace(event, value=encode_value(f"w{rng.randrange(_SEEDS)}"))
    return event


def _with_conditions(schedule: S, giving: S, rng: Random) -> S:
    """Take the conditions of turns, links or clocks, or the settings, from another schedule."""
    kinds = ["turns", "links", "phase", *(["clocks"] if len(giving.clocks) == len(schedule.clocks) else [])]
    kinds += ["tuning"] if isinstance(schedule, LogFaultSchedule) else []
    match rng.choice(kinds):
        case "links":
            name = rng.choice(_OF_LINKS)
            return replace(schedule, links=replace(schedule.links, **{name: getattr(giving.links, name)}))
        case "phase":
            return replace(schedule, fault_phase_s=max(schedule.fault_phase_s, giving.fault_phase_s))
        case name:
            return replace(schedule, **{name: getattr(giving, name)})


def _moved(event: ScheduledEvent, schedule: FaultSchedule, rng: Random) -> ScheduledEvent:
    """Return an event at another time: near its own, or anywhere."""
    at_s = rng.gauss(event.at_s, 0.05) if rng.random() < 0.7 else rng.uniform(0.0, schedule.fault_phase_s)
    return replace(event, at_s=max(at_s, 0.0))


def _fits(event: ScheduledEvent, schedule: FaultSchedule) -> bool:
    """Return whether a schedule knows every endpoint that an event names."""
    known = {*schedule.endpoints, *BOUND.values(), OTHERS, CLIENTS, LEADER}
    if isinstance(event, ScheduledPlot):
        return all(_fits(then, schedule) for then in event.then)
    return all(name in known for name in _names(event))


def _names(event: ScheduledEvent) -> Sequence[str]:
    named = {field.name: getattr(event, field.name) for field in fields(event)}
    ends = [*named.get("left", ()), *named.get("right", ())]
    return [*ends, *(named[key] for key in ("node", "client") if named.get(key) is not None)]
