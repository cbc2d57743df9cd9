"""The workload "kafka": clients send messages to logs, poll them, and commit how far they have read.

A client polls from where it has come to, and sometimes begins again at the committed offset, or at the first. After the heal each
log is polled from its first offset until the last message that was acknowledged has come.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from cluster.clients.outcomes import Ok
from harness.checkers.call_judges import CALL_JUDGES
from harness.checkers.client_calls import as_checker
from harness.checkers.evidence import Checker
from harness.records.history import RecordedCall
from harness.workloads.planned_call import PlannedCall
from harness.workloads.system_workload import TIMEOUT_S, SystemWorkload
from node.contract import NodeId

_KEYS: Final = ("k1", "k2", "k3")
_WEIGHTS: Final = {"send": 50, "poll": 35, "commit_offsets": 8, "list_committed_offsets": 7}
_PROBABILITY_AGAIN: Final = 0.1
#: How many polls in a row read a log in the end at most: a node may return few messages at a time.
_ROUNDS_MAX: Final = 200


class MessageLogWorkload(SystemWorkload):
    """Calls on a few logs that all clients use. Values are unique."""

    name = "kafka"
    summary = "send messages to logs, poll them, commit offsets"
    functions = ("send", "poll")

    def __init__(self, nodes: tuple[NodeId, ...], seed: int, time_s: float, clients: int | None = None) -> None:
        super().__init__(nodes, seed, time_s, clients)
        self._sent = 0
        #: By client: the next offset of each log.
        self._next: list[dict[str, int]] = [dict.fromkeys(_KEYS, 0) for _ in range(self.clients)]
        #: The last offset that was acknowledged, and how far the last round has come.
        self._last: dict[str, int] = {}
        self._read: dict[str, int] = {}

    @property
    def judges(self) -> dict[str, Checker]:
        return {**super().judges, self.name: as_checker(CALL_JUDGES[self.name])}

    def next_call(self, client: int, now_s: float) -> PlannedCall:
        rng = self._rngs[client]
        (f,) = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
        key, node = rng.choice(_KEYS), rng.choice(self.nodes)
        value: Any = None
        if rng.random() < _PROBABILITY_AGAIN:
            self._next[client][key] = 0
        done = {key: offset - 1 for key, offset in self._next[client].items() if offset > 0}
        match f:
            case "send":
                self._sent += 1
                value = [key, self._sent]
            case "commit_offsets" if done:
                value = done
            case "list_committed_offsets":
                value = list(_KEYS)
            case _:
                f, value = "poll", dict(self._next[client])
        return PlannedCall(f, "", value, node, TIMEOUT_S)

    def ended(self, callers: object, client: int, call: PlannedCall, outcome: object) -> None:
        if call.f == "poll" and isinstance(outcome, Ok):
            for key, offset in _ends(outcome.value).items():
                if key in self._next[client]:
                    self._next[client][key] = offset + 1

    def before_last_round(self, calls: Sequence[RecordedCall]) -> None:
        for call in calls:
            if call.f == "send" and isinstance(call.answer, int) and isinstance(call.invoke.value, list):
                key = call.invoke.value[0]
                self._last[key] = max(call.answer, self._last.get(key, 0))

    def final_calls(self) -> Iterator[tuple[PlannedCall, ...]]:
        self._read = dict.fromkeys(self._last, 0)
        for _ in range(_ROUNDS_MAX):
            left = {key: offset for key, offset in self._read.items() if offset <= self._last[key]}
            if not left:
                break
            before = dict(self._read)
            yield tuple(PlannedCall("poll", "", {key: offset}, None, TIMEOUT_S) for key, offset in left.items())
            if self._read == before:
                break  # the nodes have no more, although more was acknowledged
        yield (PlannedCall("list_committed_offsets", "", list(_KEYS), None, TIMEOUT_S),)

    def is_final(self, call: PlannedCall, outcome: object) -> bool:
        if call.f != "poll" or not isinstance(outcome, Ok):
            return isinstance(outcome, Ok)
        assert isinstance(call.value, dict)
        ends = _ends(outcome.value)
        for key, offset in ends.items():
            if key in self._read:
                self._read[key] = max(self._read[key], offset + 1)
        return all(key in ends for key in call.value)


def _ends(answer: Any) -> dict[str, int]:
    """Return the last offset of each log in the answer to a poll, as far as it can be read."""
    ends: dict[str, int] = {}
    for key, messages in answer.items():
        for one in messages if isinstance(messages, list) else ():
            match one:
                case [int(offset), *_]:
                    ends[key] = max(offset, ends.get(key, 0))
    return ends
