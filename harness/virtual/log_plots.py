"""Draws faults that strike the nodes of a log by their roles, with the calls that would show what breaks.

A plot is what really breaks logs: a leader that is deaf for longer than a call waits, a leader that is cut off together with a
learner, an heir that is lost in mid-hand-over, a candidate that is struck between its promise and its lead. After the fault,
clients ask the old leader, which may not know that it is one.

In a *siege* nothing else happens: links are good, and a minority of the nodes is struck once, for long. So the rest owes each
client an answer within `OWED_S`, during the fault.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import Final

from harness.virtual.log_events import (
    KEYS,
    MembershipChange,
    ScheduledHandOver,
    ScheduledHint,
    ScheduledOperation,
)
from harness.virtual.plots import fault_on
from harness.virtual.roles import BOUND, NodeRole
from harness.virtual.scheduled_events import (
    CLIENTS,
    OTHERS,
    ScheduledCut,
    ScheduledEvent,
    ScheduledOutage,
    ScheduledPause,
    ScheduledPlot,
    Times,
)
from harness.virtual.steps import CrashMoment
from node.contract import NodeId
from node.wire import encode_value

#: How long a node is struck in a plot: some longer than a client waits for a call, which is 2 s.
_LONG_S: Final = (0.3, 1.0, 1.0, 2.5)
#: How long a siege lasts, and by when each call in it is owed an answer.
SIEGE_S: Final = 12.0
OWED_S: Final = 10.0
#: When a removal is asked in a siege. By then a leader has noticed whom it hears no more, however slow its clock, and the one
#: that is cut off canvasses, so the other followers are known. And by when each call after that is owed an answer.
_REMOVAL_AT_S: Final = 2.5
_OWED_AFTER_REMOVAL_S: Final = 7.0
#: How long a leader that is to be deposed is deaf before its messages are lost, too: more than a beat, so that answers are held.
_DEAF_S: Final = 0.07
OLD_LEADER: Final = BOUND[NodeRole.LEADER]
#: How many leaders follow each other in a succession.
_SUCCESSIONS: Final = 4


@dataclass(slots=True)
class PlotDrawer:
    """Draws plots. `number` counts the values that they write, each of which is unique in the run."""

    rng: Random
    clients: tuple[str, ...]
    nodes: tuple[NodeId, ...]
    """The nodes that are members at first."""
    newcomer: NodeId
    """A node that is no member, for a plot that needs a learner."""
    number: int = 0
    lasts_s: float = 0.0
    """How long a plot takes that shows nothing if it is cut short, in seconds."""

    def draw(self, times: Times) -> list[ScheduledEvent]:
        """Draw the events of one plot."""
        at_s, rng = times.draw(), self.rng
        match rng.randrange(8):
            case 0 | 1:
                return [self._plot(at_s, NodeRole.LEADER, [self._strike(OLD_LEADER), *self._calls_after()])]
            case 2:
                return self._leader_with_learner(at_s)
            case 3:
                return [self._heir(at_s)]
            case 4:
                return [self._candidate(at_s)]
            case 5:
                return [self._past(at_s)]
            case 6:
                return [self._succession(at_s, _SUCCESSIONS)]
            case _:
                return [self._away(at_s)]

    def _plot(self, at_s: float, role: NodeRole, then: list[ScheduledEvent], within_s: float = 0.5) -> ScheduledPlot:
        return ScheduledPlot(at_s, within_s, role, tuple(then))

    def _strike(self, name: str) -> ScheduledEvent:
        """Draw a cut of a node, one way or both, or a pause of it."""
        rng = self.rng
        for_s = rng.choice(_LONG_S)
        rest: tuple[str, ...] = (OTHERS, CLIENTS) if rng.random() < 0.2 else (OTHERS,)
        match rng.randrange(4):
            case 0:  # it is deaf
                return ScheduledCut(0.0, for_s, rest, (name,), one_way=True, holds=rng.random() < 0.2)
            case 1:  # it is mute
                return ScheduledCut(0.0, for_s, (name,), rest, one_way=True, holds=rng.random() < 0.2)
            case 2:
                return ScheduledCut(0.0, for_s, (name,), rest, one_way=False, holds=rng.random() < 0.2)
            case _:
                return ScheduledPause(0.0, for_s, name)

    def _leader_with_learner(self, at_s: float) -> list[ScheduledEvent]:
        """Draw a learner that joins, and that is then cut off together with the leader. Often another one leads at once."""
        pair = (OLD_LEADER, BOUND[NodeRole.LEARNER])
        cut = ScheduledCut(0.0, self.rng.choice(_LONG_S), pair, (OTHERS,), one_way=False, holds=False)
        then = self._deposed_at_once() if self.rng.random() < 0.7 else self._calls_after()
        leader = self._plot(0.0, NodeRole.LEADER, [cut, *then])
        learner = self._plot(at_s, NodeRole.LEARNER, [leader], within_s=2.0)
        return [MembershipChange(at_s, self.rng.choice(self.clients), "add", self.newcomer), learner]

    def _heir(self, at_s: float) -> ScheduledEvent:
        """Draw a hand-over, and a fault that strikes the heir in its middle."""
        heir = BOUND[NodeRole.HEIR]
        lost = fault_on(self.rng, heir, Times(self.rng, [0.0], self.rng.choice((0.03, 0.3))))
        then: list[ScheduledEvent] = [lost]
        if self.rng.random() < 0.4:
            then.append(ScheduledCut(0.0, self.rng.choice(_LONG_S), (heir,), (OLD_LEADER,), one_way=True, holds=False))
        plot = self._plot(0.0, NodeRole.HEIR, then, within_s=0.05)
        return self._plot(at_s, NodeRole.LEADER, [ScheduledHandOver(0.0), plot, *self._calls_after()])

    def _candidate(self, at_s: float) -> ScheduledEvent:
        """Draw an end of the leader, and a fault that strikes the candidate that follows."""
        candidate = BOUND[NodeRole.CANDIDATE]
        struck = fault_on(self.rng, candidate, Times(self.rng, [0.0], self.rng.choice((0.01, 0.1))))
        plot = self._plot(self.rng.uniform(0.0, 0.1), NodeRole.CANDIDATE, [struck], within_s=2.0)
        return self._plot(at_s, NodeRole.LEADER, [self._strike(OLD_LEADER), plot, *self._calls_after()])

    def _past(self, at_s: float) -> ScheduledEvent:
        """Draw a leader that is suspended until another one leads, and that goes on without hearing of it.

        It is cut off from all others or from one: then the rest answers what it sends.
        """
        rng, follower = self.rng, BOUND[NodeRole.FOLLOWER]
        away_s = rng.uniform(0.8, 1.6)
        self.lasts_s = away_s + 0.5
        others = (OTHERS,) if rng.random() < 0.5 else (follower,)
        cut = ScheduledCut(0.0, away_s + 1.0, (OLD_LEADER,), others, one_way=rng.random() < 0.2, holds=False)
        then = [
            cut,
            ScheduledPause(0.0, away_s, OLD_LEADER),
            self._operation(rng.uniform(0.0, 0.3), "put", None),
            *(self._operation(away_s + rng.uniform(-0.1, 0.3), "get", OLD_LEADER) for _ in range(rng.randint(2, 4))),
        ]
        plot = self._plot(0.0, NodeRole.FOLLOWER, then)
        return self._plot(at_s, NodeRole.LEADER, [plot])

    def deposed(self, at_s: float) -> ScheduledPlot:
        """Draw a leader that does not hear that it is one no longer, and that is asked while another one already writes.

        The others see its connection close, so that they elect at once, before it misses their answers and stops leading.
        """
        rng = self.rng
        for_s, old, others = rng.choice((0.2, 0.3, 0.4, 1.0)), (OLD_LEADER,), (OTHERS,)
        struck: list[ScheduledEvent]
        match rng.randrange(4):
            case 0:
                struck = [ScheduledCut(0.0, for_s, old, others, one_way=False, holds=False)]
            case 1 | 2:  # what the others have answered before arrives at last
                struck = [
                    ScheduledCut(0.0, _DEAF_S + for_s, others, old, one_way=True, holds=True),
                    ScheduledCut(_DEAF_S, for_s, old, others, one_way=True, holds=rng.random() < 0.5),
                ]
            case _:
                struck = [ScheduledPause(0.0, rng.choice((0.1, for_s)), OLD_LEADER)]
        self.lasts_s = 1.0
        return self._plot(at_s, NodeRole.LEADER, [*struck, *self._deposed_at_once(_DEAF_S)])

    def _deposed_at_once(self, after_s: float = 0.0) -> list[ScheduledEvent]:
        """Draw the election of a successor after `after_s`, a write there, and questions to the old leader right after it."""
        rng, successor = self.rng, BOUND[NodeRole.SUCCESSOR]
        asked_s = rng.choice((0.05, 0.1, 0.2))
        then: list[ScheduledEvent] = [
            *(self._at_hot_key(rng.uniform(0.0, asked_s / 2), "put", successor) for _ in range(rng.randint(1, 2))),
            *(self._at_hot_key(rng.uniform(0.0, 2 * asked_s), "get", OLD_LEADER) for _ in range(rng.randint(3, 6))),
        ]
        return [
            ScheduledHint(after_s, OLD_LEADER),
            ScheduledHint(
                after_s + rng.choice((0.02, 0.05)), OLD_LEADER
            ),  # a heartbeat that was under way may have come
            self._plot(0.0, NodeRole.SUCCESSOR, then, within_s=1.0),
        ]

    def _succession(self, at_s: float, more: int) -> ScheduledEvent:
        """Draw leaders in quick succession, each of which reaches only some of the others with what it writes."""
        rng, follower = self.rng, BOUND[NodeRole.FOLLOWER]
        self.lasts_s = 2.0
        ends_s = rng.uniform(0.01, 0.1)
        struck: ScheduledEvent = ScheduledOutage(ends_s, rng.choice((0.05, 0.3, 1.0)), OLD_LEADER, loses_disk=False)
        if rng.random() < 0.3:
            struck = ScheduledCut(ends_s, rng.choice((0.3, 1.0)), (OLD_LEADER,), (OTHERS,), one_way=False, holds=False)
        others = (OTHERS,) if rng.random() < 0.3 else (follower,)
        one_way = rng.random() < 0.5
        then = [
            ScheduledCut(0.0, rng.choice((ends_s, 0.5, 1.5)), (OLD_LEADER,), others, one_way=one_way, holds=False),
            *(self._operation(rng.uniform(0.0, ends_s), "put", OLD_LEADER) for _ in range(rng.randint(1, 2))),
            struck,
            ScheduledHint(ends_s, OLD_LEADER),
        ]
        if more > 1:
            then.append(self._succession(ends_s + rng.uniform(0.01, 0.3), more - 1))
        plot = self._plot(0.0, NodeRole.FOLLOWER, then)
        return self._plot(at_s, NodeRole.LEADER, [plot], within_s=2.0)

    def _away(self, at_s: float) -> ScheduledEvent:
        """Draw a follower that misses a part of the log, while clients write, and that may crash as it catches up."""
        rng, follower = self.rng, BOUND[NodeRole.FOLLOWER]
        away_s = rng.choice((0.2, 0.5, 1.0))
        gone: ScheduledEvent = ScheduledCut(0.0, away_s, (follower,), (OTHERS,), one_way=False, holds=False)
        if rng.random() < 0.5:
            gone = ScheduledOutage(0.0, away_s, follower, loses_disk=False)
        then = [gone, *(self._operation(rng.uniform(0.0, away_s), "put", None) for _ in range(rng.choice((5, 12))))]
        for _ in range(rng.randint(0, 2)):
            crash = ScheduledOutage(
                away_s, rng.choice((0.0, 0.1)), follower, loses_disk=False, in_turn=True, moment=CrashMoment.SNAPSHOT
            )
            then.append(crash)
        if rng.random() < 0.3:  # it comes back as all boot, and runs for the lead although it lacks so much
            late = rng.choice(self.nodes)
            for node in self.nodes:
                down_s = 1.0 if node == late else rng.uniform(0.0, 0.1)
                then.append(ScheduledOutage(away_s, down_s, node, loses_disk=False))
        return self._plot(at_s, NodeRole.FOLLOWER, then)

    def _calls_after(self) -> list[ScheduledEvent]:
        """Draw writes at any node, then questions to the old leader, and some the other way round."""
        rng = self.rng
        calls: list[ScheduledEvent] = []
        for _ in range(rng.randint(1, 4)):
            at_s = rng.choice((0.0, rng.uniform(0.0, 0.5), rng.uniform(0.5, 5.0)))
            kind, node = rng.choice((("put", None), ("get", OLD_LEADER), ("get", OLD_LEADER), ("put", OLD_LEADER)))
            calls.append(self._operation(at_s, kind, node))
        if rng.random() < 0.5:  # a write that the old leader does not hear of, and a question to it after that
            at_s = rng.uniform(0.3, 2.0)
            calls.append(self._operation(at_s, "put", None))
            calls.extend(self._operation(at_s + rng.uniform(0.1, 3.0), "get", OLD_LEADER) for _ in range(2))
        return calls

    def _operation(self, at_s: float, kind: str, node: str | None, owed_s: float = 0.0) -> ScheduledOperation:
        self.number += 1
        value = encode_value(f"p{self.number}")
        key = KEYS[0] if self.rng.random() < 0.7 else self.rng.choice(KEYS)
        return ScheduledOperation(at_s, self.rng.choice(self.clients), kind, key, value, node, owed_s)

    def _at_hot_key(self, at_s: float, kind: str, node: str) -> ScheduledOperation:
        return replace(self._operation(at_s, kind, node), key=KEYS[0])

    def siege(self, at_s: float) -> ScheduledPlot:
        """Draw a plot in which a minority is struck for long, and every call is owed an answer."""
        rng = self.rng
        role = rng.choice((NodeRole.LEADER, NodeRole.LEADER, NodeRole.FOLLOWER))
        name = BOUND[role]
        struck: ScheduledEvent
        match rng.randrange(4):
            case 0:
                struck = ScheduledCut(0.0, SIEGE_S, (OTHERS,), (name,), one_way=True, holds=False)
            case 1:
                struck = ScheduledCut(0.0, SIEGE_S, (name,), (OTHERS,), one_way=True, holds=False)
            case 2:
                struck = ScheduledCut(0.0, SIEGE_S, (name,), (OTHERS,), one_way=False, holds=False)
            case _:
                struck = ScheduledPause(0.0, SIEGE_S, name)
        kinds = (("put", None), ("get", None), ("get", name), ("put", name))
        owed = []
        for _ in range(rng.randint(2, 6)):
            kind, node = rng.choice(kinds)
            owed.append(self._operation(rng.uniform(0.0, 2.0), kind, node, OWED_S))
        if role is NodeRole.LEADER and rng.random() < 0.25:  # an heir is struck instead, in the middle of a hand-over
            heir = BOUND[NodeRole.HEIR]
            struck = rng.choice(
                (
                    ScheduledCut(0.0, SIEGE_S, (heir,), (OTHERS,), one_way=False, holds=False),
                    ScheduledPause(0.0, SIEGE_S, heir),
                )
            )
            lost = self._plot(0.0, NodeRole.HEIR, [struck], within_s=0.05)
            return self._plot(at_s, role, [ScheduledHandOver(0.0), lost, *owed])
        return self._plot(at_s, role, [struck, *owed])

    def siege_with_removal(self, at_s: float) -> ScheduledPlot:
        """Draw a siege in which a client asks to remove another follower than the one that is struck.

        With few nodes the rest would be no majority that answers, so the leader has to refuse it: else no call is answered.
        """
        rng, follower = self.rng, BOUND[NodeRole.FOLLOWER]
        cut = ScheduledCut(0.0, SIEGE_S, (OTHERS,), (follower,), one_way=rng.random() < 0.5, holds=False)
        removal = MembershipChange(0.0, rng.choice(self.clients), "remove", follower)  # the one that is bound by then
        owed = [
            self._operation(rng.uniform(0.3, 1.5), rng.choice(("put", "get")), None, _OWED_AFTER_REMOVAL_S)
            for _ in range(rng.randint(2, 4))
        ]
        asked = self._plot(_REMOVAL_AT_S, NodeRole.FOLLOWER, [removal, *owed])
        first = self._operation(rng.uniform(0.0, 1.0), "put", None, OWED_S)
        return self._plot(at_s, NodeRole.FOLLOWER, [cut, first, asked])
