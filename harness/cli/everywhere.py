"""What `consensus ps --all` and `consensus down --orphans` do: the processes of all clusters of this user."""

from cluster.left_running import ClusterProcess, cluster_processes, end_left_over
from harness.cli.convention import print_json, print_stderr


def show_all(*, as_json: bool) -> None:
    """Show every process of a cluster of this user, in any folder."""
    found = cluster_processes()
    if as_json:
        print_json(processes=[one.to_json() for one in found])
        return
    from rich.console import Console  # noqa: PLC0415 - costs 80 ms
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("folder", "process", "pid", "state", ""):
        table.add_column(title, justify="right" if title == "pid" else "left", overflow="fold")
    for one in found:
        note = Text(f"left over: {one.left_over}", "red") if one.left_over else Text("")
        table.add_row(str(one.folder or one.mark.folder), one.mark.role, str(one.process.pid), one.process.state, note)
    Console().print(table)
    if any(one.left_over for one in found):
        print_stderr("`consensus down --orphans` ends what is left over")


def end_orphans(*, as_json: bool) -> None:
    """End every process of a cluster of this user that nobody can command any more, and say which."""
    orphans = [one for one in cluster_processes() if one.left_over]
    end_left_over(orphans)
    for one in orphans:
        print_stderr(_ended(one))
    if not orphans:
        print_stderr("nothing is left over: `consensus ps --all` shows what runs")
    if as_json:
        print_json(ended=[one.to_json() for one in orphans])


def _ended(one: ClusterProcess) -> str:
    return f"ended {one.mark.role} (process {one.process.pid}) of {one.folder or one.mark.folder}: {one.left_over}"
