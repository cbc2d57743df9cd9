"""What clients do with the keys and values of a replicated log.

Several processes share a client, so that one frame carries several commands. A client whose call was left unanswered
restarts now and then and resumes its session: what it had on its way must then take effect once, or never.
"""

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, ClassVar, Final

from cluster.clients.operation import Operation
from cluster.clients.operations import kv_compare_and_set, kv_delete, kv_get_with_version, kv_put
from cluster.clients.outcomes import NotKnown, Ok
from harness.checkers.models import KvModel, Model
from harness.workloads.workload import LIVE_S, Callers, CallUnderWay, PlannedCall, Workload
from node.contract import NodeId

_CLIENTS: Final = 4
_PROCESSES_A_CLIENT: Final = 3
_RESTARTS: Final = 0.3


class KeyValueWorkload(Workload):
    """Keys that all clients put, get, delete and compare-and-set. Every few seconds they turn to new keys, so that no key's
    history grows long; older ones are asked for again.
    """

    name = "kv"
    summary = "put, get, delete and compare-and-set on keys that all clients fight over"
    functions: ClassVar[tuple[str, ...]] = ("put", "get", "delete", "cas")
    model: ClassVar[Model] = KvModel()
    needs_log = True
    _EACH_S: Final = 1.5
    _KEYS: Final = 4
    _WEIGHTS: ClassVar[Mapping[str, int]] = {"put": 35, "get": 35, "cas": 20, "delete": 10}
    _PUT: ClassVar[str] = "put"
    _GET: ClassVar[str] = "get"

    def __init__(self, nodes: tuple[NodeId, ...], seed: int, time_s: float) -> None:
        super().__init__(nodes, seed, time_s)
        self._written = [0] * self.clients
        self._seen: dict[str, tuple[Any, int]] = {}  # by key: a value that somebody was told, and its version
        self._versions: dict[tuple[str, object], int] = {}
        self._keys: dict[str, None] = {}
        self._rng_restarts = Random(f"restarts/{seed}")

    @property
    def clients(self) -> int:
        return _CLIENTS * _PROCESSES_A_CLIENT

    def pause_s(self, client: int) -> float:
        return min(self._rngs[client].expovariate(1 / 0.1), 0.6)

    def next_call(self, client: int, now_s: float) -> PlannedCall:
        rng = self._rngs[client]
        current = int(now_s / self._EACH_S)
        era = current if rng.random() < 0.9 else rng.randint(0, current)
        key = f"k{era}-{rng.randrange(self._KEYS)}"
        self._keys[key] = None
        (f,) = rng.choices(list(self._WEIGHTS), list(self._WEIGHTS.values()))
        if f in (self._GET, "delete"):
            return PlannedCall(f, key)
        self._written[client] += 1
        value = f"c{client}-{self._written[client]}"
        return PlannedCall(f, key, value if f == self._PUT else [self._seen.get(key, (None, 0))[0], value])

    def final_calls(self) -> Iterator[tuple[PlannedCall, ...]]:
        yield tuple(
            PlannedCall(self._PUT, f"after-{client}", f"last of {client}", timeout_s=LIVE_S)
            for client in range(self.clients)
        )
        keys = [*self._keys, *(f"after-{client}" for client in range(self.clients))]
        yield tuple(PlannedCall(self._GET, key, timeout_s=LIVE_S) for key in keys)

    def begin(self, callers: Callers, client: int, ask: PlannedCall) -> CallUnderWay:
        number = client // _PROCESSES_A_CLIENT
        told = _value if ask.f == self._GET else _as_it_is
        return callers.log.begin(number, ask.f, ask.key, ask.value, self._operation(ask), ask.timeout_s, told)

    def _operation(self, ask: PlannedCall) -> Operation[Any]:
        match ask.value:
            case [old, new]:
                return kv_compare_and_set(ask.key, self._versions.get((ask.key, old), 0), new)
            case None:
                return kv_get_with_version(ask.key) if ask.f == self._GET else kv_delete(ask.key)
        return kv_put(ask.key, ask.value)

    def ended(self, callers: Callers, client: int, ask: PlannedCall, outcome: object) -> None:
        match ask.value, outcome:
            case None, Ok((value, version)):
                self._saw(ask.key, value, version)
            case None, Ok(None):
                self._seen.pop(ask.key, None)
            case [_, new], Ok(int(version)):
                self._saw(ask.key, new, version)
            case str(value), Ok(int(version)):
                self._saw(ask.key, value, version)
            case _, NotKnown() if self._rng_restarts.random() < _RESTARTS:
                callers.log.restart(client // _PROCESSES_A_CLIENT)

    def _saw(self, key: str, value: Any, version: int) -> None:
        """Every value is written once, so a version and a value say the same."""
        self._versions[key, value] = version
        if version >= self._seen.get(key, (None, 0))[1]:
            self._seen[key] = (value, version)


def _as_it_is(answer: Any) -> Any:
    return answer


def _value(entry: tuple[Any, int] | None) -> Any:
    return None if entry is None else entry[0]
