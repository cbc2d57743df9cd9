"""The verdict on transactions: from the anomalies that were found to one sentence each."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from harness.checkers.client_calls import CallContext
from harness.checkers.dependency_graph import Cycle, Edge
from harness.checkers.transactions import Anomaly, Isolation, Transaction, describe
from harness.checkers.verdict import Found, Verdict, invalid, unknown, valid
from harness.records.jsonable import wording
from node.wording import count

#: How many sentences of one name a verdict keeps.
_SENTENCES_MAX: Final = 3


@wording
def cycle_sentence(
    cycle: Cycle,
    committed: Sequence[Transaction],
    context: CallContext,
    why: Callable[[Edge, dict[int, str]], str],
) -> str:
    """Return a cycle as a sentence: why each transaction comes before the next, and who made them."""
    if not cycle.edges:
        return "transactions depend on each other in circles, and the search for a short one was given up"
    names = {edge.source: f"T{number}" for number, edge in enumerate(cycle.edges, start=1)}
    reasons = "; ".join(why(edge, names) for edge in cycle.edges)
    people = ", ".join(f"{name} is of {describe(committed[number], context)}" for number, name in names.items())
    return f"{reasons}. So each of them must come before itself ({people})"


def verdict_of(
    anomalies: Iterable[Anomaly],
    level: Isolation,
    committed: Sequence[Transaction],
    asked: int,
    also: str = "",
) -> Verdict:
    """Return the verdict: invalid if the level forbids an anomaly that was found.

    Args:
        anomalies: all that was found, also what the level allows.
        level: the level of isolation that was promised.
        committed: the transactions that committed.
        asked: how many transactions the clients began.
        also: what a valid verdict says besides.
    """
    by_name: dict[str, list[str]] = {}
    for anomaly in sorted(anomalies, key=lambda anomaly: anomaly.forbidden_from):
        if anomaly.forbidden_from <= level:
            by_name.setdefault(anomaly.name, []).append(anomaly.sentence)
    found = Found()
    for name, sentences in by_name.items():
        more = len(sentences) - _SENTENCES_MAX
        found += [f"{name}: {sentence}" for sentence in sentences[:_SENTENCES_MAX]]
        if more > 0:
            found.append(f"{name}: {count(more, 'time')} more")
    if found:
        return invalid(*found)
    if not any(one.call.is_ok for one in committed):
        return unknown(f"none of {count(asked, 'transaction')} was answered")
    return valid(f"{count(len(committed), 'transaction')} have no anomaly that {level.text} forbids{also}")
