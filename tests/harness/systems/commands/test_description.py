"""A description is read strictly: what is wrong is said with its line and with what to write."""

from pathlib import Path

import pytest

from harness.systems.commands.described import CommandSystem
from harness.systems.commands.description import ReadyWhen, fill, find, read
from harness.systems.system import BadSystem
from harness.workloads.registry import UnknownWorkload

GOOD = """\
name = "shop"
command = ["{python}", "{here}/shop.py", "--port", "{client_port}", "--peers", "{peers}"]
ports = ["client"]
peers = "{id}=127.0.0.1:{client_via}"
[environment]
WHO = "{id} of {run} { not a placeholder }"
[ready]
log = "^listening"
[client]
class = "shop_client.py:ShopClient"
"""


IMPORT = "from harness.systems.commands.client import SystemClient\n"


def described(tmp_path: Path, text: str = GOOD) -> Path:
    path = tmp_path / "shop.toml"
    path.write_text(text)
    return path


def test_a_description_is_read(tmp_path: Path) -> None:
    found = read(described(tmp_path))
    assert (found.name, found.ports, found.shared, found.keep) == ("shop", ("client",), False, None)
    assert found.ready == ReadyWhen(log="^listening")
    assert found.workloads == ("kv",)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('ports = ["client"]', "ports = []", "line 3: ports = []\n  ports has no entry"),
        ('["client"]', '["client", "client"]', "the port 'client' stands there twice"),
        ("ports = ", "prots = ", 'line 3: prots = ["client"]\n  prots is no key: did you mean ports or peers?'),
        ("peers = ", "peer = ", "line 4: peer = "),  # and not a line before it that has {peers}
        ("log = ", "lgo = ", 'line 8: lgo = "^listening"\n  lgo is no key in [ready]: did you mean log'),
        ("{client_port}", "{clint_port}", "there is no placeholder {clint_port} here: did you mean client_port"),
        ("{client_via}", "{client_port}", 'line 4: peers = "{id}=127.0.0.1:{client_port}"\n  there is no placeholder'),
        ('"--peers"', '"{client_via}"', "there is no placeholder {client_via} here"),
        ('peers = "{id}=127.0.0.1:{client_via}"\n', "", "line 2: command = "),
        ('["client"]', '"client"', "ports is 'client', where a list of texts is wanted"),
        ('["client"]', '["SystemClient"]', "small letters, digits and underscores"),
        ('"^listening"', '"(["', "log is no regular expression"),
        ('log = "^listening"', "", "exactly one of port, log and http"),
        ('log = "^listening"', 'port = "peer"', "port = \"peer\"\n  no port is called 'peer': there are client"),
        ('log = "^listening"', 'log = "x"\nwithin_s = 0', "within_s is more than 0"),
        ('name = "shop"\n', "", "name is missing; it is a text"),
        ('name = "shop"', 'name = "a shop"', "letters, digits, dots and dashes"),
        ('class = "shop_client.py:ShopClient"', "", "class is missing: write file.py:Class"),
        (
            "[ready]",
            '[files]\n"../../plan.json" = "1"\n[ready]',
            "the file '../../plan.json' is not in the node's folder",
        ),
        ("[ready]", '[files]\n"/tmp/x" = "1"\n[ready]', "the file '/tmp/x' is not in the node's folder"),
        ('name = "shop"', 'name = "shop', "shop.toml: "),
        ('name = "shop"', 'name = "shop"\naddresses = "own"', "it is pair or shared"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(BadSystem) as caught:
        read(described(tmp_path, GOOD.replace(old, new, 1)))
    assert said in str(caught.value)


def test_only_known_placeholders_are_replaced() -> None:
    assert fill('{id} {"a": {b}} {}', {"id": "n1"}) == 'n1 {"a": {b}} {}'


@pytest.mark.parametrize("name", ["etcd", "redis", "pysyncobj"])
def test_every_shipped_description_is_read_and_has_its_client(name: str) -> None:
    found = read(find(name))
    assert found.name == name
    assert found.install


def test_a_file_that_is_not_there_names_those_that_are_shipped() -> None:
    with pytest.raises(BadSystem, match="no shipped system of this name: there are etcd, pysyncobj, redis"):
        find("zookeeper")


def test_a_system_is_data_in_a_plan(tmp_path: Path) -> None:
    path = described(tmp_path)
    data = CommandSystem(str(path)).to_json()
    assert data == {"kind": "command", "file": str(path)}
    assert CommandSystem.from_json(data).name == "shop"
    with pytest.raises(BadSystem, match="has a file, and nothing else"):
        CommandSystem.from_json({"kind": "command", "command": ["sh"]})


def test_a_workload_that_it_does_not_serve_is_refused(tmp_path: Path) -> None:
    system = CommandSystem(str(described(tmp_path)))
    assert system.workload(None).name == "kv"
    with pytest.raises(UnknownWorkload, match="serves no workload 'queue'"):
        system.workload("queue")


@pytest.mark.parametrize(
    ("client", "said"),
    [
        (None, "there is no file"),
        ("class ShopClint: pass", "has no ShopClient: it has no client class"),
        (f"{IMPORT}class ShopClint(SystemClient): pass", "has no ShopClient: did you mean ShopClint?"),
        ("class ShopClient: pass", "is no subclass of"),
        (f"{IMPORT}class ShopClient(SystemClient): pass", "lacks perform"),
        ("import no_such_module", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_client_that_cannot_be_loaded_is_said(tmp_path: Path, client: str | None, said: str) -> None:
    if client is not None:
        (tmp_path / "shop_client.py").write_text(client)
    with pytest.raises(BadSystem, match=said):
        CommandSystem(str(described(tmp_path))).check()


def test_a_command_that_is_not_installed_is_said_with_what_to_install(tmp_path: Path) -> None:
    client = f"{IMPORT}class ShopClient(SystemClient):\n    def perform(self, call): ...\n"
    (tmp_path / "shop_client.py").write_text(client)
    text = GOOD.replace('"{python}"', '"shopd-9"').replace(
        'name = "shop"', 'name = "shop"\ninstall = "apt-get install shop"'
    )
    with pytest.raises(BadSystem, match=r"shop needs the command shopd-9, .* not installed here: apt-get install shop"):
        CommandSystem(str(described(tmp_path, text))).check()
    (tmp_path / "shop.toml").write_text(GOOD)
    CommandSystem(str(described(tmp_path))).check()
