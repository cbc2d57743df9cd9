"""A log of one's own, named by its file, on real processes: clients, machines and sessions work on it unchanged."""

from cluster import Cluster

LOG = "tests/fixed_leader_log.py:FixedLeaderLog"


def test_keys_and_locks_survive_a_restart_of_the_fixed_leader() -> None:
    with Cluster(nodes=3, algorithm=LOG) as cluster, cluster.log_client() as client:
        assert cluster.keeps_log
        version = client.kv.put("colour", "blue")
        assert cluster.propose("owner", "alice", at="n3") == "alice"
        with cluster.lock("printer") as token:
            assert token > 0
        cluster.kill("n1")
        cluster.restart("n1")
        assert client.kv.compare_and_set("colour", version, "red") > version
        assert client.kv.get("colour") == "red"
        assert cluster.query("owner", at="n2") == "alice"
        for status in cluster.status().values():
            assert status["variables"][""]["voters"] == ["n1", "n2", "n3"]
