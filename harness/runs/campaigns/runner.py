"""Has the runs of a campaign made, in several processes here or on the workers of a Dask scheduler."""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

from harness.runs.campaigns.campaign import Campaign, CampaignRun, CampaignTally, make_run
from harness.runs.workers import pool_of


def run_campaign(
    campaign: Campaign,
    *,
    workers: int = 2,
    stop_at_first: bool = False,
    progress: Callable[[CampaignTally], object],
    dask: str | None = None,
) -> CampaignTally:
    """Make the runs, `workers` at a time, and tell `progress` after each. Ctrl-C ends it with what was done so far.

    With `dask`, the address of a scheduler, its workers make them, one a thread.

    Raises:
        BadFault, UnknownAlgorithm: no such plan can be drawn. Nothing was run.
        NoDask: there is no such scheduler, or none that can be used. Nothing was run.
    """
    campaign.plan(1)
    tally = CampaignTally(campaign)
    started = time.monotonic()
    with _makers(campaign, workers, dask) as results:
        try:
            for run in results:
                tally.add(run)
                tally.took_s = time.monotonic() - started
                progress(tally)
                if stop_at_first and run.status == "invalid":
                    break
        except KeyboardInterrupt:
            tally.interrupted = True
    _drop_unfinished(tally)
    tally.took_s = time.monotonic() - started
    return tally


@contextlib.contextmanager
def _makers(campaign: Campaign, workers: int, dask: str | None) -> Iterator[Iterator[CampaignRun]]:
    """Whoever makes the runs. Gives what is done, as it is done; leaves nothing of what is under way at the end."""
    if dask is not None:
        from harness.runs.campaigns.spread import DaskWorkers  # noqa: PLC0415 - needs an extra

        with DaskWorkers(dask) as spread, contextlib.closing(spread.results(campaign)) as results:
            yield results
        return
    with pool_of(workers) as pool:
        yield _results(pool, campaign, workers)


def _results(pool: ProcessPoolExecutor, campaign: Campaign, workers: int) -> Iterator[CampaignRun]:
    """What is done, as it is done. No more is handed out than is under way, so that an end comes soon."""
    numbers = iter(range(1, campaign.runs + 1))
    under_way: set[Future[CampaignRun]] = set()
    while True:
        for number in numbers:
            under_way.add(pool.submit(make_run, campaign, number))
            if len(under_way) >= workers:
                break
        if not under_way:
            return
        done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


def _drop_unfinished(tally: CampaignTally) -> None:
    """Folders of runs that were under way at the end: they were judged by nobody."""
    done = {run.number for run in tally.runs}
    for folder in tally.campaign.folder.iterdir():
        if folder.is_dir() and folder.name.isdigit() and int(folder.name) not in done:
            with contextlib.suppress(OSError):  # a node that is being ended may still write there
                shutil.rmtree(folder)
