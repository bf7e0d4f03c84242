"""An independent run of the learner: it follows the order of what was learned, over the archive and the log.

    python -m tests.chaos.following      prints the canonical hash of each shard's numbers, a line for each

It asks Redis for the order, and for entries that are not archived yet; for nothing that was learned. A stretch that
does not continue where the one before ended is an error: something would have been lost, or counted twice.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from typing import Any

from behavior import served as served_entries
from behavior.event import Admitted
from behavior.served import Served
from deployment.archive import Archive
from deployment.connections import connect
from deployment.journal_archive import JournalArchive
from deployment.keys import Keys, ShardKeys
from deployment.settings import Settings, load
from scoring.learn import joining_of
from scoring.learn_state import Stretch, Taken, order_of
from scoring.learners import canonical_hash
from scoring.learning import decoded_of, is_of, take
from scoring.log import Entry
from scoring.shard import Shard

# What a partition's log took, in its order: k and what it is; None ends a stretch of which only events were left.
Entries = list[tuple[int, Admitted | Served | None]]


def main() -> None:
    """Follow every shard's order."""
    settings = load()
    with connect(settings) as client:
        keys = ShardKeys(settings.redis_prefix, settings.learner_shards)
        orders = [order_of(client, keys, shard) for shard in range(keys.shards)]
        known = [entries_of(settings, client, partition) for partition in range(settings.partitions)]
    for shard, order in enumerate(orders):
        print(canonical_hash(followed(settings, shard, order, known)))


def entries_of(settings: Settings, client: Any, partition: int) -> Entries:
    """All entries of a partition by k, in order: of the archive, and of the log behind it."""
    archive, journal = (
        Archive(settings.archive, settings.partitions),
        JournalArchive(settings.archive, settings.partitions),
    )
    found: dict[int, Admitted | Served] = {each.k: each for each in archive.read_log(partition, 0, 2**62)}
    found |= {k: served_entries.decode(data) for k, data in journal.read(partition)}
    for name, fields in client.xrange(Keys(settings.redis_prefix, settings.partitions).stream(partition)):
        entry = Entry(partition, int(name.partition(b"-")[0]), fields[b"t"], fields[b"b"])
        read = decoded_of(entry)
        assert read is not None
        found[entry.k] = read
    return [*sorted(found.items())]


def followed(
    settings: Settings, shard: int, order: Sequence[Taken], known: Sequence[Entries]
) -> dict[str, tuple[float, ...]]:
    """The numbers of a shard that learned in this order, from nothing."""
    joining, learned = joining_of(settings), Shard(settings.residual_bound)
    joins = [joining(None, partial(is_of, shard, settings.learner_shards)) for _ in known]
    for record in order:
        examples = []
        for stretch in record.stretches:
            join = joins[stretch.partition]
            assert stretch.after == join.place.offset, f"shard {shard}: {stretch} does not continue {join.place.offset}"
            for k, entry in _of(stretch, known[stretch.partition]):
                examples += take(join, k, entry)
            assert stretch.upto == join.place.offset
            examples += join.wait(stretch.until)
        learned.is_frozen = record.is_frozen
        learned.learn(examples)
    return learned.numbers()


def _of(stretch: Stretch, entries: Entries) -> Entries:
    """The entries of a stretch; fewer were taken if they had been trimmed, and then what was served is missing."""
    first, last = (bisect_right(entries, k, key=itemgetter(0)) for k in (stretch.after, stretch.upto))
    found = entries[first:last]
    if len(found) == stretch.entries:
        return found
    events = [(k, entry) for k, entry in found if isinstance(entry, Admitted)]
    gap: Entries = [(stretch.upto, None)] if stretch.entries == len(events) + 1 else []
    assert len(events) + len(gap) == stretch.entries, f"{stretch}, and there are {len(found)} entries"
    return [*events, *gap]


if __name__ == "__main__":
    main()
