"""The workloads "members" and "assignment": clients join, send heartbeats, vanish and leave, and ask who is there."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar, Final

from cluster.clients.outcomes import NotDone, NotKnown, Ok
from harness.checkers.evidence import Checker
from harness.checkers.membership import membership
from harness.workloads.log_workload import LogWorkload
from harness.workloads.planned_call import PlannedCall
from harness.workloads.workload import ANSWER_AFTER_HEAL_S, Callers
from node.contract import NodeId


@dataclass
class _Participant:
    """What one client does: `member` is its name while it is a member, and `kept` says that a keeper renews its lease.

    With `vanishes` it makes no call for longer than its lease; with `leaves` it leaves next.
    """

    number: int
    joined: int = 0
    member: str = ""
    kept: bool = False
    vanishes: bool = False
    leaves: bool = False
    view: Any = None


class MembersWorkload(LogWorkload):
    """Clients join with short leases and unique names. Some renew in time, some by a keeper, and some stop for too long."""

    name = "members"
    summary = "join with leases, send heartbeats, vanish, leave; read views and follow them"
    functions: ClassVar[tuple[str, ...]] = ("join", "heartbeat", "leave", "view", "views")
    GROUP: ClassVar[str] = "members"
    LEASE_S: Final = 0.8

    def __init__(self, nodes: tuple[NodeId, ...], seed: int, time_s: float, clients: int | None = None) -> None:
        super().__init__(nodes, seed, time_s, clients)
        self._participants = [_Participant(number) for number in range(self.clients)]
        self._seed = seed

    @property
    def judges(self) -> dict[str, Checker]:
        return {**super().judges, "membership": membership}

    @classmethod
    def clients_alone(cls, nodes: tuple[NodeId, ...]) -> int:
        return 9

    def pause_s(self, client: int) -> float:
        rng, one = self._rngs[client], self._participants[client]
        if one.vanishes:
            one.vanishes, one.member = False, ""
            return self.LEASE_S * rng.uniform(1.2, 2.0)
        return min(rng.expovariate(1 / 0.1), self.LEASE_S / 4)

    def next_call(self, client: int, now_s: float) -> PlannedCall:
        rng, one = self._rngs[client], self._participants[client]
        draw = rng.random()
        if not one.member:
            return self._join(rng, one) if draw < 0.7 else self._look(rng, one)
        if draw < 0.45 and not one.leaves:
            return PlannedCall("stays" if one.kept else "heartbeat", one.member, {"group": self.GROUP})
        if draw < 0.55 or one.leaves:
            return PlannedCall("leave", one.member, {"group": self.GROUP}, kept=one.kept)
        return self._look(rng, one)

    def _join(self, rng: Random, one: _Participant) -> PlannedCall:
        one.joined += 1
        one.kept = self.is_public(one.number) and rng.random() < 0.3
        name = f"{self.name[0]}{one.number}-{one.joined}"
        details = {"of": one.number, "time": one.joined} if rng.random() < 0.5 else None
        value = {"group": self.GROUP, "details": details, "lease_s": self.LEASE_S}
        late = f"late/{self._seed}/{name}" if one.kept and one.joined % 2 else ""
        return PlannedCall("join", name, value, kept=one.kept, late=late)

    def _look(self, rng: Random, one: _Participant) -> PlannedCall:
        """Return a question: a view, or what has followed the last one."""
        if one.view is not None and rng.random() < 0.5:
            return PlannedCall("views", self.GROUP, {"after": one.view}, wait_s=rng.choice((0.05, 0.15)))
        return PlannedCall("view", self.GROUP)

    def final_calls(self) -> Iterator[tuple[PlannedCall, ...]]:
        value = {"group": self.GROUP, "details": None, "lease_s": 5.0}
        limit_s = ANSWER_AFTER_HEAL_S
        yield tuple(
            PlannedCall("join", f"{self.name[0]}{client}-last", value, timeout_s=limit_s)
            for client in range(self.clients)
        )
        # A view with the heartbeats, and others after them: on a slow machine a lease is over before those are answered. It comes
        # last, since the place of a call says which client makes it.
        yield (
            *(
                PlannedCall("heartbeat", f"{self.name[0]}{client}-last", value, timeout_s=limit_s)
                for client in range(self.clients)
            ),
            PlannedCall("view", self.GROUP, timeout_s=limit_s),
        )
        yield tuple(PlannedCall("view", self.GROUP, timeout_s=limit_s) for _ in range(self.clients))
        yield (
            PlannedCall("leave", f"{self.name[0]}0-last", value, timeout_s=limit_s),
            PlannedCall("views", self.GROUP, {"after": [0, {}]}, wait_s=0.2),
        )

    def ended(self, callers: Callers, client: int, call: PlannedCall, outcome: object) -> None:
        rng, one = self._rngs[client], self._participants[client]
        match call.f, outcome:
            case "join", Ok():
                one.member = call.key
                one.vanishes = not one.kept and rng.random() < 0.25
            case "view", Ok(view):
                one.view = view
            case "views", Ok([*_, last]):
                one.view = last
            case "views", NotDone("compacted"):
                one.view = None
            case "stays", NotKnown():
                one.leaves = True
            case "heartbeat", (NotDone() | NotKnown()):
                one.member = ""
            case "leave", _:
                one.member, one.leaves = "", False
        if not one.kept:
            super().ended(callers, client, call, outcome)


class AssignmentWorkload(MembersWorkload):
    """The same with tasks, which are spread over the members."""

    name = "assignment"
    summary = "members with leases, and tasks that are spread over them; read who has which"
    functions: ClassVar[tuple[str, ...]] = ("join", "heartbeat", "add", "remove", "mine", "owners")
    GROUP: ClassVar[str] = "assignment"
    _TASKS: Final = 7

    def next_call(self, client: int, now_s: float) -> PlannedCall:
        rng, one = self._rngs[client], self._participants[client]
        draw = rng.random()
        if draw < 0.12:
            return PlannedCall("add", f"t{rng.randrange(self._TASKS)}")
        if draw < 0.16:
            return PlannedCall("remove", f"t{rng.randrange(self._TASKS)}")
        if draw < 0.4:
            return (
                PlannedCall("owners", "") if rng.random() < 0.6 or not one.member else PlannedCall("mine", one.member)
            )
        return super().next_call(client, now_s)

    def final_calls(self) -> Iterator[tuple[PlannedCall, ...]]:
        yield from super().final_calls()
        limit_s = ANSWER_AFTER_HEAL_S
        yield tuple(PlannedCall("add", f"t{number}-last", timeout_s=limit_s) for number in range(3))
        yield (
            PlannedCall("remove", "t0-last", timeout_s=limit_s),
            PlannedCall("mine", "a1-last", timeout_s=limit_s),
            *(PlannedCall("owners", "", timeout_s=limit_s) for _ in range(2)),
        )
