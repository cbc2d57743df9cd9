"""The article's stories, one file each: what happens to the cluster and what clients ask meanwhile.

A scenario says nothing about what should come of it. That is for the checkers, and for the tests, to say.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from harness.runs.experiment import Experiment

ALL: Final = ("leader", "failover", "majority", "paxos", "multipaxos")
_MODULES: Final = (
    "first_proposal_wins",
    "race",
    "first_node_away",
    "split_brain",
    "window_of_vulnerability",
    "three_proposals",
    "minority_killed",
    "everybody_killed",
    "proposer_killed",
    "lossy_network",
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A story, the algorithms that it is told of, and its variants, each of which is a run of its own."""

    name: str
    story: str
    tell: Callable[[Experiment, str], None]
    algorithms: tuple[str, ...] = ALL
    variants: tuple[str, ...] = ("",)
    nodes: int = 5
    breaks: bool = True  # a run in which nothing was broken is then no test
    takes_s: float = 2.0  # about; the scorecard begins with the longest
    about: str = ""  # the algorithm for whose sake the article tells it: its evidence is shown first

    def fits(self, algorithm: str) -> bool:
        """Whether it can be told of `algorithm`: those of the user's own are told every story that is told of all."""
        return algorithm in self.algorithms or (algorithm not in ALL and self.algorithms == ALL)


def scenarios() -> tuple[Scenario, ...]:
    """Every scenario, in the article's order."""
    return tuple(importlib.import_module(f"harness.runs.scenarios.{module}").SCENARIO for module in _MODULES)
