"""The faults of processes: kill, terminate, suspend and others. `harness.faults.catalogue` says how they are used.

Each of them ends with its nodes up again on their own disks, whatever has happened to the nodes meanwhile. The
observers are the kernel (wait status, process table) and the node's own disk (its next incarnation).

What they excuse: a receipt of the fault "kill", "terminate" or "suspend" names its node as down from before the signal
until the node is ready or runs again. A fault below that kills, terminates or suspends by `Faults` leaves such a
receipt for each node.
"""

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import Any, Final

from cluster.errors import BootFailed, FaultFailed, NoSuchNode, WrongState
from cluster.processes import NodeProcess, ProcessState
from harness.faults.active import ActiveFault, EndsOnHeal, RepeatingFault
from harness.faults.catalogue import BadFault, DrawnArguments, FaultBudget, check_message, fault
from harness.faults.excuses import Excuse, Kind
from harness.faults.injector import RUNNING
from harness.faults.target import Target, bring_up, choose_node, own_cluster, resolve_nodes
from harness.faults.trigger import MessageTrigger
from node.contract import NodeId

_DOWN: Final = Excuse(Kind.DOWN, "a process that has ended does nothing until it is ready again")
#: The probability that a drawn `kill-at` kills whichever node sends or receives the message.
_PROBABILITY_ANYBODY: Final = 0.6
#: How often `kill-in-recovery` tries to kill a node before it is ready.
_RECOVERY_TRIES: Final = 6
#: The longest time from the start of a node's process until it is ready. The first try waits at most so long.
_RECOVERY_S: Final = 0.12


def _signal_until_heal(
    experiment: Target,
    name: str,
    nodes: Sequence[NodeId],
    send: Callable[..., object],
    fit: Collection[ProcessState] = RUNNING,
) -> ActiveFault:
    """Claim the processes of the nodes for the fault `name`, and signal them by `send`.

    The heal brings the nodes up and ends the claim. `fit` are the states in which a node can be signalled so.
    """
    faults = experiment.faults
    end_claim = faults.claim(name, nodes, fit)
    try:
        send(*nodes)
    except BaseException:
        bring_up(faults, nodes)
        end_claim()
        raise

    def end() -> None:
        try:
            bring_up(faults, nodes)
        finally:
            end_claim()

    return EndsOnHeal(end)


# --- arguments for generated plans ------------------------------------------------------------------------------------


def _draw_few(rng: Random, budget: FaultBudget) -> DrawnArguments | None:
    """Draw one or more nodes, within the budget."""
    most = min(budget.spare, len(budget.free))
    if most < 1:
        return None
    # Half of the time it is one node, because most real mistakes show with one.
    nodes = sorted(rng.sample(budget.free, 1 if rng.random() < 0.5 else rng.randint(1, most)))
    return DrawnArguments({"nodes": nodes}, frozenset(nodes), frozenset(nodes))


def _draw_all(_rng: Random, budget: FaultBudget) -> DrawnArguments | None:
    nodes = frozenset(budget.nodes)
    return DrawnArguments({}, nodes, nodes) if set(budget.free) == nodes else None


def _draw_rolling(rng: Random, budget: FaultBudget) -> DrawnArguments | None:
    nodes = frozenset(budget.nodes)
    if set(budget.free) != nodes or budget.spare < 1:
        return None
    return DrawnArguments({"pause_s": round(rng.uniform(0.0, 0.3), 2)}, frozenset({rng.choice(budget.nodes)}), nodes)


def _draw_starve(rng: Random, budget: FaultBudget) -> DrawnArguments | None:
    drawn = _draw_few(rng, budget)
    return drawn and drawn._replace(arguments={**drawn.arguments, "stopped": round(rng.uniform(0.5, 0.95), 2)})


def _draw_at_message(rng: Random, budget: FaultBudget) -> DrawnArguments | None:
    if not budget.free or budget.spare < 1 or not budget.messages:
        return None
    end = rng.choice(("sender", "receiver"))
    arguments: dict[str, Any] = {"message": rng.choice(budget.messages), "nth": rng.randint(1, 4), "end": end}
    if rng.random() < _PROBABILITY_ANYBODY:  # messages that few nodes send, such as parts of a snapshot, are met so
        return DrawnArguments(arguments, frozenset({end}))
    node = rng.choice(budget.free)
    return DrawnArguments({"node": node, **arguments}, frozenset({node}), frozenset({node}))


# --- the faults -------------------------------------------------------------------------------------------------------


@fault("kill", "process", _DOWN, draw=_draw_few, weight=3)
def kill(experiment: Target, rng: Random, *, nodes: list[NodeId] | None = None) -> ActiveFault:
    """Kill nodes with SIGKILL; restart them on their disks at the heal.

    Args:
        experiment: the target of the fault.
        rng: draws one node if `nodes` is None.
        nodes: the nodes to kill.

    Observer: the kernel; the wait status of each process is that of SIGKILL.
    """
    return _signal_until_heal(experiment, "kill", resolve_nodes(experiment, rng, nodes), experiment.faults.kill)


@fault("terminate", "process", _DOWN, draw=_draw_few)
def terminate(experiment: Target, rng: Random, *, nodes: list[NodeId] | None = None) -> ActiveFault:
    """End nodes in order with SIGTERM; restart them at the heal.

    The arguments are those of `kill`.

    Observer: the kernel; the wait status of each process is 0.
    """
    chosen = resolve_nodes(experiment, rng, nodes)
    return _signal_until_heal(experiment, "terminate", chosen, experiment.faults.terminate, {ProcessState.UP})


@fault("suspend", "process", Excuse(Kind.DOWN, "a suspended process does nothing"), draw=_draw_few, weight=2)
def suspend(experiment: Target, rng: Random, *, nodes: list[NodeId] | None = None) -> ActiveFault:
    """Suspend nodes with SIGSTOP; resume them at the heal.

    This is like a long pause by a garbage collector or a hypervisor. The arguments are those of `kill`.

    Observer: the kernel; the process table shows each process as stopped ("T").
    """
    chosen = resolve_nodes(experiment, rng, nodes)
    return _signal_until_heal(experiment, "suspend", chosen, experiment.faults.suspend, {ProcessState.UP})


@fault("kill-all", "process", _DOWN, draw=_draw_all, weight=0.5)
def kill_all(experiment: Target, _rng: Random) -> ActiveFault:
    """Kill all nodes with SIGKILL, one right after the other; restart all of them at the heal.

    Observer: the kernel; the wait status of each process is that of SIGKILL.
    """
    return _signal_until_heal(experiment, "kill-all", experiment.nodes, experiment.faults.kill)


@fault("kill-in-recovery", "process", _DOWN)
def kill_in_recovery(experiment: Target, rng: Random, *, node: NodeId | None = None, times: int = 1) -> ActiveFault:
    """Kill a node with SIGKILL, and again while it starts, before it is ready.

    The heal restarts the node.

    Args:
        experiment: the target of the fault.
        rng: draws the node if `node` is None, and the moments of the kills.
        node: the node to kill.
        times: how many starts are interrupted.

    Observer: the pipe on which the node would report that it is ready, and the kernel, which says that SIGKILL ended
    the process.
    """
    chosen = choose_node(experiment, rng, node)
    faults = experiment.faults
    end_claim = faults.claim("kill-in-recovery", [chosen])

    def end() -> None:
        try:
            bring_up(faults, [chosen])
        finally:
            end_claim()

    receipt = faults.begin("kill in recovery", nodes_down=[chosen], killed_while_starting=0)
    try:
        with faults.lock:
            faults.kill(chosen)
            for _ in range(times):
                _kill_while_starting(own_cluster(experiment).process(chosen), rng)
                receipt.evidence["killed_while_starting"] += 1
        receipt.bit = True
    except BaseException:
        receipt.end()
        end()
        raise

    def end_with_receipt() -> None:
        try:
            end()
        finally:
            receipt.end()

    return EndsOnHeal(end_with_receipt)


def _kill_while_starting(process: NodeProcess, rng: Random) -> None:
    """Start the process of a node and kill it before it is ready.

    Raises:
        FaultFailed: the node was ready each time before it was killed.
    """
    most_s = _RECOVERY_S
    for tries_left in reversed(range(_RECOVERY_TRIES)):
        process.launch()
        assert process.pid is not None
        time.sleep(rng.uniform(0.3, 1.0) * most_s if tries_left else 0.0)  # at the last try, kill at once
        os.kill(process.pid, signal.SIGKILL)
        try:
            process.wait_ready()
        except BootFailed:
            process.look()
            if "SIGKILL" not in process.ended:
                raise
            return
        # The node was ready first, so this was an ordinary kill. The next try waits for a shorter time.
        while process.look() is not ProcessState.DOWN:
            time.sleep(0.001)
        most_s *= 0.6
    raise FaultFailed(f"{process.node} was ready each time before it was killed")


@fault("kill-at", "process", _DOWN, draw=_draw_at_message)
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
    """Kill a node with SIGKILL at the nth message of a type.

    It is killed just before it receives the message, or just after it has sent the message. The heal restarts the node.

    Args:
        experiment: the target of the fault.
        rng: unused, since nothing is drawn.
        message: the type of the message.
        node: the node to kill; None stands for whichever node receives or sends the nth message.
        nth: the number of the message, from 1.
        end: "receiver" for a message to the node, "sender" for a message from it.
        within_s: how long to wait for the message, in seconds.

    Observer: the proxy, which holds the message, and the kernel; the wait status is that of SIGKILL.

    Raises:
        BadFault: the nodes send each other no such message.
    """
    try:
        check_message(experiment.algorithm, message, experiment.message_types)
    except BadFault as error:
        raise BadFault(f"kill-at: {error}") from error
    faults, side = experiment.faults, end == "receiver"
    named = None if node is None else choose_node(experiment, rng, node)
    links = [link for link in faults.node_links() if named in (None, link[side])]
    with contextlib.ExitStack() as claims:
        if named is not None:
            claims.callback(faults.claim("kill-at", [named]))
        trigger = MessageTrigger(experiment, links, message, nth)
        try:
            chosen = trigger.wait(within_s)[side]
            if named is None:
                faults.strike.roles[end] = chosen
                claims.callback(faults.claim("kill-at", [chosen]))
            faults.kill(chosen)
        finally:
            trigger.release()
        end_claim = claims.pop_all().close

    def end_fault() -> None:
        try:
            bring_up(faults, [chosen])
        finally:
            end_claim()

    return EndsOnHeal(end_fault)


@fault(
    "starve", "process", Excuse(Kind.DOWN, "how slow a starved process is depends on the machine"), draw=_draw_starve
)
def starve(
    experiment: Target,
    rng: Random,
    *,
    nodes: list[NodeId] | None = None,
    stopped: float = 0.8,
    period_s: float = 0.1,
) -> ActiveFault:
    """Suspend nodes for a part of every period, like an overloaded machine.

    Args:
        experiment: the target of the fault.
        rng: draws one node if `nodes` is None.
        nodes: the nodes to starve.
        stopped: the share of each period in which they are suspended, from 0 to 1.
        period_s: the length of a period, in seconds.

    A node that another program, or the command line, kills or suspends meanwhile is left alone until it is up again.

    Observer: the kernel; the process table has shown each process as stopped ("T").
    """
    return starve_nodes(experiment, "starve", resolve_nodes(experiment, rng, nodes), stopped, period_s)


def starve_nodes(
    experiment: Target, name: str, chosen: Sequence[NodeId], stopped: float, period_s: float
) -> ActiveFault:
    """Starve nodes, for the fault `name`. The other arguments are those of `starve`."""
    faults = experiment.faults
    end_claim = faults.claim(name, chosen)
    stops: Counter[NodeId] = Counter()
    receipt = faults.begin(name, nodes_down=chosen, stopped=stopped, period_s=period_s)

    def suspend_and_resume(healing: threading.Event) -> None:
        suspended = [node for node in chosen if act_if_fit(node, faults.cluster.suspend)]
        stops.update(suspended)
        healing.wait(stopped * period_s)
        for node in suspended:
            act_if_fit(node, faults.cluster.resume)
        healing.wait((1 - stopped) * period_s)

    def act_if_fit(node: NodeId, act: Callable[..., object]) -> bool:
        """Signal a node. Returns False if it is not in the state for that: another program has acted on it."""
        with faults.lock, contextlib.suppress(WrongState, NoSuchNode):
            act(node)
            return True
        return False

    def end() -> None:
        receipt.evidence["seen stopped"] = dict(stops)
        receipt.bit = all(stops[node] for node in chosen)
        try:
            bring_up(faults, chosen)
        finally:
            receipt.end()
            end_claim()

    return RepeatingFault(suspend_and_resume, end)


@fault("rolling-restart", "process", _DOWN, draw=_draw_rolling)
def rolling_restart(experiment: Target, _rng: Random, *, pause_s: float = 0.2) -> ActiveFault:
    """Terminate and restart one node after the other, again and again, like an upgrade.

    A node that another program has killed or suspended is restarted or resumed in its turn.

    Args:
        experiment: the target of the fault.
        pause_s: how long each node is down, and the pause before the next one, in seconds.

    Observer: the kernel; the wait status of each process is 0.
    """
    faults = experiment.faults
    end_claim = faults.claim("rolling-restart", experiment.nodes, set(ProcessState))
    restarts = iter(range(1_000_000))

    def restart_next(healing: threading.Event) -> None:
        node = experiment.nodes[next(restarts) % len(experiment.nodes)]
        with faults.lock, contextlib.suppress(WrongState, NoSuchNode):  # another program has killed or suspended it
            faults.terminate(node)
        healing.wait(pause_s)
        bring_up(faults, [node])
        healing.wait(pause_s)

    def end() -> None:
        try:
            bring_up(faults, experiment.nodes)
        finally:
            end_claim()

    return RepeatingFault(restart_next, end)
