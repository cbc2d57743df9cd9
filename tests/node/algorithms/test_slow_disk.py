"""A leader with a slow disk hands over, if a quorum of the others is quick, and not again and again."""

from harness.virtual.log_script import LogWorld
from node.contract import NodeId
from node.replication.slow_disk import SlowDisk


def slow(disk: SlowDisk, answers_ms: list[int], commits: int = 5, commit_ms: int = 200) -> bool:
    """Give `disk` some commits, and return whether it hands over then."""
    for _ in range(commits):
        disk.took(commit_ms, answers_ms, 2)
    return disk.hands_over(tick=10_000, beat=100)


def test_it_hands_over_after_several_slow_commits_in_a_row() -> None:
    disk = SlowDisk()
    assert not slow(disk, [0, 0], commits=4)
    disk.took(5, [0, 0], 2)
    assert not slow(disk, [0, 0], commits=4)
    assert slow(disk, [0, 0], commits=1)


def test_it_keeps_the_lead_if_too_few_others_are_quicker() -> None:
    assert not slow(SlowDisk(), [0, 200])
    assert not slow(SlowDisk(), [60, 60])  # three times as quick: less than a multiple that is worth a change
    assert not slow(SlowDisk(), [0, 0], commit_ms=40)
    assert slow(SlowDisk(), [50, 50])


def test_a_new_leader_waits_before_it_hands_over() -> None:
    disk = SlowDisk()
    slow(disk, [0, 0])
    assert not disk.hands_over(tick=10_000, beat=5)


def test_its_pauses_double_while_it_hands_over_soon_again() -> None:
    disk, tick, pauses = SlowDisk(), 1000, []
    for _ in range(6):
        disk.handed_over(tick)
        pauses.append(disk.pause_ticks)
        assert not disk.hands_over(tick + disk.pause_ticks - 1, 100)
        tick += disk.pause_ticks
    assert pauses == [400, 800, 1600, 3200, 6400, 6400]
    disk.handed_over(tick + 10 * disk.pause_ticks)
    assert disk.pause_ticks == 400


def test_no_node_hands_over_while_every_disk_is_slow() -> None:
    world = LogWorld()
    leader = world.wait_leader()
    for node in world.members:
        world.slow_disks[node] = 0.2
    end = world.now + 20.0
    while world.now < end:
        world.do("c", "put", "k", b"%f" % world.now)
        assert world.leader() == leader


def test_followers_report_their_commits_and_take_back_what_is_over() -> None:
    world = LogWorld()
    leader = world.wait_leader()
    slow_one: NodeId = next(node for node in world.members if node != leader)

    def reported() -> int:
        leadership = world.replica(leader).leader
        assert leadership is not None
        return leadership.commit_ms.get(slow_one, 0)

    world.slow_disks[slow_one] = 0.1
    world.do("c", "put", "k", b"slow")
    world.wait(lambda: reported() == 100, "the report")
    del world.slow_disks[slow_one]
    world.do("c", "put", "k", b"quick")
    world.wait(lambda: reported() == 0, "the report that it is over")
    assert world.leader() == leader
