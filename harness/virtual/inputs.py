"""Gives a step to the core of a virtual node: which method of `node.turn.NodeCore` takes in which step."""

from harness.virtual.core import VirtualTimers
from harness.virtual.steps import (
    VARIABLE,
    Deliver,
    ElectionTimeout,
    Fire,
    GiveUp,
    PeerLost,
    Propose,
    Query,
    Retire,
    SendFrame,
    Step,
    TakeOwnMessages,
)
from node.turn import NodeCore


def take_in(core: NodeCore, timers: VirtualTimers, instance: str, step: Step) -> None:
    """Have `core` take in one input.

    Args:
        core: the core of the node.
        timers: the timers of the same node. A timer that expires is removed from them.
        instance: the name of the node's one instance, to which its messages and its timers belong.
        step: the input.

    Raises:
        AssertionError: the step is no input of a turn, such as a crash.
    """
    if isinstance(step, Deliver):  # the most frequent step, without a class pattern
        sender, incarnation, _, message = step.packet
        core.receive(sender, incarnation, instance, message)
        return
    match step:
        case SendFrame(_, request, frame):
            core.command(request, request, frame)
        case Fire(_, timer) if (instance, timer) in timers.running:
            timers.cancel((instance, timer))
            core.timer_expired((instance, timer))
        case Propose(_, request, value):
            core.propose(VARIABLE, request, request, 0.0, value)
        case Query(_, request):
            core.query(VARIABLE, request, request, 0.0)
        case GiveUp(_, request) if request in core.waiting:
            core.timer_expired(request)
        case PeerLost(_, peer):
            core.peer_lost(peer)
        case Retire():
            core.retire()
        case ElectionTimeout():
            core.election_timeout()
        case TakeOwnMessages() | Fire() | GiveUp():
            pass  # the node's own messages, which it took in before, have cancelled the timer or answered the request
        case _:
            raise AssertionError(f"{step} is not an input")
