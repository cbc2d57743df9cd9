"""Limits and clocks, by name: see `harness.faults.catalogue` for how they are used.

The observers: the kernel's table of a process's limits, and the node's own clock, of which its status tells. A clock can be
steered if the nodes were started with one: `Experiment(folder, ..., command=steered(folder))`. Generated plans draw these
only if they are named. A node under a limit, or whose clock loses time, is not counted on meanwhile.
"""

import resource
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

from cluster.errors import WrongState
from cluster.processes import NODE_COMMAND, ProcessState
from harness.faults.catalogue import BadFault, fault
from harness.faults.disk_faults import DiskFault, draws, one_node
from harness.faults.injector import ActiveFault
from harness.faults.process_faults import bring_back
from harness.faults.target import Target
from node.clock import steer
from node.contract import NodeId

_MIB: Final = 1024 * 1024
#: How far a measured clock may be from what it was told, in seconds: what a status takes on a busy machine.
_NEAR_S: Final = 0.5
_SEEN_S: Final = 5.0
_LOOK_EVERY_S: Final = 0.01


def steered(folder: Path) -> tuple[str, ...]:
    """What starts a node whose clock can be steered. `folder` is the experiment's."""
    return (*NODE_COMMAND, "--clock", str(folder / "clocks"))


# --- limits -----------------------------------------------------------------------------------------------------------


@fault("memory-limit", "limit", draw=draws(spare_mib=lambda rng: rng.randint(1, 32)), weight=0)
def memory_limit(experiment: Target, rng: Random, *, node: NodeId | None = None, spare_mib: int = 8) -> ActiveFault:
    """The node may have this much more memory than it has now; lifted, and started again if it died, when it heals."""

    def limit(pid: int) -> int:
        (pages, *_) = Path(f"/proc/{pid}/statm").read_text().split()
        return int(pages) * resource.getpagesize() + spare_mib * _MIB

    chosen = one_node(experiment, rng, node)
    return _limited(experiment, chosen, "memory-limit", resource.RLIMIT_AS, "Max address space", limit)


@fault("descriptor-limit", "limit", draw=draws(spare=lambda rng: rng.randint(0, 3)), weight=0)
def descriptor_limit(experiment: Target, rng: Random, *, node: NodeId | None = None, spare: int = 0) -> ActiveFault:
    """The node may open this many more files and sockets than it has; lifted, and started again if it died, when it heals."""

    def limit(pid: int) -> int:
        return max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()) + 1 + spare

    chosen = one_node(experiment, rng, node)
    return _limited(experiment, chosen, "descriptor-limit", resource.RLIMIT_NOFILE, "Max open files", limit)


def _limited(
    experiment: Target, node: NodeId, name: str, which: int, row: str, limit: Callable[[int], int]
) -> ActiveFault:
    faults = experiment.faults
    give_back = faults.claim([node])
    pid = faults.cluster.process(node).pid
    if pid is None:
        give_back()
        raise WrongState(f"{node} is down, and only a process that runs can be limited")
    paper = faults.begin(name, nodes_down=[node])
    before, hard = resource.prlimit(pid, which)
    wanted = limit(pid)
    resource.prlimit(pid, which, (wanted, hard))
    table = Path(f"/proc/{pid}/limits").read_text()
    (told,) = (line for line in table.splitlines() if line.startswith(row))
    paper.evidence["kernel"] = " ".join(told.split())
    paper.bit = str(wanted) in told.split()

    def end() -> None:
        try:
            process = faults.cluster.process(node)
            if process.look() is ProcessState.DOWN:
                paper.evidence["ended"] = process.ended
            else:
                paper.evidence["ended"] = "still up"
                resource.prlimit(pid, which, (before, hard))
            bring_back(faults, [node])
            paper.end()
        finally:
            give_back()

    return DiskFault(end, lambda: paper.bit)


# --- clocks -----------------------------------------------------------------------------------------------------------


@fault("clock-jump", "clock", draw=draws(seconds=lambda rng: rng.choice([1.0, 60.0, 3600.0])), weight=0)
def clock_jump(
    experiment: Target, rng: Random, *, node: NodeId | None = None, seconds: float = 60.0, back: bool = False
) -> ActiveFault:
    """The node's clock jumps ahead, or back. It stays there; what a clock has jumped, nothing heals."""
    chosen = one_node(experiment, rng, node)
    path = _clock(experiment, chosen)
    paper = experiment.faults.begin("clock-jump", nodes_down=[chosen] if back else [], node=chosen)
    wanted = -seconds if back else seconds
    rate, moved_s = _steered_to(path)
    ahead = _ahead_s(experiment, chosen)
    steer(path, rate, moved_s + wanted)
    until = time.monotonic() + _SEEN_S
    while not paper.bit and time.monotonic() < until:
        paper.evidence["jumped_s"] = round(_ahead_s(experiment, chosen) - ahead, 3)  # as the node's own status shows
        paper.bit = abs(paper.evidence["jumped_s"] - wanted) < _NEAR_S
        time.sleep(_LOOK_EVERY_S)
    return DiskFault(paper.end, lambda: paper.bit)


@fault("clock-skew", "clock", draw=draws(rate=lambda rng: rng.choice([0.0, 0.5, 2.0, 10.0])), weight=0)
def clock_skew(experiment: Target, rng: Random, *, node: NodeId | None = None, rate: float = 2.0) -> ActiveFault:
    """The node's clock runs at this many seconds a second: 2 is fast, 0.5 slow, 0 stands still. True again when it heals."""
    chosen = one_node(experiment, rng, node)
    path = _clock(experiment, chosen)
    paper = experiment.faults.begin("clock-skew", nodes_down=[chosen] if rate < 1 else [], node=chosen)
    began_s, ahead = time.monotonic(), _ahead_s(experiment, chosen)
    _, moved_s = _steered_to(path)
    steer(path, rate, moved_s)

    def has_bitten() -> bool:
        real_s = time.monotonic() - began_s
        gained_s = _ahead_s(experiment, chosen) - ahead
        paper.evidence.update(real_s=round(real_s, 3), gained_s=round(gained_s, 3))
        expected_s = (rate - 1) * real_s
        return abs(gained_s) > abs(expected_s) / 2 and gained_s * expected_s > 0

    def end() -> None:
        paper.bit = has_bitten()
        steer(path, 1.0, moved_s)
        paper.end()

    return DiskFault(end, has_bitten)


def _clock(experiment: Target, node: NodeId) -> Path:
    pid = experiment.cluster.process(node).pid
    if pid is None:
        raise WrongState(f"{node} is down, and only a clock of a node that runs can be steered")
    command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    if b"--clock" not in command:
        raise BadFault(
            f"the clock of {node} cannot be steered: start the cluster with `consensus up --prepare clock`, or run the "
            "experiment with command=steered(folder)"
        )
    return Path(command[command.index(b"--clock") + 1].decode()) / node


def _steered_to(path: Path) -> tuple[float, float]:
    rate, moved_s = path.read_text().split() if path.exists() else ("1", "0")
    return float(rate), float(moved_s)


def _ahead_s(experiment: Target, node: NodeId) -> float:
    """How far the node's clock is ahead of ours, as its status says."""
    status = experiment.cluster.status().get(node)
    if status is None:
        return 0.0
    return float(status["clock_s"]) - time.monotonic()
