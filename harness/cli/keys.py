"""The verbs for the keys and values of a replicated log that runs by hand: put, get, del."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from cluster.clients.log_client import LogClient
from cluster.errors import CommandRefused, Refused, Unknown
from cluster.running import RunningCluster
from cluster.supervisor_file import SupervisorClient
from harness.cli.calls import Noted, read_value, timeout_option, who_is_down
from harness.cli.main import EXIT_VIOLATED, output_option, print_json, say
from harness.records.jsonable import to_jsonable
from node.wire import encode_value

#: Seconds that a verb spends at most on ending its session, which would end by itself when it has been idle for long.
_END_S: Final = 0.5


@contextmanager
def open_log(root: Path) -> Iterator[LogClient]:
    """A client of the cluster here. If a call has no answer or no leader, the error says who is down.

    Raises Mistake if the cluster keeps no log.
    """
    cluster = RunningCluster(root)
    client = cluster.log_client("by-hand")
    try:
        yield client
        client.end_session(_END_S)
    except Unknown as error:
        raise Unknown("; ".join([str(error), *who_is_down(cluster.control)])) from error
    except CommandRefused as error:
        if error.kind == "not_sent":
            raise Refused("; ".join([str(error), *who_is_down(cluster.control)])) from error
        raise
    finally:
        client.close()


@contextmanager
def noted(root: Path, f: str, key: str, value: Any, timeout_s: float) -> Iterator[Noted]:
    """Has the session's history tell of a call: say `ok` at the end of the block. Its errors are told as what they mean."""
    note = Noted(SupervisorClient(root), f, key, value, timeout_s)
    try:
        yield note
    except CommandRefused as error:
        note.fail(f"{error.kind}: {error}")
        raise
    except Refused as error:
        note.fail(str(error))
        raise
    except BaseException as error:
        note.info(f"{type(error).__name__}: {error}")
        raise


@click.command(context_settings={"ignore_unknown_options": True})  # so that -1 is a value
@click.argument("key")
@click.argument("value")
@click.option("--if-version", type=click.IntRange(0), help="Only if the key has this version; 0: only if it is absent.")
@timeout_option
@output_option
@click.pass_obj
def put(root: Path, key: str, value: str, if_version: int | None, timeout_s: float, as_json: bool) -> None:
    """Set KEY to VALUE, and print its new version. VALUE is JSON, or a bare word for a string, or - for standard input."""
    content = read_value(value)
    encode_value(content)  # what cannot be carried is refused before anything is noted
    with open_log(root) as client:
        if if_version is None:
            with noted(root, "put", key, content, timeout_s) as note:
                version = client.kv.put(key, content, timeout_s)
                note.ok(version)
        else:
            # In the history a compare-and-set is told by values; a version that is not the present one fits none.
            present = client.kv.get_with_version(key, timeout_s) or (None, 0)
            old = present[0] if present[1] == if_version else {"version": if_version}
            with noted(root, "cas", key, [old, content], timeout_s) as note:
                version = client.kv.compare_and_set(key, if_version, content, timeout_s)
                note.ok(version)
    if as_json:
        print_json(key=key, version=version)
    else:
        print(version)


@click.command()
@click.argument("key")
@timeout_option
@output_option
@click.pass_obj
def get(root: Path, key: str, timeout_s: float, as_json: bool) -> int:
    """Print the value of KEY: never older than the question. Exit code 1 if there is none."""
    with open_log(root) as client, noted(root, "get", key, None, timeout_s) as note:
        found = client.kv.get_with_version(key, timeout_s)
        note.ok(None if found is None else found[0])
    if as_json:
        value, version = found or (None, 0)
        print_json(key=key, found=found is not None, value=to_jsonable(value), version=version)
    elif found is None:
        say(f"consensus: there is no key {key!r}")
    else:
        print(json.dumps(to_jsonable(found[0]), ensure_ascii=False))
    return EXIT_VIOLATED if found is None else 0


@click.command("del")
@click.argument("key")
@timeout_option
@output_option
@click.pass_obj
def del_(root: Path, key: str, timeout_s: float, as_json: bool) -> int:
    """Remove KEY. Exit code 1 if there is none."""
    with open_log(root) as client, noted(root, "delete", key, None, timeout_s) as note:
        was_there = client.kv.delete(key, timeout_s)
        note.ok(was_there)
    if as_json:
        print_json(key=key, deleted=was_there)
    elif not was_there:
        say(f"consensus: there is no key {key!r}")
    return 0 if was_there else EXIT_VIOLATED
