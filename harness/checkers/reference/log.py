"""The reference of a replicated log: applies batches, slot by slot, to the reference machines."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

from harness.checkers.reference.groups import AssignmentReference, MembersReference
from harness.checkers.reference.kv import KvReference
from harness.checkers.reference.locks import LocksReference
from harness.checkers.reference.sessions import SessionsReference
from harness.checkers.reference.terms import LogInstant, No, unknown_command
from node.tuning import SHIPPED, Tuning
from node.wire import Malformed, unpack_unchecked


class Batch(NamedTuple):
    """The batch of one slot: the log's time in milliseconds, and its frames as session, sequence, done, machine, commands."""

    time_ms: int
    frames: Sequence[Sequence[Any]]


#: A slot in which nothing was decided but that it is empty.
NO_OP: Final = Batch(0, ())


class Executed(NamedTuple):
    """A command that took effect or was refused by its machine, for a session. `refused` is the kind of the refusal."""

    machine: str
    command: list[Any]
    result: Any
    refused: str | None
    session: int


class ReferenceMachine(Protocol):
    """What every reference machine does."""

    def do(self, at: LogInstant, command: Any, /) -> Any:
        """Do one command, and return its result. Raises No."""

    def expire(self, time_ms: int, /) -> None:
        """End the leases that are over."""

    def session_ended(self, at: LogInstant, /) -> None:
        """End what a session holds."""


class OnceReference:
    """Variables that are set once."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def do(self, _at: LogInstant, command: Any) -> Any:
        """Do one command, and return the variable's value."""
        match command:
            case ["propose", str(name), bytes(value)]:
                return self.values.setdefault(name, value)
        raise unknown_command(command)

    def expire(self, _time_ms: int) -> None:
        """Do nothing."""

    def session_ended(self, _at: LogInstant) -> None:
        """Do nothing."""


class ReferenceLog:
    """The state after `slot`."""

    def __init__(self, tuning: Tuning = SHIPPED) -> None:
        """Begin before slot 1 of the log of a cluster with these settings."""
        self.slot = self.time_ms = 0
        self.sessions = SessionsReference(tuning.session_idle_ms, tuning.session_window)
        self.once, self.locks = OnceReference(), LocksReference()
        self.kv = KvReference(tuning.kv_history_entries, tuning.kv_history_bytes)
        self.members = MembersReference(tuning.members_history)
        self.assignment = AssignmentReference(tuning.members_history)
        #: Whether a range may take several answers, each of a moment of its own.
        self.has_small_pages = (
            tuning.kv_answer_entries < SHIPPED.kv_answer_entries or tuning.kv_answer_bytes < SHIPPED.kv_answer_bytes
        )
        self._machines: dict[str, ReferenceMachine] = {
            "once": self.once,
            "kv": self.kv,
            "locks": self.locks,
            "members": self.members,
            "assignment": self.assignment,
        }

    def group(self, name: str) -> MembersReference:
        """Return the members of a group: "members" or "assignment"."""
        return self.members if name == "members" else self.assignment.members

    def apply(self, batch: Batch) -> Iterator[Executed]:
        """Apply the batch of the next slot. Yields each command that is carried out, when it has been."""
        self.slot += 1
        if batch.time_ms > self.time_ms:
            self.time_ms = batch.time_ms
            for session in self.sessions.expire(self.time_ms):
                self._session_ended(session)
            for machine in self._machines.values():
                machine.expire(self.time_ms)
        for session, sequence, done, name, packed in batch.frames:
            if session and not self.sessions.admits(session, sequence, done, self.time_ms):
                continue
            try:
                commands = unpack_unchecked(packed)
            except Malformed:
                continue
            for command in commands:
                yield self._carry_out(LogInstant(self.time_ms, session), name, command)

    def advance(self, batch: Batch) -> None:
        """Apply the batch of the next slot."""
        for _ in self.apply(batch):
            pass

    def _carry_out(self, at: LogInstant, name: str, command: list[Any]) -> Executed:
        machine = self._machines.get(name)
        try:
            result = machine.do(at, command) if machine else self._of_log(at, name, command)
        except No as refusal:
            return Executed(name, command, None, refusal.kind, at.session)
        return Executed(name, command, result, None, at.session)

    def _of_log(self, at: LogInstant, name: str, command: list[Any]) -> Any:
        match name, command:
            case "session", ["open"]:
                return self.sessions.open(at.time_ms)
            case "session", ["resume", int(number), str(client)]:
                return self.sessions.resume(number, client, at.time_ms)
            case "session", ["close", int(number)]:
                if not self.sessions.close(number):
                    return False
                self._session_ended(number)
                return True
        return None  # a change of the cluster's nodes

    def _session_ended(self, session: int) -> None:
        for machine in self._machines.values():
            machine.session_ended(LogInstant(self.time_ms, session))
