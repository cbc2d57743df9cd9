"""Records a run's history while the run goes on."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.records.history import FUNCTIONS, BadHistory, CallOutcome, Event, EventType, History
from harness.records.jsonable import to_line
from harness.records.record_file import RecordFile


@dataclass
class HistoryRecorder:
    """Records events from any number of threads. `path` is the history's file; None keeps the events in memory alone.

    The recorder writes each event to the file before the method that records it returns. So a harness that is killed
    leaves every event that it has recorded. If the file cannot be written any more, the events are kept in memory, and `lost`
    is the reason.
    """

    path: Path | None = None
    clock: Callable[[], int] = time.monotonic_ns
    _events: list[Event] = field(default_factory=list, init=False)
    _open: dict[str, Event] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self._file = RecordFile(self.path) if self.path is not None else None

    @property
    def lost(self) -> str:
        """Why the file lacks the last events; empty if it has all."""
        return "" if self._file is None else self._file.lost

    def invoke(
        self,
        process: str,
        f: str,
        key: str,
        value: object = None,
        *,
        node: str | None = None,
        timeout_s: float | None = None,
    ) -> Event:
        """Record that `process` is about to call.

        Args:
            process: the caller. It must have no call open.
            f: the operation, one of `harness.records.history.FUNCTIONS`.
            key: the variable, key or lock.
            value: what the call carries.
            node: the node that the client asks; None for any.
            timeout_s: how long the client waits, in seconds.

        Returns:
            The handle to pass to `ok`, `fail` or `info`.

        Raises:
            BadHistory: the process has a call open, or `f` is not an operation.
            TypeError: the value cannot be recorded. Nothing was recorded.
        """
        if f not in FUNCTIONS:
            raise BadHistory(f"f is {f!r}; the operations are {', '.join(FUNCTIONS)}")
        with self._lock:
            if process in self._open:
                raise BadHistory(f"process {process} calls while its call {self._open[process].index} is open")
            event = self._append(process, "invoke", f, key, value, node=node, timeout_s=timeout_s)
            self._open[process] = event
            return event

    def ok(self, handle: Event, value: object = None, *, node: str | None = None) -> None:
        """Record that the call was answered with `value`; None means undecided. `node` answered, if that is known."""
        self._complete(handle, "ok", value, None, node)

    def fail(self, handle: Event, error: str, *, node: str | None = None) -> None:
        """Record that the call was not done, and never will be."""
        self._complete(handle, "fail", None, error, node)

    def info(self, handle: Event, error: str, *, node: str | None = None) -> None:
        """Record that the call may have been done, or may still be. A timeout is recorded so."""
        self._complete(handle, "info", None, error, node)

    @property
    def history(self) -> History:
        """The events up to now."""
        with self._lock:
            return History(self._events)

    def close(self) -> None:
        """Close the file. `history` can still be read."""
        with self._lock:
            if self._file is not None:
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _complete(self, handle: Event, type_: CallOutcome, value: object, error: str | None, node: str | None) -> None:
        with self._lock:
            if self._open.get(handle.process) is not handle:
                raise BadHistory(f"call {handle.index} of process {handle.process} has ended already")
            self._append(handle.process, type_, handle.f, handle.key, value, error=error, node=node)
            del self._open[handle.process]

    def _append(
        self,
        process: str,
        type_: EventType,
        f: str,
        key: str,
        value: object,
        *,
        error: str | None = None,
        node: str | None = None,
        timeout_s: float | None = None,
    ) -> Event:
        event = Event(len(self._events), self.clock(), process, type_, f, key, value, error, node, timeout_s)
        text = to_line(event.to_json())
        self._events.append(event)
        if self._file is not None:
            self._file.write(text)
        return event
