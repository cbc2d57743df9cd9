"""Finds in the nodes' logs which nodes failed by themselves: an exception in the algorithm, or a broken contract.

A want of the machine (memory, descriptors, space) is not such a failure, whatever process has used it up. Any other error of the
system is one, such as that of a node that cannot bear that its client has gone.
"""

import errno
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from node.__main__ import FAILED
from node.contract import NodeId

_END: Final = re.compile(r"\S+ \S+ CRITICAL (?P<what>.*)")
#: How the system words that it lacks something.
_WANTS: Final = tuple(map(os.strerror, (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC)))


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
    failed = False
    for line in lines:
        if line.endswith(f" ERROR {FAILED}"):
            failed = True
        elif failed and (end := _END.match(line)):
            if not _is_want(end["what"]):
                yield end["what"]
            failed = False


def _is_want(what: str) -> bool:
    kind = what.partition(":")[0].rpartition(".")[2]
    return kind == "MemoryError" or any(text in what for text in _WANTS)
