"""The contract between a replicated log and a state machine that it drives. Read `node/contract.py` first.

Theory of operation
-------------------
Every node applies the same commands in the same order. So machines that start equal stay equal (Schneider,
*Implementing Fault-Tolerant Services Using the State Machine Approach*, 1990). A machine knows nothing about nodes,
ballots or disks.

The duties of a machine's author
--------------------------------
1. **A machine is deterministic and pure.** The state after `apply` depends only on the state before, the moment and the
   command. A machine uses no clock, no randomness, no file and no thread, and does not iterate over a set.
2. A command that cannot be done raises `Refusal` **before it has changed anything**.
3. `query` changes nothing.
4. `snapshot` returns plain data (see `node.wire.pack`; tuples come back as lists). The caller packs it at once.
   `restore` with that data makes an equal machine. Where the order of a map is visible in answers, the order is equal,
   too.
5. Commands come from clients, so the machine checks their shape. If another exception than `Refusal` leaves the
   machine, the client gets an error, too. But the machine may have changed in part, in the same way at every node.

Time
----
`Moment.time_ms` is the log's own time: the milliseconds that leaders have counted while they led. It never goes back.
It stands still while no node leads. It never runs faster than real time.

Leaders count it in beats, so the true time of a command may be up to `BEAT_MS` later than its moment. A machine
therefore adds `BEAT_MS` to every duration that begins at a moment, such as a lease. Then the duration never ends too
early.

When the log's time has reached `due_ms`, every node calls `expire` at the same slot. Sessions end by the same time, and
then every node calls `session_ended`.

Watches
-------
A watch is a question that `query` answers with `NotYet`: it waits at the leader. By default the leader asks all watches
of a machine again after each slot that changed the machine. So each of them costs something at each change, even if it
waits for something else. A machine with many watches names the **topic** of each change in `changed`, and each `NotYet`
names the beginning of the topics that it waits for. Then a change costs nothing for watches of other topics.

A watch of numbered changes must not miss one, and must not be refused for changes that it has seen. So such a machine
returns its latest number from `latest_version`. The leader notes up to which version a watch has seen everything, and asks again
with `query_again`. When the time of a watch is over, its client gets `nothing_new`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple, Self, TypeAlias

from node.contract import BadInput
from node.tuning import Tuning

#: The interval at which a leader counts the log's time, in milliseconds.
BEAT_MS: Final = 50

#: Plain data as a frame holds it: None, bool, int, float, str, bytes, list, dict.
Plain: TypeAlias = Any

#: A command or a question of a client: the name of the operation, then its arguments.
Command: TypeAlias = list[Plain]


class Moment(NamedTuple):
    """The place of a command in the log, and its session. It is the same for all commands of one frame.

    `slot` is the slot of the log, `time_ms` the log's time in milliseconds, `session` the number of the client's
    session, or 0 for none.
    """

    slot: int
    time_ms: int
    session: int


class Refusal(Exception):
    """The command was not done and has changed nothing. `kind` is for programs, such as "held"; the message is for people."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class FloorTooLow(BadInput):
    """The state has given out a number that is not below the floor from which its numbers were to rise."""


@dataclass(frozen=True, slots=True)
class NotYet:
    """What `query` returns for a watch while there is nothing new to answer.

    `topic` is what the watch waits for: the node asks again after a change whose topic begins with it. See
    `Machine.changed`.
    """

    topic: str = ""


#: For a watch that waits for any change of the machine.
NOT_YET: Final = NotYet()


class Machine(ABC):
    """One deterministic state machine.

    A node creates it by `made_with`, and then calls `restore` if there is a snapshot.
    """

    name: ClassVar[str]
    """The name by which clients address the machine."""

    changed: dict[str, None] | None = None
    """The topics of the changes since the node has cleared it. It is not part of the state.

    None: the machine names no topics, so each watch is asked again after any change. A machine that names them sets this to
    a dictionary when it is made, and adds the topic of each change to it as a key.
    """

    @classmethod
    def made_with(cls, tuning: Tuning) -> Self:
        """Create the machine of a cluster with these settings. By default none of them matters to it: see `node/tuning.py`."""
        return cls()

    @abstractmethod
    def apply(self, at: Moment, command: Command) -> Plain:
        """Do one command.

        Returns:
            The result of the command, as plain data. The client receives it.

        Raises:
            Refusal: the command cannot be done. The machine has not changed.
        """

    @abstractmethod
    def query(self, question: Command) -> Plain | NotYet:
        """Answer a question from the present state.

        Returns:
            The answer as plain data, or `NOT_YET` if the question waits for a change.

        Raises:
            Refusal: the question cannot be answered.
        """

    def query_again(self, question: Command, seen: int) -> Plain | NotYet:
        """Answer a watch that has seen every change up to the version `seen`. Raises as `query` does."""
        return self.query(question)

    def latest_version(self) -> int:
        """Return the number of the latest change, or 0 if the machine does not number its changes."""
        return 0

    def nothing_new(self) -> Plain:
        """Return the answer to a watch whose time is over. It has seen every change."""
        return None

    @abstractmethod
    def snapshot(self) -> Plain:
        """Return the whole state as plain data."""

    @abstractmethod
    def restore(self, state: Plain) -> None:
        """Take over the state that `snapshot` returned."""

    def figures(self) -> Mapping[str, int]:
        """Return how much the machine holds, for a node's status. Example: `{"keys": 3}`."""
        return {}

    def due_ms(self) -> int | None:
        """Return the earliest log time, in milliseconds, at which `expire` has something to do, or None."""
        return None

    def expire(self, at: Moment) -> None:  # noqa: B027 - a machine may have nothing that expires
        """Drop what has expired: the log's time has reached `at.time_ms`.

        The node calls this before the commands of the same slot. `at.session` is 0.
        """

    def session_ended(self, at: Moment) -> None:  # noqa: B027 - a machine may keep nothing by session
        """Release what the session `at.session` holds: it has expired, or its client has closed it."""

    def rise(self, floor: int) -> None:  # noqa: B027 - a machine may give out no numbers
        """Raise every number that clients compare above `floor`: versions, tokens, tickets.

        A new cluster is made from this state (see `node/replication/new_cluster.py`). Its clients must not take a number of the
        old cluster for one of the new, so the next number of each kind is above `floor`, and a number that the state holds
        already gets a new value above `floor` or is dropped. All sessions have ended before.

        Raises:
            FloorTooLow: a number of the state is not below `floor` (see `risen`).
        """


def risen(floor: int, highest: int) -> int:
    """Return `floor`, after which a machine goes on counting. `highest` is the highest number that it has given out.

    Raises:
        FloorTooLow: `highest` is not below `floor`.
    """
    if highest >= floor:
        raise FloorTooLow(f"the state has given out the number {highest:,}, and new numbers would begin at {floor:,}")
    return floor


def no_such_operation(machine: Machine, command: Command) -> Refusal:
    """Return the refusal for a command that matches no case of a machine's `match`. Its message shows the command."""
    arrived = repr(command)
    return Refusal("bad_command", f"{machine.name} has no operation like {arrived[:100]}")
