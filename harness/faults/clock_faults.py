"""The faults of clocks: a jump, and a wrong rate. `harness.faults.catalogue` says how they are used.

No safety rests on a clock (`node/README.md`), so a wrong clock excuses nothing but timers that expire late. Leases are counted
by the leader's clock: where it runs fast, they may end so much earlier, which `harness.records.receipts.Timeline.lease_ns`
counts.
"""

import threading
import time
from random import Random
from typing import Final, NamedTuple

from cluster.errors import WrongState
from cluster.processes import NodeProcess
from harness.faults.active import ActiveFault, RepeatingFault, WatchedFault
from harness.faults.catalogue import fault
from harness.faults.disk_faults import draw_node_and
from harness.faults.excuses import Excuse, Kind
from harness.faults.target import Target, choose_node, own_cluster
from harness.records.receipts import CLOCK_JUMPS, CLOCK_RATE
from node.contract import NodeId

#: How long to wait until the status of a node shows that its clock has jumped.
_JUMP_SEEN_S: Final = 5.0
_LOOK_EVERY_S: Final = 0.01
_SKEW_LOOK_EVERY_S: Final = 0.1


@fault(
    "clock-jump",
    "clock",
    Excuse(Kind.DOWN, "if it jumps back, no timer expires for so long; else nothing"),
    draw=draw_node_and(seconds=lambda rng: rng.choice([1.0, 60.0, 3600.0])),
)
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
    """
    chosen = choose_node(experiment, rng, node)
    process = _running(experiment, chosen)
    receipt = experiment.faults.begin("clock-jump", nodes_down=[chosen] if back else [], node=chosen)
    receipt.evidence[CLOCK_JUMPS] = not back
    jump_s = -seconds if back else seconds
    watch = _ClockWatch(experiment, chosen)
    process.steer_clock(process.clock.rate, process.clock.moved_s + jump_s)

    def has_bitten() -> bool:
        if not receipt.bit and (gained := watch.gained()) is not None:
            receipt.evidence["jumped_s"] = round(gained.about_s, 3)
            receipt.bit = gained.least_s > jump_s / 2 if jump_s > 0 else gained.most_s < jump_s / 2
        return receipt.bit

    until = time.monotonic() + _JUMP_SEEN_S
    while not has_bitten() and time.monotonic() < until:
        time.sleep(_LOOK_EVERY_S)
    return WatchedFault(receipt.end, has_bitten)


@fault(
    "clock-skew",
    "clock",
    Excuse(Kind.DOWN, "if it is slow, timers expire late or never; else nothing"),
    draw=draw_node_and(rate=lambda rng: rng.choice([0.0, 0.5, 2.0, 10.0])),
    weight=2,
)
def clock_skew(experiment: Target, rng: Random, *, node: NodeId | None = None, rate: float = 2.0) -> ActiveFault:
    """Let a node's clock run fast or slow, or stand still; restore the true rate at the heal.

    Args:
        experiment: the target of the fault.
        rng: draws the node if `node` is None.
        node: the node whose clock is skewed.
        rate: seconds of the clock for each real second: 2 is fast, 0.5 is slow, 0 stands still.

    Observer: the node's clock, as its status shows it.
    """
    chosen = choose_node(experiment, rng, node)
    process = _running(experiment, chosen)
    receipt = experiment.faults.begin("clock-skew", nodes_down=[chosen] if rate < 1 else [], node=chosen)
    receipt.evidence[CLOCK_RATE] = rate
    began_s, watch = time.monotonic(), _ClockWatch(experiment, chosen)
    process.steer_clock(rate, process.clock.moved_s)

    def has_bitten() -> bool:
        if not receipt.bit and (gained := watch.gained()) is not None:
            receipt.evidence.update(real_s=round(time.monotonic() - began_s, 3), gained_s=round(gained.about_s, 3))
            receipt.bit = gained.least_s > 0 if rate > 1 else gained.most_s < 0
        return receipt.bit

    def look(healing: threading.Event) -> None:  # all the time: another fault may end the node before the heal
        healing.wait(None if has_bitten() else _SKEW_LOOK_EVERY_S)

    def end() -> None:
        has_bitten()
        process.steer_clock(1.0, process.clock.moved_s)
        receipt.end()

    return RepeatingFault(look, end, has_bitten)


def _running(experiment: Target, node: NodeId) -> NodeProcess:
    """Return the process of a node that runs. Raises WrongState."""
    process = own_cluster(experiment).process(node)
    if process.pid is None:
        raise WrongState(f"{node} is down: only the clock of a node that runs can be steered")
    return process


class _Bounds(NamedTuple):
    """A difference of two clocks, in seconds: the node's clock was read while its status was under way."""

    least_s: float
    most_s: float

    @property
    def about_s(self) -> float:
        """The middle."""
        return (self.least_s + self.most_s) / 2


class _ClockWatch:
    """Measures what a node's clock has gained on this process's since the watch was made, as the node's status shows it."""

    def __init__(self, experiment: Target, node: NodeId) -> None:
        self._experiment, self._node = experiment, node
        self._first: tuple[int, _Bounds] | None = None
        self._first = self._look()

    def _look(self) -> tuple[int, _Bounds] | None:
        """Return the node's incarnation and how far its clock is ahead; None if it does not reply."""
        asked_s = time.monotonic()
        status = own_cluster(self._experiment).status(nodes=[self._node]).get(self._node)
        answered_s = time.monotonic()
        if status is None:
            return None
        clock_s = float(status["clock_s"])
        return int(status["incarnation"]), _Bounds(clock_s - answered_s, clock_s - asked_s)

    def gained(self) -> _Bounds | None:
        """Return what the clock has gained; None if that is not known, such as of a node that was down in the beginning."""
        now = self._look()
        if now is None:
            return None
        if self._first is None or self._first[0] != now[0]:
            self._first = now  # a node that starts anew has lost what it had gained
            return None
        before = self._first[1]
        return _Bounds(now[1].least_s - before.most_s, now[1].most_s - before.least_s)
