"""The requests of clients to a replica, and the answers to them.

Rules
-----
1. Only the leader takes frames of commands or questions. Another replica redirects the client to the leader.
2. Any replica takes a proposal or a query, as with the other algorithms. It forwards the call to the leader, again on a timer
   until the leader has answered. A repetition does no harm, since a variable is set once.
3. A frame of commands is answered when its slot is applied. A question is answered when a quorum has confirmed its round. No
   answer leaves before that.
4. So the answer to a frame rests on votes that are on a quorum's disks, and on nothing that the present turn saves: the leader's
   own vote returns to it after its commit. The answer leaves early, before the next batch is written.
5. A watch that waits when this replica stops leading is redirected, as all requests are. Its client knows up to which version the
   watch has seen everything, and the next leader goes on from there.
"""

from math import ceil
from typing import Final

from node.contract import Message, NodeId, Request, Value
from node.frames import WATCHES, CommandFrame, ReadFrame
from node.log_contract import LogNode
from node.machine import BEAT_MS, NotYet
from node.replication.leader import LogLeadership
from node.replication.messages import Forward, Forwarded
from node.replication.round_trips import RoundTrips
from node.replication.state import CLUSTER, ReplicatedState
from node.replication.watches import Question, Waiter
from node.wire import Malformed, pack_unchecked, unpack_unchecked

#: What a message of 4 MiB has room for, beside a batch that is nearly full.
_FRAME_BYTES_MAX: Final = 1024 * 1024


class Clients:
    """The clients of one replica: those whose proposals and queries it forwards, and, while it leads, those of the leader."""

    def __init__(self, node: LogNode, state: ReplicatedState, round_trips: RoundTrips) -> None:
        self.node, self.state, self.round_trips = node, state, round_trips
        self.asked: dict[Request, tuple[str, Value | None]] = {}  # proposals and queries of this node's own clients

    # --- frames, at the leader --------------------------------------------------------------------------------------

    def command(self, leader: LogLeadership, request: Request, frame: Message) -> None:
        """Take in a frame of commands or of questions. `leader` is this replica's leadership."""
        assert isinstance(frame, CommandFrame | ReadFrame)
        size = len(frame.packed)
        if size > _FRAME_BYTES_MAX:
            self.node.refuse(request, f"a frame of {size:,} bytes is over the limit of {_FRAME_BYTES_MAX:,}")
        elif leader.full(size):
            self._refuse(leader, request, frame, "too much is waiting here already: slow down")
        elif isinstance(frame, ReadFrame):
            self._question(leader, request, frame)
        elif frame.machine != CLUSTER or self._may_change(leader, request, frame):
            commands = (frame.session, frame.sequence, frame.done, frame.machine, frame.packed)
            leader.submit(commands, Waiter(request))

    def _question(self, leader: LogLeadership, request: Request, frame: ReadFrame) -> None:
        """Take in a frame of questions."""
        if frame.machine == WATCHES:
            self._are_open(leader, request, frame.packed)
        elif frame.wait_ms > 0 and len(leader.watches) >= self.node.tuning.watches_max:
            self.node.refuse(request, f"{self.node.tuning.watches_max:,} watches wait here already")
        else:
            leader.watches.drop(request)  # the client asks again: the earlier question is replaced
            until = leader.beat + (ceil(frame.wait_ms / BEAT_MS) + 1 if frame.wait_ms > 0 else 0)
            leader.questions.append(Question(Waiter(request), frame.machine, frame.packed, until, frame.seen))

    def _are_open(self, leader: LogLeadership, request: Request, packed: bytes) -> None:
        """Answer a client that asks whether its watches wait here: see `WATCHES`."""
        try:
            asked = unpack_unchecked(packed)
        except Malformed:
            asked = None
        match asked:
            case [[*numbers]] if all(type(number) is int for number in numbers):
                self._answer_unchanged(leader.watches.take_given_up(request, numbers))
                unknown = leader.watches.still_open(request.client, numbers, leader.beat)
                requests = [question.waiter.request for question in leader.unconfirmed()] if unknown else []
                coming = [number for client, number in requests if client == request.client]
                result = [
                    [number for number in unknown if number not in coming],
                    coming,
                    self.state.versions(),
                    leader.watches.pause_ms,
                ]
                self.answer(Waiter(request), pack_unchecked(((result,), ())))
            case _:
                self.node.refuse(request, "a client asks for its watches with one list of numbers")

    def _may_change(self, leader: LogLeadership, request: Request, frame: CommandFrame) -> bool:
        """Return whether a frame that changes the cluster may be proposed. Answers the frame if not."""
        try:
            commands = unpack_unchecked(frame.packed)
        except Malformed:
            commands = None
        match commands:
            case [["hand_over", str(node)]]:
                if node not in self.state.configuration.voters:
                    self.node.refuse(
                        request, f"{node} is no voter: the voters are {', '.join(self.state.configuration.voters)}"
                    )
                else:
                    if node != self.node.id:
                        leader.hand_over(node)
                    self.node.reply(request, Value(pack_unchecked(((True,), ()))))
                return False
            case [[str(kind), str(node)]]:
                reason = leader.why_not(kind, node)
                if reason is not None:
                    self._refuse(leader, request, frame, reason)
                return reason is None
        self.node.refuse(request, "a change of the cluster is one command, alone in its frame")
        return False

    def _refuse(self, leader: LogLeadership, request: Request, frame: CommandFrame | ReadFrame, reason: str) -> None:
        """Refuse a frame, unless it is a copy of one that was taken in: for a client, a refusal proves that it was not done."""
        if isinstance(frame, CommandFrame) and frame.sequence:
            answer = self.state.sessions.answer_to(frame.session, frame.sequence)
            if answer is not None:
                self.answer(Waiter(request), answer)
                return
            if leader.awaits(Waiter(request)):
                return  # it is answered when its slot is applied
        self.node.refuse(request, reason)

    def answer(self, waiter: Waiter, payload: bytes) -> None:
        """Send the payload of an answer to the client, or to the peer that has forwarded the call."""
        if waiter.origin is None:
            self.node.reply_early(waiter.request, Value(payload))
            return
        results, errors = unpack_unchecked(payload)
        refused = errors[0][2] if errors else None
        self.node.send(waiter.origin, Forwarded(waiter.request, None if errors else results[0], refused))

    def redirect_waiters(self, led: LogLeadership, leader: NodeId | None) -> None:
        """Redirect every client that waits for this replica, which led until now, to `leader`, or to any node if None."""
        waiters = [*led.awaited, *(question.waiter for question in (*led.unconfirmed(), *led.watches))]
        for waiter in waiters:
            if waiter.origin is None:
                self.node.redirect(waiter.request, leader)

    # --- questions, at the leader -----------------------------------------------------------------------------------

    def answer_confirmed(self, leader: LogLeadership) -> None:
        """Answer the questions for which a quorum has confirmed that this node leads."""
        for question in leader.take_confirmed():
            self._answer_or_keep(leader, question)

    def answer_changed(self, leader: LogLeadership) -> None:
        """Answer the watches that have waited for what the last slot has changed."""
        for name, before, topics in self.state.changes():
            for question in leader.watches.take_changed(name, topics):
                self._answer_or_keep(leader, question._replace(seen=max(before, question.seen)))

    def answer_due(self, leader: LogLeadership) -> None:
        """Answer the watches whose time is over."""
        self._answer_unchanged(leader.watches.take_due(leader.beat))

    def _answer_unchanged(self, watches: list[Question]) -> None:
        for question in watches:
            self.answer(question.waiter, self.state.nothing_new(question.machine))

    def _answer_or_keep(self, leader: LogLeadership, question: Question) -> None:
        payload = self.state.read(question.machine, question.packed, question.seen)
        if not isinstance(payload, NotYet):
            self.answer(question.waiter, payload)
        elif question.until_beat <= leader.beat:
            self._answer_unchanged([question])
        else:
            leader.watches.add(question, payload.topic, leader.beat)

    # --- variables that are set once --------------------------------------------------------------------------------

    def ask(self, request: Request, value: Value | None, leader: NodeId | None) -> None:
        """Forward a proposal of `value`, or a query if `value` is None, to the leader, which may be this node."""
        if not self.asked:
            self._ask_again_later(leader)
        self.asked[request] = (self.node.variable_of(request), value)
        if leader is not None:
            self.node.send(leader, Forward(request, *self.asked[request]))

    def ask_again(self, leader: NodeId | None) -> None:
        """Forward every open call again: the timer has expired, or `leader` is new."""
        if self.asked:
            self._ask_again_later(leader)
        for request, asked in self.asked.items():
            if leader is not None:
                self.node.send(leader, Forward(request, *asked))

    def _ask_again_later(self, leader: NodeId | None) -> None:
        """Set the timer. The answer takes a round trip to the leader, and one from the leader to a quorum."""
        wait_s = 0.0 if leader is None else 2 * self.round_trips.wait_ms(leader) / 1000
        again_s = self.node.tuning.forward_again_ms / 1000
        self.node.set_timer("ask", again_s + wait_s, 1.5 * again_s + wait_s)

    def forward_answered(self, message: Forwarded) -> None:
        """Answer the client of a forwarded call: the leader has answered."""
        if self.asked.pop(message.request, None) is None:
            return
        if message.refused is None:
            self.node.reply(message.request, message.value)
        else:
            self.node.refuse(message.request, message.refused)

    def forwarded(self, leader: LogLeadership, sender: NodeId, message: Forward) -> None:
        """Take in a call that a peer has forwarded to this leader. Drops it if too much waits: the peer sends it again."""
        if leader.full(len(message.value or b"")):
            return
        waiter = Waiter(message.request, sender)
        if message.value is None:
            packed = pack_unchecked([["query", message.variable]])
            leader.questions.append(Question(waiter, "once", packed, 0))
        else:
            packed = pack_unchecked([["propose", message.variable, message.value]])
            leader.submit((0, 0, 0, "once", packed), waiter)
