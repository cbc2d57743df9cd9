"""The grid of a campaign: which fault has hit a node in which role and phase of the protocol. Computed from run folders.

Rules
-----
1. A fault of processes hits each node that its receipt says is down, in the phase in which that node was. The phase is that
   of the last message between nodes that the node had sent or received, for any variable, within `_RECENT_S` seconds before
   the receipt began. Without such a message the node was idle.
2. A fault of links hits both ends of each message that its rules changed, in the phase of that message.
3. A phase is a message's type. Its two roles are the message's sender and receiver; for Paxos they have the paper's names.
4. A hole is a cell that a fault never hit, although it hit others.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from harness.records.links import DELIVERED
from harness.records.receipts import Receipt
from node.contract import Algorithm, NodeId

_RECENT_S: Final = 0.5
#: The fates of a message that the proxy did not change.
_UNHARMED: Final = frozenset({"passed", "released", "undeliverable"})

#: The roles of the sender and the receiver of each message of Paxos.
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
    """A column of the grid: the role of a node in the phase of a message."""

    role: str
    phase: str


IDLE: Final = GridCell("idle", "")

#: How often each fault has hit each cell.
Hits = Counter[tuple[str, GridCell]]


def columns(algorithm: type[Algorithm]) -> tuple[GridCell, ...]:
    """Return every role and phase of the algorithm, in the order of its list of messages; then the cell of an idle node."""
    cells = [
        GridCell(role, message.type_name())
        for message in algorithm.messages
        for role in _roles(algorithm, message.type_name())
    ]
    return (*cells, IDLE)


def _roles(algorithm: type[Algorithm], type_: str) -> tuple[str, str]:
    return _ROLES.get(type_, _ANY_ROLES) if _is_paxos(algorithm) else _ANY_ROLES


@cache  # it is asked for each message of a run
def _is_paxos(algorithm: type[Algorithm]) -> bool:
    return {"Prepare", "Promise", "Accept", "Accepted"} <= {message.type_name() for message in algorithm.messages}


def hits(
    algorithm: type[Algorithm],
    members: Sequence[NodeId],
    receipts: Iterable[Receipt],
    messages: Iterable[Mapping[str, Any]],
) -> Hits:
    """Count what the faults of one run hit.

    Args:
        algorithm: its messages are the phases.
        members: the nodes.
        receipts: the faults. A fault that has not bitten hits nothing.
        messages: the lines of the record of messages.
    """
    found: Hits = Counter()
    between = [line for line in messages if line["from"] in members and line["to"] in members]
    known = {message.type_name() for message in algorithm.messages} or {line["type"] for line in between}
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
    """Return the fault of a rule: `partition` for `partition-3-cut`, as `harness.faults.injector.Faults.apply_rules` names it."""
    parts = rule.rsplit("-", 2)
    # A rule without a number is that of a step that waits for its message.
    return parts[0] if len(parts) == 3 and parts[1].isdigit() else "hold"


def to_json(found: Hits) -> list[dict[str, Any]]:
    """Return the hits as rows, in a fixed order."""
    return [
        {"fault": fault, "role": cell.role, "phase": cell.phase, "hits": number}
        for (fault, cell), number in sorted(found.items())
    ]


def rows(found: Hits) -> tuple[str, ...]:
    """Return the names of the faults that hit anything, sorted."""
    return tuple(sorted({fault for fault, _ in found}))


def holes(found: Hits, cells: Sequence[GridCell]) -> list[tuple[str, GridCell]]:
    """Return every hole. An idle node that was never hit is not a hole."""
    return [(fault, cell) for fault in rows(found) for cell in cells if cell != IDLE and not found[fault, cell]]
