"""Delivers an operation's messages one at a time, in the same order every time, on real processes.

Theory of operation
-------------------
1. The proxy holds all messages between nodes about one variable, with one rule for each link, and releases them one by one.
2. The nodes' clocks stand still, so no timer expires between two messages. When no message is left and a client still waits
   for an answer, the scheduler advances all clocks by `_TICK_S`, up to `_TICKS_MAX` times.
3. Messages are delivered in **rounds**, as in a synchronous network: first all that the clients caused, then all that those
   caused, and so on. Within a round the next message is one of the sender with the fewest messages so far, to the receiver
   with the fewest; the order of nodes in the spec breaks ties. So the messages of rival proposers advance at the same pace,
   and no rival wins merely by its place in the spec.
4. Before the scheduler chooses the next message, the last one must have had its effect: its receiver has answered two later
   status requests, and the proxy has recorded nothing new. A node's output leaves in the order of its turns, so its messages
   have reached the proxy by then. On a very busy machine they may not have. Then a message appears in another place of the
   order, and a caller that waits for it there finds that it did not come.
5. The messages of a log are about no variable: those that it sends all the time have to be over first. So its clocks stop, and
   once nothing is under way any more, the proxy begins to hold.

Rules
-----
The scheduler depends on no algorithm: it reads senders, receivers and the names of message types.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Final

from cluster.clients.client import VariableCall
from harness.network.installed_rule import InstalledRule
from harness.records.links import Link
from harness.records.run_files import RunFiles
from harness.records.tail import FileTail
from harness.runs.experiment import Experiment
from node.contract import NodeId
from node.instances import LOG_NAME

#: By how much all clocks advance when every node waits for a timer, in seconds, and how often at most.
_TICK_S: Final = 0.1
_TICKS_MAX: Final = 50
#: How long a node may take to answer a status request.
_STATUS_TIMEOUT_S: Final = 5.0
#: After how many status requests in a row without a new message a node's turn is over.
_QUIET_CHECKS: Final = 2


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
        """The sender and the receiver."""
        return self.sender, self.receiver


def next_link(
    links: Iterable[Link], nodes: Sequence[NodeId], sent: Mapping[NodeId, int], received: Mapping[NodeId, int]
) -> Link:
    """Return the link whose message is delivered next, by item 3 of the theory of operation.

    Args:
        links: the links that have a message in this round.
        nodes: every node, in the order of the spec.
        sent: how many messages of each node were delivered in this round.
        received: how many messages were delivered to each node in this round.
    """

    def fairness(link: Link) -> tuple[int, int, int, int]:
        sender, receiver = link
        return sent.get(sender, 0), received.get(receiver, 0), nodes.index(sender), nodes.index(receiver)

    return min(links, key=fairness)


class MessageScheduler:
    """Delivers the messages about one variable that was not used before. A context manager: its rules end with it."""

    def __init__(self, run: Experiment, variable: str, names: Mapping[NodeId, NodeId]) -> None:
        """Prepare to hold messages.

        Args:
            run: the cluster.
            variable: the variable; `LOG_NAME` for those of a log.
            names: the name of each node in the operation, in the order of these names.
        """
        self.variable, self._names = variable, names
        self._run = run
        self._rules: dict[Link, InstalledRule] = {}
        self._undelivered: dict[Link, deque[MessageStep]] = {}
        self._counts: Counter[tuple[Link, str]] = Counter()
        self._clock_advance_s = 0.0
        run.network.flush()
        self._record = FileTail(RunFiles(run.folder).messages, from_now=True)

    def __enter__(self) -> "MessageScheduler":
        self._set_clocks(0.0)
        if self.variable == LOG_NAME:
            self._settle(self._run.nodes)
        for one, other in permutations(self._names, 2):
            link = self._names[one], self._names[other]
            self._rules[link] = self._run.network.hold([(one, other)], variables=self.variable)
            self._undelivered[link] = deque()
        return self

    def __exit__(self, *_: object) -> None:
        self.lift()

    def lift(self) -> None:
        """Release every held message, hold no more, and let the clocks run."""
        for rule in self._rules.values():
            rule.remove()
        self._rules.clear()
        self._set_clocks(1.0)

    def lose(self, links: Iterable[Link], most: int | None = None) -> int:
        """Discard the held messages of these links, or the first `most` of each. Return how many were discarded."""
        return sum(self._rules[link].discard(most) for link in links)

    def steps(self, calls: Sequence[VariableCall]) -> Iterator[MessageStep]:
        """Yield each message before its delivery. It is delivered when the caller asks for the next.

        The iteration ends when no message is left and every call has its outcome, or after `_TICKS_MAX` clock advances.
        """
        nodes = tuple(self._names.values())
        self._settle(self._run.nodes)
        for _ in range(_TICKS_MAX):
            while any(self._undelivered.values()):
                round_ = Counter({link: len(queue) for link, queue in self._undelivered.items() if queue})
                sent: Counter[NodeId] = Counter()
                received: Counter[NodeId] = Counter()
                while links := [link for link, left in round_.items() if left]:
                    link = next_link(links, nodes, sent, received)
                    yield self._undelivered[link][0]
                    self._deliver(link)
                    round_[link] -= 1
                    sent[link[0]] += 1
                    received[link[1]] += 1
            if all(call.outcome is not None for call in calls):
                return
            self._clock_advance_s += _TICK_S
            self._set_clocks(0.0)
            self._settle(self._run.nodes)

    def _deliver(self, link: Link) -> None:
        self._undelivered[link].popleft()
        self._rules[link].release(1)
        self._settle([node for node, name in self._names.items() if name == link[1]])

    def _settle(self, nodes: Sequence[NodeId]) -> None:
        """Wait until the last message has had its effect on these nodes, by item 4 of the theory of operation."""
        quiet = 0
        while quiet < _QUIET_CHECKS:
            self._run.client.status(nodes, _STATUS_TIMEOUT_S, variables=0)  # the fact that it comes is enough
            quiet = 0 if self._read() else quiet + 1

    def _read(self) -> bool:
        """Read the proxy's record since the last call. Return whether it has a new message."""
        self._run.network.flush()
        found = False
        for record in self._record.new_objects():
            between_nodes = record["from"] in self._names and record["to"] in self._names
            if record["variable"] != self.variable or "of" in record or not between_nodes:
                continue
            link = self._names[record["from"]], self._names[record["to"]]
            if link in self._rules:
                self._counts[link, record["type"]] += 1
                self._undelivered[link].append(MessageStep(*link, record["type"], self._counts[link, record["type"]]))
            found = True
        return found

    def _set_clocks(self, rate: float) -> None:
        for node in self._run.nodes:
            self._run.cluster.process(node).steer_clock(rate, self._clock_advance_s)
