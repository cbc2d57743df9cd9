"""Real nodes that speak Maelstrom's protocol: how they start, end and fail, and what runs of them show."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cluster.clients.outcomes import Ok
from cluster.errors import BootFailed
from cluster.processes import ProcessState, is_alive, is_suspended
from cluster.spec import node_names
from harness.cli.main import run as consensus_run
from harness.faults.active import ConditionalFault
from harness.faults.catalogue import FaultBudget, find_fault
from harness.records import receipts
from harness.report import write_report
from harness.runs.campaigns.campaign import Campaign, CampaignTally, make_run
from harness.runs.campaigns.report import by_phase, merged
from harness.runs.held_system import HeldSystem
from harness.runs.plan import Plan, from_json, load
from harness.runs.suite import PlanResult, run_plan
from harness.runs.system_run import SystemRun
from harness.systems.guardian import MARK, Guardian
from harness.systems.maelstrom import templates_folder
from harness.systems.maelstrom.described import MaelstromSystem
from harness.systems.maelstrom.requests import WORKLOADS
from harness.systems.maelstrom.running import RunningMaelstrom
from harness.systems.registry import check_strikes
from harness.systems.system import BadSystem
from harness.workloads.agreeing import BroadcastWorkload, GrowOnlyCounterWorkload, GrowOnlySetWorkload
from harness.workloads.message_logs import MessageLogWorkload
from harness.workloads.planned_call import PlannedCall
from harness.workloads.registry import UnknownWorkload
from tests.waiting import WAIT_S, wait_until

PYTHON = (sys.executable, "-S")
STORE = (*PYTHON, str(templates_folder() / "node.py"))
GOSSIPING = (*PYTHON, str(Path(__file__).parent / "gossiping.py"))

SERVING = (*PYTHON, str(Path(__file__).parent / "serving.py"))


def consensus(*arguments: str) -> int:
    return consensus_run([*arguments])


def running(folder: Path, *command: str, ready_s: float = WAIT_S, volatile: bool = False) -> RunningMaelstrom:
    folder.mkdir(exist_ok=True)
    return RunningMaelstrom(folder, ("n1",), 1, "lin-kv", command, volatile=volatile, ready_s=ready_s)


def answer(run: RunningMaelstrom, f: str, value: object = None) -> object:
    call = run.begin("c1", PlannedCall(f, "7", value, "n1", WAIT_S))

    def is_answered() -> bool:
        run.poll()
        return call.outcome is not None

    wait_until(is_answered)
    return call.outcome


# --- a node that does not become ready ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo broken >&2; exit 3", "n1 ended with status 3 before it had answered init. Its last words: broken"),
        ("kill -SEGV $$", "n1 was killed by SIGSEGV before it had answered init. It has written nothing"),
        ("echo waiting >&2; exec sleep 1000", "n1 has not answered init within 0.3 s. Its last words: waiting"),
        ("echo hello; exec sleep 1000", "n1 has not answered init within 0.3 s. Its last words: hello"),
        ("exec 1>&-; exec sleep 1000", "n1 has closed its standard output before it had answered init"),
        (
            """read line; echo '{"src":"n1","dest":"c0","body":{"type":"error","in_reply_to":1,"code":13}}'; exec sleep 1000""",
            "n1 has answered init by {'type': 'error', 'in_reply_to': 1, 'code': 13}, where init_ok is wanted",
        ),
    ],
)
def test_a_node_that_does_not_become_ready_says_its_last_words_and_leaves_nothing(
    tmp_path: Path, script: str, said: str
) -> None:
    run = running(tmp_path / "run", "/bin/sh", "-c", script, ready_s=0.3)
    with pytest.raises(BootFailed) as error:
        run.start()
    assert str(error.value).startswith(said)
    assert "A node reads lines of JSON on its standard input" in str(error.value)
    assert run.cluster.state("n1") is ProcessState.DOWN
    assert run.cluster.process("n1").pid is None


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("", "the command is empty"),
        ("./there-is-none.py", "there is no file"),
        ("there-is-no-such-command", "there is no command"),
        ("'unfinished", "cannot be read"),
        ("{here}/plain.txt", "cannot be executed: chmod [+]x"),
        ("{here}/shop.pl", "or name what runs it, such as 'perl shop.pl'"),
        ("{here}", "cannot be executed"),
    ],
)
def test_a_command_that_cannot_start_is_refused_with_what_to_do(tmp_path: Path, command: str, said: str) -> None:
    (tmp_path / "plain.txt").write_text("not a program")
    (tmp_path / "shop.pl").write_text("")
    with pytest.raises(BadSystem, match=said):
        MaelstromSystem.of_command(command.format(here=tmp_path))


def test_words_that_name_files_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raft.py").write_text("")
    monkeypatch.chdir(tmp_path)
    system = MaelstromSystem.of_command("python3 raft.py --fast")
    assert system.command == ("python3", str(tmp_path / "raft.py"), "--fast")
    assert system.name == "raft.py"
    assert MaelstromSystem.from_json(system.to_json()) == system


def test_only_workloads_that_the_protocol_has_requests_for_are_served() -> None:
    system = MaelstromSystem(STORE)
    assert all(system.workload(name).name == name for name in WORKLOADS)
    assert system.workload(f"{__name__}:Broadcast") is Broadcast
    assert system.workload("txn-rw-register/read-committed").name == "txn-rw-register/read-committed"
    for name in ("kv", "mixed", "lin-kv/serializable", "txn-rw-register/perfect"):
        with pytest.raises(UnknownWorkload, match=name.partition("/")[0]):
            system.workload(name)


# --- processes ----------------------------------------------------------------------------------------------------------


def test_a_kill_takes_what_the_node_has_started_and_a_restart_is_a_new_incarnation(tmp_path: Path) -> None:
    script = f"sleep 1000 & echo $! >> children; setsid sleep 1000 & echo $! >> escaped; exec {' '.join(STORE)}"
    run = running(tmp_path / "run", "/bin/sh", "-c", script)
    run.start()
    try:
        nodes, folder = run.cluster, run.cluster.disk("n1")
        assert answer(run, "write", 5) == Ok(None, "n1")
        child = int((folder / "children").read_text())
        assert nodes.suspend("n1")[0]["process_state"] == "T"
        wait_until(lambda: is_suspended(child))
        nodes.resume("n1")
        assert answer(run, "read") == Ok(5, "n1")
        assert nodes.kill("n1")[0]["wait_status"] == -9
        wait_until(lambda: not is_alive(child))
        assert run.cluster.state("n1") is ProcessState.DOWN
        assert nodes.restart("n1") == [{"node": "n1", "incarnation": 2}]
        assert answer(run, "read") == Ok(None, "n1")
        assert len((folder / "children").read_text().split()) == 2  # its folder is the same
    finally:
        run.end()
    assert run.failures == []
    children = [int(pid) for name in ("children", "escaped") for pid in (folder / name).read_text().split()]
    wait_until(lambda: not any(is_alive(pid) for pid in children))


def test_a_volatile_disk_is_empty_after_a_kill(tmp_path: Path) -> None:
    script = f"mkdir -p a/b; test -e a/b/kept && echo kept >&2; echo > a/b/kept; exec {' '.join(STORE)}"
    run = running(tmp_path / "run", "/bin/sh", "-c", script, volatile=True)
    run.start()
    try:
        assert run.cluster.kill("n1")[0]["files lost"] == 1
        run.cluster.restart("n1")
        assert run.notes["files that kills have taken"] == {"n1": 1}
    finally:
        run.end()
    assert "kept" not in run.cluster.log("n1").read_text()


def test_a_node_that_ends_by_itself_is_a_failure_and_a_flood_of_errors_is_cut_off(tmp_path: Path) -> None:
    ready = '{"src":"n1","dest":"c0","body":{"type":"init_ok","in_reply_to":1}}'
    flood = "head -c 20000000 /dev/zero | tr '\\0' x >&2"
    run = running(tmp_path / "run", "/bin/sh", "-c", f"{flood}; read line; echo '{ready}'; read line; exit 7")
    run.start()
    try:
        run.begin("c1", PlannedCall("read", "7", None, "n1", WAIT_S))

        def has_failed() -> bool:
            run.poll()
            return bool(run.failures)

        wait_until(has_failed)
    finally:
        run.end()
    assert run.failures[0].startswith("n1 ended with status 7, although no fault had struck it. Its last words: xxx")
    assert run.notes["logs that are cut short"] == ["n1"]
    assert run.cluster.log("n1").stat().st_size < 17 * 1024 * 1024


def test_the_guardian_ends_what_is_left_when_the_harness_is_gone() -> None:
    guardian = Guardian("of-this-run").start()
    left, ended = (subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True) for _ in range(2))
    marked = {**os.environ, MARK: "of-this-run/n1"}
    apart = subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True, env=marked)  # its group is never named
    guardian.watch(left.pid)
    guardian.watch(ended.pid)
    guardian.forget(ended.pid)
    guardian.close()  # as when the harness is killed: the pipe closes
    assert left.wait(WAIT_S) == -9
    assert apart.wait(WAIT_S) == -9
    assert ended.poll() is None
    ended.kill()
    ended.wait(WAIT_S)


# --- runs ---------------------------------------------------------------------------------------------------------------


def plan(command: tuple[str, ...], workload: str, nodes: int, *steps: dict[str, Any], time_s: float = 0.6) -> Plan:
    system = {"kind": "maelstrom", "command": list(command), "ready_s": WAIT_S}
    return from_json({"system": system, "nodes": nodes, "workload": workload, "time_s": time_s, "steps": list(steps)})


def statuses(result: PlanResult) -> dict[str, str]:
    return {name: str(verdict.status) for name, verdict in result.verdicts.items()}


#: The node is killed when its third write is about to be acknowledged, and comes back when the clients have asked their last.
KILL = {"when": "3rd write_ok from n1 to client", "fault": "kill", "nodes": ["n1"], "for_s": 60}


def run_that_tests(wanted: Plan, folder: Path) -> PlanResult:
    """Run a plan. On a busy machine a run may be no test, for instance because no call was made in its time: it is made again."""
    for attempt in ("run", "again", "and-again", "once-more"):
        result = run_plan(wanted, folder / attempt)
        if str(result.verdicts["guards"].status) == "valid":
            break
    return result


def languages() -> list[tuple[str, ...]]:
    node = shutil.which("node")
    return [STORE, *([(node, str(templates_folder() / "node.js"))] if node else [])]


@pytest.mark.parametrize("command", languages(), ids=lambda command: Path(command[-1]).name)
def test_a_node_that_keeps_its_state_in_memory_loses_an_acknowledged_write_by_a_kill(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    result = run_that_tests(plan(command, "lin-kv", 2, KILL, time_s=2.0), tmp_path)
    assert statuses(result) == {"linearizability": "invalid", "liveness": "valid", "guards": "valid"}
    found = result.verdicts["linearizability"].evidence
    assert "nothing" in found or "not found" in found  # a read, or a compare-and-set, that finds no value
    (kill,) = [one for one in receipts.load(result.folder / "receipts.jsonl") if one.fault == "kill"]
    assert kill.evidence["wait_status"] == -9
    assert (kill.evidence["incarnation before"], kill.evidence["incarnation"]) == (1, 2)
    page = write_report(result.folder).read_text()
    assert "Linearizability is broken" in page
    assert "could not be" not in page  # it looks for no disk and no message of ours
    assert load(result.folder / "plan.json") == result.plan


def test_the_same_node_passes_without_a_fault(tmp_path: Path) -> None:
    result = run_that_tests(plan(STORE, "lin-kv", 2), tmp_path)
    assert statuses(result) == {"linearizability": "valid", "liveness": "valid", "guards": "valid"}


class Broadcast(BroadcastWorkload):
    ask_again_s = 0.5


class Set(GrowOnlySetWorkload):
    ask_again_s = 0.5


class Counter(GrowOnlyCounterWorkload):
    ask_again_s = 0.5


class Logs(MessageLogWorkload):
    ask_again_s = 0.5


@pytest.mark.parametrize(
    ("workload", "how", "flaw"),
    [
        ("broadcast", "set", ""),
        ("g-counter", "counter", ""),
        (f"{__name__}:Broadcast", "set deaf", "lost"),
        (f"{__name__}:Set", "set deaf", "lost"),
        (f"{__name__}:Counter", "counter twice", "by the changes the value was between"),
    ],
)
def test_nodes_that_agree_in_the_end_pass_and_those_that_do_not_are_found(
    tmp_path: Path, workload: str, how: str, flaw: str
) -> None:
    cut = {"at_s": 0.05, "fault": "isolate", "node": "n1", "for_s": 0.2}
    result = run_that_tests(plan((*GOSSIPING, *how.split()), workload, 2, cut), tmp_path)
    judged = (
        result.verdicts[workload.partition(":")[2].lower() or workload]
        if not flaw
        else next(iter(result.verdicts.values()))
    )
    assert str(judged.status) == ("invalid" if flaw else "valid"), judged
    assert flaw in judged.evidence
    assert str(result.verdicts["guards"].status) == "valid"


def test_a_cut_of_links_that_carry_nothing_is_no_fault_and_a_run_with_no_other_is_no_test(tmp_path: Path) -> None:
    cut = {"at_s": 0.05, "fault": "isolate", "node": "n1", "for_s": 0.1}
    result = run_plan(plan(SERVING, "unique-ids", 2, cut, time_s=0.2), tmp_path / "run")
    assert str(result.verdicts["guards"].status) == "unknown"
    assert not (tmp_path / "run" / "receipts.jsonl").read_text()
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["notes"]["faults on links that no message has crossed"] == {"isolate": 1}


@pytest.mark.parametrize(
    ("workload", "flaw", "found"),
    [
        ("unique-ids", "", ""),
        ("unique-ids", "again", "id"),
        ("txn-list-append", "", ""),
        ("txn-list-append/read-committed", "stale", ""),
        ("txn-list-append/serializable", "stale", "internal"),
        ("txn-rw-register", "", ""),
        ("kafka", "", ""),
        (f"{__name__}:Logs", "skips", "lost"),
    ],
)
def test_services_of_one_node_keep_their_promise_or_are_found(
    tmp_path: Path, workload: str, flaw: str, found: str
) -> None:
    result = run_that_tests(plan((*SERVING, flaw), workload, 1), tmp_path)
    judged = next(iter(result.verdicts.values()))
    assert str(judged.status) == ("invalid" if found else "valid"), judged
    assert found in judged.evidence
    assert str(result.verdicts["guards"].status) == "valid"


def test_what_a_node_does_against_the_rules_makes_a_run_invalid(tmp_path: Path) -> None:
    script = tmp_path / "rude.py"
    script.write_text(
        "import json, sys\n"
        "for number, line in enumerate(sys.stdin):\n"
        "    message = json.loads(line)\n"
        "    body = {**message['body'], 'in_reply_to': message['body']['msg_id'], 'type': message['body']['type'] + '_ok'}\n"
        "    print(json.dumps({'src': 'n1', 'dest': message['src'], 'body': body}))\n"
        "    if number == 2:\n"
        "        print('Hello, world')\n"
        "        print(json.dumps({'src': 'n1', 'dest': message['src'], 'body': {**body, 'echo': 'another'}}))\n"
        "        print(json.dumps({'src': 'n1', 'dest': 'c1', 'body': {'type': 'echo_ok', 'in_reply_to': 12345}}))\n"
        "        print('so long', file=sys.stderr, flush=True)\n"
        "    sys.stdout.flush()\n"
    )
    result = run_that_tests(plan((*PYTHON, str(script)), "echo", 1), tmp_path)
    assert str(result.verdict.status) == "invalid"
    said = [result.verdicts["contract"].evidence, *result.verdicts["contract"].more]
    assert [each.partition("(")[0].partition(":")[0] for each in said] == [
        "n1 wrote a line to its standard output that is no message ",
        "n1 answered twice, and differently the first time ",
        "n1 answered what no client has asked",
    ]
    assert "Hello, world" in said[0]


def test_a_campaign_counts_what_faults_have_hit_by_the_messages_that_came(tmp_path: Path) -> None:
    system = MaelstromSystem(STORE, ready_s=WAIT_S)
    campaign = Campaign(
        tmp_path, 1, faults=("kill-all",), time_s=1.0, nodes=2, workload="lin-kv", steps=1, system=system, keep=True
    )
    assert campaign.plan(1).system == system
    tally = CampaignTally(campaign)
    tally.add(make_run(campaign, 1))
    assert tally.runs[0].planned == ("kill-all",)
    assert set(by_phase(tally).phases) >= {"idle"}
    assert merged(tally)["done"] == 1
    assert tally.marks_never_met == []


# --- `consensus new` ----------------------------------------------------------------------------------------------------


def test_new_writes_a_node_that_can_be_run_and_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert [consensus("new", "store"), consensus("new", "raft.js", "--language", "node")] == [0, 0]
    assert consensus("new", "third", "--language", "perl") == 0
    assert consensus("new", "store") == 1
    capsys.readouterr()
    assert consensus("new", "other", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "file": "other.py", "language": "python"}
    for name in ("store.py", "raft.js", "third.pl"):
        assert os.access(tmp_path / name, os.X_OK)
        assert f"consensus test ./{name} --workload lin-kv" in (tmp_path / name).read_text()
    assert MaelstromSystem.of_command("./store.py").name == "store.py"
    assert consensus("new", "fourth", "--language", "go") == 0
    assert "  go build -o ./fourth ./fourth.go\n  consensus test ./fourth --workload lin-kv" in capsys.readouterr().out
    assert (
        "//	go build -o ./fourth ./fourth.go\n//	consensus test ./fourth " in (tmp_path / "fourth.go").read_text()
    )
    with pytest.raises(BadSystem, match=r"cannot be executed: build it first, such as by go build -o fourth fourth.go"):
        MaelstromSystem.of_command("./fourth.go")


@pytest.mark.parametrize("program", ["python3", "node", "perl", "go"])
def test_each_template_answers_alike(program: str, tmp_path: Path) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    bodies: list[dict[str, object]] = [
        {"type": "init", "node_id": "n1", "node_ids": ["n1", "n2"]},
        {"type": "echo", "echo": "hello"},
        {"type": "read", "key": 7},
        {"type": "write", "key": 7, "value": 3},
        {"type": "cas", "key": 7, "from": 3, "to": 4},
        {"type": "cas", "key": 7, "from": 3, "to": 5},
        {"type": "read", "key": 7},
        {"type": "dance"},
    ]
    lines = [{"src": "c1", "dest": "n1", "body": {**body, "msg_id": number}} for number, body in enumerate(bodies, 1)]
    ending = {"python3": ".py", "node": ".js", "perl": ".pl", "go": ".go"}[program]
    command = [program, str(templates_folder() / f"node{ending}")]
    if program == "go":
        built = str(tmp_path / "node")
        cache = {**os.environ, "GOCACHE": str(tmp_path / "cache"), "GOFLAGS": "-mod=mod", "GO111MODULE": "auto"}
        subprocess.run(["go", "build", "-o", built, command[1]], check=True, env=cache)
        command = [built]
    done = subprocess.run(
        command,
        input="".join(json.dumps(line) + "\n" for line in lines),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [json.loads(line)["body"] for line in done.stdout.splitlines()]
    assert [answer["in_reply_to"] for answer in answers] == list(range(1, 9))
    assert [answer.get("code", answer["type"]) for answer in answers] == [
        *("init_ok", "echo_ok", 20, "write_ok", "cas_ok", 22, "read_ok", 10),
    ]
    assert [answers[1]["echo"], answers[6]["value"]] == ["hello", 4]


# --- faults -------------------------------------------------------------------------------------------------------------


def test_each_fault_that_can_strike_such_nodes_strikes_and_heals(tmp_path: Path) -> None:
    system = MaelstromSystem((*GOSSIPING, "set"), ready_s=WAIT_S)
    nodes = node_names(4)
    rng = Random(7)
    names = [entry.name for entry in check_strikes(system, (*system.faults, *system.more_faults))]
    assert set(names) == {*system.faults, *system.more_faults}
    with SystemRun(tmp_path / "run", system, nodes, 1, BroadcastWorkload(nodes, 1, 1.0)) as run:
        for name in names:
            entry = find_fault(name)
            drawn = entry.draw(rng, FaultBudget(nodes, nodes, 1, ("gossip",)))
            assert drawn is not None, name
            arguments = {**drawn.arguments, **({"links": "nodes"} if "links" in drawn.arguments else {})}
            arguments.pop("types", None)
            active = entry.fault.inject(
                run, rng, **({**arguments, "within_s": WAIT_S} if name == "kill-at" else arguments)
            )
            if isinstance(active, ConditionalFault):
                wait_until(active.has_bitten, f"{name} had no effect")
            if name in ("starve", "rolling-restart"):
                wait_until(lambda: any(one.evidence for one in run.faults.receipts if one.ended_ns is None))
            active.heal()
            assert {run.cluster.state(node) for node in nodes} == {ProcessState.UP}, name
        struck = {receipt.fault for receipt in run.faults.receipts}
    # Faults that act by others leave the receipts of those.
    assert {*names} - struck <= {"kill-all", "rolling-restart", "kill-at"}
    assert all(receipt.bit for receipt in run.faults.receipts if receipt.fault != "starve")


def test_a_limit_of_files_fails_the_writes_of_a_node_and_excuses_its_end(tmp_path: Path) -> None:
    script = tmp_path / "saves.py"
    script.write_text(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    message = json.loads(line)\n"
        "    open('state', 'a', buffering=1).write(line)\n"
        "    body = {**message['body'], 'in_reply_to': message['body']['msg_id'], 'type': message['body']['type'] + '_ok'}\n"
        "    print(json.dumps({'src': 'n1', 'dest': message['src'], 'body': body}), flush=True)\n"
    )
    system = MaelstromSystem((*PYTHON, str(script)), ready_s=WAIT_S)
    with HeldSystem(tmp_path / "run", system, ("n1",), workload="echo", asks=False) as held:
        with held.inject("file-limit", node="n1"):
            held.call("echo", value="hello", timeout_s=0.05)
            wait_until(lambda: held.run.cluster.state("n1") is ProcessState.DOWN)
        assert held.run.cluster.state("n1") is ProcessState.UP
        assert held.call("echo", value="hello", timeout_s=WAIT_S) == Ok("hello", "n1")
    verdicts = held.judge()
    assert "File too large" in held.run.system.cluster.log("n1").read_text()
    assert "contract" not in verdicts
    (receipt,) = held.faults.receipts
    assert receipt.bit
    assert receipt.evidence["kernel"].startswith("Max file size 0 ")
