"""The protocol between a client and a replicated log, with no I/O in it: the blocking client and its asyncio twin share it.

Rules
-----
1. What is called between two sends goes out together: the commands of one machine in one frame.
2. Commands go under a session, which is opened before the first of them. A frame that is not answered is sent again,
   unchanged, wherever the leader may be: it takes effect once. It is sent again even when its callers have given up, since
   only an answer lets the session go on.
3. An outcome is definite (`Ok`, `NotDone`) only if an answer says so. A caller whose time is up is told `NotKnown`, unless
   its command never left.
4. Where nobody knows of a cluster any more (`addresses` says so), calls that have not left never do, and the callers of all
   are told at once.
5. A caller may give a call up (`cancel`). A command that has not left then never does; one that has is sent on all the
   same, by rule 2, and nobody is told.
6. A session that has not been used for nearly as long as the log keeps it is left for a new one, unless it owes an answer:
   so nobody who was idle is told that a session has ended.
"""

import contextlib
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from cluster.clients.calls import Call, Closed, NotDone, NotKnown, Ok, WindowFull
from cluster.errors import ConsensusError
from node.contract import Message, NodeId
from node.frames import CommandFrame, FrameReply, ReadFrame, Replies
from node.replication.sessions import IDLE_MS, WINDOW
from node.wire import BadValue, Codec, Envelope, Malformed, Packer, pack_unchecked, unpack_unchecked

__all__ = ["Call", "Closed", "NotDone", "NotKnown", "Ok", "Pipeline", "WindowFull"]

SEND_AGAIN_S: Final = 0.5
_PROBE_S: Final = 0.1  # a node that may lead, or be down, is given less time
_WATCH_S: Final = 1.5  # a leader that is asked to wait may be silent for so much longer
_NO_LEADER_S: Final = 0.01
_AVOID_S: Final = 0.5  # whoever was lost or silent is not asked, unless somebody says that it leads
_DISBELIEVE_S: Final = 0.1  # so long after its loss it is not believed that it leads: whoever says so may not know yet
_FRAME_COMMANDS_MAX: Final = 1_024
COMMAND_BYTES_MAX: Final = 512 * 1024  # also of a frame of several
_FRAMES_MAX: Final = WINDOW // 2
CALLS_MAX: Final = 100_000
SESSION_S: Final = IDLE_MS / 1000 - 60  # the log's time, by which sessions end, never runs faster than ours


class _Frame:
    __slots__ = ("calls", "message", "node", "send_at", "sends", "sequence", "waits_s")

    def __init__(self, message: Message, sequence: int, calls: list[Call], now: float, wait_ms: int = 0) -> None:
        self.message, self.sequence, self.calls = message, sequence, calls
        self.waits_s = min(wait_ms / 1000, _WATCH_S)
        self.node: NodeId | None = None
        self.send_at = now
        self.sends = 0


class Pipeline:
    """One client's calls under way."""

    def __init__(
        self,
        cluster: str,
        addresses: Callable[[], Mapping[NodeId, str]],
        name: str | None = None,
        resume: int | None = None,
    ) -> None:
        """Make a client. With `resume`, the number of a session that it had before it restarted, it goes on in that one:

        nothing that it had on its way then takes effect once the first of its new commands has been accepted.
        """
        self._resume = resume
        self.id = f"{name or 'client'}-{uuid.uuid4().hex[:12]}"
        self.session: int | None = None
        self.leader: NodeId | None = None
        self._codec, self._packer = Codec(cluster, ()), Packer()
        self._addresses = addresses
        self._lost: dict[NodeId, float] = {}  # whose connection has closed, and when
        self._queue: deque[Call] = deque()
        self._reads: deque[Call] = deque()
        self._frames: dict[int, _Frame] = {}
        self._number = 0
        self._sequence = 0
        self._unanswered: dict[int, None] = {}  # sequences, in order
        self._next_node = 0
        self._opening = False
        self._used = 0.0  # when the session was answered last
        self._closed = False
        self._due = 0.0
        self._deadline = 0.0  # no call's time is up before this
        self.sent_again = 0

    # --- what the caller does ---------------------------------------------------------------------------------------

    def call(
        self,
        machine: str,
        command: list[Any],
        now: float,
        timeout_s: float,
        *,
        read: bool = False,
        wait_ms: int = 0,
    ) -> Call:
        """Begin a call. It leaves with the next `outgoing`. Raises BadValue, WindowFull and Closed."""
        if self._closed:
            raise Closed("this client is closed: nothing was sent. Make another one")
        if len(self._queue) + len(self._reads) >= CALLS_MAX:
            raise WindowFull(f"{CALLS_MAX:,} calls are waiting already: take in some outcomes first. Nothing was sent")
        packed = self._packer.pack(command)
        if len(packed) > COMMAND_BYTES_MAX:
            raise BadValue(f"the command takes {len(packed):,} bytes and the limit is {COMMAND_BYTES_MAX:,}")
        try:
            deadline = float(now + timeout_s)
        except (TypeError, OverflowError):
            deadline = float("nan")
        if deadline != deadline or not isinstance(wait_ms, int):  # noqa: PLR0124 - it is NaN, and would never come
            raise BadValue(
                f"a time is a number of seconds, or of whole milliseconds: not {timeout_s!r:.100}, {wait_ms!r:.100}"
            )
        call = Call(machine, command, packed, deadline, read, wait_ms)
        (self._reads if read else self._queue).append(call)
        return call

    def cancel(self, call: Call) -> None:
        """Nobody waits for the call any more."""
        call.then = None
        call.settle(NotKnown("it was given up"))
        with contextlib.suppress(ValueError):
            (self._reads if call.read else self._queue).remove(call)

    def close(self) -> None:
        """Tell everybody who waits that nothing more comes. No call can be begun any more."""
        self._closed = True
        for queue in (self._queue, self._reads):
            while queue:
                queue.popleft().settle(NotDone("not_sent", "the client was closed before it was sent"))
        for frame in self._frames.values():
            for call in frame.calls:
                call.settle(NotKnown("the client was closed before the answer came"))
        self._frames.clear()
        self._unanswered.clear()

    def outgoing(self, now: float) -> Iterator[tuple[NodeId, str, bytes]]:
        """Whatever is to be sent now: to whom, at which address, and what."""
        if now >= self._deadline:
            self._give_up(now)
        self._make_frames(now)
        self._due = now + SEND_AGAIN_S
        for frame in self._frames.values():
            if frame.send_at <= now:
                if frame.node is not None and frame.node == self.leader:  # it has been silent: it may be suspended
                    self.disconnected(self.leader, now)
                try:
                    addresses = self._addresses()
                except ConsensusError as error:
                    self._nowhere(str(error))
                    return
                node = self._target(addresses, now)
                frame.node = node
                frame.sends += 1
                frame.send_at = now + (SEND_AGAIN_S + frame.waits_s if node == self.leader else _PROBE_S)
                if frame.sends > 1:
                    self.sent_again += 1
                if node in addresses:
                    yield node, addresses[node], self._codec.encode(Envelope(self.id, 0, "", frame.message))
            self._due = min(self._due, frame.send_at)

    def due(self) -> float:
        """When `outgoing` is to be asked again, at the latest."""
        return min(self._due, self._deadline)

    def incoming(self, node: NodeId, data: bytes, now: float) -> None:
        """Take in what a node has sent."""
        try:
            message = self._codec.decode(data).message
        except Malformed:
            return  # damaged on the way; it is sent again
        self._lost.pop(node, None)
        if isinstance(message, Replies):
            for reply in message.replies:
                frame = self._frames.get(reply.number)
                if frame is not None:
                    self._answered(node, frame, reply, now)

    def disconnected(self, node: NodeId, now: float) -> None:
        """The connection to `node` has closed, or it is silent: what it has not answered is to be asked elsewhere."""
        self._lost[node] = now
        if self.leader == node:
            self.leader = None
        for frame in self._frames.values():
            if frame.node == node:
                frame.send_at = now

    @property
    def idle(self) -> bool:
        """Whether every call has an outcome and every frame an answer."""
        return not (self._frames or self._queue or self._reads)

    # --- frames -----------------------------------------------------------------------------------------------------

    def _make_frames(self, now: float) -> None:
        while self._reads and len(self._frames) < _FRAMES_MAX * 2:
            first = self._reads[0]
            calls = self._take(self._reads)
            packed = self._packer.pack_list([call.packed for call in calls])
            self._number += 1
            read = ReadFrame(self._number, first.wait_ms, first.machine, packed)
            self._frames[self._number] = _Frame(read, 0, calls, now, first.wait_ms)
        if not self._queue:
            return
        if self.session is not None and not self._unanswered and now - self._used > SESSION_S:
            self.session = None
        if self.session is None:
            self._open(now)
            return
        while self._queue and len(self._unanswered) < _FRAMES_MAX:
            if self._unanswered and self._sequence + 1 - next(iter(self._unanswered)) >= WINDOW:
                return
            machine = self._queue[0].machine
            calls = self._take(self._queue)
            packed = self._packer.pack_list([call.packed for call in calls])
            self._number += 1
            self._sequence += 1
            self._unanswered[self._sequence] = None
            done = next(iter(self._unanswered))
            assert self.session is not None
            frame = CommandFrame(self._number, self.session, self._sequence, done, machine, packed)
            self._frames[self._number] = _Frame(frame, self._sequence, calls, now)

    @staticmethod
    def _take(queue: deque[Call]) -> list[Call]:
        """The first calls of `queue` that can go in one frame."""
        calls = [queue.popleft()]
        machine, size, alone = calls[0].machine, len(calls[0].packed), calls[0].wait_ms > 0
        while queue and not alone and len(calls) < _FRAME_COMMANDS_MAX:
            call = queue[0]
            size += len(call.packed)
            if call.machine != machine or size > COMMAND_BYTES_MAX or call.wait_ms or machine == "cluster":
                break
            calls.append(queue.popleft())
        return calls

    def _open(self, now: float) -> None:
        if not self._opening:
            self._opening = True
            command = ["open"] if self._resume is None else ["resume", self._resume, self.id]
            self._number += 1
            message = CommandFrame(self._number, 0, 0, 0, "session", pack_unchecked([command]))
            self._frames[self._number] = _Frame(message, -1, [], now)

    def _target(self, addresses: Mapping[NodeId, str], now: float) -> NodeId:
        if self.leader is not None:
            return self.leader
        self._lost = {node: when for node, when in self._lost.items() if now - when < _AVOID_S}
        nodes = list(addresses)
        candidates = [node for node in nodes if node not in self._lost] or nodes
        self._next_node += 1
        return candidates[self._next_node % len(candidates)]

    def _is_known(self, node: NodeId | None) -> bool:
        try:
            return node in self._addresses()
        except ConsensusError:
            return False  # the next that is sent is told why

    def _nowhere(self, reason: str) -> None:
        """There is no cluster to send anything to: nobody waits any more, and nothing leaves later that has not left yet."""
        for queue in (self._queue, self._reads):
            while queue:
                queue.popleft().settle(NotDone("not_up", reason))
        for number, frame in list(self._frames.items()):
            for call in frame.calls:
                call.settle(NotKnown(reason) if frame.sends else NotDone("not_up", reason))
            if not frame.sends or isinstance(frame.message, ReadFrame):
                self._finish(number, frame)
                self._opening = self._opening and frame.sequence >= 0

    # --- answers ----------------------------------------------------------------------------------------------------

    def _answered(self, node: NodeId, frame: _Frame, reply: FrameReply, now: float) -> None:
        if reply.payload is not None:
            self.leader = node
            self._finish(reply.number, frame)
            self._deliver(frame, reply.payload, now)
        elif reply.refused is not None:
            if frame.sequence < 0 or frame.sends > 1:  # an earlier send of it may have been done
                frame.send_at = now + SEND_AGAIN_S
                return
            self._finish(reply.number, frame)
            for call in frame.calls:
                call.settle(NotDone("refused", f"{node}: {reply.refused}"))
        elif frame.node == node:  # it does not lead; one that was asked before may say so too late
            leader = reply.leader if reply.leader != node and self._is_known(reply.leader) else None
            lost = leader is not None and now - self._lost.get(leader, float("-inf")) < _DISBELIEVE_S
            self.leader = None if lost else leader
            frame.send_at = now if self.leader is not None else now + _NO_LEADER_S

    def _finish(self, number: int, frame: _Frame) -> None:
        del self._frames[number]
        self._unanswered.pop(frame.sequence, None)

    def _deliver(self, frame: _Frame, payload: bytes, now: float) -> None:
        results, errors = unpack_unchecked(payload)
        if frame.sequence:
            self._used = now
        if frame.sequence < 0:
            self._opened(results, errors)
            return
        if errors:
            if errors[0][0] == -1:
                self._frame_failed(frame, errors[0][1], errors[0][2])
                return
            for index, kind, message in errors:
                frame.calls[index].settle(NotDone(kind, message))
        for call, result in zip(frame.calls, results, strict=False):
            if call.outcome is None:
                call.settle(Ok(result))

    def _frame_failed(self, frame: _Frame, kind: str, message: str) -> None:
        unknown = kind in ("session_expired", "stale")
        if unknown:
            self._forget_session()
        for call in frame.calls:
            call.settle(NotKnown(message) if unknown else NotDone(kind, message))

    def _opened(self, results: list[Any], errors: list[Any]) -> None:
        self._opening = False
        resumed, self._resume = self._resume, None
        if errors:
            reason = errors[0][2]
            if resumed is not None:
                reason = (
                    f"session {resumed} has ended, so it cannot be resumed, and what it had on its way takes effect no more. "
                    "This was not sent; what comes next opens a new session"
                )
            while self._queue:
                self._queue.popleft().settle(NotDone(errors[0][1], reason))
        else:
            # Opening tells the session's number, resuming the lowest sequence that may be used.
            self.session, self._sequence = (int(results[0]), 0) if resumed is None else (resumed, int(results[0]) - 1)
            self._unanswered.clear()

    def _forget_session(self) -> None:
        """The session has ended. What went under it and was not answered is told so as its answers come."""
        self.session = None
        for number, frame in list(self._frames.items()):
            if frame.sequence > 0:
                for call in frame.calls:
                    call.settle(NotKnown("the session has ended before the answer came"))
                del self._frames[number]
        self._unanswered.clear()

    def _give_up(self, now: float) -> None:
        """Tell every caller whose time is up."""
        self._deadline = now + 0.05
        for number, frame in list(self._frames.items()):
            for call in frame.calls:
                if call.outcome is None and call.deadline <= now:
                    call.settle(NotKnown(f"no answer in time, though it was sent {frame.sends} times"))
            if isinstance(frame.message, ReadFrame) and all(call.outcome is not None for call in frame.calls):
                del self._frames[number]  # asking changes nothing, so nobody needs the answer
        for queue in (self._queue, self._reads):
            late = [call for call in queue if call.deadline <= now]
            if late:
                waiting = [call for call in queue if call.deadline > now]
                queue.clear()
                queue.extend(waiting)
            for call in late:
                call.settle(NotDone("not_sent", "there was no leader to send it to in time: it never left"))
