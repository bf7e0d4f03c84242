"""What tests of several rooms share: a clean environment, one real Redis, and one real Redis Cluster."""

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployment.redis_server import redis_server
from tests.redis_cluster import Cluster, running_cluster

# Read when LightGBM is loaded, here and in what the tests start: its threads sleep while they wait for each other. By
# default they spin, and where several processes share the cores, a fit takes ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Rooms whose files take long. Their tests begin first: several processes share the files, and the last one to end makes
# the others wait the less, the shorter it is.
_LONG = ("e2e", "chaos", "opportune", "scoring", "training", "feast_plugin")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long rooms first, in the order above; otherwise the order stays."""
    rooms = {Path(__file__).parent / room: place for place, room in enumerate(_LONG)}
    items.sort(key=lambda item: rooms.get(item.path.parent, len(_LONG)))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on the settings of the shell, nor on an opportune.toml in the directory it was started from."""
    for name in os.environ:
        if name.startswith("OPPORTUNE_") or name == "REDIS_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("OPPORTUNE_CONFIG", "")


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_interrupts() -> None:
    """Where a job was started in the background, Ctrl-C is ignored, and what waits for it would wait for ever."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Redis, as durable as in production, that lives as long as the session."""
    directory: Path = tmp_path_factory.mktemp("redis with a space")
    with redis_server(directory) as server:
        yield server.url


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real Redis Cluster of three nodes that lives as long as the session; a test that disturbs it makes it whole."""
    with running_cluster(tmp_path_factory.mktemp("cluster with a space")) as cluster:
        yield cluster


@pytest.fixture
def cluster_url(redis_cluster: Cluster) -> str:
    """The address of a node of the cluster."""
    return redis_cluster.url


@pytest.fixture
def prefix() -> str:
    """A key prefix that no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}"
