"""`consensus explore`: every interleaving of an algorithm up to a bound, and a shortest schedule that violates a property.

    report = run_explore("paxos", Bounds(nodes=3, proposals=2))
    print("\\n".join(report.lines()))
    raise SystemExit(report.exit_code)

Rules
-----
1. A report states "no violation" only of a search that was exhausted within its bounds, together with the bounds. The report
   of a search that was cut short states how far it got, and its verdict is unknown.
2. A search in which no decision was reached, or no ballots competed, has shown nothing: its verdict is unknown.
3. The schedule in a report was replayed on `VirtualCluster`, which does not use the search's encoding of states, and
   violated the property there too. Where it did not, or could not be replayed, the report says so: the violation counts all the
   same. That no node can make progress only the search finds, and that an attribute is no plain data.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from harness.checkers.verdict import Verdict, invalid, unknown, valid
from harness.virtual.bounds import Bounds
from harness.virtual.cluster import VirtualCluster, follow
from harness.virtual.divided_search import DividedSearch, NumbersDiffer
from harness.virtual.judge import Violation
from harness.virtual.log_space import LogSpace
from harness.virtual.search import Budget, SearchResult, search
from harness.virtual.shrink_seed import NOT_DETERMINISTIC
from harness.virtual.space import ClusterSpace
from harness.virtual.steps import Step, to_json
from harness.virtual.watchdog import watching
from node.algorithms import load_algorithm
from node.authors import describe_failure
from node.contract import Algorithm, BadInput, Message
from node.log_contract import LogAlgorithm
from node.wording import count

DEFAULT_BOUNDS: Final = Bounds()
#: In how many states of a log a shortest schedule is looked for, once there is known to be one.
_SHORTEST_STATES: Final = 150_000
DEFAULT_BUDGET: Final = Budget(states=20_000_000, seconds=600, memory_bytes=2 * 1024**3)


@dataclass(slots=True)
class Exploration:
    """The result of an exploration."""

    algorithm: str
    bounds: Bounds
    found: SearchResult[int]
    cut: int
    """How many steps were not taken because they would have begun one ballot too many."""
    sometimes: dict[str, bool]
    """For each condition without which the search has shown nothing, whether it held in some state."""
    violations: list[Violation]
    schedule: list[Step]
    story: list[str]
    shortest: bool = True
    """Whether no shorter schedule shows a violation."""
    begins_ballots: bool = True
    """Whether messages had ballots, so that the bound on ballots applied."""

    @property
    def verdict(self) -> Verdict:
        """Valid only if the search was exhausted and every condition of `sometimes` held in some state."""
        if self.violations:
            return invalid(*map(str, self.violations))
        if not self.found.exhausted:
            full = ": the memory that it may use is full" if self.found.memory_full else ""
            return unknown(
                f"cut short after {count(self.found.states, 'state')}, of depth {self.found.depth} and less{full}"
            )
        if never := [what for what, did in self.sometimes.items() if not did]:
            return unknown(f"it never happened that {never[0]}")
        return valid(f"all {count(self.found.states, 'state')} within the bounds")

    @property
    def exit_code(self) -> int:
        """0 if the verdict is valid, 1 if invalid, 2 if unknown."""
        return self.verdict.exit_code

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        found = self.found
        rate = found.states / max(found.seconds, 1e-9)
        text = [f"explore {self.algorithm}", *(f"  {line}" for line in self.bounds.lines())]
        if not self.begins_ballots:
            text.append(f"  {NO_BALLOTS}")
        text.append(f"{found.states:,} distinct states in {found.seconds:.1f} s ({rate:,.0f} a second)")
        if self.violations:
            text.append(f"VIOLATED. This is a {'shortest ' if self.shortest else ''}schedule that does it:")
            text.extend(f"  {number}. {line}" for number, line in enumerate(self.story, 1))
            text.extend(f"  => {violation}" for violation in self.violations)
        elif found.exhausted:
            text.append(f"exhausted at depth {found.depth}: no violation within these bounds")
            if self.cut:
                text.append(f"  {self.cut:,} steps would have begun one ballot more, and were not taken")
        else:
            full = "the memory that it may use is full (see --memory). " if found.memory_full else ""
            text.append(
                f"CUT SHORT: {full}Every state up to depth {found.depth} was checked without a violation; the successors of "
                f"{count(found.waiting, 'state')} were not. Raise the budget or tighten the bounds."
            )
        never = [what for what, did in self.sometimes.items() if not did]
        if not self.violations:
            text.extend(f"  it did happen that {what}" for what, did in self.sometimes.items() if did)
            text.extend(f"  it NEVER happened that {what}: this search has shown nothing" for what in never)
        return text

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "algorithm": self.algorithm,
            "verdict": self.verdict.to_json(),
            "bounds": self.bounds.to_json(),
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
            "shortest": self.shortest,
        }

    def dumps(self) -> str:
        """Return the report as JSON text."""
        return json.dumps(self.to_json(), indent=2)


#: What a report says of an algorithm to which the bound on ballots does not apply.
NO_BALLOTS: Final = (
    "no message had a ballot (a node.quorum.Ballot with its sender's name), so that bound held nothing back"
)


def unbounded_numbers(algorithm: type[Algorithm], bounds: Bounds) -> str | None:
    """Return a sentence if messages have integers that may be ballots, and none that counts as one; None otherwise.

    The states of such an algorithm may have no end, since the bound on ballots does not apply.
    """
    if bounds.ballot_fields or algorithm.ballot_fields or any(map(_has_ballot, algorithm.messages)):
        return None
    numbers = [
        f"{message.type_name()}.{field.name}"
        for message in algorithm.messages
        for field in fields(message)
        if field.type in (int, "int")
    ]
    if not numbers:
        return None
    name = numbers[0].rpartition(".")[2]
    return (
        f"no field of a message of {algorithm.__name__} is a node.quorum.Ballot, so --ballots holds nothing back and the states "
        f"may have no end. If {', '.join(numbers)} {'is a ballot' if len(numbers) == 1 else 'are ballots'} of your own, name the "
        f'field: ballot_fields = ("{name}",) in the class, or --ballot-fields {name}'
    )


def _has_ballot(message: type[Message]) -> bool:
    return any("Ballot" in str(field.type) for field in fields(message))


class NoBallotField(BadInput):
    """A field that is to count as ballots is no integer of any message. Nothing was done."""


def _check_ballot_fields(algorithm: type[Algorithm], named: object) -> None:
    if not isinstance(named, tuple):
        raise NoBallotField(f"ballot_fields is {named!r}, and must be a tuple of names, such as ('term',)")
    found = [field.name for message in algorithm.messages for field in fields(message) if field.type in (int, "int")]
    for name in named:
        if name not in found:
            others = f"; its integers are {', '.join(dict.fromkeys(found))}" if found else ""
            raise NoBallotField(f"no message of {algorithm.__name__} has an integer field {name!r}{others}")


class NoSuchBound(BadInput):
    """The bounds name what an exploration of a log does not have. Nothing was done."""


def run_explore(
    algorithm: str | type[Algorithm],
    bounds: Bounds = DEFAULT_BOUNDS,
    budget: Budget = DEFAULT_BUDGET,
    progress: Callable[[int, int], object] = lambda _states, _depth: None,
    workers: int = 1,
) -> Exploration:
    """Explore an algorithm, and replay the schedule that the search finds.

    Args:
        algorithm: a name that `node.algorithms.load_algorithm` knows, or a class.
        bounds: how far to explore.
        budget: when to stop at the latest.
        progress: as for `search`.
        workers: how many processes search, if `can_divide`. Several find as many states, and a schedule that is as short, perhaps
            another one.

    Raises:
        UnknownAlgorithm: there is no algorithm of that name.
        NoSuchBound: the algorithm keeps a log, and the bounds name what only one variable has.
        NoBallotField: `ballot_fields` names what is no integer field of a message.
    """
    cls = load_algorithm(algorithm) if isinstance(algorithm, str) else algorithm
    if cls.keeps_log:
        bounds = _bounds_of_log(bounds)
    for named in (cls.ballot_fields, bounds.ballot_fields):
        _check_ballot_fields(cls, named)
    bounds = replace(bounds, ballot_fields=(*cls.ballot_fields, *bounds.ballot_fields))
    with watching():
        name = algorithm if isinstance(algorithm, str) else cls.__name__
        try:
            return _explore(cls, name, bounds, budget, progress, workers)
        except NumbersDiffer:
            return _explore(cls, name, bounds, budget, progress, 1)


def _bounds_of_log(bounds: Bounds) -> Bounds:
    """Return the bounds of an exploration of a log, in which no time passes.

    Raises:
        NoSuchBound: they name what a log does not have.
    """
    for given, name in (
        (bounds.symmetry, "--symmetry, since nodes that are alike are always explored as such"),
        (bounds.calls_at, "--calls-at, since a client's command reaches whichever node leads"),
        (bounds.fault_model.own_messages_wait, "--odd own-messages-wait"),
    ):
        if given:
            raise NoSuchBound(f"an exploration of a log has no {name}")
    return replace(bounds, fault_model=replace(bounds.fault_model, time_stands_still=True))


def can_divide(algorithm: type[Algorithm], bounds: Bounds) -> bool:
    """Return whether several processes can explore an algorithm together.

    In the states of a log, and with symmetry, new facts get their numbers at any time, and not the same ones in each process.
    """
    return not (algorithm.keeps_log or bounds.symmetry)


def _shortest(
    space: LogSpace, cls: type[Algorithm], bounds: Bounds, bad: list[int]
) -> tuple[LogSpace, list[int], bool]:
    """Look for a shortest path to a bad state, in a space in which no state stands for others.

    Returns that space, the path, and True; what was given, and False, if there are too many states.
    """
    assert issubclass(cls, LogAlgorithm)
    exact = LogSpace(cls, bounds, merges=False)
    found = search(exact, Budget(states=_SHORTEST_STATES)).bad
    return (space, bad, False) if found is None else (exact, found, True)


def _explore(
    cls: type[Algorithm],
    name: str,
    bounds: Bounds,
    budget: Budget,
    progress: Callable[[int, int], object],
    workers: int,
) -> Exploration:
    space = LogSpace(cls, bounds) if issubclass(cls, LogAlgorithm) else ClusterSpace(cls, bounds)
    divide = DividedSearch(space, workers, budget, progress) if workers > 1 and can_divide(cls, bounds) else None
    found = search(space, budget, progress, divide)
    report = Exploration(
        name, bounds, found, space.cut, space.sometimes(), [], [], [], begins_ballots=space.begins_ballots
    )
    if found.bad is not None and isinstance(space, LogSpace):
        space, found.bad, report.shortest = _shortest(space, cls, bounds, found.bad)
    if found.bad is not None:
        cluster = VirtualCluster(cls, space.members, bounds.fault_model)
        report.violations = space.violations(found.bad[-1]) or [
            Violation("contract", "the search has found a violation that it cannot name")
        ]
        try:
            report.schedule = follow(cluster, space.steps(found.bad))
            report.story = cluster.story
            if seen := [violation for violation in cluster.violations if violation.kind in bounds.look_for]:
                report.violations = list(dict.fromkeys(seen))
        except Exception as error:  # noqa: BLE001 - the violation was found, whether or not its schedule can be replayed
            report.story = [
                f"(the search has met this, and its steps cannot be taken again: {NOT_DETERMINISTIC} ({describe_failure(error)}))"
            ]
    return report
