"""One node of PySyncObj: a replicated dictionary behind HTTP. A program, which pysyncobj.toml starts.

Every operation is a command in PySyncObj's log, also a read, so that an answer rests on what the majority has. `POST /` takes
`{"f": "put", "key": ..., "value": ...}`. The answers: 200 with `{"value": ...}`; 409 if PySyncObj says that the command was not
executed and will not be; 504 for everything else.
"""

import argparse
import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, SyncObjException, replicated

#: After these PySyncObj never executes the command.
_NOT_DONE = (
    FAIL_REASON.QUEUE_FULL,
    FAIL_REASON.MISSING_LEADER,
    FAIL_REASON.DISCARDED,
    FAIL_REASON.NOT_LEADER,
    FAIL_REASON.REQUEST_DENIED,
)


class Store(SyncObj):  # type: ignore[misc]
    """A dictionary whose operations go through the log."""

    def __init__(self, address: str, partners: list[str], settings: SyncObjConf) -> None:
        self._data: dict[str, Any] = {}
        super().__init__(address, partners, settings)

    @replicated  # type: ignore[untyped-decorator]
    def apply(self, f: str, key: str, value: Any) -> Any:
        """Execute one operation, and return what it returns."""
        old = self._data.get(key)
        match f:
            case "put":
                self._data[key] = value
            case "get":
                return old
            case "delete":
                return self._data.pop(key, None) is not None
            case "cas":
                if old != value[0]:
                    return False
                self._data[key] = value[1]
                return True
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: Store
    timeout_s: float

    def do_GET(self) -> None:
        """Say whether there is a leader."""
        self._answer(200 if self.store.isReady() else 503, {})

    def do_POST(self) -> None:
        """Execute an operation."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            value = self.store.apply(asked["f"], asked["key"], asked.get("value"), sync=True, timeout=self.timeout_s)
        except SyncObjException as error:
            self._answer(409 if error.errorCode in _NOT_DONE else 504, {"error": str(error.errorCode)})
        else:
            self._answer(200, {"value": value})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as http.server calls it
        """Say nothing of each request."""


def main() -> int:
    """Run one node until SIGTERM."""
    parser = argparse.ArgumentParser(description="A node of PySyncObj.")
    for name in ("--address", "--bind", "--partners", "--folder"):
        parser.add_argument(name, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--timeout-s", type=float, default=1.8)
    arguments = parser.parse_args()
    partners = [address for address in arguments.partners.split(",") if address != arguments.address]
    settings = SyncObjConf(
        bindAddress=arguments.bind,
        journalFile=f"{arguments.folder}/journal",
        fullDumpFile=f"{arguments.folder}/dump",
        dynamicMembershipChange=False,
    )
    _Handler.store = Store(arguments.address, partners, settings)
    _Handler.timeout_s = arguments.timeout_s
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer(("127.0.0.1", arguments.port), _Handler).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
