"""The workloads of services whose nodes agree in the end: "g-set", "g-counter", "pn-counter" and "broadcast".

Clients add elements, numbers or messages at any node, and read at any node meanwhile. After the heal each node is read again and
again until it has all that was acknowledged, or until its time is up. The judges look at the last answer of each node.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

from harness.checkers.call_judges import CALL_JUDGES
from harness.checkers.client_calls import as_checker
from harness.checkers.evidence import Checker
from harness.records.history import RecordedCall
from harness.records.jsonable import canonical
from harness.workloads.planned_call import PlannedCall
from harness.workloads.system_workload import TIMEOUT_S, SystemWorkload
from node.contract import NodeId

_PROBABILITY_READ: Final = 0.35
_KEY: Final = ""


class AgreeingWorkload(SystemWorkload):
    """Calls that change a value of the whole service, and reads of it."""

    add: ClassVar[str] = "add"
    """What a call is named that changes the value."""

    def __init__(self, nodes: tuple[NodeId, ...], seed: int, time_s: float, clients: int | None = None) -> None:
        super().__init__(nodes, seed, time_s, clients)
        self._added = [0] * self.clients

    @property
    def judges(self) -> dict[str, Checker]:
        return {**super().judges, self.name: as_checker(CALL_JUDGES[self.name])}

    def next_call(self, client: int, now_s: float) -> PlannedCall:
        rng = self._rngs[client]
        node = rng.choice(self.nodes)
        if rng.random() < _PROBABILITY_READ:
            return PlannedCall("read", _KEY, None, node, TIMEOUT_S)
        return PlannedCall(self.add, _KEY, self.change(client), node, TIMEOUT_S)

    def change(self, client: int) -> int:
        """Return what a client adds next: an element that nobody else adds."""
        self._added[client] += 1
        return self._added[client] * self.clients + client

    def final_calls(self) -> Iterator[tuple[PlannedCall, ...]]:
        yield tuple(self.at_each_node("read", _KEY))

    def _is_acknowledged(self, call: RecordedCall) -> bool:
        return call.f == self.add and call.outcome == "ok"


class GrowOnlySetWorkload(AgreeingWorkload):
    """Elements that are added to a set."""

    name = "g-set"
    summary = "add elements to a set that only grows, and read it: nodes agree in the end"
    functions = ("add", "read")

    def before_last_round(self, calls: Sequence[RecordedCall]) -> None:
        self._acknowledged = {canonical(call.invoke.value) for call in calls if self._is_acknowledged(call)}

    def is_final(self, call: PlannedCall, outcome: object) -> bool:
        value = self.value_of(outcome)
        return isinstance(value, list) and self._acknowledged <= {canonical(element) for element in value}


class BroadcastWorkload(GrowOnlySetWorkload):
    """Messages that are broadcast."""

    name = "broadcast"
    summary = "broadcast messages, and read which ones a node has: each node has all in the end"
    functions = ("broadcast", "read")
    add = "broadcast"


class GrowOnlyCounterWorkload(AgreeingWorkload):
    """Numbers that are added to a counter."""

    name = "g-counter"
    summary = "add to a counter that only grows, and read it: nodes agree in the end"
    functions = ("add", "read")
    _LEAST: ClassVar[int] = 0
    _MOST: ClassVar[int] = 5

    def change(self, client: int) -> int:
        return self._rngs[client].randint(self._LEAST, self._MOST)

    def before_last_round(self, calls: Sequence[RecordedCall]) -> None:
        sums = {"ok": 0, "below": 0, "above": 0}
        for call in calls:
            if call.f != self.add or call.outcome == "fail":
                continue
            assert isinstance(call.invoke.value, int)
            sums["ok" if call.outcome == "ok" else "below" if call.invoke.value < 0 else "above"] += call.invoke.value
        self._least, self._most = sums["ok"] + sums["below"], sums["ok"] + sums["above"]

    def is_final(self, call: PlannedCall, outcome: object) -> bool:
        # The value may hold any of the changes of unknown outcome. Whether it is a sum of some of them is for the judge.
        value = self.value_of(outcome)
        return isinstance(value, int) and self._least <= value <= self._most


class CounterWorkload(GrowOnlyCounterWorkload):
    """Numbers that are added to a counter, and may be negative."""

    name = "pn-counter"
    summary = "add to a counter, also negative numbers, and read it: nodes agree in the end"
    _LEAST = -5
