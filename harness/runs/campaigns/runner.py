"""Makes the runs of a campaign, in several processes here or on the workers of a Dask scheduler.

When a worker process ends, the kernel also ends the nodes and the proxy that it has launched.
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from itertools import count
from random import Random

from harness.runs.campaigns.campaign import Campaign, CampaignRun, CampaignTally, make_run
from harness.runs.campaigns.changed_plan import changed_plan
from harness.runs.guidance import Guide, Guided
from harness.runs.plan import Plan
from harness.runs.workers import pool_of


def run_campaign(
    campaign: Campaign,
    *,
    workers: int = 2,
    guided: bool = False,
    minutes: float | None = None,
    stop_at_first: bool = False,
    progress: Callable[[CampaignTally], object],
    dask: str | None = None,
) -> CampaignTally:
    """Make the runs of a campaign.

    Args:
        campaign: what to run.
        workers: how many processes make runs.
        guided: whether plans that met something new are changed, instead of drawing each plan from the seed. Then which plans run
            depends on the order in which runs end.
        minutes: after how long no run is begun any more; None is no limit.
        stop_at_first: whether the campaign ends with the first run that violates a promise.
        progress: called with the tally after each run.
        dask: the address of a Dask scheduler, whose workers then make the runs, one for each of their threads.

    Returns:
        The tally; after Ctrl-C that of the runs that were done by then.

    Raises:
        BadFault, UnknownAlgorithm: no such plan can be drawn. Nothing was run.
        NoDask: the scheduler cannot be reached, or cannot be used. Nothing was run.
    """
    campaign.plan(1)
    guide = Guide(campaign.seed, campaign.plan, partial(_change, campaign, count(campaign.runs + 1)), guided=guided)
    tally = CampaignTally(campaign, guide=guide)
    started = time.monotonic()
    with _results_of(campaign, guide, workers, dask) as results:
        try:
            for run in results:
                tally.add(run)
                tally.took_s = time.monotonic() - started
                progress(tally)
                if stop_at_first and run.status == "invalid":
                    break
                if minutes is not None and tally.took_s >= 60 * minutes:
                    tally.out_of_time = True
                    break
        except KeyboardInterrupt:
            tally.interrupted = True
    _drop_unfinished(tally)
    tally.took_s = time.monotonic() - started
    return tally


@contextlib.contextmanager
def _results_of(
    campaign: Campaign, guide: Guide[Plan], workers: int, dask: str | None
) -> Iterator[Iterator[CampaignRun]]:
    """Provide the runs, each as soon as it is done. At the end of the block no run is under way any more."""
    if dask is not None:
        from harness.runs.campaigns.spread import DaskWorkers  # noqa: PLC0415 - needs an extra

        with DaskWorkers(dask) as spread, contextlib.closing(spread.results(campaign)) as results:
            yield results
        return
    with pool_of(workers) as pool:
        yield _local_results(pool, campaign, guide, workers)


def _change(campaign: Campaign, numbers: Iterator[int], plan: Plan, other: Plan, rng: Random) -> Plan:
    """Change a plan, perhaps with a fault from another plan, which is drawn for that alone."""
    return changed_plan(plan, other, campaign.plan(next(numbers)), rng)


def _local_results(
    pool: ProcessPoolExecutor, campaign: Campaign, guide: Guide[Plan], workers: int
) -> Iterator[CampaignRun]:
    """Yield each run as it is done. Only as many runs are submitted as workers can make at once, so that the end comes soon."""
    numbers = iter(range(1, campaign.runs + 1))
    under_way: dict[Future[CampaignRun], Guided[Plan]] = {}
    while True:
        for number in numbers:
            chosen = guide.next()
            under_way[pool.submit(make_run, campaign, number, chosen.given)] = chosen
            if len(under_way) >= workers:
                break
        if not under_way:
            return
        done, _ = wait(under_way, return_when=FIRST_COMPLETED)
        for future in done:
            run = future.result()
            guide.learn(under_way.pop(future), run.features)
            yield run


def _drop_unfinished(tally: CampaignTally) -> None:
    """Delete the folders of runs that were under way at the end. They were not judged."""
    done = {run.number for run in tally.runs}
    for folder in tally.campaign.folder.iterdir():
        if folder.is_dir() and folder.name.isdigit() and int(folder.name) not in done:
            with contextlib.suppress(OSError):  # a node that is about to end may still write there
                shutil.rmtree(folder)
