"""What the receipts of a run show of its nodes."""

import pytest

from harness.faults.disk_faults import WENT_ON
from harness.records.receipts import Receipt
from harness.runs.node_evidence import nodes_that_went_on


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
