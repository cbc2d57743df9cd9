"""The protocol between a client and a replicated log, without I/O. The blocking client and the asyncio client both drive it.

Theory of operation
-------------------
The caller begins calls (`call`), asks what to send (`outgoing`), passes on what arrives (`incoming`, `disconnected`), and
waits no longer than until `due`. The pipeline packs waiting calls into frames, opens the session that commands need, finds the
leader, sends frames again, and gives each call its outcome.

Rules
-----
1. Calls that begin between two calls of `outgoing` leave together: the commands of one machine in one frame.
2. Commands go under a session, which is opened before the first of them. A frame that is not answered is sent again,
   unchanged, to whichever node may lead: it takes effect once. The client sends it again even when its callers have given up,
   since only a reply lets the session go on. Then it sends it without its commands if a leader refuses it.
3. An outcome is definite (`Ok`, `NotDone`) only if a reply makes it so. A call whose time is up is `NotKnown`, unless its
   command never left: then it is `NotDone`.
4. When the cluster has ended (`addresses` raises a ConsensusError), calls that have not left never do, and every call gets
   its outcome at once.
5. A caller may give a call up (`cancel`). A command that has not left then never does. A command that has left is sent on all
   the same, by rule 2, and `on_outcome` is not called.
6. A read that may wait, a watch, stays at the leader until there is something to answer: see `watches.py`. It takes no part in
   the limits and the waits of other frames.
7. A session that has been idle for nearly as long as the log keeps idle sessions is left for a new one, unless it owes a
   reply. So a client that was idle does not learn that its session has ended.
"""

import contextlib
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from cluster.clients.leader_search import LeaderSearch
from cluster.clients.log_call import COMMAND_BYTES_MAX, LogCall, pop_expired, pop_frame
from cluster.clients.outcomes import NotDone, NotKnown, Ok
from cluster.clients.patience import Patience
from cluster.clients.watches import OpenWatches
from cluster.errors import ClientClosed, ConsensusError, WindowFull
from node.contract import Message, NodeId
from node.frames import WATCHES, CommandFrame, FrameReply, ReadFrame, Replies
from node.tuning import SHIPPED, Tuning
from node.wire import BadValue, Codec, Envelope, Malformed, Packer, pack_unchecked, unpack_unchecked

_NEVER: Final = float("inf")
_NO_COMMANDS: Final = pack_unchecked([])


class _Frame:
    """A frame that waits for its reply. `sequence` is 0 for reads, and -1 for the frame that opens the session."""

    __slots__ = ("calls", "message", "node", "send_at", "sends", "sent_at", "sequence")

    def __init__(self, message: Message, sequence: int, calls: list[LogCall], now: float) -> None:
        self.message, self.sequence, self.calls = message, sequence, calls
        self.node: NodeId | None = None
        self.send_at = self.sent_at = now
        self.sends = 0


class Pipeline:
    """The calls of one client that are under way.

    Times (`now`, `due`) are in seconds of one monotonic clock, which the caller reads.
    """

    def __init__(
        self,
        cluster: str,
        addresses: Callable[[], Mapping[NodeId, str]],
        name: str | None = None,
        resume: int | None = None,
        tuning: Tuning = SHIPPED,
        codec: Codec | None = None,
    ) -> None:
        """Make a client's pipeline.

        Args:
            cluster: the cluster's id.
            addresses: returns where each node is found now. It may raise a ConsensusError: there is no cluster any more.
            name: the prefix of the client's `id`.
            resume: the number of a session that the client had before it restarted. The client goes on in that session.
                Nothing that the old client had on its way takes effect once the first new command has been accepted.
            tuning: the settings of the cluster.
            codec: what encodes and decodes messages; None for a codec of this cluster.
        """
        self._tuning = tuning
        self._session_s = session_s(tuning)
        self._expire_s, self._probe_s = tuning.client_expire_ms / 1000, tuning.client_probe_ms / 1000
        self._resume = resume
        self.id = f"{name or 'client'}-{uuid.uuid4().hex[:12]}"
        self.session: int | None = None
        self.leaders = LeaderSearch(tuning)
        self.patience = Patience(tuning)
        self._codec, self._packer = codec or Codec(cluster, ()), Packer()
        self._addresses = addresses
        self._commands: deque[LogCall] = deque()
        self._reads: deque[LogCall] = deque()
        self._frames: dict[int, _Frame] = {}
        self._watches = OpenWatches(tuning)
        self._check: int | None = None  # the number of the frame that checks the watches
        self._number = 0
        self._sequence = 0
        self._unanswered: dict[int, None] = {}  # sequences, in order
        self._opening = False
        self._used = 0.0  # when the last reply to a command came
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
    ) -> LogCall:
        """Begin a call. It leaves with the next `outgoing`.

        Args:
            machine: the machine's name.
            command: the command, or the question if `read`: plain data, at most `COMMAND_BYTES_MAX` bytes encoded.
            now: the time, in seconds.
            timeout_s: how long the call may take, in seconds.
            read: whether it changes nothing. Reads need no session.
            wait_ms: for reads: how long the leader may hold back its reply, in milliseconds.

        Raises:
            BadValue: the command cannot be sent, or a time is not a number.
            WindowFull: `client_calls_max` calls wait already.
            ClientClosed: `close` was called.
        """
        if self._closed:
            raise ClientClosed("this client is closed: nothing was sent. Make another one")
        if len(self._commands) + len(self._reads) + len(self._watches) >= self._tuning.client_calls_max:
            most = self._tuning.client_calls_max
            raise WindowFull(f"{most:,} calls are waiting already: take in some outcomes first. Nothing was sent")
        packed = self._packer.pack(command)
        if len(packed) > COMMAND_BYTES_MAX:
            raise BadValue(f"the command takes {len(packed):,} bytes and the limit is {COMMAND_BYTES_MAX:,}")
        try:
            deadline = float(now + timeout_s)
        except (TypeError, OverflowError):
            deadline = float("nan")
        if deadline != deadline or not isinstance(wait_ms, int):  # noqa: PLR0124 - NaN: the time would never be up
            raise BadValue(
                f"a time is a number of seconds, or of whole milliseconds: not {timeout_s!r:.100}, {wait_ms!r:.100}"
            )
        call = LogCall(machine, command, packed, deadline, read, wait_ms)
        if read and wait_ms > 0:
            frame = ReadFrame(self._next_number(), wait_ms, machine, self._packer.pack_list([packed]))
            self._watches.open(call, frame, now)
        else:
            (self._reads if read else self._commands).append(call)
            # Looking at all calls takes time: not before one can be out of time, and not more often than every `expire_s`.
            self._deadline = min(self._deadline, max(deadline, now + self._expire_s))
        return call

    def cancel(self, call: LogCall) -> None:
        """Give a call up. Its outcome is `NotKnown`, and `on_outcome` is not called."""
        call.on_outcome = None
        call.settle(NotKnown("the caller gave it up"))
        self._deadline = 0.0  # the frame of a read that nobody waits for any more is dropped
        self._watches.give_up(call.frame)
        with contextlib.suppress(ValueError):
            (self._reads if call.read else self._commands).remove(call)

    def close(self) -> None:
        """Give every call its outcome. No call can begin any more."""
        self._closed = True
        for queue in (self._commands, self._reads):
            while queue:
                queue.popleft().settle(NotDone("not_sent", "the client was closed before it was sent"))
        for frame in self._frames.values():
            for call in frame.calls:
                call.settle(NotKnown("the client was closed before the reply came"))
        for call, sends in self._watches.close_all():
            reason = "the client was closed before the reply came"
            call.settle(NotKnown(reason) if sends else NotDone("not_sent", reason))
        self._frames.clear()
        self._unanswered.clear()

    def outgoing(self, now: float) -> Iterator[tuple[NodeId, str, bytes]]:
        """Yield what to send now: the node, its address, and the bytes."""
        if now >= self._deadline:
            self._expire_calls(now)
        if self._watches.has_expired(now):
            for call, sends in self._watches.expired(now):
                call.settle(_not_answered(sends))
        self._make_frames(now)
        leaders = self.leaders
        addresses: Mapping[NodeId, str] | None = None  # asked for once, and only if something is to be sent
        due = _NEVER
        try:
            if leaders.leader is not None and self._watches.has_to_ask:
                for message in self._watches.to_send(now):
                    addresses = addresses or self._addresses()
                    yield from self._encoded(leaders.leader, message, addresses)
            for frame in self._frames.values():
                if frame.send_at <= now:
                    if frame.node is not None and frame.node == leaders.leader:  # no reply: it may be suspended
                        self.disconnected(leaders.leader, now)
                    addresses = addresses or self._addresses()
                    node = leaders.target(addresses, now)
                    if node is None:  # no node has been up yet
                        frame.send_at = now + self._probe_s
                        due = min(due, frame.send_at)
                        continue
                    frame.node = node
                    frame.sends += 1
                    if frame.sends == 1:
                        frame.sent_at = now
                    else:
                        self.sent_again += 1
                    frame.send_at = now + (self.patience.wait_s if node == leaders.leader else self._probe_s)
                    yield from self._encoded(node, frame.message, addresses)
                if frame.send_at < due:  # noqa: PLR1730 - a call of `min` for each frame takes longer than the rest
                    due = frame.send_at
        except ConsensusError as error:
            self._no_cluster(str(error))
        self._due = due

    def _encoded(
        self, node: NodeId, message: Message, addresses: Mapping[NodeId, str]
    ) -> Iterator[tuple[NodeId, str, bytes]]:
        if node in addresses:
            yield node, addresses[node], self._codec.encode(Envelope(self.id, 0, "", message))

    def due(self) -> float:
        """Return when the caller must call `outgoing` again, at the latest."""
        due = min(self._deadline, self._due)
        return min(due, self._watches.due(self.leaders.leader)) if self._watches.may_be_due else due

    def incoming(self, node: NodeId, data: bytes, now: float) -> None:
        """Take in a message of a node. A damaged message is ignored, since the frame is sent again."""
        try:
            message = self._codec.decode(data).message
        except Malformed:
            return
        self.leaders.note_reply(node)
        if isinstance(message, Replies):
            for reply in message.replies:
                frame = self._frames.get(reply.number)
                if frame is not None:
                    self._answered(node, frame, reply, now)
                elif reply.number in self._watches:
                    self._watch_answered(node, reply, now)

    def disconnected(self, node: NodeId, now: float) -> None:
        """Note that the connection to `node` has closed, or that it does not reply. Its unanswered frames go elsewhere."""
        self.leaders.lost(node, now)
        self._watches.doubt()
        for frame in self._frames.values():
            if frame.node == node:
                frame.send_at = now

    @property
    def idle(self) -> bool:
        """Whether every call has an outcome and every frame a reply."""
        return not (self._frames or self._commands or self._reads) and self._watches.idle

    # --- frames -----------------------------------------------------------------------------------------------------

    def _make_frames(self, now: float) -> None:
        while self._reads and len(self._frames) < self._tuning.session_window:
            machine = self._reads[0].machine
            calls = pop_frame(self._reads, self._tuning.client_frame_commands)
            packed = self._packer.pack_list([call.packed for call in calls])
            read = ReadFrame(self._next_number(), 0, machine, packed)
            self._frames[read.number] = _Frame(read, 0, calls, now)
        self._make_check(now)
        if not self._commands:
            return
        if self.session is not None and not self._unanswered and now - self._used > self._session_s:
            self.session = None
        if self.session is None:
            self._open_session(now)
            return
        window = self._tuning.session_window
        while self._commands and len(self._unanswered) < window // 2:
            if self._unanswered and self._sequence + 1 - next(iter(self._unanswered)) >= window:
                return
            machine = self._commands[0].machine
            calls = pop_frame(self._commands, self._tuning.client_frame_commands)
            packed = self._packer.pack_list([call.packed for call in calls])
            self._sequence += 1
            self._unanswered[self._sequence] = None
            done = next(iter(self._unanswered))
            frame = CommandFrame(self._next_number(), self.session, self._sequence, done, machine, packed)
            self._frames[frame.number] = _Frame(frame, self._sequence, calls, now)

    def _make_check(self, now: float) -> None:
        """Make the frame that checks the watches, if it is due. Drop it if there is nothing to check."""
        if self._watches.check_is_due(self.leaders.leader, now):
            self._check = self._next_number()
            message = ReadFrame(self._check, 0, WATCHES, pack_unchecked([self._watches.begin_check(now)]))
            self._frames[self._check] = _Frame(message, 0, [], now)
        elif self._check is not None and not self._watches and self.leaders.leader is None:
            self._finish(self._check, self._frames[self._check])

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _open_session(self, now: float) -> None:
        if not self._opening:
            self._opening = True
            command = ["open"] if self._resume is None else ["resume", self._resume, self.id]
            message = CommandFrame(self._next_number(), 0, 0, 0, "session", pack_unchecked([command]))
            self._frames[message.number] = _Frame(message, -1, [], now)

    def _no_cluster(self, reason: str) -> None:
        """Give every call its outcome: the cluster has ended. Nothing leaves later that has not left yet."""
        for queue in (self._commands, self._reads):
            while queue:
                queue.popleft().settle(NotDone("not_up", reason))
        for call, sends in self._watches.close_all():
            call.settle(NotKnown(reason) if sends else NotDone("not_up", reason))
        for number, frame in list(self._frames.items()):
            for call in frame.calls:
                call.settle(NotKnown(reason) if frame.sends else NotDone("not_up", reason))
            if not frame.sends or isinstance(frame.message, ReadFrame):
                self._finish(number, frame)
                self._opening = self._opening and frame.sequence >= 0

    # --- replies ----------------------------------------------------------------------------------------------------

    def _answered(self, node: NodeId, frame: _Frame, reply: FrameReply, now: float) -> None:
        if reply.payload is not None:
            self.leaders.leader = node
            self.patience.replied(now - frame.sent_at)
            self._finish(reply.number, frame)
            self._deliver(frame, reply.payload, now)
        elif reply.refused is not None:
            if frame.sequence < 0 or frame.sends > 1:  # an earlier send of it may have been done
                if frame.sequence > 0 and _settled(frame.calls):
                    self._withdraw(frame)
                frame.send_at = now + self._tuning.client_send_again_ms / 1000
                return
            self._finish(reply.number, frame)
            for call in frame.calls:
                call.settle(NotDone("refused", f"{node}: {reply.refused}"))
        elif frame.node == node:
            # The node does not lead. Such a reply of a node to which the frame went before comes too late to count.
            self._redirected(node, reply, now)
            frame.send_at = now if self.leaders.leader is not None else now + self._tuning.client_no_leader_ms / 1000

    def _withdraw(self, frame: _Frame) -> None:
        """Have the next send of a frame do nothing: its callers have given it up, and the leader refuses it.

        A leader may refuse it for as long as it comes, such as a change of members that cannot be made, and no reply would ever
        let the session go on. Of all sends of a sequence number one takes effect: this one, or an earlier one before it.
        """
        assert isinstance(frame.message, CommandFrame)
        del self._frames[frame.message.number]
        frame.message = replace(frame.message, number=self._next_number(), machine="session", packed=_NO_COMMANDS)
        self._frames[frame.message.number] = frame

    def _watch_answered(self, node: NodeId, reply: FrameReply, now: float) -> None:
        if reply.payload is None and reply.refused is None:
            if node == self.leaders.leader:  # it leads no more
                self._redirected(node, reply, now)
            self._watches.doubt()
            return
        call = self._watches.close(reply.number)
        assert call is not None
        if reply.payload is None:
            call.settle(NotDone("refused", f"{node}: {reply.refused}"))
        else:
            self.leaders.leader = node
            self._settle([call], *unpack_unchecked(reply.payload))

    def _redirected(self, node: NodeId, reply: FrameReply, now: float) -> None:
        leader = reply.leader if reply.leader != node and self._is_known(reply.leader) else None
        self.leaders.redirected(leader, now)

    def _is_known(self, node: NodeId | None) -> bool:
        try:
            return node in self._addresses()
        except ConsensusError:
            return False  # `outgoing` meets the same error, and reports it

    def _finish(self, number: int, frame: _Frame) -> None:
        del self._frames[number]
        self._unanswered.pop(frame.sequence, None)
        if number == self._check:
            self._check = None
            self._watches.end_check()

    def _deliver(self, frame: _Frame, payload: bytes, now: float) -> None:
        results, errors = unpack_unchecked(payload)
        if not frame.calls and not frame.sequence:
            self._watches.checked(now, *results[0])
        if frame.sequence:
            self._used = now
        if frame.sequence < 0:
            self._session_opened(results, errors)
            return
        if errors and errors[0][0] == -1:
            self._frame_failed(frame, errors[0][1], errors[0][2])
            return
        self._settle(frame.calls, results, errors)

    @staticmethod
    def _settle(calls: list[LogCall], results: list[Any], errors: list[Any]) -> None:
        for index, kind, message in errors:
            calls[max(index, 0)].settle(NotDone(kind, message))
        for call, result in zip(calls, results, strict=False):
            if call.outcome is None:
                call.settle(Ok(result))

    def _frame_failed(self, frame: _Frame, kind: str, message: str) -> None:
        unknown = kind in ("session_expired", "stale")
        if unknown:
            self._forget_session()
        for call in frame.calls:
            call.settle(NotKnown(message) if unknown else NotDone(kind, message))

    def _session_opened(self, results: list[Any], errors: list[Any]) -> None:
        self._opening = False
        resumed, self._resume = self._resume, None
        if errors:
            reason = errors[0][2]
            if resumed is not None:
                reason = (
                    f"session {resumed} has ended, so it cannot be resumed, and what it had on its way takes no effect any "
                    "more. This call was not sent; the next call opens a new session"
                )
            while self._commands:
                self._commands.popleft().settle(NotDone(errors[0][1], reason))
        else:
            # The reply to "open" is the session's number; the reply to "resume" is the lowest sequence that may be used.
            self.session, self._sequence = (int(results[0]), 0) if resumed is None else (resumed, int(results[0]) - 1)
            self._unanswered.clear()

    def _forget_session(self) -> None:
        """Leave a session that has ended. The outcome of every call that is still under way in it is unknown."""
        self.session = None
        for number, frame in list(self._frames.items()):
            if frame.sequence > 0:
                for call in frame.calls:
                    call.settle(NotKnown("the session has ended before the reply came"))
                del self._frames[number]
        self._unanswered.clear()

    def _expire_calls(self, now: float) -> None:
        """Give every call whose time is up its outcome, except watches."""
        first = _NEVER
        for number, frame in list(self._frames.items()):
            for call in frame.calls:
                if call.outcome is None and call.deadline <= now:
                    call.settle(_not_answered(frame.sends))
                elif call.outcome is None:
                    first = min(first, call.deadline)
            if isinstance(frame.message, ReadFrame) and number != self._check and _settled(frame.calls):
                del self._frames[number]  # a read changes nothing, so its reply is not needed
        for queue in (self._commands, self._reads):
            if queue:
                for call in pop_expired(queue, now):
                    call.settle(_not_answered(0))
                first = min(first, min((call.deadline for call in queue), default=_NEVER))
        self._deadline = max(first, now + self._expire_s)


def session_s(tuning: Tuning) -> float:
    """Return after how many seconds without a reply a client leaves its session for a new one.

    The log's time, by which sessions end, never runs faster than real time. The rest, a fifteenth and 2 s at least, or half of
    the time, is for a command to arrive.
    """
    idle_s = tuning.session_idle_ms / 1000
    return idle_s - max(idle_s / 15, min(2.0, idle_s / 2))


def _settled(calls: list[LogCall]) -> bool:
    return all(call.outcome is not None for call in calls)


def _not_answered(sends: int) -> NotDone | NotKnown:
    """Return the outcome of a call whose time is up, and that was sent so often."""
    if not sends:
        return NotDone("not_sent", "no leader was found in time to send it to: it never left")
    return NotKnown(f"no reply in time; the call was sent {sends} times")
