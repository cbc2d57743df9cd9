"""The user unit of systemd that `consensus up --systemd` prints."""

import os
import shlex
import sys
from pathlib import Path

_UNIT = """\
# {file}: keep it as ~/.config/systemd/user/{file}, then
#   systemctl --user daemon-reload
#   systemctl --user enable --now {file}
#   loginctl enable-linger          # so that it runs without a login
[Unit]
Description=Consensus Lab cluster in {plain_folder}

[Service]
Type=exec
WorkingDirectory={directory}
ExecStart={command} up --detach-nodes
ExecStop={command} down
# A supervisor that has ended is started again, and adopts the nodes, which have gone on.
KillMode=process
Restart=on-failure
RestartSec=1

[Install]
WantedBy=default.target
"""


def unit(root: Path) -> str:
    """Return the unit for the cluster in `root`, which exists."""
    script = Path(sys.executable).parent / "consensus"
    program = [str(script)] if script.exists() else [sys.executable, "-m", "harness.cli.main"]
    command = " ".join(_quoted(word) for word in (*program, "--dir", str(root)))
    return _UNIT.format(
        file=f"consensus-{_plain(root.parent.name) or 'lab'}.service",
        plain_folder=str(root).replace("%", "%%"),
        directory=os.getcwd().replace("%", "%%"),
        command=command,
    )


def _quoted(word: str) -> str:
    """Return a word of a command as systemd reads it: `%` and `$` stand for themselves."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if shlex.quote(word) == word and "%" not in word else f'"{escaped}"'


def _plain(name: str) -> str:
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name).strip("-")
