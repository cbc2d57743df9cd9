"""The verbs for running a cluster by hand: up, down, kill, suspend, resume, restart."""

import shutil
import time
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from cluster import spec as specs
from cluster.errors import ConsensusError, Mistake, NotUp
from cluster.folder_lock import LOCK_NAME, FolderLock, lock_holder
from cluster.supervisor_file import SupervisorClient
from harness.cli.main import output_option, print_json, say
from node.algorithms import load_algorithm

_DOWN_S = 20.0
#: Seconds that a question to the supervisor may take.
SHORT_S = 10.0


def complete_nodes(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Node names for the shell's completion, also after a comma."""
    parent = ctx.find_root().params.get("root")
    try:
        nodes = specs.open_spec(Path(str(parent or ".consensus"))).present_nodes()
    except ValueError:
        return []
    done, comma, begun = incomplete.rpartition(",")
    return [CompletionItem(done + comma + name) for name in (*nodes, "all", "leader") if name.startswith(begun)]


nodes_argument = click.argument("nodes", shell_complete=complete_nodes)


@click.command()
@click.option("-n", "--nodes", type=click.IntRange(1, 99), help="How many nodes.  [default: 5]")
@click.option(
    "--algorithm", help="leader, failover, majority, paxos, multipaxos, or module:Class of your own.  [default: paxos]"
)
@click.option("--seed", type=int, help="Where every random draw of the nodes comes from.  [default: 0]")
@click.option("-d", "--detach", is_flag=True, help="Return when the cluster is ready, and leave it running.")
@click.option("--record", is_flag=True, help="Write every message to messages.jsonl in the session's run folder.")
@click.option(
    "--prepare",
    type=click.Choice(["disk", "clock"]),
    multiple=True,
    help="Put a disk that can fail under a new cluster's nodes, for `consensus inject`. Clocks need no preparation.",
)
@click.pass_obj
def up(
    root: Path,
    /,
    *,
    nodes: int | None,
    algorithm: str | None,
    seed: int | None,
    detach: bool,
    record: bool,
    prepare: tuple[str, ...],
) -> None:
    """Launch a cluster here, or launch again the one that was here, with all that it had decided.

    What is asked and broken until `consensus down` is a run: `consensus report`, `export --to plan`, `replay`.
    """
    if algorithm is not None:
        load_algorithm(algorithm)  # before anything is made
    lock = FolderLock(root)
    try:
        _launch(lock, _new_or_known(root, nodes, algorithm, seed, prepare), detach, record)
    finally:
        lock.release()


def _launch(lock: FolderLock, spec: specs.Spec, detach: bool, record: bool) -> None:
    """Serve the cluster here until it is stopped, or have a process of its own do that."""
    from harness.runs.serve import serve, serve_detached  # noqa: PLC0415 - only `up` needs it

    def tell_ready(lost: list[str]) -> None:
        for line in lost:
            say(f"consensus: {line}")
        count = len(spec.present_nodes()) - len(lost)
        first = "put owner alice" if spec.settings.algorithm == "multipaxos" else "propose colour blue"
        following = f"Next: consensus ps; consensus {first}" if detach else "Ctrl-C ends them."
        say(f"{count} {spec.settings.algorithm} node{'' if count == 1 else 's'} up. {following}")

    if detach:
        tell_ready(serve_detached(spec, lock, record=record))
    else:
        serve(spec, record=record, show=say, ready=tell_ready)


def _new_or_known(
    root: Path, nodes: int | None, algorithm: str | None, seed: int | None, prepare: tuple[str, ...]
) -> specs.Spec:
    if not (root / specs.SPEC_NAME).exists():
        from harness.faults.prerequisites import experiment_arguments  # noqa: PLC0415 - only `up` needs it

        vfs = experiment_arguments(prepare).get("vfs")
        return specs.create(
            root, nodes=nodes or 5, algorithm="paxos" if algorithm is None else algorithm, seed=seed or 0, vfs=vfs
        )
    spec = specs.open_spec(root)
    if "disk" in prepare and spec.settings.vfs is None:
        raise Mistake(f"the disks of the cluster in {root} cannot fail: --prepare disk is for a new one")
    known = (len(spec.present_nodes()), spec.settings.algorithm, spec.settings.seed)
    if (nodes or known[0], algorithm or known[1], known[2] if seed is None else seed) != known:
        raise Mistake(
            f"{root} holds a cluster of {known[0]} {known[1]} nodes with seed {known[2]}. `consensus up` without options "
            "starts it again; `consensus down --wipe` deletes it and all that it has decided; --dir makes another one elsewhere"
        )
    return spec


@click.command()
@click.option("--wipe", is_flag=True, help="Delete the cluster's folder too, with all that was decided.")
@click.pass_obj
def down(root: Path, wipe: bool) -> None:
    """End the cluster. What it has decided stays on its disks, unless --wipe is given."""
    try:
        control = SupervisorClient(root)
    except NotUp:
        if not (wipe and (root / specs.SPEC_NAME).exists()):
            raise
    else:
        try:
            control.ask("stop", _DOWN_S)
        except NotUp:
            if control.is_alive():
                raise
        deadline = time.monotonic() + _DOWN_S
        while control.is_alive() or lock_holder(root):  # a process that has ended may still be closing its files
            if time.monotonic() > deadline:
                raise ConsensusError(f"the supervisor (process {control.pid}) has not ended within {_DOWN_S:g} s")
            time.sleep(0.01)
        say("the cluster has ended" if wipe else f"the cluster has ended; what it decided is in {root}")
    if wipe:
        lock = FolderLock(root)  # nobody may be starting it meanwhile
        for name in (specs.SPEC_NAME, "supervisor.json", "supervisor.log", LOCK_NAME):
            (root / name).unlink(missing_ok=True)
        for name in ("nodes", "logs", "booted", "removed"):
            shutil.rmtree(root / name, ignore_errors=True)
        lock.release()
        say(f"what was in {root} is deleted, but for its runs")


def _act(root: Path, verb: str, done: str, nodes: str, as_json: bool) -> None:
    proofs = SupervisorClient(root).ask(verb, nodes=nodes)
    if as_json:
        print_json(proofs=proofs)
        return
    for proof in proofs:
        details = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in proof.items() if key != "node")
        print(f"{proof['node']} {done} ({details})")


@click.command()
@nodes_argument
@output_option
@click.pass_obj
def kill(root: Path, nodes: str, as_json: bool) -> None:
    """Kill NODES with SIGKILL. NODES is n1, or n1,n3, or leader, or all."""
    _act(root, "kill", "is dead", nodes, as_json)


@click.command()
@nodes_argument
@output_option
@click.pass_obj
def suspend(root: Path, nodes: str, as_json: bool) -> None:
    """Suspend NODES with SIGSTOP: they neither run nor know it."""
    _act(root, "suspend", "is suspended", nodes, as_json)


@click.command()
@nodes_argument
@output_option
@click.pass_obj
def resume(root: Path, nodes: str, as_json: bool) -> None:
    """Resume suspended NODES with SIGCONT."""
    _act(root, "resume", "runs again", nodes, as_json)


@click.command()
@nodes_argument
@output_option
@click.pass_obj
def restart(root: Path, nodes: str, as_json: bool) -> None:
    """Start NODES again on the same disks. One that still runs is killed first."""
    _act(root, "restart", "is up again", nodes, as_json)
