"""Scripts in virtual time about what clients of a replicated log see: sessions, reads, leases, locks and results."""

from cluster.clients.log_call import LogCall
from cluster.clients.outcomes import NotDone, Ok
from harness.mutants.virtual_script import start, virtual_script
from harness.virtual.log_script import LogWorld
from node.log_contract import LogAlgorithm
from node.tuning import SHIPPED, Tuning

# --- sessions ---------------------------------------------------------------------------------------------------------


@virtual_script
def an_answer_is_cut_off(algorithm: type[LogAlgorithm]) -> None:
    """An answer is lost, and the leader crashes; the next replicas take snapshots and restart; the client asks again."""
    world, first, others = start(algorithm, tuning=Tuning(snapshot_slots=1, kept_slots=0))
    world.cut(world.members, ("c",), one_way=True)
    world.begin("c", "put", "k", b"once", for_s=20.0)
    world.pass_s(1.0)
    world.crash(first)
    world.wait_leader(first)
    world.pass_s(1.0)
    for node in others:
        world.restart(node)
    world.wait_leader()
    world.pass_s(1.0)
    assert all(world.replica(node).snapshot_slot > 0 for node in others)
    world.heal()
    world.do("c", "put", "k", b"after")
    world.check()
    assert [value for _, value in world.judge.changes.values()].count(b"once") == 1


@virtual_script
def a_client_restarts(algorithm: type[LogAlgorithm]) -> None:
    """A client forgets its sequence numbers and resumes its session."""
    world, *_ = start(algorithm)
    for number in range(3):
        world.do("c", "put", "k", f"before {number}".encode())
    world.clients["c"].restart(world.clients["c"].pipeline.session)
    for number in range(3):
        world.do("c", "put", "k", f"after {number}".encode())
    world.check()


# --- questions and time -----------------------------------------------------------------------------------------------


@virtual_script
def a_leader_from_the_past_is_asked(algorithm: type[LogAlgorithm]) -> None:
    """The leader is suspended, and another is elected and writes; the first is resumed, and is read from."""
    world, first, others = start(algorithm)
    world.pause(first, 4.0)
    world.cut(others, (first,), one_way=True)  # the only message that the old leader receives is the read
    second = world.wait_leader(first)
    world.do("d", "put", "k", b"second", second)
    world.pass_s(1.0)
    read = world.begin("c", "get", "k", at=first, for_s=20.0)
    world.pass_s(4.0)
    world.heal()
    assert isinstance(world.outcome(read), Ok)
    world.check()


@virtual_script
def a_leader_from_the_past_is_saved(algorithm: type[LogAlgorithm]) -> None:
    """The leader is suspended, and another is elected and writes; the first is resumed, and is asked for a copy of its state."""
    world, first, others = start(algorithm)
    world.pause(first, 4.0)
    world.cut(others, (first,), one_way=True)  # the only message that the old leader receives is the question
    second = world.wait_leader(first)
    world.do("d", "put", "k", b"second", second)
    acknowledged = world.replica(second).state.applied
    world.pass_s(1.0)
    world.clients["c"].pipeline.leaders.leader = first
    world.cut(("c",), others)
    copy = world.question("c", "cluster", ["save"], 20.0)
    world.pass_s(4.0)
    world.heal()
    outcome = world.outcome(copy)
    assert isinstance(outcome, Ok)
    assert outcome.value[0] >= acknowledged, "the save lacks what was acknowledged before it began"
    world.check()


@virtual_script
def time_while_nobody_leads(algorithm: type[LogAlgorithm]) -> None:
    """The leader is suspended for longer than a lease; the log's time must not run meanwhile."""
    world, first, _ = start(algorithm)
    world.pause(first, 2.0)
    world.wait_leader(first)
    for number in range(5):
        world.do("c", "put", "k", f"{number}".encode())
        world.pass_s(0.3)
        time_ms = max(world.replica(node).state.time_ms for node in world.members)
        assert 0 < time_ms <= world.now * 1000, f"after {world.now:.1f} s the log's time is {time_ms} ms"


@virtual_script
def a_holder_that_is_away_too_long(algorithm: type[LogAlgorithm]) -> None:
    """A lock's holder does not renew its lease, and another gets the lock; the second fencing token must be higher."""
    world, *_ = start(algorithm)
    tokens = []
    for client in ("c", "d"):
        held = world.ask(client, "locks", ["try", "printer", client, 500])
        assert isinstance(held, Ok), held
        tokens.append(held.value)
        world.pass_s(2.0)  # longer than the lease, which no client renews
    assert tokens[0] < tokens[1], f"the first has token {tokens[0]}, and the second {tokens[1]}"
    late = world.ask("c", "locks", ["renew", "printer", tokens[0]])
    assert isinstance(late, NotDone), late


# --- watches ----------------------------------------------------------------------------------------------------------


@virtual_script
def a_quiet_watch(algorithm: type[LogAlgorithm]) -> None:
    """More changes of other keys than a machine keeps, and then one of the key that is watched."""
    world, *_ = start(algorithm)
    watch = world.watch("c", "quiet", 1, wait_s=30.0)
    world.pass_s(1.5)
    for number in range(SHIPPED.kv_history_entries):
        world.begin("d", "put", "k", f"{number}".encode())
    world.pass_s(2.0)
    world.do("d", "put", "quiet", b"at last")
    assert _changes(world, watch) == [b"at last"], watch.outcome
    world.check()


@virtual_script
def a_watch_is_lost(algorithm: type[LogAlgorithm]) -> None:
    """A watch does not reach the leader, and its client can send again."""
    world, *_ = start(algorithm)
    world.cut(("c",), world.members, one_way=True)
    watch = world.watch("c", "quiet", 1, wait_s=30.0)
    world.pass_s(0.1)
    world.heal()
    world.pass_s(2.0)
    world.do("d", "put", "quiet", b"here")
    world.pass_s(1.0)
    assert _changes(world, watch) == [b"here"], "the change was not reported"


@virtual_script
def watches_that_are_given_up(algorithm: type[LogAlgorithm]) -> None:
    """A client gives up one watch after the other; one watch at a time must wait at the leader."""
    world, leader, _ = start(algorithm)
    for _ in range(10):
        watch = world.watch("c", "quiet", 1, wait_s=30.0)
        world.pass_s(1.0)
        leadership = world.replica(leader).leader
        assert leadership is not None
        assert (waiting := len(leadership.watches)) == 1, f"{waiting} watches wait"
        world.clients["c"].pipeline.cancel(watch)


def _changes(world: LogWorld, watch: LogCall) -> list[bytes | None]:
    """Return the values that a watch has reported."""
    outcome = world.outcome(watch)
    return [value for _, _, value in outcome.value[1]] if isinstance(outcome, Ok) else []


# --- machines ---------------------------------------------------------------------------------------------------------


@virtual_script
def several_at_once(algorithm: type[LogAlgorithm]) -> None:
    """Two clients write to one key in the same slots; every replica must answer in the same way."""
    world, first, _ = start(algorithm)
    world.do("d", "put", "k", b"d")
    for number in range(8):
        for client in ("c", "d"):
            for part in range(4):  # more than may be under way, so some wait and share a slot
                world.begin(client, "put", "k", f"{client}{number}.{part}".encode(), first)
        world.pass_s(0.02)
    world.pass_s(1.0)
    world.check()
