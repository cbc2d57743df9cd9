"""Symmetry reduction: of the states that differ only in the names of nodes, clients and values, the search follows one.

Theory of operation
-------------------
Consider a renaming of nodes, clients and values that maps the set of the clients' calls to itself. If an algorithm compares
these names for equality only, then renaming everything in a schedule gives a schedule, and one of the two violates a property
exactly if the other does. So of all states that are renamings of each other, the least integer represents all.

`Algorithm.interchangeable` returns the nodes that an algorithm compares for equality only. The algorithm must not choose by the
order of a dict whose keys are nodes, since this module keeps such dicts in the order of the spec.
"""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from itertools import permutations
from typing import Any, Final

from harness.virtual.bounds import ExploredCall
from harness.virtual.node_state import NodeState
from harness.virtual.numbering import NODE_BITS, NODE_MASK, Numbering
from harness.virtual.snapshots import Frozen
from node.contract import Algorithm, NodeId

_CHUNK_BITS: Final = 12
_CHUNK_MASK: Final = (1 << _CHUNK_BITS) - 1


def movable(algorithm: type[Algorithm], members: tuple[NodeId, ...], clients: list[ExploredCall]) -> tuple[NodeId, ...]:
    """Return the nodes that a renaming may exchange."""
    return algorithm.interchangeable(members, [client.node for client in clients])


class Renaming:
    """One renaming. `nodes` maps each node to its new name, and `clients` maps each client's call to the call it becomes."""

    def __init__(
        self, members: tuple[NodeId, ...], nodes: dict[NodeId, NodeId], clients: dict[ExploredCall, ExploredCall]
    ) -> None:
        self.members, self.nodes = members, nodes
        self._names = dict(nodes)
        self._bytes = {}
        for old, new in clients.items():
            self._names[old.request.client] = new.request.client
            if old.value is not None and new.value is not None:
                self._bytes[bytes(old.value)] = new.value
        self._word = re.compile(r"\b(?:" + "|".join(map(re.escape, self._names)) + r")\b")

    def __call__(self, item: Any) -> Any:
        """Return `item` with every name in it renamed."""
        match item:
            case Enum():
                renamed: Any = item
            case str():
                renamed = self._word.sub(lambda word: self._names[word[0]], item)
            case bytes():
                renamed = self._bytes.get(item, item)
            case NodeState():
                renamed = self._state(item)
            case Frozen(kind, items) if kind is dict and all(key in self.nodes for key, _ in items):
                renamed = Frozen(kind, tuple(sorted(self(items), key=lambda entry: self.members.index(entry[0]))))
            case Frozen(kind, items):
                renamed = Frozen(kind, self(items))
            case tuple():
                renamed = type(item)(*map(self, item)) if hasattr(item, "_fields") else tuple(map(self, item))
            case _ if is_dataclass(item) and not isinstance(item, type):
                renamed = replace(item, **{field.name: self(getattr(item, field.name)) for field in fields(item)})
            case _:
                renamed = item
        return renamed

    def _state(self, state: NodeState) -> NodeState:
        renamed = NodeState(*map(self, tuple(state)))
        return renamed._replace(
            disk=None if renamed.disk is None else tuple(sorted(renamed.disk)),
            synced=None if renamed.synced is None else tuple(sorted(renamed.synced)),
            timers=tuple(sorted(renamed.timers)),
            known=tuple(sorted(renamed.known)),
        )


class Symmetry:
    """Finds the representative of a state."""

    def __init__(self, algorithm: type[Algorithm], numbering: Numbering) -> None:
        self._numbering = numbering
        self.renamings = list(_renamings(algorithm, numbering))
        members = numbering.members
        self._places = [[members.index(renaming.nodes[member]) for member in members] for renaming in self.renamings]
        self._locals: list[list[dict[int, int]]] = [[{} for _ in members] for _ in self.renamings]
        self._chunks: list[dict[tuple[int, int], int]] = [{} for _ in self.renamings]
        self._first_fact = len(members) * NODE_BITS

    def representative(self, state: int) -> int:
        """Return the least of all renamings of `state`, which include `state` itself."""
        return min(self.renamed(state, which) for which in range(len(self.renamings)))

    def renamed(self, state: int, which: int) -> int:
        """Return `state` under the renaming with index `which`."""
        renamed = 0
        for place, target in enumerate(self._places[which]):
            number = state >> place * NODE_BITS & NODE_MASK
            local = self._locals[which][place].get(number)
            if local is None:
                local = self._rename_local(which, place, target, number)
            renamed |= local
        facts, known, at = state >> self._first_fact, self._chunks[which], 0
        while facts:
            chunk = facts & _CHUNK_MASK
            if chunk:
                bits = known.get((at, chunk))
                renamed |= self._rename_facts(which, at, chunk) if bits is None else bits
            facts >>= _CHUNK_BITS
            at += 1
        return renamed

    def _rename_local(self, which: int, place: int, target: int, number: int) -> int:
        state = self.renamings[which](self._numbering.states[place][number])
        local = self._numbering.number(target, state) << target * NODE_BITS
        self._locals[which][place][number] = local
        return local

    def _rename_facts(self, which: int, at: int, chunk: int) -> int:
        renaming = self.renamings[which]
        mask = chunk << self._first_fact + at * _CHUNK_BITS
        renamed = 0
        for fact in list(self._numbering.facts_in(mask)):
            renamed |= self._numbering.bit(renaming(fact))
        self._chunks[which][at, chunk] = renamed
        return renamed


def _renamings(algorithm: type[Algorithm], numbering: Numbering) -> Iterator[Renaming]:
    """Yield every renaming that maps the set of the clients' calls to itself. The first changes no name."""
    members, clients = numbering.members, numbering.clients
    moving = movable(algorithm, members, clients)
    for order in permutations(moving):
        nodes = dict(zip(members, members, strict=True)) | dict(zip(moving, order, strict=True))
        for becomes in permutations(clients):
            pairs = list(zip(clients, becomes, strict=True))
            if all(new.node == nodes[old.node] and (new.value is None) == (old.value is None) for old, new in pairs):
                yield Renaming(members, nodes, dict(pairs))
