"""A cluster that another process runs, such as `consensus up`, for any program of the same user on this machine.

```python
with RunningCluster(".consensus") as cluster:
    cluster.kv.put("owner", "alice")
```
"""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Final

from cluster.errors import NotUp
from cluster.outliving import where_they_run
from cluster.service import Service
from cluster.supervisor_file import SupervisorClient
from node.contract import BadInput, NodeId
from node.tuning import tuning_of

_FIND_S: Final = 10.0
_ASK_AGAIN_S: Final = 1.0
_ASKING_S: Final = 2.0


class RunningCluster(Service):
    """The cluster that runs in a folder. Closing this object closes its clients; the cluster goes on."""

    def __init__(self, directory: Path | str | None = None, *, records_calls: bool = False) -> None:
        """Find a running cluster. Any program whose user may read the folder can.

        Args:
            directory: the folder in which `consensus up` keeps its state; None: $CONSENSUS_DIR, or `.consensus`.
            records_calls: whether the caller reports each of its calls to the supervisor, as the command line does. Otherwise
                a session by hand is not judged by its calls, since its record lacks the caller's.

        Raises:
            NotUp: no cluster runs there.
        """
        self.directory = Path(directory or os.environ.get("CONSENSUS_DIR") or ".consensus").absolute()
        self._records_calls = records_calls
        self._joined = 0  # the process id of the supervisor that knows of this program
        self._control, where = _find(self.directory, _FIND_S)
        self._join()
        super().__init__(
            where["cluster"],
            where["algorithm"],
            keeps_log=where["keeps_log"],
            machines=tuple(where["machines"]),
            tuning=tuning_of(where.get("settings", {})),  # a supervisor of an earlier version names none
        )
        self._known = _addresses(where)
        self._asked = time.monotonic()
        self._asking = Lock()
        self._ended: NotUp | None = None

    @property
    def control(self) -> SupervisorClient:
        """The supervisor. Raises NotUp if the nodes have outlived it."""
        return self._control or SupervisorClient(self.directory)

    def client_addresses(self) -> Mapping[NodeId, str]:
        """Return the addresses at which the nodes were found last.

        A thread asks the supervisor again once a second, since nodes come and go. This call does not wait for it.

        Raises:
            NotUp: the cluster has ended.
        """
        if time.monotonic() > self._asked + _ASK_AGAIN_S and self._asking.acquire(blocking=False):
            self._asked = time.monotonic()
            Thread(target=self._ask_again, name="addresses", daemon=True).start()
        if self._ended is not None:
            raise NotUp(str(self._ended))
        return self._known

    def _join(self) -> None:
        """Let the supervisor know that there are calls of which its record has nothing."""
        if self._records_calls or self._control is None or self._control.pid == self._joined:
            return
        with suppress(BadInput):  # a supervisor of an earlier version does not ask
            self._control.ask("program_joined", _FIND_S)
        self._joined = self._control.pid

    def _ask_again(self) -> None:
        try:
            self._control, where = _find(self.directory, _ASKING_S)  # the cluster may have been started again
            self._join()
            if where["cluster"] == self._id:
                self._known, self._ended = _addresses(where), None
            else:
                self._ended = NotUp(f"the cluster in {self.directory} has ended, and another one is up there")
        except NotUp as error:
            if self._control is None or not self._control.is_alive():
                self._ended = error
        finally:
            self._asking.release()


def _find(directory: Path, timeout_s: float) -> tuple[SupervisorClient | None, Mapping[str, Any]]:
    """Find a cluster by its supervisor, or nodes that have outlived theirs. Raises NotUp."""
    try:
        control = SupervisorClient(directory)
        return control, control.ask("where", timeout_s)
    except NotUp:
        where = where_they_run(directory)
        if where is None:
            raise
        return None, where


def _addresses(where: Mapping[str, Any]) -> dict[NodeId, str]:
    """Return the nodes' addresses. Nodes that are up come first, so that a call to any node begins with one that can reply."""
    states = where["states"]
    return dict(sorted(where["addresses"].items(), key=lambda entry: states[entry[0]] != "up"))
