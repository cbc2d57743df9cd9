import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from cluster.adopted_process import UNSEEN_STATUS, AdoptedProcess
from tests.waiting import WAIT_S


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as popen:
        yield popen
        popen.kill()


@pytest.mark.parametrize("end", [AdoptedProcess.kill, AdoptedProcess.terminate])
def test_the_end_of_a_process_that_is_no_child_is_seen(
    sleeper: subprocess.Popen[bytes], end: Callable[[AdoptedProcess], None]
) -> None:
    process = AdoptedProcess(sleeper.pid)
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.001)
    end(process)
    assert process.wait(WAIT_S) == process.poll() == UNSEEN_STATUS
    sleeper.wait()
    process.send_signal(signal.SIGKILL)  # it has gone: nothing happens
    process.close()
    with pytest.raises(ProcessLookupError):
        AdoptedProcess(sleeper.pid)
