"""The command `consensus watch`: the changes of keys, on a running cluster that keeps a log."""

from contextlib import suppress
from pathlib import Path
from typing import Final

import click

from cluster.errors import Unknown
from harness.cli.convention import json_text, print_json, print_stderr, verb
from harness.cli.keys import open_log
from harness.records.jsonable import to_jsonable

_LONG_POLL_S: Final = 30.0


@verb(streams=True)
@click.argument("prefix", default="")
@click.option(
    "--after", type=click.IntRange(0), help="Begin with the changes after this version.  [default: changes from now on]"
)
@click.pass_obj
def watch(root: Path, prefix: str, after: int | None, as_json: bool) -> None:
    """Print every change of the keys that begin with PREFIX, until Ctrl-C: version, key, value.

    A deleted key has no value. With -o json each change is one object on one line.
    """
    with open_log(root) as client:
        seen = client.kv.version() if after is None else after
        print_stderr(f"watching keys that begin with {prefix!r} after version {seen}; Ctrl-C ends it")
        while True:
            with suppress(Unknown):  # no leader at the moment; the next poll returns every change since `seen`
                changes = client.kv.watch(prefix, seen, _LONG_POLL_S)
                seen = changes.seen
                for version, key, value in changes:
                    if as_json:
                        print_json(version=version, key=key, value=to_jsonable(value), deleted=value is None)
                    else:
                        shown = "" if value is None else f" {json_text(to_jsonable(value))}"
                        print(f"{version} {key}{shown}", flush=True)
