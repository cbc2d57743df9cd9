"""Fixtures for pytest: a cluster that is broken for real and judged, in anybody's tests, of anybody's algorithm.

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
1. When a test's own body is over, its clusters end and are judged. A broken promise fails the test. So does a run with
   faults that was no test, such as one whose fault did not bite: it would have passed whatever the algorithm does.
2. `cluster`, `faults` and `experiment` of one test are about one cluster.
3. A run's folder stands with the command line's, in `.consensus/runs/pytest` (or below CONSENSUS_DIR), under a name that no
   other test has, also not in another process. It stays if the test failed, or with `--consensus-keep`.
4. Who does not use the fixtures pays for this module alone, which imports nothing of ours: it is loaded by every pytest.
"""

import contextlib
import os
import random
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest

if TYPE_CHECKING:
    from harness.faults.injector import Faults
    from harness.runs.experiment import Experiment
    from harness.runs.judged_cluster import JudgedCluster
    from harness.runs.plan import Plan
    from harness.runs.suite import PlanResult
    from node.contract import Algorithm

Nodes: TypeAlias = "int | Sequence[str]"

MARKER: Final = (
    "consensus(nodes=5, algorithm='paxos', seed=None): what the cluster of this test is; "
    "nodes is a number or names, algorithm a name or module:Class"
)
_MARKED: Final = ("nodes", "algorithm", "seed")


@dataclass
class _Run:
    """A run of a test. `problem` is why it fails the test; None if it does not, or is not judged yet."""

    folder: Path
    experiment: "Experiment | None" = None
    is_over: bool = False
    problem: str | None = None
    said: list[str] = field(default_factory=list)


@dataclass
class _Test:
    """What a test has done with clusters."""

    seed: int
    runs: list[_Run] = field(default_factory=list)
    failed: bool = False


_TEST: Final = pytest.StashKey[_Test]()


# --- pytest's side --------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--consensus-seed`, `--consensus-keep`."""
    group = parser.getgroup("consensus", "consensus algorithms under faults")
    group.addoption("--consensus-seed", type=int, metavar="N", help="where every random draw of clusters comes from")
    group.addoption("--consensus-keep", action="store_true", help="keep the run folders of tests that passed, too")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and draw the seed, which the workers of pytest-xdist are handed with the other options."""
    config.addinivalue_line("markers", MARKER)
    if config.option.consensus_seed is None:
        config.option.consensus_seed = random.SystemRandom().randrange(2**31)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Remove what a test that passed has left."""
    result = yield
    test = item.stash.get(_TEST, None)
    if test is not None and not test.failed and not item.config.option.consensus_keep:
        for run in test.runs:
            shutil.rmtree(run.folder, ignore_errors=True)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """End and judge the clusters as soon as the test's body is over."""
    try:
        result = yield
    except (KeyboardInterrupt, SystemExit, pytest.exit.Exception):
        raise  # the fixture ends what runs
    except BaseException as error:  # pytest.fail and pytest.skip raise no Exception
        try:
            _finish(item)  # its verdicts are told with the failure
        except Exception as another:  # noqa: BLE001 - the test's own failure matters more
            error.add_note(f"and its cluster could not be judged: {type(another).__name__} {another}")
        raise
    problems = _finish(item)
    if problems:
        pytest.fail("\n\n".join(problems), pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell, with a failure, where the evidence is and how to see it again."""
    report = yield
    test = item.stash.get(_TEST, None)
    if test is not None and report.failed:
        test.failed = True
        report.sections.append(("consensus", "\n".join(_told(item, test))))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave no empty folders."""
    if not hasattr(session.config, "workerinput"):  # no worker of pytest-xdist is at work any more
        with contextlib.suppress(OSError):
            for folder in (_root(session.config), *_root(session.config).parents[:2]):
                folder.rmdir()


def _finish(item: pytest.Item) -> list[str]:
    """End what runs, judge what was not. Returns why the test fails, if it does."""
    test = item.stash.get(_TEST, None)
    if test is None:
        return []
    for run in test.runs:
        if not run.is_over:
            _end(run)
    return [run.problem for run in test.runs if run.problem is not None]


def _end(run: _Run) -> None:
    """End a run's cluster, and judge it."""
    run.is_over = True
    if run.experiment is None:
        return
    run.experiment.__exit__(None, None, None)
    verdicts = run.experiment.judge()
    _take(run, verdicts, has_faults=bool(run.experiment.faults.receipts))


def _take(run: _Run, verdicts: Any, *, has_faults: bool) -> None:
    """Take in the verdicts on a run."""
    run.said = [f"{name}: {verdict.status}: {verdict.evidence}" for name, verdict in verdicts.items()]
    broken = [
        f"{name} is broken: {verdict.evidence}" for name, verdict in verdicts.items() if verdict.status == "invalid"
    ]
    no_test = [verdict.evidence for verdict in verdicts.values() if verdict.no_test]
    if broken:
        run.problem = "\n".join(broken)
    elif no_test and has_faults:
        run.problem = f"this run was no test of what was broken in it: {no_test[0]}"


def _told(item: pytest.Item, test: _Test) -> Iterator[str]:
    from harness.report import write_report  # noqa: PLC0415 - see rule 4

    for run in test.runs:
        yield from run.said
        yield f"run folder: {run.folder}"
        try:
            yield f"report: {write_report(run.folder)}"
        except Exception as error:  # noqa: BLE001 - the test's own failure matters more
            yield f"no report: {type(error).__name__} {error}"
    # A node id begins at pytest's root folder, and what is typed begins where one stands.
    name = f"{os.path.relpath(item.path, item.config.invocation_params.dir)}::{item.nodeid.partition('::')[2]}"
    yield f"replay: pytest {shlex.quote(name)} --consensus-seed {test.seed}"


# --- the fixtures ---------------------------------------------------------------------------------------------------


@pytest.fixture
def consensus_algorithm(request: pytest.FixtureRequest) -> "str | type[Algorithm]":
    """The algorithm under test: a name of ours, `module:Class`, or a class. Override it to test your own."""
    return _marked(request).get("algorithm", "paxos")  # type: ignore[no-any-return]  # a marker's arguments are anything


@pytest.fixture
def consensus_nodes(request: pytest.FixtureRequest) -> Nodes:
    """How many nodes a cluster has, or their names."""
    return _marked(request).get("nodes", 5)  # type: ignore[no-any-return]


@pytest.fixture
def consensus_seed(request: pytest.FixtureRequest) -> int:
    """Where every random draw of the test's clusters comes from."""
    seed = _marked(request).get("seed")
    return int(request.config.option.consensus_seed if seed is None else seed)


def _wanted(request: pytest.FixtureRequest, algorithm: "str | type[Algorithm]", nodes: Nodes) -> dict[str, Any]:
    """What a test runs on: the fixtures' word, but for the marker's, which is closer to the test."""
    return {"algorithm": algorithm, "nodes": nodes, **_marked(request)}


@pytest.fixture
def experiment_factory(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    consensus_algorithm: "str | type[Algorithm]",
    consensus_nodes: Nodes,
    consensus_seed: int,
) -> "Iterator[Callable[..., Experiment]]":
    """Makes runs that have begun, each with a cluster of its own; what it is given is as for
    `harness.runs.experiment.Experiment`."""
    from harness.runs.experiment import Experiment  # noqa: PLC0415 - see rule 4

    test = _test(request, consensus_seed)
    wanted = _wanted(request, consensus_algorithm, consensus_nodes)

    def make(*, nodes: Nodes = wanted["nodes"], algorithm: Any = wanted["algorithm"], **more: Any) -> Experiment:
        run = _new_run(request, test)
        made = Experiment(
            run.folder,
            nodes=nodes,
            algorithm=_findable(algorithm, monkeypatch),
            **{"seed": consensus_seed + len(test.runs) - 1, **more},
        )
        made.__enter__()
        run.experiment, run.is_over = made, False
        return made

    yield make
    for run in test.runs:  # such as after Ctrl-C, or an error in another fixture
        if not run.is_over and run.experiment is not None:
            run.is_over = True
            run.experiment.__exit__(None, None, None)


@pytest.fixture
def experiment(experiment_factory: "Callable[..., Experiment]") -> "Experiment":
    """A run that has begun: its calls return outcomes, and can be begun without waiting for the answer."""
    return experiment_factory()


@pytest.fixture
def cluster_factory(experiment_factory: "Callable[..., Experiment]") -> "Callable[..., JudgedCluster]":
    """Makes clusters: `cluster_factory(nodes=3, algorithm="majority")`."""
    from harness.runs.judged_cluster import JudgedCluster  # noqa: PLC0415 - see rule 4

    return lambda **about: JudgedCluster(experiment_factory(**about))


@pytest.fixture
def cluster(experiment: "Experiment") -> "JudgedCluster":
    """A cluster that is up. What is done with it is recorded and judged."""
    from harness.runs.judged_cluster import JudgedCluster  # noqa: PLC0415 - see rule 4

    return JudgedCluster(experiment)


@pytest.fixture
def faults(experiment: "Experiment") -> "Faults":
    """Breaks the test's cluster: kill, suspend, partition, isolate, lossy, hold, …"""
    return experiment.faults


@pytest.fixture
def run_plan(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    consensus_algorithm: "str | type[Algorithm]",
    consensus_nodes: Nodes,
    consensus_seed: int,
) -> "Callable[..., PlanResult]":
    """Runs a fault plan, or draws one: `run_plan(faults=["kill", "partition"], time_s=5)`; see `harness.runs.plan_generator`."""
    from cluster.spec import node_names  # noqa: PLC0415 - see rule 4
    from harness.runs import suite  # noqa: PLC0415
    from harness.runs.plan_generator import generate  # noqa: PLC0415

    test = _test(request, consensus_seed)
    wanted = _wanted(request, consensus_algorithm, consensus_nodes)

    def run(plan: "Plan | None" = None, **drawn: Any) -> "PlanResult":
        algorithm = _findable(wanted["algorithm"] if plan is None else plan.algorithm, monkeypatch)
        made = _new_run(request, test)
        seed = consensus_seed + len(test.runs) - 1
        chosen = plan or generate(algorithm, node_names(wanted["nodes"]), **{"seed": seed, "time_s": 5.0, **drawn})
        result = suite.run_plan(chosen, made.folder)
        _take(made, result.verdicts, has_faults=bool(chosen.steps))
        return result

    return run


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    marker = request.node.get_closest_marker("consensus")
    if marker is None:
        return {}
    unknown = [*map(repr, marker.args), *(name for name in marker.kwargs if name not in _MARKED)]
    if unknown:
        raise pytest.UsageError(f"@pytest.mark.consensus takes {', '.join(_MARKED)} by name, and not {unknown[0]}")
    return dict(marker.kwargs)


def _test(request: pytest.FixtureRequest, seed: int) -> _Test:
    stash = request.node.stash
    if _TEST not in stash:
        stash[_TEST] = _Test(seed)
    found: _Test = stash[_TEST]
    return found


def _new_run(request: pytest.FixtureRequest, test: _Test) -> _Run:
    """A run with an empty folder that nobody else has."""
    root = _root(request.config)
    name = re.sub(r"[^\w.-]+", "-", request.node.name).strip("-")[:60]
    root.mkdir(parents=True, exist_ok=True)
    run = _Run(Path(tempfile.mkdtemp(prefix=f"{name}-", dir=root)), is_over=True)
    test.runs.append(run)
    return run


def _root(config: pytest.Config) -> Path:
    return Path(config.invocation_params.dir, os.environ.get("CONSENSUS_DIR", ".consensus"), "runs", "pytest")


def _findable(algorithm: "str | type[Algorithm]", monkeypatch: pytest.MonkeyPatch) -> str:
    """The algorithm's name, by which the nodes' processes find it as this one did: by the path of its module."""
    from node.algorithms import BUILT_IN, load_algorithm  # noqa: PLC0415 - see rule 4

    name = algorithm if isinstance(algorithm, str) else f"{algorithm.__module__}:{algorithm.__qualname__}"
    if name not in BUILT_IN:
        module = load_algorithm(name).__module__
        file = getattr(sys.modules[module], "__file__", None)
        if file is not None:
            parts = module.count(".") + Path(file).name.startswith("__init__.")
            monkeypatch.setenv("PYTHONPATH", str(Path(file).resolve().parents[parts]), prepend=os.pathsep)
    return name
