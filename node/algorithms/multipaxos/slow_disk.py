"""When a leader hands over because its own disk is slow.

Theory of operation
-------------------
A leader works in one thread, so no put is faster than its own commits, however fast a quorum of the others is. The node reports
how long its commits take, if they take long (`LogAlgorithm.commit_took`), and each answer to a heartbeat carries what its sender
was told. A leader hands over if each of its last `_COMMITS` commits was `_TIMES` as long as a quorum **of the others** takes to
answer: a round trip, and a commit of their own. With fewer quick nodes a successor could be no faster.

Rules
-----
1. The successor is one of the quick nodes, so no node hands over to a slow one.
2. A disk may be slow because its node leads. Two such nodes could hand over to each other for ever. So a node leads for
   `_LEAD_BEATS` before it hands over, and after that it does not for `_PAUSE_TICKS` of its ticks. That pause doubles each time
   that the next hand-over follows within twice the pause, up to `_PAUSE_TICKS_MAX`.
"""

from typing import Final

#: A shorter commit is not slow: a busy machine may take so long, in milliseconds.
_SLOW_MS: Final = 50
_TIMES: Final = 4
_COMMITS: Final = 5
_LEAD_BEATS: Final = 20
_PAUSE_TICKS: Final = 400  # half a minute
_PAUSE_TICKS_MAX: Final = 6400


class SlowDisk:
    """What one node knows of its own disk, and when it last handed over because of it."""

    def __init__(self) -> None:
        self.commit_ms = 0  # how long the last commit took; 0 if no commit has been slow
        self.slow_commits = 0  # in a row
        self.not_before = 0  # at which tick it may hand over again
        self.pause_ticks = _PAUSE_TICKS

    def took(self, commit_ms: int, answers_ms: list[int], quorum: int) -> None:
        """Take in how long a commit took.

        Args:
            commit_ms: its duration, in milliseconds.
            answers_ms: how long each other voter takes to answer, in milliseconds. Empty if this node does not lead.
            quorum: how many voters are a quorum.
        """
        self.commit_ms = commit_ms
        quick = sum(self.is_quick(answer_ms) for answer_ms in answers_ms)
        self.slow_commits = self.slow_commits + 1 if commit_ms >= _SLOW_MS and quick >= quorum else 0

    def is_quick(self, answer_ms: int) -> bool:
        """Return whether a node that answers within `answer_ms` would be a better leader."""
        return answer_ms * _TIMES <= self.commit_ms

    def hands_over(self, tick: int, beat: int) -> bool:
        """Return whether a leader hands over now: at its tick `tick`, and `beat` beats after it began to lead."""
        return self.slow_commits >= _COMMITS and beat >= _LEAD_BEATS and tick >= self.not_before

    def handed_over(self, tick: int) -> None:
        """Note that this node has handed over because of its disk."""
        soon = self.not_before > 0 and tick < self.not_before + self.pause_ticks
        self.pause_ticks = min(2 * self.pause_ticks, _PAUSE_TICKS_MAX) if soon else _PAUSE_TICKS
        self.not_before, self.slow_commits = tick + self.pause_ticks, 0
