"""Trace validation: a recorded run of real processes, replayed through the pure classes. A difference is an error.

```python
report = validate(folder)      # of a run whose nodes were traced, such as `consensus scorecard --trace` makes
report.differences             # the first message that is not what the pure class sends, and the like
```

Theory of operation
-------------------
Each node of such a run has noted what it took in, turn by turn (`harness.systems.traced_node`). The same input, in
the same order, is
given to `harness.virtual.node.VirtualNode`, the one that explorer and simulator use. So what the simulator has shown of a
class holds of the process, as far as this run goes.

A node's own note vouches for nothing by itself. It is compared with what others saw:

| of the note | with |
|---|---|
| what came in from each peer and from clients | what the proxy delivered on that link, one by one |
| what the pure class sends to each peer | what the proxy took in on that link, one by one: type, ballots, values, all |
| what the pure class answers | the replies that the proxy took in |
| that a timer ran out | whether the pure class had set it |
| what each boot found on the disk | what the pure class had committed before |
| what the disk holds in the end | what the pure class has |

and the proxy's record must have every line. Where a life ends, the last messages may be missing, as a process that is killed
takes along what it has not handed over yet; and the last turn may be committed or not.
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
    """Validate the run in `folder`.

    Raises:
        BadSpec, UnknownAlgorithm: the run's spec cannot be read, or its algorithm is not here any more.
    """
    report = Validation(folder)
    spec = open_spec(folder)
    if not RunFiles(folder).traces.is_dir():
        report.why_not = "its nodes were not traced: make it with --trace"
        return report
    algorithm = load_algorithm(spec.settings.algorithm)
    report.disk_broken = bool(_of_disks(folder))
    files = RunFiles(folder)
    wire = Wire(files.messages, report.differences, _lines_told(files))
    for node in spec.nodes:
        replica = Replica(spec.settings, algorithm, node, wire, report)
        replica.follow(files.trace(node))
        replica.compare_disk(spec.settings.directory(node))
        report.nodes += 1
    report.differences.sort()
    return report


def _of_disks(folder: Path) -> frozenset[str]:
    """The faults of this run that may have taken a disk away."""
    try:
        return names_of_families("disk") & {receipt.fault for receipt in receipts.load(RunFiles(folder).receipts)}
    except BadFile:
        return frozenset()


def _lines_told(files: RunFiles) -> int | None:
    """How many lines the record had, by the run's results."""
    try:
        return RunResults.load(files.results).counts.get("messages")
    except BadFile:
        return None
