"""A campaign on the workers of a Dask scheduler, which runs on this machine."""

import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from harness.runs.campaigns import spread
from harness.runs.campaigns.campaign import Campaign, CampaignTally
from harness.runs.campaigns.report import merged
from harness.runs.campaigns.runner import run_campaign

if find_spec("distributed") is None:
    pytest.skip("the extra dask is not installed", allow_module_level=True)

# Dask leaves threads and sockets of its own, and Python warns of them. Other warnings still fail a test.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def workers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the workers make their temporary folders."""
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def scheduler(workers_folder: Path) -> Iterator[str]:
    """Two workers of one thread each, in processes of their own."""
    distributed = import_module("distributed")  # which takes 0.7 s, in each process that collects the tests
    multiprocessing.allow_connection_pickling()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(workers_folder))
        with distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            worker_dashboard_address=None,
            silence_logs="CRITICAL",
        ) as cluster:
            yield cluster.scheduler_address


def test_the_workers_make_the_runs_and_one_report_has_all(scheduler: str, workers_folder: Path, tmp_path: Path) -> None:
    broken = Campaign(tmp_path / "campaign", 2, 7, "failover", ("partition",), 1.0, 3, 1, keep=True)
    broken.folder.mkdir()
    seen: list[int] = []

    def progress(tally: CampaignTally) -> None:
        seen.append(tally.runs[-1].number)

    tally = run_campaign(broken, progress=progress, dask=scheduler)
    assert sorted(seen) == [1, 2]
    for run in tally.runs:
        assert run.fired == ("partition",), run
        assert run.folder == broken.folder / f"{run.number:05}"
        assert run.folder is not None
        assert (run.folder / "history.jsonl").stat().st_size > 0
    assert merged(tally)["runs"]
    assert list(workers_folder.glob("consensus-campaign-*/campaign")) == [], "a worker has left its folder behind"


def test_a_stop_waits_for_the_runs_under_way_and_begins_no_more(scheduler: str, tmp_path: Path) -> None:
    broken = Campaign(tmp_path / "campaign", 50, 7, "failover", ("partition",), 0.5, 3, 0)
    broken.folder.mkdir()

    def interrupted(_tally: CampaignTally) -> None:
        raise KeyboardInterrupt

    tally = run_campaign(broken, progress=interrupted, dask=scheduler)
    assert tally.interrupted
    assert len(tally.runs) == 1
    with import_module("distributed").Client(scheduler, set_as_default=False) as client:
        assert not any(client.processing().values())


def test_a_scheduler_that_cannot_be_used_is_an_error_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "CONNECT_S", 0.2)
    campaign = Campaign(tmp_path / "campaign", 1)
    with pytest.raises(spread.NoDask, match="no Dask scheduler answers"):
        run_campaign(campaign, progress=lambda _: None, dask="tcp://127.0.0.1:9")
    monkeypatch.setattr(spread, "import_module", _missing)
    with pytest.raises(spread.NoDask, match="needs the extra"):
        run_campaign(replace(campaign, seed=2), progress=lambda _: None, dask="tcp://127.0.0.1:9")


def _missing(name: str) -> None:
    raise ImportError(name)
