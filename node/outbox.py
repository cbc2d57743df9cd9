"""Encode the output of a turn, and send it through the transport."""

from node.client_messages import Reply
from node.contract import Message, NodeId
from node.frames import Replies
from node.instances import Send
from node.transport import Route, Transport
from node.turn import Output
from node.wire import Codec, Envelope


class Outbox:
    """Sends the output of one node, in one incarnation, to nodes and clients."""

    def __init__(self, codec: Codec, transport: Transport, node: NodeId, incarnation: int) -> None:
        self._codec, self._transport = codec, transport
        self._node, self._incarnation = node, incarnation

    def release(self, output: Output) -> None:
        """Send every message and every reply of a turn's output."""
        if output.sends:
            self._send(output.sends)
        for route, request, value, refused in output.replies:
            self.send_back(route, Reply(request.number, value, refused))
        for route, replies in output.frame_replies.items():
            self.send_back(route, Replies(tuple(replies)))

    def _send(self, sends: list[Send]) -> None:
        last: tuple[str, Message] | None = None
        frame = b""
        for to, variable, message in sends:
            if last is None or last[1] is not message or last[0] != variable:  # a broadcast is encoded once
                frame = self._codec.encode(Envelope(self._node, self._incarnation, variable, message))
                last = (variable, message)
            self._transport.send(to, frame)

    def send_back(self, route: Route, message: Message) -> None:
        """Send a message to the client at the end of `route`."""
        self._transport.send_back(route, self._codec.encode(Envelope(self._node, self._incarnation, "", message)))
