"""`consensus test`, `consensus replay` and `consensus shrink`: run a plan of faults, repeat it, and reduce it."""

import re
import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from cluster.errors import Mistake, Unknown
from cluster.spec import node_names
from harness.cli.convention import EXIT_VIOLATED, end_of, print_json, print_stderr, shown_path, verb
from harness.cli.parameters import FloatRange, algorithm_parameter, settings_option
from harness.cli.system_options import answers_option, disk_option, system_option, system_under_test
from harness.records.jsonable import BadFile
from harness.records.results import RunResults
from harness.records.run_files import PLAN_NAME, RESULTS_NAME, RunFiles
from harness.records.run_folders import drop_empty, find_run, is_run, new_folder
from node.tuning import as_text
from node.wording import count

if TYPE_CHECKING:
    from harness.runs.plan import Plan
    from harness.runs.suite import PlanResult

_SEEDS_MAX = 1_000
_PLAN_OPTIONS = (
    "workload",
    "faults",
    "time_s",
    "seed",
    "nodes",
    "steps",
    "settings",
    "shipped",
    "beyond_tolerance",
)
_MARKS = {"valid": ("✓", "bold green"), "invalid": ("✗", "bold red"), "unknown": ("?", "bold yellow")}


class NameList(click.ParamType[tuple[str, ...]]):
    """A parameter type: names, separated by commas, such as kill,cut,drop."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names.

        Raises:
            BadParameter: one of them is empty.
        """
        if isinstance(value, tuple):
            return value
        names = tuple(name.strip() for name in str(value).split(","))
        if "" in names:
            self.fail(f"{value!r} has an empty name: write, for example, kill,cut", param, ctx)
        return names


class Seeds(click.ParamType[tuple[int, ...]]):
    """A parameter type: numbers and ranges, such as 1-5 or 3,7,11-13."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the numbers.

        Raises:
            BadParameter: the text has another form, or too many numbers.
        """
        found: list[int] = []
        for part in str(value).split(","):
            match = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", part)
            if match is None or int(match[2] or match[1]) < int(match[1]):
                self.fail(f"{value!r} names no seeds: write, for example, 1-5 or 3,7", param, ctx)
            found += range(int(match[1]), int(match[2] or match[1]) + 1)
        if len(set(found)) > _SEEDS_MAX:
            self.fail(f"{value!r} are more than {count(_SEEDS_MAX, 'run')}: use `consensus campaign`", param, ctx)
        return tuple(dict.fromkeys(found))


@verb()
@algorithm_parameter()
@click.option("--workload", help="What the clients do.  [default: mixed with a log, else register]")
@click.option("--faults", type=NameList(), default=(), help="Faults or families, such as kill,cut.  [default: all]")
@click.option("--time", "time_s", type=FloatRange(0.5, 3600), default=10, show_default=True, help="Seconds of faults.")
@click.option(
    "--seed", type=click.IntRange(0), help="The seed of the plan and of all random draws.  [default: a new one]"
)
@click.option("--seeds", type=Seeds(), help="One run for each of these seeds: 1-5, or 3,7.")
@click.option("-n", "--nodes", type=click.IntRange(1, 99), default=5, show_default=True, help="How many nodes.")
@click.option("--steps", type=click.IntRange(0, 1000), help="How many faults.  [default: about one every 0.8 s]")
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Run this plan instead of a drawn one.",
)
@settings_option("A setting of the cluster, in the place of a drawn one; see the reference of settings.")
@click.option("--shipped", is_flag=True, help="Draw no settings: all that --set does not name are as shipped.")
@click.option(
    "--beyond-tolerance",
    is_flag=True,
    help="Let any number of nodes and disks be damaged or lost for good, and judge only safety.",
)
@click.option("--trace", is_flag=True, help="Let the nodes record their input, for `consensus trace`.")
@disk_option
@answers_option
@system_option
@click.pass_obj
def test(
    root: Path,
    /,
    *,
    algorithm: str | None,
    workload: str | None,
    faults: tuple[str, ...],
    time_s: float,
    seed: int | None,
    seeds: tuple[int, ...] | None,
    nodes: int,
    steps: int | None,
    plan_file: Path | None,
    settings: tuple[tuple[str, int], ...],
    shipped: bool,
    beyond_tolerance: bool,
    trace: bool,
    volatile: bool | None,
    answers_within_s: float | None,
    system_file: str | None,
    as_json: bool,
) -> int:
    """Run ALGORITHM (paxos, module:Class, …) under faults that are drawn from a seed, and judge the run.

    ALGORITHM may also be a command, such as ./raft.py or 'python3 raft.py': a node in any language that speaks Maelstrom's
    protocol on its standard input and output. `consensus new` writes one to start from.

    `--system FILE` instead of ALGORITHM tests any command that listens on ports, such as etcd: the file describes it.

    `consensus faults` lists the faults.

    Exit code: 0 all promises were kept, 1 one was violated, 2 unknown: the run was no test.

    \b
    Workloads:
      register      propose and query on variables that are set once
      mixed         everything below at once, on a replicated log (multipaxos, raft)
      kv            put, get, delete, cas on its keys; ranges and versions
      cas-register  write, read, cas on its registers
      reads         reads of one hot key that overlap
      watch         changes of keys, followed by watches and iterators
      lock          acquire, renew, release its locks, and use the resources that they protect
      members       join, send heartbeats, vanish, leave; read views and follow them
      assignment    tasks that are spread over such members
      module:Class  your own

    \b
    Workloads for a command:
      lin-kv        read, write, cas on keys, linearizably
      echo          texts that come back
      unique-ids    ids, no two of which are equal
      broadcast     messages that each node has in the end
      g-set         a set that only grows
      g-counter, pn-counter            numbers that add up in the end
      txn-list-append, txn-rw-register transactions; also NAME/serializable, NAME/read-committed, …
      kafka         logs of messages: send, poll, commit offsets
    """
    from harness.runs.plan import load  # noqa: PLC0415 - see harness.cli.verbs
    from harness.runs.plan_generator import generate  # noqa: PLC0415
    from harness.runs.suite import run_plan  # noqa: PLC0415
    from harness.workloads.registry import usual_workload, workload_for  # noqa: PLC0415
    from node.algorithms import load_algorithm  # noqa: PLC0415

    if [algorithm, plan_file, system_file].count(None) != 2:
        raise click.UsageError(
            "give either an algorithm, such as paxos, or a system with --system, or a plan with --plan"
        )
    if seeds is not None and (seed is not None or plan_file is not None):
        raise click.UsageError("--seeds draws a plan from each seed: give neither --seed nor --plan with it")
    if plan_file is not None:
        source = click.get_current_context().get_parameter_source
        given = [
            name.removesuffix("_s") for name in _PLAN_OPTIONS if source(name) is click.core.ParameterSource.COMMANDLINE
        ]
        if given:
            raise click.UsageError(f"a plan has its own {', '.join(given)}: change the plan's file")
        plans = [load(plan_file)]
    else:
        ours = ["settings", "shipped", "beyond_tolerance", "trace"]
        system = system_under_test(algorithm, volatile, ours, system_file, answers_within_s)
        if system is not None:
            algorithm, workload = system.name, system.workload(workload).name
        else:
            assert algorithm is not None
            workload = workload or usual_workload(load_algorithm(algorithm))
            workload_for(workload, load_algorithm(algorithm))
        plans = [
            generate(
                algorithm,
                node_names(nodes),
                each,
                faults=faults,
                time_s=time_s,
                workload=workload,
                steps=steps,
                settings=dict(settings),
                draws_settings=not shipped,
                beyond_tolerance=beyond_tolerance,
                system=system,
            )
            for each in seeds or [secrets.randbelow(1_000_000) if seed is None else seed]
        ]
    results = []
    for plan in plans:
        folder = new_folder(root, f"{plan.algorithm}-{plan.seed}")
        print_stderr(
            f"{plan.algorithm}, {count(len(plan.nodes), 'node')}, {count(len(plan.steps), 'fault')} in "
            f"{plan.time_s:g} s, seed {plan.seed}"
        )
        if plan.settings:
            print_stderr(f"settings: {as_text(plan.settings)}; all others as shipped")
        try:
            results.append(run_plan(plan, folder, show=print_stderr, trace=trace))
        except BaseException as error:
            how = end_of(error) if isinstance(error, KeyboardInterrupt) else "not carried out to its end"
            again = f"consensus replay {shown_path(folder)}" if is_run(folder) else f"the same with --seed {plan.seed}"
            print_stderr(f"{how}, and not judged. Run folder: {shown_path(folder)}    again: {again}")
            raise
        if not as_json:
            _print(results[-1])
    if not as_json and (more := not_reached(results)) is not None:
        print_stderr(more)
    if seeds is not None:
        return _print_several(results, as_json)
    if as_json:
        print_json(**_plain(results[0]))
    return results[0].verdict.exit_code


def not_reached(results: "list[PlanResult]") -> str | None:
    """Return what valid runs have not shown, and what to run for it; None if nothing needs to be said.

    Where the rules of an algorithm's messages are known, each message is judged. Of any other algorithm only what clients and
    disks show is, and a run meets few orders of messages.
    """
    from node.algorithms import load_algorithm  # noqa: PLC0415

    name = results[0].plan.algorithm
    if results[0].plan.system is not None:
        return None
    if any(result.violated or "invariants" in result.verdicts for result in results) or load_algorithm(name).keeps_log:
        return None
    return (
        f"not reached: rare orders of messages, such as a proposer who does not adopt an accepted value. "
        f"The rules of {name}'s messages are not known here. Try `consensus simulate {name}` and `consensus explore {name}`"
    )


def _print_several(results: "list[PlanResult]", as_json: bool) -> int:
    """Print the results of several seeds, and return the exit code over all."""
    if as_json:
        print_json(runs=[_plain(result) for result in results])
    else:
        statuses = [str(result.verdict.status) for result in results]
        print(", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses)))
    codes = {result.verdict.exit_code for result in results}
    return EXIT_VIOLATED if EXIT_VIOLATED in codes else max(codes)


@verb()
@click.argument("run", required=False)
@click.option("--times", type=click.IntRange(1, 10_000), help="How many runs.  [default: 5 of a plan, 1 of a schedule]")
@click.pass_obj
def replay(root: Path, run: str | None, times: int | None, as_json: bool) -> int:
    """Run the plan of RUN again several times, and print how often it violates a promise.

    RUN is a run's folder, or a part of its name; without it, the newest run. A schedule that `consensus explore` or `consensus
    simulate` has found is replayed step by step on real processes. RUN may also be the file of such a schedule.

    Exit code: 1 if a promise was violated again, 2 if not and a run was no test, else 0.
    """
    from harness.runs.suite import run_plan  # noqa: PLC0415

    file = Path(run) if run is not None and Path(run).is_file() else RunFiles(find_run(root, run)).schedule
    if file.exists():
        return _replay_schedule(root, file, times or 1, as_json=as_json)
    times = times or 5
    source, plan, violated = _past_run(root, run, judged=False)
    parent = new_folder(root, f"{plan.algorithm}-{plan.seed}-replay")
    results = []
    for number in range(1, times + 1):
        result = run_plan(plan, parent / f"{number:03}", replay_of=source.name)
        results.append(result)
        outcome = f"violates {', '.join(result.violated)}" if result.violated else result.verdict.status
        print_stderr(f"run {number} of {times}: {outcome}, {result.took_s:.1f} s")
    # If the run violated nothing, every violation counts.
    again = [result for result in results if (set(result.violated) & violated if violated else result.violated)]
    if as_json:
        print_json(run=str(source), times=times, fired=len(again), runs=[_plain(result) for result in results])
    else:
        what = ", ".join(sorted(violated)) or "anything"
        print(f"{len(again)} of {times} violate {what}. Run folders: {shown_path(parent)}")
        for result in again[:1]:
            print(f"  {result.verdict.evidence}\n  its page: consensus report {shown_path(result.folder)}")
    if any(result.violated for result in results):
        return EXIT_VIOLATED
    return max(result.verdict.exit_code for result in results)


def _replay_schedule(root: Path, file: Path, times: int, *, as_json: bool) -> int:
    """Replay a schedule, print the results, and return the exit code."""
    from harness.replay import schedule_replay  # noqa: PLC0415
    from harness.replay.schedule import load  # noqa: PLC0415

    schedule = load(file)
    parent = new_folder(root, f"{schedule.algorithm}-replay")
    results = []
    for number in range(1, times + 1):
        folder = parent if times == 1 else parent / f"{number:03}"
        results.append(schedule_replay.replay(schedule, folder, replay_of=str(file.name)))
        print_stderr(f"run {number} of {times}: {results[-1].verdict.status}, {results[-1].took_s:.1f} s")
    fired = sum(bool(result.violated) for result in results)
    if as_json:
        runs = [result.to_json() for result in results]
        print_json(schedule=str(file), times=times, fired=fired, runs=runs)
    else:
        print("\n".join(results[0].lines()))
        print(f"{fired} of {times} violate. Run folders: {shown_path(parent)}")
    return EXIT_VIOLATED if fired else max(result.verdict.exit_code for result in results)


@verb()
@click.argument("run", required=False)
@click.option("--workers", type=click.IntRange(1, 16), default=2, show_default=True, help="How many runs at a time.")
@click.pass_obj
def shrink(root: Path, run: str | None, workers: int, as_json: bool) -> int:
    """Reduce the plan of RUN, which violates a promise, to the fewest steps that still violate it.

    RUN is a run's folder, or a part of its name; without it, the newest run. The run of the smallest plan is kept in a folder
    of its own, also after Ctrl-C.

    Exit code: 1 if the smallest plan violates the promise, 2 if the plan of RUN did not do so again.
    """
    from harness.runs.shrink import NotAgain, Shrinker  # noqa: PLC0415

    source, plan, violated = _past_run(root, run)
    if not violated:
        raise Mistake(f"{source.name} violates nothing, so its plan cannot be shrunk: give a run that is invalid")
    promise = next(name for name in _statuses(RunFiles(source)) if name in violated)
    kept = new_folder(root, f"{plan.algorithm}-{plan.seed}-shrunk")
    started = time.monotonic()
    try:
        shrunk = Shrinker(plan, promise, kept, workers=workers, show=print_stderr).shrink()
    except NotAgain as error:
        raise Unknown(str(error)) from error
    finally:
        drop_empty(kept)
    took_s, (again, of) = time.monotonic() - started, shrunk.again
    if as_json:
        about = {
            "promise": promise,
            "steps_before": shrunk.steps_before,
            "runs": shrunk.runs,
            "violates_in": again,
            "of": of,
        }
        print_json(**_plain(shrunk.result), **about, shrink_took_s=round(took_s, 1))
    else:
        left = shrunk.result.plan.steps
        none = "" if left else " The violation needs no fault."
        print(
            f"{count(shrunk.steps_before, 'step')} became {len(left)}, in {count(shrunk.runs, 'run')} and {took_s:.0f} s.{none}"
        )
        for step in left:
            print(f"  {step}")
        print(f"It violated {promise} in {again} of {count(of, 'run')}.")
        if shrunk.result.plan.settings:
            print(f"  with the settings {as_text(shrunk.result.plan.settings)}; all others are as shipped")
        _print(shrunk.result)
    return shrunk.result.verdict.exit_code


# --- run folders --------------------------------------------------------------------------------------------------------


class _PastRun(NamedTuple):
    folder: Path
    plan: "Plan"
    violated: set[str]
    """The names of its invalid verdicts."""


def _past_run(root: Path, wanted: str | None, *, judged: bool = True) -> _PastRun:
    """Find a past run.

    Args:
        root: the folder of the cluster's state.
        wanted: a run's folder, or a part of its name; None for the newest.
        judged: whether a run without results is an error.
    """
    from harness.runs.plan import load  # noqa: PLC0415

    files = RunFiles(find_run(root, wanted))
    if not files.plan.exists():
        raise Mistake(
            f"{files.folder} has no {PLAN_NAME}: only a run of a plan, or a session by hand with faults, can be repeated"
        )
    statuses = _statuses(files) if judged or files.results.exists() else {}
    violated = {name for name, status in statuses.items() if status == "invalid"}
    return _PastRun(files.folder, load(files.plan), violated)


def _statuses(files: RunFiles) -> dict[str, str]:
    """Return the status of each verdict of a run.

    Raises:
        Mistake: the run has no results.
    """
    try:
        return {name: verdict.status for name, verdict in RunResults.load(files.results).verdicts.items()}
    except BadFile:
        raise Mistake(f"{files.folder} has no readable {RESULTS_NAME}: was the run interrupted?") from None


# --- output -------------------------------------------------------------------------------------------------------------


def _plain(result: "PlanResult") -> dict[str, Any]:
    return {
        "run": str(result.folder),
        "verdict": str(result.verdict.status),
        "evidence": result.verdict.evidence,
        "verdicts": {
            name: {"status": str(verdict.status), "evidence": verdict.evidence}
            for name, verdict in result.verdicts.items()
        },
        "plan": result.plan.to_json(),
        "steps": [outcome.to_json() for outcome in result.steps],
        "took_s": round(result.took_s, 3),
    }


def _print(result: "PlanResult") -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    for name, verdict in result.verdicts.items():
        table.add_row(Text(*_MARKS[verdict.status]), name, Text(verdict.evidence))
    console.print(table)
    for line in _unfired(result):
        console.print(Text(f"  {line}", "dim"))
    fired = sum(outcome.fired for outcome in result.steps)
    summary = (
        f"{result.plan.algorithm}: {result.verdict.status}. {fired} of {count(len(result.steps), 'fault')} fired; "
    )
    console.print(
        Text(summary + f"seed {result.plan.seed}, {result.took_s:.1f} s", _MARKS[result.verdict.status][1]),
        soft_wrap=True,
    )
    console.print(
        Text(f"{shown_path(result.folder)}    again: consensus replay {shown_path(result.folder)}", "dim"),
        soft_wrap=True,
    )


def _unfired(result: "PlanResult") -> Iterable[str]:
    for outcome in result.steps:
        if outcome.trouble is not None:
            yield f"{outcome.step}: {outcome.trouble}"
