"""Peers: other systems that a benchmark measures beside our logs. The base class checks the installation, and owns the
folder and the processes."""

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
    """The peer is not installed, or does not run on this machine."""


class Peer(ABC):
    """A system that a user could choose instead of this one, on this machine and the same disk. A context manager.

    Attributes:
        nodes: how many nodes it has.
        version: its name and version.
        folder: a folder of its own, while the context lasts.
        processes: its processes, while the context lasts.
    """

    #: Which acknowledged puts a power failure can lose; None for none.
    not_durable: ClassVar[str | None] = None

    def __init__(self, nodes: int) -> None:
        """Prepare a peer with this number of nodes.

        Raises:
            PeerMissing: the peer is not installed.
        """
        self.nodes = nodes
        self.version = self.find()
        self.processes: list[subprocess.Popen[bytes]] = []

    @abstractmethod
    def find(self) -> str:
        """Return the peer's name and version.

        Raises:
            PeerMissing: the peer is not installed.
        """

    @abstractmethod
    def start(self) -> None:
        """Start the peer in `self.folder`, and append each process to `self.processes`."""

    @abstractmethod
    def measure(self, load: Load) -> Figures | None:
        """Return the best figures of the peer under a load; None if the peer has no such operation."""

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
        """Kill every process of the peer."""
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
        self.processes.clear()


def need_program(program: str, package: str) -> None:
    """Raise PeerMissing if `program` is not on the path; `package` is the Debian package that has it."""
    if shutil.which(program) is None:
        raise PeerMissing(f"{program} is not installed: apt-get install {package}, or omit the comparison")


def need_module(module: str, extra: str) -> None:
    """Raise PeerMissing if the Python module is not installed; `extra` is this project's extra that installs it."""
    if importlib.util.find_spec(module) is None:
        raise PeerMissing(f"{module} is not installed: pip install 'consensus-lab[{extra}]', or omit the comparison")


def free_ports(count: int) -> Sequence[int]:
    """Return ports that were free a moment ago, since peers need their ports before they start."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
