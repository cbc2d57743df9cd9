"""Measures what other programs on the machine take from a run, since a judge may not blame an algorithm for it.

Theory of operation
-------------------
The owner of a run rests by `rest` between two looks at its clients. A rest that takes much longer than it was to is a *stall*:
the machine did not run the harness. But a process that rests all the time gets a processor sooner than one that works. So the
watch also asks the kernel how long the proxy and each node were ready to run and did not (`/proc/PID/schedstat`, second number,
nanoseconds), four times a second.

A cluster that keeps all processors busy by itself makes its own processes wait. So of each wait only the share counts that other
programs had of all processor time meanwhile (`/proc/stat`).
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from harness.checkers.evidence import ProcessorWait, Stall

#: A rest that takes so much longer than it was to, in seconds, is a stall of the machine.
_STALL_S: Final = 0.05
_LOOK_EVERY_NS: Final = 250_000_000
#: The fields of a processor's line in `/proc/stat` in which it did nothing: idle and iowait.
_IDLE: Final = (3, 4)
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class MachineWatch:
    """What the machine took from one run."""

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        """Watch the processes that `pids` returns by name, besides this one."""
        self.stalls: list[Stall] = []
        self.waits: list[ProcessorWait] = []
        self._pids = pids
        self._looked_ns = 0
        self._busy_ns = 0
        self._before: dict[tuple[str, int], tuple[int, int]] = {}

    def rest(self, seconds: float) -> None:
        """Rest for a moment. Notes a stall if the machine makes it a long one."""
        began_ns = time.monotonic_ns()
        time.sleep(seconds)
        ended_ns = time.monotonic_ns()
        if ended_ns - began_ns > (seconds + _STALL_S) * 1e9:
            self.stalls.append(Stall(began_ns, ended_ns))
        if ended_ns - self._looked_ns > _LOOK_EVERY_NS:
            self._look(ended_ns)

    def notes(self) -> dict[str, Any]:
        """Return what a run's results say of it: stalls, and how long the proxy and the node that lost most waited in all."""
        said: dict[str, Any] = {}
        if self.stalls:
            longest_s = max(one.ended_ns - one.began_ns for one in self.stalls) / 1e9
            said["stalls of the machine"] = {"number": len(self.stalls), "longest_s": round(longest_s, 3)}
        lost = Counter[str]()
        for wait in self.waits:
            lost.update(wait.lost_ns)
        if lost:
            said["waits for a processor"] = {name: round(lost_ns / 1e9, 3) for name, lost_ns in sorted(lost.items())}
        return said

    def _look(self, now_ns: int) -> None:
        watched = {(name, pid): times for name, pid in self._pids().items() if (times := times_ns(pid)) is not None}
        busy_ns, own_ns = _busy_ns(), time.process_time_ns()
        waited: dict[str, int] = {}
        used_ns = own_ns - self._before.get(("", 0), (own_ns, 0))[0]
        for key, (ran_ns, waited_ns) in watched.items():
            before = self._before.get(key)
            if before is not None:
                used_ns += ran_ns - before[0]
                waited[key[0]] = waited_ns - before[1]
        if self._looked_ns and busy_ns > self._busy_ns:
            others = min(max(1 - used_ns / (busy_ns - self._busy_ns), 0.0), 1.0)
            lost = {name: int(wait_ns * others) for name, wait_ns in waited.items()}
            self.waits.append(ProcessorWait(self._looked_ns, now_ns, lost))
        self._looked_ns, self._busy_ns = now_ns, busy_ns
        self._before = {**watched, ("", 0): (own_ns, 0)}


def times_ns(pid: int) -> tuple[int, int] | None:
    """Return how long a process has run, and how long it has waited for a processor; None if it is gone or cannot say."""
    try:
        ran, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except (OSError, ValueError):
        return None
    return int(ran), int(waited)


def _busy_ns() -> int:
    """Return how long all processors have worked; 0 if the machine does not say."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return 0
    ticks = sum(int(field) for number, field in enumerate(fields) if number not in _IDLE)
    return ticks * 1_000_000_000 // _TICKS_PER_S
