"""`consensus explore`: every interleaving of an algorithm up to a bound, and the shortest schedule that breaks it.

    report = run_explore("paxos", Bounds(nodes=3, proposals=2))
    print("\\n".join(report.lines()))
    raise SystemExit(report.exit_code)

Rules
-----
1. "No violation" is said only of a search that was exhausted within its bounds, and the bounds are told with it. A search
   that was cut short says how far it got, and its verdict is unknown.
2. A search in which nothing worth seeing happened has shown nothing: its verdict is unknown, too.
3. A schedule that is told has been replayed on `VirtualCluster`, which does not know of the search, and broke it too.
   (But that nothing can happen any more is the search's own finding.)
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from harness.checkers.verdict import Verdict, invalid, unknown, valid
from harness.virtual.bounds import Bounds
from harness.virtual.cluster import VirtualCluster
from harness.virtual.fault_model import FaultModel
from harness.virtual.judge import FAULT_TOLERANCE, Violation
from harness.virtual.search import Budget, SearchResult, search
from harness.virtual.space import ClusterSpace
from harness.virtual.steps import Deliver, DuplicatePacket, Step, from_json, to_json
from node.algorithms import load_algorithm
from node.contract import Algorithm, BadInput

DEFAULT_BOUNDS: Final = Bounds()
DEFAULT_BUDGET: Final = Budget(states=20_000_000, seconds=600)


@dataclass(slots=True)
class Exploration:
    """What a search has shown."""

    algorithm: str
    bounds: Bounds
    found: SearchResult[int]
    cut: int
    sometimes: dict[str, bool]
    violations: list[Violation]
    schedule: list[Step]
    story: list[str]
    begins_ballots: bool = True

    @property
    def verdict(self) -> Verdict:
        """Valid only if the search was exhausted and something happened in it."""
        if self.violations:
            return invalid(*map(str, self.violations))
        if not self.found.exhausted:
            return unknown(f"cut short after {self.found.states:,} states, of depth {self.found.depth} and less")
        if never := [what for what, did in self.sometimes.items() if not did]:
            return unknown(f"it never happened that {never[0]}")
        return valid(f"all {self.found.states:,} states within the bounds")

    @property
    def exit_code(self) -> int:
        """0, 1 or 2."""
        return self.verdict.exit_code

    def lines(self) -> list[str]:
        """The report, for people."""
        found = self.found
        rate = found.states / max(found.seconds, 1e-9)
        told = [f"explore {self.algorithm}", *(f"  {line}" for line in self.bounds.lines())]
        if not self.begins_ballots:
            told.append(
                "  no message had a ballot (a node.quorum.Ballot with its sender's name), so that bound held nothing back"
            )
        told.append(f"{found.states:,} distinct states in {found.seconds:.1f} s ({rate:,.0f} a second)")
        if self.violations:
            told.append("VIOLATED. This is a shortest schedule that does it:")
            told.extend(f"  {number}. {line}" for number, line in enumerate(self.story, 1))
            told.extend(f"  => {violation}" for violation in self.violations)
        elif found.exhausted:
            told.append(f"exhausted at depth {found.depth}: no violation within these bounds")
            if self.cut:
                told.append(f"  {self.cut:,} steps would have begun one ballot more, and were not taken")
        else:
            told.append(
                f"CUT SHORT: every state up to depth {found.depth} was looked at without a violation; {found.waiting:,} "
                "states are still to be followed, so nothing is said of what lies beyond. Raise the budget or tighten the bounds."
            )
        never = [what for what, did in self.sometimes.items() if not did]
        if not self.violations:
            told.extend(f"  it did happen that {what}" for what, did in self.sometimes.items() if did)
            told.extend(f"  it NEVER happened that {what}: this search has shown nothing" for what in never)
        return told

    def to_json(self) -> dict[str, Any]:
        """The report as plain data. `from_schedule` takes it back."""
        return {
            "algorithm": self.algorithm,
            "verdict": self.verdict.to_json(),
            "bounds": asdict(self.bounds),
            "states": self.found.states,
            "depth": self.found.depth,
            "seconds": round(self.found.seconds, 3),
            "exhausted": self.found.exhausted,
            "waiting": self.found.waiting,
            "cut": self.cut,
            "sometimes": self.sometimes,
            "violations": [asdict(violation) for violation in self.violations],
            "schedule": [to_json(step) for step in self.schedule],
            "story": self.story,
        }

    def dumps(self) -> str:
        """The report as JSON text."""
        return json.dumps(self.to_json(), indent=2)


class TooLarge(BadInput):
    """What cannot be explored. Nothing was done."""


def run_explore(
    algorithm: str | type[Algorithm],
    bounds: Bounds = DEFAULT_BOUNDS,
    budget: Budget = DEFAULT_BUDGET,
    progress: Callable[[int, int], object] = lambda _states, _depth: None,
) -> Exploration:
    """Explore. `algorithm` is a name as `node.algorithms.load_algorithm` takes it, or a class. `progress` is as for `search`.

    Raises:
        UnknownAlgorithm: there is none of that name.
        TooLarge: it keeps a log, whose states have no end.
    """
    cls = load_algorithm(algorithm) if isinstance(algorithm, str) else algorithm
    if cls.keeps_log:
        raise TooLarge(f"{cls.__name__} keeps a log, whose states have no end: use `consensus simulate`")
    space = ClusterSpace(cls, bounds)
    found = search(space, budget, progress)
    name = algorithm if isinstance(algorithm, str) else cls.__name__
    told = Exploration(name, bounds, found, space.cut, space.sometimes(), [], [], [], space.begins_ballots)
    if found.bad is not None:
        cluster = VirtualCluster(cls, space.members, bounds.oddities)
        told.schedule = follow(cluster, space.steps(found.bad))
        told.story = cluster.story
        told.violations = [violation for violation in cluster.violations if violation.kind in bounds.look_for]
        if not told.violations:
            told.violations = [v for v in space.violations(found.bad[-1]) if v.kind == FAULT_TOLERANCE]
        assert told.violations, "a schedule that the search has found must break the simulated cluster, too"
    return told


def follow(cluster: VirtualCluster, steps: Iterable[Step]) -> list[Step]:
    """Let `steps` happen, where a packet that arrives again is repeated first. Gives back what has happened."""
    done: list[Step] = []
    for step in steps:
        if isinstance(step, Deliver) and step.packet not in cluster.pending:
            again = DuplicatePacket(step.packet)
            cluster.apply(again)
            done.append(again)
        cluster.apply(step)
        done.append(step)
    return done


def from_schedule(report: Mapping[str, Any], algorithm: type[Algorithm] | None = None) -> VirtualCluster:
    """A cluster to which a report's schedule has happened.

    Raises:
        KeyError: the schedule is not one of this algorithm.
    """
    cls = algorithm or load_algorithm(report["algorithm"])
    bounds = report["bounds"]
    members = tuple(f"n{number}" for number in range(1, bounds["nodes"] + 1))
    cluster = VirtualCluster(cls, members, FaultModel(**bounds["oddities"]))
    for told in report["schedule"]:
        cluster.apply(from_json(told, cluster.possible()))
    return cluster
