"""Which fault has struck whom in which phase of the protocol: hits, and so holes. Pure; read from what a run has recorded.

Rules
-----
1. A fault of processes hits each node that its receipt says is down, in the phase in which that node was then: told by the
   last message between nodes that it had sent or been given, of any variable, within `_RECENT_S` before the receipt began.
   If there was none it was idle.
2. A fault of links hits both ends of the messages that its rules did something to, in the phase of that message.
3. A phase is a message's type, and its two roles are who sends it and who gets it. For Paxos they have names of their own.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from harness.records.links import DELIVERED
from harness.records.receipts import Receipt
from node.contract import Algorithm, NodeId

_RECENT_S: Final = 0.5
#: What the proxy notes of a message that it passed on as it came.
_UNHARMED: Final = frozenset({"passed", "released", "undeliverable"})

#: Who sends a message of Paxos, and who gets it.
_ROLES: Final = {
    "Prepare": ("proposer", "acceptor"),
    "Promise": ("acceptor", "proposer"),
    "Accept": ("proposer", "acceptor"),
    "Accepted": ("acceptor", "proposer"),
    "Rejected": ("acceptor", "proposer"),
    "Inquire": ("reader", "acceptor"),
    "Report": ("acceptor", "reader"),
    "Decided": ("proposer", "learner"),
}
_ANY_ROLES: Final = ("sender", "receiver")


class GridCell(NamedTuple):
    """A column of the grid."""

    role: str
    phase: str


IDLE: Final = GridCell("idle", "")

#: How often which fault has hit which cell.
Hits = Counter[tuple[str, GridCell]]


def columns(algorithm: type[Algorithm]) -> tuple[GridCell, ...]:
    """Every role and phase of the algorithm, in the order in which it lists its messages; last, a node that is idle."""
    cells = [
        GridCell(role, message.type_name())
        for message in algorithm.messages
        for role in _roles(algorithm, message.type_name())
    ]
    return (*cells, IDLE)


def _roles(algorithm: type[Algorithm], type_: str) -> tuple[str, str]:
    is_paxos = {"Prepare", "Promise", "Accept", "Accepted"} <= {message.type_name() for message in algorithm.messages}
    return _ROLES.get(type_, _ANY_ROLES) if is_paxos else _ANY_ROLES


def hits(
    algorithm: type[Algorithm],
    members: Sequence[NodeId],
    receipts: Iterable[Receipt],
    messages: Iterable[Mapping[str, Any]],
) -> Hits:
    """What one run has hit."""
    found: Hits = Counter()
    between = [line for line in messages if line["from"] in members and line["to"] in members]
    known = {message.type_name() for message in algorithm.messages}
    moments: dict[NodeId, list[tuple[int, GridCell]]] = {member: [] for member in members}
    for line in between:
        if line["type"] not in known:
            continue
        sends, gets = _roles(algorithm, line["type"])
        if "of" not in line:
            moments[line["from"]].append((line["time"], GridCell(sends, line["type"])))
        if line["fate"] in DELIVERED:
            moments[line["to"]].append((line["time"], GridCell(gets, line["type"])))
        if line["fate"] not in _UNHARMED and line["rule"] and "of" not in line:
            for role in (sends, gets):
                found[_fault_of(line["rule"]), GridCell(role, line["type"])] += 1
    for receipt in receipts:
        for node in receipt.nodes_down if receipt.bit else ():
            found[receipt.fault, _doing(moments.get(node, []), receipt.began_ns)] += 1
    return found


def _doing(moments: list[tuple[int, GridCell]], at_ns: int) -> GridCell:
    place = bisect_left(moments, at_ns, key=lambda moment: moment[0])
    if place == 0 or at_ns - moments[place - 1][0] > _RECENT_S * 1e9:
        return IDLE
    return moments[place - 1][1]


def _fault_of(rule: str) -> str:
    """`partition-3-cut` is a rule of the fault `partition`: see `harness.faults.injector.Faults.apply_rules`."""
    parts = rule.rsplit("-", 2)
    return parts[0] if len(parts) == 3 and parts[1].isdigit() else "hold"  # a rule of a step that waits for its message


def to_json(found: Hits) -> list[dict[str, Any]]:
    """The hits, the same way each time."""
    return [
        {"fault": fault, "role": cell.role, "phase": cell.phase, "hits": number}
        for (fault, cell), number in sorted(found.items())
    ]


def rows(found: Hits) -> tuple[str, ...]:
    """The faults that hit anything, by name."""
    return tuple(sorted({fault for fault, _ in found}))


def holes(found: Hits, cells: Sequence[GridCell]) -> list[tuple[str, GridCell]]:
    """What was never hit, of the faults that hit anything. That nobody was struck while it was idle is no hole."""
    return [(fault, cell) for fault in rows(found) for cell in cells if cell != IDLE and not found[fault, cell]]
