"""Receipts of faults, and the timeline that they make: who was up, and who could reach whom, when.

Rules
-----
1. Every fault leaves a receipt, with what an independent observer saw of it. A fault whose receipt has not `bit` shows
   nothing, and a run that expected it is no test.
2. `began_ns` is taken before the fault is injected and `ended_ns` after it is healed, so a receipt covers at least what it
   did. Two receipts may overlap; what any of them takes away is away.
3. Cut and disturbed links are directed pairs. Progress is owed over neither.
4. A node is **on a majority side** while it is up and has, with itself, a majority of nodes that are up and that it can
   reach, and be reached by, over links that are whole in both directions. Pairwise and from its own point of view: a
   proposer needs a quorum that answers *it*, not one whose members hear each other.
5. A receipt that has not bitten still excuses: the fault may have bitten in part.

A node on a majority side all the time may have changed sides: first with n2, then with n3. Nobody can answer through a
quorum that changes faster than messages travel, so whoever owes an answer also gets a `steady` stretch: a time in which
one and the same majority stayed reachable.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from harness.records.jsonable import BadFile, from_jsonable, read_lines, to_jsonable, write_lines
from harness.records.links import CLIENT, Link
from node.contract import NodeId
from node.quorum import majority


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one fault did, from when to when, and how anybody knows.

    `links_cut` and `links_disturbed` (held, delayed, lossy) are directed pairs of node ids or `client`. `ended_ns` is None
    while the fault lasts. `bit` says whether an observer other than the injector saw it work; `evidence` is what it saw.
    """

    fault: str
    began_ns: int
    ended_ns: int | None = None
    bit: bool = False
    nodes_down: tuple[NodeId, ...] = ()
    links_cut: tuple[Link, ...] = ()
    links_disturbed: tuple[Link, ...] = ()
    evidence: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """The line of a file."""
        return {
            "fault": self.fault,
            "began_ns": self.began_ns,
            "ended_ns": self.ended_ns,
            "bit": self.bit,
            "nodes_down": list(self.nodes_down),
            "links_cut": [list(link) for link in self.links_cut],
            "links_disturbed": [list(link) for link in self.links_disturbed],
            "evidence": to_jsonable(self.evidence),
        }

    def during(self, began_ns: int, ended_ns: int) -> bool:
        """Whether it lasted at any time between the two. A fault of no length counts as one nanosecond."""
        return self.began_ns < ended_ns and (self.ended_ns is None or max(self.ended_ns, self.began_ns + 1) > began_ns)


def save(receipts: Iterable[Receipt], path: Path) -> None:
    """Write receipts, one a line."""
    write_lines(path, (receipt.to_json() for receipt in receipts))


def load(path: Path) -> list[Receipt]:
    """Read receipts.

    Raises:
        BadFile: a line is not a receipt; the message names it.
    """
    receipts = []
    for number, data in read_lines(path):
        try:
            receipts.append(_receipt(data))
        except ValueError as error:
            raise BadFile(f"{path}, line {number}: {error}") from None
    return receipts


def _receipt(data: dict[str, Any]) -> Receipt:
    match data:
        case {
            "fault": str(fault),
            "began_ns": int(began),
            "ended_ns": int() | None as ended,
            "bit": bool(bit),
            "nodes_down": list(down),
            "links_cut": list(cut),
            "links_disturbed": list(disturbed),
            "evidence": dict(evidence),
        } if all(isinstance(node, str) for node in down):
            seen = from_jsonable(evidence)
            if not isinstance(seen, dict):
                raise ValueError("evidence is not a map")  # noqa: TRY004 - the file is wrong, not the caller
            return Receipt(fault, began, ended, bit, tuple(down), _links(cut), _links(disturbed), seen)
    wanted = "fault, began_ns, ended_ns, bit, nodes_down, links_cut, links_disturbed and evidence"
    raise ValueError(f"a receipt has {wanted}, each of its type, and this says {str(data)[:200]}")


def _links(data: list[Any]) -> tuple[Link, ...]:
    links = []
    for item in data:
        match item:
            case [str(source), str(target)]:
                links.append((source, target))
            case _:
                raise ValueError(f'a link is a pair such as ["n1", "n2"], and this is {item!r}')
    return tuple(links)


class Timeline:
    """Who was up and who could reach whom, at any time, by the receipts.

    Raises:
        ValueError: a receipt names somebody who is neither a member nor `client`: it would excuse nothing, unseen.
    """

    def __init__(self, members: Sequence[NodeId], receipts: Iterable[Receipt] = ()) -> None:
        self.members = tuple(members)
        self.receipts = tuple(receipts)
        for receipt in self.receipts:
            links = (*receipt.links_cut, *receipt.links_disturbed)
            for name in (*receipt.nodes_down, *(end for link in links for end in link)):
                if name not in (*self.members, CLIENT):
                    raise ValueError(f"the receipt of {receipt.fault} names {name!r}; the members are {self.members}")

    def on_majority_side(self, node: NodeId, began_ns: int, ended_ns: int, *, steady_ns: int = 0) -> bool:
        """Whether `node` was on a majority side the whole time.

        Args:
            node: a member.
            began_ns: the start of the time.
            ended_ns: its end.
            steady_ns: if not 0, one and the same majority must also have stayed reachable for a stretch of this length.
        """
        needed = self._needed
        spans = [(began, ended, self._peers(node, faults)) for began, ended, faults in self._spans(began_ns, ended_ns)]
        if any(peers is None or len(peers) < needed for _, _, peers in spans):
            return False
        return _longest_steady_ns(spans, needed) >= steady_ns

    def client_reaches(self, node: NodeId, began_ns: int, ended_ns: int) -> bool:
        """Whether clients could reach `node`, and it them, the whole time."""
        return not any(
            (CLIENT, node) in links or (node, CLIENT) in links
            for receipt in self.receipts
            if receipt.during(began_ns, max(ended_ns, began_ns + 1))
            for links in (receipt.links_cut, receipt.links_disturbed)
        )

    def owes_answer(self, node: NodeId | None, began_ns: int, ended_ns: int, *, steady_ns: int = 0) -> bool:
        """Whether a client that asked `node`, or any node if None, could count on an answer: the node, or at least one,
        was on a majority side and could be reached by clients the whole time.
        """
        return any(
            self.client_reaches(member, began_ns, ended_ns)
            and self.on_majority_side(member, began_ns, ended_ns, steady_ns=steady_ns)
            for member in (self.members if node is None else (node,))
        )

    def leader_owes_answer(self, node: NodeId | None, began_ns: int, ended_ns: int, *, steady_ns: int = 0) -> bool:
        """`owes_answer` where one node leads, and all others need it: everybody who might lead, being on a majority side, was
        within reach the whole time, of `node` and of clients, or if it is None, of clients. In some stretch of `steady_ns`
        nothing of that changed, so that whoever might lead could.
        """
        longest = since = 0
        before: object = None
        for start, end, faults in self._spans(began_ns, ended_ns):
            peers = {member: self._peers(member, faults) for member in self.members}
            may_lead = {one for one, seen in peers.items() if seen is not None and len(seen) >= self._needed}
            broken = {link for fault in faults for link in (*fault.links_cut, *fault.links_disturbed)}
            asked = may_lead if node is None else {node}
            if not may_lead or any({(CLIENT, one), (one, CLIENT)} & broken for one in asked):
                return False
            if node is not None and not (node in may_lead and may_lead - {node} <= (peers[node] or set())):
                return False
            if peers != before:
                before, since = peers, start
            longest = max(longest, end - since)
        return longest >= steady_ns

    @property
    def _needed(self) -> int:
        """How many others a majority needs."""
        return majority(len(self.members)) - 1

    def _spans(self, began_ns: int, ended_ns: int) -> Iterator[tuple[int, int, list[Receipt]]]:
        """The time, cut wherever a fault begins or ends, with the faults of each piece."""
        ended_ns = max(ended_ns, began_ns + 1)
        faults = [receipt for receipt in self.receipts if receipt.during(began_ns, ended_ns)]
        cuts = {began_ns, ended_ns}
        for fault in faults:
            cuts.add(fault.began_ns)
            if fault.ended_ns is not None:
                cuts.add(max(fault.ended_ns, fault.began_ns + 1))
        inside = sorted(cut for cut in cuts if began_ns <= cut <= ended_ns)
        for start, end in pairwise(inside):
            yield start, end, [fault for fault in faults if fault.during(start, end)]

    def _peers(self, node: NodeId, faults: list[Receipt]) -> frozenset[NodeId] | None:
        """Whom `node` could reach and be reached by; None if it was down itself."""
        down = {name for fault in faults for name in fault.nodes_down}
        if node in down or node not in self.members:
            return None
        broken = {link for fault in faults for link in (*fault.links_cut, *fault.links_disturbed)}
        return frozenset(
            peer
            for peer in self.members
            if peer != node and peer not in down and not {(node, peer), (peer, node)} & broken
        )


def _longest_steady_ns(spans: list[tuple[int, int, frozenset[NodeId] | None]], needed: int) -> int:
    """The longest time in which the same `needed` peers stayed."""
    longest = 0
    for first, (start, _, peers) in enumerate(spans):
        common = peers or frozenset()
        for _, end, others in spans[first:]:
            common &= others or frozenset()
            if len(common) < needed:
                break
            longest = max(longest, end - start)
    return longest
