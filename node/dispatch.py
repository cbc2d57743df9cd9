"""Check a decoded frame and give it to the core: which requests a node takes from peers and clients."""

from typing import Final

from node.client_messages import CLIENT_MESSAGES, ProposeRequest, QueryRequest
from node.contract import Request
from node.frames import CommandFrame, ReadFrame
from node.instances import Route
from node.settings import NAME, Settings
from node.turn import NodeCore
from node.wire import Envelope, Malformed, decode_value

TIMEOUT_S_MAX: Final = 3600.0
_FRAMES: Final = (CommandFrame, ReadFrame)
_CLIENT_MESSAGES: Final = frozenset(CLIENT_MESSAGES)


def dispatch(core: NodeCore, settings: Settings, route: Route, envelope: Envelope) -> None:
    """Give a message to the core, or refuse it.

    Args:
        core: the node that has received it.
        settings: the spec of the node's cluster.
        route: the way back to its sender.
        envelope: the message and its sender.

    Raises:
        Malformed: no node or client of this cluster sends such a message to this node.
    """
    sender, incarnation, variable, message = envelope
    if isinstance(message, _FRAMES):  # first and by itself, because no message is as frequent
        core.command(Request(sender, message.number), route, message)
    elif type(message) in _CLIENT_MESSAGES:
        _serve(core, route, envelope)
    elif sender == core.node or not (core.keeps_log or sender in settings.nodes):
        raise Malformed(f"{message.type_name()} from {sender!r}, which is no peer of {core.node}")
    elif variable != "" if core.keeps_log else not NAME.fullmatch(variable):
        raise Malformed(f"a variable called {variable!r}")
    else:
        core.receive(sender, incarnation, variable, message)


def _serve(core: NodeCore, route: Route, envelope: Envelope) -> None:
    sender, _, variable, message = envelope
    match message:
        case ProposeRequest(number) | QueryRequest(number) if not NAME.fullmatch(variable):
            reason = "a name is 1 to 64 of a-z, A-Z, 0-9, '.', '_' and '-'"
            core.refuse(Request(sender, number), route, reason)
        case ProposeRequest(number, timeout_ms, value):
            try:
                decode_value(value)
            except Malformed as error:
                core.refuse(Request(sender, number), route, f"the value cannot be proposed: {error}")
            else:
                core.propose(variable, Request(sender, number), route, _timeout_s(timeout_ms), value)
        case QueryRequest(number, timeout_ms):
            core.query(variable, Request(sender, number), route, _timeout_s(timeout_ms))
        case other:
            raise Malformed(f"{other.type_name()} is for clients")


def _timeout_s(timeout_ms: int) -> float:
    return min(max(timeout_ms / 1000, 0.0), TIMEOUT_S_MAX)
