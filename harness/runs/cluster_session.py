"""A session by hand on a cluster of our own nodes: its plan, and its verdicts at the end.

Rules
-----
1. The run is judged if the session shows everything. Disks that were written before it, or members that came or went, would make
   a judge see answers without their proposals. Then the results say why there are no verdicts.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.checkers.durability import durability
from harness.checkers.evidence import RunEvidence
from harness.checkers.invariants import invariants
from harness.checkers.linearizable import linearizable
from harness.checkers.models import KvModel
from harness.checkers.properties import PROPERTIES, contract_verdict
from harness.checkers.verdict import Verdict
from harness.records.run_folders import NOT_JUDGED
from harness.runs.experiment import Experiment
from harness.runs.plan import Plan
from harness.runs.session import HandSession
from node.contract import NodeId
from node.launcher import EXIT_INTERNAL


class ClusterSession(HandSession):
    """What the supervisor does for the command line. `run` has begun; it ends after `close`."""

    _run: Experiment

    def __init__(self, run: Experiment, *, had_past: bool) -> None:
        """Begin a session on `run`. `had_past`: the disks were written before it."""
        super().__init__(run)
        self._had_past, self._has_programs = had_past, False

    def verbs(self) -> dict[str, Callable[..., Any]]:
        return {**super().verbs(), "program_joined": self.program_joined}

    def program_joined(self) -> None:
        """Note that a program of the user has joined the cluster. Its calls are not recorded."""
        self._has_programs = True

    def _failed(self, node: NodeId) -> bool:
        return f"status {EXIT_INTERNAL}" in self._run.cluster.process(node).ended

    def _plan(self) -> Plan:
        functions = {event.f for event in self._run.recorder.history.events}
        return self._steps.plan(self._run.spec.settings, functions)

    def judge(self, members: tuple[NodeId, ...]) -> Path | None:
        """Judge the run and write the results. Call it after the run's end.

        Args:
            members: the members at the end.

        Returns:
            The run folder; None if the session had neither a call nor a fault.
        """
        if not self._run.has_history:
            return None
        verdicts: dict[str, Verdict] = {}
        if self._unrecorded:
            self._run.notes[NOT_JUDGED] = f"calls were not recorded: {self._unrecorded}"
        elif self._has_programs:
            self._run.notes[NOT_JUDGED] = (
                "a program that has joined the cluster made calls of its own, which are not recorded"
            )
        elif self._had_past:
            self._run.notes[NOT_JUDGED] = "the disks were written before this session, so it shows only a part"
        elif members != self._run.spec.nodes:
            self._run.notes[NOT_JUDGED] = "members came or went"
        else:
            evidence = self._run.evidence(faults_expected=False)
            verdicts = session_verdicts(evidence, has_messages=self._run.records_messages)
        self._run.save_results(verdicts, by_hand=True)
        return self._run.folder


def session_verdicts(run: RunEvidence, *, has_messages: bool) -> dict[str, Verdict]:
    """Return the verdicts that a session's evidence allows. `has_messages`: its messages were recorded."""
    verdicts = contract_verdict(run)
    if run.operations:
        verdicts |= {name: judge(run) for name, judge in PROPERTIES.items()}
        verdicts["linearizability"] = linearizable(run)
    if len(run.operations) < len(run.calls):
        verdicts["linearizability of keys"] = linearizable(run, KvModel())
    if has_messages:
        verdicts["invariants"] = invariants(run)
    return {**verdicts, "durability": durability(run)}
