"""A workload without processes: its calls go to one replica's state, in one loop, with time that the loop counts.

Every frame goes through the log as a batch of its own slot, and some go through it twice, as if their client had sent them again.
So a machine, the sessions or a workload can be judged by `harness.checkers.answers` in a tenth of a second.
"""

from collections.abc import Callable
from itertools import count
from random import Random
from types import SimpleNamespace
from typing import Any

from cluster.clients.operation import Operation
from cluster.clients.operations import kv_get_with_version, lock_release, lock_try
from cluster.clients.outcomes import NotDone, Ok, Outcome
from cluster.errors import CommandRefused
from harness.checkers.chosen_log import ChosenLog
from harness.checkers.evidence import RunEvidence
from harness.records.history_recorder import HistoryRecorder
from harness.workloads.planned_call import PlannedCall
from harness.workloads.public_calls import operation_of, plain
from harness.workloads.workload import Workload
from node.algorithms.multipaxos import MultiPaxos
from node.contract import Stored
from node.log_contract import Record
from node.machine import NotYet
from node.storage.disk import Contents
from node.wire import decode_value, encode_value, pack_unchecked, unpack_unchecked

NODES = ("n1", "n2", "n3")
STEP_S = 0.01


class Call:
    """A call under way. `outcome` is None until it has one."""

    def __init__(self, number: int, event: Any, operation: Operation[Any], to_history: Callable[[Any], Any]) -> None:
        self.number, self.event, self.operation, self.to_history = number, event, operation, to_history
        self.outcome: Outcome | None = None
        self.until_s = 0.0


class InMemory:
    """One replica's state, and the callers of a workload."""

    def __init__(self, algorithm: type[MultiPaxos], seed: int) -> None:
        self.now_s = 0.0
        self.recorder = HistoryRecorder(clock=lambda: int(self.now_s * 1e9))
        self.log = SimpleNamespace(begin=self.begin_operation, restart=self.restart)
        self.api = SimpleNamespace(begin=self.begin_planned, restart=self.restart)
        self.algorithm = algorithm
        self.state = ChosenLog(algorithm, NODES, {}, {}).empty_state()
        self.batches: list[bytes] = []
        self._rng = Random(seed)
        self._numbers = count()
        self._sessions: dict[
            int, tuple[int, int]
        ] = {}  # by client: session, and the sequence number that was used last
        self._framed: list[bytes] = []  # the batches of clients with sessions
        self._open: list[Call] = []
        self._apply(0, 0, 0, "cluster", [["form", list(NODES)]])

    # --- what a workload calls ----------------------------------------------------------------------------------------

    def begin_operation(
        self,
        client: int,
        f: str,
        key: str,
        value: object,
        operation: Any,
        timeout_s: float,
        to_history: Callable[[Any], Any] = lambda answer: answer,
        repeats: Random | None = None,
        stays_at: str | None = None,
    ) -> Call:
        if not isinstance(operation, Operation):  # the steps of a range, or of a save
            operation = _range(key) if f == "range" else kv_get_with_version(key)
        event = self.recorder.invoke(f"c{client}.{next(self._numbers)}", f, key, value, timeout_s=timeout_s)
        call = Call(client, event, operation, to_history)
        call.until_s = self.now_s + operation.wait_ms / 1000
        self._open.append(call)
        return call

    def begin_planned(self, client: int, call: PlannedCall) -> Call:
        value: Any = call.value
        if call.f in ("holds", "stays", "end"):
            call = PlannedCall("version", "")
        if call.f == "range":
            operation = _range(call.key)
        elif call.f == "acquire":
            value = {
                **value,
                "owner": f"{value['owner']}:{next(self._numbers)}",
            }  # as each keeper names an owner of its own
            operation = lock_try(call.key, value["owner"], value["lease_s"])
        elif call.f == "release":
            operation = lock_release(call.key, value["token"])
        else:
            operation = operation_of(call)
        return self.begin_operation(
            client, call.f, call.key, value, operation, call.timeout_s, lambda answer: plain(call.f, answer)
        )

    def begin_propose(self, variable: str, value: object, at: object = None, timeout_s: float = 3.0) -> Call:
        operation = Operation("once", ["propose", variable, encode_value(value)], decode_value)
        return self.begin_operation(99, "propose", variable, value, operation, timeout_s)

    def begin_query(self, variable: str, at: object = None, timeout_s: float = 3.0) -> Call:
        operation = Operation("once", ["query", variable], lambda answer: answer and decode_value(answer), read=True)
        return self.begin_operation(99, "query", variable, None, operation, timeout_s)

    def restart(self, client: int, *, new_session: bool = False) -> None:
        """Do nothing."""

    # --- time ---------------------------------------------------------------------------------------------------------

    def work(self, workload: Workload, time_s: float) -> RunEvidence:
        """Have the clients of a workload make calls, and return the evidence."""
        rests = {client: workload.pause_s(client) for client in range(workload.clients)}
        under_way: dict[int, tuple[PlannedCall, Any]] = {}
        while self.now_s < time_s:
            for client in [client for client, until_s in rests.items() if until_s <= self.now_s]:
                planned = workload.next_call(client, self.now_s)
                del rests[client]
                under_way[client] = planned, workload.begin(self, client, planned)  # type: ignore[arg-type]
            self._step()
            for client, (planned, call) in list(under_way.items()):
                if call.outcome is not None:
                    del under_way[client]
                    workload.ended(self, client, planned, call.outcome)  # type: ignore[arg-type]
                    rests[client] = self.now_s + workload.pause_s(client)
        return self.evidence()

    def _step(self) -> None:
        """Let some calls take effect, in any order, and then have their clients hear of it."""
        self.now_s += STEP_S
        self._rng.shuffle(self._open)
        for call in list(self._open):
            if self._rng.random() < 0.5:
                continue
            payload = self._read(call) if call.operation.read else self._command(call)
            if payload is not None:
                self._open.remove(call)
                self._end(call, payload)

    def _read(self, call: Call) -> bytes | None:
        operation = call.operation
        payload = self.state.read(operation.machine, pack_unchecked([operation.command]))
        if not isinstance(payload, NotYet):
            return payload
        return self.state.nothing_new(operation.machine) if self.now_s >= call.until_s else None

    def _command(self, call: Call) -> bytes:
        if call.number not in self._sessions:
            opened = unpack_unchecked(self._apply(0, 0, 0, "session", [["open"]]))[0][0]
            self._sessions[call.number] = opened, 0
        session, sequence = self._sessions[call.number]
        self._sessions[call.number] = session, sequence + 1
        payload = self._apply(session, sequence + 1, sequence + 1, call.operation.machine, [call.operation.command])
        while self._rng.random() < 0.1:  # a frame is sent again
            again = self._rng.choice(self._framed[-4:])
            self._apply_batch(again)
        return payload

    def _apply(self, session: int, sequence: int, done: int, machine: str, commands: list[Any]) -> bytes:
        frame = session, sequence, done, machine, pack_unchecked(commands)
        batch = pack_unchecked((int(self.now_s * 1000) // 50 * 50, (frame,)))
        if session:
            self._framed.append(batch)
        return self._apply_batch(batch)[0]

    def _apply_batch(self, batch: bytes) -> list[bytes]:
        self.batches.append(batch)
        return self.state.apply(len(self.batches), batch)

    def _end(self, call: Call, payload: bytes) -> None:
        results, errors = unpack_unchecked(payload)
        try:
            if errors:
                raise CommandRefused(errors[0][1], errors[0][2])
            answer = call.operation.decode(results[0])
            self.recorder.ok(call.event, call.to_history(answer))
            outcome: Outcome = Ok(call.to_history(answer))
        except CommandRefused as error:
            outcome = NotDone(error.kind, str(error))
            self.recorder.fail(call.event, f"{error.kind}: {error}")
        call.outcome = outcome

    def evidence(self) -> RunEvidence:
        """Return what a run with these calls would leave."""
        contents = Contents(node="n1", cluster="0" * 32, incarnation=1)
        stored: dict[str, Stored] = {"commit": len(self.batches)}
        contents.variables = {"": stored}
        for slot, batch in enumerate(self.batches, 1):
            contents.log.put(Record(slot, 1, "n1", batch))
        return RunEvidence(NODES, self.algorithm, self.recorder.history, disks={"n1": contents})


def _range(prefix: str) -> Operation[Any]:
    return Operation("kv", ["range", prefix, "", 1000], _decoded_page, read=True)


def _decoded_page(page: Any) -> list[list[Any]]:
    return [[key, decode_value(value), version] for key, value, version in page[0]]
