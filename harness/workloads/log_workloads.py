"""What clients do with the machines that a replicated log drives.

Several processes share a client, so that one frame carries several commands. A client whose call was left unanswered
restarts now and then and resumes its session: what it had on its way must then take effect once, or never.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any, ClassVar, Final

from cluster.clients.operations import Ask as LogAsk
from cluster.clients.operations import (
    Place,
    kv_compare_and_set,
    kv_delete,
    kv_get,
    kv_put,
    lock_acquire,
    lock_release,
    lock_renew,
    lock_try,
)
from cluster.clients.pipeline import NotDone, NotKnown, Ok
from cluster.errors import CommandRefused
from harness.checkers.models import CasRegister, Kv, Lock, Model
from harness.runs.experiment import Experiment
from harness.workloads.workload import LIVE_S, Ask, Begun, Workload
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
    functions: ClassVar[tuple[str, ...]] = ("put", "get", "delete", "cas")
    model: ClassVar[Model] = Kv()
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

    def next_call(self, client: int, now_s: float) -> Ask:
        rng = self._rngs[client]
        current = int(now_s / self._EACH_S)
        era = current if rng.random() < 0.9 else rng.randint(0, current)
        key = f"k{era}-{rng.randrange(self._KEYS)}"
        self._keys[key] = None
        (f,) = rng.choices(list(self._WEIGHTS), list(self._WEIGHTS.values()))
        if f in (self._GET, "delete"):
            return Ask(f, key)
        self._written[client] += 1
        value = f"c{client}-{self._written[client]}"
        return Ask(f, key, value if f == self._PUT else [self._seen.get(key, (None, 0))[0], value])

    def final_calls(self) -> Iterator[tuple[Ask, ...]]:
        yield tuple(
            Ask(self._PUT, f"after-{client}", f"last of {client}", timeout_s=LIVE_S) for client in range(self.clients)
        )
        keys = [*self._keys, *(f"after-{client}" for client in range(self.clients))]
        yield tuple(Ask(self._GET, key, timeout_s=LIVE_S) for key in keys)

    def begin(self, experiment: Experiment, client: int, ask: Ask) -> Begun:
        number = client // _PROCESSES_A_CLIENT
        told = _value if ask.f == self._GET else _as_it_is
        return experiment.log.begin(number, ask.f, ask.key, ask.value, self._log_ask(ask), ask.timeout_s, told)

    def _log_ask(self, ask: Ask) -> LogAsk[Any]:
        match ask.value:
            case [old, new]:
                return kv_compare_and_set(ask.key, self._versions.get((ask.key, old), 0), new)
            case None:
                return kv_get(ask.key) if ask.f == self._GET else kv_delete(ask.key)
        return kv_put(ask.key, ask.value)

    def ended(self, experiment: Experiment, client: int, ask: Ask, outcome: object) -> None:
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
                experiment.log.restart(client // _PROCESSES_A_CLIENT)

    def _saw(self, key: str, value: Any, version: int) -> None:
        """Every value is written once, so a version and a value say the same."""
        self._versions[key, value] = version
        if version >= self._seen.get(key, (None, 0))[1]:
            self._seen[key] = (value, version)


def _as_it_is(answer: Any) -> Any:
    return answer


def _value(entry: tuple[Any, int] | None) -> Any:
    return None if entry is None else entry[0]


class CasRegisters(KeyValues):
    """The same without deletes, in the words of a register."""

    name = "cas-register"
    summary = "write, read and compare-and-set on registers that all clients fight over"
    functions = ("write", "read", "cas")
    model: ClassVar[Model] = CasRegister()
    _WEIGHTS: ClassVar[Mapping[str, int]] = {"write": 40, "read": 35, "cas": 25}
    _PUT, _GET = "write", "read"


class FencedResource:
    """What the locks protect: it refuses a token below the highest that it has seen. One for each lock."""

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}

    def use(self, name: str, token: int) -> Ok | NotDone:
        """Whoever holds the lock `name` with this token uses it."""
        highest = self._highest.get(name, 0)
        if token < highest:
            return NotDone("stale_token", f"token {highest} has been seen")
        self._highest[name] = token
        return Ok(None)


@dataclass
class _Done:
    """A call that was over as soon as it was made."""

    outcome: Ok | NotDone


@dataclass
class _Client:
    """What one client holds, under which name it asks, and what it does next."""

    name: str
    tries: int = 0
    owner: str = ""
    lock: str = ""
    token: int = 0
    uses: int = 0
    stalls: bool = False


class Locks(Workload):
    """Locks that all clients fight over, with short leases. A holder uses a resource that checks tokens, renews its lease
    or does not, and is sometimes stalled for longer than its lease, and uses it then.
    """

    name = "lock"
    summary = "acquire, renew and release locks with leases; a resource that checks tokens"
    functions = ("acquire", "renew", "release", "use")
    model: ClassVar[Model] = Lock()
    needs_log = True
    LEASE_S: Final = 0.6
    _LOCKS: Final = 3
    _STALLS: Final = 0.2

    def __init__(self, nodes: tuple[NodeId, ...], seed: int, time_s: float) -> None:
        super().__init__(nodes, seed, time_s)
        self._holders = [_Client(f"h{number}") for number in range(self.clients)]
        self._resource = FencedResource()

    @property
    def clients(self) -> int:
        return 8

    def pause_s(self, client: int) -> float:
        rng, holder = self._rngs[client], self._holders[client]
        if holder.stalls:
            return self.LEASE_S * rng.uniform(1.5, 2.5)
        return min(rng.expovariate(1 / 0.06), 0.4)

    def next_call(self, client: int, now_s: float) -> Ask:
        rng, holder = self._rngs[client], self._holders[client]
        holder.stalls = False
        if not holder.token:
            return self._acquire(rng, holder)
        if holder.uses and rng.random() < 0.35:
            return Ask("release", holder.lock, {"token": holder.token})
        if rng.random() < 0.25:
            return Ask("renew", holder.lock, {"token": holder.token})
        holder.uses += 1
        return Ask("use", holder.lock, {"token": holder.token})

    def _acquire(self, rng: Random, holder: _Client) -> Ask:
        """A place in line is kept, by the same name; whoever only tries asks for another lock next time."""
        waits = bool(holder.owner) or rng.random() < 0.5
        if not holder.owner:
            holder.tries += 1
            holder.owner, holder.lock = f"{holder.name}-{holder.tries}", f"l{rng.randrange(self._LOCKS)}"
        return Ask("acquire", holder.lock, {"owner": holder.owner, "lease_s": self.LEASE_S, "waits": waits})

    def final_calls(self) -> Iterator[tuple[Ask, ...]]:
        wanted = {"lease_s": self.LEASE_S, "waits": True}
        yield tuple(
            Ask("acquire", f"l{number}", {"owner": f"last-{number}", **wanted}, timeout_s=LIVE_S)
            for number in range(self._LOCKS)
        )

    def begin(self, experiment: Experiment, client: int, ask: Ask) -> Begun:
        value: Any = ask.value
        match ask.f:
            case "acquire" if value["waits"]:
                log_ask: LogAsk[Any] = lock_acquire(ask.key, value["owner"], value["lease_s"])
                log_ask = replace(log_ask, decode=lambda answer: _granted(Place(*answer)))
            case "acquire":
                log_ask = lock_try(ask.key, value["owner"], value["lease_s"])
            case "renew":
                log_ask = lock_renew(ask.key, value["token"])
            case "release":
                log_ask = lock_release(ask.key, value["token"])
            case _:
                return self._use(experiment, client, ask)
        return experiment.log.begin(client, ask.f, ask.key, ask.value, log_ask, ask.timeout_s)

    def _use(self, experiment: Experiment, client: int, ask: Ask) -> Begun:
        value: Any = ask.value
        event = experiment.recorder.invoke(f"u{client}", "use", ask.key, ask.value)
        outcome = self._resource.use(ask.key, value["token"])
        if isinstance(outcome, Ok):
            experiment.recorder.ok(event)
        else:
            experiment.recorder.fail(event, f"{outcome.kind}: {outcome.reason}")
        return _Done(outcome)

    def ended(self, experiment: Experiment, client: int, ask: Ask, outcome: object) -> None:
        holder = self._holders[client]
        match ask.f, outcome:
            case "acquire", Ok(int(token)):
                holder.token, holder.uses = token, 0
                holder.stalls = self._rngs[client].random() < self._STALLS
            case "acquire", NotDone("held") if isinstance(ask.value, dict) and ask.value["waits"]:
                pass  # it stands in line
            case (("renew" | "use"), Ok()):
                pass
            case _:  # released, lost, or nobody knows: the next one is asked for under another name
                holder.owner, holder.token = "", 0


def _granted(place: Place) -> int:
    if not place.token:
        raise CommandRefused("held", f"by another; ticket {place.ticket} waits in line")
    return place.token


#: In the order in which they are listed.
LOG_WORKLOADS: Final[tuple[type[Workload], ...]] = (KeyValues, CasRegisters, Locks)
