"""Transactions that write and read registers: which level of isolation they keep to, from what they read.

Source: Kingsbury and Alvaro, *Elle: Inferring Isolation Anomalies from Experimental Observations* (VLDB 2020), section 5.2.

Theory of operation
-------------------
Each value is written to its register once, so a read shows from which transaction it is. It does not show which value came
before. That follows, in part: the initial value, null, was first; and, from snapshot isolation on, a transaction that read
one value and then wrote another put the second after the first; and, if strict serializability is asked, a write that had
ended when another began was before it. From these orders follow the dependencies (`dependency_graph.py`).

What a valid verdict says
-------------------------
*Read committed*: the transactions do not read from each other in a circle. Then versions can be ordered as some order of
the transactions has them. *The others*: no dependency that is known makes a forbidden cycle. In addition
`transaction_orders.py` looks for an order that explains every read, and the evidence says whether it has found one. For few
transactions it finds one or proves that there is none, whichever way the versions are ordered.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from harness.checkers.client_calls import CallContext, CallJudge, ClientCall
from harness.checkers.dependency_graph import RW, TIME, WR, WW, DependencyGraph, Edge, targets_of
from harness.checkers.isolation_verdict import cycle_sentence, verdict_of
from harness.checkers.transaction_orders import EXHAUSTIVE_MAX, Footprint, serial_order, snapshot_order
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
    steps_of,
    steps_wanted,
    transactions_of,
)
from harness.checkers.verdict import Verdict, unknown
from harness.records.jsonable import shown
from node.wording import count

WRITE = "w"


class _Registers:
    """The registers: who wrote which value, and who read it."""

    def __init__(self, transactions: Sequence[Transaction], context: CallContext) -> None:
        self.transactions, self.context = transactions, context
        self.writer: dict[tuple[Any, Any], Transaction] = {}
        self.reads: dict[Transaction, dict[Any, Any]] = {}
        self.writes: dict[Transaction, dict[Any, Any]] = {}
        for one in transactions:
            writes: dict[Any, Any] = {}
            for f, key, value in one.steps:
                if f == WRITE:
                    self._write(one, key, plain(value))
                    writes[key] = plain(value)
            self.writes[one] = writes
        for one in transactions:
            reads: dict[Any, Any] = {}
            own: set[Any] = set()
            for f, key, value in one.steps:
                if f == WRITE:
                    own.add(key)
                elif key not in own:
                    reads.setdefault(key, plain(value))
                    writer = self.writer.get((key, plain(value)))
                    if writer is not None and writer.call.outcome == "info":
                        writer.is_committed = True
            self.reads[one] = reads
        self.committed = number_committed(transactions)
        self.after: dict[tuple[Any, Any], list[Any]] = {}
        """By version of a key: versions of it that are certainly later, as far as the graph shows them."""

    def _write(self, one: Transaction, key: Any, value: Any) -> None:
        if value is None or self.writer.setdefault((key, value), one) is not one:
            raise NotJudged(
                f"{shown(value)} is written to {key} more than once, or is the initial value, so a read does not show by whom"
            )

    def anomalies(self) -> Iterator[Anomaly]:
        """Yield the anomalies that a single read shows."""
        at_all = Isolation.READ_COMMITTED
        for one in self.transactions:
            if not one.call.is_ok:
                continue
            if len(one.steps) > 1:
                yield from internal_anomalies(one, self.context, WRITE)
            for f, key, value in one.steps:
                if f != READ or value is None:
                    continue
                writer = self.writer.get((key, plain(value)))
                read = f"{describe(one, self.context)} read {key} as {shown(value)}"
                if writer is None:
                    yield Anomaly("unexpected", f"{read}, which no transaction writes", at_all)
                elif writer.has_failed:
                    yield Anomaly(
                        "G1a",
                        f"{read}, which is of the transaction of {describe(writer, self.context)}, which had aborted",
                        at_all,
                    )
                elif writer is not one and self.writes[writer][key] != plain(value):
                    later = shown(self.writes[writer][key])
                    by = describe(writer, self.context)
                    yield Anomaly("G1b", f"{read}, and {by} wrote {later} after that in the same transaction", at_all)
        yield from self._lost_updates()

    def _lost_updates(self) -> Iterator[Anomaly]:
        first: dict[tuple[Any, Any], Transaction] = {}
        for one in self.committed:
            for key in [key for key in self.reads[one] if key in self.writes[one]]:
                other = first.setdefault((key, self.reads[one][key]), one)
                if other is not one:
                    both = f"{describe(other, self.context)} and {describe(one, self.context)}"
                    version = shown(self.reads[one][key])
                    sentence = (
                        f"{both} both read {key} as {version} and then wrote it: one of them did not see the other"
                    )
                    yield Anomaly("lost update", sentence, Isolation.SNAPSHOT_ISOLATION)

    def graph(self, level: Isolation) -> DependencyGraph:
        """Return the dependencies between the committed transactions."""
        graph = DependencyGraph(len(self.committed))
        readers: dict[tuple[Any, Any], list[int]] = {}
        for one in self.committed:
            for f, key, value in one.steps:
                if f != READ:
                    continue
                writer = self.writer.get((key, plain(value)))
                if writer is not None and writer is not one and writer.is_committed:
                    graph.add(writer.number, one.number, WR)
            for key, value in self.reads[one].items():
                readers.setdefault((key, value), []).append(one.number)
        if level is Isolation.READ_COMMITTED:
            return graph
        self.after = self._versions_after(level)
        for (key, value), after in self.after.items():
            writer = self.writer.get((key, value))
            targets = list(dict.fromkeys(self.writer[key, version].number for version in after))
            if writer is not None:
                for target in targets:
                    graph.add(writer.number, target, WW)
            graph.link(readers.get((key, value), ()), targets, RW)
        if level is Isolation.STRICT_SERIALIZABLE:
            graph.add_time(self.committed)
        return graph

    def _versions_after(self, level: Isolation) -> dict[tuple[Any, Any], list[Any]]:
        """Return, for each version of a key, versions of it that are certainly later."""
        found: dict[tuple[Any, Any], list[Any]] = {}
        writers: dict[Any, list[Transaction]] = {}
        for one in self.committed:
            for key, value in self.writes[one].items():
                found.setdefault((key, None), []).append(value)
                writers.setdefault(key, []).append(one)
                before = self.reads[one].get(key)
                if before is not None and (key, before) in self.writer:
                    found.setdefault((key, before), []).append(value)
        if level is Isolation.STRICT_SERIALIZABLE:
            for key, some in writers.items():
                for one, other in _in_real_time(some):
                    found.setdefault((key, self.writes[one][key]), []).append(self.writes[other][key])
        return {
            version: after
            for version, after in found.items()
            if version[1] is None or self.writer[version].is_committed
        }

    def footprints(self) -> list[Footprint]:
        """Return what each committed transaction does, for the search for an order."""
        never = float("inf")
        return [
            Footprint(never if one.call.ended is None else one.call.ended, self.reads[one], self.writes[one])
            for one in self.committed
        ]

    def why(self, edge: Edge, names: dict[int, str]) -> str:
        """Return why an edge is there, such as "T1 wrote 3 to x, which T2 read"."""
        source, target = self.committed[edge.source], self.committed[edge.target]
        one, other = names[edge.source], names[edge.target]
        if edge.kind == TIME:
            ended, began = self.context.at(source.call.ended), self.context.at(target.call.began)
            return f"{one} had ended at {ended} when {other} began at {began}"
        if edge.kind == WR:
            for f, key, value in target.steps:
                if f == READ and self.writer.get((key, plain(value))) is source:
                    return f"{one} wrote {shown(value)} to {key}, which {other} read"
        written = [(key, plain(value)) for f, key, value in source.steps if f == WRITE]
        for key, old in self.reads[source].items() if edge.kind == RW else written:
            new = self.writes[target].get(key)
            if new not in self.after.get((key, old), ()):
                continue  # both are about this key, but the edge is not
            if edge.kind == RW:
                return f"{one} read {key} as {shown(old)}, and {other} wrote {shown(new)} over it"
            return f"{other} wrote {shown(new)} to {key} after {one} had written {shown(old)}"
        return f"{one} comes before {other}"


def _in_real_time(transactions: Sequence[Transaction]) -> Iterator[tuple[Transaction, Transaction]]:
    """Yield pairs of which the first had ended when the second began, without those that follow from others."""
    moments = [(one.call.began, 1, one) for one in transactions]
    moments += [(one.call.ended, 0, one) for one in transactions if one.call.ended is not None]
    moments.sort(key=lambda moment: moment[:2])
    ended: dict[Transaction, None] = {}
    before: dict[Transaction, list[Transaction]] = {}
    for _, begins, one in moments:
        if begins:
            before[one] = list(ended)
            for other in ended:
                yield other, one
        else:
            for other in before[one]:
                ended.pop(other, None)
            ended[one] = None


def judge_rw_register(calls: Sequence[ClientCall], context: CallContext, level: Isolation) -> Verdict:
    """Return whether transactions on registers keep to a level of isolation."""
    try:
        registers = _Registers(transactions_of(calls, WRITE), context)
    except NotJudged as error:
        return unknown(str(error))
    anomalies = list(registers.anomalies())
    also = ""
    if not any(anomaly.name == "unexpected" for anomaly in anomalies):
        graph = registers.graph(level)
        for cycle in graph.cycles(level):
            sentence = cycle_sentence(cycle, registers.committed, context, registers.why)
            anomalies.append(Anomaly(cycle.name, sentence, cycle.forbidden_from))
        if level > Isolation.READ_COMMITTED and not any(one.forbidden_from <= level for one in anomalies):
            footprints = registers.footprints()
            found = _order(footprints, graph, level)
            if found is False:
                anomalies.append(_no_order(registers, footprints, level))
            elif found is None:
                also = f"; whether an order explains all reads was not decided: they are more than {EXHAUSTIVE_MAX}"
            elif found:
                also = ", and an order that explains every read"
    return verdict_of(anomalies, level, registers.committed, len(calls), also)


def _order(footprints: Sequence[Footprint], graph: DependencyGraph, level: Isolation) -> bool | None:
    if level is not Isolation.SNAPSHOT_ISOLATION:
        return serial_order(footprints, targets_of(graph))
    return serial_order(footprints, [[] for _ in footprints]) or snapshot_order(footprints)


def _no_order(registers: _Registers, footprints: Sequence[Footprint], level: Isolation) -> Anomaly:
    people = ", ".join(describe(one, registers.context) for one in registers.committed[:4])
    more = len(footprints) - 4
    others = f" and {count(more, 'other')}" if more > 0 else ""
    name = "G-nonadjacent" if level is Isolation.SNAPSHOT_ISOLATION else "G2-item"
    forbidden = min(level, Isolation.SERIALIZABLE)
    if level is Isolation.STRICT_SERIALIZABLE and serial_order(footprints, [[] for _ in footprints]):
        name, forbidden = "G2-item-realtime", level
    sentence = (
        f"in whichever order the versions came, no order of the transactions explains every read: {people}{others}"
    )
    return Anomaly(name, sentence, forbidden)


def rw_register(level: Isolation) -> CallJudge:
    """Return the judge of transactions on registers for one level of isolation."""
    return CallJudge(
        ("txn",),
        lambda calls, context: judge_rw_register(calls, context, level),
        whole=True,
        asks_for=lambda _f, value: steps_wanted(WRITE) if steps_of(value, WRITE) is None else "",
    )
