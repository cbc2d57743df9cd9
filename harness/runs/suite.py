"""Runs a plan: workload and faults together, then everything whole, then a last round of calls, then all the judges.

```python
result = run_plan(generate("paxos", node_names(5), seed=7), folder)
result.verdict.status           # valid, invalid or unknown
```

The run's folder holds what every experiment leaves, and `plan.json`. In `results.json`, `steps` says what became of each step
of the plan, and `verdicts` has, beside the article's four properties, of which only fault tolerance is about state that
changes:

| verdict | what it is about |
|---|---|
| linearizability | the clients' answers have an order that the workload's model allows |
| invariants | wire and disks keep to the protocol; left out for algorithms of which none are known |
| durability | what was acknowledged is on the disks that must have it |
| exclusion | of locks, instead of linearizability: holds exclude each other, tokens rise |
| agreement | of a log: replicas and snapshots are equal at equal slots |
| effects | of keys: each command took effect once, as it was answered, also one that was sent again |
| liveness | everything is answered once all is whole |
| guards | the run was a test |

The run is invalid if any is, else unknown if any is, else valid.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from cluster.clients.outcomes import Ok
from cluster.processes import ProcessState
from harness.checkers.chosen_log import keeps_log
from harness.checkers.durability import durability
from harness.checkers.evidence import Checker, RunEvidence
from harness.checkers.guards import PlanExecution, guards
from harness.checkers.invariants import invariants
from harness.checkers.known_bad import known_bad
from harness.checkers.linearizable import linearizable
from harness.checkers.liveness import liveness
from harness.checkers.lock_leases import exclusion
from harness.checkers.models import CasRegisterModel, ConsensusModel, LockModel
from harness.checkers.properties import PROPERTIES, fault_tolerance
from harness.checkers.replicas import agreement, effects
from harness.checkers.verdict import Status, Verdict, invalid, merge
from harness.faults.catalogue import find_fault
from harness.faults.prerequisites import experiment_arguments
from harness.faults.target import bring_up
from harness.records.jsonable import canonical
from harness.runs.experiment import Experiment
from harness.runs.nemesis import BITE_S, Nemesis, StepOutcome
from harness.runs.plan import PLAN_NAME, Plan
from harness.workloads.registry import workload_for
from harness.workloads.workload import ANSWER_AFTER_HEAL_S, CallUnderWay, PlannedCall, Workload
from node.algorithms import load_algorithm

#: How long the loop rests when no answer is there. It bounds by how much an answer is stamped too late.
_REST_S: Final = 0.002
_INAPPLICABLE: Final = "no invariants are known"

Tell = Callable[[str], None]


@dataclass(frozen=True)
class PlanResult:
    """A run that was made and judged."""

    folder: Path
    plan: Plan
    verdicts: Mapping[str, Verdict]
    steps: tuple[StepOutcome, ...]
    took_s: float

    @property
    def verdict(self) -> Verdict:
        """One over all."""
        return merge(self.verdicts)

    @property
    def violated(self) -> tuple[str, ...]:
        """What came out invalid."""
        return tuple(name for name, verdict in self.verdicts.items() if verdict.status is Status.INVALID)


def run_plan(
    plan: Plan,
    folder: Path,
    *,
    tell: Tell = lambda _line: None,
    stop_early: bool = False,
    trace: bool = False,
    **about: Any,
) -> PlanResult:
    """Make one run in `folder`, which is made, and judge it.

    Args:
        plan: what to run.
        folder: where the run's evidence goes.
        tell: called with a line for people whenever a fault begins or heals; from any thread.
        stop_early: end the run as soon as two clients were told two values of one variable.
        trace: have the nodes note what they take in, for `consensus trace`.
        about: goes into the results as it is.

    Raises:
        UnknownWorkload, UnknownAlgorithm, BootFailed: it could not begin.
    """
    started = time.monotonic()
    clients = workload_for(plan.workload, load_algorithm(plan.algorithm))(plan.nodes, plan.seed, plan.time_s)
    prepared = experiment_arguments({find_fault(step.fault).family for step in plan.steps})
    run = Experiment(folder, nodes=plan.nodes, algorithm=plan.algorithm, seed=plan.seed, trace=trace, **prepared)
    plan.save(folder / PLAN_NAME)
    with run:
        nemesis = Nemesis(run, plan, tell)
        nemesis.start()
        try:
            _Session(run, clients, nemesis.is_busy, stop_early).work()
        finally:
            nemesis.stop()
        run.network.heal()
        bring_up(run.faults, run.nodes)
        healed_ns = time.monotonic_ns()
        for calls in clients.final_calls():
            _settle(run, [clients.begin(run, number % clients.clients, ask) for number, ask in enumerate(calls)])
        run.look_at_replicas()
        if any(
            operation.completion is None or operation.outcome == "info" for operation in run.recorder.history.operations
        ):
            run.look_for_silent_nodes()
        down = [node for node in run.nodes if run.cluster.state(node) is not ProcessState.UP]
    judged = time.monotonic()
    carried = PlanExecution(
        len(nemesis.outcomes), sum(outcome.fired for outcome in nemesis.outcomes), _trouble(nemesis.outcomes), down
    )
    verdicts = judge(run.evidence(faults_expected=carried.fired > 0), clients, healed_ns, carried)
    result = PlanResult(folder, plan, verdicts, tuple(nemesis.outcomes), time.monotonic() - started)
    run.save_results(
        verdicts,
        verdict=result.verdict.status,
        evidence=result.verdict.evidence,
        workload=plan.workload,
        time_s=plan.time_s,
        steps=[outcome.to_json() for outcome in nemesis.outcomes],
        took_s=round(result.took_s, 3),
        judged_in_s=round(time.monotonic() - judged, 3),
        **about,
    )
    return result


def judge(run: RunEvidence, clients: Workload, healed_ns: int, carried: PlanExecution) -> dict[str, Verdict]:
    """Every verdict."""
    is_lock = isinstance(clients.model, LockModel)
    order = partial(linearizable, model=clients.model)
    judges: dict[str, Checker] = {
        **(PROPERTIES if isinstance(clients.model, ConsensusModel) else {"fault tolerance": fault_tolerance}),
        **({"exclusion": exclusion} if is_lock else {"linearizability": order}),
        "invariants": invariants,
        "durability": durability,
        **({"agreement": agreement} if keeps_log(run.algorithm) else {}),
        **({"effects": effects} if isinstance(clients.model, CasRegisterModel) else {}),
        "liveness": lambda evidence: liveness(evidence, healed_ns, ANSWER_AFTER_HEAL_S),
    }
    verdicts = {name: check(run) for name, check in judges.items()}
    if run.failures:
        verdicts = {"contract": invalid(*run.failures), **verdicts}
    if verdicts["invariants"].evidence.startswith(_INAPPLICABLE):
        del verdicts["invariants"]
    # The bad runs begin at 0, and all of them was after the heal.
    judges["liveness"] = partial(liveness, healed_ns=0, within_s=ANSWER_AFTER_HEAL_S)
    verdicts["guards"] = guards(run, carried, clients.functions, judges, known_bad(run.algorithm, clients.model))
    return verdicts


def _trouble(outcomes: list[StepOutcome]) -> list[str]:
    """Why a step did not fire that should have. One that waits for a message may wait in vain: that is told, no more."""
    return [
        f"{outcome.step}: {outcome.trouble}"
        for outcome in outcomes
        if outcome.trouble is not None and not _waited(outcome)
    ]


def _waited(outcome: StepOutcome) -> bool:
    waits = outcome.step.when is not None or outcome.step.fault == "kill-at"
    return waits and not outcome.fired


def _settle(run: Experiment, calls: Iterable[CallUnderWay]) -> None:
    """Wait for the outcomes of calls, at their deadlines at the latest."""
    for call in calls:
        while call.outcome is None:
            run.poll()
            time.sleep(_REST_S)


class _Session:
    """The workload's clients, each with a call open or at rest."""

    def __init__(
        self, run: Experiment, clients: Workload, nemesis_is_busy: Callable[[], bool], stop_early: bool
    ) -> None:
        self._run, self._clients = run, clients
        self._nemesis_is_busy, self._stop_early = nemesis_is_busy, stop_early
        self._started = time.monotonic()
        self._open: dict[int, tuple[PlannedCall, CallUnderWay]] = {}
        self._rests_until = {client: clients.pause_s(client) for client in range(clients.clients)}
        self._told: dict[str, str] = {}

    def work(self) -> None:
        """Until the time is over, and a little longer for faults that have not bitten; open calls are waited for."""
        time_s = self._clients.time_s
        while (now_s := time.monotonic() - self._started) < time_s + BITE_S and (
            now_s < time_s or self._nemesis_is_busy()
        ):
            self._begin(now_s)
            self._run.poll()
            if self._end(now_s) and self._stop_early:
                return
            time.sleep(_REST_S)
        _settle(self._run, [call for _, call in self._open.values()])

    def _begin(self, now_s: float) -> None:
        for client, until_s in list(self._rests_until.items()):
            if until_s <= now_s:
                ask = self._clients.next_call(client, now_s)
                self._open[client] = (ask, self._clients.begin(self._run, client, ask))
                del self._rests_until[client]

    def _end(self, now_s: float) -> bool:
        """Take in answers. Whether one contradicts another."""
        contradicted = False
        for client, (ask, call) in list(self._open.items()):
            if call.outcome is None:
                continue
            del self._open[client]
            self._clients.ended(self._run, client, ask, call.outcome)
            self._rests_until[client] = now_s + self._clients.pause_s(client)
            match call.outcome:
                case Ok(value) if value is not None:
                    text = canonical(value)
                    contradicted |= self._told.setdefault(ask.key, text) != text
        return contradicted
