"""Runs the examples of a documentation page, in order, in a folder of its own.

Rules
-----
1. An `sh` block is run line by line. A line is a command, and a comment after two spaces is for the reader. Two comments
   are also checked: `# exit code 2`, or `# exit code 0 or 1`, says how the command ends (0 if it says nothing), and
   `# → "blue"` what it prints. `# → "blue" after a moment` is tried again until it is so.
2. A `text` block right after a block that is run is what that block prints, on stdout or stderr. Its words must appear in
   that order. `…` stands for anything, and so does the end of a line.
3. A block of any language with `title="NAME"`, and a `python` block that begins with the comment `# NAME.py`, are written to
   that file. `# NAME.py: the method M` replaces one method of a file that an earlier block wrote.
4. Any other `python` block is run as a program, which must exit with 0.
5. A block with `whole="NAME"` must be equal to the file that earlier blocks have written and changed.
6. A block with `no-run="why"` is not run. `not_run` lists them, and a test counts them.

`python -m tests.docs.pages docs/tutorial/1-first-steps.md` runs one page and shows what each block printed.
"""

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Final
from unittest.mock import patch

from cluster.spawning import warm_up
from harness.cli.main import run as run_verb

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
TIMEOUT_S: Final = 120

_LATER: Final = "after a moment"
_MOMENT_S: Final = 20

_FENCE: Final = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]+)(?P<info>[^\n]*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_ATTRIBUTE: Final = re.compile(r'([\w-]+)="([^"]*)"')
_FILE_COMMENT: Final = re.compile(r"# ([\w/-]+\.py)(?:: the method (\w+))?\n")

#: Options of a pytest that a test starts. Two plugins of other packages take more than half of its processor time, for imports.
FEW_PLUGINS: Final = "-p no:hypothesispytest -p no:anyio"

#: Verbs that are called in this process, where most cost a tenth of what a process of their own costs. The others have a process
#: of their own: those that run a command, spread work over processes or go on until a signal.
# fmt: off
_QUICK: Final = frozenset({
    "ps", "propose", "query", "put", "get", "del", "kill", "suspend", "resume", "restart", "partition", "isolate",
    "link", "links", "heal", "inject", "inspect", "logs", "runs", "report", "export", "faults", "member", "down",
    "save", "restore", "recover", "assign", "check", "explore", "flp", "figure8", "trace", "up", "test", "scorecard", "mutants",
    "new", "tour", "replay",
})
# fmt: on


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page. `follows` says whether it stands right after the block before it."""

    page: str
    line: int
    language: str
    attributes: dict[str, str]
    text: str
    follows: bool

    @property
    def place(self) -> str:
        """Where it stands, for error messages."""
        return f"{self.page}:{self.line}"

    @property
    def why_not_run(self) -> str | None:
        """The reason of its `no-run`, if it has one."""
        return self.attributes.get("no-run")


def pages(*folders: str) -> list[Path]:
    """Every page of the site, or of some of its folders."""
    return sorted(path for folder in folders or ("",) for path in (DOCS / folder).rglob("*.md"))


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, also those that are indented."""
    text = page.read_text()
    found: list[Block] = []
    end = 0
    for match in _FENCE.finditer(text):
        indent = len(match["indent"])
        body = "".join(
            line[indent:] if line[:indent].isspace() and line.strip() else line
            for line in match["body"].splitlines(True)
        )
        line = text.count("\n", 0, match.start()) + 1
        follows = bool(found) and not text[end : match.start()].strip()
        name = page.relative_to(ROOT).as_posix() if page.is_relative_to(ROOT) else page.name
        attributes = dict(_ATTRIBUTE.findall(match["info"]))
        found.append(Block(name, line, match["language"], attributes, body, follows))
        end = match.end()
    return found


def not_run(page: Path) -> list[Block]:
    """The blocks of a page that no test runs."""
    return [block for block in blocks(page) if block.why_not_run is not None]


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of an `sh` block with its comment. A line that ends with a backslash goes on in the next one."""
    for line in text.replace("\\\n", " ").splitlines():
        command, _, comment = line.partition("  # ")
        if command.strip() and not command.startswith("#"):
            yield command.strip(), comment.strip()


def as_pattern(expected: str) -> re.Pattern[str]:
    """What `expected` allows: its words in this order. See rule 2."""
    lines = [line for line in expected.splitlines() if line.strip(" …")]
    return re.compile(".*?".join(".*?".join(map(_words, line.split("…"))) for line in lines), re.DOTALL)


def _words(text: str) -> str:
    return r"\s+".join(map(re.escape, text.split()))


class Page:
    """A page that is being run in `folder`."""

    def __init__(self, folder: Path, show: Callable[[str], None] = lambda _line: None) -> None:
        self.folder = folder
        self._show = show
        self._printed: str | None = None  # by the block before, if it was run

    def run(self, page: Path) -> None:
        """Run every block. Raises AssertionError with the place of the block that is not as it says."""
        try:
            for block in blocks(page):
                if block.why_not_run is None:
                    self._run(block)
                else:
                    self._printed = None
        finally:
            if (self.folder / ".consensus" / "supervisor.json").exists():
                self._verb(["down"])

    def _run(self, block: Block) -> None:
        named = _FILE_COMMENT.match(block.text) if block.language == "python" else None
        if "whole" in block.attributes:
            assert block.text == (self.folder / block.attributes["whole"]).read_text(), (
                f"{block.place}: not the file as it is"
            )
        elif named is not None and named[2]:
            self._replace(block, self.folder / named[1], named[2])
        elif named is not None or "title" in block.attributes:
            file = self.folder / (named[1] if named is not None else block.attributes["title"])
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
        elif block.language == "python":
            self._show(f"--- {block.place}: python")
            code, printed = self._shell(f"{shlex.quote(sys.executable)} - <<'END_OF_BLOCK'\n{block.text}\nEND_OF_BLOCK")
            self._show(printed)
            self._printed = printed
            assert code == 0, f"{block.place}: {printed}"
        elif block.language == "sh":
            self._run_commands(block)
        elif block.language == "text" and block.follows and self._printed is not None:
            assert as_pattern(block.text).search(self._printed), (
                f"{block.place}: this was to be printed:\n{block.text}\nand this was:\n{self._printed}"
            )

    def _run_commands(self, block: Block) -> None:
        everything = ""
        for command, comment in commands(block.text):
            code, printed = self._command(command)
            self._show(f"--- {block.place}: $ {command}   [exit code {code}]\n{printed}")
            everything += printed
            stated = re.search(r"exit code (\d+)(?: or (\d+))?", comment)
            wanted = [int(each) for each in stated.groups() if each] if stated else [0]
            assert code in wanted, f"{block.place}: `{command}` ended with {code}, and not {wanted}:\n{printed}"
            if comment.startswith("→ "):
                pattern = as_pattern(comment.removeprefix("→ ").removesuffix(_LATER))
                deadline = time.monotonic() + _MOMENT_S
                while comment.endswith(_LATER) and not pattern.search(printed) and time.monotonic() < deadline:
                    _, printed = self._command(command)
                assert pattern.search(printed), f"{block.place}: `{command}` printed {printed!r}, and not {comment}"
        self._printed = everything

    def _command(self, command: str) -> tuple[int, str]:
        words = shlex.split(command)
        plain = not re.search(r"[|&;<>$`]", command) and words[:1] == ["consensus"]
        if plain and len(words) > 1 and words[1] in _QUICK:
            return self._verb(words[1:])
        return self._shell(command)

    def _verb(self, arguments: list[str]) -> tuple[int, str]:
        printed = StringIO()
        if arguments[0] == "up":
            warm_up()
        with (
            chdir(self.folder),
            _modules_anew(self.folder),
            patch.dict(os.environ, {"COLUMNS": "120"}),
            redirect_stdout(printed),
            redirect_stderr(printed),
        ):
            code = run_verb(arguments)
        return code, printed.getvalue()

    def _shell(self, command: str) -> tuple[int, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {
            **os.environ,
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "120",
            "NO_COLOR": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_ADDOPTS": FEW_PLUGINS,
        }
        environment.pop("PYTEST_XDIST_WORKER", None)
        with tempfile.TemporaryFile("w+") as output:  # a pipe would stay open for as long as a detached cluster runs
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=TIMEOUT_S,
            )
            output.seek(0)
            return done.returncode, output.read()

    def _replace(self, block: Block, file: Path, method: str) -> None:
        """Put the block's method in the place of the file's method of that name."""
        new = block.text.partition("\n")[2].strip("\n") + "\n"
        lines = file.read_text().splitlines(keepends=True)
        found = [
            node
            for node in ast.walk(ast.parse("".join(lines)))
            if isinstance(node, ast.FunctionDef) and node.name == method
        ]
        assert len(found) == 1, f"{block.place}: {file.name} has {len(found)} methods called {method}"
        lines[found[0].lineno - 1 : found[0].end_lineno] = [new]
        file.write_text("".join(lines))


@contextmanager
def _modules_anew(folder: Path) -> Iterator[None]:
    """Have the modules of a folder imported as a process of its own would, also if a file changes twice within a second."""
    path, writes_none = list(sys.path), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:], sys.dont_write_bytecode = path, writes_none
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(f"{folder}{os.sep}"):
                del sys.modules[name]


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Run the pages that the arguments name, and print what each block printed."""
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory(prefix="page-") as folder:
            Page(Path(folder), _write).run(Path(name).absolute())


if __name__ == "__main__":
    main()
