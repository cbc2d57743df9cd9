"""Which node a client of a log sends to."""

from cluster.clients.leader_search import LeaderSearch

ADDRESSES = {"n1": "a", "n2": "b", "n3": "c"}


def test_without_a_leader_the_nodes_have_their_turns() -> None:
    search = LeaderSearch()
    targets = [search.target(ADDRESSES, 0.0) for _ in range(6)]
    assert set(targets[:3]) == {"n1", "n2", "n3"}
    assert targets[:3] == targets[3:]


def test_the_leader_is_the_target_until_it_is_lost() -> None:
    search = LeaderSearch()
    search.redirected("n2", 0.0)
    assert [search.target(ADDRESSES, 0.0) for _ in range(2)] == ["n2", "n2"]
    search.lost("n2", 1.0)
    assert {search.target(ADDRESSES, 1.1) for _ in range(4)} == {"n1", "n3"}
    assert {search.target(ADDRESSES, 2.0) for _ in range(4)} == {"n1", "n2", "n3"}


def test_a_node_that_has_replied_again_is_not_avoided() -> None:
    search = LeaderSearch()
    search.lost("n2", 1.0)
    search.note_reply("n2")
    assert {search.target(ADDRESSES, 1.1) for _ in range(4)} == {"n1", "n2", "n3"}


def test_if_every_node_is_lost_all_are_tried() -> None:
    search = LeaderSearch()
    for node in ADDRESSES:
        search.lost(node, 1.0)
    assert {search.target(ADDRESSES, 1.1) for _ in range(4)} == {"n1", "n2", "n3"}


def test_a_node_that_was_lost_a_moment_ago_is_not_taken_for_the_leader() -> None:
    search = LeaderSearch()
    search.lost("n2", 1.0)
    search.redirected("n2", 1.05)
    assert search.leader is None
    search.redirected("n2", 1.2)
    assert search.leader == "n2"
    search.redirected(None, 1.3)
    assert search.leader is None


def test_without_any_address_there_is_no_target() -> None:
    search = LeaderSearch()
    assert search.target({}, 0.0) is None
    assert search.target(ADDRESSES, 0.0) is not None
