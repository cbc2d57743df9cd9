"""Which nodes have failed by themselves, from what their logs say: an exception of the algorithm's, or a broken contract.

What the machine denied (memory, descriptors, a disk) is no such failure: those are faults of the catalogue.
"""

import builtins
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import node
from node.__main__ import FAILED
from node.contract import NodeId

_OURS: Final = str(Path(node.__file__).parent)
_FRAME: Final = re.compile(r'  File "(?P<file>.+)", line (?P<line>\d+), in (?P<function>.+)')
_END: Final = re.compile(r"\S+ \S+ CRITICAL (?P<what>.*)")


def failures(logs: Mapping[NodeId, Path]) -> list[str]:
    """A line for each way in which each node has failed, with where and how often."""
    found = []
    for name, path in logs.items():
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        for what, times in Counter(_failures_in(text.split("\n"))).items():
            often = f" {times} times" if times > 1 else ""
            found.append(f"{name} failed{often}: {what}; its log, {path.parent.name}/{path.name}, has all of it")
    return found


def _failures_in(lines: Iterable[str]) -> Iterator[str]:
    frames: list[re.Match[str]] | None = None
    for line in lines:
        if line.endswith(f" ERROR {FAILED}"):
            frames = []
        elif frames is not None and (frame := _FRAME.match(line)):
            frames.append(frame)
        elif frames is not None and (end := _END.match(line)):
            if not _is_the_machines(end["what"]):
                yield end["what"] + _place(frames)
            frames = None


def _place(frames: list[re.Match[str]]) -> str:
    """Where it happened: in the author's file, if one is among the frames."""
    theirs = [frame for frame in frames if not frame["file"].startswith(_OURS)] or frames
    if not theirs:
        return ""
    last = theirs[-1]
    return f" (in {last['function']}, {Path(last['file']).name}, line {last['line']})"


def _is_the_machines(what: str) -> bool:
    kind = what.partition(":")[0].rpartition(".")[2]
    found = getattr(builtins, kind, None)
    return kind == "ZMQError" or (isinstance(found, type) and issubclass(found, OSError | MemoryError))
