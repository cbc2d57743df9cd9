"""The sweep: runs one operation once for each single fault, which is a crash, a cut or a loss at one end of one message.

Theory of operation
-------------------
Two clients propose rival colours at two nodes at the same time, on a new variable for each point.
`harness.systematic.scheduler` delivers the messages one at a time, in the same order every time. A dry run without a fault gives
the list of messages. Each message has six points:

| fault | at the sender | at the receiver |
|---|---|---|
| crash | SIGKILL before the message leaves; its other messages under way are lost, too | SIGKILL before the message arrives |
| cut | the node is cut off from all nodes before this message; clients still reach it | the same |
| loss | the message is lost, with all others of its sender that are under way | only this message is lost |

After the fault all messages flow and all clocks run. A crash or a cut lasts. The clients propose again (at the last node, if
none of their nodes is left), and every node except the one that the fault hit is queried. A majority is up and connected, so
each of these calls must be answered. Then the node that the fault hit comes back and is queried, too. A point

- **violates** if clients got two different values, a value that no client proposed, or "undecided" after a decision;
- **blocks** if a call that must be answered got no answer in time;
- **was no test** if its message did not come, or the receipt of its fault does not show that the fault bit;
- else it is **survived**.

A log needs time to elect its leader, and in a sweep the clocks stand still. So each point waits first until the cluster has a
leader and all nodes have applied the same. In the points the leader is called n1, whichever node it is, and the others follow it
in the order of the spec. So one client proposes at the leader, and its rival at a follower.

Rules
-----
1. The sweep depends on no algorithm, and expects no point to have a certain outcome.
2. Each folder is recorded like any run, and the checkers judge it as well.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from cluster.clients.client import VariableCall
from cluster.clients.outcomes import NotKnown, Ok, Outcome
from cluster.errors import AlgorithmFailed, ConsensusError
from harness.checkers.invariants import invariants
from harness.checkers.replicas import agreement
from harness.checkers.verdict import VerdictStatus
from harness.faults.active import ReceiptBuilder
from harness.records.jsonable import write_document
from harness.records.links import Link
from harness.runs.experiment import Experiment
from harness.runs.workers import as_done, threads_of
from harness.systematic.scheduler import MessageScheduler, MessageStep
from harness.systematic.settled_log import settled_order
from harness.systematic.sweep_points import (
    COLOURS,
    LinkEnd,
    Point,
    PointAnswer,
    PointFault,
    PointOutcome,
    PointResult,
    Sweep,
    judge_point,
    points,
)
from harness.virtual.first_try import broken_contract
from node.algorithms import load_algorithm
from node.contract import NodeId
from node.instances import LOG_NAME

#: How long a call that must be answered may take, in seconds.
DEADLINE_S: Final = 1.5
#: How long the proposals run before the queries begin.
_PROPOSALS_ALONE_S: Final = 0.25
#: The timeout of the operation's own calls: longer than any point takes.
_OPERATION_TIMEOUT_S: Final = 20.0
_POLL_INTERVAL_S: Final = 0.002
#: How many points run on one cluster. A node that comes back sends messages about every earlier variable.
_BATCH_SIZE: Final = 24
#: How often a point is tried in all if its message does not come.
_TRIES: Final = 3

#: The verdicts on the whole record that count. Fault tolerance is judged at each point.
JUDGED: Final = ("contract", "coherence", "conflict resolution", "no decoherence", "agreement", "invariants")


class SweepFailed(ConsensusError):
    """The dry run failed or sent no message. The message says which."""


# --- one point, on real processes -----------------------------------------------------------------------------------


class _Trial(NamedTuple):
    messages: list[MessageStep]
    """The messages up to the fault, or all of them."""
    outcome: PointOutcome
    evidence: str
    variable: str


@dataclass
class _PointCluster:
    """A cluster on which points are tried, one after the other."""

    run: Experiment
    deadline_s: float
    proposers: tuple[NodeId, ...]
    count: int = field(default=0)
    names: dict[NodeId, NodeId] = field(default_factory=dict)
    """By node: what it is called in the points. The order is that of these names."""

    @property
    def _real(self) -> dict[NodeId, NodeId]:
        return {name: node for node, name in self.names.items()}

    def try_point(self, point: Point | None) -> _Trial:
        """Run the operation on a new variable, with the fault of `point`, or without a fault, and judge it."""
        self.count += 1
        variable = f"point-{self.count}"
        keeps_log = load_algorithm(self.run.algorithm).keeps_log
        order = settled_order(self.run) if keeps_log else self.run.nodes
        self.names = dict(zip(order, self.run.nodes, strict=True))
        began_ns = time.monotonic_ns()
        with MessageScheduler(self.run, LOG_NAME if keeps_log else variable, self.names) as scheduler:
            calls = {
                node: self.run.begin_propose(variable, COLOURS[place % 2], self._real[node], _OPERATION_TIMEOUT_S)
                for place, node in enumerate(self.proposers)
            }
            messages: list[MessageStep] = []
            heal: Callable[[], object] | None = None
            for step in scheduler.steps(list(calls.values())):
                messages.append(step)
                if point is not None and step == point.message:
                    heal = self._inject(scheduler, point)
                    break
            scheduler.lift()
        if point is not None and heal is None:
            why = f"{point.message} did not come: {len(messages)} others did"
            return _Trial(messages, PointOutcome.NO_TEST, why, variable)
        away = point.node if point is not None and point.fault is not PointFault.LOSS else None
        answers = self._ask(variable, away, calls)
        if heal is not None:
            heal()
        answers += self._ask_returned_node(variable, away, answers)
        outcome, why = judge_point(answers)
        for receipt in self.run.faults.receipts:
            if receipt.began_ns >= began_ns and not receipt.bit and outcome is not PointOutcome.VIOLATES:
                outcome, why = PointOutcome.NO_TEST, f"{receipt.fault} did not bite: no observer saw an effect"
        return _Trial(messages, outcome, why, variable)

    def _inject(self, scheduler: MessageScheduler, point: Point) -> Callable[[], object]:
        """Inject the fault of a point, and return the function that heals it."""
        node, message, faults = self._real[point.node], point.message, self.run.faults
        under_way = [(point.node, peer) for peer in self.run.nodes if peer != point.node]
        match point.fault:
            case PointFault.CRASH:
                faults.kill(node)
                scheduler.lose(under_way)
                return lambda: faults.restart(node)
            case PointFault.CUT:
                return faults.isolate(node).heal
            case PointFault.LOSS:
                links = under_way if point.end is LinkEnd.SENDER else [message.link]
                real = [(self._real[sender], self._real[receiver]) for sender, receiver in links]
                receipt = faults.begin("loss", links_disturbed=real, message=str(message))
                self._lose(scheduler, receipt, links, point)
                return lambda: None
        raise AssertionError(point.fault)

    def _lose(self, scheduler: MessageScheduler, receipt: ReceiptBuilder, links: list[Link], point: Point) -> None:
        lost = scheduler.lose(links, None if point.end is LinkEnd.SENDER else 1)
        receipt.evidence["discarded"] = lost  # counted by the proxy
        receipt.bit = lost > 0
        receipt.end()

    # --- the check ---

    def _ask(self, variable: str, away: NodeId | None, operation: dict[NodeId, VariableCall]) -> list[PointAnswer]:
        """Propose again, and query every node except the one that is away."""
        run, present = self.run, [node for node in self.run.nodes if node != away]
        colours = {node: COLOURS[place % 2] for place, node in enumerate(self.proposers) if node != away}
        proposals = {
            node: run.begin_propose(variable, colour, self._real[node], self.deadline_s)
            for node, colour in (colours or {present[-1]: COLOURS[0]}).items()
        }
        self._wait(list(proposals.values()), _PROPOSALS_ALONE_S)
        decided = any(isinstance(call.outcome, Ok) for call in proposals.values())
        queries = {node: run.begin_query(variable, self._real[node], self.deadline_s) for node in present}
        run.settle(*proposals.values(), *queries.values())
        answers = [PointAnswer(node, "propose", _outcome(call), must_answer=True) for node, call in proposals.items()]
        answers += [
            PointAnswer(node, "query", _outcome(call), must_answer=True, after_decision=decided)
            for node, call in queries.items()
        ]
        # The answers to the operation's own calls count, too. The clients without an answer have just proposed again.
        return answers + [
            PointAnswer(node, "propose", call.outcome) for node, call in operation.items() if call.outcome
        ]

    def _ask_returned_node(self, variable: str, away: NodeId | None, before: list[PointAnswer]) -> list[PointAnswer]:
        """Query the node that was away, now that it is back."""
        if away is None:
            return []
        decided = any(one.value is not None for one in before)
        outcome = self.run.query(variable, self._real[away], self.deadline_s)
        return [
            PointAnswer(
                f"with {away} back", "query", outcome, must_answer=decided, after_decision=decided, after_return=True
            )
        ]

    def _wait(self, calls: Sequence[VariableCall], most_s: float) -> None:
        until = time.monotonic() + most_s
        while any(call.outcome is None for call in calls) and time.monotonic() < until:
            self.run.client.poll()
            time.sleep(_POLL_INTERVAL_S)


def _outcome(call: VariableCall) -> Outcome:
    return call.outcome or NotKnown("still waiting")


# --- the whole sweep ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sweeper:
    """What to sweep, and where.

    Args:
        folder: the folder in which each cluster gets a run folder.
        algorithm: the algorithm that the nodes run.
        nodes: how many nodes a cluster has.
        seed: the seed of every random draw.
        deadline_s: how long a call that must be answered may take, in seconds.
        rivals: how many clients propose at once, each at another node.
        workers: how many clusters run at a time.
        only: the faults to inject.
        every: run one point in this many.
    """

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
        """Try every point, write `sweep.json`, and return the result.

        Args:
            progress: called after each point with the number of points that are done, and of all points.

        Raises:
            AlgorithmFailed: the algorithm fails by itself.
            SweepFailed: the operation does not succeed without a fault.
        """
        if (why := broken_contract(self.algorithm)) is not None:
            raise AlgorithmFailed(f"{self.algorithm} breaks its contract, even without a fault: {why}")
        self.folder.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        messages = self._dry_run()
        todo = self._sample(points(messages, self.only))
        count = max(-(-len(todo) // _BATCH_SIZE), min(self.workers, len(todo)))
        batches = [todo[start::count] for start in range(count)]
        done = 0
        found: dict[Point, PointResult] = {}
        violations: list[str] = []

        def one_more() -> None:
            nonlocal done
            done += 1
            progress(done, len(todo))

        with threads_of(self.workers, "sweep") as pool:
            futures = [pool.submit(self.run_batch, f"points-{at}", batch, one_more) for at, batch in enumerate(batches)]
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

    def _sample(self, all_: list[Point]) -> list[Point]:
        """Return one point in `every`, drawn from the seed, in order."""
        if self.every == 1:
            return all_
        drawn = Random(self.seed).sample(range(len(all_)), -(-len(all_) // self.every))
        return [all_[number] for number in sorted(drawn)]

    def _experiment(self, name: str) -> Experiment:
        return Experiment(self.folder / name, nodes=self.nodes, algorithm=self.algorithm, seed=self.seed)

    def _cluster(self, run: Experiment) -> _PointCluster:
        return _PointCluster(run, self.deadline_s, run.nodes[: self.rivals])

    def _dry_run(self) -> list[MessageStep]:
        with self._experiment("dry-run") as run:
            messages, outcome, why, _ = self._cluster(run).try_point(None)
            if outcome is not PointOutcome.SURVIVED:
                run.look_for_silent_nodes()
        if failures := run.failures():
            raise AlgorithmFailed(f"{self.algorithm} breaks its contract, even without a fault: {failures[0]}")
        if outcome is not PointOutcome.SURVIVED or not messages:
            raise SweepFailed(
                f"{self.algorithm} does not survive the operation without a fault: {why or 'no message was sent'}. "
                "So there is nothing to sweep: see the folder of the dry run"
            )
        return messages

    def run_batch(
        self, name: str, batch: Sequence[Point], done: Callable[[], object] = bool
    ) -> tuple[list[PointResult], list[str]]:
        """Try points on one cluster, in the folder `name`. Return their results, and what the checkers found."""
        experiment, results = self._experiment(name), []
        with experiment as run:
            cluster = self._cluster(run)
            for point in batch:
                for _ in range(_TRIES):
                    _, outcome, why, variable = cluster.try_point(point)
                    if outcome is not PointOutcome.NO_TEST:
                        break
                results.append(PointResult(point, outcome, why, variable, run.folder))
                done()
        verdicts = dict(experiment.judge(sweep=[result.to_json() for result in results]))
        if load_algorithm(self.algorithm).keeps_log:
            evidence = experiment.evidence(faults_expected=True)
            verdicts |= {"agreement": agreement(evidence), "invariants": invariants(evidence)}
        return results, [
            f"{property_}: {verdicts[property_].evidence} ({name})"
            for property_ in JUDGED
            if property_ in verdicts and verdicts[property_].status is VerdictStatus.INVALID
        ]
