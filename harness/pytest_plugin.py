"""Fixtures for pytest: a real cluster whose faults are real and whose run is judged, for tests of any algorithm.

```python
@pytest.fixture
def consensus_algorithm():
    return "mine:MyAlgorithm"        # or the class itself

def test_a_minority_may_die(cluster, faults):
    cluster.propose("colour", "blue")
    faults.kill("n1")
    assert cluster.query("colour", at="n3") == "blue"
```

Rules
-----
1. When the body of a test is over, its clusters end and are judged. A broken promise fails the test. So does a run with
   faults that was no test, such as one whose fault did not bite: it would have passed with any algorithm.
2. `cluster`, `faults` and `experiment` of one test belong to one cluster.
3. A run's folder is in `.consensus/runs/pytest` (or below CONSENSUS_DIR), where the command line finds it, and has a name
   that no other test uses, in any process. It is kept if the test failed, or with `--consensus-keep`.
4. Every pytest process loads this module, so it imports no other module of this package before a test uses a fixture.
   `harness.runs.pytest_runs` does the work.
"""

import contextlib
import os
import random
import re
import shlex
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest

if TYPE_CHECKING:
    from harness.faults.injector import Faults
    from harness.runs.experiment import Experiment
    from harness.runs.held_system import HeldSystem
    from harness.runs.judged_cluster import JudgedCluster
    from harness.runs.plan import Plan
    from harness.runs.pytest_runs import PytestRuns
    from harness.runs.suite import PlanResult
    from node.contract import Algorithm

Nodes: TypeAlias = "int | Sequence[str]"

MARKER: Final = (
    "consensus(nodes=5, algorithm='paxos', seed=None): the cluster of this test; "
    "nodes is a number or names, algorithm a name or module:Class"
)
_MARKED: Final = ("nodes", "algorithm", "seed")
_NAME_MAX: Final = 60

_RUNS: Final = pytest.StashKey["PytestRuns"]()


# --- hooks ----------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--consensus-seed` and `--consensus-keep`."""
    group = parser.getgroup("consensus", "consensus algorithms under faults")
    group.addoption("--consensus-seed", type=int, metavar="N", help="the seed of every random draw of clusters")
    group.addoption("--consensus-keep", action="store_true", help="keep the run folders of tests that passed, too")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and draw the seed. The workers of pytest-xdist get the seed with the other options."""
    config.addinivalue_line("markers", MARKER)
    if config.option.consensus_seed is None:
        config.option.consensus_seed = random.SystemRandom().randrange(2**31)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Delete the run folders of a test that passed."""
    result = yield
    runs = item.stash.get(_RUNS, None)
    if runs is not None and not runs.failed and not item.config.option.consensus_keep:
        runs.delete()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """End and judge the clusters as soon as the body of the test is over."""
    try:
        result = yield
    except (KeyboardInterrupt, SystemExit, pytest.exit.Exception):
        raise  # the fixture ends the clusters
    except BaseException as error:  # pytest.fail and pytest.skip raise no Exception
        try:
            _finish(item)  # so that the report of the failure has the verdicts
        except Exception as another:  # noqa: BLE001 - the test's own failure matters more
            error.add_note(f"and its cluster could not be judged: {type(another).__name__} {another}")
        raise
    problems = _finish(item)
    if problems:
        pytest.fail("\n\n".join(problems), pytrace=False)
    return result


def _finish(item: pytest.Item) -> list[str]:
    runs = item.stash.get(_RUNS, None)
    return [] if runs is None else runs.finish()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the run folders, and the command that runs the test again, to the report of a failure."""
    report = yield
    runs = item.stash.get(_RUNS, None)
    if runs is not None and report.failed:
        runs.failed = True
        # A node id begins at pytest's root folder; a command line begins at the current folder.
        name = f"{os.path.relpath(item.path, item.config.invocation_params.dir)}::{item.nodeid.partition('::')[2]}"
        again = f"replay: pytest {shlex.quote(name)} --consensus-seed {runs.seed}"
        report.sections.append(("consensus", "\n".join([*runs.described(), again])))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove the folders of runs, if they are empty."""
    root = _root(session.config)
    if hasattr(session.config, "workerinput") or not root.is_dir():
        return  # only the process that leads pytest-xdist's workers does so, when all of them are done
    from harness.records.run_folders import tests_folder  # noqa: PLC0415 - see rule 4

    with contextlib.suppress(OSError):
        for folder in (tests_folder(root), tests_folder(root).parent, root):
            folder.rmdir()


# --- fixtures -------------------------------------------------------------------------------------------------------


@pytest.fixture
def consensus_algorithm(request: pytest.FixtureRequest) -> "str | type[Algorithm]":
    """Return the algorithm under test: a shipped one's name, `module:Class`, or a class. Override it to test your own."""
    return _marked(request).get("algorithm", "paxos")  # type: ignore[no-any-return]  # a marker's arguments are anything


@pytest.fixture
def consensus_nodes(request: pytest.FixtureRequest) -> Nodes:
    """Return how many nodes a cluster has, or their names."""
    return _marked(request).get("nodes", 5)  # type: ignore[no-any-return]


@pytest.fixture
def consensus_seed(request: pytest.FixtureRequest) -> int:
    """Return the seed of every random draw of the test's clusters."""
    seed = _marked(request).get("seed")
    return int(request.config.option.consensus_seed if seed is None else seed)


def _wanted(request: pytest.FixtureRequest, algorithm: "str | type[Algorithm]", nodes: Nodes) -> dict[str, Any]:
    """Return the arguments of the test's clusters: those of the marker, and for the rest those of the fixtures."""
    return {"algorithm": algorithm, "nodes": nodes, **_marked(request)}


@pytest.fixture
def experiment_factory(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    consensus_algorithm: "str | type[Algorithm]",
    consensus_nodes: Nodes,
    consensus_seed: int,
) -> "Iterator[Callable[..., Experiment]]":
    """Return a function that begins a run with a cluster of its own.

    It takes the arguments of `harness.runs.experiment.Experiment`, except the folder.
    """
    from harness.runs.experiment import Experiment  # noqa: PLC0415 - see rule 4

    runs = _runs_of(request, consensus_seed)
    wanted = _wanted(request, consensus_algorithm, consensus_nodes)

    def make(*, nodes: Nodes = wanted["nodes"], algorithm: Any = wanted["algorithm"], **more: Any) -> Experiment:
        run = runs.new_run()
        name = _importable_by_nodes(algorithm, monkeypatch)
        made = Experiment(run.folder, nodes=nodes, algorithm=name, **{"seed": runs.run_seed, **more})
        run.begin(made)
        return made

    yield make
    runs.abandon()  # after Ctrl-C, or after an error in another fixture


@pytest.fixture
def experiment(experiment_factory: "Callable[..., Experiment]") -> "Experiment":
    """Return a run that has begun. Its calls return outcomes, and can begin without waiting for the answer."""
    return experiment_factory()


@pytest.fixture
def cluster_factory(experiment_factory: "Callable[..., Experiment]") -> "Callable[..., JudgedCluster]":
    """Return a function that starts clusters: `cluster_factory(nodes=3, algorithm="majority")`."""
    from harness.runs.judged_cluster import JudgedCluster  # noqa: PLC0415 - see rule 4

    return lambda **about: JudgedCluster(experiment_factory(**about))


@pytest.fixture
def cluster(experiment: "Experiment") -> "JudgedCluster":
    """Return a cluster that is up. Its calls and faults are recorded and judged."""
    from harness.runs.judged_cluster import JudgedCluster  # noqa: PLC0415 - see rule 4

    return JudgedCluster(experiment)


@pytest.fixture
def faults(experiment: "Experiment") -> "Faults":
    """Return the faults of the test's cluster: kill, suspend, partition, isolate, lossy, hold, …"""
    return experiment.faults


@pytest.fixture
def run_plan(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    consensus_algorithm: "str | type[Algorithm]",
    consensus_nodes: Nodes,
    consensus_seed: int,
) -> "Callable[..., PlanResult]":
    """Return a function that runs a fault plan, or draws one: `run_plan(faults=["kill", "partition"], time_s=5)`.

    See `harness.runs.plan_generator`.
    """
    from cluster.spec import node_names  # noqa: PLC0415 - see rule 4
    from harness.runs import suite  # noqa: PLC0415
    from harness.runs.plan_generator import generate  # noqa: PLC0415

    runs = _runs_of(request, consensus_seed)
    wanted = _wanted(request, consensus_algorithm, consensus_nodes)

    def run(plan: "Plan | None" = None, **drawn: Any) -> "PlanResult":
        name = _importable_by_nodes(wanted["algorithm"] if plan is None else plan.algorithm, monkeypatch)
        made = runs.new_run()
        arguments = {"seed": runs.run_seed, "time_s": 5.0, **drawn}
        chosen = plan or generate(name, node_names(wanted["nodes"]), **arguments)
        result = suite.run_plan(chosen, made.folder)
        made.take_verdicts(result.verdicts, has_faults=bool(chosen.steps))
        return result

    return run


@pytest.fixture
def system_factory(request: pytest.FixtureRequest, consensus_seed: int) -> "Iterator[Callable[..., HeldSystem]]":
    """Return a function that starts a system that is not ours, whose clients ask until the test is over.

    `system_factory("shop.toml")` or `system_factory("./raft.py", workload="lin-kv")`: the TOML file of a command that listens
    on ports, the name of one that is shipped, or a command that speaks Maelstrom's protocol.
    """
    from cluster.spec import node_names  # noqa: PLC0415 - see rule 4
    from harness.runs.held_system import HeldSystem  # noqa: PLC0415
    from harness.systems.registry import system_of  # noqa: PLC0415

    runs = _runs_of(request, consensus_seed)

    def make(target: str, *, nodes: Nodes = 3, workload: str | None = None, asks: bool = True) -> "HeldSystem":
        names = node_names(nodes) if isinstance(nodes, int) else tuple(nodes)
        run = runs.new_run()
        held = HeldSystem(run.folder, system_of(target), names, workload=workload, seed=runs.run_seed, asks=asks)
        run.begin(held)
        return held

    yield make
    runs.abandon()  # after Ctrl-C, or after an error in another fixture


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the arguments of the test's marker.

    Raises:
        UsageError: the marker has other arguments.
    """
    marker = request.node.get_closest_marker("consensus")
    if marker is None:
        return {}
    unknown = [*map(repr, marker.args), *(name for name in marker.kwargs if name not in _MARKED)]
    if unknown:
        raise pytest.UsageError(f"@pytest.mark.consensus takes {', '.join(_MARKED)} by name, and not {unknown[0]}")
    return dict(marker.kwargs)


def _runs_of(request: pytest.FixtureRequest, seed: int) -> "PytestRuns":
    """Return the runs of the test that requests a fixture."""
    from harness.runs.pytest_runs import PytestRuns  # noqa: PLC0415 - see rule 4

    stash = request.node.stash
    if _RUNS not in stash:
        name = re.sub(r"[^\w.-]+", "-", request.node.name).strip("-")[:_NAME_MAX]
        stash[_RUNS] = PytestRuns(_root(request.config), name, seed)
    found: PytestRuns = stash[_RUNS]
    return found


def _root(config: pytest.Config) -> Path:
    return Path(config.invocation_params.dir, os.environ.get("CONSENSUS_DIR", ".consensus"))


def _importable_by_nodes(algorithm: "str | type[Algorithm]", monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the algorithm's name, and add the folder of its module to the nodes' module path."""
    from harness.runs.pytest_runs import importable  # noqa: PLC0415 - see rule 4

    name, folder = importable(algorithm)
    if folder is not None:
        monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    return name
