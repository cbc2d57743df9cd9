"""Keeps everybody but the user's own browser away from the page, and foreign content out of it.

Rules
-----
1. The server listens on loopback. That alone stops no other user of the machine, and no web page in the user's browser.
2. The first part of each path is a random token. Without it every request is answered 404, and the token is compared in a time
   that does not depend on it.
3. The Host header must name this server. A page of a domain whose name was made to resolve to loopback (DNS rebinding) sends
   its own domain.
4. An Origin header, which browsers send with each WebSocket's handshake, must be that of this server.
5. The policy of the page allows its own scripts, styles and connections, and nothing else: no inline script, no other host. It
   allows no frame, except for the page's own two frames where it shows two views side by side. So even a mistake in the page's
   script could load nothing and send nothing away.
"""

import hmac
from collections.abc import Mapping
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: The close code of a WebSocket that is refused (RFC 6455, section 7.4.1: policy violation).
POLICY_VIOLATION: Final = 1008
#: The versions of HTTP that browsers speak to this server.
_VERSIONS: Final = ("1.0", "1.1")


def policy(hosts: tuple[str, ...], *, has_frames: bool = False) -> Mapping[str, str]:
    """Return the headers of every response.

    Args:
        hosts: the host names with ports under which the page may be opened.
        has_frames: whether the page has frames of its own.
    """
    frames = "'self'" if has_frames else "'none'"
    sockets = " ".join(f"ws://{host}" for host in hosts)
    return {
        "content-security-policy": (
            f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' {sockets}; "
            f"base-uri 'none'; form-action 'none'; frame-src {frames}; frame-ancestors {frames}"
        ),
        "x-content-type-options": "nosniff",
        "x-frame-options": "SAMEORIGIN" if has_frames else "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-store",
    }


class Guard:
    """Lets a request through to the application if it has the token and comes from the page itself, without the token."""

    def __init__(self, application: ASGIApp, token: str, port: int, *, has_frames: bool = False) -> None:
        self._application, self._token = application, token.encode()
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self._headers = policy(self._hosts, has_frames=has_frames)
        #: How many requests were refused.
        self.refused = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._application(scope, receive, send)
            return
        rest = self._path_after_token(scope)
        if rest is None or scope["http_version"] not in _VERSIONS or not self._comes_from_the_page(scope):
            self.refused += 1
            await self._refuse(scope, receive, send)
            return

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)  # the report has a stricter policy of its own
            await send(message)

        await self._application({**scope, "path": rest, "raw_path": rest.encode()}, receive, send_with_policy)

    def _path_after_token(self, scope: Scope) -> str | None:
        empty, _, rest = scope["path"].partition("/")
        token, slash, rest = rest.partition("/")
        if empty or not slash or not hmac.compare_digest(token.encode("utf-8", "surrogateescape"), self._token):
            return None
        return f"/{rest}"

    def _comes_from_the_page(self, scope: Scope) -> bool:
        headers: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value.decode("latin-1"))
        origins, sites = headers.get(b"origin", []), headers.get(b"sec-fetch-site", [])
        needs_origin = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        match headers.get(b"host", []):
            case [host] if host in self._hosts:
                own = [f"http://{host}"]
                return (origins == own or not (origins or needs_origin)) and set(sites) <= {"same-origin", "none"}
        return False

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send(
                {"type": "websocket.close", "code": POLICY_VIOLATION}
            )  # before it is accepted: the answer is 403
        else:
            await PlainTextResponse("not found", 404, headers=dict(self._headers))(scope, receive, send)
