"""What tests of the online store share: the definitions of `shop`, applied, and a real Redis with its folded log."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from feast import FeatureStore

from behavior.plan import Plan
from deployment.keys import Keys
from deployment.settings import Settings
from tests.feast_plugin.folded import fold, write_log
from tests.feast_plugin.repository import deployment, write_archive, write_repo
from tests.feast_plugin.shop import LOG, NOW, VIEWS
from training.apply import apply
from training.backfill import backfill
from training.store import open_store


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("online with a space")


@pytest.fixture(scope="module")
def plan(home: Path) -> Plan:
    settings = deployment(home)
    write_repo(settings.feature_repo, VIEWS)
    made = apply(settings)
    backfill(made, write_archive(home / "archive", LOG), settings.tables)
    return made


@pytest.fixture
def settings(home: Path, plan: Plan, redis_url: str, prefix: str) -> Settings:
    return deployment(home, redis_url=redis_url, redis_prefix=prefix, replay=True)


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(str(settings.redis_url)) as made:
        yield made


@pytest.fixture
def keys(settings: Settings) -> Keys:
    return Keys(settings.redis_prefix, settings.partitions)


@pytest.fixture
def store(settings: Settings, client: redis.Redis, keys: Keys, plan: Plan) -> FeatureStore:
    """A deployment whose log is folded and whose clock stands at NOW."""
    write_log(client, keys, LOG)
    fold(client, keys, plan, NOW)
    return open_store(settings)
