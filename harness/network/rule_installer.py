"""The rules of a network from the caller's side: one method for each kind of rule, and for cuts between groups of nodes.

`Network` inherits them. Every method that installs a rule returns an `InstalledRule`, which a `with` statement removes again.
"""

import itertools
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any, ClassVar, TypeAlias, TypedDict, Unpack

from cluster.errors import NoSuchNode
from harness.network.installed_rule import InstalledRule, link_counts
from harness.network.rules import Action, BadRule, Corrupt, Cut, Delay, Drop, Duplicate, Hold, Pass, Reorder, Rule
from harness.network.switchboard import Seen, all_links
from harness.records.links import CLIENT, Endpoint, Link
from node.contract import NodeId

#: One name, or several.
Names: TypeAlias = str | Iterable[str]


class RuleFilter(TypedDict, total=False):
    """Which messages a rule is for, and how often it acts (see `RuleInstaller`)."""

    senders: Names | None
    receivers: Names | None
    types: Names | None
    variables: Names | None
    probability: float
    times: int | None
    name: str | None


class RuleInstaller(ABC):
    """Installs rules in the proxy, and keeps a list of those in force.

    A rule is for `links`, which are directed pairs of endpoints, or for messages from `senders` to `receivers`; for message
    `types`; for `variables`. Each takes one name or several, and None (the default) means any. Endpoints are node names, or
    "client" for all clients. `probability` is drawn for each message. `times` limits how often the rule acts in all. `name` is
    the rule's id; the default is its kind and a number.

    Raises:
        BadRule: any method that installs a rule, if no such rule is possible. Nothing has changed then.
        NoSuchNode: any method, if a name is no node of the cluster. Nothing has changed then.
        NetworkError: any method, if the proxy refuses. Nothing has changed then.
    """

    holds_after: ClassVar[bool] = False
    """Whether a hold for some types can let those that come first pass: see `rules.Hold`."""
    meters_cuts: ClassVar[bool] = False
    """Whether the counts of a cut say what has crossed it."""
    carries_streams: ClassVar[bool] = False
    """Whether the links carry connections and bytes, which `links` counts then, and no messages."""

    def __init__(self, nodes: tuple[NodeId, ...]) -> None:
        self.nodes = nodes
        self.all_links = all_links(nodes)
        self._left: set[NodeId] = set()  # the nodes that were members and are none any more
        self._rules: dict[str, InstalledRule] = {}
        self._numbers = itertools.count(1)

    @abstractmethod
    def request(self, verb: str, timeout_s: float = 0.0, /, **arguments: object) -> Any:
        """Send a request to the proxy, and return its result."""

    # --- cuts -------------------------------------------------------------------------------------------------------

    def cut(self, these: Names, those: Names, *, name: str | None = None) -> InstalledRule:
        """Lose every message between two groups of endpoints, in both directions."""
        one, other = self._endpoints(these), self._endpoints(those)
        return self._cut([*itertools.product(one, other), *itertools.product(other, one)], name)

    def cut_one_way(self, senders: Names, receivers: Names, *, name: str | None = None) -> InstalledRule:
        """Lose every message from `senders` to `receivers`."""
        return self._cut(itertools.product(self._endpoints(senders), self._endpoints(receivers)), name)

    def isolate(self, node: NodeId, *, name: str | None = None) -> InstalledRule:
        """Cut a node from every other node, in both directions. Clients still reach it."""
        self._check_node(node)
        return self.cut(node, [other for other in self.nodes if other != node], name=name)

    def partition(self, groups: Iterable[Names], *, name: str | None = None) -> InstalledRule:
        """Cut groups of nodes from each other. A single group is cut from all other nodes. Clients still reach every node."""
        parts = [sorted(_as_set(group)) for group in groups]
        named = [node for part in parts for node in part]
        for node in named:
            self._check_node(node)
            if named.count(node) > 1:
                raise BadRule(f"the partition names {node} twice: each node is in one group")
        rest = [node for node in self.nodes if node not in named]
        if len(parts) == 1:
            parts.append(rest)
        elif rest:
            raise BadRule(f"the partition leaves out {', '.join(rest)}: put each node in a group")
        if len(parts) < 2 or not all(parts):
            raise BadRule(
                "a partition needs two or more groups with nodes in them, or one group that leaves out a node"
            )
        pairs = itertools.permutations(parts, 2)
        return self._cut((link for one, other in pairs for link in itertools.product(one, other)), name, "partition")

    def _cut(self, pairs: Iterable[Link], name: str | None, kind: str = "cut") -> InstalledRule:
        links = frozenset(pairs)
        for sender, receiver in sorted(links):
            if sender == receiver:
                raise BadRule(f"{sender} stands on both sides of the cut, and cannot be cut from itself")
        return self.add(Rule(name or f"{kind}-{next(self._numbers)}", Cut(), links))

    # --- rules by kind ----------------------------------------------------------------------------------------------

    def drop(self, links: Iterable[Link] | None = None, **narrowed: Unpack[RuleFilter]) -> InstalledRule:
        """Lose messages."""
        return self.install(Drop(), links, **narrowed)

    def delay(
        self,
        links: Iterable[Link] | None = None,
        seconds: float = 0.1,
        jitter_s: float = 0.0,
        **narrowed: Unpack[RuleFilter],
    ) -> InstalledRule:
        """Keep each message for `seconds` and up to `jitter_s` seconds more, drawn uniformly. Jitter can change the order."""
        return self.install(Delay(seconds, jitter_s), links, **narrowed)

    def duplicate(
        self, links: Iterable[Link] | None = None, copies: int = 1, **narrowed: Unpack[RuleFilter]
    ) -> InstalledRule:
        """Send `copies` further copies of each message."""
        return self.install(Duplicate(copies), links, **narrowed)

    def reorder(
        self,
        links: Iterable[Link] | None = None,
        window: int = 1,
        most_s: float = 1.0,
        **narrowed: Unpack[RuleFilter],
    ) -> InstalledRule:
        """Keep a message until `window` other messages have passed on its link, or `most_s` seconds are over."""
        return self.install(Reorder(window, most_s), links, **narrowed)

    def hold(self, links: Iterable[Link] | None = None, **narrowed: Unpack[RuleFilter]) -> InstalledRule:
        """Keep messages until the caller releases or discards them."""
        return self.install(Hold(), links, **narrowed)

    def corrupt(
        self, links: Iterable[Link] | None = None, position: int | None = None, **narrowed: Unpack[RuleFilter]
    ) -> InstalledRule:
        """Flip bits of one byte: the byte at `position`, or any byte if it is None. At 0, the frame never decodes."""
        return self.install(Corrupt(position), links, **narrowed)

    def watch(self, links: Iterable[Link] | None = None, **narrowed: Unpack[RuleFilter]) -> InstalledRule:
        """Only count messages, so that the caller can wait for them."""
        return self.install(Pass(), links, **narrowed)

    def install(
        self,
        action: Action,
        links: Iterable[Link] | None = None,
        *,
        senders: Names | None = None,
        receivers: Names | None = None,
        types: Names | None = None,
        variables: Names | None = None,
        probability: float = 1.0,
        times: int | None = None,
        name: str | None = None,
    ) -> InstalledRule:
        """Put a rule with any action in force. The arguments are those of the class."""
        only = None if links is None else frozenset((sender, receiver) for sender, receiver in links)
        if senders is not None or receivers is not None:
            first = self._endpoints(senders) if senders is not None else [*self.nodes, CLIENT]
            last = self._endpoints(receivers) if receivers is not None else [*self.nodes, CLIENT]
            between = frozenset(link for link in itertools.product(first, last) if link in self.all_links)
            only = between if only is None else only & between
        return self.add(
            Rule(
                id=name or f"{type(action).__name__.lower()}-{next(self._numbers)}",
                action=action,
                links=only,
                types=None if types is None else frozenset(_as_set(types)),
                variables=None if variables is None else frozenset(_as_set(variables)),
                probability=probability,
                times=times,
            )
        )

    def add(self, rule: Rule) -> InstalledRule:
        """Put a rule in force that exists as data, such as one of a plan. It leaves out the links of nodes that have left."""
        if rule.links is not None:
            rule = replace(rule, links=frozenset(self.links_left(rule.links)))
        self.request("add", rule=rule.to_plain())
        installed = self._rules[rule.id] = InstalledRule(self, rule)
        return installed

    def links_left(self, links: Collection[Link]) -> tuple[Link, ...]:
        """Return those of the links whose nodes have not left. A plan names links before it is known which nodes leave.

        Raises:
            NoSuchNode: there were links, and none is left.
        """
        left = tuple(link for link in links if self._left.isdisjoint(link))
        if links and not left:
            gone = sorted(self._left.intersection(itertools.chain(*links)))
            raise NoSuchNode(f"none of these links is left: {', '.join(gone)} has left the cluster")
        return left

    # --- the rules in force -----------------------------------------------------------------------------------------

    def heal(self) -> None:
        """Remove every rule. Messages that are held, delayed or reordered are released; lost messages stay lost."""
        for rule, counts in self.request("heal").items():
            installed = self._rules.pop(rule, None)
            if installed is not None:
                installed.mark_removed(link_counts(counts))

    def forget_rule(self, installed: InstalledRule) -> None:
        """Remove a rule from the list of those in force. `InstalledRule.remove` calls it."""
        self._rules.pop(installed.id, None)

    def rules(self) -> list[InstalledRule]:
        """Return the rules in force, the oldest first."""
        return list(self._rules.values())

    def links(self) -> dict[Link, Counter[str]]:
        """Return the counts of each link since the start: "arrived", and the number of messages with each fate.

        Of streams: "connections" that its sender has dialed, "bytes" that have left, and "refused" connections.
        """
        return link_counts(self.request("links"))

    # --- what people look at ----------------------------------------------------------------------------------------

    def look(self, after: int, most: int) -> Seen:
        """Return the latest lines of the record from number `after` on, at most `most`, and the messages that are held.

        It is for people. The first look sees no earlier lines.
        """
        seen: Seen = self.request("look", after=after, most=most)
        return seen

    def trouble(self) -> str | None:
        """Return what lets nothing pass, such as a proxy that has ended, in a line for people; None if nothing does."""
        return None

    # --- names ------------------------------------------------------------------------------------------------------

    def _endpoints(self, names: Names) -> list[Endpoint]:
        endpoints = sorted(_as_set(names))
        for endpoint in endpoints:
            if endpoint != CLIENT:
                self._check_node(endpoint)
        return endpoints

    def _check_node(self, node: NodeId) -> None:
        if node not in self.nodes:
            raise NoSuchNode(f"there is no node {node!r}; there are {', '.join(self.nodes)}")


def _as_set(names: Names) -> set[str]:
    return {names} if isinstance(names, str) else set(names)
