"""How verbs print, and their exit codes. `convention.py` has the rules. This part needs no click, whose import takes a while."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from itertools import pairwise, takewhile
from typing import Any, Final, NoReturn, TextIO, TypeVar, cast

T = TypeVar("T")

EXIT_VIOLATED: Final = 1
EXIT_UNKNOWN: Final = 2
EXIT_INTERRUPTED: Final = 130
EXIT_BAD_ARGUMENTS: Final = 254
EXIT_INTERNAL: Final = 255
SCHEMA: Final = 1

#: The kind of an error in its JSON object, by its exit code.
_KIND_OF: Final[Mapping[int, str]] = {
    EXIT_VIOLATED: "refused",
    EXIT_UNKNOWN: "unknown",
    129: "hung_up",
    EXIT_INTERRUPTED: "interrupted",
    143: "terminated",
    EXIT_BAD_ARGUMENTS: "bad_arguments",
    EXIT_INTERNAL: "internal",
}
#: The exit codes of the signals that end a stream as its user wants.
_ENDS_OF_A_STREAM: Final = (129, EXIT_INTERRUPTED, 143)


class _Printed:
    """What the verb of this process has printed as JSON."""

    def __init__(self) -> None:
        self.as_json, self.streams, self.objects = False, False, 0
        self.verb = ""


_printed: Final = _Printed()


def begin(arguments: Sequence[str]) -> None:
    """Begin a verb: nothing is printed yet. An error in the arguments is printed as they say, as far as they can be read."""
    words = list(takewhile(lambda word: word != "--", arguments))
    _printed.as_json = any(word in ("-ojson", "--output=json") for word in words) or any(
        option in ("-o", "--output") and value == "json" for option, value in pairwise(words)
    )
    _printed.streams, _printed.objects, _printed.verb = False, 0, ""


def began_verb(name: str, *, streams: bool) -> None:
    """Note which verb runs: its arguments have been read."""
    _printed.streams, _printed.verb = streams, name


def chose_json() -> None:
    """Note that this verb prints JSON."""
    _printed.as_json = True


def verb_under_way() -> str:
    """Return the name of the verb that runs, or an empty text before its arguments are read."""
    return _printed.verb


def ends_with_its_user() -> None:
    """Note that the verb under way goes on until its user ends it, as a page does, so that Ctrl-C is no error."""
    _printed.streams = True


def is_stream() -> bool:
    """Return whether the verb prints until a signal ends it."""
    return _printed.streams


def print_json(**content: Any) -> None:
    """Print one JSON object to stdout, with the version of the schema."""
    _printed.objects += 1
    print(json_text({"schema": SCHEMA, **content}), flush=True)


def json_text(value: Any) -> str:
    """Return a value as JSON, for stdout: in ASCII unless stdout's encoding can represent every character."""
    return json.dumps(
        value, ensure_ascii=not (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    )


def print_wrapped(line: str, indent: str | None = None) -> None:
    """Print a line to stdout, over as many lines of the terminal as it needs.

    Args:
        line: the line.
        indent: what the lines after the first begin with; the spaces at the start of `line` and two more if it is None.
    """
    import shutil  # noqa: PLC0415 - most verbs do not wrap lines, and these take a while
    import textwrap  # noqa: PLC0415

    if indent is None:
        indent = " " * (len(line) - len(line.lstrip()) + 2)
    columns = shutil.get_terminal_size().columns
    lines = textwrap.wrap(line, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    print("\n".join(lines))


def print_stderr(text: str) -> None:
    """Print a line for people to stderr."""
    print(text, file=sys.stderr, flush=True)


def print_error(code: int, message: str, kind: str | None = None) -> None:
    """Print what ends the verb: a sentence to stderr and, with `-o json`, an object to stdout.

    Args:
        code: the exit code.
        message: the error, in a sentence.
        kind: one name for programs; by the exit code if it is None.
    """
    with suppress(OSError):  # the exit code tells the error all the same
        print_stderr(f"consensus: {message}")
    print_error_object(code, message, kind)


def print_error_object(code: int, message: str, kind: str | None = None) -> None:
    """Do the part of `print_error` that is for programs, for an error that people have been told of.

    An object that cannot be written is dropped, with the rest of the output: the exit code stays the error's.
    """
    ends_a_stream = _printed.streams and code not in _ENDS_OF_A_STREAM
    if _printed.as_json and (ends_a_stream or not (_printed.streams or _printed.objects)):
        try:
            print_json(error={"kind": kind or kind_of(code), "message": message}, exit_code=code)
        except OSError:
            drop_stdout()


def drop_stdout() -> None:
    """Send the rest of the output nowhere, also what waits in a buffer: it cannot be written."""
    if sys.stdout is not None:
        with open(os.devnull, "w") as nowhere, suppress(OSError, ValueError):  # ValueError: it has no descriptor
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


class NotedOutput:
    """Stands in the place of stdout, and notes the error of a write that fails. For all else it is the stream below."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        return self._noted(lambda: self._stream.write(text))

    def flush(self) -> None:
        self._noted(self._stream.flush)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _noted(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except OSError as error:
            self.error = error
            raise


@contextmanager
def noted_stdout() -> Iterator[NotedOutput | None]:
    """Note the errors of writing to stdout inside the block. Yields None if stdout is closed."""
    if sys.stdout is None:
        yield None
        return
    output = NotedOutput(sys.stdout)
    with redirect_stdout(cast(TextIO, output)):
        yield output


def exit_interrupted(error: KeyboardInterrupt, message: str) -> NoReturn:
    """End this process at once, with the exit code of the signal: without waiting for threads whose work is under way.

    The kernel ends the nodes that they launched.
    """
    code = exit_code_of(error)
    with suppress(OSError):
        print_stderr(f"{end_of(error)}: {message}")
    print_error_object(code, f"{end_of(error)}: {message}")
    os._exit(code)


def kind_of(code: int) -> str:
    """Return the kind of error, in one word for programs, that an exit code stands for."""
    return _KIND_OF.get(code, "refused")


class Signalled(KeyboardInterrupt):
    """SIGTERM or SIGHUP has come. A verb ends what it has begun, as at Ctrl-C, and has an exit code of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_code_of(error: KeyboardInterrupt) -> int:
    """Return the exit code after a signal, as a shell counts it."""
    return 128 + error.number if isinstance(error, Signalled) else EXIT_INTERRUPTED


def end_of(error: KeyboardInterrupt) -> str:
    """Return how a signal ended a verb, such as "interrupted"."""
    return kind_of(exit_code_of(error)).replace("_", " ")


class ProgressTimer:
    """Limits how often long work prints its progress."""

    def __init__(self, interval_s: float = 5.0) -> None:
        self._interval_s, self._last = interval_s, time.monotonic()

    def is_due(self) -> bool:
        """Return whether `interval_s` seconds have passed since this was last true, or since the timer was made."""
        now = time.monotonic()
        if now < self._last + self._interval_s:
            return False
        self._last = now
        return True
