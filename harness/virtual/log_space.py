"""The state space of a cluster that keeps a log: the same encoding as in `space.py`, with what a log adds.

What can happen
---------------
1. A message arrives, late, again or never, as in `space.py`.
2. A client's command reaches a node that leads and serves: each is made once, in their order. So do questions.
3. A voter's election timeout ends, and it runs; a leader's does, and it stops leading (`LogAlgorithm.election_timeout`). In
   between, no time passes: `forget_time` sets back what only counts time, so that the states are finite. Timers that do more than
   count, such as the beat of a leader, may expire at any time.
4. A node crashes, between two turns or after the early output of a turn, and boots.

A voter runs without asking first whether others would support it (PreVote), and each voter hears it, however lately the leader
has spoken: what keeps a leader in office makes no promise safe. So the schedules include more elections than real nodes hold.
Time in the log stands still: no session or lease ends.

Which states are one
--------------------
Many states can be told apart by nothing that is judged. One stands for all of them:

1. **What has no effect is forgotten.** A message that can have no effect on its receiver any more is no part of the state
   (`LogAlgorithm.effect_of`), nor is one of a sender whose later boot the receiver knows.
2. **What a node can do again is done.** A step that leaves its node as it is, and adds only packets and what leaders have said,
   such as a heartbeat or a second answer, is taken at once. This is sound, since facts are never removed and none of these keeps
   a step from being possible: whatever can follow a state can follow the same state with more of them, up to these additions.
   So the state with all of them shows each violation that the others show. And it is met by a schedule, with those steps.
3. **A crash ends with the boot.** Nothing happens to a node while it is down, and no other node can tell that it is down. So
   each schedule in which it is down for a while leads to the same states as one in which it boots at once, and does nothing for
   as long. (Unless its disk may be lost meanwhile.)
4. **Nodes that start alike** are interchangeable until they act: the first of them that has not acted is the next that may.

With `merges=False` only 4 and the first half of 1 hold. Then paths are as long as their schedules, and the first bad state is at
the end of a shortest one: `harness.virtual.explorer` looks for it so, once it knows that there is one.

What is judged
--------------
In each state: that nodes have applied the same batch and come to the same state in a slot, that a ballot has one owner, and the
rules of `checkers/leader_rules.py`, by all that leaders have said so far and by what each disk holds. After each step: that the
node's promise has not gone down. Of a question: that it sees what was answered before it was asked.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple, cast

from harness.virtual.bounds import COLOURS, Bounds
from harness.virtual.cluster import OWN_TURNS_MAX, ImpossibleStep, VirtualCluster, follow
from harness.virtual.judge import ballots_in, contract_violation, missing_timers, violations_of_change
from harness.virtual.log_node_state import LogNodeState, freeze_log_node, thaw_log_node
from harness.virtual.log_numbering import (
    Applied,
    BallotOwned,
    CommandMade,
    LogNumbering,
    QuestionMade,
    Said,
    StateAfter,
    VersionAnswered,
    command_of,
    question_of,
)
from harness.virtual.node import VirtualNode
from harness.virtual.node_state import NodeState
from harness.virtual.numbering import NODE_MASK, BallotBegun, CrashHappened, Numbering
from harness.virtual.output import TurnOutput
from harness.virtual.space import ClusterSpace, NodeMove, NodeMoves, perform
from harness.virtual.steps import (
    Crash,
    CrashInTurn,
    CrashMoment,
    Deliver,
    ElectionTimeout,
    Fire,
    LoseDisk,
    Recover,
    SendFrame,
    Step,
    TakeOwnMessages,
)
from harness.virtual.watchdog import EndlessLoop
from node.contract import Algorithm, ContractBroken, NodeId
from node.frames import CommandFrame, ReadFrame
from node.log_contract import LeaderMessage, LogAlgorithm, RecordId
from node.quorum import Ballot
from node.wire import pack_unchecked, unpack_unchecked

_KEY: Final = "k"


class InARow(NamedTuple):
    """Inputs of a node that follow each other, each with a turn of its own. Nothing could tell whether others came between."""

    steps: tuple[Step, ...]


def _parts_of(node: NodeId, said: LeaderMessage) -> Iterator[Said]:
    """Yield what a leader's message says, record by record, so that equal facts are said by few different messages."""
    before = said.previous
    for record in said.records:
        yield Said(node, LeaderMessage(said.ballot, (record,), 0, before))
        if before is not None:
            before = RecordId(record.slot, Ballot(record.round, record.owner))
    for slot in range(said.commit + 1):
        yield Said(node, LeaderMessage(said.ballot, (), slot))


class LogSpace(ClusterSpace):
    """The state space of a cluster that keeps a log, for `harness.virtual.search`."""

    numbering: LogNumbering

    def __init__(self, algorithm: type[LogAlgorithm], bounds: Bounds, *, merges: bool = True) -> None:
        """Make the space. `merges` is whether one state stands for many: see "Which states are one"."""
        self._algorithm, self._merges = algorithm, merges
        super().__init__(algorithm, bounds)
        self._alike = set(algorithm.interchangeable(self.members, ())) == set(self.members)
        self._keeps: dict[tuple[int, int], bool] = {}
        """By what leaders have said, and a disk: whether they keep all rules."""
        self._wrote: dict[tuple[int, int, Step], int] = {}
        """By place, node state and step: in which of its turns the node commits something, as bits."""
        self._adds: list[dict[int, int]] = [{} for _ in self.members]
        """By place and view: what `_repeatable` returns."""

    def _new_numbering(self, algorithm: type[Algorithm]) -> Numbering:
        return LogNumbering(self._algorithm, self.bounds)

    # --- the space --------------------------------------------------------------------------------------------------

    def successors(self, state: int) -> list[int]:
        found: list[int] = []
        for place in self._may_act(state):
            moves = self._moves_of(place, state)
            for flip, add, _ in moves[0]:
                if flip or add & ~state:
                    found.append((state ^ flip) | add)
            for flip, add, _ in moves[1]:
                found.append((state ^ flip) | add)
            if moves[2] or moves[3]:
                self._add_bounded(state, moves, found)
        return [self._normal(after) for after in found]

    def _moves_of(self, place: int, state: int) -> NodeMoves:
        table, seen = self._moves[place], state & self.numbering.views[place]
        moves = table.get(seen)
        if moves is None:
            moves = table[seen] = self._compute_moves(place, state)
        return moves

    def _normal(self, state: int, repeated: list[Step] | None = None) -> int:
        """Return the state that stands for `state`. `repeated` collects the steps that are thereby taken."""
        state = self._without_past(state)
        if not self._merges:
            return state
        while True:
            added = 0
            for place in range(len(self.members)):
                adds = self._repeatable(place, state)
                if repeated is not None and adds & ~(state | added):
                    repeated.extend(self._repeated_steps(place, state | added))
                added |= adds
            after = self._without_past(state | added)
            if after == state:
                return self._without_answered(state)
            state = after

    def _repeatable(self, place: int, state: int) -> int:
        """Return the facts that the steps of a node add that leave it as it is."""
        seen = state & self.numbering.views[place]
        adds = self._adds[place].get(seen)
        if adds is None:
            adds = 0
            for flip, add, _ in self._moves_of(place, state).progress:
                if not flip:
                    adds |= add
            self._adds[place][seen] = adds
        return adds

    def _repeated_steps(self, place: int, state: int) -> Iterator[Step]:
        for flip, add, steps in self._moves_of(place, state).progress:
            if not flip and add & ~state:
                state |= add
                yield from steps

    def _without_past(self, state: int) -> int:
        """Return a state without the packets that have no effect on their receivers any more."""
        numbering = self.numbering
        may_crash = (state & numbering.crashes).bit_count() < self.bounds.crashes
        over = numbering.over if may_crash else numbering.over_until_boot
        for place, shift in enumerate(numbering.shifts):
            number = state >> shift & NODE_MASK
            if unknown := state & numbering.to[place] & ~numbering.known[place][number]:
                numbering.note_effects(place, number, unknown)
            state &= ~over[place][number]
        return state

    def _without_answered(self, state: int) -> int:
        """Return a state without the packets that only bring an answer which is among the facts already."""
        if (state & self.numbering.crashes).bit_count() < self.bounds.crashes:
            return state  # the answer of a later boot is another one
        for place, shift in enumerate(self.numbering.shifts):
            state &= ~self.numbering.same[place][state >> shift & NODE_MASK]
        return state

    def steps(self, path: list[int]) -> list[Step]:
        """Return the steps along a path of states, without those that change no node and on which nothing rests."""
        self._repeated: list[Step] = []
        steps = super().steps(path)
        wanted = self._violated_by(steps)
        for step in reversed(self._repeated):
            fewer = [each for each in steps if each is not step]
            shown = self._violated_by(fewer)
            if shown is not None and (wanted is None or wanted <= shown):
                steps = fewer
        return steps

    def _violated_by(self, steps: list[Step]) -> set[str] | None:
        """Return which kinds of promises a schedule breaks; None if it is impossible."""
        cluster = VirtualCluster(self._algorithm, self.members, self.bounds.fault_model)
        try:
            follow(cluster, steps)
        except ImpossibleStep:
            return None
        return {found.kind for found in cluster.violations}

    def _step_to(self, aim: int, state: int) -> tuple[int, tuple[Step, ...]]:
        for place in self._may_act(state):
            for group in self._compute_moves(place, state):
                for flip, add, steps in group:
                    repeated: list[Step] = []
                    if self._normal((state ^ flip) | add, repeated) == aim:
                        self._repeated.extend(repeated)
                        return aim, (*steps, *repeated)
        raise AssertionError("a state on the path has no step to the next")

    def _may_act(self, state: int) -> range:
        """Return the places of the nodes that may act: of nodes that are alike, the first one that has not acted yet is the next.

        Schedules in which they act first in another order differ from these in names only.
        """
        places = len(self.members)
        if self._alike:
            for place, shift in enumerate(self.numbering.shifts):
                if not state >> shift & NODE_MASK:  # the node is in its first state, whose number is 0
                    return range(place + 1)
        return range(places)

    def is_bad(self, state: int) -> bool:
        numbering = self.numbering
        if super().is_bad(state):
            return True
        for mask in numbering.exclusive:
            held = state & mask
            if held & (held - 1) and numbering.violations_in(state):
                return True
        said = state & numbering.said
        for place, shift in enumerate(numbering.shifts):
            key = (said, numbering.disk_of[place][state >> shift & NODE_MASK])
            keeps = self._keeps.get(key)
            if keeps is None:
                broken = numbering.broken_rules(said, numbering.disks[key[1]])
                keeps = self._keeps[key] = not any(each.kind in self.bounds.look_for for each in broken)
            if not keeps:
                return True
        return False

    def sometimes(self) -> dict[str, bool]:
        facts = list(self.numbering.facts_in(self._happened))

        def met(kind: type) -> bool:
            return any(isinstance(fact, kind) for fact in facts)

        answered = {fact.request for fact in facts if isinstance(fact, VersionAnswered)}
        held = {"a slot was applied": met(Applied)}
        if self.bounds.proposals:
            held["a client's command was answered"] = command_of(1) in answered
        if self.bounds.queries:
            held["a client's question was answered"] = question_of(1) in answered
        if self._algorithm.elects_leaders and self.bounds.ballots > 1:
            held["two ballots competed"] = self._competed
        if self.bounds.crashes:
            held["a node crashed"] = met(CrashHappened)
        return held

    # --- what a node can do -----------------------------------------------------------------------------------------

    def _inputs(self, place: int, local: NodeState, state: int) -> Iterator[Step]:
        leads = cast(LogNodeState, local).leading is not None
        timeout = ElectionTimeout(self.members[place])
        numbering = self.numbering
        same = numbering.same[place][numbering.number_in(state, place)]  # a leader need not stop for these
        for step in super()._inputs(place, local, state):
            if isinstance(step, Fire) and step.timer in self._algorithm.clocks:
                continue
            yield step
            if (
                leads
                and isinstance(step, Deliver)
                and self._algorithm.candidacy_in(step.packet.message)
                and not same & numbering.bit(step.packet)
            ):
                yield cast(Step, InARow((timeout, step)))
        yield cast(Step, InARow((timeout, timeout))) if leads else timeout

    def _calls(self, place: int, state: int) -> Iterator[tuple[Step, object]]:
        numbering, node = self.numbering, self.members[place]
        if not numbering.states[place][numbering.number_in(state, place)].serving:
            return  # it would redirect the client
        facts = list(numbering.facts_in(state & numbering.calls))
        commands = sum(isinstance(fact, CommandMade) for fact in facts)
        questions = sum(isinstance(fact, QuestionMade) for fact in facts)
        if commands < self.bounds.proposals:
            packed = pack_unchecked([["put", _KEY, COLOURS[commands].encode()]])
            request = command_of(commands + 1)
            yield SendFrame(node, request, CommandFrame(1, 0, 0, 0, "kv", packed)), CommandMade(commands + 1)
        if questions < self.bounds.queries:
            seen = max((fact.version for fact in facts if isinstance(fact, VersionAnswered)), default=0)
            frame = ReadFrame(1, 0, "kv", pack_unchecked([["get", _KEY]]))
            yield SendFrame(node, question_of(questions + 1), frame), QuestionMade(questions + 1, seen)

    def _tries(self, place: int, number: int, step: Step, add: int, crash: int) -> Iterator[NodeMove]:
        yield from super()._tries(place, number, step, add, crash)
        if crash:
            wrote = self._wrote.get((place, number, step), 0)  # none if its code has failed
            for turn in range(wrote.bit_length()):
                if not wrote >> turn & 1:
                    continue  # without a commit, a crash after the turn does the same
                move = self._try(place, number, step, add | crash, ~turn)
                if move.steps:
                    yield move

    def _run(self, place: int, number: int, step: Step, crash_after: int | None) -> NodeMove:
        """Run the algorithm's real code in a scratch node.

        Args:
            crash_after: after how many turns the node crashes; below 0: in the turn `~crash_after`, after its early output.
        """
        numbering = self.numbering
        node = numbering.nodes[place]
        before = numbering.states[place][number]
        thaw_log_node(node, before)
        steps: list[Step] = []
        facts: list[object] = []
        crash_in = None if crash_after is None or crash_after >= 0 else ~crash_after
        try:
            turns, wrote, promised = 0, 0, before.promised
            inputs = list(step.steps) if isinstance(step, InARow) else [step]
            while inputs or node.core.to_itself:
                if turns >= OWN_TURNS_MAX:
                    raise ContractBroken(f"{node.id} sends to itself without end, in each turn after an input")
                if turns and turns == crash_after:
                    steps.append(Crash(node.id))
                    node.crash()
                    break
                each = TakeOwnMessages(node.id) if node.core.to_itself else inputs.pop(0)
                if turns == crash_in:
                    steps.append(CrashInTurn(node.id, moment=CrashMoment.EARLY))
                    node.crashes_in_turn = CrashMoment.EARLY
                steps.append(each)
                outcome = perform(node, each)
                wrote |= node.wrote << turns
                turns += 1
                promised = node.instance.promised if isinstance(node.instance, LogAlgorithm) else promised
                facts.extend(self._facts_of_output(outcome))
                if node.up or outcome.crashed:
                    facts.extend(self._facts_of_node(node, before))
                if outcome.crashed:
                    node.crash()
                    break
                if turns - 1 == crash_in:
                    return NodeMove(0, 0, ())  # nothing leaves early in that turn
            self._wrote.setdefault((place, number, step), wrote)  # first it is tried without a crash
            if not node.up and self._merges and not self.bounds.lose_disk:
                steps.append(Recover(node.id))
                facts.extend(self._facts_of_output(node.boot()))
                facts.extend(self._facts_of_node(node, before))
            if node.up:
                facts.extend(missing_timers(node))
            after = numbering.number(place, cast(NodeState, freeze_log_node(node, promised)))
        except (Exception, SystemExit, EndlessLoop) as error:  # noqa: BLE001 - an algorithm may raise anything, and that is a finding
            facts.append(contract_violation(node.id, error))
            node.crash()
            after = number  # the search ends at a violation, so the state after it does not matter
        if not isinstance(step, LoseDisk):
            facts.extend(
                violations_of_change(node.id, numbering.facts_of[place][number], numbering.facts_of[place][after])
            )
        add = 0
        for fact in facts:
            add |= numbering.bit(fact)
        return NodeMove((number ^ after) << numbering.shifts[place], add, tuple(steps))

    def _facts_of_output(self, outcome: TurnOutput) -> Iterator[object]:
        """Yield the facts that a turn's output adds."""
        for packet in outcome.packets:
            yield packet
            for ballot in ballots_in(packet.message):
                if ballot.node == packet.sender:
                    yield BallotBegun(ballot)
            if (said := self._algorithm.leader_message(packet.message)) is not None:
                yield from _parts_of(packet.sender, said)
            if (candidacy := self._algorithm.candidacy_in(packet.message)) is not None:
                yield BallotOwned(candidacy, packet.sender, packet.incarnation)
        for reply in outcome.replies:
            if reply.value is not None:
                results, errors = unpack_unchecked(reply.value)
                if not errors:
                    result = results[0]
                    version = result[1] if isinstance(result, list | tuple) else result or 0
                    yield VersionAnswered(reply.request, version)

    def _facts_of_node(self, node: VirtualNode, before: LogNodeState) -> Iterator[object]:
        """Yield what a node has applied, and under which ballot it leads."""
        replica = cast(LogAlgorithm, node.instance)
        if replica.leading is not None:
            yield BallotOwned(replica.leading, node.id, node.incarnation)
        applied = replica.state.applied
        if applied and applied != before.applied:
            yield StateAfter(applied, replica.state.chain)
            for slot in range(1, applied + 1):
                record = node.disk.log.get(slot)
                if record is not None:
                    yield Applied(slot, record.batch)
