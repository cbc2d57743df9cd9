"""What is wrong with a proxy process, so that nothing passes, for people who look at a cluster."""

import subprocess

from cluster.processes import is_suspended


def proxy_trouble(proxy: subprocess.Popen[bytes]) -> str | None:
    """Return what is wrong with a proxy, or None."""
    if proxy.poll() is not None:
        return "the proxy has ended, so nothing passes: `consensus down`, then `consensus up`; what was decided is kept"
    if is_suspended(proxy.pid):
        return f"the proxy is suspended, so no message passes: `kill -CONT {proxy.pid}` lets it go on"
    return None
