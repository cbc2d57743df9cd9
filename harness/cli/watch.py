"""The command `consensus watch`: the changes of keys, on a running cluster that keeps a log."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click

from cluster.errors import CommandRefused, ConsensusError, NotUp, Unknown
from cluster.supervisor_file import SupervisorClient
from harness.cli.convention import json_text, print_json, print_stderr, verb
from harness.cli.keys import open_log
from harness.records.jsonable import to_jsonable

_LONG_POLL_S: Final = 30.0
#: How often to look whether a cluster is up again, in seconds.
_LOOK_AGAIN_S: Final = 0.5


@verb(streams=True)
@click.argument("prefix", default="")
@click.option(
    "--after", type=click.IntRange(0), help="Begin with the changes after this version.  [default: changes from now on]"
)
@click.pass_obj
def watch(root: Path, prefix: str, after: int | None, as_json: bool) -> None:
    """Print every change of the keys that begin with PREFIX, until Ctrl-C: version, key, value.

    If the cluster ends, wait until it is up again, and go on where this ended.

    A deleted key has no value. With -o json each change is one object on one line.
    """
    seen, told = after, ""
    while True:
        try:
            with open_log(root) as client:
                if seen is None:
                    seen = client.kv.version()
                print_stderr(f"watching keys that begin with {prefix!r} after version {seen}; Ctrl-C ends it")
                while True:
                    with suppress(Unknown):  # no leader at the moment; the next poll returns every change since `seen`
                        changes = client.kv.watch(prefix, seen, _LONG_POLL_S)
                        seen, told = changes.seen, ""
                        for version, key, value in changes:
                            _print(version, key, value, as_json)
        except ConsensusError as error:
            # The cluster may be up again already when the client says that it is not.
            if seen is None or (not _says_not_up(error) and _is_up(root)):
                raise
            if str(error) != told:  # it stays the same while the supervisor is suspended
                told = str(error)
                print_stderr(f"waiting for the cluster, Ctrl-C ends the wait: {told}")
        time.sleep(_LOOK_AGAIN_S)
        while not _is_up(root):
            time.sleep(_LOOK_AGAIN_S)


def _says_not_up(error: ConsensusError) -> bool:
    return isinstance(error, NotUp) or (isinstance(error, CommandRefused) and error.kind == "not_up")


def _is_up(root: Path) -> bool:
    with suppress(NotUp):
        return SupervisorClient(root).is_alive()
    return False


def _print(version: int, key: str, value: Any, as_json: bool) -> None:
    if as_json:
        print_json(version=version, key=key, value=to_jsonable(value), deleted=value is None)
    else:
        print(f"{version} {key}" + ("" if value is None else f" {json_text(to_jsonable(value))}"), flush=True)
