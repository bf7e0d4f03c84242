"""The real year moved to the present and served: production's own clock, the shipped catalogue, the home's bundle.

Everything that was admitted before an instant of 2017 is admitted a whole number of weeks later, so that hours and
weekdays stay what they are and the instant is now. Unlike a replay nobody has to ask Redis for the time, as in
production. What runs: Redis with `appendfsync always`, `serve`, and `fold`, without which the snapshot would be stale.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from behavior.event import DAY_US
from deployment.archive import Archive
from deployment.clock import system_now
from deployment.pseudonym import Pseudonyms
from deployment.settings import Settings, load
from opportune.demonstration import TODAY, ZONE, _data_directory
from opportune.processes import children
from opportune.progress import Tell, progress
from opportune.replay import instant
from opportune.restore import restore
from opportune.supervise import Running, only_one, running
from opportune.warehouse import archive_of

RUNNING = ("serve", "fold")
_WEEK_US = 7 * DAY_US
_INSTANTS = ("e", "k", "client_time")


@contextmanager
def present(home: Path) -> Iterator[Running]:
    """The deployment of the home's year, plan and bundle, with every state as of now; all gone when the block ends."""
    year = load(home=home, zone=ZONE, replay=False, redis_url=None, redis_cluster=False, redis_prefix="present")
    place = home / "present"
    live = year.replaced(archive=place / "archive", run=place / "run")
    with only_one(place / "lock"):
        shutil.rmtree(live.archive, ignore_errors=True)
        shutil.rmtree(live.run, ignore_errors=True)
        wanted = [child for child in children(live) if child.name in RUNNING]
        with running(live, wanted, prepare=lambda reached: _prepare(year, reached)) as deployment:
            yield deployment


def known_households(live: Settings, number: int) -> list[str]:
    """So many ids of users as a client knows them, spread over all that the deployment knows something of."""
    table = pq.read_table(_data_directory() / "transactions.parquet", columns=["household_id"])
    names = [str(each) for each in sorted(pc.unique(table["household_id"]).to_pylist())]
    pseudonyms, known = Pseudonyms.load(live.key_file), _distinct(live, "user_id")
    names = [name for name in names if pseudonyms.user(name) in known]
    return names[:: len(names) // number][:number]


def categories(live: Settings) -> list[str]:
    """Every category that the deployment knows something of, in order."""
    return sorted(_distinct(live, "category"))


def _distinct(live: Settings, column: str) -> set[str]:
    archive = archive_of(live)
    found: set[str | None] = set()
    for number in range(archive.partitions):
        found |= set(pc.unique(archive.read(number, columns=[column])[column]).to_pylist())
    return {each for each in found if each}


def moved(table: pa.Table, by_us: int) -> pa.Table:
    """The events, all their instants so much later."""
    for name in _INSTANTS:
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), pc.add(table[name], by_us))
    return table


def weeks_until(now: int, today: int) -> int:
    """The whole weeks between two instants, in µs."""
    return (now - today) // _WEEK_US * _WEEK_US


def _prepare(year: Settings, reached: Settings) -> None:
    now = system_now()
    by_us = weeks_until(now, instant(TODAY, year))
    with progress() as tell:
        _copy(archive_of(year), archive_of(reached), now - by_us, by_us, tell)
        restore(reached, archive_of(reached), tell)


def _copy(year: Archive, live: Archive, until: int, by_us: int, tell: Tell) -> None:
    with live.staged_import("year") as staging:
        for number in range(year.partitions):
            table = moved(year.read(number, until=until), by_us)
            if table.num_rows:
                pq.write_table(table, staging / f"p={number:03d}.parquet", compression="zstd")
            tell("moving the year", number + 1, year.partitions)
