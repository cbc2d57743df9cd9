"""The requests of the command line about the links of a session by hand: partition, isolate, link, links, heal."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from harness.faults.partitions import checked_groups, links_between, parse_groups
from harness.network.rules import Action, Cut, Delay, Drop, Duplicate, Reorder, Rule
from harness.records.links import DELIVERED, KEPT, LOST
from harness.runs.run_by_hand import RunByHand
from harness.runs.session import HandSession
from node.contract import BadInput, NodeId


class LinkVerbs:
    """Does to the links of `run` what the command line asks, as faults of `session`."""

    def __init__(self, run: RunByHand, session: HandSession) -> None:
        self._run, self._session = run, session

    def verbs(self) -> dict[str, Callable[..., Any]]:
        """Return each request by its name."""
        return {
            "partition": self.partition,
            "isolate": self.isolate,
            "link": self.link,
            "links": self.links,
            "heal": self._session.heal,
        }

    def partition(self, groups: str) -> str:
        """Cut the groups from each other. Returns the rule's id.

        Args:
            groups: such as `n1,n2/n3,n4,n5`. One group alone is cut from all other nodes.

        Raises:
            BadInput: a node is named twice, or is in no group; or one group has all nodes.
            NoSuchNode: a name is not that of a node.
        """
        cluster = self._run.cluster
        for side in parse_groups(groups):
            for node in side:
                cluster.process(node)
        sides = checked_groups(groups, cluster.nodes)
        return self._session.cut("partition", links_between(sides, cluster.nodes), groups=sides)[0]

    def isolate(self, node: NodeId) -> str:
        """Cut a node from all others. Returns the rule's id. Raises NoSuchNode."""
        cluster = self._run.cluster
        links = links_between([[cluster.process(node).node]], cluster.nodes)
        return self._session.cut("isolate", links, node=node)[0]

    def link(self, senders: list[str], receivers: list[str], one_way: bool, spoil: dict[str, Any]) -> list[str]:
        """Spoil the links between senders and receivers.

        Args:
            senders: names of nodes, or `client`.
            receivers: the same.
            one_way: whether only links from a sender to a receiver are spoilt, or both directions.
            spoil: the options of `consensus link`: see `_link_faults`.

        Returns:
            The rules' ids.

        Raises:
            BadInput: there is no link between the two.
        """
        pairs = [(senders, receivers)] if one_way else [(senders, receivers), (receivers, senders)]
        links = list(dict.fromkeys((a, b) for one, other in pairs for a in one for b in other if a != b))
        if not links:
            raise BadInput(f"there is no link from {', '.join(senders)} to itself: name two ends")
        return [
            rule
            for fault in _link_faults(**spoil)
            for rule in self._session.spoil(fault.name, links, fault.action, fault.probability, fault.arguments)
        ]

    def links(self) -> list[dict[str, Any]]:
        """Return a row for each directed link: how many messages passed, were lost and wait, and the rules on the link.

        If the links carry streams, then in the place of messages: how many connections were dialed, how many of them the
        receiver did not accept, and how many bytes have left.
        """
        rules, streams = self._run.network.rules(), self._run.network.carries_streams
        return [
            {
                "from": link[0],
                "to": link[1],
                **(_of_streams(counts) if streams else _of_messages(counts)),
                "rules": [_described(installed.rule) for installed in rules if installed.rule.covers(link)],
            }
            for link, counts in self._run.network.links().items()
        ]


def _of_messages(counts: Counter[str]) -> dict[str, int]:
    fates = {"passed": DELIVERED, "lost": LOST, "kept": KEPT}
    return {what: sum(counts[fate] for fate in of_it) for what, of_it in fates.items()}


def _of_streams(counts: Counter[str]) -> dict[str, int]:
    return {what: counts[what] for what in ("connections", "refused", "bytes")}


class _LinkFault(NamedTuple):
    """A fault of the catalogue, what the proxy does with messages, how likely, and the fault's arguments in a plan."""

    name: str
    action: Action
    probability: float
    arguments: dict[str, Any]


def _link_faults(
    drop: float | None = None,
    duplicate: float | None = None,
    delay: float | None = None,
    jitter: float = 0.0,
    reorder: int | None = None,
    cut: bool = False,
) -> Iterator[_LinkFault]:
    """Yield the faults that the options of `consensus link` stand for.

    `drop` and `duplicate` are probabilities, `delay` and `jitter` are seconds, `reorder` is a number of messages.
    """
    if cut:
        yield _LinkFault("drop", Cut(), 1.0, {"probability": 1.0})
    if drop is not None:
        yield _LinkFault("drop", Drop(), drop, {"probability": drop})
    if duplicate is not None:
        yield _LinkFault("duplicate", Duplicate(), duplicate, {"probability": duplicate})
    if reorder is not None:
        yield _LinkFault("reorder", Reorder(reorder), 1.0, {"probability": 1.0, "window": reorder})
    if delay is not None:
        name, more = ("jitter", {"jitter_s": jitter}) if jitter else ("delay", {})
        yield _LinkFault(name, Delay(delay, jitter), 1.0, {"seconds": delay, **more})


def _described(rule: Rule) -> str:
    match rule.action:
        case Delay(seconds, jitter_s):
            return f"delay {seconds:g} s" + (f" to {seconds + jitter_s:g} s" if jitter_s else "")
        case Reorder(window):
            return f"reorder by {window}"
    return rule.kind if rule.probability == 1 else f"{rule.kind} {rule.probability:g}"
