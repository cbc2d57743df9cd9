"""The graph of dependencies between transactions: whether it has a cycle that a level of isolation forbids, and a short one.

Theory of operation
-------------------
An edge says that one transaction comes before another: since it wrote the version before (ww), since the other read its
version (wr), since it read the version before the one that the other wrote (rw), or since it had ended when the other began
(time). The level says which cycles are forbidden:

| level | forbidden are cycles of |
|---|---|
| read committed | ww and wr |
| snapshot isolation | ww, wr and rw, without two rw in a row (Cerone and Gotsman, theorem 4.2) |
| serializable | ww, wr and rw |
| strict serializable | ww, wr, rw and time |

For snapshot isolation each transaction is two nodes: reached by a rw edge, which only another kind of edge may leave, and
reached otherwise. Any cycle of these nodes is a forbidden one.

The graph has as many edges as the history has steps. Time would need a square number of edges: instead a chain of nodes
stands for the moments at which transactions have ended and others then began. A reader comes before all who wrote the key
after the last version that was read: such fans go through nodes of their own, too (`link`).

First nodes that no cycle can contain are taken away, one after the other. Of what is left, Tarjan's algorithm finds the
strongly connected components (*Depth-First Search and Linear Graph Algorithms*, 1972), without recursion. In each, searches
breadth first find a short cycle of the most severe kind that it has.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from harness.checkers.transactions import Isolation, Transaction

WW: Final = 0
WR: Final = 1
RW: Final = 2
TIME: Final = 3
#: An edge from a node that stands for no transaction: it belongs to the edge before it.
LINK: Final = 4
_BITS: Final = 3
_KIND: Final = (1 << _BITS) - 1
#: How many edges the searches for short cycles may follow in all.
_EDGES_MAX: Final = 3_000_000


class Edge(NamedTuple):
    """An edge of a cycle between two transactions."""

    source: int
    target: int
    kind: int


class Cycle(NamedTuple):
    """A cycle, and the anomaly that it is."""

    name: str
    edges: list[Edge]
    forbidden_from: Isolation


class DependencyGraph:
    """The dependencies between committed transactions, which are numbered from 0."""

    def __init__(self, count: int) -> None:
        self.transactions = count
        self.edges: list[list[int]] = [[] for _ in range(count)]

    def add(self, source: int, target: int, kind: int) -> None:
        """Add an edge. One from a transaction to itself is left out."""
        if source != target:
            self.edges[source].append(target << _BITS | kind)

    def node(self) -> int:
        """Return a new node that stands for no transaction."""
        self.edges.append([])
        return len(self.edges) - 1

    def link(self, sources: Iterable[int], targets: Sequence[int], kind: int) -> None:
        """Add an edge from each source to each target, except from a node to itself, in linear space."""
        if len(targets) <= 3:
            for source in sources:
                for target in targets:
                    self.add(source, target, kind)
            return
        place = {target: number for number, target in enumerate(targets)}
        forwards = [self.node() for _ in targets]  # leads to this target and all after it
        backwards = [self.node() for _ in targets]  # leads to this target and all before it
        for number, target in enumerate(targets):
            self.add(forwards[number], target, LINK)
            self.add(backwards[number], target, LINK)
            if number:
                self.add(forwards[number - 1], forwards[number], LINK)
                self.add(backwards[number], backwards[number - 1], LINK)
        for source in sources:
            own = place.get(source)
            if own is None:
                self.add(source, forwards[0], kind)
                continue
            if own:
                self.add(source, backwards[own - 1], kind)
            if own + 1 < len(targets):
                self.add(source, forwards[own + 1], kind)

    def add_time(self, committed: Sequence[Transaction]) -> None:
        """Add the edges of time: from each transaction to all that began after it had ended."""
        moments = [(one.call.began, 1, one.number) for one in committed]
        moments += [(one.call.ended, 0, one.number) for one in committed if one.call.ended is not None]
        moments.sort()
        node, is_open = -1, False  # the node of all that has ended; whether others may still join it
        for _, begins, number in moments:
            if begins:
                is_open = False
                if node >= 0:
                    self.add(node, number, TIME)
                continue
            if not is_open:
                before, node, is_open = node, self.node(), True
                if before >= 0:
                    self.add(before, node, TIME)
            self.add(number, node, TIME)

    def cycles(self, level: Isolation) -> Iterator[Cycle]:
        """Yield a short cycle of each strongly connected part of the graph that the level forbids."""
        if level is Isolation.SNAPSHOT_ISOLATION:
            parts = components(_doubled(self.edges))
            parts = [sorted({node >> 1 for node in part}) for part in parts]
        else:
            kinds = {WW, WR} if level is Isolation.READ_COMMITTED else None
            parts = components(self.edges, kinds)
        search = _CycleSearch(self)
        for part in parts:
            yield search.most_severe(part, level)


def targets_of(graph: DependencyGraph) -> list[list[int]]:
    """Return, for each node of the graph, the nodes to which its edges lead."""
    return [[edge >> _BITS for edge in outgoing] for outgoing in graph.edges]


def _doubled(edges: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the graph for snapshot isolation: node 2n is n reached by any edge but rw, 2n + 1 is n reached by rw."""
    found: list[list[int]] = []
    for outgoing in edges:
        free: list[int] = []
        after_rw: list[int] = []
        for edge in outgoing:
            target, kind = edge >> _BITS, edge & _KIND
            if kind == RW:
                free.append((2 * target + 1) << _BITS)
            elif kind == LINK:
                free.append((2 * target) << _BITS)
                after_rw.append((2 * target + 1) << _BITS)
            elif kind != TIME:
                free.append((2 * target) << _BITS)
                after_rw.append((2 * target) << _BITS)
        found += [free, after_rw]
    return found


def components(edges: Sequence[Sequence[int]], kinds: set[int] | None = None) -> list[list[int]]:
    """Return the strongly connected components of more than one node, by edges of these kinds; None for all kinds."""
    if kinds is not None:
        edges = [[edge for edge in outgoing if edge & _KIND in kinds] for outgoing in edges]
    left = _peeled(edges)
    return _tarjan(edges, left) if left else []


def _peeled(edges: Sequence[Sequence[int]]) -> list[int]:
    """Return the nodes that are left when those that no edge enters are taken away, again and again."""
    entering = [0] * len(edges)
    for outgoing in edges:
        for edge in outgoing:
            entering[edge >> _BITS] += 1
    free = [node for node, number in enumerate(entering) if not number]
    for node in free:  # the loop appends to this list
        for edge in edges[node]:
            target = edge >> _BITS
            entering[target] -= 1
            if not entering[target]:
                free.append(target)
    return [node for node, number in enumerate(entering) if number]


def _tarjan(edges: Sequence[Sequence[int]], nodes: Iterable[int]) -> list[list[int]]:
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    on_stack: set[int] = set()
    stack: list[int] = []
    found = []
    for root in nodes:
        if root in index:
            continue
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        work = [(root, iter(edges[root]))]
        while work:
            node, outgoing = work[-1]
            for edge in outgoing:
                target = edge >> _BITS
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    on_stack.add(target)
                    work.append((target, iter(edges[target])))
                    break
                if target in on_stack:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    part = []
                    while True:
                        one = stack.pop()
                        on_stack.discard(one)
                        part.append(one)
                        if one == node:
                            break
                    if len(part) > 1:
                        found.append(part)
    return found


class _Pattern(NamedTuple):
    """A kind of cycle: it has an edge of the first kind, and otherwise edges of the others."""

    name: str
    first: int
    others: frozenset[int]
    no_two_rw: bool
    forbidden_from: Isolation


_WITHOUT_RW: Final = frozenset({WW, WR, LINK})
_ALL: Final = frozenset({WW, WR, RW, LINK})
#: From the most to the least severe. A cycle with time in it gets a name of its own.
_PATTERNS: Final = (
    _Pattern("G0", WW, frozenset({WW}), False, Isolation.READ_COMMITTED),
    _Pattern("G1c", WR, _WITHOUT_RW, False, Isolation.READ_COMMITTED),
    _Pattern("G-single", RW, _WITHOUT_RW, False, Isolation.SNAPSHOT_ISOLATION),
    _Pattern("G-nonadjacent", RW, _ALL, True, Isolation.SNAPSHOT_ISOLATION),
    _Pattern("G2-item", RW, _ALL, False, Isolation.SERIALIZABLE),
)


#: What a forbidden cycle is at least, by level.
_SOME_CYCLE: Final = {
    Isolation.READ_COMMITTED: "G1c",
    Isolation.SNAPSHOT_ISOLATION: "G-nonadjacent",
    Isolation.SERIALIZABLE: "G2-item",
    Isolation.STRICT_SERIALIZABLE: "G2-item-realtime",
}


class _CycleSearch:
    """Searches for short cycles, until its budget is used up."""

    def __init__(self, graph: DependencyGraph) -> None:
        self.graph = graph
        self.left = _EDGES_MAX

    def most_severe(self, part: Sequence[int], level: Isolation) -> Cycle:
        """Return a short cycle of a strongly connected part, of the most severe kind that it has and the level forbids.

        If the budget ends before one is found, the cycle has no edges: it is there all the same.
        """
        inside = set(part)
        patterns = [pattern for pattern in _PATTERNS if pattern.forbidden_from <= level]
        for time in (False, True) if level is Isolation.STRICT_SERIALIZABLE else (False,):
            for pattern in patterns:
                edges = self._cycle(part, inside, pattern, with_time=time)
                if edges is not None:
                    name, forbidden_from = pattern.name, pattern.forbidden_from
                    if any(edge.kind == TIME for edge in edges):
                        name, forbidden_from = f"{name}-realtime", Isolation.STRICT_SERIALIZABLE
                    return Cycle(name, edges, forbidden_from)
        return Cycle(_SOME_CYCLE[level], [], level)

    def _cycle(self, part: Sequence[int], inside: set[int], pattern: _Pattern, *, with_time: bool) -> list[Edge] | None:
        """Return a shortest cycle through some edge of the pattern's first kind; None if there is none, or no budget left."""
        others = pattern.others | ({TIME} if with_time else set())
        best: list[Edge] | None = None
        for source in part:
            for edge in self.graph.edges[source]:
                target, kind = edge >> _BITS, edge & _KIND
                if kind != pattern.first or target not in inside:
                    continue
                path = self._path(target, source, inside, others, after_rw=pattern.no_two_rw)
                if path is not None:
                    cycle = _joined([Edge(source, target, kind), *path], self.graph.transactions)
                    if best is None or len(cycle) < len(best):
                        best = cycle
                if best is not None and len(best) == 2:
                    return best
        return best

    def _path(
        self, start: int, goal: int, inside: set[int], kinds: frozenset[int] | set[int], *, after_rw: bool
    ) -> list[Edge] | None:
        """Return a shortest path. `after_rw` forbids two rw edges in a row, and says that one led to the start.

        A link goes on with the kind of the edge before it: the first edge of a cycle may lead to a node that has only links.
        """
        begin = (start, after_rw)
        came: dict[tuple[int, bool], tuple[tuple[int, bool], Edge] | None] = {begin: None}
        queue = deque([begin])
        while queue and self.left > 0:
            state = queue.popleft()
            node, was_rw = state
            for edge in self.graph.edges[node]:
                self.left -= 1
                target, kind = edge >> _BITS, edge & _KIND
                is_link = kind == LINK
                if target not in inside or not (is_link or kind in kinds) or (kind == RW and was_rw):
                    continue
                after = (target, after_rw and (was_rw if is_link else kind == RW))
                if target == goal and not after[1]:
                    return [*_back(came, state), Edge(node, target, kind)]
                if after not in came:
                    came[after] = (state, Edge(node, target, kind))
                    queue.append(after)
        return None


def _back(came: dict[tuple[int, bool], tuple[tuple[int, bool], Edge] | None], state: tuple[int, bool]) -> list[Edge]:
    path = []
    while (before := came[state]) is not None:
        state, edge = before
        path.append(edge)
    return path[::-1]


def _joined(edges: Sequence[Edge], transactions: int) -> list[Edge]:
    """Return the edges between transactions: those through other nodes become one, of the kind of its first edge."""
    found: list[Edge] = []
    for edge in edges:
        if found and found[-1].target >= transactions:
            found[-1] = Edge(found[-1].source, edge.target, found[-1].kind)
        else:
            found.append(edge)
    return found
