"""The control socket between the command line and a cluster's supervisor: JSON both ways, one request at a time.

The supervisor writes where it listens, and a random token, into a file that only its owner can read. A request without the
token is dropped, so no other user of the machine can steer the cluster.
"""

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import zmq

from cluster import errors
from cluster.errors import ConsensusError, NotUp
from cluster.processes import born_at, is_alive
from node.contract import BadInput
from node.transport import bind_any_port, tuned

FILE_NAME: Final = "supervisor.json"
_ANSWER_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.5

Verb = Callable[..., Any]


class ControlServer:
    """The supervisor's end."""

    def __init__(self, root: Path, verbs: dict[str, Verb]) -> None:
        self._verbs = verbs
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = tuned(self._context.socket(zmq.ROUTER))
        self._token = secrets.token_hex(16)
        self._file = root / FILE_NAME
        content = {
            "pid": os.getpid(),
            "born": born_at(os.getpid()),
            "address": bind_any_port(self._socket),
            "token": self._token,
        }
        # Written aside and moved, so that nobody reads half of it.
        aside = self._file.with_suffix(".new")
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(content, file)
        aside.rename(self._file)

    def serve(self, wait_s: float) -> None:
        """Serve the requests that come within `wait_s` seconds, or return after the first one served."""
        if not self._socket.poll(int(wait_s * 1000)):
            return
        *route, frame = self._socket.recv_multipart()
        answer = self._answer(frame)
        if answer is not None:
            self._socket.send_multipart([*route, json.dumps(answer).encode()])

    def _answer(self, frame: bytes) -> dict[str, Any] | None:
        try:
            request = json.loads(frame)
            known = secrets.compare_digest(request["token"], self._token)
            verb, arguments = self._verbs[request["verb"]], dict(request["arguments"])
        except (ValueError, TypeError, KeyError):
            return None
        if not known:
            return None
        try:
            return {"result": verb(**arguments)}
        except (ConsensusError, BadInput) as error:
            return {"error": type(error).__name__, "message": str(error)}

    def close(self) -> None:
        """Stop listening, and say so by removing the file."""
        self._file.unlink(missing_ok=True)
        self._context.destroy(linger=0)


class ControlClient:
    """The command line's end."""

    def __init__(self, root: Path) -> None:
        """Find the supervisor. Raises NotUp if there is none."""
        try:
            content = json.loads((root / FILE_NAME).read_text())
        except (OSError, ValueError):
            raise NotUp(f"no cluster is up in {root}: start one with `consensus up`") from None
        self.pid, self._born = int(content["pid"]), float(content["born"])
        if not self.is_alive():
            raise NotUp(
                f"the cluster in {root} has lost its supervisor (process {self.pid}), and its nodes ended with it. "
                "What was decided is on their disks: `consensus up` starts them again"
            )
        self._address, self._token = str(content["address"]), str(content["token"])

    def is_alive(self) -> bool:
        """Whether the supervisor is still there."""
        return is_alive(self.pid, self._born)

    def ask(self, verb: str, **arguments: Any) -> Any:
        """Have the supervisor do something.

        Raises:
            ConsensusError: what the supervisor raised, as its own class.
            NotUp: it ended before it answered.
        """
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        with tuned(context.socket(zmq.DEALER)) as socket:
            socket.connect(self._address)
            socket.send(json.dumps({"token": self._token, "verb": verb, "arguments": arguments}).encode())
            waited_s = 0.0
            while not socket.poll(int(_LOOK_EVERY_S * 1000)):
                waited_s += _LOOK_EVERY_S
                if not self.is_alive() or waited_s > _ANSWER_S:
                    raise NotUp(f"the supervisor (process {self.pid}) does not answer: has it been stopped?")
            answer = json.loads(socket.recv())
        if "error" in answer:
            raise _error_class(answer["error"])(answer["message"])
        return answer["result"]


def _error_class(name: str) -> type[Exception]:
    found = getattr(errors, name, BadInput)  # what the floors above and below raise is about what they were given
    return found if isinstance(found, type) and issubclass(found, ConsensusError) else BadInput
