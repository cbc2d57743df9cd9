"""`consensus check`: judges history files, from this project or from elsewhere."""

from pathlib import Path
from typing import Any

import click

from harness.cli.check_files import OPTIONS, run
from harness.cli.convention import verb
from harness.cli.plain_options import BadUse


def _with_options(function: Any) -> Any:
    for option in reversed(OPTIONS):
        function = option.by_click()(function)
    return function


@verb()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, allow_dash=True))
@_with_options
def check(*, files: tuple[Path, ...], as_json: bool, **parameters: Any) -> int:
    """Judge whether the histories in FILES keep to a model. A folder stands for its .jsonl, .json and .edn files; - is stdin.

    A file has JSON lines with Jepsen's fields, or is one JSON array of such objects, or EDN or a log as Jepsen writes it. Each
    event has type (invoke, ok, fail, info), process, f and value; index, time, key and error are optional. A line may also be a
    whole call, with start and end.

    \b
    consensus check history.jsonl --model cas-register
    consensus check store/ --model list-append --consistency serializable --timeout 60 --memory 2

    Exit code: 0 valid, 1 invalid, 2 unknown, 254 if a file is no history of the model. Of several files the worst counts.
    """
    try:
        return run(files=tuple(map(str, files)), as_json=as_json, **parameters)
    except BadUse as error:
        raise click.UsageError(str(error)) from None
