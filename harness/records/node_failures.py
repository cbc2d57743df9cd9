"""Finds in the nodes' logs which nodes failed by themselves: an exception in the algorithm, or a broken contract.

An error of the machine (memory, descriptors, a disk) is not such a failure: those are faults of the catalogue.
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
    """Describe each way in which each node failed, one line each, with the place in the code and the number of times.

    Args:
        logs: the log file of each node. A file that cannot be read counts as empty.
    """
    found = []
    for name, path in logs.items():
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        for what, times in Counter(_failures_in(text.split("\n"))).items():
            often = f" {times} times" if times > 1 else ""
            found.append(f"{name} failed{often}: {what}; the traceback is in its log, {path.parent.name}/{path.name}")
    return found


def _failures_in(lines: Iterable[str]) -> Iterator[str]:
    frames: list[re.Match[str]] | None = None
    for line in lines:
        if line.endswith(f" ERROR {FAILED}"):
            frames = []
        elif frames is not None and (frame := _FRAME.match(line)):
            frames.append(frame)
        elif frames is not None and (end := _END.match(line)):
            if not _is_machine_error(end["what"]):
                yield end["what"] + _place(frames)
            frames = None


def _place(frames: list[re.Match[str]]) -> str:
    """Return the place of the failure: the last frame outside of the `node` package, or else the last frame."""
    outside = [frame for frame in frames if not frame["file"].startswith(_OURS)] or frames
    if not outside:
        return ""
    last = outside[-1]
    return f" (in {last['function']}, {Path(last['file']).name}, line {last['line']})"


def _is_machine_error(what: str) -> bool:
    kind = what.partition(":")[0].rpartition(".")[2]
    found = getattr(builtins, kind, None)
    return kind == "ZMQError" or (isinstance(found, type) and issubclass(found, OSError | MemoryError))
