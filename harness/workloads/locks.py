"""What clients do with the locks of a replicated log, and with what the locks protect."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any, ClassVar, Final

from cluster.clients.operation import Operation
from cluster.clients.operations import Place, lock_acquire, lock_release, lock_renew, lock_try
from cluster.clients.outcomes import NotDone, Ok
from cluster.errors import CommandRefused
from harness.checkers.models import LockModel, Model
from harness.workloads.workload import LIVE_S, Callers, CallUnderWay, PlannedCall, Workload
from node.contract import NodeId


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


class LockWorkload(Workload):
    """Locks that all clients fight over, with short leases. A holder uses a resource that checks tokens, renews its lease
    or does not, and is sometimes stalled for longer than its lease, and uses it then.
    """

    name = "lock"
    summary = "acquire, renew and release locks with leases; a resource that checks tokens"
    functions = ("acquire", "renew", "release", "use")
    model: ClassVar[Model] = LockModel()
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

    def next_call(self, client: int, now_s: float) -> PlannedCall:
        rng, holder = self._rngs[client], self._holders[client]
        holder.stalls = False
        if not holder.token:
            return self._acquire(rng, holder)
        if holder.uses and rng.random() < 0.35:
            return PlannedCall("release", holder.lock, {"token": holder.token})
        if rng.random() < 0.25:
            return PlannedCall("renew", holder.lock, {"token": holder.token})
        holder.uses += 1
        return PlannedCall("use", holder.lock, {"token": holder.token})

    def _acquire(self, rng: Random, holder: _Client) -> PlannedCall:
        """A place in line is kept, by the same name; whoever only tries asks for another lock next time."""
        waits = bool(holder.owner) or rng.random() < 0.5
        if not holder.owner:
            holder.tries += 1
            holder.owner, holder.lock = f"{holder.name}-{holder.tries}", f"l{rng.randrange(self._LOCKS)}"
        return PlannedCall("acquire", holder.lock, {"owner": holder.owner, "lease_s": self.LEASE_S, "waits": waits})

    def final_calls(self) -> Iterator[tuple[PlannedCall, ...]]:
        wanted = {"lease_s": self.LEASE_S, "waits": True}
        yield tuple(
            PlannedCall("acquire", f"l{number}", {"owner": f"last-{number}", **wanted}, timeout_s=LIVE_S)
            for number in range(self._LOCKS)
        )

    def begin(self, callers: Callers, client: int, ask: PlannedCall) -> CallUnderWay:
        value: Any = ask.value
        match ask.f:
            case "acquire" if value["waits"]:
                operation: Operation[Any] = lock_acquire(ask.key, value["owner"], value["lease_s"])
                operation = replace(operation, decode=lambda answer: _granted(Place(*answer)))
            case "acquire":
                operation = lock_try(ask.key, value["owner"], value["lease_s"])
            case "renew":
                operation = lock_renew(ask.key, value["token"])
            case "release":
                operation = lock_release(ask.key, value["token"])
            case _:
                return self._use(callers, client, ask)
        return callers.log.begin(client, ask.f, ask.key, ask.value, operation, ask.timeout_s)

    def _use(self, callers: Callers, client: int, ask: PlannedCall) -> CallUnderWay:
        value: Any = ask.value
        event = callers.recorder.invoke(f"u{client}", "use", ask.key, ask.value)
        outcome = self._resource.use(ask.key, value["token"])
        if isinstance(outcome, Ok):
            callers.recorder.ok(event)
        else:
            callers.recorder.fail(event, f"{outcome.kind}: {outcome.reason}")
        return _Done(outcome)

    def ended(self, callers: Callers, client: int, ask: PlannedCall, outcome: object) -> None:
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
