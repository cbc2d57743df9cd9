"""The clients of a schedule of a log: each sends its frames once, unchanged, and is recorded as any client of a run.

The clients of `cluster/clients` open sessions, look for a leader, and send again. All of that would be steps that a schedule does
not have. A client here has the id that it has in the schedule, so a node makes of its frame the same request.
"""

from typing import Any

from cluster.clients.connections import Connections
from harness.records.history import Event
from harness.runs.experiment import Experiment
from harness.virtual.log_answers import answer_of, asked_by
from harness.virtual.output import VirtualReply
from harness.virtual.steps import SendFrame
from node.contract import Request
from node.frames import FrameReply, Replies
from node.transport import Poller
from node.wire import Codec, Envelope


class FrameCalls:
    """The calls of one run."""

    def __init__(self, run: Experiment) -> None:
        """Make no client yet."""
        self._run = run
        self._poller = Poller()
        self._codec = Codec(run.spec.settings.cluster, ())
        self._connections: dict[str, Connections] = {}  # one for each client, as the numbers of its frames are its own
        self._open: dict[Request, Event] = {}
        self._f: dict[Request, str] = {}
        self._replies: dict[Request, FrameReply] = {}

    def send(self, step: SendFrame) -> None:
        """Send a frame to its node."""
        client = step.request.client
        f, key, value = asked_by(step.frame)
        self._open[step.request] = self._run.recorder.invoke(client, f, key, value, node=step.node)
        self._f[step.request] = f
        connections = self._connections.setdefault(client, Connections(self._poller, monitors=False))
        data = self._codec.encode(Envelope(client, 0, "", step.frame))
        connections.send(step.node, self._run.cluster.client_addresses()[step.node], data)

    def has(self, request: Request) -> bool:
        """Return whether the reply to a frame has come. It takes in what has arrived."""
        for source in self._poller.poll(0):
            for client, connections in self._connections.items():
                if connections.owns(source):
                    while (received := connections.receive(source)) is not None:
                        self._take(client, received[1])
        return request in self._replies

    def unexpected(self) -> list[Request]:
        """Return the requests whose replies have come and have not been compared."""
        return list(self._replies)

    def is_as(self, reply: VirtualReply, node: str) -> bool:
        """Return whether the reply that has come is this one, and record it."""
        found = self._replies.pop(reply.request)
        handle = self._open.pop(reply.request)
        if found.refused is not None or found.payload is None:
            self._run.recorder.fail(handle, found.refused or "another node leads", node=node)
        else:
            self._run.recorder.ok(handle, answer_of(self._f[reply.request], found.payload), node=node)
        return (found.payload, found.refused, found.leader) == (reply.value, reply.refused, reply.leader)

    def close(self) -> None:
        """Close every connection. The outcome of a call without a reply is unknown."""
        for handle in self._open.values():
            self._run.recorder.info(handle, "no reply in the schedule", node=handle.node)
        for connections in self._connections.values():
            connections.close()

    def _take(self, client: str, data: Any) -> None:
        message = self._codec.decode(data).message if data else None
        if isinstance(message, Replies):
            for reply in message.replies:
                self._replies[Request(client, reply.number)] = reply
