"""`consensus new`: writes a node to start from, in one of several languages."""

import os
import shlex
from pathlib import Path
from typing import Final

import click

from cluster.errors import Mistake
from harness.cli.convention import print_json, verb

#: The endings of the templates, by language.
_LANGUAGES: Final = {"python": ".py", "node": ".js", "perl": ".pl", "go": ".go"}
#: The language whose program has to be built before it can run.
_BUILT: Final = "go"


@verb()
@click.argument("name")
@click.option(
    "--language",
    type=click.Choice(list(_LANGUAGES)),
    default="python",
    show_default=True,
    help="The language; node is JavaScript for Node.js. A node in Go is built before it runs.",
)
@click.pass_obj
def new(_root: Path, name: str, language: str, as_json: bool) -> int:
    """Write the file NAME, a node that speaks Maelstrom's protocol, to start from.

    It keeps keys and values in memory. `consensus test ./NAME --workload lin-kv` runs it under faults.
    """
    from harness.systems.maelstrom import templates_folder  # noqa: PLC0415 - see harness.cli.verbs

    if not name:
        raise Mistake(f"{name!r} names no file: is a variable of the shell unset?")
    if Path(name).is_dir():
        raise Mistake(f"{name} is a folder: name a file that is to be made, such as {Path(name) / 'node'}")
    ending = _LANGUAGES[language]
    path = Path(name if name.endswith(ending) else name + ending)
    shown = str(path) if os.sep in str(path) else f"./{path}"
    build, program = "", _quoted(shown)
    if language == _BUILT:
        program = _quoted(shown.removesuffix(ending))
        build = f"go build -o {program} {_quoted(shown)}"
    text = (templates_folder() / f"node{ending}").read_text().replace("BUILD", build).replace("./NAME", program)
    try:
        with path.open("x") as file:
            file.write(text)
        if not build:
            path.chmod(0o755)
    except FileExistsError:
        raise Mistake(f"{path} exists already: give another name, or remove it") from None
    except OSError as error:
        raise Mistake(f"{path} cannot be written: {error.strerror}") from error
    if as_json:
        print_json(file=str(path), language=language)
    else:
        first = f"  {build}\n" if build else ""
        print(
            f"{path} is written. Try:\n{first}  consensus test {program} --workload lin-kv --nodes 3 --faults kill --time 5"
        )
    return 0


def _quoted(path: str) -> str:
    """Return a path as one word for a shell, and in it one word for `consensus test`, which splits commands into words."""
    inner = shlex.quote(path)
    if inner == path:
        return path
    return shlex.quote(inner) if any(character in '"$`\\!' for character in inner) else f'"{inner}"'
