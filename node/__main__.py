"""`python -m node --spec FILE --id n1`: run one node. `cluster/processes.py` starts it with the other flags below."""

import argparse
import gc
import importlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from node.algorithms import UnknownAlgorithm, load_algorithm
from node.authors import describe_failure
from node.launcher import EXIT_CONFIG, EXIT_DISK, EXIT_INTERNAL, die_with
from node.log_contract import LogAlgorithm
from node.parts import SHIPPED_PARTS, Parts
from node.runtime import Runtime
from node.settings import BadSpec, load
from node.storage.disk import DiskError, DiskFailed, LastSeen
from node.transport import WakeUpPipe

#: The line of the log above the traceback of an internal error.
FAILED: Final = "the algorithm or the node failed"

log = logging.getLogger("node")


def main(runtime_class: Callable[..., Runtime] = Runtime, parts: Parts = SHIPPED_PARTS) -> int:
    """Run one node until it is stopped, with the given shell and parts. Returns the exit status."""
    gc.freeze()  # no collection visits what was imported, neither while the node works nor when it ends
    parser = argparse.ArgumentParser(prog="python -m node", description="One node of a cluster.")
    parser.add_argument("--spec", type=Path, required=True, help="the cluster's spec, a TOML file")
    parser.add_argument("--id", required=True, help="which of the spec's nodes this is")
    parser.add_argument(
        "--booted",
        type=Path,
        help="the node has run before, and this file says what was last seen of its disk: refuse an absent or an old directory",
    )
    parser.add_argument(
        "--ready-fd", type=int, help="a pipe for one line of JSON, when the node is ready or has failed"
    )
    parser.add_argument(
        "--control", type=Path, help="a FIFO in the place of the control pipe: the node outlives its launcher"
    )
    parser.add_argument("--parent", type=int, help="the launcher's process id: the node dies with it")
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if arguments.parent is not None:
        die_with(arguments.parent)

    def report(line: dict[str, object]) -> None:
        if arguments.ready_fd is not None:
            os.write(arguments.ready_fd, json.dumps(line).encode() + b"\n")
            os.close(arguments.ready_fd)
            arguments.ready_fd = None

    status, trouble = EXIT_CONFIG, ""
    try:
        return _serve(arguments, runtime_class, parts, report)
    except (BadSpec, UnknownAlgorithm) as error:
        trouble = str(error)
    except DiskError as error:
        status, trouble = EXIT_DISK, str(error)
        if isinstance(error, DiskFailed):
            log.critical("the node does not know what is durable after this error: it stops and sends nothing more")
    except (
        Exception,
        SystemExit,
    ) as error:  # an algorithm's mistake: the node stops, as in a crash, and logs the traceback
        status, trouble = EXIT_INTERNAL, describe_failure(error)
        log.exception(FAILED)
    log.critical("%s", trouble)
    report({"error": trouble})
    return status


def _serve(
    arguments: argparse.Namespace,
    runtime_class: Callable[..., Runtime],
    parts: Parts,
    report: Callable[[dict[str, object]], None],
) -> int:
    settings = load(arguments.spec)
    algorithm = load_algorithm(settings.algorithm)
    if arguments.id not in settings.nodes and not algorithm.keeps_log:  # to a log, nodes can be added
        raise BadSpec(f"{arguments.spec}: there is no node {arguments.id!r}: the nodes are {', '.join(settings.nodes)}")
    vfs = None
    if settings.vfs is not None:
        module, _, vfs = settings.vfs.partition(":")
        importlib.import_module(module)
    disk = parts.disk(
        settings.directory(arguments.id),
        cluster=settings.cluster,
        node=arguments.id,
        made_for=settings.made_for,
        last_seen=_last_seen(arguments.booted),
        vfs=vfs,
        may_doubt=issubclass(algorithm, LogAlgorithm) and algorithm.may_doubt,
        tuning=settings.tuning,
    )
    control = sys.stdin.fileno()
    if arguments.control is not None:  # open for writing, too, so that it never ends
        control = os.open(arguments.control, os.O_RDWR | os.O_NONBLOCK)
    if disk.doubt:
        log.warning(
            "the last commit on this disk does not check (%s): the node votes only after the others have said what it held",
            disk.doubt.name.lower().replace("_", " "),
        )
    transport, wake_up = parts.transport(settings.tuning.queue_max), WakeUpPipe()
    runtime = runtime_class(settings, arguments.id, algorithm, disk, transport, parts)
    runtime.start()
    signal.set_wakeup_fd(wake_up.writer)
    signal.signal(signal.SIGTERM, lambda *_: runtime.stop())
    log.info("%s runs %s, incarnation %d, at %s", arguments.id, settings.algorithm, disk.incarnation, transport.address)
    report(runtime.ready_report())
    runtime.run(control, wake_up)
    transport.close()
    disk.close()
    log.info("%s stopped", arguments.id)
    return 0


def _last_seen(path: Path | None) -> LastSeen | None:
    """Read the file that the launcher keeps. Raises BadSpec."""
    try:
        return None if path is None else LastSeen.read(path)
    except OSError as error:
        raise BadSpec(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BadSpec(
            f"{path} is damaged, and says how often the node has booted. If the node's disk is the newest one and no old copy, "
            "empty the file and start the node again"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
