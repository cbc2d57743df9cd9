"""The state of the rules in force: their counts, their random draws, and the messages that they keep."""

import heapq
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Final, TypeAlias

from harness.network.in_transit import InTransit
from harness.network.rules import Rule
from harness.records.links import Link

#: How many messages all rules together may keep.
KEPT_MAX: Final = 100_000
#: How many bytes of payload all rules together may keep.
KEPT_BYTES_MAX: Final = 256 * 1024 * 1024

#: For each link with a match: "matched", the number of messages with each fate, and "keeps", the number kept now.
LinkCounts: TypeAlias = dict[Link, Counter[str]]


@dataclass(slots=True, eq=False)
class KeptInTransit:
    """A message that a rule keeps.

    Attributes:
        message: the message.
        by: the rule that keeps it.
        number: its number among all messages that were ever kept, in the order of arrival.
        window: how many other messages of its link must pass before it leaves, if a Reorder keeps it.
    """

    message: InTransit
    by: "RuleState"
    number: int
    window: int = 0


@dataclass(slots=True, eq=False)
class RuleState:
    """A rule in force.

    Attributes:
        rule: the rule.
        acted: how often it has acted.
        bursts: the links on which a burst loses messages now.
        kept: the messages that it keeps, by number, so in the order of arrival.
    """

    rule: Rule
    acted: int = 0
    bursts: set[Link] = field(default_factory=set)
    kept: dict[int, KeptInTransit] = field(default_factory=dict)
    _counts: LinkCounts = field(default_factory=dict)
    _generators: dict[Link, Random] = field(default_factory=dict)

    def count(self, link: Link, what: str, by: int = 1) -> None:
        """Add to one of the counts of a link."""
        self._counts.setdefault(link, Counter())[what] += by

    def total(self, what: str) -> dict[Link, int]:
        """Return one of the counts, other than "keeps", for each link with a match."""
        return {link: counts[what] for link, counts in self._counts.items()}

    def counts(self) -> LinkCounts:
        """Return a copy of all counts, with "keeps"."""
        counts = {link: Counter(of_link) for link, of_link in self._counts.items()}
        for kept in self.kept.values():
            counts[kept.message.link]["keeps"] += 1
        return counts

    def generator(self, seed: int, link: Link) -> Random:
        """Return the generator of the rule's draws on a link, which depends only on the seed, the rule's id and the link."""
        if link not in self._generators:
            self._generators[link] = Random(f"{seed}/{self.rule.id}/{link[0]}/{link[1]}")
        return self._generators[link]


class KeptMessages:
    """The messages that all rules together keep: their bound, and the times at which some of them leave.

    Each `now` is in seconds of a clock that never goes back.
    """

    def __init__(self, kept_max: int, kept_bytes_max: int) -> None:
        self._max, self._bytes_max = kept_max, kept_bytes_max
        self._count = self._bytes = self._last_number = 0
        self._due: list[tuple[float, int, KeptInTransit]] = []  # a heap, by the time at which the message leaves

    def has_room_for(self, message: InTransit) -> bool:
        """Return whether one more message fits under the bound."""
        return self._count < self._max and self._bytes + len(message.payload) <= self._bytes_max

    def add(self, message: InTransit, by: RuleState, due: float | None, window: int) -> None:
        """Keep a message until `due` (None: without a time), or until `window` others have passed (0: without a window)."""
        self._count += 1
        self._bytes += len(message.payload)
        self._last_number += 1
        kept = by.kept[self._last_number] = KeptInTransit(message, by, self._last_number, window)
        if due is not None:
            heapq.heappush(self._due, (due, kept.number, kept))

    def remove(self, kept: KeptInTransit) -> None:
        """Keep a message no longer. Its time may stay in the heap: see `prune`."""
        del kept.by.kept[kept.number]
        self._count -= 1
        self._bytes -= len(kept.message.payload)

    def prune(self) -> None:
        """Remove the times of messages that are no longer kept."""
        self._due = [entry for entry in self._due if entry[1] in entry[2].by.kept]
        heapq.heapify(self._due)

    def pop_due(self, now: float) -> KeptInTransit | None:
        """Remove and return the kept message whose time came first, if it has come; else None."""
        while self._due and self._due[0][0] <= now:
            _, number, kept = heapq.heappop(self._due)
            if number in kept.by.kept:
                self.remove(kept)
                return kept
        return None

    def wait_s(self, now: float) -> float | None:
        """Return the seconds until the time of the next kept message; None if no kept message has one."""
        while self._due and self._due[0][1] not in self._due[0][2].by.kept:
            heapq.heappop(self._due)
        return max(self._due[0][0] - now, 0.0) if self._due else None
