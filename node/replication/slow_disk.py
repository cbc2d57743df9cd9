"""When a leader hands over because its own disk is slow.

Theory of operation
-------------------
A leader works in one thread, so no put is faster than its own commits, however fast a quorum of the others is. The node reports
how long its commits take, if they take long (`LogAlgorithm.commit_took`), and each answer to a heartbeat carries what its sender
was told. A leader hands over if each of its last `slow_commits` commits was `slow_times` as long as a quorum **of the others**
takes to answer: a round trip, and a commit of their own. With fewer quick nodes a successor could be no faster.

Rules
-----
1. The successor is one of the quick nodes, so no node hands over to a slow one.
2. A disk may be slow because its node leads. Two such nodes could hand over to each other for ever. So a node leads for
   `slow_lead_beats` before it hands over, and after that it does not for `slow_pause_ticks` of its ticks. That pause doubles each
   time that the next hand-over follows within twice the pause, up to `slow_pause_ticks_max`.
"""

from node.tuning import SHIPPED, Tuning


class SlowDisk:
    """What one node knows of its own disk, and when it last handed over because of it."""

    def __init__(self, tuning: Tuning = SHIPPED) -> None:
        self._tuning = tuning
        self.commit_ms = 0  # how long the last commit took; 0 if no commit has been slow
        self.slow_commits = 0  # in a row
        self.not_before = 0  # at which tick it may hand over again
        self.pause_ticks = tuning.slow_pause_ticks

    def took(self, commit_ms: int, answers_ms: list[int], quorum: int) -> None:
        """Take in how long a commit took.

        Args:
            commit_ms: its duration, in milliseconds.
            answers_ms: how long each other voter takes to answer, in milliseconds. Empty if this node does not lead.
            quorum: how many voters are a quorum.
        """
        self.commit_ms = commit_ms
        quick = sum(self.is_quick(answer_ms) for answer_ms in answers_ms)
        self.slow_commits = self.slow_commits + 1 if commit_ms >= self._tuning.slow_commit_ms and quick >= quorum else 0

    def is_quick(self, answer_ms: int) -> bool:
        """Return whether a node that answers within `answer_ms` would be a better leader."""
        return answer_ms * self._tuning.slow_times <= self.commit_ms

    def hands_over(self, tick: int, beat: int) -> bool:
        """Return whether a leader hands over now: at its tick `tick`, and `beat` beats after it began to lead."""
        tuning = self._tuning
        is_slow = self.slow_commits >= tuning.slow_commits
        return is_slow and beat >= tuning.slow_lead_beats and tick >= self.not_before

    def handed_over(self, tick: int) -> None:
        """Note that this node has handed over because of its disk."""
        soon = self.not_before > 0 and tick < self.not_before + self.pause_ticks
        longer = min(2 * self.pause_ticks, self._tuning.slow_pause_ticks_max)
        self.pause_ticks = longer if soon else self._tuning.slow_pause_ticks
        self.not_before, self.slow_commits = tick + self.pause_ticks, 0
