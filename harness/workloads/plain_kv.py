"""The workloads "kv" and "put-get" for systems that are not ours: clients ask for keys of a store."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

from cluster.clients.outcomes import NotDone, Ok
from harness.checkers.models import KvModel
from harness.checkers.sequential_model import Model
from harness.workloads.planned_call import PlannedCall
from harness.workloads.system_workload import TIMEOUT_S, SystemWorkload
from node.contract import NodeId


class PlainKvWorkload(SystemWorkload):
    """Calls on keys that all clients use, at a random node each. Values are unique texts.

    The clients turn to new keys every two seconds, so that the history of each key stays short. Some calls go to older keys, and
    the last round reads all: a write that was lost shows as soon as its key is read again.
    """

    name = "kv"
    summary = "put, get, delete and compare-and-set on keys that all clients use, linearizably"
    functions: ClassVar[tuple[str, ...]] = ("put", "get", "delete", "cas")
    model: ClassVar[Model] = KvModel()
    _ERA_S: Final = 2.0
    _KEYS_PER_ERA: Final = 4
    _OLD_PROBABILITY: Final = 0.2
    _WEIGHTS: ClassVar[Mapping[str, int]] = {"put": 40, "get": 35, "cas": 15, "delete": 10}

    def __init__(self, nodes: tuple[NodeId, ...], seed: int, time_s: float, clients: int | None = None) -> None:
        super().__init__(nodes, seed, time_s, clients)
        self._written = [0] * self.clients
        self._seen: dict[str, Any] = {}
        self._keys: dict[str, None] = {}

    def next_call(self, client: int, now_s: float) -> PlannedCall:
        rng = self._rngs[client]
        current = int(now_s / self._ERA_S)
        era = rng.randint(0, current) if rng.random() < self._OLD_PROBABILITY else current
        key = f"k{era}-{rng.randrange(self._KEYS_PER_ERA)}"
        (f,) = rng.choices(list(self._WEIGHTS), list(self._WEIGHTS.values()))
        node = rng.choice(self.nodes)
        self._keys[key] = None
        if f in ("get", "delete"):
            return PlannedCall(f, key, node=node, timeout_s=TIMEOUT_S)
        self._written[client] += 1
        value = f"c{client + 1}-{self._written[client]}"
        return PlannedCall(f, key, value if f == "put" else [self._seen.get(key), value], node, TIMEOUT_S)

    def ended(self, callers: object, client: int, call: PlannedCall, outcome: object) -> None:
        match call.f, outcome:
            case "put", Ok():
                self._seen[call.key] = call.value
            case "cas", Ok(value) if value is not False:
                assert isinstance(call.value, list)
                self._seen[call.key] = call.value[1]
            case "get", Ok(value):
                self._seen[call.key] = value
            case "delete", Ok():
                self._seen[call.key] = None

    def final_calls(self) -> Iterator[tuple[PlannedCall, ...]]:
        # One call of each kind, so that each has succeeded at least once if the system works at all.
        arguments: dict[str, Any] = {"put": "last", "cas": ["last", "very last"]}
        for f in ("put", "cas", "delete"):
            if f in self.functions:
                yield (PlannedCall(f, "afterwards", arguments.get(f), self.nodes[0], TIMEOUT_S),)
        yield tuple(
            PlannedCall("get", key, None, self.nodes[number % len(self.nodes)], TIMEOUT_S)
            for number, key in enumerate([*self._keys, "afterwards"])
        )
        yield tuple(self.at_each_node("get", next(iter(self._keys), "k0-0")))

    def is_final(self, call: PlannedCall, outcome: object) -> bool:
        # A compare-and-set that had no answer the first time may have been done.
        return super().is_final(call, outcome) or (call.f == "cas" and isinstance(outcome, NotDone))


class PutGetWorkload(PlainKvWorkload):
    """The same, for a store that can only put and get."""

    name = "put-get"
    summary = "put and get on keys that all clients use, linearizably"
    functions: ClassVar[tuple[str, ...]] = ("put", "get")
    _WEIGHTS: ClassVar[Mapping[str, int]] = {"put": 50, "get": 50}
