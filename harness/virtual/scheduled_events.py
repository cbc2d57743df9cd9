"""What happens in a simulated run at times that are fixed beforehand: faults, and calls of clients. Plain data.

An event names a node by its id, by the name of a role (`harness.virtual.roles.BOUND`), or, on a side of a cut, by `OTHERS` or
`CLIENTS`. The simulation finds the node when the event happens.
"""

from dataclasses import dataclass
from random import Random
from typing import Final

from harness.virtual.roles import NodeRole
from harness.virtual.steps import CrashMoment, LastCommit
from node.contract import NodeId

#: Stands in a cut for all nodes that are not on its other side, and for all clients.
OTHERS: Final = "the other nodes"
CLIENTS: Final = "the clients"


@dataclass(frozen=True, slots=True)
class ScheduledEvent:
    """Something that happens at a time, in seconds since the beginning of the run."""

    at_s: float


@dataclass(frozen=True, slots=True)
class ScheduledCut(ScheduledEvent):
    """For `for_s` seconds no packet passes from `left` to `right`, nor back unless `one_way`."""

    for_s: float
    left: tuple[NodeId, ...]
    right: tuple[NodeId, ...]
    one_way: bool
    holds: bool
    """Packets wait for the end of the cut. Otherwise they are lost."""


@dataclass(frozen=True, slots=True)
class ScheduledOutage(ScheduledEvent):
    """A node crashes, and boots again after `for_s` seconds. If its disk is lost, it never boots."""

    for_s: float
    node: NodeId
    loses_disk: bool
    in_turn: bool = False
    """The node crashes in the middle of a turn: of the next that has the moment `moment`."""
    last_commit: LastCommit | None = None
    """What happens to the node's last commit while it is down; None: nothing."""
    moment: CrashMoment = CrashMoment.EARLY
    moves_s: float = 0.0
    """The node boots at a new address. Each of the others learns of it some time later, within so many seconds, and what it sends
    to the node before is lost."""


@dataclass(frozen=True, slots=True)
class ScheduledPause(ScheduledEvent):
    """A node is suspended for `for_s` seconds, and then continues. Its input waits meanwhile."""

    for_s: float
    node: NodeId


@dataclass(frozen=True, slots=True)
class ScheduledCall(ScheduledEvent):
    """A client's call at `node`: a proposal of `colour`, or a query if that is None. The client waits for `for_s` seconds."""

    for_s: float
    node: NodeId
    colour: str | None
    owed_s: float = 0.0
    """How long the answer may take. 0: it may not come, because of a fault."""


@dataclass(frozen=True, slots=True)
class ScheduledPlot(ScheduledEvent):
    """As soon as a node has a role, things happen to that node.

    The plot waits for such a node from `at_s` on, for `within_s` seconds. The times of `then` count from the moment at which it
    is found, and `harness.virtual.roles.BOUND` has the name that stands for the node in these events.
    """

    within_s: float
    role: NodeRole
    then: tuple[ScheduledEvent, ...]


@dataclass(frozen=True, slots=True)
class TurnConditions:
    """How many inputs share a turn of a node in the fault phase."""

    waits: float = 0.0
    """How likely an input that comes first waits for others, as it does in a process that commits its last turn meanwhile."""
    waits_s: float = 0.0
    """How long it waits at most."""
    shuffled: float = 0.0
    """How likely the inputs of a turn are taken in another order than they came in."""


ONE_INPUT: Final = TurnConditions()


@dataclass(frozen=True, slots=True)
class Times:
    """Draws the times of events, which are shortly after one of a few moments, and their lengths. All are in seconds."""

    rng: Random
    moments: list[float]
    spread_s: float

    def draw(self) -> float:
        """Draw the time of an event."""
        return self.rng.choice(self.moments) + self.rng.expovariate(1 / self.spread_s)

    def length(self) -> float:
        """Draw the length of an event."""
        return self.rng.expovariate(1 / self.spread_s) * self.rng.choice((1, 10))
