"""A schedule as a test for pytest: it asserts what the schedule shows, in virtual time and on real processes."""

from pathlib import Path
from typing import Final

from harness.replay.schedule import Schedule
from harness.virtual.steps import plain
from node.wording import count

_TEST: Final = '''"""{about}, kept by `consensus live --virtual`.

It asserts the verdict of `schedule.json`, which stands beside it.
"""

from pathlib import Path

from harness.replay.schedule import load
from harness.replay.schedule_replay import replay
from harness.virtual.steps import plain

{story}

SCHEDULE = load(Path(__file__).with_name("schedule.json"))


def test_in_virtual_time() -> None:
    cluster = SCHEDULE.played()
    assert sorted({{violation.kind for violation in cluster.violations}}) == {kinds!r}
    assert [plain(value) for value in cluster.judge.decided] == {decided!r}
'''

_ON_PROCESSES: Final = """

def test_on_real_processes(tmp_path: Path) -> None:
    result = replay(SCHEDULE, tmp_path / "run")
    assert result.verdict.status == {status!r}, result.verdict.evidence
    assert result.followed == {steps}
"""


def write_test(schedule: Schedule, folder: Path) -> Path:
    """Write a test of the schedule that is saved in `folder`, and return its path."""
    cluster = schedule.played()
    lines = (line.encode("unicode_escape").decode("ascii") for line in schedule.story)
    text = _TEST.format(
        about=f"A schedule of {count(len(schedule.steps), 'step')} on {count(schedule.nodes, 'node')}",
        story="\n".join(f"# {number}. {line}" for number, line in enumerate(lines, 1)),
        kinds=sorted({violation.kind for violation in cluster.violations}),
        decided=[plain(value) for value in cluster.judge.decided],
    )
    if schedule.why_no_replay() is None:
        status = "invalid" if cluster.violations else "valid"
        text += _ON_PROCESSES.format(status=status, steps=len(schedule.steps))
    else:
        text = text.replace("from harness.replay.schedule_replay import replay\n", "")
    name = "".join(letter if letter.isalnum() else "_" for letter in folder.name)
    path = folder / f"test_{name}.py"
    path.write_text(text, encoding="utf-8")
    return path
