"""The faults of processes, by name: see `harness.faults.catalogue` for how they are used.

Every one ends with the node up again, on its own disk, whatever became of it meanwhile. The receipts' observers are the
kernel (wait status, process table) and the node's own disk (its next incarnation).
"""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from cluster.errors import BootFailed, ConsensusError, FaultFailed
from cluster.processes import ProcessState
from harness.faults.catalogue import DrawnArguments, FaultBudget, fault
from harness.faults.injector import ActiveFault, EndsOnHeal, Faults
from harness.faults.target import Target
from harness.faults.trigger import MessageTrigger
from node.contract import NodeId

_PROOF_TRIES: Final = 6
#: From the start of a node's process to its being ready, on the slowest machine that matters: tries begin below it.
_RECOVERY_S: Final = 0.12


class Cycle(EndsOnHeal):
    """A fault that goes on by itself, in a thread, until it is healed.

    `turn` is called again and again, with the event that asks it to come to its end; `end` when it has.
    """

    def __init__(
        self,
        turn: Callable[[threading.Event], None],
        end: Callable[[], None],
        has_bitten: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(self._stop)
        self._turn, self._at_end = turn, end
        self.has_bitten = has_bitten
        self._over = threading.Event()
        self._error: ConsensusError | None = None
        self._thread = threading.Thread(target=self._run, name="cycle", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                self._turn(self._over)
        except ConsensusError as error:
            self._error = error

    def _stop(self) -> None:
        self._over.set()
        self._thread.join()
        self._at_end()
        if self._error is not None:
            raise self._error


def resolve(experiment: Target, rng: Random, nodes: Sequence[NodeId] | None) -> tuple[NodeId, ...]:
    """These nodes, `leader` being whoever leads now; one at random if there are none."""
    if nodes is None:
        return (rng.choice(experiment.nodes),)
    named = (experiment.faults.leader() if node == "leader" else node for node in nodes)
    return tuple(dict.fromkeys(named))


def bring_back(faults: Faults, nodes: Sequence[NodeId]) -> None:
    """Have these nodes up, whatever was done to them."""
    with faults.lock:
        suspended = [node for node in nodes if faults.cluster.state(node) is ProcessState.SUSPENDED]
        if suspended:
            faults.resume(*suspended)
        down = [node for node in nodes if faults.cluster.state(node) is ProcessState.DOWN]
        if down:
            faults.restart(*down)


def _do(experiment: Target, nodes: Sequence[NodeId], act: Callable[..., object]) -> ActiveFault:
    """Claim the processes, act, and give them back when they are up again."""
    faults = experiment.faults
    give_back = faults.claim(nodes)
    try:
        act(*nodes)
    except BaseException:
        bring_back(faults, nodes)
        give_back()
        raise

    def end() -> None:
        try:
            bring_back(faults, nodes)
        finally:
            give_back()

    return EndsOnHeal(end)


# --- how they are drawn -----------------------------------------------------------------------------------------------


def draw_few(rng: Random, scene: FaultBudget) -> DrawnArguments | None:
    """One node or more, and never more than can be spared."""
    most = min(scene.spare, len(scene.free))
    if most < 1:
        return None
    # One is as likely as all the other numbers together: most real breaks need one.
    nodes = sorted(rng.sample(scene.free, 1 if rng.random() < 0.5 else rng.randint(1, most)))
    return DrawnArguments({"nodes": nodes}, frozenset(nodes), frozenset(nodes))


def _draw_all(_rng: Random, scene: FaultBudget) -> DrawnArguments | None:
    everybody = frozenset(scene.nodes)
    return DrawnArguments({}, everybody, everybody) if set(scene.free) == everybody else None


def _draw_rolling(rng: Random, scene: FaultBudget) -> DrawnArguments | None:
    everybody = frozenset(scene.nodes)
    if set(scene.free) != everybody or scene.spare < 1:
        return None
    return DrawnArguments({"pause_s": round(rng.uniform(0.0, 0.3), 2)}, frozenset({rng.choice(scene.nodes)}), everybody)


def _draw_starve(rng: Random, scene: FaultBudget) -> DrawnArguments | None:
    drawn = draw_few(rng, scene)
    return drawn and drawn._replace(arguments={**drawn.arguments, "stopped": round(rng.uniform(0.5, 0.95), 2)})


def _draw_at_message(rng: Random, scene: FaultBudget) -> DrawnArguments | None:
    if not scene.free or scene.spare < 1 or not scene.messages:
        return None
    node = rng.choice(scene.free)
    arguments = {
        "node": node,
        "message": rng.choice(scene.messages),
        "nth": rng.randint(1, 4),
        "end": rng.choice(("sender", "receiver")),
    }
    return DrawnArguments(arguments, frozenset({node}), frozenset({node}))


# --- the faults -------------------------------------------------------------------------------------------------------


@fault("kill", "process", draw=draw_few, weight=3)
def kill(experiment: Target, rng: Random, *, nodes: list[NodeId] | None = None) -> ActiveFault:
    """SIGKILL; started again on the same disk when it heals."""
    return _do(experiment, resolve(experiment, rng, nodes), experiment.faults.kill)


@fault("terminate", "process", draw=draw_few)
def terminate(experiment: Target, rng: Random, *, nodes: list[NodeId] | None = None) -> ActiveFault:
    """SIGTERM and an orderly end; started again when it heals."""
    return _do(experiment, resolve(experiment, rng, nodes), experiment.faults.terminate)


@fault("suspend", "process", draw=draw_few, weight=2)
def suspend(experiment: Target, rng: Random, *, nodes: list[NodeId] | None = None) -> ActiveFault:
    """SIGSTOP, as a long pause of a collector or a hypervisor; resumed when it heals."""
    return _do(experiment, resolve(experiment, rng, nodes), experiment.faults.suspend)


@fault("kill-all", "process", draw=_draw_all, weight=0.5)
def kill_all(experiment: Target, _rng: Random) -> ActiveFault:
    """SIGKILL to every node at once; all started again when it heals."""
    return _do(experiment, experiment.nodes, experiment.faults.kill)


@fault("kill-in-recovery", "process")
def kill_in_recovery(experiment: Target, rng: Random, *, node: NodeId | None = None, times: int = 1) -> ActiveFault:
    """SIGKILL, and again while it starts, before it is ready; started for good when it heals."""
    (chosen,) = resolve(experiment, rng, None if node is None else [node])
    faults = experiment.faults
    give_back = faults.claim([chosen])

    def end() -> None:
        try:
            bring_back(faults, [chosen])
        finally:
            give_back()

    paper = faults.begin("kill in recovery", nodes_down=[chosen], killed_while_starting=0)
    try:
        with faults.lock:
            faults.kill(chosen)
            for _ in range(times):
                _kill_while_starting(faults, chosen, rng)
                paper.evidence["killed_while_starting"] += 1
        paper.bit = True
    except BaseException:
        paper.end()
        end()
        raise

    def over() -> None:
        try:
            end()
        finally:
            paper.end()

    return EndsOnHeal(over)


def _kill_while_starting(faults: Faults, node: NodeId, rng: Random) -> None:
    """Proven by the pipe on which the node would have said that it is ready, and by how the kernel says that it ended."""
    process = faults.cluster.process(node)
    most_s = _RECOVERY_S
    for tries_left in reversed(range(_PROOF_TRIES)):
        process.launch()
        assert process.pid is not None
        time.sleep(rng.uniform(0.3, 1.0) * most_s if tries_left else 0.0)  # the last one comes before it can be ready
        os.kill(process.pid, signal.SIGKILL)
        try:
            process.wait_ready()
        except BootFailed:
            process.look()
            if "SIGKILL" not in process.ended:
                raise
            return
        # It had been ready before: that was a kill like any other. A little sooner, then.
        while process.look() is not ProcessState.DOWN:
            time.sleep(0.001)
        most_s *= 0.6
    raise FaultFailed(f"{node} was ready each time before it could be killed while it was starting")


@fault("kill-at", "process", draw=_draw_at_message)
def kill_at(
    experiment: Target,
    rng: Random,
    *,
    message: str,
    node: NodeId | None = None,
    nth: int = 1,
    end: str = "receiver",
    within_s: float = 5.0,
) -> ActiveFault:
    """SIGKILL at the nth message of a type, just before the node gets it or just after it has sent it."""
    (chosen,) = resolve(experiment, rng, None if node is None else [node])
    others = [peer for peer in experiment.nodes if peer != chosen]
    links = [(peer, chosen) for peer in others] if end == "receiver" else [(chosen, peer) for peer in others]
    strike = MessageTrigger(experiment, links, message, nth)
    give_back = experiment.faults.claim([chosen])
    try:
        strike.wait(within_s)
        experiment.faults.kill(chosen)
    except BaseException:
        give_back()
        raise
    finally:
        strike.let_go()

    def over() -> None:
        try:
            bring_back(experiment.faults, [chosen])
        finally:
            give_back()

    return EndsOnHeal(over)


@fault("starve", "process", draw=_draw_starve)
def starve(
    experiment: Target,
    rng: Random,
    *,
    nodes: list[NodeId] | None = None,
    stopped: float = 0.8,
    period_s: float = 0.1,
) -> ActiveFault:
    """SIGSTOP for a part of every period, as a machine that is overloaded."""
    chosen = resolve(experiment, rng, nodes)
    faults = experiment.faults
    give_back = faults.claim(chosen)
    stops: Counter[NodeId] = Counter()
    # A starved node is slow, and nobody says how slow: it is not to be counted on.
    paper = faults.begin("starve", nodes_down=chosen, stopped=stopped, period_s=period_s)

    def turn(over: threading.Event) -> None:
        with faults.lock:
            for node in chosen:
                proof = faults.cluster.process(node).suspend()
                stops[node] += proof["process_state"] == "T"
        over.wait(stopped * period_s)
        with faults.lock:
            for node in chosen:
                faults.cluster.process(node).resume()
        over.wait((1 - stopped) * period_s)

    def end() -> None:
        paper.evidence["seen stopped"] = dict(stops)
        paper.bit = all(stops[node] for node in chosen)
        try:
            bring_back(faults, chosen)
        finally:
            paper.end()
            give_back()

    return Cycle(turn, end)


@fault("rolling-restart", "process", draw=_draw_rolling)
def rolling_restart(experiment: Target, _rng: Random, *, pause_s: float = 0.2) -> ActiveFault:
    """SIGTERM and a start for one node after the other, over and over, as an upgrade does."""
    faults = experiment.faults
    give_back = faults.claim(experiment.nodes)
    turns = iter(range(1_000_000))

    def turn(over: threading.Event) -> None:
        node = experiment.nodes[next(turns) % len(experiment.nodes)]
        with faults.lock:
            faults.terminate(node)
        over.wait(pause_s)
        bring_back(faults, [node])
        over.wait(pause_s)

    def end() -> None:
        try:
            bring_back(faults, experiment.nodes)
        finally:
            give_back()

    return Cycle(turn, end)
