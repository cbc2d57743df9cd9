"""Nodes that speak Maelstrom's protocol. See ../README.md."""

from pathlib import Path


def templates_folder() -> Path:
    """Return the folder of the nodes from which `consensus new` starts one."""
    return Path(__file__).parent / "templates"
