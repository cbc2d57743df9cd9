"""Changes a plan a little: drops, adds, moves, stretches or exchanges faults, or draws the clients' calls or settings anew."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Final

from harness.runs.plan import STEPS_MAX, Plan, PlanStep, When

_STRETCH: Final = (0.5, 0.8, 1.25, 2.0)
_SEEDS: Final = 1 << 40


def changed_plan(plan: Plan, other: Plan, fresh: Plan, rng: Random) -> Plan:
    """Return a plan with one to three changes.

    Args:
        plan: what is changed.
        other: a plan from which a fault may be taken.
        fresh: a new draw, from which one may be taken, too.
        rng: draws the changes.
    """
    for _ in range(rng.randint(1, 3)):
        plan = _changed(plan, other, fresh, rng)
    return plan


def _changed(plan: Plan, other: Plan, fresh: Plan, rng: Random) -> Plan:
    steps = list(plan.steps)
    kinds = ["add", "add"] if len(steps) < STEPS_MAX else []
    kinds += ["drop", "move", "move", "stretch", "again", "wait"] if steps else []
    match rng.choice([*kinds, "calls", "settings"]):
        case "add" if giving := rng.choice([other.steps, fresh.steps]):
            steps.append(_moved(rng.choice(giving), plan.time_s, rng))
        case "drop":
            del steps[rng.randrange(len(steps))]
        case "move":
            _exchange(steps, _moved(rng.choice(steps), plan.time_s, rng), rng)
        case "stretch":
            place = rng.randrange(len(steps))
            for_s = min(steps[place].for_s * rng.choice(_STRETCH), plan.time_s)
            steps[place] = replace(steps[place], for_s=round(max(for_s, 0.05), 2))
        case "again":
            steps.append(_moved(rng.choice(steps), plan.time_s, rng))
        case "wait":
            place = rng.randrange(len(steps))
            if (when := steps[place].when) is not None:
                steps[place] = replace(steps[place], when=replace(when, nth=rng.randint(1, 5)))
            elif waiting := [step.when for step in (*other.steps, *fresh.steps) if step.when is not None]:
                _wait(steps, place, waiting, rng)
        case "calls":
            return replace(plan, seed=rng.randrange(_SEEDS))
        case "settings":
            return replace(plan, settings=rng.choice([other.settings, fresh.settings, {}]))
    return plan.with_steps(tuple(sorted(steps, key=lambda step: step.at_s)))


def _wait(steps: list[PlanStep], place: int, waiting: Sequence[When], rng: Random) -> None:
    """Have a step wait for a message that another plan waits for, if its fault may."""
    if "message" not in steps[place].arguments and any(name in steps[place].arguments for name in ("node", "nodes")):
        steps[place] = replace(steps[place], when=rng.choice(waiting))


def _exchange(steps: list[PlanStep], moved: PlanStep, rng: Random) -> None:
    places = [
        place for place, step in enumerate(steps) if (step.fault, step.arguments) == (moved.fault, moved.arguments)
    ]
    steps[rng.choice(places)] = moved


def _moved(step: PlanStep, time_s: float, rng: Random) -> PlanStep:
    """Return a step that begins at another time: near its own, or anywhere."""
    at_s = rng.gauss(step.at_s, 0.3) if rng.random() < 0.5 else rng.uniform(0.05, 0.9) * time_s
    return replace(step, at_s=round(min(max(at_s, 0.0), 0.95 * time_s), 2))
