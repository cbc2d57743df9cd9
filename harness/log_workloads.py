"""What clients do with the machines that a replicated log drives.

Several processes share a client, so that one frame carries several commands. A client whose call was left unanswered
restarts now and then and resumes its session: what it had on its way must then take effect once, or never.
"""

from collections.abc import Iterator
from random import Random
from typing import Any, ClassVar, Final

from cluster.asks import Ask as LogAsk
from cluster.asks import kv_compare_and_set, kv_delete, kv_get, kv_put
from cluster.pipeline import NotKnown, Ok
from harness.experiment import Experiment
from harness.models import Kv, Model
from harness.workloads import LIVE_S, Ask, Begun, Workload
from node.contract import NodeId

_CLIENTS: Final = 4
_PROCESSES_A_CLIENT: Final = 3
_RESTARTS: Final = 0.3


class KeyValues(Workload):
    """Keys that all clients put, get, delete and compare-and-set. Every few seconds they turn to new keys, so that no key's
    history grows long; older ones are asked for again.
    """

    name = "kv"
    summary = "put, get, delete and compare-and-set on keys that all clients fight over"
    functions = ("put", "get", "delete", "cas")
    model: ClassVar[Model] = Kv()
    needs_log = True
    _EACH_S: Final = 1.5
    _KEYS: Final = 4
    _WEIGHTS: Final = {"put": 35, "get": 35, "cas": 20, "delete": 10}

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

    def next_call(self, client: int, now_s: float) -> Ask:
        rng = self._rngs[client]
        current = int(now_s / self._EACH_S)
        era = current if rng.random() < 0.9 else rng.randint(0, current)
        key = f"k{era}-{rng.randrange(self._KEYS)}"
        self._keys[key] = None
        (f,) = rng.choices(list(self._WEIGHTS), list(self._WEIGHTS.values()))
        if f in ("get", "delete"):
            return Ask(f, key)
        self._written[client] += 1
        value = f"c{client}-{self._written[client]}"
        return Ask(f, key, value if f == "put" else [self._seen.get(key, (None, 0))[0], value])

    def final_calls(self) -> Iterator[tuple[Ask, ...]]:
        yield tuple(
            Ask("put", f"after-{client}", f"last of {client}", timeout_s=LIVE_S) for client in range(self.clients)
        )
        keys = [*self._keys, *(f"after-{client}" for client in range(self.clients))]
        yield tuple(Ask("get", key, timeout_s=LIVE_S) for key in keys)

    def begin(self, experiment: Experiment, client: int, ask: Ask) -> Begun:
        told = None if ask.f != "get" else _value
        log_ask = self._log_ask(ask)
        options = {} if told is None else {"told": told}
        return experiment.log.begin(
            client // _PROCESSES_A_CLIENT, ask.f, ask.key, ask.value, log_ask, ask.timeout_s, **options
        )

    def _log_ask(self, ask: Ask) -> LogAsk[Any]:
        match ask.f, ask.value:
            case "put", value:
                return kv_put(ask.key, value)
            case "get", _:
                return kv_get(ask.key)
            case "delete", _:
                return kv_delete(ask.key)
            case "cas", [old, new]:
                return kv_compare_and_set(ask.key, self._versions.get((ask.key, old), 0), new)
        raise AssertionError(ask)

    def ended(self, experiment: Experiment, client: int, ask: Ask, outcome: object) -> None:
        match ask.f, outcome:
            case "get", Ok((value, version)):
                self._saw(ask.key, value, version)
            case "get", Ok(None):
                self._seen.pop(ask.key, None)
            case "put", Ok(int(version)):
                self._saw(ask.key, ask.value, version)
            case "cas", Ok(int(version)) if isinstance(ask.value, list):
                self._saw(ask.key, ask.value[1], version)
            case _, NotKnown() if self._rng_restarts.random() < _RESTARTS:
                experiment.log.restart(client // _PROCESSES_A_CLIENT)

    def _saw(self, key: str, value: Any, version: int) -> None:
        """Every value is written once, so a version and a value say the same."""
        self._versions[key, value] = version
        if version >= self._seen.get(key, (None, 0))[1]:
            self._seen[key] = (value, version)


def _value(entry: tuple[Any, int] | None) -> Any:
    return None if entry is None else entry[0]


#: In the order in which they are listed.
LOG_WORKLOADS: Final[tuple[type[Workload], ...]] = (KeyValues,)
