"""What a click does to nodes that are not ours: faults as for our own, and the calls that the system's clients can make."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cluster.errors import Unknown, WrongState
from cluster.folder_lock import FolderLock
from cluster.supervisor_file import SupervisorClient
from harness.page.acts import ClusterActs
from harness.page.patience import CallPatience

#: How often to ask whether a call has ended, in seconds.
_LOOK_S: Final = 0.05


class SystemActs(ClusterActs):
    """The acts on the system that is up in a folder."""

    def __init__(self, root: Path, on_done: Callable[[], None]) -> None:
        """Make the acts. `on_done` is called after each, so that its effect shows at once."""
        super().__init__(root, on_done, CallPatience())
        call = {"f": str, "key": str, "value": str, "at": str, "timeout_s": float}
        self._acts = {**self._acts, "call": (self._call_client, call)}

    def _call_client(self, f: str, key: str, value: str, at: str, timeout_s: float) -> str:
        control = SupervisorClient(self._root)
        number = control.ask("call", f=f, key=key, value=value, at=at or None, timeout_s=float(timeout_s))
        self._on_done()
        while (ended := control.ask("outcome", number=number)) is None:
            time.sleep(_LOOK_S)
        if ended["ok"] is None:
            raise Unknown(ended["text"])
        if not ended["ok"]:
            raise WrongState(f"refused: {ended['text']}")
        return str(ended["text"])

    def _start(self) -> str:
        """Launch the same system again, after its end, with nodes that begin anew."""
        from harness.runs.serve import serve_system_detached  # noqa: PLC0415 - seldom needed
        from harness.runs.system_session import SystemSpec  # noqa: PLC0415

        lock = FolderLock(self._root)
        try:
            last = SystemSpec.load(self._root)
            spec = SystemSpec.new(self._root, last.system, last.nodes, last.seed, last.workload)
            serve_system_detached(self._root, lock, spec.cluster)
        finally:
            lock.release()
        return f"{spec.system.name} is up again, with nodes that begin anew"
