"""`consensus live`: the live page of a cluster or of a run."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cluster.errors import Mistake, NotUp
from cluster.folder_lock import FolderLock
from cluster.folder_mark import SPEC_NAME, check_free
from cluster.outliving import running_nodes
from cluster.supervisor_file import SupervisorClient
from harness.cli.cluster import SUPERVISOR_TIMEOUT_S, new_or_known
from harness.cli.convention import consensus_in, print_stderr, verb
from harness.cli.live_beside import beside_folder, both_boot, check_alike, run_beside, shared_acts, twin_beside
from harness.cli.live_page import Announcement, page_of_cluster, serve_page, stop_cluster
from harness.cli.live_twin import find_twin, open_twin
from harness.cli.parameters import algorithm_parameter
from harness.page.address import PageAddress
from harness.records.run_folders import SYSTEM_NAME, NoSuchRun, find_run
from node.algorithms import UnknownAlgorithm, load_algorithm
from node.wording import count

if TYPE_CHECKING:
    from cluster.spec import Spec
    from harness.page.server import Do
    from harness.page.view import PageView


@verb(streams=True)
@click.option("-n", "--nodes", type=click.IntRange(1, 9), help="How many nodes a new cluster has.  [default: 5]")
@algorithm_parameter(shown_default="paxos")
@click.option("--seed", type=int, help="The seed of every random draw of a new cluster.  [default: 0]")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port on 127.0.0.1.  [default: a free one]")
@click.option(
    "--virtual",
    is_flag=True,
    help="A cluster without processes, of three nodes by default, in virtual time, with branches.",
)
@click.option(
    "--beside",
    metavar="NAME",
    help="A second algorithm under the same acts, beside the first; or a second run, with the first differences.",
)
@click.option("--read-only", is_flag=True, help="Let the page show and do nothing.")
@click.option("--open/--no-open", "show", default=True, help="Open the page in the browser, or only print its address.")
@click.pass_obj
def live(
    root: Path,
    /,
    *,
    nodes: int | None,
    algorithm: str | None,
    seed: int | None,
    port: int,
    virtual: bool,
    beside: str | None,
    read_only: bool,
    show: bool,
    as_json: bool,
) -> None:
    """Open a page that shows the cluster as it works, and on which each click is a fault or a call.

    \b
    consensus live                 the cluster that is up here, or a new one
    consensus live majority -n 7   a new cluster of seven, where none has run yet
    consensus live split-brain     a run, by its folder or a part of its name, in the place of ALGORITHM
    consensus live --virtual       a cluster without processes: step back, take another branch, look ahead
    consensus live FILE            a schedule of explore, simulate or this page, in such a cluster
    consensus live ignores-accepted   a mutant, with a schedule in which it breaks a promise
    consensus live failover --beside paxos   two algorithms side by side, and each click acts on both; also with --virtual
    consensus live RUN --beside RUN   two runs side by side, with the first difference marked

    What is up here may be nodes that are not ours: `consensus up --system etcd -d`, then `consensus live`.

    A cluster that has run in this folder before goes on, with what it has decided, and its session is not judged; another one is
    refused. `consensus down --wipe` makes room for a new one, and `--dir` names another folder.

    A cluster that this command starts ends with it, on Ctrl-C. One that was up before stays up. The page listens on 127.0.0.1
    alone, and its address holds a token: who has the address can do what you can do with the cluster.
    """
    twin = find_twin(root, algorithm, nodes, virtual=virtual)
    if twin is not None and seed is not None:
        raise Mistake("a virtual cluster draws nothing: leave out --seed")
    run = None if twin is not None else _run_named(root, algorithm)
    address = PageAddress(port)  # a port that is in use is refused before a cluster is started
    announcement = Announcement(address.url, show=show, as_json=as_json)
    with ExitStack() as ending:
        view: PageView
        do: Do | None
        boot: Callable[[], None] | None = None
        other: tuple[PageView, Do | None] | None = None
        if twin is not None:
            view, do = open_twin(root, twin)
            other = twin_beside(root, twin, beside, nodes) if beside else None
        elif run is not None:
            view, do = ending.enter_context(_recorded(run))
            other = (run_beside(root, view, beside), None) if beside else None
        else:
            early = None if beside else announcement  # a second cluster may still be refused
            view, do, boot = ending.enter_context(_cluster(root, nodes, algorithm, seed, beside, early))
            if beside:
                second = beside_folder(root)
                known = len(view.about["nodes"]), beside, seed
                other_view, other_do, boot_other = ending.enter_context(_cluster(second, *known))
                other, boot = (other_view, other_do), both_boot(boot, boot_other)
        if other is not None and do is not None and other[1] is not None:
            both = ending.enter_context(shared_acts((view, do), (other[0], other[1])))
            do, other = both.acts[0], (other[0], both.acts[1])
        if read_only:
            do, other = None, other and (other[0], None)
        serve_page(view, do, address, announcement, boot=boot, beside=other)


@contextmanager
def _cluster(
    root: Path,
    nodes: int | None,
    algorithm: str | None,
    seed: int | None,
    beside: str | None = None,
    announcement: Announcement | None = None,
) -> "Iterator[tuple[PageView, Do, Callable[[], None] | None]]":
    """Yield the view of the cluster that is up in `root`, or of a new one, with its acts, and what boots it.

    The page of a new one is announced at once. A browser starts while the modules of the page are loaded.
    """
    if _is_up(root, nodes, algorithm, seed):
        with page_of_cluster(root) as (view, do):
            _check_beside(beside, view)
            yield view, do, None
        return
    with _new(root, nodes, algorithm, seed) as (spec, boot):
        if announcement is not None:
            announcement.make()
        with page_of_cluster(root, spec) as (view, do):
            _check_beside(beside, view)
            yield view, do, boot


def _check_beside(beside: str | None, view: "PageView") -> None:
    if beside is not None:
        check_alike(load_algorithm(view.about["algorithm"]), load_algorithm(beside))


def _is_up(root: Path, nodes: int | None, algorithm: str | None, seed: int | None) -> bool:
    """Return whether a cluster is up in `root`. Raises Mistake if it is another one than these arguments say."""
    try:
        control = SupervisorClient(root)
        if (root / SYSTEM_NAME).exists():
            told = control.ask("about", SUPERVISOR_TIMEOUT_S)
            where = {"addresses": told["nodes"], "algorithm": told["name"], "seed": seed}
        else:
            where = control.ask("where", SUPERVISOR_TIMEOUT_S)
    except NotUp:
        return False
    known = (len(where["addresses"]), where["algorithm"], where["seed"])
    if (nodes or known[0], algorithm or known[1], known[2] if seed is None else seed) != known:
        raise Mistake(
            f"another cluster is up in {root}: `consensus live` alone shows it, and --dir names another folder"
        )
    return True


@contextmanager
def _new(
    root: Path, nodes: int | None, algorithm: str | None, seed: int | None
) -> "Iterator[tuple[Spec, Callable[[], None]]]":
    """Yield the cluster of the folder, or a new one whose disks can fail, and what boots it. It ends with the block."""
    check_free(root)
    if running_nodes(root):
        raise Mistake("nodes run here without their supervisor: `consensus up -d` adopts them, then `consensus live`")
    lock = FolderLock(root)
    with ExitStack() as ending:
        releasing = ending.enter_context(ExitStack())
        releasing.callback(lock.release)
        prepare = () if (root / SPEC_NAME).exists() else ("disk",)
        spec = new_or_known(root, nodes, algorithm, seed, prepare, False, {})
        if any(map(spec.has_booted, spec.nodes)):
            print_stderr(
                f"goes on with the cluster of {count(len(spec.present_nodes()), f'{spec.settings.algorithm} node')}, which has "
                f"run before, so this session is not judged; `{consensus_in(root)} down --wipe` makes room for a new one"
            )

        def boot() -> None:
            from harness.runs.serve import serve_detached  # noqa: PLC0415 - the page need not wait for this

            ending.callback(stop_cluster, root)
            for line in serve_detached(spec, lock, record="page", outliving=False):
                print_stderr(f"consensus: {line}")
            releasing.close()
            print_stderr("the cluster is up, and ends with this command")

        yield spec, boot


def _run_named(root: Path, name: str | None) -> Path | None:
    """Return the run that a name stands for, or None if it is that of an algorithm.

    Raises:
        UnknownAlgorithm: there is neither an algorithm nor a run of this name.
    """
    try:
        load_algorithm(name or "paxos")
    except UnknownAlgorithm as error:
        try:
            return find_run(root, name)
        except NoSuchRun:
            raise UnknownAlgorithm(
                f"{error}. And no run in {root / 'runs'} has {name!r} in its name, and no mutant is called so"
            ) from None
    return None


@contextmanager
def _recorded(run: Path) -> "Iterator[tuple[PageView, Do | None]]":
    """Yield the view of a run, which has no acts."""
    from harness.page.recorded_view import recorded_view  # noqa: PLC0415 - for this verb alone

    yield recorded_view(run), None
