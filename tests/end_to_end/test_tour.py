"""The tour on real processes: a chapter for programs, one with a reader who types, and one that is interrupted."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from harness.cli.main import run
from harness.tour.chapters import CHAPTERS
from harness.tour.goals import two_decisions
from harness.tour.stage import Stage
from harness.tour.telling import tell
from harness.tour.terminal import TerminalTeller
from tests.waiting import wait_until


class Reader:
    """A reader who presses Enter, and types these lines at the challenge."""

    def __init__(self, *typed: str) -> None:
        self._typed = list(typed)
        self.shown: list[str] = []
        self.teller = TerminalTeller(self.shown.append, lambda prompt: self._typed.pop(0) if "tour>" in prompt else "")

    @property
    def text(self) -> str:
        return "\n".join(self.shown)


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def pids_in(text: str) -> list[int]:
    return [int(pid) for pid in re.findall(r"is process (\d+)", text)]


def test_a_chapter_measures_what_it_tells(tmp_path: Path, capsys: object) -> None:
    code = run(["--dir", str(tmp_path), "tour", "--chapter", "promises", "-o", "json"])
    out: str = capsys.readouterr().out  # type: ignore[attr-defined]
    (chapter,) = json.loads(out)["chapters"]
    assert (code, chapter["shown"], chapter["challenge"]["solved"]) == (0, True, True)
    told = [screen["measured"] for screen in chapter["screens"]]
    answers = re.search(r"n1 says (.+), n2 says (.+), n3 says (.+)", told[1]["facts"][-1])
    assert answers is not None
    assert len(set(answers.groups())) == 1
    assert answers[1] in told[1]["meaning"]  # the text has the value that was decided, whichever it was
    (killed,) = re.findall(r"n3 is dead: SIGKILL to process (\d+), wait status -9", told[2]["facts"][0])
    pids = pids_in(told[0]["facts"][0])
    assert int(killed) == pids[2]
    assert not any(map(is_running, pids))
    verdicts = json.loads((Path(chapter["runs"][0]) / "results.json").read_text())["verdicts"]
    assert all(verdicts[name]["evidence"] in "\n".join(told[2]["facts"]) for name in verdicts)


def test_a_reader_solves_a_challenge_by_own_acts(tmp_path: Path) -> None:
    chapter = next(chapter for chapter in CHAPTERS if chapter.name == "failover")
    acts = [
        "cut n1 | n2 n3",
        "propose blue at n1",
        *["propose red at n2"] * 3,
    ]  # n2 has to notice first that n1 is silent
    reader = Reader("", "hint", "kil n1", "check", *acts, "check")
    told = tell(3, chapter, reader.teller, tmp_path / "runs")
    assert told.acts == acts  # and not the mistyped one
    for text in (
        "Two nodes have to believe that they lead.",
        "did you mean kill",
        "finds no two decisions so far",
        "✓ solved.",
    ):
        assert text in reader.text
    assert told.ruling is not None
    assert told.ruling.solved
    assert re.search(r"n1 answered .blue. at .* and n2 answered .red.", told.ruling.why)
    assert not any(map(is_running, pids_in(reader.text)))
    assert [Path(folder).name for folder in told.runs] == ["01-failover", "02-failover-challenge"]


def test_ctrl_c_leaves_no_process(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with output.open("w") as file:
        tour = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "harness.cli.main",
                "--dir",
                str(tmp_path / "lab"),
                "tour",
                "--yes",
                "--chapter",
                "leader",
            ],
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(lambda: "3 leader nodes are up" in output.read_text() or tour.poll() is not None)
            pids = pids_in(output.read_text())
            os.kill(tour.pid, signal.SIGINT)
            code = tour.wait(60)
        finally:
            tour.kill()
            tour.wait()
    assert code == 130, output.read_text()
    assert len(pids) == 3
    wait_until(lambda: not any(map(is_running, pids)))


def test_what_was_sent_while_a_reader_read_is_not_read_by_the_judges(tmp_path: Path) -> None:
    """In 40 minutes five nodes with failover send a million messages. The next step read them all, for ten seconds."""
    with Stage(tmp_path) as stage:
        stage.up("leader", 3, "leader")
        stage.propose("blue", "n2")
        stage.query_all()
        assert {line["type"] for line in stage.recorded()} == {"Ask", "Answer"}
        stage.run.files.messages.write_text("a line that no judge can read\n")
        assert "finds no two decisions so far" in two_decisions(stage).why
        (folder,) = stage.runs
        assert "coherence" in stage.end()
    assert json.loads((folder / "results.json").read_text())["messages"] == 0
