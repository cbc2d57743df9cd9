"""Transactions that append to lists and read them: which level of isolation they keep to, from what they read.

Source: Kingsbury and Alvaro, *Elle: Inferring Isolation Anomalies from Experimental Observations* (VLDB 2020), sections 4
and 5.

Theory of operation
-------------------
A list shows its own history: a read of [1, 2] says that 1 was appended, then 2, then the list was read. So the longest read
of a key gives the order of the appends in it, and every other read must be a beginning of that one. The appends of
committed transactions that no read shows come after these, in an order that no one can tell.

From the orders follow the dependencies (`dependency_graph.py`). A transaction of unknown outcome counts as committed if a
committed one read an element of it, and otherwise as aborted, which forbids nothing.

What a valid verdict says
-------------------------
*Serializable, strict serializable*: let the transactions run in any order that the edges allow. Each read then finds
exactly the appends that it has shown, and the appends that no read shows come after all reads that do not show them. So
this order explains every answer. *Snapshot isolation, read committed*: the same graph has no forbidden cycle. Where two or
more transactions appended to a key and no read shows it, their order is not known: only a lost update between two of them
is found then.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

from harness.checkers.client_calls import CallContext, CallJudge, ClientCall
from harness.checkers.dependency_graph import RW, TIME, WR, WW, DependencyGraph, Edge
from harness.checkers.isolation_verdict import cycle_sentence, verdict_of
from harness.checkers.transactions import (
    READ,
    Anomaly,
    Isolation,
    NotJudged,
    Transaction,
    describe,
    internal_anomalies,
    number_committed,
    plain,
    plain_list,
    steps_of,
    steps_wanted,
    transactions_of,
)
from harness.checkers.verdict import Verdict, unknown
from harness.records.jsonable import shown

APPEND: Final = "append"


class _Lists:
    """The lists: who appended what, in which order, and what was read."""

    def __init__(self, transactions: Sequence[Transaction], context: CallContext) -> None:
        self.transactions, self.context = transactions, context
        self.writer: dict[Any, dict[Any, Transaction]] = {}
        self.appends: dict[tuple[int, Any], list[Any]] = {}  # transaction (by id) and key to its elements
        self.longest: dict[Any, list[Any]] = {}
        self.reader: dict[Any, Transaction] = {}
        for one in transactions:
            for f, key, value in one.steps:
                if f == APPEND:
                    self._append(one, key, plain(value))
                elif one.call.is_ok:
                    self._read(one, key, value)
        self._commit_what_was_read()
        self.committed = number_committed(transactions)

    def _append(self, one: Transaction, key: Any, element: Any) -> None:
        if self.writer.setdefault(key, {}).setdefault(element, one) is not one or element in self.appends.get(
            (id(one), key), ()
        ):
            raise NotJudged(f"{shown(element)} is appended to {key} more than once, so a read does not show by whom")
        self.appends.setdefault((id(one), key), []).append(element)

    def _read(self, one: Transaction, key: Any, value: Any) -> None:
        if value is not None and not isinstance(value, list | tuple):
            raise NotJudged(f"{describe(one, self.context)} read {key} as {shown(value)}, which is no list")
        if len(value or ()) > len(self.longest.get(key, ())) or key not in self.longest:
            self.longest[key], self.reader[key] = plain_list(value or ()), one

    def _commit_what_was_read(self) -> None:
        for key, elements in self.longest.items():
            writers = self.writer.get(key, {})
            for element in elements:
                writer = writers.get(element)
                if writer is not None and writer.call.outcome == "info":
                    writer.is_committed = True

    def reads(self) -> Iterator[tuple[Transaction, Any, list[Any]]]:
        """Yield every read that was answered: the transaction, the key and the list."""
        for one in self.transactions:
            if one.call.is_ok:
                for f, key, value in one.steps:
                    if f == READ:
                        yield one, key, plain_list(value or ())

    def anomalies(self) -> Iterator[Anomaly]:
        """Yield the anomalies that a single read shows."""
        at_all = Isolation.READ_COMMITTED
        for one in self.transactions:
            if one.call.is_ok and len(one.steps) > 1:
                yield from internal_anomalies(one, self.context, APPEND)
        for one, key, elements in self.reads():
            longest = self.longest[key]
            if elements == longest[: len(elements)]:
                if one is not self.reader[key] and not self._ends_early(one, key, elements):
                    continue
            else:
                other = describe(self.reader[key], self.context)
                sentence = (
                    f"{describe(one, self.context)} read {key} as {shown(elements)}, and {other} as {shown(longest)}"
                )
                yield Anomaly("incompatible order", f"{sentence}: neither is a beginning of the other", at_all)
            yield from self._wrong_elements(one, key, elements)
        yield from self._lost_updates()

    def _ends_early(self, one: Transaction, key: Any, elements: list[Any]) -> bool:
        """Return whether a read ends with an element after which its transaction appended another one."""
        if not elements:
            return False
        writer = self.writer.get(key, {}).get(elements[-1])
        return writer is not None and writer is not one and self.appends[id(writer), key][-1] != elements[-1]

    def _wrong_elements(self, one: Transaction, key: Any, elements: list[Any]) -> Iterator[Anomaly]:
        at_all = Isolation.READ_COMMITTED
        read = f"{describe(one, self.context)} read {key} as {shown(elements)}"
        if len(set(elements)) < len(elements):
            twice = next(element for place, element in enumerate(elements) if element in elements[:place])
            yield Anomaly("duplicate elements", f"{read}, and {shown(twice)} was appended once", at_all)
        writers = self.writer.get(key, {})
        aborted = None
        of_writer: dict[Transaction, list[Any]] = {}
        for element in elements:
            writer = writers.get(element)
            if writer is not None:
                of_writer.setdefault(writer, []).append(element)
            if writer is None:
                yield Anomaly("unexpected", f"{read}, and no transaction appends {shown(element)}", at_all)
            elif writer.has_failed:
                aborted = element
                by = describe(writer, self.context)
                yield Anomaly(
                    "G1a", f"{read}, and {shown(element)} is of the transaction of {by}, which had aborted", at_all
                )
            elif aborted is not None:
                by = describe(writer, self.context)
                sentence = f"{by} committed and appended {shown(element)} to {key} after {shown(aborted)}"
                yield Anomaly(
                    "dirty update", f"{sentence}, which is of a transaction that had aborted ({read})", at_all
                )
                aborted = None
        for writer, shown_elements in of_writer.items():
            own = self.appends[id(writer), key]
            if shown_elements != own[: len(shown_elements)] and len(set(elements)) == len(elements):
                sentence = f"{read}, and {describe(writer, self.context)} appended {shown(own)} in this order"
                yield Anomaly("incompatible order", sentence, at_all)
        if self._ends_early(one, key, elements):
            writer = writers[elements[-1]]
            by, last = describe(writer, self.context), shown(self.appends[id(writer), key][-1])
            yield Anomaly("G1b", f"{read}, and {by} appended {last} after that in the same transaction", at_all)

    def _lost_updates(self) -> Iterator[Anomaly]:
        first: dict[tuple[Any, int], Transaction] = {}
        for one in self.committed:
            if not one.call.is_ok or len(one.steps) < 2:
                continue
            read: dict[Any, int] = {}
            appended = set()
            for f, key, value in one.steps:
                if f == READ:
                    if key not in appended:
                        read.setdefault(key, len(value or ()))
                elif key not in appended:
                    appended.add(key)
                    if key in read:
                        other = first.setdefault((key, read[key]), one)
                        if other is not one:
                            yield Anomaly(
                                "lost update",
                                self._lost_update(other, one, key, read[key]),
                                Isolation.SNAPSHOT_ISOLATION,
                            )

    def _lost_update(self, one: Transaction, other: Transaction, key: Any, length: int) -> str:
        both = f"{describe(one, self.context)} and {describe(other, self.context)}"
        version = shown(self.longest[key][:length])
        return f"{both} both read {key} as {version} and then appended to it: one of them did not see the other"

    def graph(self, level: Isolation, kind: type[DependencyGraph]) -> DependencyGraph:
        """Return the dependencies between the committed transactions."""
        graph = kind(len(self.committed))
        writer_at: dict[Any, list[int]] = {}  # key to the writers of the elements; -1 for those that did not commit
        for key, elements in self.longest.items():
            writers = self.writer.get(key, {})
            writer_at[key] = [writers[element].number if element in writers else -1 for element in elements]
            for before, number in pairwise([number for number in writer_at[key] if number >= 0]):
                graph.add(before, number, WW)
        unread = self._unread()
        for key, targets in unread.items():
            last = next((number for number in reversed(writer_at.get(key, ())) if number >= 0), -1)
            for target in targets if last >= 0 else ():
                graph.add(last, target, WW)
        self._add_reads(graph, writer_at, unread)
        if level is Isolation.STRICT_SERIALIZABLE:
            graph.add_time(self.committed)
        return graph

    def _add_reads(self, graph: DependencyGraph, writer_at: dict[Any, list[int]], unread: dict[Any, list[int]]) -> None:
        """Add the edges to and from those who read: from the writer of the last element, and to the writer of the next."""
        following = {key: _following(numbers) for key, numbers in writer_at.items()}
        of_last_version: dict[Any, dict[int, None]] = {}
        for one in self.committed:
            for f, key, value in one.steps if one.call.is_ok else ():
                if f != READ:
                    continue
                length = len(value or ())
                if length and writer_at[key][length - 1] >= 0:
                    graph.add(writer_at[key][length - 1], one.number, WR)
                after = following[key][length]
                if after >= 0:
                    graph.add(one.number, after, RW)
                elif key in unread:
                    of_last_version.setdefault(key, {})[one.number] = None
        for key, sources in of_last_version.items():
            graph.link(sources, unread[key], RW)

    def _unread(self) -> dict[Any, list[int]]:
        """Return, for each key, the committed transactions of which no read shows an append."""
        found: dict[Any, dict[int, None]] = {}
        shown_in = {key: set(elements) for key, elements in self.longest.items()}
        for one in self.committed:
            for f, key, value in one.steps:
                if f == APPEND and plain(value) not in shown_in.get(key, ()):
                    found.setdefault(key, {})[one.number] = None
        return {key: list(numbers) for key, numbers in found.items()}

    def why(self, edge: Edge, names: dict[int, str]) -> str:
        """Return why an edge is there, such as "T1 appended 3 to x, which T2 read"."""
        source, target = self.committed[edge.source], self.committed[edge.target]
        one, other = names[edge.source], names[edge.target]
        if edge.kind == TIME:
            ended, began = self.context.at(source.call.ended), self.context.at(target.call.began)
            return f"{one} had ended at {ended} when {other} began at {began}"
        appended = [(key, plain(value)) for f, key, value in target.steps if f == APPEND]
        for f, key, value in source.steps:
            elements = self.longest.get(key, [])
            if edge.kind == RW and f == READ:
                later = set(elements[len(value or ()) :])
                missing = [
                    element
                    for name, element in appended
                    if name == key and (element in later or element not in elements)
                ]
                if missing:
                    return f"{one} read {key} without {shown(missing[0])}, which {other} appended"
            if edge.kind == WW and f == APPEND:
                element = plain(value)
                place = elements.index(element) if element in elements else len(elements)
                missing = [
                    item
                    for name, item in appended
                    if name == key and item not in elements[: place + 1] and item != element
                ]
                if missing and place < len(elements):
                    return f"{other} appended {shown(missing[0])} to {key} after {shown(element)} of {one}"
            if edge.kind == WR and f == APPEND:
                element = plain(value)
                reads = (plain_list(items or ()) for g, name, items in target.steps if g == READ and name == key)
                if any(items and items[-1] == element for items in reads):
                    return f"{other} read {key} up to {shown(element)}, which {one} appended"
        return f"{one} comes before {other}"


def _following(numbers: Sequence[int]) -> list[int]:
    """Return, for each length of a read, the writer of the first element after it that committed; -1 if there is none."""
    found = [-1] * (len(numbers) + 1)
    for place in range(len(numbers) - 1, -1, -1):
        found[place] = numbers[place] if numbers[place] >= 0 else found[place + 1]
    return found


def judge_list_append(
    calls: Sequence[ClientCall],
    context: CallContext,
    level: Isolation,
    graph: type[DependencyGraph] = DependencyGraph,
) -> Verdict:
    """Return whether transactions on lists keep to a level of isolation. `graph` makes the graph of their dependencies."""
    try:
        lists = _Lists(transactions_of(calls, APPEND), context)
    except NotJudged as error:
        return unknown(str(error))
    anomalies = list(lists.anomalies())
    broken = {anomaly.name for anomaly in anomalies} & {"incompatible order", "duplicate elements", "unexpected"}
    if not broken:
        for cycle in lists.graph(level, graph).cycles(level):
            sentence = cycle_sentence(cycle, lists.committed, context, lists.why)
            anomalies.append(Anomaly(cycle.name, sentence, cycle.forbidden_from))
    return verdict_of(anomalies, level, lists.committed, len(calls))


def list_append(level: Isolation) -> CallJudge:
    """Return the judge of transactions on lists for one level of isolation."""
    return CallJudge(
        ("txn",),
        lambda calls, context: judge_list_append(calls, context, level),
        whole=True,
        asks_for=lambda _f, value: steps_wanted(APPEND) if steps_of(value, APPEND) is None else "",
    )
