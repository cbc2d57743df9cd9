"""The workloads "txn-list-append" and "txn-rw-register": transactions on keys, judged by Elle's method.

A level of isolation may follow the name, such as `txn-rw-register/read-committed`. Without one it is strict serializability.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

from harness.checkers.client_calls import as_checker
from harness.checkers.evidence import Checker, RunEvidence
from harness.checkers.list_append import list_append
from harness.checkers.rw_register import rw_register
from harness.checkers.transactions import Isolation
from harness.records.history import Event, History
from harness.workloads.planned_call import PlannedCall
from harness.workloads.system_workload import TIMEOUT_S, SystemWorkload
from node.algorithms.paxos import Paxos
from node.contract import NodeId

_ERA_S: Final = 1.5
_KEYS_PER_ERA: Final = 3
_CALLS_MAX: Final = 4
_PROBABILITY_READ: Final = 0.5
#: How many of the newest keys each node is asked for in the end.
_KEYS_IN_THE_END: Final = 12


class TransactionWorkload(SystemWorkload):
    """Transactions of one to four reads and writes, on keys that all clients use. Each value is written once."""

    functions = ("txn",)
    level: ClassVar[Isolation] = Isolation.STRICT_SERIALIZABLE
    _WRITE: ClassVar[str]
    _UNEXPECTED: ClassVar[object]
    """What a read of a key that nobody has written returns in the known bad run."""

    def __init__(self, nodes: tuple[NodeId, ...], seed: int, time_s: float, clients: int | None = None) -> None:
        super().__init__(nodes, seed, time_s, clients)
        self._written: dict[int, int] = {}

    @property
    def judges(self) -> dict[str, Checker]:
        judge = list_append(self.level) if self._WRITE == "append" else rw_register(self.level)
        return {**super().judges, "isolation": as_checker(judge)}

    @property
    def bad_runs(self) -> Mapping[str, RunEvidence]:
        asked, answered = [["r", 0, None]], [["r", 0, self._UNEXPECTED]]
        events = (
            Event(0, 0, "c1", "invoke", "txn", "", asked, timeout_s=1.0),
            Event(1, 1, "c1", "ok", "txn", "", answered),
        )
        return {"isolation": RunEvidence(("n1",), Paxos, History(events))}

    def next_call(self, client: int, now_s: float) -> PlannedCall:
        rng = self._rngs[client]
        current = int(now_s / _ERA_S)
        calls: list[list[Any]] = []
        for _ in range(rng.randint(1, _CALLS_MAX)):
            era = current if rng.random() < 0.8 else rng.randint(0, current)
            key = era * _KEYS_PER_ERA + rng.randrange(_KEYS_PER_ERA)
            if rng.random() < _PROBABILITY_READ:
                calls.append(["r", key, None])
            else:
                self._written[key] = self._written.get(key, 0) + 1
                calls.append([self._WRITE, key, self._written[key]])
        return PlannedCall("txn", "", calls, rng.choice(self.nodes), TIMEOUT_S)

    def final_calls(self) -> Iterator[tuple[PlannedCall, ...]]:
        reads = [["r", key, None] for key in sorted(self._written)[-_KEYS_IN_THE_END:]] or [["r", 0, None]]
        yield tuple(PlannedCall("txn", "", reads, node, TIMEOUT_S) for node in self.nodes)


class ListAppendWorkload(TransactionWorkload):
    """Transactions that append to lists."""

    name = "txn-list-append"
    summary = "transactions that append to lists and read them"
    _WRITE = "append"
    _UNEXPECTED: ClassVar[object] = [7]


class RwRegisterWorkload(TransactionWorkload):
    """Transactions that write registers."""

    name = "txn-rw-register"
    summary = "transactions that write registers and read them"
    _WRITE = "w"
    _UNEXPECTED: ClassVar[object] = 7


def at_level(workload: type[TransactionWorkload], level: Isolation) -> type[TransactionWorkload]:
    """Return the workload with another level of isolation, which its name then says."""
    name = f"{workload.name}/{level.text.replace(' ', '-')}"
    about = {"name": name, "level": level, "__doc__": workload.__doc__}
    return type(workload.__name__, (workload,), about)
