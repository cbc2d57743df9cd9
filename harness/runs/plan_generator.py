"""Draws fault plans: seeded, weighted, with faults that overlap.

The bookkeeping, after TigerBeetle's simulator: at every moment the generator knows which nodes are not to be counted on and
whose processes a fault has. While a majority is left, faults add up only as far as a majority stays. A fault that takes
more than that away (everybody killed at once) is drawn only when nothing else is in force, so that the cluster is never dead
for longer than that fault lasts; nobody demands progress meanwhile, since the receipts say who was reachable. At the plan's
end everything heals, whatever is in force.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from harness.faults.catalogue import BadFault, CatalogueEntry, DrawnArguments, FaultBudget, catalogue, choose_faults
from harness.runs.plan import Plan, PlanStep, When
from node.algorithms import load_algorithm
from node.contract import NodeId
from node.quorum import majority

FOR_S_LEAST: Final = 0.25
FOR_S_MOST: Final = 3.0
#: A process that comes back is left alone for so long: starting it takes a while.
_REST_S: Final = 0.4
_TRIES: Final = 50
_PROBABILITY_WHEN: Final = 0.2
#: A step every so many seconds, if nobody says how many.
_EVERY_S: Final = 0.8
_STEPS_LEAST: Final = 4


@dataclass
class _Bookkeeping:
    """What is in force when: from, until, and what it takes."""

    entries: list[tuple[float, float, DrawnArguments]] = field(default_factory=list)

    def during(self, began_s: float, ended_s: float) -> list[DrawnArguments]:
        return [drawn for start, end, drawn in self.entries if start < ended_s and end > began_s]

    def scene(
        self, nodes: tuple[NodeId, ...], messages: tuple[str, ...], began_s: float, ended_s: float
    ) -> FaultBudget:
        in_force = self.during(began_s, ended_s)
        taken = {node for drawn in in_force for node in drawn.takes}
        claimed = {node for drawn in self.during(began_s - _REST_S, ended_s + _REST_S) for node in drawn.claims}
        spare = max(len(nodes) - majority(len(nodes)) - len(taken), 0)
        return FaultBudget(nodes, tuple(node for node in nodes if node not in claimed), spare, messages)

    def allows(self, scene: FaultBudget, drawn: DrawnArguments, began_s: float, ended_s: float) -> bool:
        """Whether a majority stays, or nothing else is in force."""
        in_force = self.during(began_s, ended_s)
        taken = {node for other in in_force for node in other.takes}
        most = len(scene.nodes) - majority(len(scene.nodes))
        return drawn.claims <= set(scene.free) and (not in_force or len(taken | drawn.takes) <= most)


def generate(
    algorithm: str,
    nodes: tuple[NodeId, ...],
    seed: int,
    *,
    faults: Sequence[str] = (),
    time_s: float = 10.0,
    workload: str = "register",
    steps: int | None = None,
) -> Plan:
    """A plan.

    Args:
        algorithm: its messages are those that steps wait for.
        nodes: their names.
        seed: the same arguments give the same plan.
        faults: names of faults or of families; none is the whole catalogue.
        time_s: how long it lasts, in seconds.
        workload: what clients do meanwhile.
        steps: how many faults; None is about one every 0.8 s. Fewer if so many do not fit in.

    Raises:
        BadFault: there is no fault or family of such a name, or none of them can be drawn.
    """
    entries = [entry for entry in (choose_faults(faults) if faults else catalogue()) if entry.weight > 0 or faults]
    messages = tuple(message.type_name() for message in load_algorithm(algorithm).messages)
    rng = Random(f"plan/{seed}")
    wanted = steps if steps is not None else max(round(time_s / _EVERY_S), _STEPS_LEAST)
    books, found = _Bookkeeping(), list[PlanStep]()
    turns = [number for number in range(wanted) for _ in range(_TRIES)]
    for number in turns:
        if len(found) > number:
            continue  # this one was drawn at an earlier try
        entry = _weighted(rng, entries)
        began_s, ended_s = _times(rng, time_s)
        scene = books.scene(nodes, messages, began_s, ended_s)
        drawn = entry.draw(rng, scene)
        if drawn is None or not books.allows(scene, drawn, began_s, ended_s):
            continue
        books.entries.append((began_s, ended_s, drawn))
        when = _when(rng, scene, drawn) if entry.name != "kill-at" else None
        found.append(PlanStep(entry.name, began_s, round(ended_s - began_s, 2), when, drawn.arguments))
    if wanted and not found:
        named = ", ".join(entry.name for entry in entries)
        raise BadFault(
            f"nothing can be drawn for {len(nodes)} nodes from {named}: put these into a plan's steps by hand, or name others"
        )
    found.sort(key=lambda step: step.at_s)
    return Plan(algorithm, nodes, seed, workload, time_s, tuple(found))


def _weighted(rng: Random, entries: Sequence[CatalogueEntry]) -> CatalogueEntry:
    """Families are as likely as each other, however many faults each has."""
    family = rng.choice(list(dict.fromkeys(entry.family for entry in entries)))
    fitting = [entry for entry in entries if entry.family == family]
    return rng.choices(fitting, [entry.weight or 1.0 for entry in fitting])[0]


def _times(rng: Random, time_s: float) -> tuple[float, float]:
    """Beginning and end. Long and short ones are alike in number, so the length is drawn on a logarithmic scale."""
    most_s = max(min(FOR_S_MOST, time_s / 2), FOR_S_LEAST)
    length_s = FOR_S_LEAST * (most_s / FOR_S_LEAST) ** rng.random()
    began_s = rng.uniform(0.05, 0.9) * time_s
    return round(began_s, 2), round(max(min(began_s + length_s, time_s), began_s + 0.05), 2)


def _when(rng: Random, scene: FaultBudget, drawn: DrawnArguments) -> When | None:
    """A message at which a fault of one process strikes, now and then."""
    if len(drawn.claims) != 1 or len(scene.nodes) < 2 or not scene.messages or rng.random() >= _PROBABILITY_WHEN:
        return None
    (node,) = drawn.claims
    ends = (node, None) if rng.random() < 0.5 else (None, node)
    return When(rng.randint(1, 3), rng.choice(scene.messages), *ends)
