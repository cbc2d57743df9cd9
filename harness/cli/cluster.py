"""The commands that run a cluster by hand: up, down, kill, suspend, resume, restart."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import CompletionItem

from cluster import spec as specs
from cluster.errors import ConsensusError, Mistake, NotUp
from cluster.folder_lock import FolderLock, claim_cluster, lock_holder
from cluster.folder_mark import adopt_folder, check_free, check_no_copy, read_mark, refresh_mark
from cluster.outliving import end_running_nodes, running_nodes
from cluster.supervisor_file import SupervisorClient
from harness.cli.convention import consensus_in, exit_interrupted, print_json, print_stderr, shown_path, verb
from harness.cli.judged_session import judgement, session_since
from harness.cli.parameters import algorithm_parameter, folder_of, settings_option
from harness.cli.system_options import answers_option, disk_option, system_option, system_under_test
from harness.records.run_folders import SYSTEM_NAME
from node.algorithms import load_algorithm
from node.quorum import majority
from node.tuning import as_text
from node.wording import count

if TYPE_CHECKING:
    from harness.runs.serve import Recording
    from harness.systems.system import System

_DOWN_TIMEOUT_S = 20.0
#: How long the supervisor may take to answer, in seconds.
SUPERVISOR_TIMEOUT_S = 10.0


def complete_nodes(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the node names for the shell's completion, also after a comma."""
    try:
        nodes = specs.open_spec(folder_of(ctx)).present_nodes()
    except ValueError:
        return []
    done, comma, begun = incomplete.rpartition(",")
    return [CompletionItem(done + comma + name) for name in (*nodes, "all", "leader") if name.startswith(begun)]


nodes_argument = click.argument("nodes", shell_complete=complete_nodes)

#: What the option --record of `up` stands for, and its absence.
_RECORDINGS: "Final[dict[bool | None, Recording]]" = {True: "all", False: "none", None: "some"}


@verb()
@click.option("-n", "--nodes", type=click.IntRange(1, 99), help="How many nodes.  [default: 5]")
@algorithm_parameter(shown_default="paxos")
@click.option("--seed", type=int, help="The seed of every random draw of the nodes.  [default: 0]")
@click.option("-d", "--detach", is_flag=True, help="Return when the cluster is ready, and leave it running.")
@click.option("--live", "with_page", is_flag=True, help="Open the page of `consensus live`, too.")
@click.option("--detach-nodes", is_flag=True, help="Let the nodes outlive the supervisor; `up` adopts those that run.")
@click.option("--systemd", is_flag=True, help="Print a user unit of systemd for this cluster, and start nothing.")
@click.option(
    "--record/--no-record",
    default=None,
    help="Record every message in the session's run folder, and judge them; or none.  [default: the first 32 MiB]",
)
@click.option(
    "--prepare",
    type=click.Choice(["disk", "clock"]),
    multiple=True,
    help="Give the nodes of a new cluster a disk that can fail, for `consensus inject`. Clocks need no preparation.",
)
@settings_option("A setting of a new cluster that is not as shipped; see the reference of settings.")
@click.option("--adopt", is_flag=True, help="Take over a folder that comes from a backup, if the original is gone.")
@click.option("--workload", help="With nodes that are not ours: let clients ask this until `consensus down`.")
@disk_option
@answers_option
@system_option
@click.pass_obj
def up(
    root: Path,
    /,
    *,
    adopt: bool,
    nodes: int | None,
    algorithm: str | None,
    seed: int | None,
    detach: bool,
    with_page: bool,
    detach_nodes: bool,
    systemd: bool,
    record: bool | None,
    prepare: tuple[str, ...],
    settings: tuple[tuple[str, int], ...],
    workload: str | None,
    volatile: bool | None,
    answers_within_s: float | None,
    system_file: str | None,
    as_json: bool,
) -> None:
    """Launch a cluster in this folder, or launch its cluster again with everything that it had decided.

    ALGORITHM is leader, failover, majority, paxos, multipaxos, raft, or your own module:Class or file.py:Class.

    All calls and faults until `consensus down` are one run, for `consensus report`, `export --to plan` and `replay`.

    All processes end together. With --detach-nodes the nodes outlive the supervisor, and no proxy stands between them.

    ALGORITHM may also be a command that speaks Maelstrom's protocol, such as ./raft.py. `--system FILE` launches any command
    that listens on ports, such as etcd. Such nodes begin anew with each `up`.
    """
    if algorithm is not None and system_file is not None:
        raise click.UsageError("give either an algorithm or a command, or a system with --system")
    ours = ("adopt", "detach_nodes", "systemd", "record", "prepare", "settings")
    if algorithm is not None or system_file is not None:
        system = system_under_test(algorithm, volatile, ours, system_file, answers_within_s)
        if system is not None:
            if with_page and as_json:
                raise Mistake("--live prints for people: see `consensus live`")
            _up_system(root, system, nodes or 3, seed or 0, workload, detach=detach or with_page, as_json=as_json)
            if with_page:
                from harness.cli.live_page import show_page  # noqa: PLC0415 - only --live needs it

                show_page(root, ends=not detach)
            return
    if workload is not None:
        raise click.UsageError("--workload is for nodes that are not ours: the verbs of the command line ask our own")
    if algorithm is not None:
        load_algorithm(algorithm)  # an unknown algorithm is refused before a folder is made
    check_free(root)
    if not adopt:
        check_no_copy(root)
    outliving = detach_nodes or bool(running_nodes(root))
    if outliving and record:
        raise Mistake("--record needs the proxy, and none stands between nodes that outlive their supervisor")
    if systemd:
        _print_unit(
            root, lambda: new_or_known(root, nodes, algorithm, seed, prepare, adopt, dict(settings)), as_json=as_json
        )
        return
    if with_page and (outliving or as_json):
        raise Mistake("--live is for a cluster with a proxy, and prints for people: see `consensus live`")
    lock = FolderLock(root)
    try:
        spec = new_or_known(root, nodes, algorithm, seed, prepare, adopt, dict(settings))
        _launch(lock, spec, detach or with_page, _RECORDINGS[record], outliving, as_json=as_json)
    finally:
        lock.release()
    if with_page:
        from harness.cli.live_page import show_page  # noqa: PLC0415 - only --live needs it

        show_page(root, ends=not detach)


def _up_system(
    root: Path, system: "System", nodes: int, seed: int, workload: str | None, *, detach: bool, as_json: bool
) -> None:
    """Launch nodes that are not ours, in this process or in a detached one."""
    from harness.runs.serve import serve_system_detached  # noqa: PLC0415 - only `up` needs it
    from harness.runs.system_session import SystemSpec, serve_system  # noqa: PLC0415

    def print_ready(_lost: list[str]) -> None:
        asking = f"Clients ask {workload} until `consensus down`. " if workload else ""
        ours = consensus_in(root)
        following = f"Next: {ours} ps; {ours} kill n1" if detach else "Ctrl-C ends them."
        print_stderr(f"{count(nodes, f'{system.name} node')} up. {asking}{following}")
        if as_json:
            print_json(folder=str(root), system=system.to_json(), up=nodes, run=str(spec.folder))

    lock = FolderLock(root)
    try:
        spec = SystemSpec.new(root, system, specs.node_names(nodes), seed, workload)
        if not detach:
            serve_system(root, show=print_stderr, ready=print_ready)
            return
        try:
            serve_system_detached(root, lock, spec.cluster)
        except KeyboardInterrupt as error:
            exit_interrupted(error, f"{system.name} was starting in {root}. Nothing of it runs")
        print_ready([])
    finally:
        lock.release()


def _print_unit(root: Path, make: Callable[[], specs.Spec], *, as_json: bool) -> None:
    """Print a unit for the cluster in `root`, which is made if there is none."""
    from harness.cli.systemd_unit import unit  # noqa: PLC0415 - only --systemd needs it

    if not (root / specs.SPEC_NAME).exists():
        lock = FolderLock(root)
        try:
            spec = make()
        finally:
            lock.release()
        nodes = count(len(spec.nodes), f"{spec.settings.algorithm} node")
        print_stderr(f"made a cluster of {nodes} in {root}; nothing runs yet")
    if as_json:
        print_json(unit=unit(root))
    else:
        print(unit(root), end="")


def _launch(
    lock: FolderLock, spec: specs.Spec, detach: bool, record: "Recording", outliving: bool, *, as_json: bool
) -> None:
    """Serve the cluster until it is stopped, in this process or in a detached one."""
    from harness.runs.serve import serve, serve_detached, serve_outliving  # noqa: PLC0415 - only `up` needs it

    def print_ready(lost: list[str]) -> None:
        for line in lost:
            print_stderr(f"consensus: {line}")
        up_count = len(spec.present_nodes()) - len(lost)
        first = "put owner alice" if load_algorithm(spec.settings.algorithm).keeps_log else "propose colour blue"
        ours = consensus_in(spec.root)
        on_ctrl_c = f"Ctrl-C ends the supervisor; `{ours} down` ends them." if outliving else "Ctrl-C ends them."
        following = f"Next: {ours} ps; {ours} {first}" if detach else on_ctrl_c
        print_stderr(f"{count(up_count, f'{spec.settings.algorithm} node')} up. {following}")
        if up_count < majority(len(spec.present_nodes())):
            print_stderr(
                f"That is no majority of {len(spec.present_nodes())}, so most calls get no answer. If disks are lost: "
                "`consensus recover --help`."
            )
        if detach:
            print_stderr(
                "The nodes outlive their supervisor; `consensus up -d` adopts them."
                if outliving
                else "They end when their supervisor ends; with `consensus up --detach-nodes` nodes outlive it."
            )
        if as_json:
            print_json(folder=str(spec.root), algorithm=spec.settings.algorithm, up=up_count, not_started=lost)

    if detach:
        try:
            lost = serve_detached(spec, lock, record=record, outliving=outliving)
        except KeyboardInterrupt as error:
            left = "Nodes that were up go on: `consensus up` adopts them" if outliving else "Nothing of it runs"
            exit_interrupted(
                error, f"the cluster in {spec.root} was starting. {left}; its disks stay, and `consensus up` starts it"
            )
        print_ready(lost)
    elif outliving:
        serve_outliving(spec, show=print_stderr, ready=print_ready)
    else:
        serve(spec, record=record, show=print_stderr, ready=print_ready)


def new_or_known(
    root: Path,
    nodes: int | None,
    algorithm: str | None,
    seed: int | None,
    prepare: tuple[str, ...],
    adopt: bool,
    settings: dict[str, int],
) -> specs.Spec:
    """Return the spec of the cluster in `root`, which is made if there is none. The arguments are those of `up`; None: any.

    Raises:
        Mistake: there is one, and it is another one than the arguments say.
    """
    if not (root / specs.SPEC_NAME).exists():
        from harness.faults.prerequisites import experiment_arguments  # noqa: PLC0415 - only `up` needs it

        vfs = experiment_arguments(prepare).get("vfs")
        return specs.create(
            root,
            nodes=nodes or 5,
            algorithm="paxos" if algorithm is None else algorithm,
            seed=seed or 0,
            vfs=vfs,
            settings=settings,
        )
    spec = specs.open_spec(root)
    if "disk" in prepare and spec.settings.vfs is None:
        raise Mistake(f"the disks of the cluster in {root} cannot fail: --prepare disk needs a new cluster")
    if settings and spec.settings.tuning.changed() != settings:
        raise Mistake(
            f"the settings of the cluster in {root} are {as_text(spec.settings.tuning.changed()) or 'as shipped'}: "
            "--set needs a new cluster"
        )
    known = (len(spec.present_nodes()), spec.settings.algorithm, spec.settings.seed)
    if (nodes or known[0], algorithm or known[1], known[2] if seed is None else seed) != known:
        raise Mistake(
            f"{root} holds a cluster of {count(known[0], f'{known[1]} node')} with seed {known[2]}. "
            "`consensus up` without options starts it again; `consensus down --wipe` deletes it and everything that it "
            "has decided; --dir names another folder"
        )
    if adopt:
        with claim_cluster(spec.settings.cluster):
            adopt_folder(root, spec.settings.cluster)
    refresh_mark(root, spec.settings.cluster)
    return spec


@verb()
@click.option("--wipe", is_flag=True, help="Delete the cluster's state, too, with everything that it has decided.")
@click.option("--orphans", is_flag=True, help="End what is left of clusters whose folder is gone, in any folder.")
@click.pass_obj
def down(root: Path, wipe: bool, orphans: bool, as_json: bool) -> None:
    """End the cluster. Its disks stay, unless --wipe is given.

    If there were calls or faults since `consensus up`, they are judged as one run, and the result is printed.

    With --orphans, end instead the processes of your clusters that nobody can command any more: `consensus ps --all` shows them.
    """
    if orphans:
        from harness.cli.everywhere import end_orphans  # noqa: PLC0415 - only --orphans needs it

        end_orphans(as_json=as_json)
        return
    began_s, session = time.time(), None
    try:
        control = SupervisorClient(root)
    except NotUp:
        ended = _end_without_supervisor(root)
        is_known = any((root / name).exists() for name in (specs.SPEC_NAME, SYSTEM_NAME)) or read_mark(root)
        if not ended and not (wipe and is_known):
            raise
    else:
        try:
            control.ask("stop", _DOWN_TIMEOUT_S)
        except NotUp:
            if control.is_alive():
                raise
        deadline = time.monotonic() + _DOWN_TIMEOUT_S
        while control.is_alive() or lock_holder(root):  # a process that has ended may still be closing its files
            if time.monotonic() > deadline:
                raise ConsensusError(
                    f"the supervisor (process {control.pid}) has not ended within {_DOWN_TIMEOUT_S:g} s"
                )
            time.sleep(0.01)
        kept = "" if wipe or (root / SYSTEM_NAME).exists() else f"; what it decided is in {root}"
        print_stderr(f"the cluster has ended{kept}")
        session = session_since(root, began_s, control.born)
    if session is not None:
        print_stderr(f"{judgement(session)}; `consensus report {shown_path(session.path)}` shows it")
    if wipe and (root / SYSTEM_NAME).exists():
        from harness.runs.system_session import forget_system  # noqa: PLC0415 - only such a folder needs it

        forget_system(root)
        print_stderr(f"{root} has only the folders of runs left")
    elif wipe:
        from cluster.wiping import wipe as delete  # noqa: PLC0415 - only --wipe needs them
        from harness.faults.power_loss_vfs import DISK_FILES  # noqa: PLC0415

        lock = FolderLock(root)  # so that no other process starts the cluster meanwhile
        try:
            left = delete(root, DISK_FILES)
        finally:
            lock.release()
        rest = f", except {', '.join(left)}" if left else ""
        print_stderr(f"everything that the cluster made in {root} is deleted{rest}")
    if as_json:
        print_json(folder=str(root), wiped=wipe, session=session and session.to_json())


def _end_without_supervisor(root: Path) -> bool:
    """End nodes that have outlived their supervisor. Returns whether there were any."""
    if not running_nodes(root):
        return False
    lock = FolderLock(root)  # so that no supervisor adopts them meanwhile
    try:
        names = end_running_nodes(root)
    finally:
        lock.release()
    print_stderr(
        f"the nodes {', '.join(names)} had outlived their supervisor, and have ended; what they decided is in {root}"
    )
    return True


def _ask_supervisor(root: Path, verb: str, done: str, nodes: str, as_json: bool) -> None:
    proofs = SupervisorClient(root).ask(verb, nodes=nodes)
    if as_json:
        print_json(proofs=proofs)
        return
    for proof in proofs:
        details = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in proof.items() if key != "node")
        print(f"{proof['node']} {done} ({details})")


@verb()
@nodes_argument
@click.pass_obj
def kill(root: Path, nodes: str, as_json: bool) -> None:
    """Kill NODES with SIGKILL. NODES is n1, or n1,n3, or leader, or all."""
    _ask_supervisor(root, "kill", "is dead", nodes, as_json)


@verb()
@nodes_argument
@click.pass_obj
def suspend(root: Path, nodes: str, as_json: bool) -> None:
    """Suspend NODES with SIGSTOP. They do nothing until `consensus resume`, and do not notice the pause."""
    _ask_supervisor(root, "suspend", "is suspended", nodes, as_json)


@verb()
@nodes_argument
@click.pass_obj
def resume(root: Path, nodes: str, as_json: bool) -> None:
    """Resume suspended NODES with SIGCONT."""
    _ask_supervisor(root, "resume", "runs again", nodes, as_json)


@verb()
@nodes_argument
@click.pass_obj
def restart(root: Path, nodes: str, as_json: bool) -> None:
    """Start NODES again on the same disks. A node that still runs is killed first."""
    _ask_supervisor(root, "restart", "is up again", nodes, as_json)
