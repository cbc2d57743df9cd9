"""What a click does: each act goes the way of the command line, through the cluster's supervisor, so it leaves the same traces.

Rules
-----
1. An act that breaks or mends something is a request of the supervisor. It has its receipt, and stands in the plan of the run.
2. A call is recorded by the supervisor, as the verbs' calls are, and sent by a client of its own.
"""

import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from cluster.clients.client import check_call, check_proposal
from cluster.clients.log_client import LogClient
from cluster.clients.operation import Operation
from cluster.clients.operations import kv_delete, kv_get, kv_put, lock_release, lock_try
from cluster.clients.outcomes import NotDone, NotKnown, Ok
from cluster.errors import Unknown, WrongState
from cluster.folder_lock import FolderLock
from cluster.running import RunningCluster
from cluster.spec import open_spec
from cluster.supervisor_file import SupervisorClient
from harness.network.errors import NetworkError
from harness.page.act_table import Act, Acts, ActTable, checked_indices, is_pair
from harness.page.patience import CallPatience
from harness.report.events import value_text
from harness.runs.session_call import SessionCall, parse_value, recorded
from node.contract import BadInput

#: How long a call may wait at most, in seconds.
TIMEOUT_S_MAX: Final = 3600.0
#: How many nodes and links of a fault are named.
_STRIKES_MAX: Final = 6
#: How long a lock is held unless it is released, in seconds.
_LOCK_S: Final = 60.0


class ClusterActs(ActTable):
    """The acts on the cluster in a folder."""

    def __init__(self, root: Path, on_done: Callable[[], None], patience: CallPatience) -> None:
        """Make the acts. `on_done` is called after each, so that its effect shows at once. `patience` moves calls' deadlines."""
        self._root, self._patience = root, patience
        self._making = threading.Lock()
        self._client: LogClient | None = None
        self._client_of = 0
        acts: Acts = {
            **{
                verb: (self._on_nodes(verb, done), {"nodes": str})
                for verb, done in (
                    ("kill", "is dead"),
                    ("suspend", "is suspended"),
                    ("resume", "runs again"),
                    ("restart", "is up again"),
                    ("terminate", "has stopped"),
                )
            },
            "isolate": (self._isolate, {"node": str}),
            "partition": (self._partition, {"groups": str}),
            "cut": (self._cut, {"links": list, "one_way": bool}),
            "inject": (self._inject, {"fault": str, "arguments": dict}),
            "end": (self._end, {"number": int}),
            "heal": (self._heal, {}),
            "deliver": (self._on_held("deliver", "delivered"), {"rule": str, "indices": list}),
            "lose": (self._on_held("lose", "lost"), {"rule": str, "indices": list}),
            "repeat": (self._on_held("repeat", "delivered, and held still"), {"rule": str, "indices": list}),
            "propose": (self._propose, {"name": str, "value": str, "at": str, "timeout_s": float}),
            "query": (self._query, {"name": str, "at": str, "timeout_s": float}),
            "put": (self._put, {"key": str, "value": str, "timeout_s": float}),
            "get": (self._get, {"key": str, "timeout_s": float}),
            "delete": (self._delete, {"key": str, "timeout_s": float}),
            "acquire": (self._acquire, {"name": str, "owner": str, "timeout_s": float}),
            "release": (self._release, {"name": str, "token": int, "timeout_s": float}),
            "start": (self._start, {}),
        }
        super().__init__(acts, on_done)

    def _ask(self, verb: str, **arguments: Any) -> Any:
        return SupervisorClient(self._root).ask(verb, **arguments)

    # --- nodes, links, faults -------------------------------------------------------------------------------------------

    def _on_nodes(self, verb: str, done: str) -> Act:
        def act(nodes: str) -> str:
            proofs = self._ask(verb, nodes=nodes)
            return "; ".join(f"{proof['node']} {done}{_details(proof)}" for proof in proofs)

        return act

    def _isolate(self, node: str) -> str:
        self._ask("isolate", node=node)
        return f"{node} is cut from all others"

    def _partition(self, groups: str) -> str:
        self._ask("partition", groups=groups)
        return f"cut: {groups}"

    def _cut(self, links: list[Any], one_way: bool) -> str:
        """Cut links between nodes, each in one direction or both."""
        if not links or not all(map(is_pair, links)):
            raise BadInput("links are a list of pairs of nodes, such as [n1, n2]")
        for one, other in links:
            self._ask("link", senders=[one], receivers=[other], one_way=one_way, spoil={"cut": True})
        arrow = "→" if one_way else "↔"
        return f"cut: {', '.join(f'{one} {arrow} {other}' for one, other in links)}"

    def _inject(self, fault: str, arguments: dict[str, Any]) -> str:
        given = {
            name: parse_value(value) if isinstance(value, str) else value
            for name, value in arguments.items()
            if value != ""
        }
        injected = self._ask("inject", name=fault, arguments=given)
        struck = _strikes(injected)
        if injected["in_force"]:
            return f"{fault} is in force" + (f": {struck}" if struck else "")
        return f"{fault} waits for its trigger" if "message" in given else f"{fault} has begun, and is not in force yet"

    def _end(self, number: int) -> str:
        return f"{self._ask('end', number=number)} has ended"

    def _heal(self) -> str:
        healed = self._ask("heal")
        not_up = "; ".join(f"{node} is {how}" for node, how in healed["not_up"].items())
        return "every link is whole" + (f"; {not_up}" if not_up else "")

    def _on_held(self, verb: str, done: str) -> Act:
        def act(rule: str, indices: list[Any]) -> str:
            for number, index in enumerate(checked_indices(indices)):
                try:
                    self._ask(verb, rule=rule, index=index)
                except NetworkError as error:  # it was let go meanwhile
                    if not number:
                        raise
                    return f"{number} of {len(indices)} messages are {done}: {error}"
            return f"message {indices[0]} is {done}" if len(indices) == 1 else f"{len(indices)} messages are {done}"

        return act

    def _start(self) -> str:
        """Start the cluster of the folder again, after its end."""
        from harness.runs.serve import serve_detached  # noqa: PLC0415 - seldom needed

        lock = FolderLock(self._root)
        try:
            lost = serve_detached(open_spec(self._root), lock, record="page", outliving=False)
        finally:
            lock.release()
        return "the cluster is up again" + (f"; {'; '.join(lost)}" if lost else "")

    # --- calls ----------------------------------------------------------------------------------------------------------

    def _propose(self, name: str, value: str, at: str, timeout_s: float) -> str:
        proposed = parse_value(value)
        check_proposal(name, proposed)
        return self._call("propose", name, proposed, at, timeout_s)

    def _query(self, name: str, at: str, timeout_s: float) -> str:
        check_call(name)
        return self._call("query", name, None, at, timeout_s)

    def _call(self, f: str, name: str, value: Any, at: str, timeout_s: float) -> str:
        cluster, limit_s = RunningCluster(self._root, records_calls=True), _checked_timeout(timeout_s)
        node = at or None
        state = cluster.control.ask("where")["states"].get(node) if node else "up"
        if state is None or state == "down":
            raise WrongState(f"{node} is {state or 'no node'}, and was not asked: restart it, or ask another node")
        with cluster.client("page") as client:
            call = SessionCall(cluster.control, f, name, value, limit_s, node)
            self._on_done()
            asks = client.begin_query if f == "query" else partial(client.begin_propose, value=value)
            begun = asks(name, at=node, timeout_s=limit_s)
            with self._patience.of(begun, limit_s) as waiting:
                outcome = client.wait(begun)
            if isinstance(outcome, NotKnown) and waiting.stood:
                outcome = NotKnown(f"{outcome.reason}, since messages and clocks were let go")
            call.outcome(outcome)
        match outcome:
            case Ok(answer, answered):
                return f"{answered} answers: {'undecided' if answer is None else value_text(answer)}"
            case NotDone(_, reason):
                raise WrongState(f"refused: {reason}")
            case NotKnown(reason):
                raise Unknown(reason)
        raise AssertionError(outcome)

    def _put(self, key: str, value: str, timeout_s: float) -> str:
        content = parse_value(value)
        return self._on_log("put", key, content, timeout_s, kv_put(key, content))

    def _get(self, key: str, timeout_s: float) -> str:
        return self._on_log("get", key, None, timeout_s, kv_get(key))

    def _delete(self, key: str, timeout_s: float) -> str:
        return self._on_log("delete", key, None, timeout_s, kv_delete(key))

    def _acquire(self, name: str, owner: str, timeout_s: float) -> str:
        value = {"owner": owner, "lease_s": _LOCK_S, "waits": False}
        return self._on_log("acquire", name, value, timeout_s, lock_try(name, owner, _LOCK_S))

    def _release(self, name: str, token: int, timeout_s: float) -> str:
        return self._on_log("release", name, {"token": token}, timeout_s, lock_release(name, token))

    def _on_log(self, f: str, key: str, value: Any, timeout_s: float, asked: Operation[Any]) -> str:
        limit_s = _checked_timeout(timeout_s)
        client, control = self._log_client()
        with recorded(control, f, key, value, limit_s) as call:
            self._on_done()
            begun = client.begin(asked.machine, asked.command, read=asked.read, timeout_s=limit_s)
            with self._patience.of(begun, limit_s):
                answer = asked.decode(client.result(begun))
            call.ok(answer)
        return f"{f} {key}: {value_text(answer)}"

    def _log_client(self) -> tuple[LogClient, SupervisorClient]:
        """Return one client for all calls of the page, since a lock belongs to the session of the client that has acquired it."""
        cluster = RunningCluster(self._root, records_calls=True)
        with self._making:
            if self._client is None or self._client_of != cluster.control.pid:
                if self._client is not None:
                    self._client.close()
                self._client, self._client_of = cluster.log_client("page"), cluster.control.pid
            return self._client, cluster.control

    def close(self) -> None:
        """Close the client of the calls."""
        with self._making:
            if self._client is not None:
                self._client.close()


def _details(proof: Mapping[str, Any]) -> str:
    details = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in proof.items() if key != "node")
    return f" ({details})" if details else ""


def _strikes(injected: Mapping[str, Any]) -> str:
    """Return what a fault strikes, for people."""
    strikes = injected["strikes"]
    if strikes and injected["arguments"].get("links") == "nodes":
        return "every link between nodes"
    return ", ".join(strikes[:_STRIKES_MAX]) + (
        f" and {len(strikes) - _STRIKES_MAX} more" if len(strikes) > _STRIKES_MAX else ""
    )


def _checked_timeout(timeout_s: float) -> float:
    """Return the timeout. Raises BadInput if it is out of its range."""
    if not 0 < timeout_s <= TIMEOUT_S_MAX:
        raise BadInput(f"the timeout is {timeout_s} seconds: give a number above 0, up to {TIMEOUT_S_MAX:.0f}")
    return float(timeout_s)
