"""`RunByHand`: what a session by hand needs of its run, whether the nodes are ours (`Experiment`) or not (`SystemRun`)."""

from typing import Any, Protocol

from harness.faults.target import Target
from harness.records.history_recorder import HistoryRecorder
from harness.records.run_files import RunFiles


class RunByHand(Target, Protocol):
    """A run that has begun. It is a target of faults, and keeps a history and receipts."""

    seed: int
    notes: dict[str, Any]

    @property
    def files(self) -> RunFiles:
        """The files of the run folder."""

    @property
    def recorder(self) -> HistoryRecorder:
        """The recorder of the history."""

    @property
    def has_history(self) -> bool:
        """Whether the history was begun."""

    def save_receipts(self) -> None:
        """Write the receipts as they are now."""
