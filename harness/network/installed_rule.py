"""A rule that is in force in the network, and what can be asked of it: counts, waiting, letting go what it holds."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, Self

from harness.network.errors import NetworkError
from harness.network.rules import Rule
from harness.records.links import Link


class NotSeen(NetworkError, TimeoutError):
    """What was waited for has not happened within the time."""


class RuleOwner(Protocol):
    """The network in which a rule is in force. `Network` is one."""

    all_links: tuple[Link, ...]

    def request(self, do: str, timeout_s: float = 0.0, /, **fields: object) -> Any:
        """Ask the proxy, and return its result."""

    def forget(self, installed: "InstalledRule") -> None:
        """The rule is in force no more."""

    def links(self) -> dict[Link, Counter[str]]:
        """The counts of every link since the start."""


class InstalledRule:
    """A rule in force. As a context manager, it is removed at the end of the block.

    Counts can still be read after its removal: they are the last ones.
    """

    def __init__(self, network: RuleOwner, rule: Rule) -> None:
        self.rule = rule
        self._network = network
        self._last: dict[Link, Counter[str]] | None = None

    def __repr__(self) -> str:
        return f"<rule {self.rule.id}{'' if self._last is None else ', removed'}>"

    @property
    def id(self) -> str:
        """Its name, which the record shows."""
        return self.rule.id

    def counts(self) -> dict[Link, Counter[str]]:
        """For each link that the rule covers: "matched", what it did by fate, and "keeps", which is what waits now."""
        counts = self._last
        if counts is None:
            counts = link_counts(self._network.request("counts", rule=self.id))
        return {link: counts.get(link, Counter()) for link in self._network.all_links if self.rule.covers(link)}

    def total(self, what: str) -> int:
        """One of the counts, such as "matched", "dropped" or "keeps", over all links."""
        return sum(counts[what] for counts in self.counts().values())

    def remove(self) -> dict[Link, Counter[str]]:
        """End it. What it still keeps is released, in the order of arrival. Returns its last counts, also a second time."""
        if self._last is None:
            self.ended(link_counts(self._network.request("remove", rule=self.id)))
            self._network.forget(self)
        return self.counts()

    def ended(self, last: dict[Link, Counter[str]]) -> None:
        """Note that the rule is no longer in force."""
        self._last = last

    def release(self, k: int | None = None) -> int:
        """Let the first `k` kept messages go, or all, in the order of arrival. Returns how many there were."""
        return int(self._network.request("release", rule=self.id, most=k))

    def discard(self, k: int | None = None) -> int:
        """Lose the first `k` kept messages, or all. Returns how many there were."""
        return int(self._network.request("discard", rule=self.id, most=k))

    def release_one(self, index: int) -> None:
        """Let go of the kept message that has this `index` in the record. Raises NetworkError if it is not kept."""
        self._network.request("release_one", rule=self.id, index=index)

    def discard_one(self, index: int) -> None:
        """Lose the kept message that has this `index` in the record."""
        self._network.request("discard_one", rule=self.id, index=index)

    def repeat(self, index: int) -> None:
        """Let a copy go of the kept message that has this `index` in the record, and go on keeping it."""
        self._network.request("repeat", rule=self.id, index=index)

    def wait_matched(self, k: int = 1, timeout_s: float = 10.0, links: Iterable[Link] | None = None) -> None:
        """Wait until `k` messages have matched, on these links or on all. Raises NotSeen."""
        self._wait("matched", k, timeout_s, links)

    def wait_held(self, k: int = 1, timeout_s: float = 10.0, links: Iterable[Link] | None = None) -> None:
        """Wait until the rule keeps `k` messages, of these links or of all. Raises NotSeen."""
        self._wait("keeps", k, timeout_s, links)

    def _wait(self, what: str, k: int, timeout_s: float, links: Iterable[Link] | None) -> None:
        only = None if links is None else [list(link) for link in links]
        condition = {"rule": self.id, "what": what, "least": k, "links": only, "timeout_s": float(timeout_s)}
        seen = self._network.request("wait", timeout_s, **condition)
        if seen >= k:
            return
        totals = self._network.links()
        arrived = sum(totals[link]["arrived"] for link in totals if self.rule.covers(link))
        raise NotSeen(
            f"rule {self.id}: {what} is {seen} and not {k} after {timeout_s:g} s. On its links {arrived} messages have "
            f"arrived since the start. It is for types: {_shown(self.rule.types)}; variables: "
            f"{_shown(self.rule.variables)}. Is that what is sent, and is the sender up?"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.remove()
        except NetworkError:
            if kind is None:  # else it would hide what went wrong first
                raise


def link_counts(plain: Iterable[tuple[str, str, Mapping[str, int]]]) -> dict[Link, Counter[str]]:
    """Counts by link, as they come from the proxy."""
    return {(sender, receiver): Counter(counts) for sender, receiver, counts in plain}


def _shown(names: frozenset[str] | None) -> str:
    return "any" if names is None else ", ".join(sorted(names))
