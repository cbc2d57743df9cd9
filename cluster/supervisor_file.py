"""How the command line and other programs find a cluster's supervisor: through a file in the cluster's folder.

The file holds the supervisor's process id, when that process was born, the address of its control socket, and the token. Only
its owner can read it (mode 0600), so no other user of the machine can steer the cluster.
"""

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Final

from cluster.control import ControlClient
from cluster.errors import NotUp
from cluster.folder_lock import lock_holder
from cluster.folder_mark import SUPERVISOR_LOG_NAME, SUPERVISOR_NAME, check_no_copy
from cluster.outliving import running_nodes
from cluster.processes import born_at, is_alive, is_suspended
from cluster.safe_output import see_log_and_disk
from node.open_folder import OpenFolder

#: How long the supervisor may take to reply by default, in seconds.
ANSWER_S: Final = 60.0


def publish_supervisor(root: Path, address: str, token: str) -> None:
    """Write the file of this process, the supervisor. It is written aside and moved, so that no reader sees half of it."""
    content = {"pid": os.getpid(), "born": born_at(os.getpid()), "address": address, "token": token}
    aside = (root / SUPERVISOR_NAME).with_suffix(".new")
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(content, file)
    aside.rename(root / SUPERVISOR_NAME)


def withdraw_supervisor(folder: OpenFolder) -> None:
    """Remove the file from the supervisor's own folder, and not from another one that has its path now: the supervisor ends."""
    with contextlib.suppress(OSError):
        os.unlink(SUPERVISOR_NAME, dir_fd=folder.descriptor)


def _outlived(root: Path) -> str:
    """Return what to do if nodes run without a supervisor, for people; an empty text if none does."""
    names = ", ".join(running_nodes(root))
    return names and (
        f"the supervisor of the cluster in {root} has ended, and these nodes run without it: {names}. `consensus up -d` adopts "
        "them, `consensus down` ends them"
    )


def _log(root: Path) -> Path:
    return root / SUPERVISOR_LOG_NAME


class SupervisorClient:
    """Asks the supervisor of the cluster in a folder. `pid` is its process, `born` when that began, in seconds since 1970."""

    def __init__(self, root: Path) -> None:
        """Find the supervisor.

        Raises:
            NotUp: there is none. The message gives the reason: it is starting, or has ended.
            CopiedFolder: the folder is a copy. The supervisor that it names serves the original.
        """
        check_no_copy(root)
        try:
            content = json.loads((root / SUPERVISOR_NAME).read_text())
        except (OSError, ValueError):
            holder = lock_holder(root)
            if holder:
                raise NotUp(
                    f"the cluster in {root} is starting or ending ({holder}): try again in a moment. If that lasts for "
                    f"minutes, end {holder}, and start the cluster again"
                ) from None
            raise NotUp(_outlived(root) or f"no cluster is up in {root}: start one with `consensus up`") from None
        self.pid, self.born = int(content["pid"]), float(content["born"])
        if not self.is_alive():
            raise NotUp(
                _outlived(root)
                or f"the cluster in {root} has lost its supervisor (process {self.pid}), and its nodes ended with it. "
                "What was decided is on their disks: `consensus up` starts them again. For the reason "
                f"{see_log_and_disk(_log(root))}"
            )
        self._control = ControlClient(str(content["address"]), str(content["token"]), self._check_alive, self._no_reply)

    def is_alive(self) -> bool:
        """Return whether the supervisor's process still runs."""
        return is_alive(self.pid, self.born)

    def ask(self, verb: str, timeout_s: float = ANSWER_S, /, **arguments: Any) -> Any:
        """Have the supervisor do something: see `ControlClient.ask`.

        Raises:
            NotUp: the supervisor has ended, is suspended, or has not replied within `timeout_s` seconds.
            ConsensusError, BadInput: what the verb raised.
        """
        return self._control.ask(verb, timeout_s, **arguments)

    def _check_alive(self) -> None:
        if not self.is_alive():
            raise NotUp(f"the cluster has ended meanwhile, with its supervisor (process {self.pid})")
        if is_suspended(self.pid):
            raise NotUp(f"the supervisor is suspended: `kill -CONT {self.pid}` lets it go on")

    def _no_reply(self, _verb: str, timeout_s: float) -> NotUp:
        return NotUp(f"the supervisor (process {self.pid}) has not replied within {timeout_s:g} s")
