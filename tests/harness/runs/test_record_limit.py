"""A record of messages with a limit: whether it has ended there, and that no judge then uses it."""

from pathlib import Path

from harness.records.messages import PAGE_BYTES_MAX, SOME_BYTES_MAX, limit_reached
from harness.runs.experiment import Experiment


def sized(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def test_a_record_has_ended_at_the_limit_that_it_has_nearly_reached(tmp_path: Path) -> None:
    limits = (SOME_BYTES_MAX, PAGE_BYTES_MAX)
    sizes = (0, SOME_BYTES_MAX - 10, SOME_BYTES_MAX + 10, PAGE_BYTES_MAX - 10)
    found = [limit_reached(sized(tmp_path / "messages.jsonl", size), *limits) for size in sizes]
    assert found == [None, SOME_BYTES_MAX, None, PAGE_BYTES_MAX]


def test_judges_use_a_record_that_is_whole_and_none_that_has_ended_at_its_limit(tmp_path: Path) -> None:
    run = Experiment(tmp_path / "run", nodes=1, record_bytes_max=2**21)
    sized(run.files.messages, 0)
    assert run.messages() == []
    assert run.records_messages
    sized(run.files.messages, 2**21 - 10)
    assert run.messages() == []
    assert not run.records_messages
    assert run.notes["record of messages"] == "it ends at its limit of 2 MiB, so no judge uses it"
