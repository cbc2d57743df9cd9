"""The workload "kv": clients put, get, delete and compare-and-set keys of a replicated log, and read ranges of them.

Several clients of the workload share one client of the log, so that one frame carries several commands. After a call
without an answer, the log's client sometimes restarts and resumes its session. A command that was on its way then must
take effect once or never.

Some of the reads save the whole state, as `consensus save` does, and take the key's value from the save. So the judge of the
reads judges saves, too.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from random import Random
from typing import Any, ClassVar, Final

from cluster.clients.kv_operations import KeyEntry, KeyPage, VersionedValue
from cluster.clients.operation import Operation, Steps
from cluster.clients.operations import (
    kv_compare_and_set,
    kv_delete,
    kv_get_with_version,
    kv_page,
    kv_put,
    kv_version,
)
from cluster.clients.outcomes import NotKnown, Ok
from cluster.errors import CommandRefused
from cluster.saving import fetch_copy
from harness.checkers.evidence import Checker
from harness.checkers.models import KvModel
from harness.checkers.replicas import effects
from harness.checkers.sequential_model import Model
from harness.workloads.planned_call import PlannedCall
from harness.workloads.public_calls import plain
from harness.workloads.workload import ANSWER_AFTER_HEAL_S, Callers, CallUnderWay, Workload
from node.contract import NodeId, Value
from node.machines import DEFAULT
from node.machines.kv import KvMachine
from node.replication.configuration import Configuration
from node.replication.state import ReplicatedState
from node.wire import decode_value

_LOG_CLIENTS: Final = 4
_CLIENTS_PER_LOG_CLIENT: Final = 3
#: The probability that a log's client restarts after a call without an answer.
_RESTART_PROBABILITY: Final = 0.3
#: The probability that a read is one of a save.
_SAVE_PROBABILITY: Final = 0.02


class KeyValueWorkload(Workload):
    """Operations on keys that all clients use.

    The clients turn to new keys every 1.5 seconds, so that the history of each key stays short. Some calls go to older
    keys.
    """

    name = "kv"
    summary = "put, get, delete, compare-and-set on keys that all clients use; read ranges and versions"
    functions: ClassVar[tuple[str, ...]] = ("put", "get", "delete", "cas", "range", "version")
    model: ClassVar[Model] = KvModel()
    needs_log = True
    #: For so many seconds clients use the same keys.
    _ERA_S: Final = 1.5
    _KEYS_PER_ERA: Final = 4
    _WEIGHTS: ClassVar[Mapping[str, int]] = {"put": 30, "get": 30, "cas": 20, "delete": 12, "range": 5, "version": 3}
    _PUT: ClassVar[str] = "put"
    _GET: ClassVar[str] = "get"

    def __init__(self, nodes: tuple[NodeId, ...], seed: int, time_s: float, clients: int | None = None) -> None:
        super().__init__(nodes, seed, time_s, clients)
        self._written = [0] * self.clients
        #: By key: the newest value in an answer, and its version.
        self._seen: dict[str, tuple[Any, int]] = {}
        #: By key and value: the version.
        self._versions: dict[tuple[str, object], int] = {}
        self._keys: dict[str, None] = {}
        self._rng_restarts = Random(f"restarts/{seed}")
        self._rng_saves = Random(f"saves/{seed}")
        self.saves = 0
        """How many reads took their value from a save."""

    @property
    def judges(self) -> dict[str, Checker]:
        return {**super().judges, "effects": effects}

    @classmethod
    def clients_alone(cls, nodes: tuple[NodeId, ...]) -> int:
        return _LOG_CLIENTS * _CLIENTS_PER_LOG_CLIENT

    def pause_s(self, client: int) -> float:
        return min(self._rngs[client].expovariate(1 / 0.1), 0.6)

    def next_call(self, client: int, now_s: float) -> PlannedCall:
        rng = self._rngs[client]
        current = int(now_s / self._ERA_S)
        era = current if rng.random() < 0.9 else rng.randint(0, current)
        key = f"k{era}-{rng.randrange(self._KEYS_PER_ERA)}"
        self._keys[key] = None
        (f,) = rng.choices(list(self._WEIGHTS), list(self._WEIGHTS.values()))
        if f in ("range", "version"):
            return PlannedCall(f, "" if f == "version" else f"k{era}-")
        if f in (self._GET, "delete"):
            return PlannedCall(f, key)
        self._written[client] += 1
        value = f"c{client}-{self._written[client]}"
        return PlannedCall(f, key, value if f == self._PUT else [self._seen.get(key, (None, 0))[0], value])

    def final_calls(self) -> Iterator[tuple[PlannedCall, ...]]:
        yield tuple(
            PlannedCall(self._PUT, f"after-{client}", f"last of {client}", timeout_s=ANSWER_AFTER_HEAL_S)
            for client in range(self.clients)
        )
        keys = [*self._keys, *(f"after-{client}" for client in range(self.clients))]
        more = [PlannedCall(f, "", timeout_s=ANSWER_AFTER_HEAL_S) for f in ("range", "version") if f in self.functions]
        yield (*more, *(PlannedCall(self._GET, key, timeout_s=ANSWER_AFTER_HEAL_S) for key in keys))

    def begin(self, callers: Callers, client: int, call: PlannedCall) -> CallUnderWay:
        number = self._log_client(client)
        to_history = _value if call.f == self._GET else partial(plain, call.f)
        operation = self._operation(call)
        if call.f == self._GET and self._rng_saves.random() < _SAVE_PROBABILITY:
            operation = self._read_a_save(call.key, call.timeout_s)
        repeats = self.repeats(number - self.first)
        return callers.log.begin(number, call.f, call.key, call.value, operation, call.timeout_s, to_history, repeats)

    def _read_a_save(self, key: str, timeout_s: float) -> Steps[VersionedValue | None]:
        """Save the state, and return the value of a key in the save, as `kv_get_with_version` does."""
        try:
            copy = yield from fetch_copy(timeout_s)
        except CommandRefused:  # other clients save already
            found: VersionedValue | None = yield kv_get_with_version(key)
            return found
        self.saves += 1
        state = ReplicatedState(DEFAULT, Configuration(()))
        state.restore(copy.packed)
        kv = state.machines["kv"]
        assert isinstance(kv, KvMachine)
        packed, version = kv.entries.get(key, (None, 0))
        return None if packed is None else VersionedValue(decode_value(Value(packed)), version)

    def _operation(self, call: PlannedCall) -> Operation[Any] | Steps[Any]:
        if call.f in ("range", "version"):
            return kv_version() if call.f == "version" else _whole_range(call.key, call.timeout_s)
        match call.value:
            case [old, new]:
                return kv_compare_and_set(call.key, self._versions.get((call.key, old), 0), new)
            case None:
                return kv_get_with_version(call.key) if call.f == self._GET else kv_delete(call.key)
        return kv_put(call.key, call.value)

    def ended(self, callers: Callers, client: int, call: PlannedCall, outcome: object) -> None:
        match call.value, outcome:
            case None, Ok(_) if call.f in ("range", "version"):
                pass
            case None, Ok((value, version)):
                self._note_version(call.key, value, version)
            case None, Ok(None):
                self._seen.pop(call.key, None)
            case [_, new], Ok(int(version)):
                self._note_version(call.key, new, version)
            case str(value), Ok(int(version)):
                self._note_version(call.key, value, version)
            case _, NotKnown() if self._rng_restarts.random() < _RESTART_PROBABILITY:
                callers.log.restart(self._log_client(client))

    def _log_client(self, client: int) -> int:
        return self.first + client // _CLIENTS_PER_LOG_CLIENT

    def _note_version(self, key: str, value: Any, version: int) -> None:
        """Note the version of a value. Each value is written once, so a value has one version."""
        self._versions[key, value] = version
        if version >= self._seen.get(key, (None, 0))[1]:
            self._seen[key] = (value, version)


def _value(entry: tuple[Any, int] | None) -> Any:
    return None if entry is None else entry[0]


def _whole_range(prefix: str, timeout_s: float) -> Steps[list[KeyEntry]]:
    """Read every page of a range. Their entries may be of different moments."""
    page: KeyPage = yield kv_page(prefix, "", timeout_s)
    entries = page.entries
    while page.more:
        page = yield kv_page(prefix, entries[-1].key, timeout_s)
        entries = [*entries, *page.entries]
    return entries
