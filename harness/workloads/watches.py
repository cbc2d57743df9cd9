"""The workload "watch": clients change keys, and others follow every change, by watches and by iterators."""

from collections.abc import Iterator
from typing import Any, ClassVar, Final

from cluster.clients.outcomes import Ok
from harness.workloads.log_workload import LogWorkload
from harness.workloads.planned_call import PlannedCall
from harness.workloads.workload import ANSWER_AFTER_HEAL_S, Callers
from node.contract import NodeId


class WatchWorkload(LogWorkload):
    """Some clients put and delete a few keys. The others watch a prefix, and go on from where their last watch ended.

    Now and then a watcher begins again from an old version, so that it reads the history that a node keeps.
    """

    name = "watch"
    summary = "put and delete keys; follow every change by watches and iterators; read ranges"
    functions: ClassVar[tuple[str, ...]] = ("put", "delete", "watch", "range", "version")
    _KEYS: Final = tuple(f"{letter}-{number}" for letter in ("wa", "wb") for number in range(3))
    _PREFIXES: Final = ("wa-", "wb-", "w", "wa-1")
    _BEGINS_AGAIN: Final = 0.1

    def __init__(self, nodes: tuple[NodeId, ...], seed: int, time_s: float, clients: int | None = None) -> None:
        super().__init__(nodes, seed, time_s, clients)
        self._written = [0] * self.clients
        self._after = [0] * self.clients

    @classmethod
    def clients_alone(cls, nodes: tuple[NodeId, ...]) -> int:
        return 10

    def pause_s(self, client: int) -> float:
        return min(self._rngs[client].expovariate(1 / (0.15 if client % 2 else 0.02)), 0.6)

    def next_call(self, client: int, now_s: float) -> PlannedCall:
        """Return the next call: clients with odd numbers write, the others watch."""
        rng = self._rngs[client]
        if client % 2:
            key = rng.choice(self._KEYS)
            if rng.random() < 0.3:
                return PlannedCall("delete", key)
            self._written[client] += 1
            return PlannedCall("put", key, f"w{client}-{self._written[client]}")
        draw = rng.random()
        if draw < 0.1:
            return PlannedCall("range", rng.choice(self._PREFIXES))
        if draw < 0.15:
            return PlannedCall("version", "")
        if rng.random() < self._BEGINS_AGAIN:
            self._after[client] = rng.randint(0, self._after[client])
        prefix = self._PREFIXES[client // 2 % len(self._PREFIXES)]
        return PlannedCall("watch", prefix, {"after": self._after[client]}, wait_s=rng.choice((0.1, 0.4, 1.0)))

    def ended(self, callers: Callers, client: int, call: PlannedCall, outcome: object) -> None:
        match call.f, outcome:
            case "watch", Ok({"seen": int(seen)}):
                self._after[client] = seen
            case "version", Ok(int(version)) if self._after[client] == 0:
                self._after[client] = version
        super().ended(callers, client, call, outcome)

    def final_calls(self) -> Iterator[tuple[PlannedCall, ...]]:
        yield tuple(
            PlannedCall("put", f"w-after-{client}", f"last of {client}", timeout_s=ANSWER_AFTER_HEAL_S)
            for client in range(self.clients)
        )
        after: Any = {"after": 0}
        yield tuple(
            PlannedCall(f, key, timeout_s=ANSWER_AFTER_HEAL_S) for f, key in (("delete", "wa-0"), ("version", ""))
        )
        yield tuple(
            PlannedCall("watch", "w", after, wait_s=0.3) if client % 2 else PlannedCall("range", "w")
            for client in range(self.clients)
        )
