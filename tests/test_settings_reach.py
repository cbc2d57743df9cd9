"""Every number in capitals that shapes what nodes and clients do is a setting, or stands below with the reason why not."""

import ast
from collections.abc import Iterator
from pathlib import Path

from node.tuning import SETTINGS

ROOT = Path(__file__).resolve().parent.parent
ROOMS = (
    "node",
    "node/storage",
    "node/algorithms",
    "node/algorithms/multipaxos",
    "node/algorithms/raft",
    "node/machines",
    "node/replication",
    "cluster/clients",
)

TEACHING = (
    "a page of teaching, which repeats what is idempotent, or grows by itself; clocks that run wrong stretch its timers"
)
API = "what clients may send, the same for all versions that talk to each other; more is refused before it reaches any state"
FORMAT = "a format on the disk or on the wire"
SHOWN = "what a person is shown; nothing else rests on it"
POLL = "how long a wait lasts at most that ends early when there is something to do"
EXITS = "an exit status"

#: Constants that no setting replaces, each with the reason.
EXCEPTIONS = {
    "node/algorithms/failover.py": {"_ALIVE_S": TEACHING, "_SILENT_S": TEACHING, "_GROWTHS_MAX": TEACHING},
    "node/algorithms/leader.py": {"_ASK_AGAIN_S": TEACHING},
    "node/algorithms/majority.py": {"_AGAIN_S": TEACHING},
    "node/algorithms/paxos.py": {"_RETRY_S": TEACHING},
    "node/replication/clients.py": {"_FRAME_BYTES_MAX": API},
    "node/replication/doubt.py": {
        "ROUNDS_AT_ONCE": "safety rests on it: more could repeat a ballot",
        "ROUNDS_SKIPPED": "safety rests on it: fewer could repeat a ballot",
    },
    "node/replication/leader.py": {"BEAT_S": "BEAT_MS in seconds"},
    "node/replication/replica.py": {"_STATUS_VALUES_MAX": SHOWN},
    "node/dispatch.py": {"TIMEOUT_S_MAX": API},
    "node/fork_server.py": dict.fromkeys(
        (
            "_CHANGED", "_CLOCK_STEP_NS", "_CLONE_CHILD_CLEARTID", "_CLONE_CHILD_SETTID", "_CLONE_PARENT",
            "_DESCRIPTORS_MAX", "_NO_FILE",
        ),
        "of the kernel and of the server that forks nodes; no node runs by them",
    ),
    "node/client_messages.py": {"STATUS_VARIABLES_MAX": SHOWN},
    "node/launcher.py": dict.fromkeys(("EXIT_INTERNAL", "EXIT_DISK", "EXIT_CONFIG"), EXITS),
    "node/machine.py": {"BEAT_MS": "the grain of the log's time, which the contract of machines states; settings count in it"},
    "node/machines/kv.py": {"KEY_CHARS_MAX": API, "VALUE_BYTES_MAX": API},
    "node/machines/leases.py": {
        "LEASE_MS_MIN": API,
        "NAME_BYTES_MAX": API,
        "_DROPPED_MAX": "it is so small that each run with leases reaches it",
    },
    "node/machines/members.py": {"DETAILS_BYTES_MAX": API},
    "node/message_fields.py": {"_INT_LEAST": FORMAT, "_INT_MOST": FORMAT},
    "node/replication/new_cluster.py": {"NUMBERS_PER_MS": "an old cluster and its successor must share it"},
    "node/replication/state.py": dict.fromkeys(("_MARK_EVERY", "_MARKS_MAX"), "what judges compare; no replica reads it"),
    "node/runtime.py": {"_IDLE_S": POLL},
    "node/settings.py": {"NODES_MAX": API},
    "node/status.py": dict.fromkeys(("BYTES_MAX", "SHOWN_BYTES_MAX"), SHOWN),
    "node/storage/disk.py": {
        "_LOCK_WAIT_MS": "how long the kernel takes to end the threads of a killed process",
        "_LOOK_EVERY_S": "a node whose folder is gone ends within two seconds, as the guide of the service promises",
    },
    "node/storage/log_store.py": {"_ALL": "above any slot"},
    "node/storage/disk_contents.py": {"PAGE_BYTES": FORMAT, "WAL_GROWN_BYTES": FORMAT},
    "node/storage/free_space.py": {"FULL_BELOW_BYTES": "SQLite writes whole pages, and a commit has several"},
    "node/storage/last_seen.py": {"_BYTES": FORMAT},
    "node/timers.py": {"_SPARE": "when the heap is packed; no timer expires at another time"},
    "node/transport.py": {
        "_BACKLOG": "of the kernel, which has a limit of its own",
        "_ASKED_MESSAGES": "which of two calls finds a waiting message; both find it",
        "_LINGER_MS": "of a node that ends",
        "_ROUTE_FRAMES_MAX": FORMAT,
        "_MESSAGE_BYTES_MAX": FORMAT,
    },
    "node/tuning.py": dict.fromkeys(("KIB", "MIB", "_MANY"), "units, in which the settings are written"),
    "node/wire.py": {
        **dict.fromkeys(
            (
                "VERSION", "VALUE_BYTES_MAX", "VALUE_DEPTH_MAX", "_WRAPPER_DEPTH_MAX", "FRAME_BYTES_MAX", "TUPLE_EXT",
                "CHECKSUM_BYTES",
            ),
            FORMAT,
        ),
        "_BUFFER_BYTES_MAX": "when memory is given back; what is packed is the same",
    },
    "node/wording.py": {"_NEAREST_MAX": SHOWN, "_SIMILARITY_MIN": SHOWN},
    "cluster/clients/client.py": {"TIMEOUT_S": "the default of an argument", "_STEP_S": POLL},
    "cluster/clients/connections.py": {"_SOCKETS_MAX": "a limit of libzmq"},
    "cluster/clients/lease_renewal.py": {"_SHORTEST_S": POLL},
    "cluster/clients/lock_queue.py": {"LEAST_S": "a reply's time when the caller's is nearly up; the caller's is drawn"},
    "cluster/clients/log_call.py": {"COMMAND_BYTES_MAX": API},
    "cluster/clients/log_client.py": {"_STEP_S": POLL},
    "cluster/clients/operation.py": {
        "TIMEOUT_S": "the default of an argument",
        "TTL_S": "the default of an argument",
        "PAGE": "an answer has at most `kv_answer_entries` or `members_answer`, which are settings",
        "_STREAM_WAIT_S": "a leader ends a watch that its client does not ask for after `watch_beats`, which is a setting",
        "_SECONDS_MAX": API,
    },
}  # fmt: skip


def numbers(source: str) -> Iterator[str]:
    """Yield the names in capitals that a module sets to a number, to a tuple of numbers, or to arithmetic on numbers."""
    for statement in ast.parse(source).body:
        match statement:
            case (
                ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                | ast.Assign(targets=[ast.Name(id=name)], value=value)
            ) if name.isupper() and _is_number(value):
                yield name


def _is_number(value: ast.expr) -> bool:
    match value:
        case ast.Constant(value=int() | float() as number):
            return not isinstance(number, bool)
        case ast.Tuple(elts=[_, *_] as items):
            return all(map(_is_number, items))
        case ast.UnaryOp(operand=operand):
            return _is_number(operand)
        case ast.BinOp(left=left, right=right):
            return any(_is_number(side) or isinstance(side, ast.Name) for side in (left, right)) and not any(
                isinstance(side, ast.Constant) and isinstance(side.value, str) for side in (left, right)
            )
    return False


def test_every_number_is_a_setting_or_an_exception() -> None:
    found = {
        str(path.relative_to(ROOT)): set(names)
        for room in ROOMS
        for path in sorted((ROOT / room).glob("*.py"))
        if (names := list(numbers(path.read_text())))
    }
    assert found == {path: set(reasons) for path, reasons in EXCEPTIONS.items()}


def test_the_finder_finds_numbers() -> None:
    source = (
        'A: Final = 3\n_B_S = (0.1, 0.2)\nC: Final = 2 * 1024 * K\nD = "x"\nE = frozenset()\nf = 3\nG: Final = -1.5\n'
    )
    assert list(numbers(source)) == ["A", "_B_S", "C", "G"]


def test_every_setting_is_read_by_the_code() -> None:
    sources = "\n".join(
        path.read_text() for room in ROOMS for path in (ROOT / room).glob("*.py") if path.name != "tuning.py"
    )
    assert [name for name in SETTINGS if f"tuning.{name}" not in sources] == []
