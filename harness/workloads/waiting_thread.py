"""A thread that shares a blocking client with its caller, and waits for what does not happen.

Of the threads that wait, one drives the sockets for all (`cluster/clients/sharing.py`). While this thread waits it is the one, so
the calls of the caller's own thread are sent and answered by another thread, as where several threads of a program share a
client: each must return at once when it has its answer. `harness/checkers/late_returns.py` judges that.
"""

import threading
from contextlib import suppress
from typing import Any, Final

from cluster.clients.group_operations import TaskOwners
from cluster.errors import ConsensusError

#: The thread waits for owners of tasks of a later version than this. No log drops what lies ahead of it.
_NEVER: Final = TaskOwners(2**62, {})
#: How long the thread waits at a time, in seconds: for longer than any call of its caller may take.
_WAITS_S: Final = 10.0


class WaitingThread:
    """The thread of one client. It ends by itself when the client is closed."""

    def __init__(self, client: Any) -> None:
        """Prepare the thread of a `LogClient`."""
        self._client = client
        self._thread: threading.Thread | None = None

    def wait(self) -> None:
        """Have the thread wait from now on, unless it does so already."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, name="waits for what does not happen", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        with suppress(ConsensusError):
            self._client.assignment.owners(_NEVER, _WAITS_S)
