"""The real year under the shipped catalogue, ready to be measured: imported and applied once, into its own home."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from deployment.archive import Archive
from deployment.clock import Clock, advance
from deployment.connections import connect
from deployment.keys import Keys
from deployment.plan_file import load_plan
from deployment.pseudonym import Pseudonyms, make_key
from deployment.redis_server import redis_server
from deployment.sealing import make_sealing_key
from deployment.settings import Settings, load
from opportune.demonstration import ZONE, _data_directory
from opportune.progress import progress
from scoring.rebuild import Rebuild

_REPOSITORY = Path(__file__).parents[2]
POLICY = "appendonly yes, appendfsync always"


def prepared(home: Path) -> Settings:
    """Settings of `<home>/bench`, with the year in its archive and the shipped definitions applied."""
    from training.apply import apply
    from training.importing import import_files
    from training.mapping import EventMapping, load_mapping

    settings = load(
        home=home / "bench", zone=ZONE, feature_repo=_REPOSITORY / "feature_repo", redis_url=None, redis_cluster=False,
        replay=True, redis_prefix="bench",
    )  # fmt: skip
    if not settings.key_file.exists():
        make_key(settings.key_file)
        make_sealing_key(settings.sealing_key_file)
    if not (settings.archive / "import").exists():
        with progress() as tell:
            import_files(
                [_data_directory() / "transactions.parquet"], load_mapping("complete_journey", EventMapping),
                archive=Archive(settings.archive, settings.partitions),
                pseudonyms=Pseudonyms.load(settings.key_file), base_currency=settings.currency, progress=tell,
            )  # fmt: skip
    apply(settings)
    return settings


@contextmanager
def online(settings: Settings, until: int) -> Iterator[tuple[Settings, Any, Keys]]:
    """A Redis of its own, as durable as in production, with the states of everything before `until` (µs)."""
    with TemporaryDirectory(prefix="opportune-bench-") as directory, redis_server(Path(directory)) as server:
        reached = settings.replaced(redis_url=server.url)
        keys = Keys(reached.redis_prefix, reached.partitions)
        with connect(reached) as client, progress() as tell:
            advance(client, keys, until)
            Rebuild(
                client, keys, Archive(reached.archive, reached.partitions), load_plan(reached.plan),
                Clock(client, keys.clock()), until=until, settings=reached, progress=tell,
            ).run()  # fmt: skip
        with connect(reached) as client:
            yield reached, client, keys
