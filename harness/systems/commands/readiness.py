"""Whether a node is ready: a port answers, a line of its output matches, or a URL answers with status 200.

A look goes to the node's own port and not through the proxy, so that no fault on links makes a node look unready.
"""

import contextlib
import http.client
import re
import socket
import urllib.parse
from collections.abc import Mapping

from harness.systems.commands.description import ReadyWhen, fill

_LOOK_S = 0.5


def is_ready(when: ReadyWhen, values: Mapping[str, object], output: str) -> bool:
    """Return whether a node is ready now.

    Args:
        when: when it is.
        values: the values of its placeholders.
        output: what it has written since its start.
    """
    if when.port:
        return _accepts(int(str(values[f"{when.port}_port"])))
    if when.log:
        return re.search(when.log, output, re.MULTILINE) is not None
    return _status(fill(when.http, values)) == http.HTTPStatus.OK


def why_not_ready(when: ReadyWhen, values: Mapping[str, object]) -> str:
    """Return when a node is ready, and what it does instead if that can be seen, for people."""
    if not when.http:
        return str(when)
    url = fill(when.http, values)
    status = _status(url)
    return f"{url} answers with status 200, and {f'it answers with {status}' if status else 'nothing answers there'}"


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), _LOOK_S):
            return True
    except OSError:
        return False


def _status(url: str) -> int:
    """Return the status with which a URL answers; 0 if it does not."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=_LOOK_S)
    with contextlib.closing(connection):
        try:
            connection.request("GET", f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}")
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
