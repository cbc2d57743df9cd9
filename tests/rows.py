"""The rows of what has really been broken in Paxos, each with the bounds within which `explore` finds a shortest schedule.

The schedules stand in `tests/schedules/`, as `explore` finds them. `pytest --regenerate` writes them anew.
"""

from pathlib import Path
from typing import NamedTuple

from harness.mutants.catalogue import choose
from harness.virtual.bounds import Bounds
from harness.virtual.fault_model import FaultModel
from node.algorithms import load_algorithm
from node.contract import Algorithm

SCHEDULES = Path(__file__).parent / "schedules"
_AGREEMENT = ("agreement",)


class Row(NamedTuple):
    """`name` is that of its file; `mutant` of the catalogue, or an algorithm's own. `lines` are those of the story.

    A row that `takes_long` is explored only by `--regenerate`, and by the command of docs/guides/explore.md: it takes 4 to 10
    seconds, and shows of the explorer what shorter ones do. Other tests replay its schedule.
    """

    name: str
    mutant: str
    bounds: Bounds
    kind: str
    lines: int
    takes_long: bool = False

    @property
    def algorithm(self) -> type[Algorithm]:
        """What is explored."""
        known = {mutant.name: mutant.algorithm for mutant in choose(())}
        return load_algorithm(known.get(self.mutant, self.mutant))

    @property
    def path(self) -> Path:
        """Its schedule."""
        return SCHEDULES / f"{self.name}.json"


ROWS = [
    Row("row-1", "ignores-accepted", Bounds(), "agreement", 10),
    Row("row-2", "adopts-lowest", Bounds(ballots=3), "agreement", 14, takes_long=True),
    Row("row-3", "accept-ignores-promise", Bounds(look_for=_AGREEMENT), "agreement", 10),
    Row("row-4", "accept-does-not-raise", Bounds(ballots=3, look_for=_AGREEMENT), "agreement", 14, takes_long=True),
    Row("row-5", "promise-in-memory", Bounds(crashes=1, look_for=_AGREEMENT), "agreement", 12, takes_long=True),
    Row("row-6", "accepted-in-memory", Bounds(crashes=1, look_for=_AGREEMENT), "agreement", 12, takes_long=True),
    Row("rows-5-and-6", "paxos", Bounds(crashes=1, fault_model=FaultModel(disks_sync_late=True)), "promise", 2),
    Row(
        "row-7",
        "paxos",
        Bounds(crashes=1, lose_disk=True, fault_model=FaultModel(empty_disks_vote=True)),
        "agreement",
        13,
        takes_long=True,
    ),
    Row("row-8", "reuses-ballots", Bounds(ballots=1, crashes=1, calls_at=("n1",), look_for=("ballot",)), "ballot", 8),
    Row("row-9-phase-1", "small-quorum-1", Bounds(), "agreement", 6),
    Row("row-9-phase-2", "small-quorum-2", Bounds(), "agreement", 6),
    Row("split-brain", "failover", Bounds(), "agreement", 4),
    Row("window", "majority", Bounds(crashes=1), "fault tolerance", 7),
]
