"""Runs a plan and judges it.

```python
result = run_plan(generate("paxos", node_names(5), seed=7), folder)
result.verdict.status           # valid, invalid or unknown
```

Theory of operation
-------------------
1. Workload and nemesis run together, until the plan's time is over.
2. Every fault is healed and every node started. A node that refuses to start stays down: the verdict "recovery" judges it.
3. The workload makes a last round of calls. Each of them must be answered.
4. The run ends, and all judges judge it.

The run folder holds what every experiment leaves, and `plan.json`. In `results.json`, `steps` says what became of each step
of the plan, and `verdicts` has the article's four properties (only fault tolerance, if the workload changes state), and:

| verdict | what must hold |
|---|---|
| linearizability | the clients' answers have an order that the workload's model allows |
| invariants | messages and disks keep the protocol's rules; left out for algorithms without known rules |
| durability | what was acknowledged is on the disks that must have it |
| exclusion | for locks, instead of linearizability: holds exclude each other, tokens rise |
| membership | no member is lost whose heartbeats arrive in time |
| agreement | for a log: replicas and snapshots are equal at equal slots |
| answers | for a log: each answer of any kind is the one that the chosen log gives, by an independent model |
| sessions | for a log: no session ends while its client uses it |
| returns | for a log, if clients call the API: each such call ends when its time is up, at the latest |
| effects | for keys: each command took effect once, with the effect that its answer says, also if it was sent again |
| liveness | after the heal, every call is answered |
| contract | no node failed by itself; only there if one did |
| node changes | the log holds what was said of each node that was to join or leave; only there if one was |
| leading | for a log: after the heal each voter leads if asked, and hears every other |
| recovery | each node that was started again on its own disk came up; only there if one did not |
| guards | the run was a test |

The run is invalid if any verdict is, else unknown if any is, else valid.

Beyond what is tolerated
------------------------
A plan with `beyond_tolerance` may take away more than a minority of the nodes or of their disks, for good. No client is owed an
answer then, and what was acknowledged may be lost with the disks that held it. So these are not judged: fault tolerance,
liveness, leading, durability, whether each kind of call succeeded, and whether every node came back. What is said must still be
true: no two answers, disks or replicas contradict each other, and no node takes part with a disk that is not its newest.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

from cluster.processes import ProcessState
from harness.checkers.answers import answers
from harness.checkers.durability import durability
from harness.checkers.evidence import Checker, RunEvidence
from harness.checkers.guards import PlanExecution, guards
from harness.checkers.invariants import invariants
from harness.checkers.known_bad import known_bad
from harness.checkers.late_returns import late_returns, timed_calls
from harness.checkers.leading import HandOver, leading_verdict
from harness.checkers.liveness import liveness
from harness.checkers.node_changes import node_changes_verdict
from harness.checkers.properties import contract_verdict
from harness.checkers.recovery import recovery_verdict
from harness.checkers.replicas import agreement
from harness.checkers.session_ends import session_ends
from harness.checkers.verdict import Verdict, merge, violated
from harness.faults.log_traits import log_traits
from harness.faults.target import bring_up_those_that_can
from harness.runs.leading_round import let_each_lead
from harness.runs.nemesis import Nemesis, StepOutcome
from harness.runs.passers_by import PassersBy
from harness.runs.plan import Plan
from harness.runs.progress import ShowLine, show_nothing
from harness.runs.run_of_plan import Run, begin, run_of
from harness.runs.system_run import SystemRun, judge_system
from harness.runs.workload_clients import WorkloadClients, settle
from harness.systems.system import System
from harness.workloads.system_workload import SystemWorkload
from harness.workloads.workload import ANSWER_AFTER_HEAL_S, Workload
from node.contract import NodeId

#: What no judge may ask for when more was lost than is tolerated.
_NOT_OWED_BEYOND: Final = ("fault tolerance", "liveness", "durability")
_INAPPLICABLE: Final = "no invariants are known"


@dataclass(frozen=True)
class PlanResult:
    """A run that was made and judged."""

    folder: Path
    plan: Plan
    verdicts: Mapping[str, Verdict]
    steps: tuple[StepOutcome, ...]
    took_s: float
    evidence: RunEvidence | None = field(default=None, repr=False, compare=False)
    """What the judges have read."""

    @property
    def verdict(self) -> Verdict:
        """One verdict over all."""
        return merge(self.verdicts)

    @property
    def violated(self) -> tuple[str, ...]:
        """The names of the verdicts that are invalid."""
        return violated(self.verdicts)


def run_plan(
    plan: Plan,
    folder: Path,
    *,
    show: ShowLine = show_nothing,
    stop_early: bool = False,
    trace: bool = False,
    **about: Any,
) -> PlanResult:
    """Run a plan and judge the run.

    Args:
        plan: what to run.
        folder: the run folder, which is made.
        show: called with a line whenever a fault begins or heals; from any thread.
        stop_early: whether the run ends as soon as two clients got different values of one variable.
        trace: whether the nodes record what they take in, for `consensus trace`.
        about: further keys of the results, with plain JSON data.

    Raises:
        UnknownWorkload, UnknownAlgorithm, BootFailed: the run could not begin.
    """
    started = time.monotonic()
    run, clients = run_of(plan, folder, trace=trace)
    plan.save(run.files.plan)
    with run:
        nemesis = Nemesis(run, plan, show)
        nemesis.start()
        try:
            # A trace is compared with the proxy's record, which has nothing of clients that connect to nodes themselves.
            own = (
                None
                if trace or isinstance(run, SystemRun)
                else PassersBy(run.cluster, Random(f"passers-by/{plan.seed}"))
            )
            WorkloadClients(run, clients, nemesis.is_busy, stop_early, own).work()
        finally:
            nemesis.stop()
        run.network.heal()
        bring_up_those_that_can(run.faults, run.nodes)
        healed_ns = time.monotonic_ns()
        down, hand_overs = _last_round(run, clients, plan.beyond_tolerance)
    judged = time.monotonic()
    carried = PlanExecution(
        len(nemesis.outcomes), sum(outcome.fired for outcome in nemesis.outcomes), _trouble(nemesis.outcomes), down
    )
    evidence = run.evidence(faults_expected=carried.fired > 0)
    verdicts = judge(
        evidence, clients, healed_ns, carried, hand_overs, only_safety=plan.beyond_tolerance, system=plan.system
    )
    result = PlanResult(folder, plan, verdicts, tuple(nemesis.outcomes), time.monotonic() - started, evidence)
    run.notes.update(run.machine.notes())
    run.save_results(
        verdicts,
        verdict=result.verdict.status,
        evidence=result.verdict.evidence,
        workload=plan.workload,
        time_s=plan.time_s,
        settings=dict(plan.settings),
        steps=[outcome.to_json() for outcome in nemesis.outcomes],
        took_s=round(result.took_s, 3),
        judged_in_s=round(time.monotonic() - judged, 3),
        **about,
    )
    return result


def _last_round(run: Run, clients: Workload, beyond_tolerance: bool) -> tuple[list[NodeId], list[HandOver]]:
    """After the heal: make the workload's last calls, let each voter of a log lead, and look at the nodes.

    Returns the nodes that are down, and what came of asking nodes to lead.
    """
    if isinstance(run, SystemRun):
        assert isinstance(clients, SystemWorkload)
        run.last_round(clients)
        return [node for node in run.nodes if run.cluster.state(node) is not ProcessState.UP], []
    for planned in clients.final_calls():
        calls = [ask for ask in planned if ask.node is None or ask.node in run.nodes]  # others have left
        settle(
            run,
            [
                begin(run, clients, number % clients.clients if ask.client is None else ask.client, ask)
                for number, ask in enumerate(calls)
            ],
        )
    hand_overs = let_each_lead(run) if log_traits(run.algorithm).elects and not beyond_tolerance else []
    run.look_at_replicas()
    if any(call.completion is None or call.outcome == "info" for call in run.recorder.history.operations):
        run.look_for_silent_nodes()
    return [node for node in run.nodes if run.cluster.state(node) is not ProcessState.UP], hand_overs


def judge(
    run: RunEvidence,
    clients: Workload,
    healed_ns: int,
    carried: PlanExecution,
    hand_overs: Sequence[HandOver] = (),
    *,
    only_safety: bool = False,
    system: System | None = None,
) -> dict[str, Verdict]:
    """Compute every verdict on a run of a workload.

    Args:
        run: the run's evidence.
        clients: the workload.
        healed_ns: when every fault had healed, in nanoseconds of the harness's clock.
        carried: what became of the plan.
        hand_overs: what came of asking each voter of a log to lead.
        only_safety: whether more was lost than is tolerated, so that only safety is judged.
        system: what ran, if it is not ours.
    """
    if isinstance(clients, SystemWorkload):
        assert system is not None, "only a system that is not ours has such a workload"
        return judge_system(run, clients, healed_ns, carried, system)
    judges: dict[str, Checker] = {
        **clients.judges,
        "invariants": invariants,
        "durability": durability,
        **({"agreement": agreement, "answers": answers} if run.algorithm.keeps_log else {}),
        **({"sessions": session_ends} if clients.needs_log else {}),
        **({"returns": late_returns} if clients.needs_log and timed_calls(run) else {}),
        "liveness": lambda evidence: liveness(evidence, healed_ns, ANSWER_AFTER_HEAL_S),
    }
    functions = clients.functions
    if only_safety:
        judges = {name: check for name, check in judges.items() if name not in _NOT_OWED_BEYOND}
        functions, carried = (), replace(carried, down=())
    verdicts = {
        **contract_verdict(run),
        **recovery_verdict(run),
        **node_changes_verdict(run),
        **leading_verdict(run, hand_overs),
        **{name: check(run) for name, check in judges.items()},
    }
    if verdicts["invariants"].evidence.startswith(_INAPPLICABLE):
        del verdicts["invariants"]
    # The known bad runs begin at 0 ns, and count as healed from there on.
    if not only_safety:
        judges["liveness"] = partial(liveness, healed_ns=0, within_s=ANSWER_AFTER_HEAL_S)
    verdicts["guards"] = guards(run, carried, functions, judges, known_bad(run.algorithm, clients.model))
    return verdicts


def _trouble(outcomes: list[StepOutcome]) -> list[str]:
    """Return why steps did not fire that should have. Those that wait for a message or a role need not."""
    return [
        f"{outcome.step}: {outcome.trouble}"
        for outcome in outcomes
        if outcome.trouble is not None and not _waited_in_vain(outcome)
    ]


def _waited_in_vain(outcome: StepOutcome) -> bool:
    waits = outcome.missed or outcome.step.when is not None or outcome.step.fault == "kill-at"
    return waits and not outcome.fired
