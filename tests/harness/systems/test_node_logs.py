"""The last words of a node, as people read them."""

from pathlib import Path

from harness.systems.node_logs import NodeLogs


def test_a_line_that_comes_in_parts_is_one_of_the_last_words(tmp_path: Path) -> None:
    logs = NodeLogs(tmp_path / "logs", ("n1",))
    for part in (b"hello from", b" n1\n", b"\n", b"panic: ", b"no disk"):
        logs.wrote("n1", part)
    assert logs.last_words("n1") == "Its last words: hello from n1 | panic: no disk"
    logs.note("n1", "start 2, process 7")
    logs.wrote("n1", b"again\n")
    assert logs.last_words("n1") == "Its last words: hello from n1 | panic: no disk | again"
    logs.wrote("n1", b"SyntaxError: end of JSON\n" + b"    at Module.load (loader:1266:32)\n" * 9)
    assert logs.last_words("n1").endswith("| again | SyntaxError: end of JSON")
    logs.close()
    text = logs.path("n1").read_text()
    assert text.startswith("hello from n1\n\npanic: no disk\n--- start 2, process 7\nagain\nSyntaxError")
    assert text.count("at Module.load") == 9
