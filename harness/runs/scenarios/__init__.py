"""The article's scenarios, one file each: what happens to the cluster, and what clients ask meanwhile.

A scenario does not say what should come out. The checkers and the tests do.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from harness.runs.experiment import Experiment
from node.algorithms import LOGS

ALL: Final = ("leader", "failover", "majority", "paxos", *LOGS)
_MODULES: Final = (
    "first_proposal_wins",
    "race",
    "first_node_away",
    "split_brain",
    "window_of_vulnerability",
    "three_proposals",
    "minority_killed",
    "all_killed",
    "proposer_killed",
    "lossy_network",
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario of the article.

    `play` carries out one of the `variants` on an experiment that has begun; each variant is a run of its own. `story` says
    in a line what happens. `algorithms` are those that the scenario is for.
    """

    name: str
    story: str
    play: Callable[[Experiment, str], None]
    algorithms: tuple[str, ...] = ALL
    variants: tuple[str, ...] = ("",)
    nodes: int = 5
    breaks: bool = True  # whether the scenario has faults; if so, a run in which no fault bit is no test
    takes_s: float = 2.0  # about how long a run takes; the scorecard begins with the longest
    about: str = ""  # the algorithm that the article describes in the scenario: its evidence is shown first

    def fits(self, algorithm: str) -> bool:
        """Return whether the scenario is for `algorithm`. One for all of our algorithms is for a user's own, too."""
        return algorithm in self.algorithms or (algorithm not in ALL and self.algorithms == ALL)


def scenarios() -> tuple[Scenario, ...]:
    """Return every scenario, in the article's order."""
    return tuple(importlib.import_module(f"harness.runs.scenarios.{module}").SCENARIO for module in _MODULES)
