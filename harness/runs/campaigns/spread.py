"""Spreads a campaign over machines by Dask: `consensus campaign --dask tcp://scheduler:8786`.

Rules
-----
1. A run is made and judged where a Dask worker is, in a temporary folder there that is gone when the run is over. What comes
   back is what came of it, and if it is to be kept, its folder, packed.
2. No more runs are handed out than there are workers' threads, so whatever ends the campaign, be it Ctrl-C or a violation,
   comes soon: the runs under way are waited for, and each cleans up after itself.
3. All traffic of a run is on its machine's loopback, as ever. What Dask itself sends is Dask's: its scheduler's address and
   its security are up to whoever started it.

The workers need this package, of this version.
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
from typing import Any, Final

from cluster.errors import ConsensusError
from harness.runs.campaigns.campaign import Campaign, CampaignRun, make_run
from node.contract import BadInput

CONNECT_S: Final = 10.0
_PACKAGE: Final = "consensus-lab"


class NoDask(BadInput):
    """There is no Dask here, or no scheduler there. The message says what to do."""


class DaskWorkers:
    """The workers of one scheduler. Use it as a context manager."""

    def __init__(self, address: str) -> None:
        """Connect.

        Raises:
            NoDask: dask is not installed here, or nobody answers at `address`, or there are no workers, or none of ours.
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
                raise NoDask(f"the Dask worker {worker} has {_PACKAGE} {theirs or 'not installed'}, and here is {ours}")

    def results(self, campaign: Campaign) -> Generator[CampaignRun, None, None]:
        """What is done, as it is done. Closing the generator waits for the runs under way."""
        numbers = iter(range(1, campaign.runs + 1))
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        under_way = 0
        try:
            while True:
                while under_way < self.threads and (number := next(numbers, None)) is not None:
                    future = self._client.submit(make_run_away, campaign, number, pure=False, retries=0)
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


def _result(future: Any) -> tuple[CampaignRun, bytes | None]:
    try:
        result: tuple[CampaignRun, bytes | None] = future.result()
    except Exception as error:
        raise ConsensusError(f"a Dask worker could not make its run: {type(error).__name__}: {error}") from error
    return result


def _version_there() -> str | None:
    """On a worker."""
    from importlib.metadata import PackageNotFoundError  # noqa: PLC0415 - this function travels alone

    try:
        return version(_PACKAGE)
    except PackageNotFoundError:
        return None


def make_run_away(
    campaign: Campaign, number: int, make: Callable[[Campaign, int], CampaignRun] = make_run
) -> tuple[CampaignRun, bytes | None]:
    """On a worker: make one run in a folder that is gone afterwards. Returns it, and its folder packed if it is kept."""
    with tempfile.TemporaryDirectory(prefix="consensus-campaign-") as folder:
        run = make(replace(campaign, folder=Path(folder) / campaign.folder.name), number)
        packed = None
        if run.folder is not None and run.folder.exists():
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
                archive.add(run.folder, arcname=".")
            packed = buffer.getvalue()
        return replace(run, folder=None), packed


def _unpacked(campaign: Campaign, run: CampaignRun, packed: bytes | None) -> CampaignRun:
    """The run with its folder here."""
    if packed is None:
        return run
    folder = campaign.folder / f"{run.number:05}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        archive.extractall(folder, filter="data")
    return replace(run, folder=folder)
