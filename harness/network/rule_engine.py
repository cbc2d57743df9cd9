"""The rule engine: how the rules of a link decide a message's fate. It is pure: the caller passes time and generator in.

Theory of operation
-------------------
`arrive` takes a message in transit and returns rulings: what happens to the message, and to its copies, now. If the fate of a
ruling is in `DELIVERED`, the caller sends the message. If it is in `KEPT`, the engine keeps the message, and a later call of
`due`, `release`, `discard`, `remove` or `heal` returns its next ruling.

Rules
-----
1. The engine applies the rules of a link by kind: pass, cut, drop, burst, hold, duplicate, corrupt, reorder, delay. Within a
   kind the oldest comes first. So a loss comes before a delay, whichever was installed first, and each copy is corrupted, kept
   or delayed by itself.
2. The engine does not apply further rules to a message that is lost or kept. When a kept message leaves, the engine applies only
   the cuts again: nothing crosses a cut, however long ago it was sent.
3. When a rule is removed, the engine releases everything that the rule keeps, in the order of arrival.
4. The number and the bytes of kept messages are bounded. A message above the bound is dropped, and also counted as
   "overflowed".
5. The k-th random draw of a rule on a link depends only on the seed, the rule's id and the link. So messages on other links do
   not change what is lost on this one.
"""

import heapq
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from random import Random
from typing import NamedTuple

from harness.network.in_transit import InTransit, Ruling
from harness.network.rule_state import KEPT_BYTES_MAX, KEPT_MAX, KeptInTransit, KeptMessages, LinkCounts, RuleState
from harness.network.rules import (
    ACTIONS,
    BadRule,
    Burst,
    Corrupt,
    Cut,
    Delay,
    Drop,
    Duplicate,
    Hold,
    Pass,
    Reorder,
    Rule,
)
from harness.records.links import Fate, Link


class RemovedRule(NamedTuple):
    """What the removal of one rule returns."""

    rulings: list[Ruling]
    """The rulings on the messages that the rule kept."""
    counts: LinkCounts
    """The rule's last counts."""


class HealedRules(NamedTuple):
    """What the removal of all rules returns."""

    rulings: list[Ruling]
    """The rulings on all messages that were kept."""
    counts: dict[str, LinkCounts]
    """The last counts of each rule, by id."""


class RuleEngine:
    """The rules in force, and the messages that they keep.

    Each `now` is in seconds of a clock that never goes back. Each `rule` is the id of a rule, and each `index` the number of a
    message's first line in the record.
    """

    def __init__(self, rng: Random, kept_max: int = KEPT_MAX, kept_bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._seed = rng.getrandbits(64)
        self._kept = KeptMessages(kept_max, kept_bytes_max)
        self._rules: dict[str, RuleState] = {}
        self._by_link: dict[Link, list[RuleState]] = {}  # a cache: the rules that cover a link, in the order of rule 1

    # --- rules ------------------------------------------------------------------------------------------------------

    def add(self, rule: Rule) -> None:
        """Put a rule in force.

        Raises:
            BadRule: a rule with this id is in force.
        """
        if rule.id in self._rules:
            raise BadRule(f"a rule {rule.id!r} is in force already: give this one another name")
        self._rules[rule.id] = RuleState(rule)
        self._by_link.clear()

    def remove(self, rule: str) -> RemovedRule:
        """Remove a rule, and release the messages that it keeps.

        Raises:
            BadRule: no such rule is in force.
        """
        state = self._find(rule)
        del self._rules[rule]
        self._by_link.clear()
        return RemovedRule(self._release(state.kept.values()), state.counts())

    def heal(self) -> HealedRules:
        """Remove every rule, and release all messages that are kept, in the order of arrival."""
        removed = list(self._rules.values())
        self._rules.clear()
        self._by_link.clear()
        kept = sorted((kept for state in removed for kept in state.kept.values()), key=lambda kept: kept.number)
        return HealedRules(self._release(kept), {state.rule.id: state.counts() for state in removed})

    def rules(self) -> list[Rule]:
        """Return the rules in force, the oldest first."""
        return [state.rule for state in self._rules.values()]

    def counts(self, rule: str) -> LinkCounts:
        """Return a rule's counts for each link on which a message matched. Raises BadRule if no such rule is in force."""
        return self._find(rule).counts()

    def total(self, rule: str, what: str, links: Collection[Link] | None = None) -> int:
        """Return one of a rule's counts, such as "matched" or "keeps", summed over these links (None: all).

        Raises:
            BadRule: no such rule is in force.
        """
        state = self._find(rule)
        if what == "keeps":
            return sum(1 for kept in state.kept.values() if links is None or kept.message.link in links)
        return sum(number for link, number in state.total(what).items() if links is None or link in links)

    def release(self, rule: str, most: int | None = None) -> list[Ruling]:
        """Release the first `most` messages that a rule keeps (None: all). Raises BadRule if no such rule is in force."""
        return self._release(list(self._find(rule).kept.values())[:most])

    def discard(self, rule: str, most: int | None = None) -> list[Ruling]:
        """Lose the first `most` messages that a rule keeps (None: all). Raises BadRule if no such rule is in force."""
        state = self._find(rule)
        discarded = list(state.kept.values())[:most]
        for kept in discarded:
            self._kept.remove(kept)
        self._kept.prune()
        return [self._rule_on(state, kept.message, "discarded") for kept in discarded]

    def release_one(self, rule: str, index: int) -> list[Ruling]:
        """Release one message that a rule keeps. Raises BadRule if the rule does not keep it."""
        return self._release([self._find_kept(rule, index)])

    def discard_one(self, rule: str, index: int) -> list[Ruling]:
        """Lose one message that a rule keeps. Raises BadRule if the rule does not keep it."""
        kept = self._find_kept(rule, index)
        self._kept.remove(kept)
        self._kept.prune()
        return [self._rule_on(kept.by, kept.message, "discarded")]

    def repeat(self, rule: str, index: int) -> list[Ruling]:
        """Send a copy of one message that a rule keeps, and keep the message. Raises BadRule if the rule does not keep it."""
        kept = self._find_kept(rule, index)
        kept.by.count(kept.message.link, "duplicated")
        return list(self._leave(kept.message.copy_by(rule)))

    def _find_kept(self, rule: str, index: int) -> KeptInTransit:
        found = next((kept for kept in self._find(rule).kept.values() if kept.message.index == index), None)
        if found is None:
            raise BadRule(f"{rule} keeps no message {index}: it was released or discarded, or never arrived")
        return found

    def held(self, most: int) -> tuple[list[KeptInTransit], int]:
        """Return the first `most` messages that rules hold, in the order of arrival, and how many they hold in all."""
        holding = [state.kept for state in self._rules.values() if isinstance(state.rule.action, Hold)]
        in_order = heapq.merge(*(kept.values() for kept in holding), key=lambda kept: kept.number)
        return list(islice(in_order, most)), sum(map(len, holding))

    # --- messages ---------------------------------------------------------------------------------------------------

    def arrive(self, message: InTransit, now: float) -> list[Ruling]:
        """Rule on a message that has arrived at the proxy."""
        rules = self._rules_on(message.link)
        if not rules:
            return [Ruling(message, "passed", None)]
        return list(self._apply_rules(message, rules, 0, now))

    def due(self, now: float) -> list[Ruling]:
        """Rule on the messages whose delay is over, the earliest first."""
        rulings: list[Ruling] = []
        while (kept := self._kept.pop_due(now)) is not None:
            rulings += self._leave(kept.message)
        return rulings

    def wait_s(self, now: float) -> float | None:
        """Return the seconds until `due` has a message to rule on; None if no kept message waits for a time."""
        return self._kept.wait_s(now)

    def _apply_rules(self, message: InTransit, rules: list[RuleState], first: int, now: float) -> Iterator[Ruling]:
        """Apply the rules from number `first` on. A copy continues after the rule that made it."""
        copies: list[tuple[InTransit, int]] = []  # each with the number of the rule at which it continues
        ruling: Ruling | None = None
        for place in range(first, len(rules)):
            state = rules[place]
            if not state.rule.takes(message.type, message.variable):
                continue
            state.count(message.link, "matched")
            if not self._acts(state, message):
                continue
            match state.rule.action:
                case Cut() | Drop() | Burst():
                    ruling = self._rule_on(state, message, "dropped")
                case Hold():
                    ruling = self._keep(state, message, "held", None)
                case Duplicate(count):
                    copies += [(message.copy_by(state.rule.id), place + 1) for _ in range(count)]
                    state.count(message.link, "duplicated", count)
                case Corrupt(position):
                    message.payload = _corrupted(message.payload, position, state.generator(self._seed, message.link))
                    message.delivered_as, message.delivered_by = "corrupted", state.rule.id
                    state.count(message.link, "corrupted")
                case Reorder(window, most_s):
                    ruling = self._keep(state, message, "reordered", now + most_s, window)
                case Delay(seconds, jitter_s):
                    jitter = state.generator(self._seed, message.link).uniform(0, jitter_s) if jitter_s else 0.0
                    delay_s = seconds + jitter
                    ruling = self._keep(state, message, "delayed", now + delay_s)
            if ruling is not None:
                break
        if ruling is not None:
            yield ruling
        else:
            yield from self._pass_on(message)
        for copy, place in copies:
            yield from self._apply_rules(copy, rules, place, now)

    def _acts(self, state: RuleState, message: InTransit) -> bool:
        """Return whether a rule that the message matches acts on it."""
        match state.rule.action:
            case Pass():
                return False
            case Corrupt() if not message.payload:
                return False
            case Burst() if not self._is_in_burst(state, message.link):
                return False
            case Reorder() if any(kept.message.link == message.link for kept in state.kept.values()):
                return False
        if state.rule.times is not None and state.acted >= state.rule.times:
            return False
        if state.rule.probability < 1 and state.generator(self._seed, message.link).random() >= state.rule.probability:
            return False
        state.acted += 1
        return True

    def _is_in_burst(self, state: RuleState, link: Link) -> bool:
        """Draw whether a burst goes on or begins at this message, and return whether one loses it (a chain of two states)."""
        action = state.rule.action
        assert isinstance(action, Burst)
        drawn = state.generator(self._seed, link).random()
        ends = 1 / action.length
        if drawn < (ends if link in state.bursts else ends * action.loss / (1 - action.loss)):
            state.bursts ^= {link}
        return link in state.bursts

    # --- kept messages ----------------------------------------------------------------------------------------------

    def _keep(self, state: RuleState, message: InTransit, fate: Fate, due: float | None, window: int = 0) -> Ruling:
        if not self._kept.has_room_for(message):
            state.count(message.link, "overflowed")
            return self._rule_on(state, message, "dropped")
        message.delivered_by = message.delivered_by or state.rule.id
        self._kept.add(message, state, due, window)
        return self._rule_on(state, message, fate)

    def _release(self, all_kept: Iterable[KeptInTransit]) -> list[Ruling]:
        rulings: list[Ruling] = []
        for kept in list(all_kept):
            if kept.number not in kept.by.kept:
                continue  # a reordered message, which has left because an earlier one of this loop passed
            self._kept.remove(kept)
            message, state = kept.message, kept.by
            state.count(message.link, "released")
            if message.delivered_as == "passed":
                message.delivered_as, message.delivered_by = "released", state.rule.id
            rulings += self._leave(message)
        self._kept.prune()
        return rulings

    def _leave(self, message: InTransit) -> Iterator[Ruling]:
        """Rule on a message that was kept: it is delivered, unless a cut is in force on its link now (rule 2)."""
        for state in self._rules_on(message.link):
            if isinstance(state.rule.action, Cut) and state.rule.takes(message.type, message.variable):
                state.count(message.link, "matched")
                yield self._rule_on(state, message, "dropped")
                return
        yield from self._pass_on(message)

    def _pass_on(self, message: InTransit) -> Iterator[Ruling]:
        """Deliver a message, and then each reordered message of its link for which enough others have passed."""
        yield Ruling(message, message.delivered_as, message.delivered_by)
        for state in self._rules_on(message.link):
            if not isinstance(state.rule.action, Reorder):
                continue
            for kept in [kept for kept in state.kept.values() if kept.message.link == message.link]:
                kept.window -= 1
                if kept.window == 0:
                    self._kept.remove(kept)
                    yield from self._leave(kept.message)

    # --- bookkeeping ------------------------------------------------------------------------------------------------

    def _find(self, rule: str) -> RuleState:
        if rule not in self._rules:
            in_force = ", ".join(self._rules) or "none"
            raise BadRule(
                f"no rule {rule!r} is in force; there are: {in_force}. Was it removed, or the network healed?"
            )
        return self._rules[rule]

    def _rules_on(self, link: Link) -> list[RuleState]:
        """Return the rules that cover a link, in the order of rule 1."""
        rules = self._by_link.get(link)
        if rules is None:
            covering = (state for state in self._rules.values() if state.rule.covers(link))
            rules = self._by_link[link] = sorted(covering, key=lambda state: ACTIONS.index(type(state.rule.action)))
        return rules

    def _rule_on(self, state: RuleState, message: InTransit, fate: Fate) -> Ruling:
        state.count(message.link, fate)
        return Ruling(message, fate, state.rule.id)


def _corrupted(payload: bytes, position: int | None, rng: Random) -> bytes:
    """Return the payload with at least one bit of one byte flipped: the byte at `position`, or any if it is None."""
    place = rng.randrange(len(payload)) if position is None else position % len(payload)
    return payload[:place] + bytes([payload[place] ^ rng.randint(1, 255)]) + payload[place + 1 :]
