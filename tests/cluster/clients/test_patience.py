"""A client's patience with its leader follows how long replies take."""

from cluster.clients.patience import Patience
from harness.virtual.log_script import LogWorld
from node.tuning import SHIPPED


def test_it_is_half_a_second_while_replies_are_quick() -> None:
    patience = Patience()
    assert patience.wait_s == SHIPPED.client_patience_ms / 1000
    for _ in range(5):
        patience.replied(0.01)
    assert patience.wait_s == SHIPPED.client_patience_ms / 1000


def test_it_follows_slow_replies_and_forgets_them() -> None:
    patience = Patience()
    patience.replied(1.0)
    assert patience.wait_s == 2.0
    patience.replied(10.0)
    assert patience.wait_s == 2.0
    patience.replied(0.01)
    assert patience.wait_s == SHIPPED.client_patience_ms / 1000


def test_it_has_a_bound() -> None:
    patience = Patience()
    patience.replied(60.0)
    assert patience.wait_s == SHIPPED.client_patience_ms_max / 1000


def test_frames_of_which_some_are_lost_do_not_lengthen_it() -> None:
    patience = Patience()
    for number in range(40):
        patience.replied(0.01 if number % 4 == 0 else 1.5)
        assert patience.wait_s == SHIPPED.client_patience_ms / 1000


def test_a_client_of_a_slow_cluster_comes_to_send_each_frame_once() -> None:
    world = LogWorld()
    world.wait_leader()
    world.late_s = 0.5
    world.pass_s(10.0)
    world.wait_leader()
    for number in range(6):
        world.do("c", "put", "k", b"%d" % number)
    pipeline = world.clients["c"].pipeline
    before = pipeline.sent_again
    for number in range(6):
        world.do("c", "put", "k", b"again %d" % number)
    assert pipeline.sent_again == before


def test_the_wait_for_a_node_before_another_one_is_asked_follows_replies_from_its_own_least() -> None:
    patience = Patience()
    assert patience.at_least(700) == 0.7
    patience.replied(0.01)
    assert patience.at_least(700) == 0.7
    slow = Patience()
    slow.replied(1.5)
    assert slow.at_least(700) == 3.0
