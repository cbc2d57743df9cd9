"""What rules do to streams of bytes: the fate of each piece of a stream, by the rules in force. No socket and no clock.

Theory of operation
-------------------
A stream proxy reads a connection in pieces, and sends each piece on when `StreamRules.look` says so. A piece is some bytes, or an
event: that the connection begins, is closed, or is reset. The bytes of a connection stay in their order, whatever happens: TCP
has no other way. So a piece that is lost is a piece that is late, and all behind it wait:

| rule | what happens to a piece on its link |
|---|---|
| cut | it waits until the cut is healed, and then arrives, as TCP sends again what a network has lost |
| hold | the same; only the connections or bytes after a number, if the rule names them |
| reset | its connection is reset, and each new one at once |
| drop, burst | it is late by the time after which TCP sends again: 0.2 s, and twice as much with each further loss |
| delay | it is late by so much; jitter never changes the order |
| bandwidth | it is late by the time that it takes on the line |
| pause | the stream stands still after so many bytes |
| corrupt | one of its bytes is another one |
| halfopen | the end of the connection waits until the rule is removed, and so does a new connection |
| slowclose | the end of the connection is late by so much |

A connection that begins needs both directions, as the handshake of TCP does.

`StreamMeter` is the observer. It counts what has left, by itself: what a cut let through and what left before its delay was over
is a fault that did not do what it claims, and its receipt says so.
"""

import math
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final, Literal, NamedTuple, TypeAlias

from harness.network.rules import (
    BadRule,
    Bandwidth,
    Burst,
    Corrupt,
    Cut,
    Delay,
    Drop,
    Duplicate,
    HalfOpen,
    Hold,
    Pause,
    Reorder,
    Reset,
    Rule,
    SlowClose,
)
from harness.records.links import Link

#: The events of streams that a rule may be for, as its `types`: the nth byte, and the nth connection.
BYTE: Final = "byte"
CONNECTION: Final = "connection"
EVENTS: Final = (BYTE, CONNECTION)
#: After how long TCP sends a lost piece again, in seconds; it doubles with each loss, up to so many.
RESENT_S: Final = 0.2
_LOSSES_MAX: Final = 6
#: The most bytes that leave at once on a line of limited bandwidth: a fiftieth of a second of it, but not less than 64.
_LINE_PART: Final = 0.02
_LINE_BYTES_MIN: Final = 64
#: By how much a piece may leave before its delay is over, in seconds: the clock's and the timer's grain.
_EARLY_S: Final = 0.002

What: TypeAlias = Literal["connection", "bytes", "close", "reset"]


@dataclass(slots=True, eq=False)
class Piece:
    """A part of a stream, or an event of a connection, on its way over a link."""

    link: Link
    what: What
    arrived_s: float
    stream: int
    """The number of its stream: one direction of a connection."""
    size: int = 0
    dues: dict[str, float] = field(default_factory=dict)
    """By rule: when the piece may leave."""
    damaged_at: int = -1
    """Which of its bytes is another one; -1: none."""
    is_described: bool = False
    """Whether the record has lines of its own for it: see `stream_traffic.py`."""


class Look(NamedTuple):
    """What may happen to a piece now."""

    wait_until_s: float
    """When to look again; 0: it may leave now; infinity: when the rules have changed."""
    bytes_max: int
    """How many of its bytes may leave now."""
    reset: bool = False
    """Whether its connection is to be reset."""


@dataclass(slots=True, eq=False)
class _InForce:
    """A rule in force, with its counts and its state."""

    rule: Rule
    counts: dict[Link, Counter[str]] = field(default_factory=dict)
    acted: int = 0
    seen: int = 0
    """How many bytes or connections a rule for such events has let pass."""
    kept: deque[Piece] = field(default_factory=deque)
    free_s: dict[Link, float] = field(default_factory=dict)
    """By link of limited bandwidth: when the line is free."""
    passed: Counter[int] = field(default_factory=Counter)
    """By stream: how many bytes have passed since the last pause."""
    paused_until_s: dict[int, float] = field(default_factory=dict)
    bursts: set[Link] = field(default_factory=set)
    generators: dict[Link, Random] = field(default_factory=dict)

    def count(self, link: Link, what: str, by: int = 1) -> None:
        self.counts.setdefault(link, Counter())[what] += by

    def generator(self, seed: int, link: Link) -> Random:
        if link not in self.generators:
            self.generators[link] = Random(f"{seed}/{self.rule.id}/{link[0]}/{link[1]}")
        return self.generators[link]


class StreamRules:
    """The rules in force on the links of one cluster, and what they do to each piece."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._rules: dict[str, _InForce] = {}

    def add(self, rule: Rule) -> None:
        """Put a rule in force. Raises BadRule if streams cannot suffer it."""
        if rule.id in self._rules:
            raise BadRule(f"there is a rule {rule.id} already")
        if isinstance(rule.action, Duplicate | Reorder):
            raise BadRule(
                f"{rule.kind} is for messages, and these nodes send streams of bytes, which TCP keeps in order"
            )
        if rule.variables is not None or (rule.types is not None and not rule.types <= set(EVENTS)):
            raise BadRule(f"a rule for streams has no variables, and only the types {' and '.join(EVENTS)}")
        if rule.types is not None and not isinstance(rule.action, Hold):
            raise BadRule(f"{rule.kind} is for whole streams: only a hold can be for some types")
        self._rules[rule.id] = _InForce(rule)

    def remove(self, rule: str) -> dict[Link, Counter[str]]:
        """Remove a rule. Return its last counts."""
        counts = self.counts(rule)
        del self._rules[rule]
        return counts

    def names(self) -> list[str]:
        """Return the names of the rules in force."""
        return list(self._rules)

    def rules(self) -> list[Rule]:
        """Return the rules in force."""
        return [one.rule for one in self._rules.values()]

    def counts(self, rule: str) -> dict[Link, Counter[str]]:
        """Return the counts of a rule, by link; "keeps" is how many pieces it keeps now."""
        one = self._in_force(rule)
        found = {link: Counter(counts) for link, counts in one.counts.items()}
        for piece in one.kept:
            found.setdefault(piece.link, Counter())["keeps"] += 1
        return found

    def keeper(self, link: Link) -> str | None:
        """Return the first rule in force that may keep pieces of a link until it is removed."""
        keepers = (one.rule for one in self._covering(link) if isinstance(one.rule.action, Cut | Hold | HalfOpen))
        return next((rule.id for rule in keepers), None)

    def count(self, rule: str, link: Link, what: str, by: int = 1) -> None:
        """Add to a count of a rule: the observer's, and connections that were reset."""
        self._in_force(rule).count(link, what, by)

    def release(self, rule: str, most: int | None) -> int:
        """Let the first `most` pieces that a hold keeps pass, or all. Return how many."""
        one = self._in_force(rule)
        released = len(one.kept) if most is None else min(most, len(one.kept))
        for _ in range(released):
            one.kept.popleft().dues[rule] = 0.0
        return released

    def _in_force(self, rule: str) -> _InForce:
        if rule not in self._rules:
            raise BadRule(f"there is no rule {rule!r} in force")
        return self._rules[rule]

    def forget(self, piece: Piece) -> None:
        """Forget a piece whose connection is gone."""
        for one in self._rules.values():
            if piece in one.kept:
                one.kept.remove(piece)

    # --- the fate of a piece ----------------------------------------------------------------------------------------

    def look(self, piece: Piece, now_s: float) -> Look:
        """Return what may happen to a piece now. Ask again when the time has come, or the rules have changed."""
        until_s, most = 0.0, max(piece.size, 1)
        for one in self._covering(piece.link):
            if isinstance(one.rule.action, Reset):
                return Look(0.0, 0, reset=True)
            wait_s, allowed = self._apply(one, piece, now_s)
            until_s, most = max(until_s, wait_s), min(most, allowed)
        return Look(until_s if until_s > now_s else 0.0, most)

    def left(self, piece: Piece, size: int, now_s: float) -> None:
        """Note that `size` bytes of a piece have left."""
        for one in self._covering(piece.link):
            match one.rule.action:
                case Pause(every_bytes, seconds):
                    one.passed[piece.stream] += size
                    if one.passed[piece.stream] >= every_bytes:
                        one.passed[piece.stream] = 0
                        one.paused_until_s[piece.stream] = now_s + seconds
                        one.count(piece.link, "paused")
                case Bandwidth(bytes_per_s):
                    one.free_s[piece.link] = max(one.free_s.get(piece.link, 0.0), now_s) + size / bytes_per_s
                case Hold() if one.rule.types is not None and BYTE in one.rule.types:
                    one.seen += size

    def _covering(self, link: Link) -> Iterator[_InForce]:
        return (one for one in self._rules.values() if one.rule.covers(link))

    def _apply(self, one: _InForce, piece: Piece, now_s: float) -> tuple[float, int]:
        """Return when the piece may leave by one rule, and how many of its bytes."""
        rule, everything = one.rule, max(piece.size, 1)
        if isinstance(rule.action, Hold):
            return self._hold(one, piece, rule.action.after)
        if rule.id not in piece.dues:
            piece.dues[rule.id] = self._first_look(one, piece, now_s)
        due_s = piece.dues[rule.id]
        match rule.action:
            case Pause(every_bytes, _) if piece.what == "bytes":
                return one.paused_until_s.get(piece.stream, 0.0), every_bytes - one.passed[piece.stream]
            case Bandwidth(bytes_per_s) if piece.what == "bytes":
                return one.free_s.get(piece.link, 0.0), max(int(bytes_per_s * _LINE_PART), _LINE_BYTES_MIN)
        return due_s, everything

    def _first_look(self, one: _InForce, piece: Piece, now_s: float) -> float:
        """Decide, when a piece meets a rule for the first time, when it may leave by that rule. Counts it."""
        one.count(piece.link, "matched")
        one.count(piece.link, "bytes", piece.size)
        rule, is_end = one.rule, piece.what in ("close", "reset")
        match rule.action:
            case Cut():
                one.count(piece.link, "held")
                return math.inf
            case HalfOpen() if is_end or piece.what == "connection":
                one.count(piece.link, "held")
                return math.inf
            case SlowClose(seconds) if is_end:
                one.count(piece.link, "delayed")
                return piece.arrived_s + seconds
            case Bandwidth() if piece.what == "bytes":
                one.count(piece.link, "throttled")
                return 0.0
        if is_end and not isinstance(rule.action, Delay):
            return 0.0
        return self._drawn(one, piece, now_s)

    def _hold(self, one: _InForce, piece: Piece, after: int) -> tuple[float, int]:
        """Apply a hold: to every piece, or to what comes after so many connections or bytes."""
        name, types, everything = one.rule.id, one.rule.types, max(piece.size, 1)
        if name in piece.dues:
            return piece.dues[name], everything
        if types is not None:
            wanted = (CONNECTION in types and piece.what == "connection") or (BYTE in types and piece.what == "bytes")
            if not wanted:
                return 0.0, everything
            room = after - one.seen
            if piece.what == "connection" and room > 0:
                one.seen += 1
                piece.dues[name] = 0.0
                return 0.0, everything
            if room > 0:  # `left` counts the bytes
                return 0.0, min(room, everything)
        elif one.generator(self._seed, piece.link).random() >= one.rule.probability:
            piece.dues[name] = 0.0
            return 0.0, everything
        one.count(piece.link, "matched")
        one.count(piece.link, "held")
        one.kept.append(piece)
        piece.dues[name] = math.inf
        return math.inf, everything

    def _drawn(self, one: _InForce, piece: Piece, now_s: float) -> float:
        """Apply a rule that acts with a probability."""
        rule = one.rule
        if rule.times is not None and one.acted >= rule.times:
            return 0.0
        rng = one.generator(self._seed, piece.link)
        match rule.action:
            case Drop():
                losses = 0
                while losses < _LOSSES_MAX and rng.random() < rule.probability:
                    losses += 1
                return self._lost(one, piece, now_s, losses)
            case Burst(loss, length):
                self._step_burst(one, piece.link, rng, loss, length)
                return self._lost(one, piece, now_s, int(piece.link in one.bursts))
            case Delay(seconds, jitter_s) if rng.random() < rule.probability:
                one.acted += 1
                one.count(piece.link, "delayed")
                return piece.arrived_s + seconds + rng.uniform(0.0, jitter_s)
            case Corrupt() if piece.what == "bytes" and rng.random() < rule.probability:
                one.acted += 1
                one.count(piece.link, "corrupted")
                piece.damaged_at = rng.randrange(piece.size)
        return 0.0

    def _lost(self, one: _InForce, piece: Piece, now_s: float, losses: int) -> float:
        if not losses:
            return 0.0
        one.acted += 1
        one.count(piece.link, "dropped")
        return now_s + RESENT_S * float(2**losses - 1)

    def _step_burst(self, one: _InForce, link: Link, rng: Random, loss: float, length: float) -> None:
        """Step the two-state chain of Gilbert's model: bursts end with 1/length, and begin so that `loss` is the share."""
        if link in one.bursts:
            if rng.random() < 1 / length:
                one.bursts.discard(link)
        elif rng.random() < loss / ((1 - loss) * length):
            one.bursts.add(link)


class StreamMeter:
    """Counts what has left on each link, and compares it with what the rules in force claim. It shares no code with them.

    `totals` has, for each link, "connections", "arrived" (pieces), "bytes" that have left, and "refused" connections.
    """

    def __init__(self, rules: StreamRules) -> None:
        self._rules = rules
        self._claims: dict[str, Rule] = {}
        self._began_s: dict[str, float] = {}
        self.totals: dict[Link, Counter[str]] = {}

    def claimed(self, rule: Rule, now_s: float) -> None:
        """Note that a rule is in force from now on."""
        self._claims[rule.id], self._began_s[rule.id] = rule, now_s

    def withdrawn(self, rule: str) -> None:
        """Note that a rule is in force no more."""
        self._claims.pop(rule, None)

    def count(self, link: Link, what: str, by: int = 1) -> None:
        """Add to a total of a link."""
        self.totals.setdefault(link, Counter())[what] += by

    def left(self, link: Link, size: int, arrived_s: float, now_s: float) -> None:
        """Note that bytes, or an event of size 0, have left on a link."""
        self.count(link, "bytes", size)
        for rule in self._claims.values():
            if rule.links is not None and link not in rule.links:
                continue
            match rule.action:
                case Cut() | Reset():
                    self._rules.count(rule.id, link, "crossed", max(size, 1))
                case Delay(seconds) if rule.probability == 1 and rule.times is None:
                    # A piece that had arrived before the rule was in force was never looked at by it.
                    if arrived_s >= self._began_s[rule.id] and now_s - arrived_s < seconds - _EARLY_S:
                        self._rules.count(rule.id, link, "early")
