"""Runs a cluster by hand: an experiment on the cluster's own folder, and a supervisor that the command line talks to.

`serve` runs it in this process until it is stopped; `serve_detached` starts a process of its own that does. `serve_outliving` is
for nodes that outlive the supervisor: then the cluster is no experiment.
"""

import argparse
import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from cluster.cluster import Cluster
from cluster.errors import ConsensusError, Mistake
from cluster.folder_lock import FolderLock, claim_cluster, sign_lock
from cluster.folder_mark import SUPERVISOR_LOG_NAME
from cluster.outliving import end_strays
from cluster.process_mark import SUPERVISOR, ProcessMark
from cluster.safe_output import safe_stderr
from cluster.spawning import ReadyPipe, fork_this_process, spawn_detached
from cluster.spec import Spec, open_spec
from cluster.supervisor import Supervisor, own_verbs
from harness.records.messages import PAGE_BYTES_MAX
from harness.records.run_files import MESSAGES_NAME, RunFiles
from harness.records.run_folders import BY_HAND, new_folder
from harness.runs.cluster_session import ClusterSession
from harness.runs.experiment import Experiment
from harness.runs.link_verbs import LinkVerbs
from harness.runs.live_verbs import LiveVerbs
from harness.runs.progress import ShowLine
from harness.runs.session import UNRECORDED
from node.contract import BadInput, NodeId

_READY_S = 60.0

#: How many messages of a session are recorded: "page" is "all" up to a limit.
Recording: TypeAlias = Literal["all", "page", "some", "none"]


def serve(
    spec: Spec,
    *,
    record: Recording,
    show: ShowLine,
    ready: Callable[[list[str]], None],
) -> None:
    """Launch the cluster of `spec` and serve the command line until a request or a signal stops it.

    Nothing that it prints meanwhile can end it.

    Args:
        spec: the cluster.
        record: whether every message is recorded and judged, only the first ones for people, or none.
        show: called with a line whenever the state of a node or of the proxy changes, and at the end.
        ready: called when the cluster is up, with a line for each node that could not start. A node whose disk is lost must
            not keep the others from serving.

    Raises:
        BootFailed: a node or the proxy did not start; nothing is left running.
        AlreadyUp: another process serves the same cluster from another folder.
    """
    with safe_stderr():
        session, members = _serve_session(spec, record, show, ready)
        try:
            kept = session.judge(members)
        except OSError as error:
            show(f"this session is not judged, since its results cannot be written: {error}")
            kept = None
        if kept is not None:
            show(f"the calls and faults of this session: consensus report {kept.name}")


def _serve_session(
    spec: Spec, record: Recording, show: ShowLine, ready: Callable[[list[str]], None]
) -> tuple[ClusterSession, tuple[NodeId, ...]]:
    """Do what `serve` does, without the judging. Returns the session, whose run has ended, and the members at its end."""
    had_past = any(spec.has_booted(node) for node in spec.nodes)

    def make_folder() -> Path:
        if not spec.path.exists():  # otherwise this would make a folder that the user has removed
            raise BadInput(f"the folder of the cluster, {spec.root}, is gone")
        made = new_folder(spec.root, f"{BY_HAND}{spec.settings.algorithm}")
        if some is not None:
            with contextlib.suppress(OSError):  # the run goes without its messages then
                some.rename(RunFiles(made).messages)
        return made

    # A record begins with the proxy, and a session without calls and faults makes no run folder. So the first messages wait here.
    some = spec.path.parent / "logs" / MESSAGES_NAME if record == "some" else None
    if some is not None:
        some.parent.mkdir(exist_ok=True)
    folder = make_folder() if record in ("all", "page") else None
    run = Experiment(
        make_folder if folder is None else lambda: folder,
        spec=spec,
        record=record in ("all", "page"),
        record_bytes_max=PAGE_BYTES_MAX if record == "page" else None,
        some_messages=some,
        without_the_lost=True,
    )
    with (
        claim_cluster(spec.settings.cluster),
        run,
        contextlib.closing(ClusterSession(run, had_past=had_past)) as session,
    ):
        live = LiveVerbs(run, session)
        verbs = {**LinkVerbs(run, session).verbs(), **session.verbs(), **live.verbs()}
        verbs |= own_verbs(run.cluster)
        supervisor = Supervisor(run.cluster, verbs, show, live.trouble, session, root=spec.root)
        supervisor.run(lambda: ready([str(failure) for failure in run.cluster.failures.values()]))
        members = run.cluster.nodes
    if some is not None:
        some.unlink(missing_ok=True)  # nothing happened in this session
    return session, members


def serve_outliving(spec: Spec, *, show: ShowLine, ready: Callable[[list[str]], None]) -> None:
    """Do what `serve` does with nodes that outlive this process, and adopt those that run already.

    A signal ends this process alone, and so does its failure; `consensus down` ends the nodes, too. Nothing stands between the
    nodes, since a proxy would be one more process whose end ends the cluster. So there are no faults of links, and no run.

    Raises:
        BootFailed: a node did not start. Nodes that ran before go on.
        AlreadyUp: another process serves the same cluster from another folder.
    """
    with safe_stderr(), claim_cluster(spec.settings.cluster):
        end_strays(spec)
        cluster = Cluster(spec=spec, outliving=True).start(without_the_lost=True)
        verbs = {**_UNRECORDED_VERBS, **own_verbs(cluster)}
        supervisor = Supervisor(cluster, verbs, show, lambda: None, root=spec.root)
        supervisor.run(lambda: ready([str(failure) for failure in cluster.failures.values()]))
        if supervisor.ended_by_signal:
            cluster.leave()
            show("the nodes go on without this supervisor: `consensus up` adopts them, `consensus down` ends them")
        else:
            cluster.stop()


def _refuse(**_: object) -> None:
    raise Mistake(
        "nothing stands between nodes that outlive their supervisor, so their links cannot be broken: use `consensus kill`, "
        "`suspend` and `restart`, or a cluster without --detach-nodes"
    )


#: The requests of the command line that need a run, for a cluster that is no run.
_UNRECORDED_VERBS: Final[Mapping[str, Callable[..., Any]]] = {
    "call_began": lambda **_: UNRECORDED,
    "program_joined": lambda: None,
    "call_ended": lambda **_: None,
    **dict.fromkeys(
        ("inject", "partition", "isolate", "link", "links", "heal", "look", "deliver", "lose", "repeat", "end"), _refuse
    ),
}


def serve_detached(spec: Spec, lock: FolderLock, *, record: Recording, outliving: bool) -> list[str]:
    """Start a process that serves the cluster of `spec`, and hand the folder's lock to it. Returns when the cluster is up.

    Returns:
        A line for each node that could not start.

    Raises:
        BootFailed: the cluster could not start.
        KeyboardInterrupt: a signal has come meanwhile. The process that was started has ended, in order.
    """
    options = ["--record", record, *(["--outliving"] if outliving else [])]
    return _serve_detached(spec.root, lock, spec.settings.cluster, options)


def serve_system_detached(root: Path, lock: FolderLock, cluster: str) -> None:
    """Do the same for nodes that are not ours, which the folder's `system.json` describes. `cluster` is a name for the run."""
    _serve_detached(root, lock, cluster, ["--system"])


def _serve_detached(root: Path, lock: FolderLock, cluster: str, options: list[str]) -> list[str]:
    command = [sys.executable, "-P", "-m", "harness.runs.serve", "--root", str(root)]
    command += ["--lock-fd", str(lock.descriptor), *options]
    mark = ProcessMark.of(SUPERVISOR, cluster, root)
    supervisor, pipe = spawn_detached(command, root / SUPERVISOR_LOG_NAME, mark, lock.descriptor)
    try:
        lost: list[str] = pipe.wait("the cluster", time.monotonic() + _READY_S).report["lost"]
    except KeyboardInterrupt:  # the signal has not reached the supervisor, which has a session of its own
        supervisor.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            supervisor.wait(_READY_S)
        raise
    finally:
        if supervisor.returncode is None:
            supervisor.returncode = (
                0  # this process does not reap it: without this, Python would warn that it still runs
            )
    return lost


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m harness.runs.serve")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--record", choices=["all", "page", "some", "none"], default="all")
    parser.add_argument("--outliving", action="store_true")
    parser.add_argument("--system", action="store_true")
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--lock-fd", type=int, required=True)
    return parser.parse_args()


@safe_stderr()  # also the errors of starting are to reach the ready pipe
def main(arguments: argparse.Namespace) -> int:
    """Serve a cluster: the detached process runs this. Returns its exit status."""
    gc.freeze()  # no collection visits what was imported, neither while the process works nor when it ends
    sign_lock(arguments.lock_fd)

    def show(line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)

    def ready(lost: list[str]) -> None:
        try:
            ReadyPipe.write(arguments.ready_fd, {"lost": lost})
        except BrokenPipeError:
            raise ConsensusError(
                "`consensus up` has ended before the cluster was up, so the cluster ends, too"
            ) from None

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the supervisor handles it: end what has begun
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        if arguments.system:
            from harness.runs.system_session import serve_system  # noqa: PLC0415 - only nodes that are not ours need it

            serve_system(arguments.root, show=show, ready=ready)
            return 0
        spec = open_spec(arguments.root)
        if arguments.outliving:
            serve_outliving(spec, show=show, ready=ready)
        else:
            serve(spec, record=arguments.record, show=show, ready=ready)
    except (ConsensusError, ValueError, OSError) as error:
        show(str(error))
        os.close(arguments.lock_fd)  # nothing runs any more, so that the next `consensus up` need not wait
        with contextlib.suppress(BrokenPipeError):
            ReadyPipe.write(arguments.ready_fd, {"error": str(error)})
        return 1
    except KeyboardInterrupt:
        show("a signal has ended the supervisor before the cluster was up")
        return 1
    return 0


if __name__ == "__main__":
    options = _parse()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # until `main` can end what has begun
    if not (options.system or options.outliving):  # other nodes start from nothing
        fork_this_process()
    sys.exit(main(options))
