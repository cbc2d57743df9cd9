"""The faults of limits: memory, descriptors, and the size of files. `harness.faults.catalogue` says how they are used.

Generated plans draw these faults only if they, or their family, are named. Any error of their own nodes is excused.
"""

import resource
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

from cluster.processes import ProcessState
from harness.faults.active import ActiveFault, WatchedFault
from harness.faults.catalogue import fault
from harness.faults.disk_faults import draw_node_and
from harness.faults.excuses import Excuse, Kind
from harness.faults.target import Target, bring_up, choose_node
from node.contract import NodeId

_MIB: Final = 1024 * 1024


@fault(
    "memory-limit",
    "limit",
    Excuse(Kind.DOWN, "a node may end for want of memory", fails="any line may want memory"),
    draw=draw_node_and(spare_mib=lambda rng: rng.randint(1, 32)),
    weight=0,
)
def memory_limit(experiment: Target, rng: Random, *, node: NodeId | None = None, spare_mib: int = 8) -> ActiveFault:
    """Limit a node's memory; lift the limit at the heal.

    The heal restarts the node if it has died.

    Args:
        experiment: the target of the fault.
        rng: draws the node if `node` is None.
        node: the node to limit.
        spare_mib: how much more address space than now the node may use, in MiB.

    Observer: the kernel's table of the process's limits.
    """

    def limit(pid: int) -> int:
        (pages, *_) = Path(f"/proc/{pid}/statm").read_text().split()
        return int(pages) * resource.getpagesize() + spare_mib * _MIB

    chosen = choose_node(experiment, rng, node)
    return _set_limit(experiment, chosen, "memory-limit", resource.RLIMIT_AS, "Max address space", limit)


@fault(
    "descriptor-limit",
    "limit",
    Excuse(Kind.DOWN, "a node may accept no connection", fails="any line may open a file or a socket"),
    draw=draw_node_and(spare=lambda rng: rng.randint(0, 3)),
    weight=0,
)
def descriptor_limit(experiment: Target, rng: Random, *, node: NodeId | None = None, spare: int = 0) -> ActiveFault:
    """Limit a node's file descriptors; lift the limit at the heal.

    The heal restarts the node if it has died. `spare` is how many more files and sockets than now the node may open.
    The other arguments are those of `memory_limit`.

    Observer: the kernel's table of the process's limits.
    """

    def limit(pid: int) -> int:
        return max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()) + 1 + spare

    chosen = choose_node(experiment, rng, node)
    return _set_limit(experiment, chosen, "descriptor-limit", resource.RLIMIT_NOFILE, "Max open files", limit)


@fault(
    "file-limit",
    "limit",
    Excuse(Kind.DOWN, "a node may save nothing", fails="any line may write a file"),
    draw=draw_node_and(most_bytes=lambda rng: rng.choice((0, 4_096, 65_536))),
    weight=0,
)
def file_limit(experiment: Target, rng: Random, *, node: NodeId | None = None, most_bytes: int = 0) -> ActiveFault:
    """Let a node write no file beyond a position, as if the disk were full; lift the limit at the heal.

    A write beyond fails with EFBIG, and with 0 every write of a file does; a full disk gives ENOSPC, which needs root or
    our disk. The kernel also sends SIGXFSZ, which ends a process that does not ignore it as Python does. The heal restarts
    the node if it has died. `most_bytes` is the position. The other arguments are those of `memory_limit`.

    Observer: the kernel's table of the process's limits.
    """
    chosen = choose_node(experiment, rng, node)
    return _set_limit(experiment, chosen, "file-limit", resource.RLIMIT_FSIZE, "Max file size", lambda _pid: most_bytes)


def _set_limit(
    experiment: Target, node: NodeId, name: str, which: int, row: str, limit: Callable[[int], int]
) -> ActiveFault:
    """Set a limit of a node's process.

    Args:
        experiment: the target of the fault.
        node: the node to limit.
        name: the name of the fault.
        which: the limit, such as `resource.RLIMIT_AS`.
        row: the beginning of the limit's line in `/proc/PID/limits`.
        limit: returns the new limit, given the id of the process.
    """
    faults = experiment.faults
    end_claim = faults.claim(name, [node])
    pid = faults.cluster.process(node).pid
    assert pid is not None  # a claimed process runs
    receipt = faults.begin(name, nodes_down=[node])
    before, hard = resource.prlimit(pid, which)
    new = limit(pid)
    resource.prlimit(pid, which, (new, hard))
    table = Path(f"/proc/{pid}/limits").read_text()
    (line,) = (line for line in table.splitlines() if line.startswith(row))
    receipt.evidence["kernel"] = " ".join(line.split())
    receipt.bit = str(new) in line.split()

    def end() -> None:
        try:
            process = faults.cluster.process(node)
            if process.look() is ProcessState.DOWN:
                receipt.evidence["ended"] = process.ended
            else:
                receipt.evidence["ended"] = "still up"
                resource.prlimit(pid, which, (before, hard))
            bring_up(faults, [node])
            receipt.end()
        finally:
            end_claim()

    return WatchedFault(end, lambda: receipt.bit)
