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
"""

from typing import Final

from node.algorithms.multipaxos.leader import BATCH_BYTES, BEAT_S, Leadership, Question, Waiter
from node.algorithms.multipaxos.messages import Forward, Forwarded
from node.contract import Message, NodeId, Request, Value
from node.frames import CommandFrame, ReadFrame
from node.log_contract import LogNode
from node.replication.state import CLUSTER, ReplicatedState
from node.wire import Malformed, pack_unchecked, unpack_unchecked

_ASK_AGAIN_S: Final = (0.2, 0.3)
_NOTHING: Final = pack_unchecked(((None,), ()))


class Clients:
    """The clients of one replica: those whose proposals and queries it forwards, and, while it leads, those of the leader."""

    def __init__(self, node: LogNode, state: ReplicatedState) -> None:
        self.node, self.state = node, state
        self.asked: dict[Request, tuple[str, Value | None]] = {}  # proposals and queries of this node's own clients

    # --- frames, at the leader --------------------------------------------------------------------------------------

    def command(self, leader: Leadership, request: Request, frame: Message) -> None:
        """Take in a frame of commands or of questions. `leader` is this replica's leadership."""
        assert isinstance(frame, CommandFrame | ReadFrame)
        size = len(frame.packed)
        if size > BATCH_BYTES:
            self.node.refuse(request, f"a frame of {size:,} bytes is over the limit of {BATCH_BYTES:,}")
        elif leader.full(size):
            self.node.refuse(request, "too much is waiting here already: slow down")
        elif isinstance(frame, ReadFrame):
            until = leader.beat + int(frame.wait_ms / 1000 / BEAT_S) + 1
            leader.questions.append(Question(Waiter(request), frame.machine, frame.packed, until))
        elif frame.machine != CLUSTER or self._may_change(leader, request, frame.packed):
            commands = (frame.session, frame.sequence, frame.done, frame.machine, frame.packed)
            leader.submit(commands, Waiter(request))

    def _may_change(self, leader: Leadership, request: Request, packed: bytes) -> bool:
        """Return whether a frame that changes the cluster may be proposed. Answers the frame if not."""
        try:
            commands = unpack_unchecked(packed)
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
                    self.node.refuse(request, reason)
                return reason is None
        self.node.refuse(request, "a change of the cluster is one command, alone in its frame")
        return False

    def answer(self, waiter: Waiter, payload: bytes) -> None:
        """Send the payload of an answer to the client, or to the peer that has forwarded the call."""
        if waiter.origin is None:
            self.node.reply_early(waiter.request, Value(payload))
            return
        results, errors = unpack_unchecked(payload)
        refused = errors[0][2] if errors else None
        self.node.send(waiter.origin, Forwarded(waiter.request, None if errors else results[0], refused))

    def redirect_waiters(self, led: Leadership, leader: NodeId | None) -> None:
        """Redirect every client that waits for this replica, which led until now, to `leader`, or to any node if None."""
        waiters = [waiter for flight in led.flights.values() for waiter in flight.waiters]
        waiters += [waiter for _, waiter in led.waiting]
        waiters += [question.waiter for question in (*led.questions, *led.watches)]
        waiters += [question.waiter for questions in led.rounds.values() for question in questions]
        for waiter in waiters:
            if waiter.origin is None:
                self.node.redirect(waiter.request, leader)

    # --- questions, at the leader -----------------------------------------------------------------------------------

    def answer_confirmed(self, leader: Leadership) -> None:
        """Answer the questions for which a quorum has confirmed that this node leads."""
        for question in leader.take_confirmed():
            payload = self.state.read(question.machine, question.packed)
            if payload is None:
                leader.watches.append(question)
            else:
                self.answer(question.waiter, payload)

    def answer_watches(self, leader: Leadership) -> None:
        """Answer each watch that has a result, and, without a result, each watch whose time is over."""
        still: list[Question] = []
        for question in leader.watches:
            payload = self.state.read(question.machine, question.packed)
            if payload is None and question.until_beat <= leader.beat:
                payload = _NOTHING
            if payload is None:
                still.append(question)
            else:
                self.answer(question.waiter, payload)
        leader.watches = still

    # --- variables that are set once --------------------------------------------------------------------------------

    def ask(self, request: Request, value: Value | None, leader: NodeId | None) -> None:
        """Forward a proposal of `value`, or a query if `value` is None, to the leader, which may be this node."""
        if not self.asked:
            self.node.set_timer("ask", *_ASK_AGAIN_S)
        self.asked[request] = (self.node.variable_of(request), value)
        if leader is not None:
            self.node.send(leader, Forward(request, *self.asked[request]))

    def ask_again(self, leader: NodeId | None) -> None:
        """Forward every open call again: the timer has expired, or `leader` is new."""
        if self.asked:
            self.node.set_timer("ask", *_ASK_AGAIN_S)
        for request, asked in self.asked.items():
            if leader is not None:
                self.node.send(leader, Forward(request, *asked))

    def forward_answered(self, message: Forwarded) -> None:
        """Answer the client of a forwarded call: the leader has answered."""
        if self.asked.pop(message.request, None) is None:
            return
        if message.refused is None:
            self.node.reply(message.request, message.value)
        else:
            self.node.refuse(message.request, message.refused)

    def forwarded(self, leader: Leadership, sender: NodeId, message: Forward) -> None:
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
