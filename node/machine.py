"""The contract of a machine: what a replicated log drives. Read `node/contract.py` first.

Theory of operation
-------------------
Every node applies the same commands in the same order, so machines that start equal stay equal (Schneider, *Implementing
Fault-Tolerant Services Using the State Machine Approach*, 1990). A machine knows nothing of nodes, ballots or disks.

What a machine's author promises
--------------------------------
1. **Deterministic and pure.** The state after `apply` depends on the state before, the moment and the command, and on
   nothing else: no clock, no randomness, no file, no thread, no iteration over a set.
2. A command that cannot be done raises `Refusal` **before it has changed anything**.
3. `query` changes nothing.
4. `snapshot` returns plain data (see `node.wire.pack`; tuples come back as lists), which is packed at once. `restore` of it
   makes an equal machine, also in the order of its maps where that shows.
5. Commands come from clients: their shape is to be checked. An exception other than `Refusal` is answered as an
   error too, but may leave half a change behind, the same half at every node.

Time
----
`Moment.time_ms` is the log's own time: milliseconds that leaders have counted while they served. It never goes back, it
stands still while nobody leads, and it never runs faster than real time. But leaders count in beats, so a moment may be up
to `BEAT_MS` later than it says: what is to last for some time from a moment on lasts `BEAT_MS` longer by the log's time, and
then it never ends too early.
When the log's time has moved on and `due_ms` has come, every node calls `expire` at the same slot. Sessions end by the same
time: `session_ended`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias

#: How far apart the leader counts the log's time, in milliseconds.
BEAT_MS: Final = 50

#: Plain data as it comes off the wire: None, bool, int, float, str, bytes, list, dict.
Plain: TypeAlias = Any

#: What a client sends: the operation's name, then its arguments.
Command: TypeAlias = list[Plain]


class Moment(NamedTuple):
    """Where in the log a command stands, and whose it is. The same for all commands of one frame."""

    slot: int
    time_ms: int
    session: int


class Refusal(Exception):
    """The command was not done and has changed nothing. `kind` is for programs, the message for people."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class NotYet:
    """What `query` returns for a watch that has nothing to tell: it is asked again when the machine has changed."""


NOT_YET: Final = NotYet()


class Machine(ABC):
    """One deterministic state machine. Made without arguments; `restore` follows if there is a snapshot."""

    name: ClassVar[str]
    """What clients call it."""

    @abstractmethod
    def apply(self, at: Moment, command: Command) -> Plain:
        """Do one command and return its result. Raises CommandRefused."""

    @abstractmethod
    def query(self, question: Command) -> Plain | NotYet:
        """Answer from the present state. Raises CommandRefused."""

    @abstractmethod
    def snapshot(self) -> Plain:
        """The whole state as plain data."""

    @abstractmethod
    def restore(self, state: Plain) -> None:
        """Become what `snapshot` was taken of."""

    def figures(self) -> Mapping[str, int]:
        """How much it holds, for people: `{"keys": 3}`."""
        return {}

    def due_ms(self) -> int | None:
        """The earliest log time at which `expire` has something to do, or None."""
        return None

    def expire(self, at: Moment) -> None:  # noqa: B027 - a machine may have nothing that expires
        """The log's time has reached `at.time_ms`. `at.session` is 0. Called before the commands of the same slot."""

    def session_ended(self, at: Moment) -> None:  # noqa: B027 - a machine may keep nothing by session
        """The session `at.session` has expired or was closed: release what it holds."""


def no_such_operation(machine: Machine, command: Command) -> Refusal:
    """For the `case _` of a machine's `match`: says what arrived."""
    arrived = repr(command)
    return Refusal("bad_command", f"{machine.name} has no operation like {arrived[:100]}")
