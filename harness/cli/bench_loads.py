"""The benchmarks of loads: `consensus bench throughput`, `latency`, `reads`, `scale` and `watchers`."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from harness.cli.convention import print_json, print_stderr, verb
from harness.cli.parameters import FloatRange, Function, log_parameter

if TYPE_CHECKING:
    from harness.bench.load import Load, Shape


class CommaSeparated(click.ParamType[tuple[Any, ...]]):
    """A parameter type: several values, separated by commas. `read` converts one of them, or raises ValueError."""

    def __init__(self, name: str, example: str, read: Callable[[str], Any]) -> None:
        self.name, self._example, self._read = name, example, read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Return the values.

        Raises:
            BadParameter: `read` refused one of them.
        """
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self._read(part) for part in str(value).split(","))
        except ValueError as error:
            self.fail(f"{value!r}: {error}; an example is {self._example}", param, ctx)


def numbers(least: int, most: int, example: str) -> CommaSeparated:
    """Return a parameter type: whole numbers from `least` to `most`, separated by commas."""

    def read(text: str) -> int:
        number = int(text)
        if not least <= number <= most:
            raise ValueError(f"{number} is not from {least} to {most}")
        return number

    return CommaSeparated("numbers", example, read)


def _read_shape(text: str) -> "Shape":
    from harness.bench.load import Shape  # noqa: PLC0415 - only the benchmarks of loads need it

    in_flight, _, connections = text.partition(":")
    shape = Shape(int(in_flight), int(connections))
    if not 1 <= shape.connections <= shape.in_flight <= 10_000 or shape.in_flight % shape.connections:
        raise ValueError(
            f"{text} is not CALLS:CONNECTIONS, with at most 10000 calls, spread evenly over the connections"
        )
    return shape


def _load_options(seconds: float) -> Callable[[Function], Function]:
    """Return a decorator that adds the options that all benchmarks of loads have."""

    def add(command: Function) -> Function:
        command = log_parameter(command)
        command = click.option(
            "--against",
            type=click.Choice(["etcd", "pysyncobj"]),
            help="Measure this peer in the same run, too, if it is installed here.",
        )(command)
        return click.option(
            "--time",
            "seconds",
            type=FloatRange(0.1, 600),
            default=seconds,
            show_default=True,
            help="Seconds for each figure.",
        )(command)

    return add


nodes_option = click.option(
    "-n", "--nodes", type=click.IntRange(1, 15), default=3, show_default=True, help="How many nodes."
)
_shapes_option = click.option(
    "--shapes",
    type=CommaSeparated("shapes", "256:16,1:1", _read_shape),
    default="256:16,256:256,1:1",
    show_default=True,
    help="CALLS:CONNECTIONS, calls in flight and connections.",
)
value_option = click.option(
    "--value-bytes", type=click.IntRange(1, 65536), default=100, show_default=True, help="The size of a value."
)


@verb()
@nodes_option
@value_option
@_shapes_option
@_load_options(5.0)
def throughput(
    nodes: int,
    value_bytes: int,
    shapes: "tuple[Shape, ...]",
    seconds: float,
    against: str | None,
    algorithm: str,
    as_json: bool,
) -> None:
    """Measure durable puts per second on a log.

    The floor is the same messages and syncs without consensus. --against adds a peer.
    """
    from harness.bench.load import Load  # noqa: PLC0415 - see harness.cli.verbs

    _compare({nodes: [Load(shape, seconds, value_bytes) for shape in shapes]}, against, algorithm, as_json)


@verb()
@nodes_option
@value_option
@click.option(
    "--in-flight", type=numbers(1, 10_000, "1,16"), default="1,4,16,64", show_default=True, help="Calls in flight."
)
@_load_options(5.0)
def latency(
    nodes: int,
    value_bytes: int,
    in_flight: tuple[int, ...],
    seconds: float,
    against: str | None,
    algorithm: str,
    as_json: bool,
) -> None:
    """Measure how long a durable put takes, with one and with several in flight on one connection.

    A histogram follows the table.
    """
    from harness.bench.load import Load, Shape  # noqa: PLC0415 - see harness.cli.verbs

    loads = [Load(Shape(each, 1), seconds, value_bytes) for each in in_flight]
    rows = _compare({nodes: loads}, against, algorithm, as_json)
    if not as_json:
        for row in rows:
            print(f"\n{row['in_flight']} in flight: calls by their latency, in milliseconds at most")
            _print_histogram(row["histogram"])


@verb()
@nodes_option
@value_option
@_shapes_option
@click.option(
    "--percent",
    type=numbers(1, 100, "100,50"),
    default="100,50",
    show_default=True,
    help="Which percentage of the calls are reads.",
)
@_load_options(5.0)
def reads(
    nodes: int,
    value_bytes: int,
    shapes: "tuple[Shape, ...]",
    percent: tuple[int, ...],
    seconds: float,
    against: str | None,
    algorithm: str,
    as_json: bool,
) -> None:
    """Measure linearizable reads per second, and reads mixed with puts. A quorum confirms each read."""
    from harness.bench.load import Load  # noqa: PLC0415 - see harness.cli.verbs

    loads = [Load(shape, seconds, value_bytes, part / 100) for part in percent for shape in shapes]
    _compare({nodes: loads}, against, algorithm, as_json)


@verb()
@click.option(
    "-n", "--nodes", type=numbers(1, 15, "3,5,7"), default="3,5,7", show_default=True, help="Numbers of nodes."
)
@click.option(
    "--value-bytes",
    type=numbers(1, 65536, "100,1024"),
    default="100,1024,16384,65536",
    show_default=True,
    help="Sizes of a value.",
)
@_load_options(3.0)
def scale(
    nodes: tuple[int, ...],
    value_bytes: tuple[int, ...],
    seconds: float,
    against: str | None,
    algorithm: str,
    as_json: bool,
) -> None:
    """Measure durable puts and megabytes per second by the number of nodes and the size of values, with 256 in flight."""
    from harness.bench.load import SHAPES, Load  # noqa: PLC0415 - see harness.cli.verbs

    _compare(
        {count: [Load(SHAPES[0], seconds, size) for size in value_bytes] for count in nodes},
        against,
        algorithm,
        as_json,
    )


@verb()
@nodes_option
@click.option(
    "--watchers",
    "counts",
    type=numbers(0, 30_000, "0,1000"),
    default="0,100,1000,10000",
    show_default=True,
    help="Numbers of idle watchers. The first one is the floor of the others.",
)
@click.option(
    "--shape",
    type=CommaSeparated("shape", "1:1", _read_shape),
    default="1:1",
    show_default=True,
    help="CALLS:CONNECTIONS, puts in flight and connections.",
)
@click.option("--rounds", type=click.IntRange(1), default=40, show_default=True, help="Turns of each number.")
@click.option(
    "--time", "seconds", type=FloatRange(0.1, 600), default=0.4, show_default=True, help="Seconds for each turn."
)
@click.option(
    "--per-client",
    type=click.IntRange(1, 30_000),
    default=1_000,
    show_default=True,
    help="Watchers that share a client; each client has a connection, and asks for all its watches at once.",
)
@click.option(
    "--hold",
    type=FloatRange(0.1, 3600),
    default=5.0,
    show_default=True,
    help="Seconds without puts for each number, to measure what the watchers cost by themselves.",
)
@log_parameter
def watchers(
    nodes: int,
    counts: tuple[int, ...],
    shape: "tuple[Shape, ...]",
    rounds: int,
    seconds: float,
    per_client: int,
    hold: float,
    algorithm: str,
    as_json: bool,
) -> None:
    """Measure puts per second beside idle watchers, which watch keys that nothing changes.

    The numbers of watchers take short turns, upwards and downwards. A row is the median of its turns, and its ratio to the
    first row has an interval that contains the true median with 95 % confidence. The last lines say whether all rows are within
    a tenth of each other: "shown" if the intervals say so, "refuted" if they say that it is not so, and else "not shown",
    which more rounds may change. Other work on the machine changes puts per second much, and the processor time of a put little.
    "idle ms/s" is the processor time that all nodes use in a second without puts.
    """
    from harness.bench.watchers import watchers as measure  # noqa: PLC0415 - see harness.cli.verbs

    found = measure(counts, nodes, shape[0], seconds, rounds, print_stderr, algorithm, per_client, hold)
    if as_json:
        print_json(**found)
        return
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "watchers": lambda row: f"{row['watchers']:,}",
        "puts/s": lambda row: _number(row["puts_per_s"]),
        "of the first": lambda row: _interval(row, "ratio"),
        "leader us/put": lambda row: _number(row["leader_us"]),
        "nodes us/put": lambda row: _number(row["nodes_us"]),
        "of the first ": lambda row: _interval(row, "processor_ratio"),
        "idle ms/s": lambda row: f"{row['idle_ms_per_s']:.1f}",
    }
    print_table(found["rows"], columns)
    print(f"within a tenth of each other, puts per second: {found['within_a_tenth']}")
    print(f"within a tenth of each other, processor time of a put: {found['processor_within_a_tenth']}")
    print(f"{found['rows'][0]['woken']} watchers saw a change, and {found['rows'][0]['ended']} ended")


def _interval(row: "Mapping[str, Any]", name: str) -> str:
    return f"{row[name]:.2f} ({row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f})"


def _compare(
    loads: "Mapping[int, Sequence[Load]]", against: str | None, algorithm: str, as_json: bool
) -> list[dict[str, Any]]:
    """Measure the loads of each number of nodes, print the rows, and return them."""
    from harness.bench.compare import compare  # noqa: PLC0415 - see harness.cli.verbs

    rows = [row for nodes, some in loads.items() for row in compare(nodes, some, against, print_stderr, algorithm)]
    if as_json:
        print_json(rows=rows)
        return rows
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "nodes": lambda row: str(row["nodes"]),
        "bytes": lambda row: f"{row['value_bytes']:,}",
        "reads": lambda row: f"{row['reads']:.0%}",
        "in flight": lambda row: f"{row['in_flight']} on {row['connections']}",
        "calls/s": lambda row: _number(row["ours_per_s"]),
        "MB/s": lambda row: f"{row['ours_mb_per_s']:.1f}",
        "p50 ms": lambda row: f"{row['p50_ms']:.2f}",
        "p90": lambda row: f"{row['p90_ms']:.2f}",
        "p99": lambda row: f"{row['p99_ms']:.2f}",
        "max": lambda row: f"{row['max_ms']:.1f}",
        "failed": lambda row: str(row["failed"]),
        "fsyncs/call": lambda row: f"{row['fsyncs_per_decision']:.3f}",
        "floor/s": lambda row: _number(row["floor_per_s"]),
        "floor p50": lambda row: f"{row['floor_p50_ms']:.2f}",
    }
    if against:
        columns |= {
            f"{against}/s": lambda row: _number(row["peer_per_s"]),
            "its p50": lambda row: "-" if row["peer_p50_ms"] is None else f"{row['peer_p50_ms']:.2f}",
            "its p99": lambda row: "-" if row["peer_p99_ms"] is None else f"{row['peer_p99_ms']:.2f}",
            "ratio": lambda row: "-" if row["ratio"] is None else f"{row['ratio']:.1f}",
        }
    print_table(rows, columns)
    if against:
        print(f"{rows[0]['peer']}: not durable: {rows[0]['peer_not_durable'] or 'nothing; it syncs before it answers'}")
    return rows


def print_table(rows: list[dict[str, Any]], columns: dict[str, Callable[[dict[str, Any]], str]]) -> None:
    """Print rows under their titles, aligned to the right.

    Args:
        rows: the rows.
        columns: the text of a row's cell, by the column's title.
    """
    lines = [list(columns), *([shown(row) for shown in columns.values()] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def _number(number: float | None) -> str:
    return "-" if number is None else f"{number:,.0f}"


def _print_histogram(buckets: list[dict[str, Any]]) -> None:
    most = max((bucket["calls"] for bucket in buckets), default=1)
    for bucket in buckets:
        bound = "more" if bucket["up_to_ms"] is None else f"{bucket['up_to_ms']:g}"
        print(f"{bound:>6} {'#' * round(50 * bucket['calls'] / most):<50} {bucket['calls']:,}")
