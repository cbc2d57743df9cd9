"""A rule that is in force in the network: its counts, waiting for messages, and what happens to the messages that it keeps."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, Self

from harness.network.errors import NetworkError
from harness.network.rules import Rule
from harness.records.links import Link


class NotSeen(NetworkError, TimeoutError):
    """The messages that a caller waited for did not arrive within the timeout."""


class RuleOwner(Protocol):
    """The network in which a rule is in force, as `InstalledRule` needs it."""

    all_links: tuple[Link, ...]

    def request(self, verb: str, timeout_s: float = 0.0, /, **arguments: object) -> Any:
        """Send a request to the proxy, and return its result."""

    def forget_rule(self, installed: "InstalledRule") -> None:
        """Remove a rule from the list of those in force."""

    def links(self) -> dict[Link, Counter[str]]:
        """Return the counts of every link since the start."""


class InstalledRule:
    """A rule in force. As a context manager, it is removed at the end of the block.

    Its counts can still be read after its removal: they are the last ones. In all methods an `index` is the number of a
    message's first line in the record.

    Raises:
        NetworkError: any method, if the proxy refuses: the rule was removed, or does not keep that message.
        ProxyGone: any method, if the proxy has ended or does not answer.
    """

    def __init__(self, network: RuleOwner, rule: Rule) -> None:
        self.rule = rule
        self._network = network
        self._last_counts: dict[Link, Counter[str]] | None = None

    def __repr__(self) -> str:
        return f"<rule {self.rule.id}{'' if self._last_counts is None else ', removed'}>"

    @property
    def id(self) -> str:
        """The rule's name, which the record shows beside a fate."""
        return self.rule.id

    def counts(self) -> dict[Link, Counter[str]]:
        """Return the counts for each link that the rule covers.

        "matched" counts all messages that matched, a fate the messages with this fate, and "keeps" those that the rule keeps now.
        """
        counts = self._last_counts
        if counts is None:
            counts = link_counts(self._network.request("counts", rule=self.id))
        links = {**dict.fromkeys(self._network.all_links), **counts}  # with those of nodes that have left
        return {link: counts.get(link, Counter()) for link in links if self.rule.covers(link)}

    def total(self, what: str) -> int:
        """Return one of the counts, such as "matched", "dropped" or "keeps", summed over all links."""
        return sum(counts[what] for counts in self.counts().values())

    def remove(self) -> dict[Link, Counter[str]]:
        """Remove the rule, and return its last counts. A second call returns them again.

        The messages that the rule still keeps are released, in the order of arrival.
        """
        if self._last_counts is None:
            self.mark_removed(link_counts(self._network.request("remove", rule=self.id)))
            self._network.forget_rule(self)
        return self.counts()

    def mark_removed(self, last_counts: dict[Link, Counter[str]]) -> None:
        """Note that the rule is no longer in force, with its last counts."""
        self._last_counts = last_counts

    def release(self, most: int | None = None) -> int:
        """Release the first `most` kept messages, or all, in the order of arrival. Return how many were released."""
        return int(self._network.request("release", rule=self.id, most=most))

    def discard(self, most: int | None = None) -> int:
        """Lose the first `most` kept messages, or all. Return how many were lost."""
        return int(self._network.request("discard", rule=self.id, most=most))

    def release_one(self, index: int) -> None:
        """Release one kept message."""
        self._network.request("release_one", rule=self.id, index=index)

    def discard_one(self, index: int) -> None:
        """Lose one kept message."""
        self._network.request("discard_one", rule=self.id, index=index)

    def repeat(self, index: int) -> None:
        """Send a copy of one kept message, and continue to keep the message."""
        self._network.request("repeat", rule=self.id, index=index)

    def wait_matched(self, least: int = 1, timeout_s: float = 10.0, links: Iterable[Link] | None = None) -> None:
        """Wait until `least` messages have matched, on these links (None: all).

        Raises:
            NotSeen: fewer matched within `timeout_s` seconds.
        """
        self._wait("matched", least, timeout_s, links)

    def wait_held(self, least: int = 1, timeout_s: float = 10.0, links: Iterable[Link] | None = None) -> None:
        """Wait until the rule keeps `least` messages of these links (None: all).

        Raises:
            NotSeen: it keeps fewer after `timeout_s` seconds.
        """
        self._wait("keeps", least, timeout_s, links)

    def _wait(self, what: str, least: int, timeout_s: float, links: Iterable[Link] | None) -> None:
        only = None if links is None else [list(link) for link in links]
        condition = {"rule": self.id, "what": what, "least": least, "links": only, "timeout_s": float(timeout_s)}
        seen = self._network.request("wait", timeout_s, **condition)
        if seen >= least:
            return
        totals = self._network.links()
        arrived = sum(totals[link]["arrived"] for link in totals if self.rule.covers(link))
        raise NotSeen(
            f"rule {self.id}: after {timeout_s:g} s, {seen} messages were counted as {what}, and {least} were expected. "
            f"On the rule's links {arrived} messages have arrived since the start. "
            f"The rule is for types: {_names(self.rule.types)}; variables: {_names(self.rule.variables)}. "
            "Does a node that is up send such messages?"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.remove()
        except NetworkError:
            if kind is None:  # otherwise this error would hide the first one
                raise


def link_counts(plain: Iterable[tuple[str, str, Mapping[str, int]]]) -> dict[Link, Counter[str]]:
    """Return counts by link, from the form in which the proxy sends them."""
    return {(sender, receiver): Counter(counts) for sender, receiver, counts in plain}


def _names(names: frozenset[str] | None) -> str:
    return "any" if names is None else ", ".join(sorted(names))
