"""Draws fault plans from a seed: weighted, with faults that overlap.

Theory of operation
-------------------
As in TigerBeetle's simulator, the generator keeps books: it knows for every moment which nodes a fault takes away, and which
processes a fault claims.

Rules
-----
1. Overlapping faults may take nodes away only as long as a majority stays.
2. A fault that takes a majority away, such as `kill-all`, is drawn only for a time in which no other fault is in force. So
   the cluster is without a majority for no longer than that fault lasts. Meanwhile no judge demands progress, since the
   receipts say which nodes could be reached.
3. At the plan's end every fault heals.
4. Nodes that share a failure domain, such as one disk or one machine, are struck together by faults of nodes: see `_domain`.
5. Beyond what is tolerated, rules 1 and 2 do not hold, and half of the faults damage or take disks, or take nodes for good.
6. A plan of a log may have one more step: a disk loses its last commit, which a log bears.
7. The settings of the cluster are drawn, too, often small (`harness/faults/drawn_settings.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from harness.faults.catalogue import (
    BadFault,
    CatalogueEntry,
    DrawnArguments,
    FaultBudget,
    catalogue,
    choose_faults,
    find_fault,
    message_types,
)
from harness.faults.disk_faults import draw_node_and
from harness.faults.drawn_settings import draw_settings
from harness.faults.log_traits import NO_LOG, LogTraits, log_traits
from harness.faults.roles import ROLES
from harness.records.links import CLIENT
from harness.runs.plan import Plan, PlanStep, When
from harness.systems.registry import check_strikes
from harness.systems.system import LinkEvent, System
from node.contract import NodeId
from node.quorum import majority
from node.tuning import tuning_of

FOR_S_LEAST: Final = 0.25
FOR_S_MOST: Final = 3.0
#: A fault that must outlast elections and deadlines lasts for up to so many seconds, and up to this share of the plan.
FOR_S_LONG: Final = 8.0
_LONGEST: Final = 0.75
#: No fault claims a process for so many seconds after another one: a process takes a while to start.
_REST_S: Final = 0.4
_TRIES: Final = 50
_PROBABILITY_WHEN: Final = 0.2
#: The probability that a fault of one node strikes the node that has some role then; and that a fault which waits for a message
#: strikes its sender or receiver.
_PROBABILITY_ROLE: Final = 0.3
_PROBABILITY_END: Final = 0.7
#: The probability that a fault of one process of a system that is not ours waits for an event on its links.
_PROBABILITY_EVENT: Final = 0.4
#: The probability that a fault outlasts the time within which a system that is not ours says that it answers, and by how much.
_PROBABILITY_OUTLASTS: Final = 0.25
_OUTLASTS: Final = 1.2
#: The probability that some nodes of a plan share a failure domain.
_PROBABILITY_DOMAIN: Final = 0.4
#: The faults that plans draw beyond what is tolerated only, and the probability that a step is one of them.
_DAMAGES: Final = ("lose-node", "delete-directory", "restore-old-copy", "flip-bit", "damage-last-commit")
_PROBABILITY_DAMAGE: Final = 0.5
#: The probability that a plan of a log, in which no other fault strikes a disk, has a disk lose its last commit.
_PROBABILITY_LOST_COMMIT: Final = 0.7
_ROLES: Final = {"leader": 5, "heir": 3, "follower": 1, "candidate": 1}
_ROLES_OF_LOGS: Final = {**_ROLES, "learner": 1}
#: Seconds between steps, on average, where the caller gives no number of steps.
_EVERY_S: Final = 0.8
_STEPS_LEAST: Final = 4


@dataclass
class _Bookkeeping:
    """The faults that were drawn: from when, until when, and what each takes."""

    entries: list[tuple[float, float, DrawnArguments]] = field(default_factory=list)

    def during(self, began_s: float, ended_s: float) -> list[DrawnArguments]:
        """Return the faults that are in force at any time between the two."""
        return [drawn for start, end, drawn in self.entries if start < ended_s and end > began_s]

    def budget(
        self,
        nodes: tuple[NodeId, ...],
        messages: tuple[str, ...],
        began_s: float,
        ended_s: float,
        of_log: LogTraits = NO_LOG,
    ) -> FaultBudget:
        """Return what a fault that is drawn for this time may take and claim."""
        in_force = self.during(began_s, ended_s)
        taken = {node for drawn in in_force for node in drawn.takes}
        claimed = {node for drawn in self.during(began_s - _REST_S, ended_s + _REST_S) for node in drawn.claims}
        spare = max(len(nodes) - majority(len(nodes)) - len(taken), 0)
        free = tuple(node for node in nodes if node not in claimed)
        return FaultBudget(nodes, free, spare, messages, of_log.keeps, of_log.changes_members, of_log.hand_over)

    def allows(self, budget: FaultBudget, drawn: DrawnArguments, began_s: float, ended_s: float) -> bool:
        """Return whether a majority stays, or no other fault is in force. Two faults at a time do not find the same role."""
        in_force = self.during(began_s, ended_s)
        taken = {node for other in in_force for node in other.takes}
        if taken & drawn.takes & set(ROLES):
            return False
        most = max(len(budget.nodes) - majority(len(budget.nodes)), budget.spare)
        return drawn.claims <= set(budget.free) and (not in_force or len(taken | drawn.takes) <= most)


def generate(
    algorithm: str,
    nodes: tuple[NodeId, ...],
    seed: int,
    *,
    faults: Sequence[str] = (),
    time_s: float = 10.0,
    workload: str = "register",
    steps: int | None = None,
    settings: Mapping[str, int] | None = None,
    draws_settings: bool = True,
    beyond_tolerance: bool = False,
    system: System | None = None,
) -> Plan:
    """Draw a plan. The same arguments give the same plan.

    Args:
        algorithm: what runs. Steps may wait for its messages.
        nodes: the nodes' names.
        seed: what every draw depends on.
        faults: names of faults or of families; none means the whole catalogue.
        time_s: how long the plan lasts, in seconds.
        workload: what clients do meanwhile.
        steps: how many faults; None means about one every 0.8 s. The plan has fewer if so many do not fit.
        settings: settings of the cluster, by name.
        beyond_tolerance: whether any number of nodes and disks may be damaged, lost or down.
        draws_settings: whether the other settings are drawn from the seed. Otherwise they are as shipped.
        system: what runs instead of an algorithm of ours. Its nodes have no roles and no settings, and nothing is known of their
            messages before they come.

    Raises:
        BadSetting: no setting has such a name, or a value is out of its range.
        BadFault: no fault or family has such a name, or none of them can be drawn.
    """
    chosen_faults = choose_faults(faults) if faults else catalogue()
    messages: tuple[str, ...] = ()
    of_log = NO_LOG
    if system is not None:
        algorithm, draws_settings = system.name, False
        chosen_faults = check_strikes(system, faults)
    else:
        of_log = log_traits(algorithm)
        messages = message_types(algorithm)
    entries = [entry for entry in chosen_faults if entry.weight > 0 or faults or system is not None]
    # With a log, the first step is a fault of roles: a leader that is deposed shows more than any other node.
    of_roles = [entry for entry in entries if entry.family == "role"] if of_log.elects and not faults else []
    rng = Random(f"plan/{seed}")
    wanted = steps if steps is not None else max(round(time_s / _EVERY_S), _STEPS_LEAST)
    books, found = _Bookkeeping(), list[PlanStep]()
    domain = _domain(Random(f"domain/{seed}"), nodes)
    damages = [find_fault(name) for name in _DAMAGES] if beyond_tolerance and not faults else []
    turns = [number for number in range(wanted) for _ in range(_TRIES)]
    for number in turns:
        if len(found) > number:
            continue  # an earlier try drew this step
        entry = _weighted(rng, entries if number else of_roles or entries)
        if damages and rng.random() < _PROBABILITY_DAMAGE:
            entry = rng.choice(damages)
        began_s, ended_s = _times(rng, time_s, max(entry.least_s, _outlasts_s(system, entry, seed, number)))
        budget = books.budget(nodes, messages, began_s, ended_s, of_log)
        if beyond_tolerance:
            budget = replace(budget, spare=len(nodes))
        elif system is not None and majority(len(nodes)) == len(nodes):
            budget = replace(budget, spare=1)  # no judge demands an answer of such a system while a node is down
        draw = draw_node_and() if beyond_tolerance and entry.name in _DAMAGES else entry.draw
        drawn = _strikes_all(draw(rng, budget), domain)
        if drawn is None or not books.allows(budget, drawn, began_s, ended_s):
            continue
        if entry.name == "lose-node":
            ended_s = time_s
        when = _when(rng, budget, drawn) if entry.name != "kill-at" else None
        if system is None:
            by_role, when_by_role = _by_role(rng, budget, drawn, when)
        else:  # from a generator of its own, so that the other draws are the same for all systems
            by_role, when_by_role = _at_event(Random(f"event/{seed}/{number}"), system.events(workload), nodes, drawn)
        if entry.name not in _DAMAGES and books.allows(budget, by_role, began_s, ended_s):
            drawn, when = by_role, when_by_role
        books.entries.append((began_s, ended_s, drawn))
        found.append(PlanStep(entry.name, began_s, round(ended_s - began_s, 2), when, drawn.arguments))
    if wanted and not found:
        named = ", ".join(entry.name for entry in entries)
        raise BadFault(
            f"no step can be drawn for {len(nodes)} nodes from {named}: write these into a plan by hand, or name other faults"
        )
    if of_log.keeps and not faults and not beyond_tolerance:
        found += _lost_commit(Random(f"last commits/{seed}"), books, nodes, time_s, found)
    chosen = _chosen(seed, of_log, settings or {}, draws_settings)
    return Plan(algorithm, nodes, seed, workload, time_s, _in_order(found), chosen, beyond_tolerance, system)


def _in_order(steps: Sequence[PlanStep]) -> tuple[PlanStep, ...]:
    return tuple(sorted(steps, key=lambda step: step.at_s))


def _chosen(seed: int, of_log: LogTraits, settings: Mapping[str, int], draws: bool) -> Mapping[str, int]:
    """Return the settings that are not as shipped: those of the caller, and drawn ones if it wants them."""
    small = draw_settings(Random(f"settings/{seed}"), keeps_log=of_log.keeps) if draws else {}
    return tuning_of({**small, **settings}).changed()


def _lost_commit(
    rng: Random, books: _Bookkeeping, nodes: tuple[NodeId, ...], time_s: float, steps: Sequence[PlanStep]
) -> list[PlanStep]:
    """Draw the damage of a last commit, for some plans without other faults of disks: a log bears it on a minority of the disks.

    Its node has an ordinary disk then, and not one that can fail by itself: a node notes its last commit on the former alone.
    """
    if rng.random() > _PROBABILITY_LOST_COMMIT or any(
        find_fault(step.fault).family in ("disk", "grey") for step in steps
    ):
        return []
    for _ in range(_TRIES):
        began_s, ended_s = _times(rng, time_s, 0.0)
        budget = books.budget(nodes, (), began_s, ended_s)
        drawn = draw_node_and()(rng, budget)
        if drawn is not None and books.allows(budget, drawn, began_s, ended_s):
            return [PlanStep("damage-last-commit", began_s, round(ended_s - began_s, 2), None, drawn.arguments)]
    return []


def _domain(rng: Random, nodes: tuple[NodeId, ...]) -> frozenset[NodeId]:
    """Draw nodes that share what a fault can strike, such as a disk: as many as may be lost at a time, two at least. Or none."""
    most = len(nodes) - majority(len(nodes))
    return frozenset(rng.sample(nodes, most)) if most >= 2 and rng.random() < _PROBABILITY_DOMAIN else frozenset()


def _strikes_all(drawn: DrawnArguments | None, domain: frozenset[NodeId]) -> DrawnArguments | None:
    """Let a fault of nodes that strikes one node of the domain strike all of it."""
    struck = set() if drawn is None else domain & set(drawn.arguments.get("nodes", ()))
    if drawn is None or not struck:
        return drawn
    arguments = {**drawn.arguments, "nodes": sorted(domain | set(drawn.arguments["nodes"]))}
    return DrawnArguments(arguments, drawn.takes | domain, drawn.claims | domain)


def _weighted(rng: Random, entries: Sequence[CatalogueEntry]) -> CatalogueEntry:
    """Draw a fault. Each family is equally likely, however many faults it has."""
    family = rng.choice(list(dict.fromkeys(entry.family for entry in entries)))
    fitting = [entry for entry in entries if entry.family == family]
    return rng.choices(fitting, [entry.weight or 1.0 for entry in fitting])[0]


def _times(rng: Random, time_s: float, least_s: float) -> tuple[float, float]:
    """Draw a beginning and an end, in seconds. The length is drawn on a logarithmic scale: short faults are as common as
    long ones. A fault that needs `least_s` seconds begins early enough for them, and may last for most of the plan."""
    shortest_s = max(FOR_S_LEAST, min(least_s, _LONGEST * time_s))
    most_s = max(min(FOR_S_LONG, _LONGEST * time_s) if least_s else min(FOR_S_MOST, time_s / 2), shortest_s)
    length_s = shortest_s * (most_s / shortest_s) ** rng.random()
    began_s = rng.uniform(0.05, max(min(0.9, 1 - length_s / time_s), 0.05) if least_s else 0.9) * time_s
    return round(began_s, 2), round(max(min(began_s + length_s, time_s), began_s + 0.05), 2)


def _when(rng: Random, budget: FaultBudget, drawn: DrawnArguments) -> When | None:
    """Draw a message at which a fault of one process strikes; None in most cases."""
    if len(drawn.claims) != 1 or len(budget.nodes) < 2 or not budget.messages or rng.random() >= _PROBABILITY_WHEN:
        return None
    (node,) = drawn.claims
    ends = (node, None) if rng.random() < 0.5 else (None, node)
    return When(rng.randint(1, 3), rng.choice(budget.messages), *ends)


def _outlasts_s(system: System | None, entry: CatalogueEntry, seed: int, number: int) -> float:
    """Return how long a fault lasts at least, so that some faults outlast the time within which a system says that it answers."""
    if system is None or system.answers_within_s is None or entry.family not in ("process", "cut"):
        return 0.0
    drawn = Random(f"outlasts/{seed}/{number}").random() < _PROBABILITY_OUTLASTS
    return system.answers_within_s * _OUTLASTS if drawn else 0.0


def _at_event(
    rng: Random, events: Sequence[LinkEvent], nodes: tuple[NodeId, ...], drawn: DrawnArguments
) -> tuple[DrawnArguments, When | None]:
    """Let a fault of one process sometimes wait for an event: on links of the node that was drawn, or of any node.

    A system that is not ours elects its leader by timers of its own. A fault at an event strikes the same role in each run, where
    one at a time strikes any.
    """
    name = next((name for name in ("node", "nodes") if name in drawn.arguments), None)
    fitting = [event for event in events if event.to_clients or len(nodes) > 1]
    if name is None or len(drawn.claims) != 1 or not fitting or rng.random() >= _PROBABILITY_EVENT:
        return drawn, None
    (node,), event = drawn.claims, rng.choice(fitting)
    nth = round(event.nth_most ** rng.random())  # on a logarithmic scale
    end = "sender" if event.to_clients else rng.choice(("sender", "receiver"))
    receiver = CLIENT if event.to_clients else None
    if rng.random() < _PROBABILITY_END:
        arguments = {**drawn.arguments, name: [end] if name == "nodes" else end}
        return DrawnArguments(arguments, frozenset({end}), drawn.claims), When(nth, event.message, None, receiver)
    return drawn, When(nth, event.message, *((node, receiver) if end == "sender" else (None, node)))


def _by_role(
    rng: Random, budget: FaultBudget, drawn: DrawnArguments, when: When | None
) -> tuple[DrawnArguments, When | None]:
    """Let a fault of one process sometimes strike the node that has a role when it begins, instead of the node that was drawn."""
    name = next((name for name in ("node", "nodes") if name in drawn.arguments), None)
    if name is None or len(drawn.claims) != 1 or len(budget.nodes) < 2 or "message" in drawn.arguments:
        return drawn, when
    if when is not None:
        if rng.random() >= _PROBABILITY_END:
            return drawn, when
        role, when = rng.choice(("sender", "receiver")), When(when.nth, when.message)
    elif rng.random() < _PROBABILITY_ROLE:
        roles = _ROLES_OF_LOGS if budget.keeps_log else _ROLES
        (role,) = rng.choices(list(roles), list(roles.values()))
    else:
        return drawn, when
    arguments = {**drawn.arguments, name: [role] if name == "nodes" else role}
    return DrawnArguments(arguments, frozenset({role})), when
