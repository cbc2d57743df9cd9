"""Receipts of faults, and the timeline that they form: which nodes were up, and which could reach which, at each time.

`docs/reference/formats.md` has a table of the fields of a receipt.

Rules
-----
1. Every fault leaves a receipt, with what an independent observer saw of it. A fault whose receipt is not `bit` has shown
   nothing, and a run that expected it was no test.
2. `began_ns` is taken before the fault is injected and `ended_ns` after it is healed, so a receipt covers at least the
   time of its fault. Two receipts may overlap. A node or link is away while any receipt takes it away.
3. Cut and disturbed links are directed pairs. The algorithm owes no progress over links that are cut, or that may lose every
   message. Over links that are late, or that lose a share of the messages, it owes the same answers, later: see `allowance_s`.
4. A node is **on a majority side** while it is up and forms, with the nodes that it can reach and that can reach it, a
   majority. Those nodes must be up, and the links to and from them must be whole. This is judged pairwise, from the
   node's own point of view: a proposer needs a quorum that answers *it*, not a quorum whose members hear each other.
5. A receipt that is not `bit` still excuses: its fault may have bitten in part.
6. A node that is on a majority side all the time may have changed sides: first with n2, then with n3. No node can answer
   through a quorum that changes faster than messages travel. So an answer is owed only after a `steady` stretch: a time
   in which one and the same majority stayed reachable.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from harness.records.jsonable import BadFile, from_jsonable, read_lines, to_jsonable, write_lines
from harness.records.links import CLIENT, Link
from node.contract import NodeId
from node.quorum import majority


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one fault did, from when to when, and what an observer saw of it.

    `links_cut` and `links_disturbed` (held, delayed, lossy) are directed pairs of node names or `client`. Messages over
    disturbed links are up to `late_s` seconds late, and a share `loss` of them is lost; 1 if nothing that crosses them can be
    counted on. `ended_ns` is None while the fault lasts. `bit` says whether an observer other than the injector saw the
    fault have an effect; `evidence` is what the observer saw.
    """

    fault: str
    began_ns: int
    ended_ns: int | None = None
    bit: bool = False
    nodes_down: tuple[NodeId, ...] = ()
    links_cut: tuple[Link, ...] = ()
    links_disturbed: tuple[Link, ...] = ()
    evidence: dict[str, Any] = field(default_factory=dict)
    late_s: float = 0.0
    loss: float = 1.0

    def to_json(self) -> dict[str, object]:
        """Return the object of the receipt's line in `receipts.jsonl`."""
        return {
            "fault": self.fault,
            "began_ns": self.began_ns,
            "ended_ns": self.ended_ns,
            "bit": self.bit,
            "nodes_down": list(self.nodes_down),
            "links_cut": [list(link) for link in self.links_cut],
            "links_disturbed": [list(link) for link in self.links_disturbed],
            "late_s": self.late_s,
            "loss": self.loss,
            "evidence": to_jsonable(self.evidence),
        }

    @property
    def change(self) -> "MemberChange | None":
        """The change of members that this fault was; None if it was another fault."""
        data = self.evidence.get(CHANGE)
        if not isinstance(data, dict):
            return None
        before, after = tuple(data["before"]), tuple(data["after"])
        return MemberChange(data["kind"], data["node"], data["outcome"], before, after, data["settled_ns"])

    @property
    def links_broken(self) -> tuple[Link, ...]:
        """The directed links over which nothing is owed."""
        return self.links_cut + (self.links_disturbed if self.loss >= 1 else ())

    def during(self, began_ns: int, ended_ns: int) -> bool:
        """Return whether the fault was in force at any time between the two. A fault of no length counts as one nanosecond."""
        return self.began_ns < ended_ns and (self.ended_ns is None or max(self.ended_ns, self.began_ns + 1) > began_ns)


#: The key in a receipt's evidence for the rate of a node's clock: seconds of the clock for each real second.
CLOCK_RATE: Final = "rate"
#: The key in a receipt's evidence that says whether a node's clock has jumped ahead.
CLOCK_JUMPS: Final = "jumps ahead"
#: What a clock that jumps ahead takes from a lease at most: one beat of a leader (`node.machine.BEAT_MS`), in nanoseconds.
_JUMP_NS: Final = 50_000_000
#: The key in a receipt's evidence for a change of members: the fields of `MemberChange`.
CHANGE: Final = "change"
#: What came of a change of members.
INSTALLED, REFUSED, INDETERMINATE = "installed", "refused", "indeterminate"


class MemberChange(NamedTuple):
    """A change of the members of a log's cluster, as the client saw it that asked for it.

    Attributes:
        kind: "add" or "remove".
        node: the node that joins or leaves.
        outcome: installed, refused or indeterminate.
        before: the nodes that voted before it.
        after: those that vote after it, if it was installed.
        settled_ns: from when on the outcome holds; None while the change is under way.
    """

    kind: str
    node: NodeId
    outcome: str
    before: tuple[NodeId, ...]
    after: tuple[NodeId, ...]
    settled_ns: int | None


#: Round trips that an answer may take when links are slow: a client finds the leader, a canvass, phase 1, the new leader's first
#: batch, a read round and the put itself are six; a rival ballot or a lost election costs two more, and a learner's news one.
ALLOWED_ROUND_TRIPS: Final = 10
#: How often nodes send again what was not answered, in seconds, at the slowest.
_SEND_AGAIN_S: Final = 0.2
#: So many times the expected number of sends suffice for one round trip, in all but one of a million runs of ten of them.
_SENDS_SPARE: Final = 3


def allowance_s(late_s: float, loss: float) -> float:
    """Return by how much later an answer is owed, in seconds.

    Args:
        late_s: how late a message over any link is at most, in seconds.
        loss: which share of the messages is lost, below 1. A round trip then takes 1 / (1 - loss)^2 sends on average.
    """
    resending_s = _SENDS_SPARE * _SEND_AGAIN_S / (1 - loss) ** 2 if loss else 0.0
    return ALLOWED_ROUND_TRIPS * (2 * late_s + resending_s)


def save(receipts: Iterable[Receipt], path: Path) -> None:
    """Write the file of receipts, one a line."""
    write_lines(path, (receipt.to_json() for receipt in receipts))


def load(path: Path) -> list[Receipt]:
    """Read the file of receipts.

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
            late_s, loss = data.get("late_s", 0.0), data.get("loss", 1.0)
            if not isinstance(late_s, int | float) or not isinstance(loss, int | float):
                raise ValueError("late_s or loss is no number")  # noqa: TRY004 - the file is wrong, not the caller
            return Receipt(fault, began, ended, bit, tuple(down), _links(cut), _links(disturbed), seen, late_s, loss)
    wanted = "fault, began_ns, ended_ns, bit, nodes_down, links_cut, links_disturbed and evidence"
    raise ValueError(f"a receipt has {wanted}, each of its type; this line is {str(data)[:200]}")


def _links(data: list[Any]) -> tuple[Link, ...]:
    links = []
    for item in data:
        match item:
            case [str(source), str(target)]:
                links.append((source, target))
            case _:
                raise ValueError(f'a link is a pair such as ["n1", "n2"], and not {item!r}')
    return tuple(links)


#: The nodes that vote.
Voters = frozenset[NodeId]


class Timeline:
    """Which nodes were up and which could reach which, at any time, according to the receipts.

    `members` are the nodes at the start. Receipts of changes say who votes later. While a change is under way, or if its outcome
    is unknown, a majority is one by the voters before it and by those after it.

    Raises:
        ValueError: a receipt names an endpoint that is neither a member nor `client`. Such a receipt would silently excuse
            nothing.
    """

    def __init__(self, members: Sequence[NodeId], receipts: Iterable[Receipt] = ()) -> None:
        self.members = tuple(members)
        self.receipts = tuple(receipts)
        changes = [(receipt, receipt.change) for receipt in self.receipts]
        self._changes = [(receipt.began_ns, change) for receipt, change in changes if change is not None]
        self._fast = [one for one in self.receipts if float(one.evidence.get(CLOCK_RATE, 1)) > 1]
        self._jumps = [one for one in self.receipts if one.evidence.get(CLOCK_JUMPS)]
        joined = [change.node for _, change in self._changes if change.kind == "add"]
        self.everyone = tuple(dict.fromkeys((*self.members, *joined)))
        """The members and all nodes that have joined or may have."""
        self.voters_max = max([len(self.members), *(len(voters) for _, one in self._changes for voters in one[3:5])])
        """How many nodes voted at most."""
        for receipt in self.receipts:
            links = (*receipt.links_cut, *receipt.links_disturbed)
            for name in (*receipt.nodes_down, *(end for link in links for end in link)):
                if name not in (*self.everyone, CLIENT):
                    raise ValueError(f"the receipt of {receipt.fault} names {name!r}; the members are {self.members}")

    def on_majority_side(self, node: NodeId, began_ns: int, ended_ns: int, *, steady_ns: int = 0) -> bool:
        """Return whether `node` was on a majority side the whole time.

        Args:
            node: a member.
            began_ns: the start of the time, in nanoseconds.
            ended_ns: its end.
            steady_ns: if not 0, one and the same majority must also have stayed reachable for a stretch of this length.
        """
        spans = [
            _Span(began, ended, self._peers(node, faults), self._voters(began))
            for began, ended, faults in self._spans(began_ns, ended_ns)
        ]
        if not all(has_majority(node, span.peers, span.voters) for span in spans):
            return False
        return _longest_steady_ns(node, spans) >= steady_ns

    def client_reaches(self, node: NodeId, began_ns: int, ended_ns: int) -> bool:
        """Return whether clients could reach `node`, and `node` could reach clients, the whole time."""
        return not any(
            (CLIENT, node) in links or (node, CLIENT) in links
            for receipt in self.receipts
            if receipt.during(began_ns, max(ended_ns, began_ns + 1))
            for links in (receipt.links_broken,)
        )

    def allowance_s(self, began_ns: int, ended_ns: int) -> float:
        """Return by how much later an answer was owed, because links were late or lossy at any time between the two."""
        late_s: Counter[Link] = Counter()  # several faults on one link add up
        delivered: dict[Link, float] = {}
        for receipt in self.receipts:
            if receipt.loss < 1 and receipt.during(began_ns, max(ended_ns, began_ns + 1)):
                for link in receipt.links_disturbed:
                    late_s[link] += receipt.late_s  # type: ignore[assignment]  # a Counter adds up seconds as well
                    delivered[link] = delivered.get(link, 1.0) * (1 - receipt.loss)
        return max((allowance_s(late_s[link], 1 - each) for link, each in delivered.items()), default=0.0)

    def lease_ns(self, began_ns: int, length_ns: int) -> int:
        """Return how long a lease of `length_ns` that began then lasts at least, in nanoseconds of a true clock.

        The leader counts it, and any node may lead, so the fastest clock of any node at each time counts. A clock that jumps
        ahead takes one beat, since a leader counts beats and not time.
        """
        at, left, end = began_ns, length_ns, began_ns + length_ns
        changes = {
            when for one in self._fast for when in (one.began_ns, one.ended_ns) if when and began_ns < when < end
        }
        for until in (*sorted(changes), end):
            rate = max([1.0, *(float(one.evidence[CLOCK_RATE]) for one in self._fast if one.during(at, until))])
            if left <= (until - at) * rate:
                at += int(left / rate)
                break
            left -= int((until - at) * rate)
            at = until
        jumps = sum(began_ns < (one.ended_ns or end) and one.began_ns < at for one in self._jumps)
        return max(at - began_ns - jumps * _JUMP_NS, 0)

    def is_clock_fast(self, began_ns: int, ended_ns: int) -> bool:
        """Return whether some node's clock ran fast, or jumped ahead, at any time between the two."""
        return any(one.during(began_ns, ended_ns) for one in (*self._fast, *self._jumps))

    def owes_answer(self, node: NodeId | None, began_ns: int, ended_ns: int, *, steady_ns: int = 0) -> bool:
        """Return whether a client that asked `node`, or any node if it is None, was owed an answer.

        It was if the node, or at least one node, was on a majority side and clients could reach it the whole time.
        """
        return any(
            self.client_reaches(member, began_ns, ended_ns)
            and self.on_majority_side(member, began_ns, ended_ns, steady_ns=steady_ns)
            for member in (self.everyone if node is None else (node,))
        )

    def leader_owes_answer(self, node: NodeId | None, began_ns: int, ended_ns: int, *, steady_ns: int = 0) -> bool:
        """Return what `owes_answer` does, for an algorithm in which one node leads and the others depend on it.

        Any node on a majority side might lead. If `node` is None, clients must have reached each such node the whole time.
        Otherwise clients must have reached `node`, and `node` must have been one of them and have reached the others. In
        some stretch of `steady_ns` nothing of that may have changed, so that a leader could establish itself.
        """
        longest = since = 0
        before: object = None
        for start, end, faults in self._spans(began_ns, ended_ns):
            peers = {member: self._peers(member, faults) for member in self.everyone}
            voters = self._voters(start)
            may_lead = {one for one, seen in peers.items() if has_majority(one, seen, voters)}
            broken = {link for fault in faults for link in fault.links_broken}
            asked = may_lead if node is None else {node}
            if not may_lead or any({(CLIENT, one), (one, CLIENT)} & broken for one in asked):
                return False
            if node is not None and not (node in may_lead and may_lead - {node} <= (peers[node] or set())):
                return False
            if (peers, voters) != before:
                before, since = (peers, voters), start
            longest = max(longest, end - since)
        return longest >= steady_ns

    def _voters(self, at_ns: int) -> frozenset[Voters]:
        """Return every set of voters that there may have been at a time."""
        possible = {frozenset(self.members)}
        for began_ns, change in self._changes:
            if began_ns > at_ns:
                break
            settled = change.settled_ns is not None and change.settled_ns <= at_ns
            if not settled or change.outcome == INDETERMINATE:
                possible |= {frozenset(change.before), frozenset(change.after)}
            elif change.outcome == INSTALLED:
                possible = {frozenset(change.after)}
        return frozenset(possible)

    def _spans(self, began_ns: int, ended_ns: int) -> Iterator[tuple[int, int, list[Receipt]]]:
        """Yield the time, divided wherever a fault begins or ends, with the faults of each piece."""
        ended_ns = max(ended_ns, began_ns + 1)
        faults = [receipt for receipt in self.receipts if receipt.during(began_ns, ended_ns)]
        cuts = {began_ns, ended_ns}
        for fault in faults:
            cuts.add(fault.began_ns)
            if fault.ended_ns is not None:
                cuts.add(max(fault.ended_ns, fault.began_ns + 1))
        cuts |= {at for began, change in self._changes for at in (began, change.settled_ns) if at is not None}
        inside = sorted(cut for cut in cuts if began_ns <= cut <= ended_ns)
        for start, end in pairwise(inside):
            yield start, end, [fault for fault in faults if fault.during(start, end)]

    def _peers(self, node: NodeId, faults: list[Receipt]) -> frozenset[NodeId] | None:
        """Return the nodes that `node` could reach and that could reach it; None if `node` was down."""
        down = {name for fault in faults for name in fault.nodes_down}
        if node in down or node not in self.everyone:
            return None
        broken = {link for fault in faults for link in fault.links_broken}
        return frozenset(
            peer
            for peer in self.everyone
            if peer != node and peer not in down and not {(node, peer), (peer, node)} & broken
        )


class _Span(NamedTuple):
    """A time in which nothing changed, with the nodes that one node reached, None if it was down, and who may have voted."""

    began_ns: int
    ended_ns: int
    peers: frozenset[NodeId] | None
    voters: frozenset[Voters]


def has_majority(node: NodeId, peers: frozenset[NodeId] | None, voters: frozenset[Voters]) -> bool:
    """Return whether `node`, which is down if `peers` is None, votes and has a majority, by each of these sets of voters."""
    return peers is not None and all(
        node in each and len(each & {node, *peers}) >= majority(len(each)) for each in voters
    )


def _longest_steady_ns(node: NodeId, spans: list[_Span]) -> int:
    """Return the longest time in which the same peers made a majority."""
    longest = 0
    for first, (start, _, peers, voters) in enumerate(spans):
        common, possible = peers or frozenset(), voters
        for _, end, others, then in spans[first:]:
            common &= others or frozenset()
            possible |= then
            if not has_majority(node, common, possible):
                break
            longest = max(longest, end - start)
    return longest
