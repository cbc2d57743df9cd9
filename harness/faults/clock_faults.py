"""The faults of clocks: a jump, and a wrong rate. `harness.faults.catalogue` says how they are used.

No safety rests on a clock (`node/README.md`), so a wrong clock excuses nothing but timers that expire late. Leases are counted
by the leader's clock: where it runs fast, they may end so much earlier, which `harness.records.receipts.Timeline.lease_ns`
counts.
"""

import time
from random import Random
from typing import Final

from cluster.errors import WrongState
from cluster.processes import NodeProcess
from harness.faults.active import ActiveFault, WatchedFault
from harness.faults.catalogue import fault
from harness.faults.disk_faults import draw_node_and
from harness.faults.excuses import Excuse, Kind
from harness.faults.target import Target, choose_node
from harness.records.receipts import CLOCK_JUMPS, CLOCK_RATE
from node.contract import NodeId

#: How far a measured clock may differ from its setting, in seconds. On a busy machine a status takes so long.
_TOLERANCE_S: Final = 0.5
#: How long to wait until the status of a node shows that its clock has jumped.
_JUMP_SEEN_S: Final = 5.0
_LOOK_EVERY_S: Final = 0.01


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
    ahead = _ahead_s(experiment, chosen)
    process.steer_clock(process.clock.rate, process.clock.moved_s + jump_s)
    until = time.monotonic() + _JUMP_SEEN_S
    while not receipt.bit and time.monotonic() < until:
        receipt.evidence["jumped_s"] = round(_ahead_s(experiment, chosen) - ahead, 3)
        receipt.bit = abs(receipt.evidence["jumped_s"] - jump_s) < _TOLERANCE_S
        time.sleep(_LOOK_EVERY_S)
    return WatchedFault(receipt.end, lambda: receipt.bit)


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
    asked_s = time.monotonic()  # a node that is down makes the request last, after this node has answered
    status = experiment.cluster.status().get(node)
    return 0.0 if status is None else float(status["clock_s"]) - asked_s
