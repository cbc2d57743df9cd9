"""What a process owes the process that launched it: an exit status that gives the kind of error, and to end with it."""

import ctypes
import os
import signal
import sys
from typing import Final

# The exit statuses, from sysexits.h.
EXIT_INTERNAL: Final = 70
EXIT_DISK: Final = 74
EXIT_CONFIG: Final = 78


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its launcher ends, in whatever way, even if this process is suspended.

    Only Linux can do this. On other systems the control pipe closes then, and a node that is not suspended stops.
    """
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # the launcher ended before the line above
        os._exit(EXIT_INTERNAL)
