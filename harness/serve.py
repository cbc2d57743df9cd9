"""A cluster with a proxy on every link, and a supervisor that the command line talks to.

`serve` does it in this process until it is stopped; `serve_detached` does it in a process of its own.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.control import FolderLock, sign_lock
from cluster.errors import ConsensusError
from cluster.local import Cluster
from cluster.processes import ReadyPipe, is_suspended, spawn_detached
from cluster.spec import Spec, open_spec
from cluster.supervisor import Supervisor, parse_groups
from harness.network import Network
from harness.rules import DELIVERED, KEPT, LOST, Action, Cut, Delay, Drop, Duplicate, Reorder, Rule

_READY_S = 60.0


def serve(spec: Spec, *, record: bool, tell: Callable[[str], None], ready: Callable[[list[str]], None]) -> None:
    """Launch the cluster of `spec` and serve it until it is stopped.

    `ready` is called when it is up, with a line for each node that could not start: one whose disk is lost must not keep the
    others from serving.

    Raises:
        BootFailed: a node or the proxy did not start; nothing is left running.
    """
    messages = spec.root / "messages.jsonl" if record else None
    with (
        Network(spec.path, record=messages, seed=spec.settings.seed) as network,
        _stopped_at_the_end(Cluster(spec=spec, links=network)) as cluster,
    ):
        cluster.start(without_the_lost=True)
        supervisor = Supervisor(cluster, _link_verbs(network, cluster), tell, lambda: _trouble(network))
        ready([str(failure) for failure in cluster.failures.values()])
        supervisor.run()


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


def _link_verbs(network: Network, cluster: Cluster) -> dict[str, Callable[..., Any]]:
    def link(senders: list[str], receivers: list[str], one_way: bool, spoil: dict[str, Any]) -> list[str]:
        pairs = [(senders, receivers)] if one_way else [(senders, receivers), (receivers, senders)]
        return [
            network.install(action, senders=one, receivers=other, probability=probability).id
            for action, probability in _actions(**spoil)
            for one, other in pairs
        ]

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
        "partition": lambda groups: network.partition(parse_groups(groups)).id,
        "isolate": lambda node: network.isolate(cluster.process(node).node).id,
        "link": link,
        "links": links,
        "heal": network.heal,
    }


def _actions(
    drop: float | None = None,
    duplicate: float | None = None,
    delay: float | None = None,
    jitter: float = 0.0,
    reorder: int | None = None,
    cut: bool = False,
) -> Iterator[tuple[Action, float]]:
    """What the options of `consensus link` mean, each with its probability."""
    if cut:
        yield Cut(), 1.0
    if drop is not None:
        yield Drop(), drop
    if duplicate is not None:
        yield Duplicate(), duplicate
    if reorder is not None:
        yield Reorder(reorder), 1.0
    if delay is not None:
        yield Delay(delay, jitter), 1.0


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
    command = [sys.executable, "-P", "-m", "harness.serve", "--root", str(spec.root)]
    command += ["--lock-fd", str(lock.descriptor), *(["--record"] if record else [])]
    pipe = spawn_detached(command, spec.root / "supervisor.log", lock.descriptor)
    lost: list[str] = pipe.wait("the cluster", time.monotonic() + _READY_S).report["lost"]
    return lost


def main() -> int:
    """The detached process."""
    parser = argparse.ArgumentParser(prog="python -m harness.serve")
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
