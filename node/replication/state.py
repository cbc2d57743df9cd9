"""What the log leads to: machines, sessions and the configuration, advanced one slot at a time.

Rules
-----
1. `apply` is a function of the state and the slot's batch: two replicas that applied the same slots are equal. `chain` is
   a running checksum over every answer given, so two that are not show it at the next slot that they share.
2. A batch is `[time_ms, [frame, …]]`, a frame `[session, sequence, done, machine, packed]`. An empty batch is a no-op.
3. The answer to a frame, its payload, is `[results, errors]`: an error is `[index, kind, message]`, where the index is
   that of the command, or -1 for the whole frame, which then did nothing.
4. Log time never goes back: a batch whose time is lower than that of an earlier slot is applied at the earlier time.
"""

import zlib
from typing import Any, Final

from node.machine import Machine, Moment, NotYet, Refusal
from node.machines import UnknownMachine, make_machines
from node.replication.configuration import ChangeRefused, Configuration, restored
from node.replication.sessions import ClientSession, Sessions
from node.wire import Malformed, pack_own, unpack_own

_MARK_EVERY: Final = 64
_MARKS_MAX: Final = 32

#: Machine names that mean the log itself.
SESSION: Final = "session"
CLUSTER: Final = "cluster"

_EXPLAINED: Final = {
    "session_expired": "the session has ended: what was not answered may or may not have been done",
    "stale": "the session says that this frame has been answered: it was not done again",
    "window_full": "too many frames of this session are unanswered: wait for answers",
    "full": "there are too many sessions: close some",
}

Frame = tuple[int, int, int, str, bytes]


class ReplicatedState:
    """The replicated state after slot `applied`."""

    def __init__(self, machines: tuple[str, ...], configuration: Configuration) -> None:
        self.machines: dict[str, Machine] = make_machines(machines)
        self.sessions = Sessions()
        self.configuration = configuration
        self.applied = 0
        self.time_ms = 0
        self.chain = 0
        self.marks: dict[int, int] = {}  # the chain at some slots, for comparing replicas
        self.bytes_since_snapshot = 0
        self.slots_since_snapshot = 0

    # --- the log ----------------------------------------------------------------------------------------------------

    def apply(self, slot: int, batch: bytes) -> list[bytes]:
        """Apply the next slot. Returns each frame's payload, in order."""
        assert slot == self.applied + 1, (slot, self.applied)
        payloads = []
        if batch:
            time_ms, frames = unpack_own(batch)
            if time_ms > self.time_ms:  # between two of a leader's beats it stands still, and nothing comes due
                self.time_ms = time_ms
                self._expire(slot)
            for session, sequence, done, machine, packed in frames:
                payloads.append(self._frame(Moment(slot, self.time_ms, session), sequence, done, machine, packed))
        self.applied = slot
        for payload in payloads:
            self.chain = zlib.crc32(payload, self.chain)
        if slot % _MARK_EVERY == 0:
            self.marks[slot] = self.chain
            if len(self.marks) > _MARKS_MAX:
                del self.marks[next(iter(self.marks))]
        self.bytes_since_snapshot += len(batch)
        self.slots_since_snapshot += 1
        return payloads

    def _frame(self, at: Moment, sequence: int, done: int, machine: str, packed: bytes) -> bytes:
        if at.session == 0:
            return self._commands(at, machine, packed)
        admitted = self.sessions.admit(at.session, sequence, done, at.time_ms)
        if isinstance(admitted, ClientSession):
            payload = self._commands(at, machine, packed)
            self.sessions.keep(admitted, sequence, payload)
            return payload
        return admitted if isinstance(admitted, bytes) else refusal(admitted, _EXPLAINED[admitted])

    def _commands(self, at: Moment, name: str, packed: bytes) -> bytes:
        try:
            commands = unpack_own(packed)
        except Malformed as error:
            return refusal("bad_command", str(error))
        if type(commands) is not list:
            return refusal("bad_command", "a frame holds a list of commands")
        machine = self.machines.get(name)
        if machine is None and name not in (SESSION, CLUSTER):
            return refusal("no_machine", f"no machine is called {name!r}: there are {', '.join(self.machines)}")
        results: list[Any] = []
        errors: list[Any] = []
        for command in commands:
            try:
                results.append(machine.apply(at, command) if machine else self._own(at, name, command))
            except Refusal as error:
                errors.append((len(results), error.kind, str(error)))
                results.append(None)
            except (MemoryError, RecursionError):
                raise  # of this process, not of the command: another node may well have done it
            except Exception as error:  # noqa: BLE001 - a machine's mistake, and the same one at every node
                errors.append((len(results), "machine_failed", f"{type(error).__name__}: {error}"))
                results.append(None)
        return pack_own((results, errors))

    def _own(self, at: Moment, name: str, command: Any) -> Any:
        """A command to the log itself."""
        match name, command:
            case "session", ["open"]:
                opened = self.sessions.open(at.time_ms)
                if opened is None:
                    raise Refusal("full", _EXPLAINED["full"])
                return opened
            case "session", ["resume", int(number), str(client)]:
                lowest = self.sessions.resume(number, client, at.time_ms)
                if lowest is None:
                    raise Refusal("session_expired", _EXPLAINED["session_expired"])
                return lowest
            case "session", ["close", int(number)]:
                closed = self.sessions.close(number)
                if closed:
                    self._session_ended(at._replace(session=number))
                return closed
            case "cluster", ["form", list(voters)] if at.slot == 1:
                self.configuration = Configuration(tuple(voters))
                return None
            case "cluster", [str(kind), str(node)]:
                try:
                    self.configuration = self.configuration.changed(kind, node)
                except ChangeRefused as error:
                    raise Refusal("change_refused", str(error)) from None
                return [list(part) for part in self.configuration]
        raise Refusal("bad_command", f"the log has no operation like {repr((name, command))[:100]}")

    # --- questions --------------------------------------------------------------------------------------------------

    def read(self, name: str, packed: bytes) -> bytes | None:
        """The payload that answers a frame of questions, or None if its one question has to wait."""
        try:
            questions = unpack_own(packed)
        except Malformed as error:
            return refusal("bad_command", str(error))
        if type(questions) is not list or (name != CLUSTER and name not in self.machines):
            return refusal("no_machine", f"no machine is called {name!r}: there are {', '.join(self.machines)}")
        results: list[Any] = []
        errors: list[Any] = []
        for question in questions:
            try:
                if name == CLUSTER:
                    answer: Any = [list(part) for part in self.configuration]
                else:
                    answer = self.machines[name].query(question)
                if isinstance(answer, NotYet):
                    if len(questions) == 1:
                        return None
                    raise Refusal("alone", "a question that waits must be alone in its frame")
                results.append(answer)
            except Refusal as error:
                errors.append((len(results), error.kind, str(error)))
                results.append(None)
            except (MemoryError, RecursionError):
                raise
            except Exception as error:  # noqa: BLE001 - a machine's mistake, and it has changed nothing
                errors.append((len(results), "machine_failed", f"{type(error).__name__}: {error}"))
                results.append(None)
        return pack_own((results, errors))

    # --- time -------------------------------------------------------------------------------------------------------

    def due_ms(self) -> int | None:
        """When something expires next."""
        due = [each for machine in self.machines.values() if (each := machine.due_ms()) is not None]
        session = self.sessions.due_ms()
        return min([*due, session] if session is not None else due, default=None)

    def _expire(self, slot: int) -> None:
        for session in self.sessions.expire(self.time_ms):
            self._session_ended(Moment(slot, self.time_ms, session))
        for machine in self.machines.values():
            due = machine.due_ms()
            if due is not None and due <= self.time_ms:
                machine.expire(Moment(slot, self.time_ms, 0))

    def _session_ended(self, at: Moment) -> None:
        for machine in self.machines.values():
            machine.session_ended(at)

    # --- snapshots --------------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """The whole state."""
        self.bytes_since_snapshot = self.slots_since_snapshot = 0
        return pack_own(
            (
                self.applied,
                self.time_ms,
                self.chain,
                self.configuration,
                self.sessions.snapshot(),
                [(name, machine.snapshot()) for name, machine in self.machines.items()],
            )
        )

    def restore(self, data: bytes) -> None:
        """Become what `snapshot` was taken of."""
        self.applied, self.time_ms, self.chain, configuration, sessions, machines = unpack_own(data)
        self.configuration = restored(configuration)
        self.sessions.restore(sessions)
        for name, state in machines:
            if name not in self.machines:
                raise UnknownMachine(
                    f"the snapshot holds a machine {name!r}, and the spec names {', '.join(self.machines)}"
                )
            self.machines[name].restore(state)
        self.marks.clear()
        self.bytes_since_snapshot = self.slots_since_snapshot = 0


def is_change(batch: bytes) -> bool:
    """Whether the batch changes the configuration. Such a batch holds nothing else."""
    return bool(batch) and any(frame[3] == CLUSTER for frame in unpack_own(batch)[1])


def refusal(kind: str, message: str) -> bytes:
    """The payload for a frame that did nothing."""
    return pack_own(((), ((-1, kind, message),)))
