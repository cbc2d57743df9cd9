"""The time of elections: when a voter of a log canvasses, runs, gives up and begins anew, whatever it runs for.

Theory of operation
-------------------
A voter that has received nothing from a leader for some ticks **canvasses**: it asks every voter whether that voter would support
it in an election. A voter that has received something from a leader lately does not answer. So a node that is cut off from the
leader, and not from all others, does not end the leadership of a working leader (Ongaro 2014, section 9.6, PreVote). With the
support of a quorum the node **runs**: it begins phase 1 of Paxos, or asks for votes in a new term of Raft. A subclass does that.

When the leader's connection closes, a voter canvasses soon. The closed connection is only a hint: if the leader still works, the
other voters do not support the canvass.

Waits
-----
The network may be slow, and may lose messages. So a canvass keeps its supporters while it lasts, and asks the other voters again
at each tick. A candidacy keeps its promises or votes likewise. Either is begun anew only after a random time. That is the round
trips seen, and a time that doubles with each failure in a row, up to `growth_max` times. A voter that has given its promise or
its vote gives its candidate a round trip to report that it leads, before the voter canvasses itself or supports another canvass.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from node.contract import NodeId
from node.log_contract import LogNode
from node.quorum import is_quorum
from node.replication.configuration import Configuration
from node.replication.doubt import ROUNDS_AT_ONCE
from node.replication.round_trips import RoundTrips
from node.tuning import Tuning


def tick_s(tuning: Tuning) -> tuple[float, float]:
    """Return the shortest and the longest time between two ticks, in seconds."""
    return tuning.tick_ms * 2 / 3000, tuning.tick_ms * 4 / 3000


class LogElection(ABC):
    """The state of one replica in elections. `role` is "follower", "canvassing", `RUNNING` or "leading"."""

    RUNNING: ClassVar[str]
    """What the role of a replica is called that runs."""

    def __init__(self, node: LogNode) -> None:
        self.node = node
        self.role = "follower"
        self.leader: NodeId | None = None
        # At boot there may be no leader, so a voter canvasses at the first tick.
        self.ticks_without_leader = node.tuning.canvass_ticks - 1
        self.round_trips = RoundTrips(node.id, node.tuning.wait_ms_max)
        self.wait_ms = 0  # until a quorum has answered, as of the last tick
        self.tick_count = 0  # since the boot
        self.canvass_began = 0  # at which tick
        self.ticks = 0  # in the present role
        self.grace_ticks = 0  # that a candidate gets to report that it leads
        self.failures = 0  # canvasses and candidacies in a row that came to nothing
        self.supporters: dict[NodeId, None] = {}
        self.notes_left = 0  # how many more commits must hold a round that is far above the last one
        self.noted_at = 0  # at which tick the latest of them was begun
        self.runs_when_noted = False

    @abstractmethod
    def send_canvass(self, configuration: Configuration) -> None:
        """Ask every voter that does not support this replica yet. The answer returns the tick, for the round trip."""

    @abstractmethod
    def become_running(self, configuration: Configuration) -> None:
        """Run for an election that this replica has never run for, or do so at a later tick if `next_round` returns none."""

    @abstractmethod
    def ask_again(self, configuration: Configuration) -> None:
        """While this replica runs: ask every voter again that has not answered."""

    # --- roles ------------------------------------------------------------------------------------------------------

    def become_follower(self, leader: NodeId | None) -> None:
        """Follow `leader`, or wait for a leader if None."""
        self.role, self.leader, self.ticks_without_leader, self.ticks = "follower", leader, 0, 0
        self.grace_ticks = 0 if leader is not None else self.wait_ms // self.node.tuning.tick_ms
        self.runs_when_noted = False
        self.node.cancel_timer("anew")

    def become_canvassing(self, configuration: Configuration) -> None:
        """Ask every other voter whether it would support this replica."""
        self.role, self.leader, self.ticks = "canvassing", None, 0
        self.canvass_began = self.tick_count
        self.supporters = {self.node.id: None}
        self.begin_anew_after(self.node.tuning.canvass_ms)
        self.send_canvass(configuration)

    def become_leading(self) -> None:
        """End the election: this replica has won it."""
        assert self.role == self.RUNNING
        self.role, self.leader, self.failures = "leading", self.node.id, 0
        self.node.cancel_timer("anew")

    def next_round(self, known: int) -> int | None:
        """Save and return a round that this node has never used, above `known`.

        If it is far above this node's last round, return None, and have the next ticks ask again: the record of a round could be
        lost, and not be skipped (rule 5 of `node/replication/doubt.py`). A tick has a commit of its own.
        """
        last = self.node.disk.get("round", 0)
        assert isinstance(last, int)
        round_ = max(last, known) + 1
        if round_ - last > ROUNDS_AT_ONCE:
            self.notes_left = 2
        elif self.notes_left and self.noted_at == self.tick_count:
            return None
        elif self.notes_left:
            self.notes_left -= 1
        self.node.disk["round"], self.noted_at = round_, self.tick_count
        if self.notes_left and self.role == self.RUNNING:
            self.become_follower(None)  # the present candidacy is over
        self.runs_when_noted = self.notes_left > 0
        return None if self.notes_left else round_

    # --- time -------------------------------------------------------------------------------------------------------

    def tick(self, configuration: Configuration) -> None:
        """Take in one tick: ask again, or canvass if no leader has sent anything for too long."""
        self.node.set_timer("tick", *tick_s(self.node.tuning))
        self.wait_ms = self.round_trips.quorum_wait_ms(configuration.voters)
        self.tick_count += 1
        self.ticks_without_leader += 1
        self.ticks += 1
        if self.node.id not in configuration.voters:
            return
        if self.runs_when_noted:
            self.become_running(configuration)
        elif self.role == self.RUNNING and self.ticks % (1 + self.wait_ms // self.node.tuning.tick_ms) == 0:
            self.ask_again(configuration)  # an answer may be long, so no faster than answers come
        elif self.role == "canvassing":
            self.send_canvass(configuration)
        elif self.role == "follower" and self.ticks_without_leader >= self.node.tuning.canvass_ticks + self.grace_ticks:
            self.become_canvassing(configuration)

    def begin_anew(self, configuration: Configuration) -> None:
        """Take in that the canvass or the candidacy has lasted for too long: canvass from the start."""
        if self.role in ("canvassing", self.RUNNING):
            self.failures += 1
            self.become_canvassing(configuration)

    def begin_anew_after(self, least_ms: int) -> None:
        """Set the timer after which the canvass or the candidacy is begun anew."""
        least_s = self.patience_s(least_ms)
        self.node.set_timer("anew", least_s, 2 * least_s)

    def patience_s(self, least_ms: int) -> float:
        """Return how long to wait before this replica begins anew: `least_ms`, which grows with each failure, and a round trip.

        The round trip does not grow. It may be that of links that were slow and are quick again.
        """
        growth: int = min(2**self.failures, self.node.tuning.growth_max)
        return (least_ms * growth + self.wait_ms) / 1000

    def note_leader(self, leader: NodeId) -> None:
        """Note that a message of `leader` has arrived."""
        if self.role != "follower" or self.leader != leader:
            self.become_follower(leader)
        self.ticks_without_leader = self.failures = 0

    def note_candidate(self) -> None:
        """Note that the candidate that has this replica's promise or vote asks again, so it still works."""
        if self.role == "follower" and self.leader is None:
            self.ticks_without_leader = 0

    def leader_lost(self) -> None:
        """Take in that the leader's connection has closed, so that the next tick comes soon and canvasses."""
        self.leader, self.ticks_without_leader, self.grace_ticks = None, self.node.tuning.canvass_ticks, 0
        self.node.set_timer("tick", 0.0, self.node.tuning.hurry_ms / 1000)

    def forget_time(self) -> None:
        """Forget how much time has passed, as if this replica had heard from no leader for long."""
        self.tick_count = self.canvass_began = self.ticks = self.grace_ticks = self.failures = self.wait_ms = 0
        self.ticks_without_leader = self.node.tuning.canvass_ticks
        self.round_trips.forget()

    # --- support ----------------------------------------------------------------------------------------------------

    def supports(self) -> bool:
        """Return whether this replica supports the canvass of another voter."""
        silent_for = self.grace_ticks if self.leader is None else self.node.tuning.support_ticks
        return self.role != "leading" and self.ticks_without_leader >= silent_for

    def count_supporter(self, sender: NodeId, asked: int, configuration: Configuration) -> bool:
        """Count a supporter, which answers what was sent at the tick `asked`. Returns whether a quorum supports this replica."""
        if asked > self.tick_count:
            return False  # it answers an earlier life
        self.round_trips.answered(sender, (self.tick_count - asked) * self.node.tuning.tick_ms)
        if self.role != "canvassing" or asked < self.canvass_began:
            return False
        self.supporters[sender] = None
        return is_quorum(self.supporters, configuration.voters)
