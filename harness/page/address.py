"""Where a page is: a socket that listens on loopback, and the URL with the token.

It is made before the server is, whose modules take long to load: a browser that opens the URL meanwhile connects, and waits.
"""

import secrets
import socket

from cluster.errors import Mistake


class PageAddress:
    """A port of loopback that listens from now on, and the token of its page."""

    def __init__(self, port: int = 0, token: str | None = None) -> None:
        """Bind the port; 0 for a free one. Without a `token` there is a new one. Raises Mistake if the port cannot be used."""
        # Only if it names TCP does asyncio switch off Nagle's algorithm for what connects: otherwise the second of two messages
        # waits for the browser to acknowledge the first, which takes 40 ms.
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.socket.bind(("127.0.0.1", port))
            self.socket.listen()
        except OSError as error:
            self.socket.close()
            raise Mistake(
                f"port {port} of 127.0.0.1 cannot be used: {error.strerror}. Choose another one with --port"
            ) from None
        self.port = int(self.socket.getsockname()[1])
        self.token = token or secrets.token_urlsafe(24)
        self.url = f"http://127.0.0.1:{self.port}/{self.token}/"
