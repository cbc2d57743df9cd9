"""The logs of nodes: what each has written to its standard error, and what it has written elsewhere that is no message."""

import threading
from collections import deque
from pathlib import Path
from typing import Final

from harness.records.record_file import RecordFile
from node.contract import NodeId

#: How many bytes a log may have. A node that writes more goes on, and the rest is not kept.
LOG_BYTES_MAX: Final = 16 * 1024 * 1024
_LAST_LINES: Final = 5
_SHOWN: Final = 300
#: How a line of a stack trace of JavaScript or Java begins. What has failed stands above it, and would be crowded out.
_FRAME: Final = "at "


class NodeLogs:
    """The logs of one run's nodes. Any thread may call any method."""

    def __init__(self, folder: Path, nodes: tuple[NodeId, ...]) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._files = {node: RecordFile(self.path(node)) for node in nodes}
        self._room = dict.fromkeys(nodes, LOG_BYTES_MAX)
        self._last: dict[NodeId, deque[str]] = {node: deque(maxlen=_LAST_LINES) for node in nodes}
        self._begun: dict[NodeId, str] = dict.fromkeys(nodes, "")
        self._lock = threading.Lock()

    def path(self, node: NodeId) -> Path:
        """Return the file of a node's log."""
        return self._folder / f"{node}.log"

    def wrote(self, node: NodeId, data: bytes) -> None:
        """Take in what a node has written to its standard error."""
        text = data.decode(errors="replace")
        with self._lock:
            *lines, rest = (self._begun[node] + text).split("\n")  # a line may come in parts
            self._last[node].extend(line for line in lines if line.strip() and not line.strip().startswith(_FRAME))
            self._begun[node] = rest[:_SHOWN]
            self._write(node, text)

    def note(self, node: NodeId, text: str) -> None:
        """Write a line of the harness into a node's log."""
        with self._lock:
            cut_short, self._begun[node] = self._begun[node], ""  # what follows is of another incarnation
            self._last[node].extend(filter(None, [cut_short]))
            self._write(node, ("\n" if cut_short else "") + f"--- {text}\n")

    def misread(self, node: NodeId, line: bytes, why: str) -> None:
        """Write a line of a node's standard output that is no message."""
        text = line.decode(errors="replace")
        with self._lock:
            self._last[node].append(text[:_SHOWN])
            self._write(node, f"--- on standard output, which is no message ({why}): {text[:_SHOWN]}\n")

    def _write(self, node: NodeId, text: str) -> None:
        if self._room[node] <= 0:
            return
        self._files[node].write(text)
        self._room[node] -= len(text)
        if self._room[node] <= 0:
            self._files[node].write(f"\n--- the log ends here: the node has written {LOG_BYTES_MAX:,} characters\n")

    def is_full(self, node: NodeId) -> bool:
        """Return whether a node has written more than its log keeps."""
        return self._room[node] <= 0

    def last_words(self, node: NodeId) -> str:
        """Return a clause with the last lines that a node has written."""
        with self._lock:
            lines = [line.strip()[:_SHOWN] for line in (*self._last[node], self._begun[node]) if line.strip()]
        return f"Its last words: {' | '.join(lines)}" if lines else "It has written nothing to its standard error"

    def close(self) -> None:
        """Close the files. A second call does nothing."""
        for file in self._files.values():
            file.close()
