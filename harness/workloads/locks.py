"""The workload "lock": clients use the locks of a replicated log, and a resource that the locks protect."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any, ClassVar, Final

from cluster.clients.operation import Operation
from cluster.clients.operations import Place, lock_acquire, lock_holder, lock_release, lock_renew, lock_try
from cluster.clients.outcomes import NotDone, Ok
from cluster.errors import CommandRefused
from harness.checkers.evidence import Checker
from harness.checkers.lock_leases import exclusion
from harness.checkers.models import LockModel
from harness.checkers.properties import fault_tolerance
from harness.checkers.sequential_model import Model
from harness.workloads.planned_call import PlannedCall
from harness.workloads.workload import ANSWER_AFTER_HEAL_S, Callers, CallUnderWay, Workload
from node.contract import NodeId

#: Which of three clients holds its locks by a keeper, and which one renews by hand for several leases.
_KEEPER: Final = 2
_PERSISTS: Final = 1
#: After how many uses of the resource another keeper of the same client tries to acquire the lock.
_RIVAL_AFTER: Final = 2


class FencedResource:
    """The resources that the locks protect, one for each lock. Each refuses a token below the highest that it has seen."""

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}

    def use(self, name: str, token: int) -> Ok | NotDone:
        """Use the resource of the lock `name` with a fencing token. Returns whether the resource has accepted the token."""
        highest = self._highest.get(name, 0)
        if token < highest:
            return NotDone("stale_token", f"token {highest} was used before")
        self._highest[name] = token
        return Ok(None)


@dataclass
class _FinishedCall:
    """A call that has its outcome at once."""

    outcome: Ok | NotDone


@dataclass
class _LockClient:
    """The state of one client.

    `owner` is the name under which it acquires the lock `lock`; it is empty if the client has no claim. `tries` counts
    these names. `token` is 0 unless the client holds the lock. `uses` counts the uses of the resource since then. With
    `stalls`, the client pauses for longer than its lease; with `lets_go` it releases next, and with `ends` it ends its session.
    `rivalled` says that another keeper of the client has tried to acquire the lock since the client holds it.
    """

    name: str
    tries: int = 0
    owner: str = ""
    lock: str = ""
    token: int = 0
    uses: int = 0
    stalls: bool = False
    lets_go: bool = False
    ends: bool = False
    rivalled: bool = False


class LockWorkload(Workload):
    """Operations on locks that all clients use, with short leases.

    A holder uses a resource that checks tokens, and may renew its lease. Sometimes it pauses for longer than its lease,
    and uses the resource afterwards. One client of three renews by hand for several leases, and one holds its locks by `Lock` or
    `AsyncLock`, which renew them; that one sometimes ends its session.
    """

    name = "lock"
    summary = "acquire, renew and release locks with leases; use a resource that checks tokens"
    functions = ("acquire", "renew", "release", "use")
    model: ClassVar[Model] = LockModel()
    needs_log = True
    LEASE_S: Final = 0.6
    _LEAST_LEASE_S: Final = 0.1
    #: Longer than the rounds of last calls take on a slow machine, and within every `lease_ms_max` that is drawn.
    _LONG_LEASE_S: Final = 5.0
    _LOCKS: Final = 3
    _STALL_PROBABILITY: Final = 0.2

    def __init__(self, nodes: tuple[NodeId, ...], seed: int, time_s: float, clients: int | None = None) -> None:
        super().__init__(nodes, seed, time_s, clients)
        self._holders = [_LockClient(f"h{number}") for number in range(self.clients)]
        self._seed = seed
        self._resource = FencedResource()

    @property
    def judges(self) -> dict[str, Checker]:
        return {"fault tolerance": fault_tolerance, "exclusion": exclusion}

    @classmethod
    def clients_alone(cls, nodes: tuple[NodeId, ...]) -> int:
        return 8

    def pause_s(self, client: int) -> float:
        rng, holder = self._rngs[client], self._holders[client]
        if holder.stalls:
            return self.LEASE_S * rng.uniform(1.5, 2.5)
        return min(rng.expovariate(1 / 0.06), 0.4)

    def next_call(self, client: int, now_s: float) -> PlannedCall:
        rng, holder = self._rngs[client], self._holders[client]
        holder.stalls = False
        if client % 3 == _KEEPER:
            return self._kept_call(rng, holder)
        if not holder.token:
            return self._acquire(rng, holder)
        persists = client % 3 == _PERSISTS
        if holder.uses and rng.random() < (0.08 if persists else 0.35):
            return PlannedCall("release", holder.lock, {"token": holder.token})
        if rng.random() < (0.5 if persists else 0.25):
            return PlannedCall("renew", holder.lock, {"token": holder.token})
        holder.uses += 1
        return PlannedCall("use", holder.lock, {"token": holder.token})

    def _kept_call(self, rng: Random, holder: _LockClient) -> PlannedCall:
        """Return the next call of a client whose locks are renewed by a keeper."""
        if holder.ends:
            holder.ends = False
            return PlannedCall("end", "")
        if not holder.token:
            holder.tries += 1
            holder.owner, holder.lock = f"{holder.name}-{holder.tries}", f"l{rng.randrange(self._LOCKS)}"
            value = {"owner": holder.owner, "lease_s": self.LEASE_S, "waits": False}
            late = f"late/{self._seed}/{holder.owner}" if holder.tries % 2 else ""
            return PlannedCall("acquire", holder.lock, value, wait_s=rng.uniform(0.2, 1.0), kept=True, late=late)
        if holder.lets_go or (holder.uses > 3 and rng.random() < 0.12):
            return PlannedCall("release", holder.lock, {"token": holder.token}, kept=True)
        if holder.uses == _RIVAL_AFTER and not holder.rivalled:
            # Another keeper of the same client, which is no holder of the same lock, though it names the same owner.
            holder.rivalled = True
            value = {"owner": holder.owner, "lease_s": self.LEASE_S, "waits": False}
            return PlannedCall("acquire", holder.lock, value, wait_s=self.LEASE_S / 10, kept=True)
        if rng.random() < 0.5:
            return PlannedCall("holds", holder.lock, {"token": holder.token})
        holder.uses += 1
        return PlannedCall("use", holder.lock, {"token": holder.token})

    def _acquire(self, rng: Random, holder: _LockClient) -> PlannedCall:
        """Return the call that acquires a lock. A client that waits in a queue asks again under the same name."""
        waits = bool(holder.owner) or rng.random() < 0.5
        if not holder.owner:
            holder.tries += 1
            holder.owner, holder.lock = f"{holder.name}-{holder.tries}", f"l{rng.randrange(self._LOCKS)}"
        return PlannedCall("acquire", holder.lock, {"owner": holder.owner, "lease_s": self.LEASE_S, "waits": waits})

    def final_calls(self) -> Iterator[tuple[PlannedCall, ...]]:
        wanted = {"lease_s": self.LEASE_S, "waits": True}
        first = {"owner": "last-first", "lease_s": self._LEAST_LEASE_S, "waits": True}
        yield (
            *(
                PlannedCall(
                    "acquire", f"l{number}", {"owner": f"last-{number}", **wanted}, timeout_s=ANSWER_AFTER_HEAL_S
                )
                for number in range(self._LOCKS)
            ),
            PlannedCall("acquire", "l-last", first, timeout_s=ANSWER_AFTER_HEAL_S),
            PlannedCall(
                "acquire",
                "l-given-up",
                {"owner": "last-held", "lease_s": self._LONG_LEASE_S, "waits": True},
                timeout_s=ANSWER_AFTER_HEAL_S,
            ),
        )
        # Nobody else asks for this lock, so a second hold follows the first one, also where no other lock was free in a run.
        then = {"owner": "last-then", "lease_s": self.LEASE_S, "waits": False}
        yield (
            PlannedCall("acquire", "l-last", then, wait_s=ANSWER_AFTER_HEAL_S, kept=True),
            # A client that does not wait for its turn: see `harness/checkers/keepers.py`.
            PlannedCall(
                "acquire",
                "l-given-up",
                {"owner": "last-given-up", "lease_s": self._LONG_LEASE_S, "waits": False},
                wait_s=ANSWER_AFTER_HEAL_S,
                kept=True,
                client=next(client for client in range(self.clients) if (self.first + client) % 2),
                gives_up_s=self.LEASE_S / 6,
            ),
        )
        yield (PlannedCall("holder", "l-given-up", timeout_s=ANSWER_AFTER_HEAL_S),)

    def begin(self, callers: Callers, client: int, call: PlannedCall) -> CallUnderWay:
        value: Any = call.value
        if call.kept or call.f in ("holds", "end"):
            return callers.api.begin(self.first + client, call)
        match call.f:
            case "acquire" if value["waits"]:
                operation: Operation[Any] = lock_acquire(call.key, value["owner"], value["lease_s"])
                operation = replace(operation, decode=lambda answer: _token_of(Place(*answer)))
            case "acquire":
                operation = lock_try(call.key, value["owner"], value["lease_s"])
            case "renew":
                operation = lock_renew(call.key, value["token"])
            case "release":
                operation = lock_release(call.key, value["token"])
            case "holder":
                operation = replace(lock_holder(call.key), decode=lambda answer: answer)
            case _:
                return self._use(callers, client, call)
        number, repeats = self.first + client, self.repeats(client)
        return callers.log.begin(number, call.f, call.key, call.value, operation, call.timeout_s, repeats=repeats)

    def _use(self, callers: Callers, client: int, call: PlannedCall) -> CallUnderWay:
        value: Any = call.value
        event = callers.recorder.invoke(f"u{self.first + client}", "use", call.key, call.value)
        outcome = self._resource.use(call.key, value["token"])
        if isinstance(outcome, Ok):
            callers.recorder.ok(event)
        else:
            callers.recorder.fail(event, f"{outcome.kind}: {outcome.reason}")
        return _FinishedCall(outcome)

    def ended(self, callers: Callers, client: int, call: PlannedCall, outcome: object) -> None:
        holder = self._holders[client]
        match call.f, outcome:
            case "acquire", Ok(int(token)):
                holder.token, holder.uses, holder.lets_go, holder.rivalled = token, 0, False, False
                holder.stalls = self._rngs[client].random() < self._STALL_PROBABILITY
            case "acquire", NotDone("held") if isinstance(call.value, dict) and call.value["waits"]:
                pass  # the claim waits in the queue
            case "acquire", _ if call.kept and holder.token:
                pass  # its rival had to wait
            case "end", _:
                callers.api.restart(self.first + client, new_session=True)
            case (("renew" | "use" | "holds"), Ok()):
                pass
            case (("use" | "holds"), _) if client % 3 == _KEEPER:
                holder.lets_go = True  # its keeper goes on until then
            case _:  # released, lost or unknown: the client acquires the next lock under a new name
                holder.owner, holder.token = "", 0
                holder.ends = call.kept and call.f == "release" and self._rngs[client].random() < 0.3


def _token_of(place: Place) -> int:
    if not place.token:
        raise CommandRefused("held", f"another claim holds the lock; ticket {place.ticket} waits in the queue")
    return place.token
