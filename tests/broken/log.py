"""Replicated logs with one thing wrong, for tests of the suite: `module:Class` as an algorithm."""

from node.algorithms.multipaxos import MultiPaxos
from node.replication import sessions


class NoDedupe(MultiPaxos):
    """A frame that is sent again takes effect again."""

    def start(self) -> None:
        sessions.Sessions.admit = _admit_always  # type: ignore[method-assign]  # in a node's own process
        super().start()


def _admit_always(
    self: sessions.Sessions, number: int, sequence: int, done: int, time_ms: int
) -> sessions.ClientSession | str:
    return self._use(number, time_ms) or "session_expired"
