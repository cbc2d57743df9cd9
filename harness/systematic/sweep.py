"""One operation, once for each single fault: every message, at its sender and at its receiver, by a crash, a cut or a loss.

The operation
-------------
Two clients propose rival colours at two nodes at the same moment, on a variable of its own.
`harness.systematic.scheduler` delivers
the messages one at a time, in an order that is the same every time and fair to the rivals. A dry run with no fault in it
gives the list of messages; each of them is struck in six ways:

| fault | at the sender | at the receiver |
|---|---|---|
| crash | SIGKILL before the message is out; what else it had under way is lost with it | SIGKILL before the message is in |
| cut | cut off from all nodes, this message first; clients still reach it | the same |
| loss | the message is lost, with all that its sender has under way | this message alone is lost |

The check
---------
Then all messages flow and all clocks run. A crash or a cut lasts. The clients propose again (at the last node, if none of
theirs is left), and every node but the one that was struck is queried: a majority is up and connected, so each call is owed
an answer. Then the struck node comes back, and is asked too. A point

- **violates** if anybody was told two different values, one that nobody proposed, or "undecided" after a decision was seen;
- **blocks** if a call that was owed an answer had none in time;
- **was no test** if its message did not come, or its fault left no receipt that it bit;
- else it is **survived**.

Nothing here knows an algorithm, or which points to expect of it. All of it is recorded as in any experiment, and the
checkers judge each folder as well.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from cluster.clients.client import VariableCall
from cluster.clients.outcomes import NotKnown, Ok, Outcome
from cluster.errors import ConsensusError
from harness.checkers.verdict import VerdictStatus
from harness.faults.active import ReceiptBuilder
from harness.records.jsonable import write_document
from harness.runs.experiment import Experiment
from harness.runs.workers import as_done, threads_of
from harness.systematic.scheduler import MessageScheduler, MessageStep
from harness.systematic.sweep_points import (
    COLOURS,
    LinkEnd,
    Point,
    PointAnswer,
    PointFault,
    PointOutcome,
    PointResult,
    Sweep,
    points,
    weigh,
)
from node.algorithms import load_algorithm
from node.contract import BadInput, NodeId

#: How long a call that is owed an answer may take, in seconds.
DEADLINE_S: Final = 1.5
#: How long the proposals have for themselves before the queries join them.
_ALONE_S: Final = 0.25
#: How long a client of the operation itself waits: longer than any point takes.
_OPERATION_S: Final = 20.0
_LOOK_EVERY_S: Final = 0.002
#: Points on one cluster. A new one is cheap, and a node that comes back has less to tell of old variables.
_BATCH: Final = 24
#: How often a point is tried whose message did not come.
_TRIES: Final = 3

#: The verdicts that count here. Fault tolerance is measured point by point.
JUDGED: Final = ("coherence", "conflict resolution", "no decoherence")


class NoSweep(BadInput):
    """What cannot be swept. Nothing was done."""


class SweepFailed(ConsensusError):
    """There was nothing to sweep. The message says why."""


# --- one point, on real processes -----------------------------------------------------------------------------------


@dataclass
class _Stage:
    """A cluster on which points are tried, one after the other."""

    run: Experiment
    deadline_s: float
    proposers: tuple[NodeId, ...]
    count: int = field(default=0)

    def perform(self, point: Point | None) -> tuple[list[MessageStep], PointOutcome, str, str]:
        """The operation on a new variable, with a fault or none. Returns the messages up to it, the fate, why, the variable."""
        self.count += 1
        variable = f"point-{self.count}"
        began_ns = time.monotonic_ns()
        with MessageScheduler(self.run, variable) as conductor:
            calls = {
                node: self.run.begin_propose(variable, COLOURS[place % 2], node, _OPERATION_S)
                for place, node in enumerate(self.proposers)
            }
            seen: list[MessageStep] = []
            heal: Callable[[], object] | None = None
            for step in conductor.steps(list(calls.values())):
                seen.append(step)
                if point is not None and step == point.message:
                    heal = self._strike(conductor, point)
                    break
            conductor.lift()
        if point is not None and heal is None:
            return seen, PointOutcome.NO_TEST, f"{point.message} did not come: {len(seen)} others did", variable
        away = point.node if point is not None and point.fault is not PointFault.LOSS else None
        told = self._ask(variable, away, calls)
        if heal is not None:
            heal()
        told += self._ask_again(variable, away, told)
        fate, why = weigh(told)
        for receipt in self.run.faults.receipts:
            if receipt.began_ns >= began_ns and not receipt.bit and fate is not PointOutcome.VIOLATES:
                fate, why = PointOutcome.NO_TEST, f"{receipt.fault} did not bite: nobody but its injector saw it"
        return seen, fate, why, variable

    def _strike(self, conductor: MessageScheduler, point: Point) -> Callable[[], object]:
        """Do it. Returns what heals it."""
        node, message, faults = point.node, point.message, self.run.faults
        under_way = [(node, peer) for peer in self.run.nodes if peer != node]
        match point.fault:
            case PointFault.CRASH:
                faults.kill(node)
                conductor.lose(under_way)
                return lambda: faults.restart(node)
            case PointFault.CUT:
                return faults.isolate(node).heal
            case PointFault.LOSS:
                links = under_way if point.end is LinkEnd.SENDER else [message.link]
                receipt = faults.begin("loss", links_disturbed=links, message=str(message))
                self._lose(conductor, receipt, point)
                return lambda: None
        raise AssertionError(point.fault)

    def _lose(self, conductor: MessageScheduler, receipt: ReceiptBuilder, point: Point) -> None:
        lost = conductor.lose(receipt.links_disturbed, None if point.end is LinkEnd.SENDER else 1)
        receipt.evidence["discarded"] = lost  # as the proxy counts
        receipt.bit = lost > 0
        receipt.end()

    # --- the check ---

    def _ask(self, variable: str, away: NodeId | None, operation: dict[NodeId, VariableCall]) -> list[PointAnswer]:
        """Propose again and query, at every node but the one that is away."""
        run, present = self.run, [node for node in self.run.nodes if node != away]
        colours = {node: COLOURS[place % 2] for place, node in enumerate(self.proposers) if node != away}
        proposals = {
            node: run.begin_propose(variable, colour, node, self.deadline_s)
            for node, colour in (colours or {present[-1]: COLOURS[0]}).items()
        }
        self._wait(list(proposals.values()), _ALONE_S)
        decided = any(isinstance(call.outcome, Ok) for call in proposals.values())
        queries = {node: run.begin_query(variable, node, self.deadline_s) for node in present}
        run.settle(*proposals.values(), *queries.values())
        told = [PointAnswer(node, "propose", _outcome(call), owed=True) for node, call in proposals.items()]
        told += [PointAnswer(node, "query", _outcome(call), owed=True, late=decided) for node, call in queries.items()]
        # The operation's own clients: their answers count, and those who got none have just asked again.
        return told + [PointAnswer(node, "propose", call.outcome) for node, call in operation.items() if call.outcome]

    def _ask_again(self, variable: str, away: NodeId | None, before: list[PointAnswer]) -> list[PointAnswer]:
        """The network is whole and everybody is up: ask whoever was away."""
        if away is None:
            return []
        decided = any(one.value is not None for one in before)
        outcome = self.run.query(variable, away, self.deadline_s)
        return [PointAnswer(f"with {away} back", "query", outcome, owed=decided, late=decided, back=True)]

    def _wait(self, calls: Sequence[VariableCall], most_s: float) -> None:
        until = time.monotonic() + most_s
        while any(call.outcome is None for call in calls) and time.monotonic() < until:
            self.run.client.poll()
            time.sleep(_LOOK_EVERY_S)


def _outcome(call: VariableCall) -> Outcome:
    return call.outcome or NotKnown("still waiting")


# --- the whole sweep ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sweeper:
    """What to sweep, and where. `only` narrows the faults; `every` takes one point in so many, for a quick look."""

    folder: Path
    algorithm: str
    nodes: int = 5
    seed: int = 0
    deadline_s: float = DEADLINE_S
    rivals: int = 2
    workers: int = 2
    only: tuple[PointFault, ...] = tuple(PointFault)
    every: int = 1

    def sweep(self, progress: Callable[[int, int], object] = max) -> Sweep:
        """Try every point. `progress` is told how many of how many are done.

        Raises:
            NoSweep: it keeps a log.
            SweepFailed: the operation does not end with no fault in it, so there is nothing to compare with.
        """
        if load_algorithm(self.algorithm).keeps_log:
            raise NoSweep(
                f"{self.algorithm} keeps a log, whose messages depend on its clocks, and in a sweep they stand still: "
                f"try `consensus test {self.algorithm} --workload kv`, or `consensus crashpoints {self.algorithm}`"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        messages = self._dry_run()
        todo = self._some(points(messages, self.only))
        count = max(-(-len(todo) // _BATCH), min(self.workers, len(todo)))
        batches = [todo[start::count] for start in range(count)]
        done = 0
        found: dict[Point, PointResult] = {}
        violations: list[str] = []

        def one_more() -> None:
            nonlocal done
            done += 1
            progress(done, len(todo))

        with threads_of(self.workers, "sweep") as pool:
            futures = [pool.submit(self._batch, f"points-{at}", batch, one_more) for at, batch in enumerate(batches)]
            for future in as_done(futures):
                future.result()
            for tried, seen in (future.result() for future in futures):
                found.update({result.point: result for result in tried})
                violations += seen
        results = [found[point] for point in todo]
        took_s = time.monotonic() - started
        sweep = Sweep(self.algorithm, self.nodes, tuple(messages), tuple(results), tuple(violations), took_s)
        write_document(self.folder / "sweep.json", {"schema": 1, "seed": self.seed, **sweep.to_json()})
        return sweep

    def _some(self, all_: list[Point]) -> list[Point]:
        """One in `every`, drawn by the seed."""
        if self.every == 1:
            return all_
        drawn = Random(self.seed).sample(range(len(all_)), -(-len(all_) // self.every))
        return [all_[number] for number in sorted(drawn)]

    def _experiment(self, name: str) -> Experiment:
        return Experiment(self.folder / name, nodes=self.nodes, algorithm=self.algorithm, seed=self.seed)

    def _stage(self, run: Experiment) -> _Stage:
        return _Stage(run, self.deadline_s, run.nodes[: self.rivals])

    def _dry_run(self) -> list[MessageStep]:
        with self._experiment("dry-run") as run:
            messages, fate, why, _ = self._stage(run).perform(None)
        if fate is not PointOutcome.SURVIVED or not messages:
            raise SweepFailed(
                f"{self.algorithm} does not survive the operation with no fault in it: {why or 'no message was sent'}. "
                "A sweep has nothing to compare with then: see its dry run"
            )
        return messages

    def _batch(
        self, name: str, batch: Sequence[Point], done: Callable[[], None]
    ) -> tuple[list[PointResult], list[str]]:
        experiment, results = self._experiment(name), []
        with experiment as run:
            stage = self._stage(run)
            for point in batch:
                for _ in range(_TRIES):
                    _, fate, why, variable = stage.perform(point)
                    if fate is not PointOutcome.NO_TEST:
                        break
                results.append(PointResult(point, fate, why, variable, run.folder))
                done()
        verdicts = experiment.judge(sweep=[result.to_json() for result in results])
        return results, [
            f"{property_}: {verdicts[property_].evidence} ({name})"
            for property_ in JUDGED
            if verdicts[property_].status is VerdictStatus.INVALID
        ]
