"""The fault schedule of a simulated run of a replicated log, drawn from its seed.

It adds to `harness.virtual.fault_schedule`: clients with sessions, which restart and may resume them; members that are added,
removed and replaced; leaders that are asked to hand over; connections that seem to close; and settings so small that
snapshots are frequent, and that nodes miss more of the log than a promise can contain.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from random import Random
from typing import Final

from harness.faults.drawn_settings import draw_settings
from harness.virtual.fault_schedule import FaultSchedule, KindLoss, LinkConditions, draw_cut
from harness.virtual.log_events import (
    KEYS,
    LEADER,
    LOCK,
    LOCK_KINDS,
    OTHER_KINDS,
    TASKS,
    ClientRestart,
    MembershipChange,
    ScheduledHandOver,
    ScheduledHint,
    ScheduledOperation,
    ScheduledSlowDisk,
)
from harness.virtual.log_plots import SIEGE_S, PlotDrawer
from harness.virtual.plots import draw_turns, with_moment
from harness.virtual.scheduled_events import (
    ScheduledCall,
    ScheduledCut,
    ScheduledEvent,
    ScheduledOutage,
    ScheduledPause,
    ScheduledPlot,
    Times,
)
from harness.virtual.steps import LastCommit
from node.contract import NodeId
from node.tuning import Tuning, tuning_of
from node.wire import encode_value

_COLOURS: Final = ("blue", "red", "green")
#: How long after the addition of a new member the removal of the replaced one follows.
_REPLACED_AFTER_S: Final = 0.3
#: How clients look for a leader in all runs.
_PATIENT: Final = {"client_no_leader_ms": 50, "client_probe_ms": 100}
#: The share of runs with slow disks; how long a sync takes then, and for how long disks are slow, in seconds.
_SLOW_DISKS: Final = 0.12
_SYNC_S: Final = (0.06, 0.3, 0.5)
_SLOW_FOR_S: Final = (0.5, 1.0, 4.0)
#: The share of runs at whose end nothing happens for a while.
_IDLE: Final = 0.5
#: The share of runs whose logs are compared with those of real disks.
_REAL_LOGS: Final = 0.25
#: The share of runs whose sessions end after so many milliseconds of the log's time without a use.
_SHORT_SESSIONS: Final = 0.1
SHORT_SESSION_MS: Final = 1_500
#: The share of runs in which a leader has room for so few frames that it refuses others.
_FULL_LEADERS: Final = 0.1
FEW_FRAMES: Final = 2
#: The share of runs without another plot in which a leader is deposed, does not hear of it, and is asked.
_DEPOSED: Final = 0.4
#: The share of runs with such calls, and the kinds that follow two claims.
_LOCK_STORIES: Final = 0.15
_OF_LOCK_STORIES: Final = ("acquire", "resume", "resume", "granted", "renew any", "release any", "give up", "holder")
#: The share of sieges in which a client asks to remove a member that is needed.
_REMOVALS: Final = 0.3
#: When a siege begins, after a leader was elected.
_SIEGE_AT_S: Final = 0.6


@dataclass(frozen=True, slots=True)
class LogFaultSchedule(FaultSchedule):
    """Everything about one run of a log that is fixed beforehand.

    `survivors` are up in the recovery phase without the other members, if they are certain to be a majority.
    """

    clients: tuple[str, ...] = ()
    others: tuple[NodeId, ...] = ()
    """The value of `newcomers`."""
    all_lead: bool = False
    """In the recovery phase, each voter that is up is asked to lead, one after the other."""
    idles: bool = False
    """At the end nothing happens for a while, so every lease has to end by itself."""
    real_logs: bool = False
    """Each log is compared with that of a real disk."""

    @property
    def newcomers(self) -> tuple[NodeId, ...]:
        return self.others

    @property
    def membership_changes(self) -> tuple[MembershipChange, ...]:
        """The changes of members that clients ask for."""
        events = _within((*self.calls, *self.faults))
        return tuple(event for event in events if isinstance(event, MembershipChange))

    @property
    def endpoints(self) -> tuple[str, ...]:
        return (*self.members, *self.others, *self.clients)


def _within(events: Iterable[ScheduledEvent]) -> Iterator[ScheduledEvent]:
    """Yield these events, and those of the plots among them."""
    for event in events:
        yield event
        if isinstance(event, ScheduledPlot):
            yield from _within(event.then)


def draw_log_fault_schedule(seed: int, nodes: int = 3) -> LogFaultSchedule:
    """Draw the fault schedule of a seed for a log on `nodes` members."""
    rng = Random(f"log weather/{seed}/{nodes}")  # another text would change what every seed draws
    members = tuple(f"n{number}" for number in range(1, nodes + 1))
    clients = tuple(f"c{number}" for number in range(1, rng.randint(1, 3) + 1))
    fault_phase_s = rng.choice((0.4, 0.7, 1.0))
    moments = [rng.uniform(0.1, fault_phase_s * 0.8) for _ in range(rng.randint(1, 3))]
    times = Times(rng, moments, rng.choice((0.003, 0.03, 0.3)))
    victims = (LEADER, *rng.sample(members, rng.randint(1, min(2, nodes))))
    changes = _changes(rng, members, clients, times) if rng.random() < 0.4 else ()
    others = tuple(dict.fromkeys(change.node for change in changes if change.kind == "add"))
    endpoints = (*members, *others, *clients)
    faults: list[ScheduledEvent] = []
    for _ in range(rng.choice((0, 0, 1, 2, 4))):
        isolated = rng.random() < 0.5
        faults.append(_isolation(rng, endpoints, victims, times) if isolated else draw_cut(rng, endpoints, times))
    for _ in range(rng.choice((0, 0, 1, 2, 5))):
        down_s = rng.choice((0.0, times.length()))
        faults.append(
            ScheduledOutage(times.draw(), down_s, rng.choice(victims), loses_disk=False, in_turn=rng.random() < 0.4)
        )
    if rng.random() < 0.1:
        faults.append(ScheduledOutage(times.draw(), 0.0, rng.choice(members), loses_disk=True))
    faults += [
        ScheduledPause(times.draw(), times.length(), rng.choice(victims)) for _ in range(rng.choice((0, 0, 1, 3)))
    ]
    faults += [ScheduledHandOver(times.draw()) for _ in range(rng.choice((0, 0, 0, 1)))]
    faults += [ScheduledHint(times.draw(), rng.choice(victims)) for _ in range(rng.choice((0, 0, 1, 2)))]
    faults += [
        ClientRestart(times.draw(), rng.choice(clients), rng.random() < 0.5) for _ in range(rng.choice((0, 0, 1, 2)))
    ]
    operations = _operations(rng, clients, times, fault_phase_s)
    operations += _other_operations(Random(f"other operations/{seed}/{nodes}"), clients, times, fault_phase_s)
    operations += _lock_story(Random(f"lock stories/{seed}/{nodes}"), clients, fault_phase_s)
    left_down = rng.sample(members, rng.randint(0, (nodes - 1) // 2))
    if not changes and not any(isinstance(fault, ScheduledOutage) and fault.loses_disk for fault in faults):
        doubts = _doubts(Random(f"doubts/{seed}/{nodes}"), members, moments)
        faults += doubts
        left_down = [] if doubts else left_down  # who can tell what a disk in doubt has lost must be up
    drawn = LogFaultSchedule(
        seed,
        members,
        fault_phase_s,
        _links(rng, len(endpoints)),
        clocks=tuple(rng.choice((1.0, 1.0, rng.uniform(0.5, 2.0))) for _ in endpoints),
        faults=tuple(faults),
        calls=(*operations, *changes, *_calls(rng, members, times)),
        survivors=tuple(member for member in members if member not in left_down),
        recovery_colours=_COLOURS,
        clients=clients,
        tuning=_tuning(seed, nodes),
        others=others,
        idles=Random(f"idle/{seed}/{nodes}").random() < _IDLE,
        real_logs=Random(f"real logs/{seed}/{nodes}").random() < _REAL_LOGS,
    )
    return _with_roles(Random(f"turns and roles/{seed}/{nodes}"), drawn, times)


def _tuning(seed: int, nodes: int) -> Tuning:
    """Draw the settings; in some runs sessions end so soon that a run outlasts them, or leaders refuse what has no room.

    A client that finds no leader does not ask again and again: a reply that knows none shows nothing.
    """
    drawn = draw_settings(Random(f"settings/{seed}/{nodes}"), keeps_log=True) | _PATIENT
    if Random(f"short sessions/{seed}/{nodes}").random() < _SHORT_SESSIONS:
        drawn |= {"session_idle_ms": SHORT_SESSION_MS, "lease_ms_max": SHORT_SESSION_MS * 2 // 3}
    full = Random(f"full leaders/{seed}/{nodes}")
    if full.random() < _FULL_LEADERS:
        drawn |= {"leader_frames": full.choice(range(1, FEW_FRAMES + 1))}
    return tuning_of(drawn)


def _with_roles(rng: Random, drawn: LogFaultSchedule, times: Times) -> LogFaultSchedule:
    """Add turns of several inputs, crashes in the middle of turns, and faults that strike nodes by their roles."""
    times = replace(times, rng=rng)
    faults = [with_moment(rng, fault) if isinstance(fault, ScheduledOutage) else fault for fault in drawn.faults]
    drawn = replace(drawn, faults=tuple(faults), turns=draw_turns(rng), all_lead=rng.random() < 0.3)
    drawn = _with_slow_disks(Random(f"slow disks/{drawn.seed}/{len(drawn.members)}"), drawn, times)
    newcomer = f"n{len(drawn.members) + len(drawn.others) + 1}"
    drawer = PlotDrawer(rng, drawn.clients, drawn.members, newcomer)
    draw = rng.random()
    if draw < 0.06 and len(drawn.members) > 2:
        quiet = tuple(
            call
            for call in drawn.calls
            if isinstance(call, ScheduledOperation) and not drawn.others and call.kind != "close"
        )  # a client that ends its session ends what it has under way, too
        plot_of_siege = drawer.siege(_SIEGE_AT_S)
        removals = Random(f"sieges with a removal/{drawn.seed}/{len(drawn.members)}")
        if removals.random() < _REMOVALS:
            drawer.rng = removals
            plot_of_siege = drawer.siege_with_removal(_SIEGE_AT_S)
        return replace(
            drawn,
            fault_phase_s=_SIEGE_AT_S + SIEGE_S,
            faults=(plot_of_siege,),
            calls=quiet,
            survivors=drawn.members,
            links=LinkConditions(repeat=drawn.links.repeat, usual_s=drawn.links.usual_s),
        )
    if draw < 0.5 and len(drawn.members) > 1:
        plot = drawer.draw(times)
        joins = tuple(event for event in plot if isinstance(event, MembershipChange))
        drawn = replace(
            drawn,
            fault_phase_s=drawn.fault_phase_s + max(rng.choice((0.0, 1.0, 5.0)), drawer.lasts_s),
            faults=(*drawn.faults, *(event for event in plot if event not in joins)),
            calls=(*drawn.calls, *joins),
        )
        if joins:
            drawn = _with_newcomer(rng, drawn, joins[0].node)
        if rng.random() < 0.5:
            lost = KindLoss(rng.random(), rng.choice((0.3, 0.7)))
            drawn = replace(drawn, links=replace(drawn.links, loss_by_kind=(*drawn.links.loss_by_kind, lost)))
        return drawn
    return _with_deposed(Random(f"deposed/{drawn.seed}/{len(drawn.members)}"), drawn, drawer, times)


def _with_deposed(rng: Random, drawn: LogFaultSchedule, drawer: PlotDrawer, times: Times) -> LogFaultSchedule:
    """Let another node take over from a leader that does not hear of it and is asked, in some runs without another plot.

    Mostly nothing else happens, and links are good: other faults end the old leader's lead, or leave no node to succeed it.
    """
    if len(drawn.members) < 3 or rng.random() > _DEPOSED:
        return drawn
    drawer.rng = rng
    if rng.random() < 0.2:
        plot = drawer.deposed(replace(times, rng=rng).draw())
        return replace(drawn, fault_phase_s=drawn.fault_phase_s + drawer.lasts_s, faults=(*drawn.faults, plot))
    plot = drawer.deposed(rng.uniform(0.2, 0.5))
    links = LinkConditions(repeat=drawn.links.repeat, usual_s=tuple(min(each, 0.01) for each in drawn.links.usual_s))
    return replace(drawn, fault_phase_s=0.5 + drawer.lasts_s, faults=(plot,), links=links)


def _with_slow_disks(rng: Random, drawn: LogFaultSchedule, times: Times) -> LogFaultSchedule:
    """Let one or two disks be slow for a while, in some runs; mostly the leader's. Then often each voter leads at last."""
    if rng.random() > _SLOW_DISKS:
        return drawn
    times = replace(times, rng=rng)
    slow = tuple(
        ScheduledSlowDisk(
            times.draw(), rng.choice(_SLOW_FOR_S), rng.choice((LEADER, rng.choice(drawn.members))), seconds
        )
        for seconds in rng.choices(_SYNC_S, k=rng.choice((1, 1, 2)))
    )
    return replace(drawn, faults=(*drawn.faults, *slow), all_lead=drawn.all_lead or rng.random() < 0.7)


def _with_newcomer(rng: Random, drawn: LogFaultSchedule, newcomer: NodeId) -> LogFaultSchedule:
    """Add a node that may join, with its links and its clock."""
    before, others = drawn.endpoints, (*drawn.others, newcomer)
    known = dict(zip(product(before, repeat=2), drawn.links.usual_s, strict=True))
    clocks = dict(zip(before, drawn.clocks, strict=True))
    after = replace(drawn, others=others)
    usual_s = tuple(known.get(pair, rng.choice(drawn.links.usual_s)) for pair in product(after.endpoints, repeat=2))
    return replace(
        after,
        links=replace(drawn.links, usual_s=usual_s),
        clocks=tuple(clocks.get(end, 1.0) for end in after.endpoints),
    )


def _doubts(rng: Random, members: tuple[NodeId, ...], moments: list[float]) -> list[ScheduledOutage]:
    """Draw outages after which the last commit does not check: often one of all nodes, as when the power is cut.

    Only a minority of the disks is damaged. More than that is beyond what a log promises.
    """
    if len(members) == 1 or rng.random() < 0.7:
        return []
    damaged = rng.sample(members, (len(members) - 1) // 2)
    outages = []
    for moment in moments:
        together = rng.random() < 0.3
        for member in members if together else rng.sample(members, rng.randint(1, len(members))):
            at_s = moment + (0.0 if together else rng.uniform(-0.1, 0.1))
            last_commit = (
                rng.choice((LastCommit.DAMAGED, LastCommit.PROVEN_DAMAGED)) if member in damaged else LastCommit.TORN
            )
            outages.append(
                ScheduledOutage(
                    at_s,
                    rng.uniform(0.0, 0.3),
                    member,
                    loses_disk=False,
                    in_turn=rng.random() < 0.3,
                    last_commit=last_commit,
                )
            )
    return outages


def _links(rng: Random, endpoints: int) -> LinkConditions:
    usual_s = rng.choice((0.001, 0.003, 0.01))
    return LinkConditions(
        loss=rng.choice((0.0, 0.0, 0.05, 0.2)),
        repeat=rng.choice((0.0, 0.0, 0.1, 0.5)),
        slow=rng.choice((0.0, 0.05, 0.3)),
        loss_by_kind=tuple(
            KindLoss(rng.random(), rng.choice((0.5, 0.9, 1.0))) for _ in range(rng.choice((0, 0, 1, 2)))
        ),
        usual_s=tuple(usual_s * rng.choice((1.0, 1.0, 1.0, 8.0)) for _ in range(endpoints**2)),
        slow_s=rng.choice((0.03, 0.2, 1.0)),
    )


def _isolation(rng: Random, endpoints: tuple[str, ...], victims: tuple[NodeId, ...], times: Times) -> ScheduledCut:
    """Draw a cut of one endpoint from all others or from some."""
    victim = rng.choice(victims)
    rest = [end for end in endpoints if end != victim]
    right = rest if rng.random() < 0.6 else rng.sample(rest, rng.randint(1, len(rest)))
    one_way, holds = rng.random() < 0.4, rng.random() < 0.3
    return ScheduledCut(times.draw(), times.length(), (victim,), tuple(right), one_way=one_way, holds=holds)


def _changes(
    rng: Random, members: tuple[NodeId, ...], clients: tuple[str, ...], times: Times
) -> tuple[MembershipChange, ...]:
    """Draw changes of members: an addition, a removal, or an addition and then a removal."""
    changes: list[MembershipChange] = []
    known = list(members)
    for _ in range(rng.randint(1, 3)):
        kind, at_s, client = rng.choice(("add", "remove", "replace")), times.draw(), rng.choice(clients)
        leaving = rng.choice(known)
        if kind != "remove":
            known.append(f"n{len(known) + 1}")
            changes.append(MembershipChange(at_s, client, "add", known[-1]))
        if kind != "add":
            changes.append(
                MembershipChange(at_s + (_REPLACED_AFTER_S if kind == "replace" else 0.0), client, "remove", leaving)
            )
    return tuple(changes)


def _operations(rng: Random, clients: tuple[str, ...], times: Times, fault_phase_s: float) -> list[ScheduledOperation]:
    kinds, keys = rng.choice((("put", "get"), ("put", "put", "get", "cas"))), KEYS[: rng.randint(1, len(KEYS))]
    drawn = []
    for number in range(1, rng.choice((6, 15, 40)) + 1):
        at_s = times.draw() if rng.random() < 0.5 else rng.uniform(0.0, fault_phase_s)
        client, kind, key = rng.choice(clients), rng.choice(kinds), rng.choice(keys)
        drawn.append(ScheduledOperation(at_s, client, kind, key, encode_value(f"v{number}")))
    tries = range(rng.choice((0, 0, 5)))
    return drawn + [
        ScheduledOperation(rng.uniform(0.0, fault_phase_s), rng.choice(clients), "try", LOCK, b"") for _ in tries
    ]


def _other_operations(
    rng: Random, clients: tuple[str, ...], times: Times, fault_phase_s: float
) -> list[ScheduledOperation]:
    """Draw calls of the other kinds: on keys, locks, members and tasks. Most runs have some, of a few kinds."""
    if rng.random() < 0.3:
        return []
    times = replace(times, rng=rng)
    kinds = [kind for group in rng.sample(list(OTHER_KINDS), rng.randint(1, 4)) for kind in OTHER_KINDS[group]]
    drawn = []
    for number in range(1, rng.choice((6, 14, 28)) + 1):
        at_s = times.draw() if rng.random() < 0.5 else rng.uniform(0.0, fault_phase_s)
        kind = rng.choice(kinds)
        key = LOCK if kind in LOCK_KINDS else rng.choice(TASKS if kind in OTHER_KINDS["tasks"] else KEYS)
        drawn.append(ScheduledOperation(at_s, rng.choice(clients), kind, key, encode_value(f"o{number}")))
    return drawn


def _lock_story(rng: Random, clients: tuple[str, ...], fault_phase_s: float) -> list[ScheduledOperation]:
    """Draw, for some runs, calls about one lock in quick succession: claims, and what clients do that hold it or wait for it.

    Calls that are drawn one by one seldom meet a lock that is held and waited for: leases are short.
    """
    if rng.random() > _LOCK_STORIES:
        return []
    kinds = ["acquire", "acquire", *rng.choices(_OF_LOCK_STORIES, k=rng.randint(4, 8))]
    at_s, drawn = rng.uniform(0.05, fault_phase_s), []
    for number, kind in enumerate(kinds, 1):
        drawn.append(ScheduledOperation(at_s, rng.choice(clients), kind, LOCK, encode_value(f"l{number}")))
        at_s += rng.uniform(0.005, 0.05)
    return drawn


def _calls(rng: Random, members: tuple[NodeId, ...], times: Times) -> tuple[ScheduledCall, ...]:
    """Draw proposals and queries of a variable that is set once."""
    proposals = [
        ScheduledCall(times.draw(), 1.0, rng.choice(members), colour) for colour in _COLOURS[: rng.choice((0, 0, 1, 2))]
    ]
    queries = [ScheduledCall(times.draw(), 1.0, rng.choice(members), None) for _ in range(rng.choice((0, 0, 1)))]
    return (*proposals, *queries)
