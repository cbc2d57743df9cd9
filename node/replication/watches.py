"""The watches that wait at a leader: questions that are answered when something changes.

Theory of operation
-------------------
A watch is kept under its topic (see `node/machine.py`). A change asks only the watches whose topic begins the topic of the
change: one look-up for each length of a topic that any watch has. So watches of other topics cost a change nothing, however
many there are.

A watch has a time, after which its client is answered that there is nothing new. A client that has watches open asks at
intervals, in one frame, whether they still wait here (`still_open`), and less often if there are very many clients. So a long
wait is not silence, a watch that was lost on its way is asked again, and a watch that its client has given up is dropped.

Rules
-----
1. A client's request is kept once: if it comes again, the later one replaces the former one.
2. A watch whose client has not asked for it for `watch_beats` ends as if its time were over. So the watches of clients
   that have vanished do not add up.
3. Watches live as long as the leadership, and are no part of the replicated state.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from node.contract import NodeId, Request
from node.machine import BEAT_MS
from node.tuning import SHIPPED, Tuning


class Waiter(NamedTuple):
    """A request that waits for an answer. `origin` is the peer that has forwarded it; None for a client of this node."""

    request: Request
    origin: NodeId | None = None


class Question(NamedTuple):
    """A frame of questions. A watch may wait for an answer until the beat `until_beat`.

    `seen` is the version of the machine up to which a watch has seen every change.
    """

    waiter: Waiter
    machine: str
    packed: bytes
    until_beat: int
    seen: int = 0


@dataclass(slots=True)
class _Watch:
    question: Question
    topic: str
    asked_beat: int
    """The beat at which its client has asked for it last."""
    unasked_beats: int
    """How many beats later it ends, if its client does not ask again."""
    is_open: bool = True

    @property
    def due_beat(self) -> int:
        return min(self.question.until_beat, self.asked_beat + self.unasked_beats)


class _Topics:
    """The watches of one machine by topic, and how many topics have which length."""

    def __init__(self) -> None:
        self.watches: dict[str, dict[Request, _Watch]] = {}
        self.lengths: dict[int, int] = {}

    def add(self, request: Request, watch: _Watch) -> None:
        if watch.topic not in self.watches:
            self.watches[watch.topic] = {}
            self.lengths[len(watch.topic)] = self.lengths.get(len(watch.topic), 0) + 1
        self.watches[watch.topic][request] = watch

    def drop(self, request: Request, topic: str) -> None:
        del self.watches[topic][request]
        if not self.watches[topic]:
            del self.watches[topic]
            self.lengths[len(topic)] -= 1
            if not self.lengths[len(topic)]:
                del self.lengths[len(topic)]

    def touched_by(self, changed: Iterable[str]) -> dict[str, None]:
        """Return the topics of watches that wait for a change of one of the topics `changed`."""
        beginnings = (topic[:length] for topic in changed for length in self.lengths if length <= len(topic))
        return {topic: None for topic in beginnings if topic in self.watches}


class Watches:
    """The watches of one leadership."""

    def __init__(self, tuning: Tuning = SHIPPED) -> None:
        self._unasked_beats, self._checks_per_s = tuning.watch_beats, tuning.watch_checks_per_s
        self._clients: dict[str, dict[int, _Watch]] = {}  # by client and number of the request
        self._topics: dict[str, _Topics] = {}  # by machine
        self._due: dict[int, list[_Watch]] = {}  # by beat; may also hold watches that are open no more
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def pause_ms(self) -> int:
        """How long a client waits at least before it asks again whether its watches still wait, in milliseconds.

        So the questions of very many clients cost a bounded share of the leader's time. No client asks so seldom that its
        watches end.
        """
        return min(len(self._clients) * 1000 // self._checks_per_s, self._unasked_beats * BEAT_MS // 2)

    def __iter__(self) -> Iterator[Question]:
        return (watch.question for watches in self._clients.values() for watch in watches.values())

    def add(self, question: Question, topic: str, beat: int) -> None:
        """Keep a watch until a change of `topic`, or until its time is over."""
        request = question.waiter.request
        self.drop(request)
        watch = _Watch(question, topic, beat, self._unasked_beats)
        self._clients.setdefault(request.client, {})[request.number] = watch
        self._topics.setdefault(question.machine, _Topics()).add(request, watch)
        self._due.setdefault(watch.due_beat, []).append(watch)
        self._count += 1

    def drop(self, request: Request) -> None:
        """Drop the watch of `request`, if there is one."""
        watches = self._clients.get(request.client, {})
        watch = watches.pop(request.number, None)
        if watch is None:
            return
        if not watches:
            del self._clients[request.client]
        watch.is_open = False
        self._topics[watch.question.machine].drop(request, watch.topic)
        self._count -= 1

    def take_changed(self, machine: str, changed: Mapping[str, None] | None) -> list[Question]:
        """Remove and return the watches that wait for one of the topics `changed`; None: all watches of the machine."""
        topics = self._topics.get(machine)
        if topics is None:
            return []
        touched = list(topics.watches) if changed is None else topics.touched_by(changed)
        return self._take([watch for topic in touched for watch in topics.watches[topic].values()])

    def take_due(self, beat: int) -> list[Question]:
        """Remove and return the watches whose time is over at `beat`. It is called for every beat."""
        due = []
        for watch in self._due.pop(beat, ()):
            if watch.is_open and watch.due_beat > beat:  # its client has asked for it meanwhile
                self._due.setdefault(watch.due_beat, []).append(watch)
            elif watch.is_open:
                due.append(watch)
        return self._take(due)

    def _take(self, watches: list[_Watch]) -> list[Question]:
        for watch in watches:
            self.drop(watch.question.waiter.request)
        return [watch.question for watch in watches]

    def take_given_up(self, request: Request, numbers: Iterable[int]) -> list[Question]:
        """Remove and return the watches that a client has given up: those before `request` whose numbers are not in `numbers`."""
        watches = self._clients.get(request.client, {})
        given_up = watches.keys() - set(numbers)
        return self._take([watches[number] for number in sorted(given_up) if number < request.number])

    def still_open(self, client: str, numbers: Iterable[int], beat: int) -> list[int]:
        """Take in at `beat` that a client asks whether some watches still wait here. Returns the numbers that are unknown."""
        watches = self._clients.get(client, {})
        unknown = []
        for number in numbers:
            if number in watches:
                watches[number].asked_beat = beat
            else:
                unknown.append(number)
        return unknown
