"""Delivers an operation's messages one at a time, in an order that is the same every time, on real processes.

Theory of operation
-------------------
1. Everything that nodes send each other about one variable is held by the proxy, a rule a link, and let go one by one.
2. The nodes' clocks stand still, so no timer runs out while we look. When nothing is left to deliver and somebody still
   waits for an answer, all clocks are moved on a little, as often as it takes.
3. Messages go in **rounds**, as in a synchronous network: first all that clients caused, then all that those caused, and so
   on. Within a round the next one is from the node that has sent least, to the node that has heard least; the spec's order
   settles the rest. So whoever has something to say is heard at the same pace, which is what keeps rivals rivals.
4. Before the next message is chosen, the last one has had its effect: its receiver has answered two status requests that
   came later, and the proxy has seen nothing new since. Answers of a node leave in the order of its turns, so what it had to
   say is here by then. On a very busy machine it may not be; then a message turns up in another place, and whoever has
   waited for it there learns that it did not come.

None of this knows an algorithm: it sees who sends to whom, and the names of message types.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cluster.clients.client import VariableCall
from harness.network.installed_rule import InstalledRule
from harness.records.links import Link
from harness.records.run_files import RunFiles
from harness.records.tail import FileTail
from harness.runs.experiment import Experiment
from node.contract import NodeId

#: How far all clocks are moved when everybody waits for a timer, in seconds, and how often at most.
_TICK_S: Final = 0.1
_TICKS_MAX: Final = 50
#: How long a node may take to say how it is.
_STATUS_S: Final = 5.0
#: How often in a row nothing new must have been seen.
_QUIET: Final = 2


@dataclass(frozen=True, slots=True)
class MessageStep:
    """A message of an operation: the `nth` of its type on its link, from 1."""

    sender: NodeId
    receiver: NodeId
    type: str
    nth: int

    def __str__(self) -> str:
        again = "" if self.nth == 1 else f" ({self.nth})"
        return f"{self.type}{again} {self.sender}→{self.receiver}"

    @property
    def link(self) -> Link:
        """Whence and whither."""
        return self.sender, self.receiver


def next_link(
    links: Iterable[Link], nodes: Sequence[NodeId], sent: Mapping[NodeId, int], heard: Mapping[NodeId, int]
) -> Link:
    """Whose turn it is, of those links that have a message in this round. Rule 3."""

    def fairness(link: Link) -> tuple[int, int, int, int]:
        sender, receiver = link
        return sent.get(sender, 0), heard.get(receiver, 0), nodes.index(sender), nodes.index(receiver)

    return min(links, key=fairness)


class MessageScheduler:
    """One operation on one variable that was never used before. Use it as a context manager; then its rules end with it."""

    def __init__(self, run: Experiment, variable: str) -> None:
        self.variable = variable
        self._run = run
        self._rules: dict[Link, InstalledRule] = {}
        self._waiting: dict[Link, deque[MessageStep]] = {}
        self._counts: Counter[tuple[Link, str]] = Counter()
        self._moved_s = 0.0
        run.network.flush()
        self._record = FileTail(RunFiles(run.folder).messages, from_now=True)

    def __enter__(self) -> "MessageScheduler":
        self._steer(0.0)
        nodes = self._run.nodes
        for link in ((one, other) for one in nodes for other in nodes if one != other):
            self._rules[link] = self._run.network.hold([link], variables=self.variable)
            self._waiting[link] = deque()
        return self

    def __exit__(self, *_: object) -> None:
        self.lift()

    def lift(self) -> None:
        """Let go of everything, and let the clocks run."""
        for rule in self._rules.values():
            rule.remove()
        self._rules.clear()
        self._steer(1.0)

    def lose(self, links: Iterable[Link], most: int | None = None) -> int:
        """Lose what is held of these links, or the first `most` of each. Returns how many messages that were."""
        return sum(self._rules[link].discard(most) for link in links)

    def steps(self, calls: Sequence[VariableCall]) -> Iterator[MessageStep]:
        """Every message in turn. It is held while the caller looks at it, and delivered when the caller asks for the next.

        Ends when nothing is left to deliver and every call has its answer, or the clocks have been moved long enough.
        """
        nodes = self._run.nodes
        self._settle(nodes)
        for _ in range(_TICKS_MAX):
            while any(self._waiting.values()):
                round_ = Counter({link: len(queue) for link, queue in self._waiting.items() if queue})
                sent: Counter[NodeId] = Counter()
                heard: Counter[NodeId] = Counter()
                while links := [link for link, left in round_.items() if left]:
                    link = next_link(links, nodes, sent, heard)
                    yield self._waiting[link][0]
                    self._deliver(link)
                    round_[link] -= 1
                    sent[link[0]] += 1
                    heard[link[1]] += 1
            if all(call.outcome is not None for call in calls):
                return
            self._moved_s += _TICK_S
            self._steer(0.0)
            self._settle(nodes)

    def _deliver(self, link: Link) -> None:
        self._waiting[link].popleft()
        self._rules[link].release(1)
        self._settle([link[1]])

    def _settle(self, nodes: Sequence[NodeId]) -> None:
        """Wait until these nodes have said all that they have to say. Rule 4."""
        quiet = 0
        while quiet < _QUIET:
            self._run.client.status(nodes, _STATUS_S)
            quiet = 0 if self._read() else quiet + 1

    def _read(self) -> bool:
        """Take in what the proxy has recorded since. Whether it holds a message that is new."""
        self._run.network.flush()
        found = False
        for record in self._record.new_objects():
            link = (record["from"], record["to"])
            if record["variable"] == self.variable and link in self._rules and "of" not in record:
                self._counts[link, record["type"]] += 1
                self._waiting[link].append(MessageStep(*link, record["type"], self._counts[link, record["type"]]))
                found = True
        return found

    def _steer(self, rate: float) -> None:
        for node in self._run.nodes:
            self._run.cluster.process(node).steer_clock(rate, self._moved_s)
