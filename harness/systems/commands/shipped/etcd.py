"""A client of etcd, by its JSON gateway over HTTP.

Every operation is linearizable: reads are so by etcd's default, and a compare-and-set is a transaction. Only an answer makes an
outcome definite. etcd's own errors do not: "etcdserver: request timed out" may come for a put that is chosen later, and a leader
that changes says so of requests that it has proposed.
"""

import base64
import http.client
import json
from typing import Any

from harness.systems.commands.client import Call, Outcome, SystemClient, ok, refused, unknown


class EtcdClient(SystemClient):
    """One client. It keeps a connection to each node that it has asked."""

    def __init__(self, addresses: Any) -> None:
        super().__init__(addresses)
        self._connections: dict[str, http.client.HTTPConnection] = {}

    def perform(self, call: Call) -> Outcome:
        key = _coded(call.key)
        match call.f, call.value:
            case "put", value:
                found = self._ask(call, "/v3/kv/put", {"key": key, "value": _coded(value)})
                return ok() if isinstance(found, dict) else found
            case "get", _:
                found = self._ask(call, "/v3/kv/range", {"key": key})
                return ok(_value(found)) if isinstance(found, dict) else found
            case "delete", _:
                found = self._ask(call, "/v3/kv/deleterange", {"key": key})
                return ok(int(found.get("deleted", 0)) > 0) if isinstance(found, dict) else found
            case "cas", [old, new]:
                compare: dict[str, Any] = {"key": key, "result": "EQUAL", "target": "VALUE", "value": _coded(old or "")}
                if old is None:
                    compare = {"key": key, "result": "EQUAL", "target": "VERSION", "version": "0"}
                put = {"requestPut": {"key": key, "value": _coded(new)}}
                found = self._ask(call, "/v3/kv/txn", {"compare": [compare], "success": [put]})
                if not isinstance(found, dict):
                    return found
                return ok(True) if found.get("succeeded") else refused("mismatch")
        return refused(f"etcd has no {call.f} here")

    def _ask(self, call: Call, path: str, body: dict[str, Any]) -> dict[str, Any] | Outcome:
        """Send a request, and return the answer, or the outcome if there is none."""
        assert call.node is not None
        connection = self._connections.get(call.node)
        if connection is None:
            connection = http.client.HTTPConnection(self.address(call.node, "client"), timeout=call.timeout_s)
            self._connections[call.node] = connection
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return unknown(f"{type(error).__name__}: {error}")
        if response.status != http.HTTPStatus.OK:
            return unknown(f"status {response.status}: {data.decode(errors='replace')[:200]}")
        found: dict[str, Any] = json.loads(data)
        return found

    def close(self) -> None:
        """Close every connection."""
        for connection in self._connections.values():
            connection.close()


def _coded(text: object) -> str:
    return base64.b64encode(str(text).encode()).decode()


def _value(found: dict[str, Any]) -> str | None:
    entries = found.get("kvs", [])
    return base64.b64decode(entries[0].get("value", "")).decode() if entries else None
