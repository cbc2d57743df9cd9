"""The commands for the keys and values of a running cluster that keeps a log: put, get, del."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from cluster.clients.log_client import LogClient
from cluster.errors import CommandRefused, Refused, Unknown
from cluster.running import RunningCluster
from cluster.supervisor_file import SupervisorClient
from harness.cli.calls import read_value, reasons_for_no_answer, timeout_option
from harness.cli.convention import EXIT_VIOLATED, json_text, print_json, print_stderr, verb
from harness.records.jsonable import to_jsonable
from harness.runs.session_call import recorded
from node.wire import encode_value

#: How long a command may take to end its session, in seconds. Without that a session ends when it has been idle for long.
_END_SESSION_TIMEOUT_S: Final = 0.5


@contextmanager
def open_log(root: Path) -> Iterator[LogClient]:
    """Open a client of the running cluster. If a call gets no answer or finds no leader, the error names the nodes that are down.

    Raises:
        Mistake: the cluster keeps no log.
    """
    cluster = RunningCluster(root, records_calls=True)
    client = cluster.log_client("by-hand")
    try:
        yield client
        client.end_session(_END_SESSION_TIMEOUT_S)
    except Unknown as error:
        raise Unknown("; ".join([str(error), *reasons_for_no_answer(cluster.control)])) from error
    except CommandRefused as error:
        if error.kind == "not_sent":
            raise Refused("; ".join([str(error), *reasons_for_no_answer(cluster.control)])) from error
        raise
    finally:
        client.close()


@verb(context_settings={"ignore_unknown_options": True})  # so that -1 is a value
@click.argument("key")
@click.argument("value")
@click.option(
    "--if-version", type=click.IntRange(0), help="Put only if the key has this version; 0: only if it is absent."
)
@timeout_option
@click.pass_obj
def put(root: Path, key: str, value: str, if_version: int | None, timeout_s: float, as_json: bool) -> None:
    """Set KEY to VALUE, and print its new version. VALUE is JSON, or a bare word for a string, or - for standard input."""
    content = read_value(value)
    encode_value(content)  # a value that cannot be encoded is refused before the call is recorded
    with open_log(root) as client:
        if if_version is None:
            with recorded(SupervisorClient(root), "put", key, content, timeout_s) as call:
                version = client.kv.put(key, content, timeout_s)
                call.ok(version)
        else:
            # A compare-and-set stands in the history with the expected value. An old version has no value that fits.
            present = client.kv.get_with_version(key, timeout_s) or (None, 0)
            old = present[0] if present[1] == if_version else {"version": if_version}
            with recorded(SupervisorClient(root), "cas", key, [old, content], timeout_s) as call:
                version = client.kv.compare_and_set(key, if_version, content, timeout_s)
                call.ok(version)
    if as_json:
        print_json(key=key, version=version)
    else:
        print(version)


@verb()
@click.argument("key")
@timeout_option
@click.pass_obj
def get(root: Path, key: str, timeout_s: float, as_json: bool) -> int:
    """Print the value of KEY, as it is at some time during the call. Exit code 1 if there is no such key."""
    with open_log(root) as client, recorded(SupervisorClient(root), "get", key, None, timeout_s) as call:
        found = client.kv.get_with_version(key, timeout_s)
        call.ok(None if found is None else found[0])
    if as_json:
        value, version = found or (None, 0)
        print_json(key=key, found=found is not None, value=to_jsonable(value), version=version)
    elif found is None:
        print_stderr(f"consensus: there is no key {key!r}")
    else:
        print(json_text(to_jsonable(found[0])))
    return EXIT_VIOLATED if found is None else 0


@verb("del")
@click.argument("key")
@timeout_option
@click.pass_obj
def del_(root: Path, key: str, timeout_s: float, as_json: bool) -> int:
    """Remove KEY. Exit code 1 if there is no such key."""
    with open_log(root) as client, recorded(SupervisorClient(root), "delete", key, None, timeout_s) as call:
        was_there = client.kv.delete(key, timeout_s)
        call.ok(was_there)
    if as_json:
        print_json(key=key, deleted=was_there)
    elif not was_there:
        print_stderr(f"consensus: there is no key {key!r}")
    return 0 if was_there else EXIT_VIOLATED
