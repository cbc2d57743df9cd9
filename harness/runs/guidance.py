"""Steers draws to what no run has met: keeps the inputs that met something new, changes them, and draws afresh in between.

An input is a plan. What a run has met is a set of *features*, texts or other hashable data that its caller makes of the run. The
method is that of coverage-guided fuzzers (AFL), with features about consensus in the place of branches, as in Mallory (Meng et
al., *Greybox fuzzing of distributed systems*, CCS 2023) and in *Model-guided fuzzing of distributed systems* (OOPSLA 2025).
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Generic, TypeVar

I = TypeVar("I")  # noqa: E741 - an input

#: The share of inputs that are drawn afresh.
_FRESH: Final = 0.3
#: An input is worth changing as long as few runs have met what it met.
_RARE_RUNS: Final = 2
_KEPT_MAX: Final = 500


@dataclass(slots=True)
class _Kept(Generic[I]):
    """An input that has met something new, what that was, and how often it was changed."""

    given: I
    new: frozenset[Hashable]
    children: int = 0


@dataclass(frozen=True, slots=True)
class Guided(Generic[I]):
    """An input to run next. `fresh` if it is a draw of its own, and no changed one."""

    given: I
    fresh: bool


@dataclass(slots=True)
class Curve:
    """How many features were met after how many runs, and how many new ones the two kinds of inputs met."""

    points: list[tuple[int, int]] = field(default_factory=list)
    """(runs, features) after each run that met something new."""
    fresh_runs: int = 0
    fresh_new: int = 0
    changed_runs: int = 0
    changed_new: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the curve as plain data."""
        return {
            "points": [list(point) for point in self.points],
            "fresh": {"runs": self.fresh_runs, "new": self.fresh_new},
            "changed": {"runs": self.changed_runs, "new": self.changed_new},
        }


class Guide(Generic[I]):
    """Chooses the next input from what earlier ones have met."""

    def __init__(
        self, seed: int, fresh: Callable[[int], I], change: Callable[[I, I, Random], I], *, guided: bool = True
    ) -> None:
        """Make a guide that has met nothing.

        Args:
            seed: what every choice depends on, besides the features.
            fresh: draws input number n, from 1.
            change: changes an input a little, perhaps with pieces of another one.
            guided: False if every input is to be a draw of its own. The curve is drawn all the same.
        """
        self._rng = Random(f"guide/{seed}")
        self._fresh, self._change, self._guided = fresh, change, guided
        self._kept: list[_Kept[I]] = []
        self._drawn = self._runs = 0
        self.met: Counter[Hashable] = Counter()
        """By feature, how many runs have met it."""
        self.curve = Curve()

    def next(self) -> Guided[I]:
        """Return the next input."""
        rng = self._rng
        if not self._guided or not self._kept or rng.random() < _FRESH:
            self._drawn += 1
            return Guided(self._fresh(self._drawn), fresh=True)
        (chosen,) = rng.choices(self._kept, [self._worth(one) for one in self._kept])
        chosen.children += 1
        return Guided(self._change(chosen.given, rng.choice(self._kept).given, rng), fresh=False)

    def _worth(self, kept: _Kept[I]) -> float:
        rare = sum(self.met[feature] <= _RARE_RUNS for feature in kept.new)
        return (0.1 + rare) / (1 + kept.children)

    def learn(self, ran: Guided[I], features: Iterable[Hashable]) -> int:
        """Take in what a run has met. Returns how many of the features are new."""
        found = frozenset(features)
        unmet = frozenset(feature for feature in found if feature not in self.met)
        new = len(unmet)
        self.met.update(found)
        self._runs += 1
        curve = self.curve
        if ran.fresh:
            curve.fresh_runs, curve.fresh_new = curve.fresh_runs + 1, curve.fresh_new + new
        else:
            curve.changed_runs, curve.changed_new = curve.changed_runs + 1, curve.changed_new + new
        if new:
            curve.points.append((self._runs, len(self.met)))
            self._kept.append(_Kept(ran.given, unmet))
            if len(self._kept) > _KEPT_MAX:
                self._kept.remove(min(self._kept, key=self._worth))
        return new
