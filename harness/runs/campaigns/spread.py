"""Spreads a campaign over machines by Dask: `consensus campaign --dask tcp://scheduler:8786`.

Rules
-----
1. A Dask worker makes and judges a run on its own machine, in a temporary folder that is deleted when the run is over. It
   returns what came of the run and, if the run is to be kept, its packed folder.
2. Only as many runs are submitted as the workers have threads. So the campaign ends soon after Ctrl-C or a violation: it
   waits for the runs under way, and each run cleans up after itself.
3. All traffic of a run stays on its machine's loopback interface. The traffic between Dask's scheduler and workers is
   Dask's own: its address and its security are the choice of the person who started it.
4. The workers need this package, of this version.
"""

import io
import queue
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Generator
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

from cluster.errors import ConsensusError
from harness.runs.campaigns.campaign import Campaign, CampaignRun, make_run
from node.contract import BadInput

CONNECT_S: Final = 10.0
_PACKAGE: Final = "consensus-lab"


class NoDask(BadInput):
    """Dask is not installed here, or the scheduler cannot be used. The message says what to do."""


class RemoteRun(NamedTuple):
    """What a worker returns: what came of the run, and its folder as a packed archive, if it is to be kept."""

    run: CampaignRun
    packed_folder: bytes | None


class DaskWorkers:
    """The workers of one scheduler. Use it as a context manager."""

    def __init__(self, address: str) -> None:
        """Connect.

        Raises:
            NoDask: dask is not installed here, no scheduler answers at `address`, it has no workers, or a worker has
                another version of this package.
        """
        try:
            self._dask: Any = import_module("distributed")  # an extra, which takes a second
        except ImportError:
            raise NoDask("--dask needs the extra: pip install 'consensus-lab[dask]'") from None
        try:
            self._client: Any = self._dask.Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise NoDask(f"no Dask scheduler answers at {address!r} within {CONNECT_S:g} s: {error}") from error
        try:
            self.threads = sum(self._client.nthreads().values())
            if not self.threads:
                raise NoDask(f"the Dask scheduler at {address} has no workers: start some with `dask worker {address}`")
            self._check_versions()
        except BaseException:
            self._client.close()
            raise

    def _check_versions(self) -> None:
        ours = version(_PACKAGE)
        for worker, theirs in self._client.run(_version_there).items():
            if theirs != ours:
                raise NoDask(
                    f"the Dask worker {worker} has {_PACKAGE} {theirs or 'not installed'}, and this machine has {ours}"
                )

    def results(self, campaign: Campaign) -> Generator[CampaignRun, None, None]:
        """Yield each run as it is done. Closing the generator waits for the runs under way."""
        numbers = iter(range(1, campaign.runs + 1))
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        under_way = 0
        try:
            while True:
                while under_way < self.threads and (number := next(numbers, None)) is not None:
                    future = self._client.submit(make_run_on_worker, campaign, number, pure=False, retries=0)
                    future.add_done_callback(done.put)
                    under_way += 1
                if not under_way:
                    return
                future = done.get()
                under_way -= 1
                yield _unpacked(campaign, *_result(future))
        finally:
            for _ in range(under_way):
                done.get()

    def __enter__(self) -> "DaskWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()


def _result(future: Any) -> RemoteRun:
    try:
        result: RemoteRun = future.result()
    except Exception as error:
        raise ConsensusError(f"a Dask worker could not make its run: {type(error).__name__}: {error}") from error
    return result


def _version_there() -> str | None:
    """Return the version of this package. Runs on a worker."""
    from importlib.metadata import PackageNotFoundError  # noqa: PLC0415 - Dask sends this function without its module

    try:
        return version(_PACKAGE)
    except PackageNotFoundError:
        return None


def make_run_on_worker(
    campaign: Campaign, number: int, make: Callable[[Campaign, int], CampaignRun] = make_run
) -> RemoteRun:
    """Make one run in a temporary folder that is deleted afterwards. Runs on a worker."""
    with tempfile.TemporaryDirectory(prefix="consensus-campaign-") as folder:
        run = make(replace(campaign, folder=Path(folder) / campaign.folder.name), number)
        packed = None
        if run.folder is not None and run.folder.exists():
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
                archive.add(run.folder, arcname=".")
            packed = buffer.getvalue()
        return RemoteRun(replace(run, folder=None), packed)


def _unpacked(campaign: Campaign, run: CampaignRun, packed: bytes | None) -> CampaignRun:
    """Unpack the run's folder into the campaign's folder, if it was packed."""
    if packed is None:
        return run
    folder = campaign.folder / f"{run.number:05}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        archive.extractall(folder, filter="data")
    return replace(run, folder=folder)
