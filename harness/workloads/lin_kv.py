"""The workload "lin-kv": clients write, read and compare-and-set keys of a linearizable store."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

from cluster.clients.outcomes import Ok
from harness.checkers.models import CasRegisterModel
from harness.checkers.sequential_model import Model
from harness.workloads.planned_call import PlannedCall
from harness.workloads.system_workload import TIMEOUT_S, SystemWorkload
from node.contract import NodeId

#: Values are unique: each client counts up from its own thousands.
_OF_ONE_CLIENT: Final = 100_000


class LinKvWorkload(SystemWorkload):
    """Calls on keys that all clients use. Keys and values are whole numbers, and a key that was not written yet reads as nothing.

    The clients turn to new keys every few seconds, so that the history of each key stays short. Some calls go to older keys: a
    write that was lost shows as soon as the key is read again.
    """

    name = "lin-kv"
    summary = "write, read and compare-and-set on keys that all clients use, linearizably"
    functions = ("write", "read")  # a cas needs luck
    model: ClassVar[Model] = CasRegisterModel()
    _ERA_S: Final = 2.0
    _KEYS_PER_ERA: Final = 3
    _WEIGHTS: ClassVar[Mapping[str, int]] = {"write": 35, "read": 45, "cas": 20}

    def __init__(self, nodes: tuple[NodeId, ...], seed: int, time_s: float, clients: int | None = None) -> None:
        super().__init__(nodes, seed, time_s, clients)
        self._written = [0] * self.clients
        self._seen: dict[str, Any] = {}
        self._keys: dict[str, None] = {}

    def next_call(self, client: int, now_s: float) -> PlannedCall:
        rng = self._rngs[client]
        current = int(now_s / self._ERA_S)
        era = current if rng.random() < 0.75 else rng.randint(0, current)
        key = str(era * self._KEYS_PER_ERA + rng.randrange(self._KEYS_PER_ERA))
        (f,) = rng.choices(list(self._WEIGHTS), list(self._WEIGHTS.values()))
        node = rng.choice(self.nodes)
        self._keys[key] = None
        if f == "read":
            return PlannedCall(f, key, node=node, timeout_s=TIMEOUT_S)
        self._written[client] += 1
        value = client * _OF_ONE_CLIENT + self._written[client]
        return PlannedCall(f, key, value if f == "write" else [self._seen.get(key, 0), value], node, TIMEOUT_S)

    def ended(self, callers: object, client: int, call: PlannedCall, outcome: object) -> None:
        match call.f, outcome:
            case "write", Ok():
                self._seen[call.key] = call.value
            case "cas", Ok():
                assert isinstance(call.value, list)
                self._seen[call.key] = call.value[1]
            case "read", Ok(value) if value is not None:
                self._seen[call.key] = value

    def final_calls(self) -> Iterator[tuple[PlannedCall, ...]]:
        yield tuple(PlannedCall("read", key, timeout_s=TIMEOUT_S) for key in self._keys)
        yield tuple(self.at_each_node("read", next(iter(self._keys), "0")))
