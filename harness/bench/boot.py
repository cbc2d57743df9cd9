"""Boot: measures how long a cluster takes from its launch to its first decision.

The floor is the same number of Python processes, started in the same way at the same time. Each reports that it runs, and does
nothing else.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cluster.cluster import Cluster
from cluster.spawning import READY_S, spawn

#: A process that reports that it is ready, and ends.
_BARE: Final = "import os, sys; os.write(int(sys.argv[sys.argv.index('--ready-fd') + 1]), b'{}\\n')"


def boot(nodes: int, algorithm: str, rounds: int, progress: Callable[[int], None]) -> dict[str, object]:
    """Boot a cluster several times, each time after the floor.

    Args:
        nodes: how many nodes the cluster has.
        algorithm: the algorithm that they run.
        rounds: how often to boot.
        progress: called with the number of rounds that are done.

    Returns:
        The row of figures. Times are medians in seconds, except where the name says otherwise.

    Raises:
        BootFailed: a cluster did not start.
    """
    decided, ready, floor = [], [], []
    for done in range(rounds):
        floor.append(_bare_processes_s(nodes))
        started = time.perf_counter()
        with Cluster(nodes=nodes, algorithm=algorithm) as cluster:
            ready.append(time.perf_counter() - started)
            cluster.propose("first", done)
            decided.append(time.perf_counter() - started)
        progress(done + 1)
    return {
        "nodes": nodes,
        "algorithm": algorithm,
        "rounds": rounds,
        "first_decision_s": statistics.median(decided),
        "first_decision_s_max": max(decided),
        "all_ready_s": statistics.median(ready),
        "floor_s": statistics.median(floor),
        "ratio": statistics.median(decided) / statistics.median(floor),
    }


def _bare_processes_s(count: int) -> float:
    """Return how many seconds it takes until `count` bare processes have reported that they run."""
    with TemporaryDirectory(prefix="consensus-bench-") as folder:
        started = time.perf_counter()
        children = [spawn([sys.executable, "-P", "-c", _BARE], Path(folder) / "log") for _ in range(count)]
        for _, pipe in children:
            pipe.wait("a bare process", time.monotonic() + READY_S)
        took_s = time.perf_counter() - started
        for popen, _ in children:
            popen.communicate()
        return took_s
