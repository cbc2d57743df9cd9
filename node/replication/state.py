"""The replicated state: machines, sessions and the configuration. It advances one slot of the log at a time.

Rules
-----
1. `apply` is a function of the state and the batch of the slot: replicas that have applied the same slots are equal.
   `chain` is a running checksum of all answers. Replicas that are not equal have different chains from the next slot on
   that both apply.
2. A batch is `[time_ms, [frame, …]]`, and a frame is `[session, sequence, done, machine, packed]`. An empty batch is a
   no-op.
3. The answer to a frame, its payload, is `[results, errors]`. An error is `[index, kind, message]`. The index is that
   of the command, or -1 for the whole frame, which then did nothing.
4. The log's time never goes back: a batch with a lower time than that of an earlier slot is applied at the earlier
   time.
"""

import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from node.contract import NodeId
from node.machine import Machine, Moment, NotYet, Refusal
from node.machines import UnknownMachine, make_machines
from node.replication.configuration import ChangeRefused, Configuration, restore_configuration
from node.replication.copies import StateCopies
from node.replication.sessions import ClientSession, Sessions
from node.tuning import SHIPPED, Tuning
from node.wire import Malformed, pack_unchecked, unpack_unchecked

#: `marks` holds the chain after every 64th slot, for the last 32 of them.
_MARK_EVERY: Final = 64
_MARKS_MAX: Final = 32

#: The names to which clients address commands for the log itself.
SESSION: Final = "session"
CLUSTER: Final = "cluster"

#: The messages of refusals, by kind.
_MESSAGES: Final = {
    "session_expired": "the session has ended: commands without an answer may or may not have been done",
    "stale": "the client has confirmed the answer to this frame before: it was not done again",
    "window_full": "too many frames of this session are unanswered: wait for answers",
    "full": "there are too many sessions: close some",
}

#: Session, sequence, done, machine, packed commands: see `node/frames.py`.
Frame = tuple[int, int, int, str, bytes]


class MachineChanges(NamedTuple):
    """What one slot has changed in the machine `name`.

    `before` is the machine's version before the slot. `topics` are those of the changes; None: any topic may have changed.
    """

    name: str
    before: int
    topics: Mapping[str, None] | None


class ReplicatedState:
    """The replicated state after the slot `applied`.

    `time_ms` is the log's time in milliseconds. `chain` is the running checksum of all answers, and `marks` holds it
    for some slots, so that replicas can be compared. The counters since the last snapshot are in bytes of batches and
    in slots.
    """

    def __init__(self, machines: tuple[str, ...], configuration: Configuration, tuning: Tuning = SHIPPED) -> None:
        self.tuning = tuning
        self.machines: dict[str, Machine] = make_machines(machines, tuning)
        self.sessions = Sessions(tuning)
        self.configuration = configuration
        self.copies = StateCopies(self.packed, tuning)
        self.applied = 0
        self.time_ms = 0
        self.chain = 0
        self.marks: dict[int, int] = {}
        self._touched: dict[
            str, int
        ] = {}  # by name, the machines that the last slot may have changed: version before it
        self.bytes_since_snapshot = 0
        self.slots_since_snapshot = 0

    # --- the log ----------------------------------------------------------------------------------------------------

    def apply(self, slot: int, batch: bytes) -> list[bytes]:
        """Apply the batch of the next slot. Returns the payload of each of its frames, in order."""
        assert slot == self.applied + 1, (slot, self.applied)
        payloads = []
        self._forget_changes()
        if batch:
            time_ms, frames = unpack_unchecked(batch)
            if time_ms > self.time_ms:  # between two beats of a leader it is equal, and nothing can expire
                self.time_ms = time_ms
                self._expire(slot)
            for session, sequence, done, machine, packed in frames:
                payloads.append(self._apply_frame(Moment(slot, self.time_ms, session), sequence, done, machine, packed))
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

    def _apply_frame(self, at: Moment, sequence: int, done: int, machine: str, packed: bytes) -> bytes:
        if at.session == 0:
            return self._apply_commands(at, machine, packed)
        admitted = self.sessions.admit(at.session, sequence, done, at.time_ms)
        if isinstance(admitted, ClientSession):
            payload = self._apply_commands(at, machine, packed)
            self.sessions.store_answer(admitted, sequence, payload)
            return payload
        return admitted if isinstance(admitted, bytes) else refused_frame(admitted, _MESSAGES[admitted])

    def _apply_commands(self, at: Moment, name: str, packed: bytes) -> bytes:
        try:
            commands = unpack_unchecked(packed)
        except Malformed as error:
            return refused_frame("bad_command", str(error))
        if type(commands) is not list:
            return refused_frame("bad_command", "a frame holds a list of commands")
        machine = self.machines.get(name)
        if machine is None and name not in (SESSION, CLUSTER):
            return refused_frame(
                "no_machine", f"no machine is called {name!r}: the machines are {', '.join(self.machines)}"
            )
        if machine is not None:
            self._touch(name, machine)
        results: list[Any] = []
        errors: list[Any] = []
        for command in commands:
            try:
                results.append(machine.apply(at, command) if machine else self._apply_to_log(at, name, command))
            except Refusal as error:
                errors.append((len(results), error.kind, str(error)))
                results.append(None)
            except (MemoryError, RecursionError):
                raise  # depends on this process and not on the command: other nodes may have done the command
            except Exception as error:  # noqa: BLE001 - a mistake of the machine, which is the same at every node
                errors.append((len(results), "machine_failed", f"{type(error).__name__}: {error}"))
                results.append(None)
        return pack_unchecked((results, errors))

    def _apply_to_log(self, at: Moment, name: str, command: Any) -> Any:
        """Do a command to the log itself, which is addressed to SESSION or CLUSTER."""
        match name, command:
            case "session", ["open"]:
                opened = self.sessions.open(at.time_ms)
                if opened is None:
                    raise Refusal("full", _MESSAGES["full"])
                return opened
            case "session", ["resume", int(number), str(client)]:
                lowest = self.sessions.resume(number, client, at.time_ms)
                if lowest is None:
                    raise Refusal("session_expired", _MESSAGES["session_expired"])
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

    def read(self, name: str, packed: bytes, seen: int = 0) -> bytes | NotYet:
        """Answer a frame of questions from the present state.

        Args:
            name: the machine, or CLUSTER for the configuration and for copies of the state.
            packed: the packed list of questions.
            seen: the version of the machine up to which the frame's only question, a watch, has seen every change.

        Returns:
            The payload, or what the frame's only question waits for.
        """
        try:
            questions = unpack_unchecked(packed)
        except Malformed as error:
            return refused_frame("bad_command", str(error))
        if type(questions) is not list or (name != CLUSTER and name not in self.machines):
            return refused_frame(
                "no_machine", f"no machine is called {name!r}: the machines are {', '.join(self.machines)}"
            )
        results: list[Any] = []
        errors: list[Any] = []
        for question in questions:
            try:
                if name == CLUSTER:
                    answer = self._read_log(question)
                elif seen:
                    answer = self.machines[name].query_again(question, seen)
                else:
                    answer = self.machines[name].query(question)
                if isinstance(answer, NotYet):
                    if len(questions) == 1:
                        return answer
                    raise Refusal("alone", "a question that waits must be the only one of its frame")
                results.append(answer)
            except Refusal as error:
                errors.append((len(results), error.kind, str(error)))
                results.append(None)
            except (MemoryError, RecursionError):
                raise
            except Exception as error:  # noqa: BLE001 - a mistake of the machine; a question changes nothing
                errors.append((len(results), "machine_failed", f"{type(error).__name__}: {error}"))
                results.append(None)
        return pack_unchecked((results, errors))

    def _read_log(self, question: Any) -> Any:
        """Answer a question about the log itself, which is addressed to CLUSTER."""
        if question == ["members"]:
            return [list(part) for part in self.configuration]
        return self.copies.answer(self.applied, question)

    def nothing_new(self, name: str) -> bytes:
        """Return the payload for a watch of the machine `name` whose time is over."""
        return pack_unchecked(((self.machines[name].nothing_new(),), ()))

    def versions(self) -> dict[str, int]:
        """Return the latest version of each machine that numbers its changes."""
        return {name: version for name, machine in self.machines.items() if (version := machine.latest_version())}

    # --- what a slot has changed --------------------------------------------------------------------------------------

    def changes(self) -> Iterator[MachineChanges]:
        """Yield what the last slot has changed."""
        for name, before in self._touched.items():
            topics = self.machines[name].changed
            if topics is None or topics:
                yield MachineChanges(name, before, topics)

    def _touch(self, name: str, machine: Machine) -> None:
        if name not in self._touched:
            self._touched[name] = machine.latest_version()

    def _forget_changes(self) -> None:
        for name in self._touched:
            changed = self.machines[name].changed
            if changed:
                changed.clear()
        self._touched.clear()

    # --- time -------------------------------------------------------------------------------------------------------

    def due_ms(self) -> int | None:
        """Return the log's time in milliseconds at which a lease or a session ends next, or None if there is none."""
        due = [each for machine in self.machines.values() if (each := machine.due_ms()) is not None]
        session = self.sessions.due_ms()
        return min([*due, session] if session is not None else due, default=None)

    def _expire(self, slot: int) -> None:
        for session in self.sessions.expire(self.time_ms):
            self._session_ended(Moment(slot, self.time_ms, session))
        for name, machine in self.machines.items():
            due = machine.due_ms()
            if due is not None and due <= self.time_ms:
                self._touch(name, machine)
                machine.expire(Moment(slot, self.time_ms, 0))

    def _session_ended(self, at: Moment) -> None:
        for name, machine in self.machines.items():
            self._touch(name, machine)
            machine.session_ended(at)

    # --- snapshots --------------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Return the whole state, packed, and restart the counters of the log's growth."""
        self.bytes_since_snapshot = self.slots_since_snapshot = 0
        return self.packed()

    def packed(self) -> bytes:
        """Return the whole state, packed."""
        return pack_unchecked(
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
        """Take over the state that `snapshot` returned.

        Raises:
            UnknownMachine: the snapshot holds a machine that the spec does not name.
        """
        self.applied, self.time_ms, self.chain, configuration, sessions, machines = unpack_unchecked(data)
        self.configuration = restore_configuration(configuration)
        self.sessions.restore(sessions)
        for name, state in machines:
            if name not in self.machines:
                raise UnknownMachine(
                    f"the snapshot holds the machine {name!r}, but the spec names only {', '.join(self.machines)}"
                )
            self.machines[name].restore(state)
        self.marks.clear()
        self.bytes_since_snapshot = self.slots_since_snapshot = 0

    def begin_new_cluster(self, voters: tuple[NodeId, ...], floor: int) -> None:
        """Make this the first state of another cluster. See `node/replication/new_cluster.py`.

        Args:
            voters: the nodes of the new cluster.
            floor: every number that clients of the new cluster get is above it.

        Raises:
            FloorTooLow: a number of this state is not below `floor`.
        """
        for session in self.sessions.end_all(floor):
            self._session_ended(Moment(self.applied, self.time_ms, session))
        for machine in self.machines.values():
            machine.rise(floor)
        self.configuration = Configuration(voters)
        self.applied = max(self.applied, 1)  # slot 1 is the one that forms a cluster


def configuration_of(packed: bytes) -> Configuration:
    """Return the configuration in a packed state."""
    return restore_configuration(unpack_unchecked(packed)[3])


def commands_in(batch: bytes) -> int:
    """Return how many frames of commands a batch holds."""
    return len(unpack_unchecked(batch)[1]) if batch else 0


def is_change(batch: bytes) -> bool:
    """Return whether the batch holds a change of the configuration. Such a batch holds no other frame."""
    return bool(batch) and any(frame[3] == CLUSTER for frame in unpack_unchecked(batch)[1])


def refused_frame(kind: str, message: str) -> bytes:
    """Return the payload for a frame that did nothing. `kind` is for programs, `message` for people."""
    return pack_unchecked(((), ((-1, kind, message),)))
