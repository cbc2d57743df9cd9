"""The process of a node, as its cluster sees it."""

import subprocess
from pathlib import Path
from unittest.mock import Mock

import pytest

from cluster.errors import BootFailed
from cluster.processes import NodeProcess, ProcessState
from cluster.spawning import ReadyPipe
from cluster.spec import create


def test_a_process_that_dies_while_it_is_to_end_is_no_mistake(tmp_path: Path) -> None:
    """As when Ctrl-C interrupts a kill after the signal was sent: the process is there at one look, and gone at the next."""
    process = NodeProcess(create(tmp_path, nodes=1, algorithm="paxos"), "n1")
    popen = Mock(spec=subprocess.Popen, pid=0, stdin=None)
    popen.poll.side_effect = [None, -9]
    popen.wait.return_value = -9
    process._popen = popen
    process.end()
    assert process.look() is ProcessState.DOWN
    assert "killed by SIGKILL" in process.ended
    process.end()


def test_a_process_that_ends_by_itself_just_before_it_is_to_end_is_no_mistake(tmp_path: Path) -> None:
    process = NodeProcess(create(tmp_path, nodes=1, algorithm="paxos"), "n1")
    popen = Mock(spec=subprocess.Popen, pid=0, stdin=None)
    popen.poll.side_effect = [None, 70]
    popen.wait.return_value = 70
    process._popen = popen
    process.end()
    assert "70" in process.ended
    assert process.look() is ProcessState.DOWN


def test_another_thread_may_notice_first_that_a_starting_process_has_ended(tmp_path: Path) -> None:
    process = NodeProcess(create(tmp_path, nodes=1, algorithm="paxos"), "n1")
    process._popen = Mock(spec=subprocess.Popen, pid=0, stdin=None)
    process._popen.poll.return_value = -9
    process._pipe = Mock(spec=ReadyPipe)

    def noticed(*_: object) -> None:
        assert process.look() is ProcessState.DOWN
        raise BootFailed("n1 has closed its pipe")

    process._pipe.wait.side_effect = noticed
    with pytest.raises(BootFailed):
        process.wait_ready()
    assert process.ended == "killed by SIGKILL from outside"
