"""A cluster with a proxy on every link, and a supervisor that the command line talks to.

`serve` does it in this process until it is stopped; `serve_detached` does it in a process of its own.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from cluster.cluster import Cluster
from cluster.errors import ConsensusError
from cluster.folder_lock import FolderLock, sign_lock
from cluster.processes import ReadyPipe, is_suspended, spawn_detached
from cluster.spec import Spec, open_spec
from cluster.supervisor import Supervisor, parse_groups
from harness.faults.partitions import links_between
from harness.network.network import Network
from harness.network.rules import Action, Cut, Delay, Drop, Duplicate, Reorder, Rule
from harness.records.links import DELIVERED, KEPT, LOST
from harness.runs.session import Session, session_folder
from node.contract import BadInput

_READY_S = 60.0


def serve(
    spec: Spec,
    *,
    record: bool,
    tell: Callable[[str], None],
    ready: Callable[[list[str]], None],
) -> None:
    """Launch the cluster of `spec` and serve it until it is stopped.

    `ready` is called when it is up, with a line for each node that could not start: one whose disk is lost must not keep the
    others from serving.

    Raises:
        BootFailed: a node or the proxy did not start; nothing is left running.
    """
    had_past = any(spec.has_booted(node) for node in spec.nodes)
    make_folder = partial(session_folder, spec.root, spec.settings.algorithm)
    folder = make_folder() if record else None
    messages = None if folder is None else folder / "messages.jsonl"
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(Network(spec.path, record=messages, seed=spec.settings.seed))
        cluster = stack.enter_context(_stopped_at_the_end(Cluster(spec=spec, links=network)))
        cluster.start(without_the_lost=True)
        session = Session(spec, cluster, network, make_folder if folder is None else lambda: folder, had_past, messages)
        stack.callback(session.close)

        def trouble() -> str | None:
            session.look()
            return _trouble(network)

        verbs = {**_link_verbs(network, cluster, session), **session.verbs()}
        supervisor = Supervisor(cluster, verbs, tell, trouble, session)
        ready([str(failure) for failure in cluster.failures.values()])
        supervisor.run()
        members = cluster.nodes
    kept = session.judge(members)
    if kept is not None:
        tell(f"what was asked and broken: consensus report {kept.name}")


@contextmanager
def _stopped_at_the_end(cluster: Cluster) -> Iterator[Cluster]:
    try:
        yield cluster
    finally:
        cluster.stop()


def _trouble(network: Network) -> str | None:
    """What is wrong with the proxy, if anything is."""
    if network.proxy.poll() is not None:
        return "the proxy has ended, so nothing passes: `consensus down`, then `consensus up`; what was decided is kept"
    if is_suspended(network.proxy.pid):
        return f"the proxy is suspended, so no message passes: `kill -CONT {network.proxy.pid}` lets it go on"
    return None


def _link_verbs(network: Network, cluster: Cluster, session: Session) -> dict[str, Callable[..., Any]]:
    def link(senders: list[str], receivers: list[str], one_way: bool, spoil: dict[str, Any]) -> list[str]:
        pairs = [(senders, receivers)] if one_way else [(senders, receivers), (receivers, senders)]
        links = list(dict.fromkeys((a, b) for one, other in pairs for a in one for b in other if a != b))
        if not links:
            raise BadInput(f"there is no link from {', '.join(senders)} to itself: name two ends")
        return [
            rule
            for fault, action, probability, arguments in _actions(**spoil)
            for rule in session.spoil(fault, links, action, probability, arguments)
        ]

    def partition(groups: str) -> str:
        sides = parse_groups(groups)
        for node in [node for side in sides for node in side]:
            cluster.process(node)
        named = [node for side in sides for node in side]
        if len(set(named)) < len(named):
            raise BadInput(f"{groups!r} names a node twice: each is in one group")
        rest = [node for node in cluster.nodes if node not in named]
        if rest and len(sides) > 1:
            raise BadInput(f"{groups!r} leaves out {', '.join(rest)}: put each node in a group")
        if not rest and len(sides) == 1:
            raise BadInput(
                f"{groups!r} is one group of all nodes, which cuts nobody off: write partitions as n1,n2/n3,n4,n5"
            )
        return session.cut("partition", links_between(sides, cluster.nodes), groups=sides)[0]

    def links() -> list[dict[str, Any]]:
        rules = network.rules()
        return [
            {
                "from": link[0],
                "to": link[1],
                "passed": sum(counts[fate] for fate in DELIVERED),
                "lost": sum(counts[fate] for fate in LOST),
                "kept": sum(counts[fate] for fate in KEPT),
                "rules": [_in_words(installed.rule) for installed in rules if installed.rule.covers(link)],
            }
            for link, counts in network.links().items()
        ]

    return {
        "partition": partition,
        "isolate": lambda node: session.cut(
            "isolate", links_between([[cluster.process(node).node]], cluster.nodes), node=node
        )[0],
        "link": link,
        "links": links,
        "heal": session.heal,
    }


def _actions(
    drop: float | None = None,
    duplicate: float | None = None,
    delay: float | None = None,
    jitter: float = 0.0,
    reorder: int | None = None,
    cut: bool = False,
) -> Iterator[tuple[str, Action, float, dict[str, Any]]]:
    """What the options of `consensus link` mean: a fault of the catalogue, its action, how likely, and its arguments."""
    if cut:
        yield "drop", Cut(), 1.0, {"probability": 1.0}
    if drop is not None:
        yield "drop", Drop(), drop, {"probability": drop}
    if duplicate is not None:
        yield "duplicate", Duplicate(), duplicate, {"probability": duplicate}
    if reorder is not None:
        yield "reorder", Reorder(reorder), 1.0, {"probability": 1.0, "window": reorder}
    if delay is not None:
        name, more = ("jitter", {"jitter_s": jitter}) if jitter else ("delay", {})
        yield name, Delay(delay, jitter), 1.0, {"seconds": delay, **more}


def _in_words(rule: Rule) -> str:
    match rule.action:
        case Delay(seconds, jitter_s):
            return f"delay {seconds:g} s" + (f" to {seconds + jitter_s:g} s" if jitter_s else "")
        case Reorder(window):
            return f"reorder by {window}"
    return rule.kind if rule.probability == 1 else f"{rule.kind} {rule.probability:g}"


def serve_detached(spec: Spec, lock: FolderLock, *, record: bool) -> list[str]:
    """Have a process of its own serve the cluster of `spec`, and hand it the lock. Returns when it is up.

    Returns a line for each node that could not start. Raises BootFailed if there is no cluster then.
    """
    command = [sys.executable, "-P", "-m", "harness.runs.serve", "--root", str(spec.root)]
    command += ["--lock-fd", str(lock.descriptor), *(["--record"] if record else [])]
    pipe = spawn_detached(command, spec.root / "supervisor.log", lock.descriptor)
    lost: list[str] = pipe.wait("the cluster", time.monotonic() + _READY_S).report["lost"]
    return lost


def main() -> int:
    """The detached process."""
    parser = argparse.ArgumentParser(prog="python -m harness.runs.serve")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--lock-fd", type=int, required=True)
    arguments = parser.parse_args()
    sign_lock(arguments.lock_fd)

    def tell(line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)

    try:
        serve(
            open_spec(arguments.root),
            record=arguments.record,
            tell=tell,
            ready=lambda lost: ReadyPipe.say(arguments.ready_fd, {"lost": lost}),
        )
    except (ConsensusError, ValueError, OSError) as error:
        tell(str(error))
        ReadyPipe.say(arguments.ready_fd, {"error": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
