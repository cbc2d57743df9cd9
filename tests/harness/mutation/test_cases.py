"""Which lines a case reaches."""

from pathlib import Path

from harness.mutation.cases import LineTracer

SOURCE = "def f(a):\n    if a:\n        return 1\n    return sum(\n        a for a in range(9)\n    )\n"


def test_the_lines_of_each_block_are_seen_however_often_they_run(tmp_path: Path) -> None:
    path = tmp_path / "some.py"
    space: dict[str, object] = {}
    exec(compile(SOURCE, str(path), "exec"), space)  # noqa: S102 - what it defines is traced
    function = space["f"]
    assert callable(function)
    tracer = LineTracer({"some": str(path)})
    seen = []
    for arguments in ([0, 0, 0, 1], [1, 1], [1, 0], []):
        with tracer.on():
            for argument in arguments:
                function(argument)
        seen.append(tracer.seen().get("some", frozenset()))
    assert seen == [{1, 2, 3, 4, 5}, {1, 2, 3}, {1, 2, 3, 4, 5}, frozenset()]
