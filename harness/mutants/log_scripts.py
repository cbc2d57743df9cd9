"""Scripts about replicated logs on real processes. They put and get keys, and are judged like the runs of `consensus test`.

Most breaks of logs show in virtual time (`harness.mutants.virtual_log_scripts`). These scripts are about what only processes
have: disks with files, signals, and clients with sockets.
"""

import shutil
import time
from contextlib import suppress
from functools import partial
from typing import Final

from cluster.clients.operations import kv_get, kv_put
from cluster.errors import BootFailed
from cluster.processes import ProcessState
from harness.mutants.process_scripts import ProcessScript
from harness.records.links import CLIENT
from harness.runs.experiment import Experiment
from harness.workloads.log_calls import RecordedLogCall
from node.contract import NodeId
from node.storage.disk import FILE_NAME

_POLL_INTERVAL_S: Final = 0.002
_CALL_TIMEOUT_S: Final = 5.0


def begin_put(
    run: Experiment, value: str, client: int = 0, key: str = "k", timeout_s: float = _CALL_TIMEOUT_S
) -> RecordedLogCall:
    """Begin to put a value, and return the call."""
    return run.log.begin(client, "put", key, value, kv_put(key, value), timeout_s)


def begin_get(run: Experiment, client: int = 0, key: str = "k", timeout_s: float = _CALL_TIMEOUT_S) -> RecordedLogCall:
    """Begin to get a value, and return the call."""
    return run.log.begin(client, "get", key, None, kv_get(key), timeout_s)


def settle(run: Experiment, *calls: RecordedLogCall) -> None:
    """Wait until each call has an outcome, which is at its deadline at the latest."""
    while any(call.outcome is None for call in calls):
        run.poll()
        time.sleep(_POLL_INTERVAL_S)


def put(run: Experiment, *values: str, client: int = 0) -> None:
    """Put the values one after the other, and wait for each outcome."""
    for value in values:
        settle(run, begin_put(run, value, client))


def _leader_and_others(run: Experiment) -> tuple[NodeId, list[NodeId]]:
    leader = run.faults.leader()
    return leader, [node for node in run.nodes if node != leader]


def everybody_killed(run: Experiment) -> None:
    """Three values are put, one more is under way; all nodes are killed, and restarted one after the other."""
    put(run, "blue", "red", "green")
    begun = begin_put(run, "perhaps", timeout_s=_CALL_TIMEOUT_S)
    run.faults.kill(*run.nodes)
    for node in run.nodes:
        run.faults.restart(node)
    settle(run, begun, begin_get(run, 1))


def an_answer_is_lost(run: Experiment) -> None:
    """No answer reaches the client; the leader is killed, the client asks the next leader, and then answers arrive."""
    put(run, "blue")
    leader, _ = _leader_and_others(run)
    with run.faults.hold([(node, CLIENT) for node in run.nodes], "Replies") as held:
        call = begin_put(run, "red")
        run.poll()
        held.rules[0].wait_held(1)
        run.faults.kill(leader)
        held.rules[0].discard()
    settle(run, call)
    run.faults.restart(leader)
    put(run, "green", client=1)


def a_client_comes_back(run: Experiment) -> None:
    """A client puts, forgets everything but its session, and puts again, while a follower is killed and restarted."""
    put(run, "blue", "red")
    _, (follower, _) = _leader_and_others(run)
    run.faults.kill(follower)
    begun = begin_put(run, "green", 1)
    run.log.restart(0)
    put(run, "white", "black")
    settle(run, begun)
    run.faults.restart(follower)


def a_leader_from_the_past(run: Experiment) -> None:
    """The leader is suspended; another is elected, and red is put; the first leader is resumed, and is read from at once."""
    put(run, "blue")
    settle(run, begin_get(run, 1))  # so this client knows the leader
    leader, others = _leader_and_others(run)
    with run.faults.partition([leader], others):
        run.faults.suspend(leader)
        put(run, "red", client=2)
        run.faults.resume(leader)
        settle(run, begin_get(run, 1, timeout_s=1.0))


def _runs(run: Experiment, node: NodeId) -> bool:
    """Return whether a node that was started replies to a status request, and so has accepted its disk."""
    while run.cluster.state(node) is ProcessState.UP:
        if node in run.cluster.status(0.2):
            return True
    return False


def a_flipped_bit_in_mid_log(run: Experiment) -> None:
    """Values are put while one node is down; a character is changed on another node's disk; these two continue alone."""
    put(run, "blue")
    leader, (flipped, third) = _leader_and_others(run)
    run.faults.kill(third)
    put(run, "scarlet", "green", "white")
    run.faults.terminate(leader)
    run.faults.terminate(flipped)
    directory = run.spec.settings.directory(flipped)
    aside = directory.with_name(f"{flipped}-aside")
    shutil.copytree(directory, aside)
    receipt = run.faults.begin("flip", nodes_down=[flipped], disk_damaged=[flipped])
    file = directory / FILE_NAME
    before = file.read_bytes()
    file.write_bytes(before.replace(b"scarlet", b"scarves"))
    receipt.bit = file.read_bytes() != before
    run.faults.restart(third)
    with suppress(BootFailed):
        run.faults.restart(flipped)
    if _runs(run, flipped):
        settle(run, begin_put(run, "black", 1), begin_get(run, 2))
    else:
        settle(run, begin_put(run, "black", 1, timeout_s=1.0))
        shutil.rmtree(directory)
        shutil.move(aside, directory)
        run.faults.restart(flipped)
    run.faults.restart(leader)
    receipt.end()


def some_at_once(run: Experiment) -> None:
    """Four clients put at the same time, six times each."""
    for number in range(6):
        settle(run, *(begin_put(run, f"{client}.{number}", client) for client in range(4)))


_of_a_log = partial(ProcessScript, on_log=True)

EVERYBODY_KILLED: Final = _of_a_log("everybody-killed, a log", everybody_killed)
AN_ANSWER_IS_LOST: Final = _of_a_log("an-answer-is-lost", an_answer_is_lost)
A_CLIENT_COMES_BACK: Final = _of_a_log("a-client-comes-back", a_client_comes_back)
A_LEADER_FROM_THE_PAST: Final = _of_a_log("a-leader-from-the-past", a_leader_from_the_past)
A_FLIPPED_BIT_IN_MID_LOG: Final = _of_a_log("a-flipped-bit-in-mid-log", a_flipped_bit_in_mid_log)
SOME_AT_ONCE: Final = _of_a_log("some-at-once", some_at_once, breaks=False)
