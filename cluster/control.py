"""The control socket between the command line and a cluster's supervisor: JSON both ways, one request at a time.

The supervisor writes where it listens, and a random token, into a file that only its owner can read. A request without the
token is dropped, so no other user of the machine can steer the cluster.
"""

import fcntl
import json
import os
import secrets
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import zmq

from cluster import errors
from cluster.errors import AlreadyUp, CommandRefused, ConsensusError, NotUp, Refused
from cluster.processes import born_at, is_alive, is_suspended
from node.contract import BadInput
from node.transport import bind_any_port, tuned

FILE_NAME: Final = "supervisor.json"
LOCK_NAME: Final = "lock"
ANSWER_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.1
_LOOK_AGAIN_S: Final = 0.005
_GOING_S: Final = 5.0

Verb = Callable[..., Any]


class FolderLock:
    """One supervisor a folder. The kernel lets go of it when its last holder ends, however it ends."""

    def __init__(self, root: Path) -> None:
        """Take it. Raises AlreadyUp, naming who has it; BadInput, if the folder cannot be written."""
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.descriptor = os.open(root / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise BadInput(f"{root} cannot be written: {error.strerror}. Choose another folder") from error
        # A holder that has been killed, or has just ended, may keep it for the moment in which its last threads go.
        deadline = time.monotonic() + _GOING_S
        while not _try_lock(self.descriptor):
            if _holder_is_alive(self.descriptor) or time.monotonic() > deadline:
                holder = _holder(self.descriptor)
                os.close(self.descriptor)
                raise AlreadyUp(
                    f"a cluster is up or starting in {root} already ({holder}): use it, or stop it with `consensus down`"
                )
            time.sleep(_LOOK_AGAIN_S)
        sign_lock(self.descriptor)

    def release(self) -> None:
        """Let go of it, unless a child was given the descriptor too."""
        os.close(self.descriptor)


def sign_lock(descriptor: int) -> None:
    """Write down that this process holds the lock, which it may have been handed."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)


def lock_holder(root: Path) -> str:
    """Who holds the folder's lock, in words; empty if nobody does."""
    try:
        descriptor = os.open(root / LOCK_NAME, os.O_RDWR)
    except OSError:
        return ""
    try:
        return "" if _try_lock(descriptor) else _holder(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _holder(descriptor: int) -> str:
    return f"process {os.pread(descriptor, 32, 0).decode() or 'unknown'}"


def _holder_is_alive(descriptor: int) -> bool:
    pid = os.pread(descriptor, 32, 0).decode()
    return not pid.isdigit() or is_alive(int(pid))


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
            late = time.monotonic() > float(request["deadline"])  # one machine, one monotonic clock
        except (ValueError, TypeError, KeyError):
            return None
        if not known or late:
            return None
        try:
            return {"result": verb(**arguments)}
        except (ConsensusError, BadInput) as error:
            kind = BadInput if isinstance(error, BadInput) else ConsensusError
            return {"error": type(error).__name__, "kind": kind.__name__, "message": str(error)}
        except Exception as error:  # noqa: BLE001 - no request of anybody's may end the cluster
            traceback.print_exc()
            text = f"the supervisor could not do that, which is a mistake of ours: {error!r}. Its log says where"
            return {"error": ConsensusError.__name__, "kind": ConsensusError.__name__, "message": text}

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
            holder = lock_holder(root)
            if holder:
                raise NotUp(
                    f"the cluster in {root} is starting or ending ({holder}): try again in a moment. If that lasts, its "
                    f"{FILE_NAME} was removed: end {holder}, and start the cluster again"
                ) from None
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

    def ask(self, verb: str, timeout_s: float = ANSWER_S, /, **arguments: Any) -> Any:
        """Have the supervisor do something. If it has not begun within `timeout_s`, it will not.

        Raises:
            ConsensusError: what the supervisor raised, as its own class.
            NotUp: it has ended, is suspended, or does not answer in time.
        """
        deadline = time.monotonic() + timeout_s
        request = {"token": self._token, "verb": verb, "arguments": arguments, "deadline": deadline}
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        with tuned(context.socket(zmq.DEALER)) as socket:
            socket.connect(self._address)
            socket.send(json.dumps(request).encode())
            while not socket.poll(int(_LOOK_EVERY_S * 1000)):
                if not self.is_alive():
                    raise NotUp(f"the cluster has ended meanwhile, with its supervisor (process {self.pid})")
                if is_suspended(self.pid):
                    raise NotUp(f"the supervisor is suspended: `kill -CONT {self.pid}` lets it go on")
                if time.monotonic() > deadline:
                    raise NotUp(f"the supervisor (process {self.pid}) has not answered within {timeout_s:g} s")
            answer = json.loads(socket.recv())
        if "error" in answer:
            raise _error_class(answer["error"], answer["kind"])(answer["message"])
        return answer["result"]


def _error_class(name: str, kind: str) -> type[Exception]:
    if kind == BadInput.__name__:
        return BadInput
    if name == CommandRefused.__name__:
        return Refused  # what kind it was does not cross the socket
    found = getattr(errors, name, ConsensusError)  # the floors above have errors of their own
    return found if isinstance(found, type) and issubclass(found, ConsensusError) else ConsensusError
