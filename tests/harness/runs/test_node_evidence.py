"""What the receipts of a run, and its nodes' answers, show of its nodes."""

from types import SimpleNamespace
from typing import cast

import pytest

from cluster.cluster import Cluster
from cluster.processes import ProcessState
from harness.faults.disk_faults import WENT_ON
from harness.records.receipts import Receipt
from harness.runs import node_evidence
from harness.runs.node_evidence import nodes_that_went_on, silent_nodes


@pytest.mark.parametrize(
    ("evidence", "lines"),
    [
        ({WENT_ON: True, "disk": [{}], "ended": "still up"}, 1),
        ({"disk": [{}], "ended": "stopped with status 74"}, 0),
        ({"disk": [], "ended": "still up"}, 0),  # its disk had nothing to write
    ],
)
def test_a_node_that_goes_on_after_its_disk_has_failed_has_failed_itself(
    evidence: dict[str, object], lines: int
) -> None:
    found = nodes_that_went_on([Receipt("fail-sync", 1, 2, False, ("n2",), evidence=evidence)])
    assert lines == len(found)
    assert all(line.startswith("n2 went on after its disk had failed (fail-sync)") for line in found)


class SlowCluster:
    """One node, which answers the status request of this number, and waits for a processor as long as it says meanwhile."""

    def __init__(self, answers_at: int, waits_ns: int) -> None:
        self.nodes = ("n1",)
        self.asked, self._answers_at, self._waits_ns = 0, answers_at, waits_ns

    def status(self, _timeout_s: float) -> dict[str, object]:
        self.asked += 1
        return {"n1": {}} if self.asked >= self._answers_at else {}

    def state(self, _node: str) -> ProcessState:
        return ProcessState.UP

    def process(self, _node: str) -> SimpleNamespace:
        return SimpleNamespace(pid=1)

    def times_ns(self, _pid: int) -> tuple[int, int]:
        return 0, self.asked * self._waits_ns


@pytest.mark.parametrize(
    ("answers_at", "waits_ns", "asked", "silent"),
    [
        pytest.param(1, 0, 1, False, id="it answers"),
        pytest.param(9, 10**8, 1, True, id="it is silent, and has had its time"),
        pytest.param(3, 2 * 10**9, 3, False, id="others kept it from answering"),
        pytest.param(99, 2 * 10**9, 5, True, id="others kept it from answering, and not for ever"),
    ],
)
def test_a_node_is_silent_only_if_it_could_have_answered(
    answers_at: int, waits_ns: int, asked: int, silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = SlowCluster(answers_at, waits_ns)
    monkeypatch.setattr(node_evidence, "times_ns", cluster.times_ns)
    found = silent_nodes(cast(Cluster, cluster), 3.0)
    assert (cluster.asked, bool(found)) == (asked, silent)
