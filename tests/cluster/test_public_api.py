"""What `from cluster import ...` offers."""

import subprocess
import sys
from importlib.resources import files

import cluster


def test_every_public_name_exists_and_has_a_docstring() -> None:
    assert len(set(cluster.__all__)) == len(cluster.__all__)
    for name in cluster.__all__:
        public = getattr(cluster, name)
        assert public.__doc__ or name == "Outcome", name


def test_the_public_clients_and_errors_are_there() -> None:
    wanted = {
        "Cluster",
        "RunningCluster",
        "Client",
        "LogClient",
        "AsyncLogClient",
        "Ok",
        "NotDone",
        "NotKnown",
        "Unknown",
    }
    assert wanted <= set(cluster.__all__)


def test_the_package_is_typed() -> None:
    assert files("cluster").joinpath("py.typed").is_file()


def test_a_start_imports_nothing_that_takes_long_and_is_not_used() -> None:
    source = (
        "import sys; import node.__main__; print({'shutil', 'tempfile', 'asyncio'} & set(sys.modules));"
        "import cluster.cluster, cluster.supervisor, harness.runs.serve; print({'asyncio'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["set()", "set()", ""]
