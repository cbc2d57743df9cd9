"""A client of a PySyncObj node: it asks over HTTP. Only the node's 409 says that a command was not executed."""

import contextlib
import http.client
import json

from harness.systems.commands.client import Call, Outcome, SystemClient, ok, refused, unknown


class PySyncObjClient(SystemClient):
    """One client. Each call has a connection of its own."""

    def perform(self, call: Call) -> Outcome:
        connection = http.client.HTTPConnection(self.address(call.node, "client"), timeout=call.timeout_s)
        body = json.dumps({"f": call.f, "key": call.key, "value": call.value})
        with contextlib.closing(connection):
            try:
                connection.request("POST", "/", body)
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                return unknown(f"{type(error).__name__}: {error}")
        match response.status:
            case http.HTTPStatus.OK if call.f == "cas" and answer["value"] is False:
                return refused("mismatch")
            case http.HTTPStatus.OK:
                return ok(answer["value"])
            case http.HTTPStatus.CONFLICT:
                return refused(f"PySyncObj's error {answer['error']}")
        return unknown(f"status {response.status}: {answer}")
