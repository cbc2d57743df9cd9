"""How the rules of a link decide a message's fate. Pure: the time and the generator are given in.

Theory of operation
-------------------
`arrive` takes a letter (a message on its way) and returns steps: what happens to it now. A step whose fate is in
`DELIVERED` tells the caller to send the letter; one in `KEPT` says that it waits here, and that `due`, `release`,
`discard`, `remove` or `heal` will return its next step.

1. The rules of a link are asked by kind: pass, cut, drop, hold, duplicate, corrupt, reorder, delay; within a kind the
   oldest first. So a loss comes before a delay, whichever was installed first, and every copy is corrupted, kept or
   delayed by itself.
2. A letter that is lost or kept is not shown to the rules behind. When a kept one leaves, only the cuts are asked again:
   nothing crosses a cut, however long ago it was sent.
3. Removing a rule lets go of all that it keeps, in the order of arrival.
4. What is kept is bounded. Over the bound a letter is dropped, and counted as "overflowed" too.
5. The k-th draw of a rule on a link depends on the seed, the rule's id and the link alone, so a busy link elsewhere does
   not change what is lost here.
"""

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final, NamedTuple

from harness.network.rules import ACTIONS, BadRule, Corrupt, Cut, Delay, Drop, Duplicate, Hold, Pass, Reorder, Rule
from harness.records.links import UNKNOWN_TYPE, Fate, Link
from node.wire import Envelope

KEPT_MAX: Final = 100_000
KEPT_BYTES_MAX: Final = 256 * 1024 * 1024


@dataclass(slots=True, eq=False)
class InTransit:
    """A message on its way. `envelope` is None if it did not decode."""

    link: Link
    payload: bytes
    envelope: Envelope | None = None
    route: tuple[bytes, ...] = ()  # the frames before the payload, which lead back to a client
    index: int | None = None  # of its first line in the record
    original: "InTransit | None" = None  # what this is a copy of
    leaves_as: Fate = "passed"
    marked_by: str | None = None  # the rule that shows beside that fate

    @property
    def type(self) -> str:
        """The message's class name."""
        return UNKNOWN_TYPE if self.envelope is None else self.envelope.message.type_name()

    @property
    def variable(self) -> str | None:
        """The variable that the message is about."""
        return None if self.envelope is None else self.envelope.variable


class Ruling(NamedTuple):
    """What happens to a letter now, and which rule made it so."""

    letter: InTransit
    fate: Fate
    rule: str | None


@dataclass(slots=True, eq=False)
class _Kept:
    letter: InTransit
    by: "_Installed"
    number: int
    window: int = 0  # how many others must pass first, if it is kept by a Reorder


@dataclass(slots=True, eq=False)
class _Installed:
    rule: Rule
    acted: int = 0
    counts: dict[Link, Counter[str]] = field(default_factory=dict)
    kept: dict[int, _Kept] = field(default_factory=dict)  # by number, so in the order of arrival
    draws: dict[Link, Random] = field(default_factory=dict)


class RuleEngine:
    """The rules in force, and what they keep. `now` is in seconds, of a clock that never goes back."""

    def __init__(self, rng: Random, kept_max: int = KEPT_MAX, kept_bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._seed = rng.getrandbits(64)
        self._kept_max, self._kept_bytes_max = kept_max, kept_bytes_max
        self._rules: dict[str, _Installed] = {}
        self._by_link: dict[Link, list[_Installed]] = {}  # a cache: the rules that cover a link, in the order of asking
        self._due: list[tuple[float, int, _Kept]] = []
        self._numbers = 0
        self._kept_count = self._kept_bytes = 0

    # --- rules ------------------------------------------------------------------------------------------------------

    def add(self, rule: Rule) -> None:
        """Put `rule` in force. Raises BadRule if one of that id is."""
        if rule.id in self._rules:
            raise BadRule(f"a rule {rule.id!r} is in force already: give this one another name")
        self._rules[rule.id] = _Installed(rule)
        self._by_link.clear()

    def remove(self, rule: str) -> tuple[list[Ruling], dict[Link, Counter[str]]]:
        """End a rule and let go of what it keeps. Returns those steps, and the rule's last counts."""
        installed = self._find(rule)
        del self._rules[rule]
        self._by_link.clear()
        return self._let_go(installed.kept.values()), self._counts(installed)

    def heal(self) -> tuple[list[Ruling], dict[str, dict[Link, Counter[str]]]]:
        """End every rule, and let go of all that is kept. Returns those steps, and the last counts of each rule."""
        ended = list(self._rules.values())
        self._rules.clear()
        self._by_link.clear()
        kept = sorted((kept for one in ended for kept in one.kept.values()), key=lambda kept: kept.number)
        return self._let_go(kept), {one.rule.id: self._counts(one) for one in ended}

    def rules(self) -> list[Rule]:
        """Those in force, oldest first."""
        return [installed.rule for installed in self._rules.values()]

    def counts(self, rule: str) -> dict[Link, Counter[str]]:
        """For each link that had a match: `matched`, a count for each fate, and `keeps`, which is how many it keeps now."""
        return self._counts(self._find(rule))

    def total(self, rule: str, what: str, links: Collection[Link] | None = None) -> int:
        """One of the counts, summed over these links, or over all."""
        installed = self._find(rule)
        if what == "keeps":
            return sum(1 for kept in installed.kept.values() if links is None or kept.letter.link in links)
        return sum(counts[what] for link, counts in installed.counts.items() if links is None or link in links)

    def release(self, rule: str, most: int | None = None) -> list[Ruling]:
        """Let go of the first `most` that a rule keeps, or of all, in the order of arrival."""
        return self._let_go(list(self._find(rule).kept.values())[:most])

    def discard(self, rule: str, most: int | None = None) -> list[Ruling]:
        """Lose the first `most` that a rule keeps, or all."""
        installed = self._find(rule)
        gone = list(installed.kept.values())[:most]
        for kept in gone:
            self._take_out(kept)
        self._tidy()
        return [self._did(installed, kept.letter, "discarded") for kept in gone]

    def release_one(self, rule: str, index: int) -> list[Ruling]:
        """Let go of the letter that a rule keeps under this number of the record."""
        return self._let_go([self._kept(rule, index)])

    def discard_one(self, rule: str, index: int) -> list[Ruling]:
        """Lose the letter that a rule keeps under this number of the record."""
        kept = self._kept(rule, index)
        self._take_out(kept)
        self._tidy()
        return [self._did(kept.by, kept.letter, "discarded")]

    def repeat(self, rule: str, index: int) -> list[Ruling]:
        """Let a copy go of the letter that a rule keeps under this number of the record, and go on keeping it."""
        kept = self._kept(rule, index)
        self._count(kept.by, kept.letter.link, "duplicated")
        return list(self._leave(_copy(kept.letter, rule)))

    def _kept(self, rule: str, index: int) -> _Kept:
        found = next((kept for kept in self._find(rule).kept.values() if kept.letter.index == index), None)
        if found is None:
            raise BadRule(f"{rule} keeps no message {index}: it has left, was lost, or never came")
        return found

    # --- letters ----------------------------------------------------------------------------------------------------

    def arrive(self, letter: InTransit, now: float) -> list[Ruling]:
        """A letter has come in."""
        rules = self._on(letter.link)
        if not rules:
            return [Ruling(letter, "passed", None)]
        return list(self._judge(letter, rules, 0, now))

    def due(self, now: float) -> list[Ruling]:
        """What has waited long enough, earliest first."""
        steps: list[Ruling] = []
        while self._due and self._due[0][0] <= now:
            _, number, kept = heapq.heappop(self._due)
            if number in kept.by.kept:
                self._take_out(kept)
                steps += self._leave(kept.letter)
        return steps

    def wait_s(self, now: float) -> float | None:
        """Seconds until `due` has something to return; None if nothing waits for the time."""
        while self._due and self._due[0][1] not in self._due[0][2].by.kept:
            heapq.heappop(self._due)
        return max(self._due[0][0] - now, 0.0) if self._due else None

    def _judge(self, letter: InTransit, rules: list[_Installed], first: int, now: float) -> Iterator[Ruling]:
        """Ask the rules from `first` on. A copy goes on from the rule that made it."""
        copies: list[tuple[InTransit, int]] = []
        fate: Ruling | None = None
        for place in range(first, len(rules)):
            one = rules[place]
            if not one.rule.takes(letter.type, letter.variable):
                continue
            self._count(one, letter.link, "matched")
            if not self._acts(one, letter):
                continue
            match one.rule.action:
                case Cut() | Drop():
                    fate = self._did(one, letter, "dropped")
                case Hold():
                    fate = self._keep(one, letter, "held", None)
                case Duplicate(count):
                    copies += [(_copy(letter, one.rule.id), place + 1) for _ in range(count)]
                    self._count(one, letter.link, "duplicated", count)
                case Corrupt(position):
                    letter.payload = _flip(letter.payload, position, self._draws(one, letter.link))
                    letter.leaves_as, letter.marked_by = "corrupted", one.rule.id
                    self._count(one, letter.link, "corrupted")
                case Reorder(window, most_s):
                    fate = self._keep(one, letter, "reordered", now + most_s, window)
                case Delay(seconds, jitter_s):
                    wait_s = seconds + (self._draws(one, letter.link).uniform(0, jitter_s) if jitter_s else 0.0)
                    fate = self._keep(one, letter, "delayed", now + wait_s)
            if fate is not None:
                break
        if fate is not None:
            yield fate
        else:
            yield from self._pass_on(letter)
        for copy, place in copies:
            yield from self._judge(copy, rules, place, now)

    def _acts(self, one: _Installed, letter: InTransit) -> bool:
        match one.rule.action:
            case Pass():
                return False
            case Corrupt() if not letter.payload:
                return False
            case Reorder() if any(kept.letter.link == letter.link for kept in one.kept.values()):
                return False
        if one.rule.times is not None and one.acted >= one.rule.times:
            return False
        if one.rule.probability < 1 and self._draws(one, letter.link).random() >= one.rule.probability:
            return False
        one.acted += 1
        return True

    # --- what is kept -----------------------------------------------------------------------------------------------

    def _keep(self, one: _Installed, letter: InTransit, fate: Fate, due: float | None, window: int = 0) -> Ruling:
        size = len(letter.payload)
        if self._kept_count >= self._kept_max or self._kept_bytes + size > self._kept_bytes_max:
            self._count(one, letter.link, "overflowed")
            return self._did(one, letter, "dropped")
        self._kept_count += 1
        self._kept_bytes += size
        self._numbers += 1
        letter.marked_by = letter.marked_by or one.rule.id
        kept = one.kept[self._numbers] = _Kept(letter, one, self._numbers, window)
        if due is not None:
            heapq.heappush(self._due, (due, self._numbers, kept))
        return self._did(one, letter, fate)

    def _take_out(self, kept: _Kept) -> None:
        del kept.by.kept[kept.number]
        self._kept_count -= 1
        self._kept_bytes -= len(kept.letter.payload)

    def _let_go(self, all_kept: Iterable[_Kept]) -> list[Ruling]:
        steps: list[Ruling] = []
        for kept in list(all_kept):
            if kept.number not in kept.by.kept:
                continue  # a Reorder that the one before has let through
            self._take_out(kept)
            letter, one = kept.letter, kept.by
            self._count(one, letter.link, "released")
            if letter.leaves_as == "passed":
                letter.leaves_as, letter.marked_by = "released", one.rule.id
            steps += self._leave(letter)
        self._tidy()
        return steps

    def _tidy(self) -> None:
        """Forget the times of what is no longer kept."""
        self._due = [entry for entry in self._due if entry[1] in entry[2].by.kept]
        heapq.heapify(self._due)

    def _leave(self, letter: InTransit) -> Iterator[Ruling]:
        """A letter that was kept goes on, unless a cut stands in the way now."""
        for one in self._on(letter.link):
            if isinstance(one.rule.action, Cut) and one.rule.takes(letter.type, letter.variable):
                self._count(one, letter.link, "matched")
                yield self._did(one, letter, "dropped")
                return
        yield from self._pass_on(letter)

    def _pass_on(self, letter: InTransit) -> Iterator[Ruling]:
        """The letter leaves; whatever a Reorder keeps on its link has seen one more pass."""
        yield Ruling(letter, letter.leaves_as, letter.marked_by)
        for one in self._on(letter.link):
            if not isinstance(one.rule.action, Reorder):
                continue
            for kept in [kept for kept in one.kept.values() if kept.letter.link == letter.link]:
                kept.window -= 1
                if kept.window == 0:
                    self._take_out(kept)
                    yield from self._leave(kept.letter)

    # --- bookkeeping ------------------------------------------------------------------------------------------------

    def _find(self, rule: str) -> _Installed:
        if rule not in self._rules:
            in_force = ", ".join(self._rules) or "none"
            raise BadRule(
                f"no rule {rule!r} is in force; there are: {in_force}. Was it removed, or the network healed?"
            )
        return self._rules[rule]

    def _on(self, link: Link) -> list[_Installed]:
        rules = self._by_link.get(link)
        if rules is None:
            covering = (one for one in self._rules.values() if one.rule.covers(link))
            rules = self._by_link[link] = sorted(covering, key=lambda one: ACTIONS.index(type(one.rule.action)))
        return rules

    def _draws(self, one: _Installed, link: Link) -> Random:
        if link not in one.draws:
            one.draws[link] = Random(f"{self._seed}/{one.rule.id}/{link[0]}/{link[1]}")
        return one.draws[link]

    def _did(self, one: _Installed, letter: InTransit, fate: Fate) -> Ruling:
        self._count(one, letter.link, fate)
        return Ruling(letter, fate, one.rule.id)

    def _count(self, one: _Installed, link: Link, what: str, by: int = 1) -> None:
        one.counts.setdefault(link, Counter())[what] += by

    def _counts(self, one: _Installed) -> dict[Link, Counter[str]]:
        counts = {link: Counter(of_link) for link, of_link in one.counts.items()}
        for kept in one.kept.values():
            counts[kept.letter.link]["keeps"] += 1
        return counts


def _copy(letter: InTransit, rule: str) -> InTransit:
    return replace(letter, original=letter.original or letter, leaves_as="duplicated", marked_by=rule)


def _flip(payload: bytes, position: int | None, rng: Random) -> bytes:
    """The payload with at least one bit of one byte turned over."""
    place = rng.randrange(len(payload)) if position is None else position % len(payload)
    return payload[:place] + bytes([payload[place] ^ rng.randint(1, 255)]) + payload[place + 1 :]
