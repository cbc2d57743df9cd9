"""A client of Redis with Sentinel: it asks a sentinel who is master, and keeps its connection until that breaks.

It does what Redis's guide for Sentinel clients asks for: it asks the sentinel of its node, connects to the master that it names,
and asks again after each error. What was sent and not answered is unknown. Only these are refusals: what never left, and errors
by which Redis says that it has not executed the command.
"""

from typing import Any

from harness.systems.commands.client import Call, Outcome, SystemClient, ok, refused, unknown
from harness.systems.commands.shipped.resp import MASTER, RedisError, Resp

#: Redis has not executed the command.
_NOT_DONE = ("READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "NOAUTH", "OOM")
#: Sets a key if its value is another one: 1 if it was.
_CAS = """
local old = redis.call('GET', KEYS[1])
if old ~= ARGV[1] and not (old == false and ARGV[3] == 'none') then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


class RedisClient(SystemClient):
    """One client."""

    def __init__(self, addresses: Any) -> None:
        super().__init__(addresses)
        self._master: Resp | None = None

    def perform(self, call: Call) -> Outcome:
        try:
            master = self._connected(call)
        except (OSError, RedisError, ValueError) as error:
            return refused(f"nothing was sent: {type(error).__name__}: {error}")
        try:
            return self._ask(master, call)
        except RedisError as error:
            self.close()
            return refused(str(error)) if error.code in _NOT_DONE else unknown(str(error))
        except (OSError, ValueError) as error:
            self.close()
            return unknown(f"{type(error).__name__}: {error}")

    def _connected(self, call: Call) -> Resp:
        """Return the connection to the master. Raises OSError or RedisError; nothing was sent then that changes anything."""
        if self._master is None:
            sentinel = Resp(self.address(call.node, "sentinel"), call.timeout_s / 4)
            try:
                found = sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
            finally:
                sentinel.close()
            if found is None:
                raise ConnectionError("the sentinel knows no master")
            master = Resp(f"{found[0]}:{found[1]}", call.timeout_s / 2)
            try:
                role = master.ask("ROLE")[0]
                if role != "master":
                    raise ConnectionError(f"the node that the sentinel names is a {role}")
            except BaseException:
                master.close()
                raise
            self._master = master
        return self._master

    @staticmethod
    def _ask(master: Resp, call: Call) -> Outcome:
        match call.f, call.value:
            case "put", value:
                master.ask("SET", call.key, str(value))
                return ok()
            case "get", _:
                return ok(master.ask("GET", call.key))
            case "delete", _:
                return ok(master.ask("DEL", call.key) == 1)
            case "cas", [old, new]:
                done = master.ask(
                    "EVAL", _CAS, "1", call.key, str(old or ""), str(new), "none" if old is None else "some"
                )
                return ok(True) if done == 1 else refused("mismatch")
        return refused(f"there is no {call.f} here")

    def close(self) -> None:
        """Close the connection to the master."""
        if self._master is not None:
            self._master.close()
            self._master = None
