"""Trace validation: checks that real processes did in a recorded run what the pure classes do with the same input.

```python
report = validate(folder)      # a run with traced nodes, such as `consensus scorecard --trace` makes
report.differences             # for example the first message that the pure class does not send
```

Theory of operation
-------------------
Each node of such a run has recorded what it took in, turn by turn (`harness.systems.traced_node`). A `PureNode` takes in the
same input in the same order. It runs the node core that the explorer and the simulator run, so what they show of a class holds
for the processes of this run, too.

A node's own trace proves nothing by itself. So it is compared with what the proxy and the disks show:

| from the trace, or from the pure class | is compared with |
|---|---|
| what came in from each peer and from clients | what the proxy delivered on that link, in order |
| what the pure class sends to each peer | what the proxy took in on that link, in order, with all fields |
| what the pure class replies | the replies that the proxy took in |
| that a timer expired | whether the pure class had set the timer |
| what each boot found on the disk | what the pure class had committed before |
| what the disk holds in the end | what the pure class's disk holds |

Rules
-----
1. Any difference is an error. The proxy's record must be complete.
2. At the end of a life the last messages may be missing: a process that is killed loses what it has not handed to the kernel.
   For the same reason the last turn may be committed or not.
"""

from pathlib import Path

from cluster.spec import open_spec
from harness.faults.catalogue import names_of_families
from harness.records import receipts
from harness.records.jsonable import BadFile
from harness.records.results import RunResults
from harness.records.run_files import RunFiles
from harness.replay.trace_replica import Replica
from harness.replay.trace_report import Validation
from harness.replay.trace_wire import Wire
from node.algorithms import load_algorithm


def validate(folder: Path) -> Validation:
    """Validate the run in `folder`, and return the report.

    Raises:
        BadSpec: the run's spec cannot be read.
        UnknownAlgorithm: the run's algorithm does not exist any more.
    """
    report = Validation(folder)
    spec = open_spec(folder)
    if not RunFiles(folder).traces.is_dir():
        report.why_not = "its nodes were not traced: make it with --trace"
        return report
    algorithm = load_algorithm(spec.settings.algorithm)
    report.disk_broken = bool(_disk_faults(folder))
    files = RunFiles(folder)
    wire = Wire(files.messages, report.differences, _recorded_lines(files))
    for node in spec.nodes:
        replica = Replica(spec.settings, algorithm, node, wire, report)
        replica.follow(files.trace(node))
        replica.compare_disk(spec.settings.directory(node))
        report.nodes += 1
    report.differences.sort()
    return report


def _disk_faults(folder: Path) -> frozenset[str]:
    """Return the names of the run's faults that may have taken a disk away."""
    try:
        return names_of_families("disk") & {receipt.fault for receipt in receipts.load(RunFiles(folder).receipts)}
    except BadFile:
        return frozenset()


def _recorded_lines(files: RunFiles) -> int | None:
    """Return how many lines the proxy's record had according to the run's results, if they are there."""
    try:
        return RunResults.load(files.results).counts.get("messages")
    except BadFile:
        return None
