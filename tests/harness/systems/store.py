"""A system of commands for the tests: a store in memory, with clients of which one lies."""

import sys
from pathlib import Path

#: A store in memory: "put KEY VALUE" and "get KEY", one line each.
STORE = """
import socket, sys, threading
data = {}
def serve(one):
    for line in one.makefile():
        f, key, *rest = line.split()
        if f == "put":
            data[key] = rest[0]
        one.sendall((data.get(key, "-") + "\\n").encode())
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""
CLIENT = """
import socket
from harness.systems.commands.client import SystemClient, ok, refused, unknown

class StoreClient(SystemClient):
    WAITS_S = 0.1

    def perform(self, call):
        host, port = self.address(call.node).split(":")
        try:
            with socket.create_connection((host, int(port)), self.WAITS_S or call.timeout_s) as one:
                one.sendall(f"{call.f} {call.key} {call.value}\\n".encode())
                answer = one.makefile().readline().strip()
        except TimeoutError:
            return self.timed_out()
        except OSError as error:
            return unknown(str(error))
        if not answer:
            return unknown("the connection was closed")
        return ok(None if call.f == "put" or answer == "-" else answer)

    def timed_out(self):
        return unknown("no answer in time")

class Patient(StoreClient):
    WAITS_S = 2.0

class AsPatientAsAsked(StoreClient):
    WAITS_S = None

class Liar(StoreClient):
    def timed_out(self):
        return refused("no answer in time")
"""


def store_in_memory(folder: Path, client: str = "Patient") -> Path:
    """Write a store in memory, its client and its TOML file into a folder. Returns the file."""
    (folder / "store.py").write_text(STORE)
    (folder / "client.py").write_text(CLIENT)
    (folder / "store.toml").write_text(
        f'name = "store"\ncommand = ["{sys.executable}", "-I", "-S", "{{here}}/store.py", "{{client_port}}"]\n'
        'ports = ["client"]\nworkloads = ["put-get"]\n'
        f'[ready]\nport = "client"\nwithin_s = 60\n[client]\nclass = "client.py:{client}"\n'
    )
    return folder / "store.toml"
