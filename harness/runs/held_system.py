"""A system that is not ours, held by hand: a test or the command line says what happens to it, and clients ask meanwhile.

Theory of operation
-------------------
`HeldSystem` is a `SystemRun` whose clients ask in a thread of their own, as the workload says, from `start` to `end`. Its holder
injects faults, and may make calls of its own. `end` heals, makes the workload's last round of calls, and ends every process.
`judge` gives the verdicts of a run of a plan. With `asks=False` no client asks, and only what nodes did by themselves is judged.

Rules
-----
1. One thread at a time uses the system's clients, and holds `_turn`.
2. Faults are injected from any thread, as the nemesis does.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Final, Self

from cluster.clients.outcomes import Outcome
from cluster.errors import ConsensusError, Mistake, NoSuchNode
from cluster.processes import ProcessState
from harness.checkers.guards import PlanExecution
from harness.checkers.properties import contract_verdict
from harness.checkers.recovery import recovery_verdict
from harness.checkers.verdict import Verdict
from harness.faults.active import EndsOnHeal
from harness.faults.catalogue import check_arguments, find_fault, split_lists
from harness.faults.injector import Faults
from harness.faults.target import bring_up_those_that_can
from harness.records.history import FUNCTIONS
from harness.records.run_folders import NOT_JUDGED
from harness.runs.system_run import RecordedSystemCall, SystemRun, judge_system
from harness.runs.workload_clients import REST_S, WorkloadClients
from harness.systems.registry import check_strikes
from harness.systems.system import System
from harness.workloads.planned_call import PlannedCall
from harness.workloads.system_workload import TIMEOUT_S
from node.contract import NodeId

#: Workloads want to know how long a run lasts. This one ends when its user says so, so this stands in for that time, in seconds.
_TIME_S: Final = 60.0
_LOOK_S: Final = 0.01


class NoAnswers(ConsensusError):
    """The clients have not got as many answers in time as a test has waited for."""


class HeldSystem:
    """One run, from `start` (or `with`) to `end`."""

    def __init__(
        self,
        folder: Path,
        system: System,
        nodes: tuple[NodeId, ...],
        *,
        workload: str | None = None,
        seed: int = 0,
        asks: bool = True,
    ) -> None:
        """Describe a run.

        Args:
            folder: the run folder, which is made, and must be empty.
            system: what is under test.
            nodes: the names of its nodes.
            workload: what clients ask; None: the system's usual workload.
            seed: every random draw comes from it.
            asks: whether clients ask by themselves.

        Raises:
            BadSystem: the system cannot be started here.
            UnknownWorkload: the system does not serve it.
        """
        system.check()
        self.described, self.asks = system, asks
        self.workload = system.workload(workload)(nodes, seed, _TIME_S)
        self.run = SystemRun(folder, system, nodes, seed, self.workload)
        self._clients = WorkloadClients(self.run, self.workload, lambda: True, stop_early=False)
        self._turn, self._over = threading.RLock(), threading.Event()
        self._thread = threading.Thread(target=self._keep_asking, name="clients", daemon=True)
        self._broke: BaseException | None = None
        self._own_clients = 0
        self._healed_ns = 0
        self._down: list[NodeId] = []
        self._injected = 0
        self._active: list[EndsOnHeal] = []

    @property
    def faults(self) -> Faults:
        """Kills, suspends, cuts and disturbs, with receipts."""
        return self.run.faults

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """The nodes' names."""
        return self.run.nodes

    # --- its start and its end --------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start every node, and then the clients. Raises BootFailed; nothing is left running then."""
        self.run.__enter__()
        self._thread.start()
        return self

    def end(self) -> None:
        """Heal, let clients make their last calls, and end every process. A second call does nothing.

        Raises what the clients' thread has raised, if that was a mistake of the harness.
        """
        if self._over.is_set():
            return
        self._over.set()
        self._thread.join()
        try:
            if self._broke is not None:
                raise self._broke
            self._clients.settle()
            self.run.faults.stop_new_faults()
            for active in reversed(self._active):
                active.heal()
            self.run.network.heal()
            bring_up_those_that_can(self.run.faults, self.nodes)
            self._healed_ns = time.monotonic_ns()
            if self.asks:
                self.run.last_round(self.workload)
            self._down = [node for node in self.nodes if self.run.cluster.state(node) is not ProcessState.UP]
        finally:
            self.run.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()

    def _keep_asking(self) -> None:
        try:
            while not self._over.is_set():
                with self._turn:
                    if self.asks:
                        self._clients.step()
                    else:
                        self.run.poll()
                self.run.machine.rest(REST_S)
        except BaseException as error:  # noqa: BLE001 - a mistake of the harness; `end` raises it
            self._broke = error

    # --- calls ------------------------------------------------------------------------------------------------------

    def call(
        self, f: str, key: str = "", value: Any = None, *, at: NodeId | None = None, timeout_s: float = TIMEOUT_S
    ) -> Outcome:
        """Make a call of a client of its own, and return its outcome. The call is recorded and judged as any.

        Args:
            f: the operation, such as "put".
            key: its key.
            value: what it carries.
            at: the node to ask; None for any.
            timeout_s: how long to wait for an answer, in seconds.

        Raises:
            NoSuchNode: no node has that name.
            Mistake: the clients of no workload have such an operation.
        """
        under_way = self.begin(f, key, value, at=at, timeout_s=timeout_s)
        while under_way.outcome is None:
            if self._broke is not None:
                raise self._broke
            time.sleep(REST_S)
        return under_way.outcome

    def begin(
        self, f: str, key: str = "", value: Any = None, *, at: NodeId | None = None, timeout_s: float = TIMEOUT_S
    ) -> RecordedSystemCall:
        """Begin a call, and do not wait for its outcome. The arguments and errors are those of `call`."""
        if at is not None and at not in self.nodes:
            raise NoSuchNode(f"there is no node {at!r}: there are {', '.join(self.nodes)}")
        if f not in FUNCTIONS:
            raise Mistake(
                f"there is no operation {f!r}: the clients of {self.workload.name} call {', '.join(self.functions)}"
            )
        with self._turn:
            self._own_clients += 1
            client = self.workload.clients + self._own_clients
            return self.run.ask(client, PlannedCall(f, key, value, at, timeout_s))

    @property
    def functions(self) -> Sequence[str]:
        """The operations of the workload."""
        model = self.workload.model
        return self.workload.functions if model is None else model.functions

    def wait_for_answers(self, number: int, within_s: float = 30.0) -> None:
        """Return when clients have got so many more answers. Raises NoAnswers if that takes longer than `within_s` seconds."""
        wanted, until_s = self._answers() + number, time.monotonic() + within_s
        while self._answers() < wanted:
            if time.monotonic() > until_s:
                raise NoAnswers(
                    f"{number} more answers were wanted within {within_s:g} s, and {wanted - self._answers()} lack"
                )
            time.sleep(_LOOK_S)

    def _answers(self) -> int:
        with self._turn:
            return sum(event.type == "ok" for event in self.run.recorder.history.events)

    # --- faults -----------------------------------------------------------------------------------------------------

    def inject(self, fault: str, **arguments: Any) -> EndsOnHeal:
        """Inject a fault of the catalogue. It ends with `heal`, or at the end of a `with`.

        Raises:
            BadFault: there is no such fault, it takes other arguments, or it cannot strike this system.
        """
        check_strikes(self.described, [fault])
        arguments = split_lists(arguments)
        check_arguments(fault, arguments, self.nodes)
        self._injected += 1
        rng = Random(f"{self.run.seed}/{self._injected}")
        active = EndsOnHeal(find_fault(fault).fault.inject(self.run, rng, **arguments).heal)
        self._active.append(active)
        return active

    # --- its verdicts -----------------------------------------------------------------------------------------------

    def judge(self, **about: Any) -> Mapping[str, Verdict]:
        """Judge the run and write its results, after `end`. `about` has further keys of the results, with plain JSON data."""
        count = len(self.run.faults.receipts)
        evidence = self.run.evidence(faults_expected=count > 0)
        if self.asks or evidence.history.operations:
            carried = PlanExecution(count, count, (), self._down)
            verdicts = judge_system(evidence, self.workload, self._healed_ns, carried, self.described)
        else:
            self.run.notes[NOT_JUDGED] = "no client asked anything: `consensus up --workload NAME` lets clients ask"
            verdicts = {**contract_verdict(evidence), **recovery_verdict(evidence)}
        self.run.notes.update(self.run.machine.notes())
        self.run.save_results(verdicts, workload=self.workload.name, **about)
        return verdicts
