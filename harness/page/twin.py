"""The virtual twin of a cluster: a tree of schedules. Each click goes on from the present position, and any can be gone to.

Theory of operation
-------------------
A position is what a list of moves leads to, from the first boot on. A move that was made from a position before leads to the
position that is there; another one begins a branch. Only the present position has a cluster (`twin_run.py`). To go to a position
that does not follow the present one, a new cluster takes all moves that lead there: the same moves give the same run.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from harness.page.event_log import EventLog
from harness.page.twin_run import Conditions, TwinMove, TwinRun
from harness.replay.schedule import Schedule, name_of
from harness.virtual.fault_model import SOUND, FaultModel
from harness.virtual.steps import Step, TakeOwnMessages, plain, to_json
from node.contract import Algorithm, BadInput

#: How many positions a twin has at most.
POSITIONS_MAX: Final = 20_000


@dataclass(slots=True)
class Position:
    """What a list of moves leads to.

    Attributes:
        number: its index in `Twin.positions`.
        parent: the position before the last move; None for the first.
        move: the last move; None for the first position.
        depth: how many moves lead here.
        decided: the values that a node or a client has seen decided, as text.
        broken: the kinds of the violations so far.
        children: the positions that follow.
    """

    number: int
    parent: "Position | None"
    move: TwinMove | None
    depth: int
    decided: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    children: "list[Position]" = field(default_factory=list)

    def path(self) -> "list[Position]":
        """Return the positions from the first to this one."""
        path = [self]
        while (parent := path[-1].parent) is not None:
            path.append(parent)
        return path[::-1]


class Twin:
    """The tree, and the present position in it. One thread at a time may use it."""

    def __init__(self, algorithm: type[Algorithm], nodes: int, log: EventLog, fault_model: FaultModel = SOUND) -> None:
        """Make a twin whose nodes have booted.

        Args:
            algorithm: what every node runs.
            nodes: how many nodes there are.
            log: gets the events of the way to the present position.
            fault_model: how nodes and disks differ from real nodes on good disks.
        """
        self.algorithm, self.fault_model = algorithm, fault_model
        self.members = tuple(f"n{number}" for number in range(1, nodes + 1))
        self.log = log
        self.run = self._new_run()
        self.positions = [Position(0, None, None, 0)]
        self.at = self.positions[0]
        self._told = 0
        self.tell()

    def _new_run(self) -> TwinRun:
        return TwinRun(self.algorithm, self.members, self.fault_model)

    # --- going on -----------------------------------------------------------------------------------------------------

    def take(self, step: Step) -> TwinMove:
        """Take a step. Raises ImpossibleStep, or BadInput if there are too many positions."""
        return self._on(lambda run: run.take([step]))

    def change(self, text: str, conditions: Conditions) -> TwinMove:
        """Change what holds from now on: cuts and suspensions."""
        return self._on(lambda run: run.change(text, conditions))

    def follow(self, steps: Sequence[Step]) -> int:
        """Take the steps of a schedule, one move for each but for own messages. Return how many moves there were."""
        moves: list[list[Step]] = []
        for step in steps:
            if isinstance(step, TakeOwnMessages) and moves:
                moves[-1].append(step)
            else:
                moves.append([step])
        for move in moves:
            self._on(lambda run, move=move: run.take(move, alone=True))  # type: ignore[misc]
        return len(moves)

    def pass_time(self, seconds: float, steps_max: int) -> int:
        """Let virtual time pass. Return how many moves that made."""
        moves = 0
        for move in self.run.passing(seconds, steps_max):
            self._note(move)
            moves += 1
        return moves

    def _on(self, make: Callable[[TwinRun], TwinMove]) -> TwinMove:
        if len(self.positions) >= POSITIONS_MAX:
            raise BadInput(f"there are {POSITIONS_MAX:,} positions: begin anew, or save this schedule and open it")
        move = make(self.run)
        self._note(move)
        return move

    def _note(self, move: TwinMove) -> None:
        """Go on to the position that a move leads to, which the run has made already."""
        for child in self.at.children:
            if child.move == move:
                self.at = child
                return
        cluster = self.run.cluster
        position = Position(
            len(self.positions),
            self.at,
            move,
            self.at.depth + 1,
            tuple(str(plain(value)) for value in cluster.judge.decided),
            tuple(dict.fromkeys(violation.kind for violation in cluster.violations)),
        )
        self.at.children.append(position)
        self.positions.append(position)
        self.at = position

    # --- going elsewhere ----------------------------------------------------------------------------------------------

    def go(self, number: int) -> None:
        """Go to a position. Raises BadInput if there is none of this number."""
        if not 0 <= number < len(self.positions):
            raise BadInput(f"there is no position {number}")
        aim = self.positions[number]
        path = aim.path()
        if self.at.depth > aim.depth or path[self.at.depth] is not self.at:
            self.run, self.at = self._new_run(), self.positions[0]
            self._told = -1
        for position in path[self.at.depth + 1 :]:
            assert position.move is not None
            self.run.repeat(position.move)
        self.at = aim

    def tell(self) -> None:
        """Give the log the events since the last call; all of them, if they no longer follow what it has."""
        events = self.run.picture.events
        if self._told < 0:
            self.log.replace(events)
        else:
            self.log.add(events[self._told :])
        self._told = len(events)

    # --- what there is ------------------------------------------------------------------------------------------------

    def schedule(self) -> Schedule:
        """Return the steps to the present position."""
        cluster = self.run.cluster
        return Schedule(
            name_of(self.algorithm),
            len(self.members),
            tuple(to_json(done.step) for done in cluster.happened),
            self.fault_model,
            tuple(cluster.violations),
            tuple(cluster.story),
            "twin",
        )

    def tree(self) -> Iterator[dict[str, Any]]:
        """Yield what a drawing of the tree needs: forks, ends, the present position, and those that decide or break something."""
        path = {position.number for position in self.at.path()}
        kept: dict[int, int] = {}  # by position: the last one on the way to it that is drawn
        for position in self.positions:  # a parent comes before its children
            parent = position.parent
            if parent is None:
                is_drawn, above = True, None
            else:
                above = kept[parent.number]
                is_drawn = (
                    len(position.children) != 1
                    or position is self.at
                    or position.decided != parent.decided
                    or position.broken != parent.broken
                )
            kept[position.number] = position.number if is_drawn or above is None else above
            if is_drawn:
                yield {
                    "position": position.number,
                    "parent": above,
                    "depth": position.depth,
                    "decided": list(position.decided),
                    "broken": list(position.broken),
                    "text": position.move.text if position.move else "the nodes have booted",
                    "here": position is self.at,
                    "passed": position.number in path,
                }
