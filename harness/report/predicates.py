"""What must hold at every moment of a run, and the moment at which it stopped to hold, with the evidence.

Theory of operation
-------------------
A verdict says what a whole run has broken. A predicate says when: the page moves through a run's time, and the predicate turns
red at the step that breaks it. "Agreement" and "one value chosen" follow from the changes of the nodes (`changes.py`). For the
promises of Paxos the judge itself is asked about beginnings of the record, by bisection: the shortest in which it finds
something ends with the step that broke it.

A predicate that a run cannot show, such as the promises of an algorithm without ballots, is left out.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from harness.checkers.evidence import RunEvidence
from harness.checkers.invariants import broken_promises, keeps_promises
from harness.records.jsonable import shown
from harness.report.changes import NodeChange, text_of
from harness.report.drawn_run import RunFolder
from node.algorithms import load_algorithm
from node.quorum import majority

#: Beyond so many lines of the record, the promises are not looked at: each look takes seconds.
LINES_MAX: Final = 60_000


@dataclass(frozen=True, slots=True)
class Predicate:
    """What must hold, and where it stopped to hold.

    Attributes:
        name: what must hold, in a few words.
        about: the same in a sentence.
        broken: when it stopped to hold, in nanoseconds since the first event of the history; None if it held to the end.
        evidence: what broke it, in one sentence.
        message: the number of the message that broke it, if one did.
        operation: the number of the client's call whose answer showed it, if one did.
        variable: the variable that it is about, or "".
    """

    name: str
    about: str
    broken: int | None = None
    evidence: str = ""
    message: int | None = None
    operation: int | None = None
    variable: str = ""


AGREEMENT: Final = Predicate("agreement", "no two nodes decide different values for one variable")
ONE_CHOSEN: Final = Predicate("one value chosen", "no two values of one variable have the consent of a majority")
PROMISES: Final = Predicate(
    "a promise never goes back", "no node promises or accepts below a ballot that it has promised"
)


def predicates(run: RunFolder, all_changes: Sequence[NodeChange]) -> list[Predicate]:
    """Return the predicates that the run shows, each with the moment at which it stopped to hold."""
    found = []
    if any(change.field == "decided" for change in all_changes):
        found.append(_broken_by(AGREEMENT, _two_decisions(all_changes)))
    if any(change.field == "holds" for change in all_changes):
        found.append(_broken_by(ONE_CHOSEN, _two_choices(all_changes, majority(len(run.nodes)))))
    return [*found, *_promises(run)]


def _broken_by(predicate: Predicate, violations: Iterator[tuple[NodeChange, str]]) -> Predicate:
    first = next(violations, None)
    if first is None:
        return predicate
    change, evidence = first
    where = (change.time, evidence, change.message, change.operation, change.variable)
    return Predicate(predicate.name, predicate.about, *where)


def _at(change: NodeChange) -> str:
    return f"at {change.time / 1e9:.3f} s"


def _two_decisions(all_changes: Iterable[NodeChange]) -> Iterator[tuple[NodeChange, str]]:
    first: dict[str, NodeChange] = {}
    for change in all_changes:
        if change.field == "decided":
            other = first.setdefault(change.variable, change)
            if text_of(other.value) != text_of(change.value):
                yield (
                    change,
                    f"{other.node} decided {shown(other.value)} {_at(other)}, and {change.node} {shown(change.value)} "
                    f"{_at(change)} for {change.variable}",
                )


def _two_choices(all_changes: Iterable[NodeChange], quorum: int) -> Iterator[tuple[NodeChange, str]]:
    holders: dict[tuple[str, str, str], dict[str, Any]] = {}  # variable, ballot and value to the nodes that hold it
    chosen: dict[str, tuple[str, str]] = {}  # variable to the value that was chosen first, and a sentence on it
    for change in all_changes:
        if change.field != "holds":
            continue
        value = text_of(change.value)
        nodes = holders.setdefault((change.variable, change.ballot, value), {})
        nodes[change.node] = None
        if len(nodes) < quorum:
            continue
        under = f" under ballot {change.ballot}" if change.ballot else ""
        sentence = f"{', '.join(nodes)} hold {shown(change.value)}{under}"
        first_value, first_sentence = chosen.setdefault(change.variable, (value, sentence))
        if first_value != value:
            yield change, f"{first_sentence}, and {sentence} for {change.variable}"


def _promises(run: RunFolder) -> list[Predicate]:
    if not run.is_ours:
        return []
    try:
        algorithm = load_algorithm(str(run.results["algorithm"]))
        if not keeps_promises(algorithm) or not run.lines or len(run.lines) > LINES_MAX:
            return []

        def broken(number: int) -> str | None:
            evidence = RunEvidence(run.nodes, algorithm, messages=run.lines[:number])
            return next((finding.text for finding in broken_promises(evidence)), None)

        text = broken(len(run.lines))
        if text is None:
            return [PROMISES]
        low, high = 0, len(run.lines)  # the first `low` lines break nothing, and the first `high` do
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if broken(middle) else (middle, high)
        line = run.lines[high - 1]
    except Exception as error:  # noqa: BLE001 - a record may hold anything, and a user's algorithm may raise anything
        run.gaps.append(f"The promises could not be looked at: {type(error).__name__} {error}")
        return []
    number = line.get("of", line.get("index"))
    time = next((message.time for message in run.messages if message.index == number), run.span.first)
    return [
        Predicate(
            PROMISES.name, PROMISES.about, time, broken(high) or text, number, None, str(line.get("variable") or "")
        )
    ]
