"""The faults of limits and clocks. `harness.faults.catalogue` says how they are used.

Generated plans draw these faults only if they, or their family, are named.

In a run with a fault of the families "disk", "limit" or "clock", `Experiment` does not report the failures of nodes,
because such a fault may explain them.
"""

import resource
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

from cluster.errors import WrongState
from cluster.processes import NodeProcess, ProcessState
from harness.faults.active import ActiveFault, WatchedFault
from harness.faults.catalogue import fault
from harness.faults.disk_faults import draw_node_and
from harness.faults.target import Target, bring_up, choose_node
from node.contract import NodeId

_MIB: Final = 1024 * 1024
#: How far a measured clock may differ from its setting, in seconds. On a busy machine a status takes so long.
_TOLERANCE_S: Final = 0.5
#: How long to wait until the status of a node shows that its clock has jumped.
_JUMP_SEEN_S: Final = 5.0
_LOOK_EVERY_S: Final = 0.01


# --- limits -----------------------------------------------------------------------------------------------------------


@fault("memory-limit", "limit", draw=draw_node_and(spare_mib=lambda rng: rng.randint(1, 32)), weight=0)
def memory_limit(experiment: Target, rng: Random, *, node: NodeId | None = None, spare_mib: int = 8) -> ActiveFault:
    """Limit a node's memory; lift the limit at the heal.

    The heal restarts the node if it has died.

    Args:
        experiment: the target of the fault.
        rng: draws the node if `node` is None.
        node: the node to limit.
        spare_mib: how much more address space than now the node may use, in MiB.

    Observer: the kernel's table of the process's limits.
    Excuses: the node is down until it is up without the limit.
    """

    def limit(pid: int) -> int:
        (pages, *_) = Path(f"/proc/{pid}/statm").read_text().split()
        return int(pages) * resource.getpagesize() + spare_mib * _MIB

    chosen = choose_node(experiment, rng, node)
    return _set_limit(experiment, chosen, "memory-limit", resource.RLIMIT_AS, "Max address space", limit)


@fault("descriptor-limit", "limit", draw=draw_node_and(spare=lambda rng: rng.randint(0, 3)), weight=0)
def descriptor_limit(experiment: Target, rng: Random, *, node: NodeId | None = None, spare: int = 0) -> ActiveFault:
    """Limit a node's file descriptors; lift the limit at the heal.

    The heal restarts the node if it has died. `spare` is how many more files and sockets than now the node may open.
    The other arguments are those of `memory_limit`.

    Observer: the kernel's table of the process's limits.
    Excuses: the node is down until it is up without the limit.
    """

    def limit(pid: int) -> int:
        return max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()) + 1 + spare

    chosen = choose_node(experiment, rng, node)
    return _set_limit(experiment, chosen, "descriptor-limit", resource.RLIMIT_NOFILE, "Max open files", limit)


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
    end_claim = faults.claim([node])
    pid = faults.cluster.process(node).pid
    if pid is None:
        end_claim()
        raise WrongState(f"{node} is down: only a process that runs can have a limit")
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


# --- clocks -----------------------------------------------------------------------------------------------------------


@fault("clock-jump", "clock", draw=draw_node_and(seconds=lambda rng: rng.choice([1.0, 60.0, 3600.0])), weight=0)
def clock_jump(
    experiment: Target, rng: Random, *, node: NodeId | None = None, seconds: float = 60.0, back: bool = False
) -> ActiveFault:
    """Let a node's clock jump ahead, or back; the heal does not undo the jump.

    Args:
        experiment: the target of the fault.
        rng: draws the node if `node` is None.
        node: the node whose clock jumps.
        seconds: the size of the jump.
        back: jump back.

    Observer: the node's clock, as its status shows it.
    Excuses: the node is down until the heal, if its clock jumps back; otherwise nothing.
    """
    chosen = choose_node(experiment, rng, node)
    process = _running(experiment, chosen)
    receipt = experiment.faults.begin("clock-jump", nodes_down=[chosen] if back else [], node=chosen)
    jump_s = -seconds if back else seconds
    ahead = _ahead_s(experiment, chosen)
    process.steer_clock(process.clock.rate, process.clock.moved_s + jump_s)
    until = time.monotonic() + _JUMP_SEEN_S
    while not receipt.bit and time.monotonic() < until:
        receipt.evidence["jumped_s"] = round(_ahead_s(experiment, chosen) - ahead, 3)
        receipt.bit = abs(receipt.evidence["jumped_s"] - jump_s) < _TOLERANCE_S
        time.sleep(_LOOK_EVERY_S)
    return WatchedFault(receipt.end, lambda: receipt.bit)


@fault("clock-skew", "clock", draw=draw_node_and(rate=lambda rng: rng.choice([0.0, 0.5, 2.0, 10.0])), weight=0)
def clock_skew(experiment: Target, rng: Random, *, node: NodeId | None = None, rate: float = 2.0) -> ActiveFault:
    """Let a node's clock run fast or slow, or stand still; restore the true rate at the heal.

    Args:
        experiment: the target of the fault.
        rng: draws the node if `node` is None.
        node: the node whose clock is skewed.
        rate: seconds of the clock for each real second: 2 is fast, 0.5 is slow, 0 stands still.

    Observer: the node's clock, as its status shows it.
    Excuses: the node is down until the heal, if `rate` is below 1; otherwise nothing.
    """
    chosen = choose_node(experiment, rng, node)
    process = _running(experiment, chosen)
    receipt = experiment.faults.begin("clock-skew", nodes_down=[chosen] if rate < 1 else [], node=chosen)
    began_s, ahead = time.monotonic(), _ahead_s(experiment, chosen)
    process.steer_clock(rate, process.clock.moved_s)

    def has_bitten() -> bool:
        real_s = time.monotonic() - began_s
        gained_s = _ahead_s(experiment, chosen) - ahead
        receipt.evidence.update(real_s=round(real_s, 3), gained_s=round(gained_s, 3))
        expected_s = (rate - 1) * real_s
        return abs(gained_s) > abs(expected_s) / 2 and gained_s * expected_s > 0

    def end() -> None:
        receipt.bit = has_bitten()
        process.steer_clock(1.0, process.clock.moved_s)
        receipt.end()

    return WatchedFault(end, has_bitten)


def _running(experiment: Target, node: NodeId) -> NodeProcess:
    """Return the process of a node that runs. Raises WrongState."""
    process = experiment.cluster.process(node)
    if process.pid is None:
        raise WrongState(f"{node} is down: only the clock of a node that runs can be steered")
    return process


def _ahead_s(experiment: Target, node: NodeId) -> float:
    """Return how far the node's clock is ahead of this process's, in seconds, as the node's status shows it."""
    status = experiment.cluster.status().get(node)
    if status is None:
        return 0.0
    return float(status["clock_s"]) - time.monotonic()
