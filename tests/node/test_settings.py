from pathlib import Path

import pytest

from node.algorithms import BUILT_IN, UnknownAlgorithm, load_algorithm
from node.algorithms.paxos import Paxos
from node.settings import NODES_MAX, BadSpec, Settings, load
from tests.own_algorithms import Refusing

CLUSTER = "0123456789abcdef" * 2
GOOD = {
    "cluster": f'"{CLUSTER}"',
    "algorithm": '"paxos"',
    "nodes": '["n1", "n2", "n3"]',
    "seed": "7",
    "data": '"nodes"',
}


def spec(folder: Path, **changes: str | None) -> Path:
    path = folder / "cluster.toml"
    fields = {**GOOD, **changes}
    path.write_text("".join(f"{key} = {value}\n" for key, value in fields.items() if value is not None))
    return path


def test_a_good_spec_is_read(tmp_path: Path) -> None:
    settings = load(spec(tmp_path))
    assert settings == Settings(CLUSTER, "paxos", ("n1", "n2", "n3"), 7, tmp_path / "nodes")
    assert settings.directory("n2") == tmp_path / "nodes" / "n2"
    assert load(spec(tmp_path, vfs='"m:n"')).vfs == "m:n"
    assert load(spec(tmp_path, data='"/elsewhere"')).directory("n1") == Path("/elsewhere/n1")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cluster": None}, "cluster is missing"),
        ({"cluster": '"5F0C"'}, "32 hex digits"),
        ({"cluster": f'"{CLUSTER}\\n"'}, "32 hex digits"),
        ({"cluster": "5"}, "cluster has the type int, but must be str"),
        ({"algorithm": '""'}, "algorithm is empty"),
        ({"nodes": "[]"}, "there are 0 nodes"),
        ({"nodes": str([f"n{number}" for number in range(NODES_MAX + 1)])}, "there are 100 nodes"),
        ({"nodes": '["n1", "n1"]'}, "same name"),
        ({"nodes": '["n1", 2]'}, "a list of strings"),
        ({"nodes": '["1n"]'}, "cannot be called '1n'"),
        ({"nodes": '["../n1"]'}, "cannot be called"),
        ({"nodes": '["n 1"]'}, "cannot be called"),
        ({"nodes": '["n1\\n"]'}, "cannot be called"),
        ({"nodes": '["é"]'}, "cannot be called"),
        ({"nodes": '[""]'}, "cannot be called"),
        ({"nodes": '["leader"]'}, "leader"),
        ({"nodes": '"n1"'}, "nodes has the type str, but must be list"),
        ({"seed": "true"}, "seed has the type bool, but must be int"),
        ({"seed": "1.0"}, "seed has the type float"),
        ({"vfs": "1"}, "vfs has the type int"),
        ({"timeout": "1"}, "'timeout' is not a field; the fields are cluster, algorithm"),
        ({"seed": "= 1"}, "is not TOML"),
    ],
)
def test_a_bad_spec_is_refused_with_its_path_and_the_reason(
    tmp_path: Path, changes: dict[str, str | None], reason: str
) -> None:
    path = spec(tmp_path, **changes)
    with pytest.raises(BadSpec) as refused:
        load(path)
    assert reason in str(refused.value)
    assert str(refused.value).startswith(str(path))


def test_a_spec_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSpec, match="cannot be read: No such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(BadSpec, match="cannot be read: Is a directory"):
        load(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\0")
    with pytest.raises(BadSpec, match="is not TOML"):
        load(tmp_path / "binary.toml")


# --- algorithms by name ---------------------------------------------------------------------------------------------


def test_every_built_in_algorithm_is_found_by_its_name() -> None:
    for name in BUILT_IN:
        assert name == load_algorithm(name).__name__.lower()
    assert load_algorithm("node.algorithms.paxos:Paxos") is Paxos
    assert load_algorithm("tests.own_algorithms:Refusing") is Refusing


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("zab", "no algorithm is called 'zab': there are leader, failover"),
        ("", "no algorithm is called ''"),
        ("nowhere.to.be.found:X", "cannot be imported"),
        (":Paxos", "cannot be imported"),
        ("..:Paxos", "cannot be imported"),
        ("node.algorithms.paxos:Raft", "has no 'Raft'"),
        ("node.algorithms.paxos:Prepare", "not a subclass of node.contract.Algorithm"),
        ("node.algorithms.paxos:majority", "has no 'majority'"),
        ("node.algorithms.paxos:is_quorum", "not a subclass"),
        ("node.contract:Algorithm", "lacks propose, query, receive"),
        ("hearsay.py:Hearsay", "there is no file hearsay.py"),
        (
            "tests.own_algorithms:ListsAPlainMessage",
            "PlainSay is no frozen dataclass, so its fields are not known: write @data",
        ),
        ("tests.own_algorithms:ListsAnUnfrozenMessage", "UnfrozenSay is no frozen dataclass"),
        ("tests.own_algorithms:ListsAText", "'Other' in `messages` is no subclass"),
        ("tests.own_algorithms:TakesNoNode", "`__init__` must take the node"),
        ("tests.own_algorithms:ListsNoMessages", "`messages` must be a tuple of subclasses of node.contract.Message"),
    ],
)
def test_a_name_without_an_algorithm_is_refused(name: str, reason: str) -> None:
    with pytest.raises(UnknownAlgorithm) as refused:
        load_algorithm(name)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("class Mine(:\n", "fails when it is imported: SyntaxError"),
        ("\n1 / 0\n", "half_written_7.py, line 2)"),
        ("1 / 0\n", "fails when it is imported: ZeroDivisionError"),
        ("int(None)  # noqa\n", "fails when it is imported: TypeError"),
        ("raise SystemExit('no')\n", "fails when it is imported: SystemExit: no"),
        ("import os\nos.nothing\n", "fails when it is imported: AttributeError"),
        ("import nothing_of_that_name\n", "No module named 'nothing_of_that_name' ("),
        ("", "has no 'Mine'"),
    ],
)
def test_a_users_module_that_fails_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, reason: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = f"half_written_{len(source)}"
    (tmp_path / f"{module}.py").write_text(source)
    with pytest.raises(UnknownAlgorithm) as refused:
        load_algorithm(f"{module}:Mine")
    assert reason in str(refused.value)
    assert module in str(refused.value)
