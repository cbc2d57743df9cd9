"""What every peer has: a check that it is installed, a folder and processes of its own, and their end."""

import importlib.util
import shutil
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

from cluster.errors import Mistake
from harness.bench.load import Figures, Load


class PeerMissing(Mistake):
    """What is to be compared with is not installed, or does not run here."""


class Peer(ABC):
    """What a user would pick instead, on this machine, on the same disk as ours. Use it as a context manager."""

    #: Which acknowledged puts a power cut can take, if any.
    not_durable: ClassVar[str | None] = None

    def __init__(self, nodes: int) -> None:
        """Raises PeerMissing if it is not installed."""
        self.nodes = nodes
        self.version = self.find()
        self.processes: list[subprocess.Popen[bytes]] = []

    @abstractmethod
    def find(self) -> str:
        """Its name and version. Raises PeerMissing."""

    @abstractmethod
    def start(self) -> None:
        """Start it in `self.folder`; note each process."""

    @abstractmethod
    def measure(self, load: Load) -> Figures | None:
        """The best that it can be driven to; None if it has nothing like that."""

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="consensus-peer-"))
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end_processes()
        shutil.rmtree(self.folder, ignore_errors=True)

    def end_processes(self) -> None:
        """Kill them all."""
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
        self.processes.clear()


def need_program(program: str, package: str) -> None:
    """Raise PeerMissing unless `program` is on the path; Debian's `package` has it."""
    if shutil.which(program) is None:
        raise PeerMissing(f"{program} is not installed: apt-get install {package}, or leave the comparison out")


def need_module(module: str, extra: str) -> None:
    """Raise PeerMissing unless the Python module is there; our own `extra` brings it."""
    if importlib.util.find_spec(module) is None:
        raise PeerMissing(
            f"{module} is not installed: pip install 'consensus-lab[{extra}]', or leave the comparison out"
        )


def free_ports(count: int) -> Sequence[int]:
    """Ports that were free a moment ago: peers have to be told their ports beforehand."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
