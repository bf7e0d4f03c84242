"""The journal to learn from: every served entry, archived or still in the log, and what the bundles that served say."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behavior.errors import BadInput
from behavior.served import SERVED_ENTRY, Served, decode
from deployment.bundles import Bundles
from deployment.journal_archive import JournalArchive
from deployment.keys import Keys
from deployment.settings import Settings
from opportune.addresses import attached

if TYPE_CHECKING:
    from training.journal_rows import Coding, Journal

# Entries that are in memory at once, up to 20 kB each.
_PAGE = 256


def served_entries(client: Any, keys: Keys, archive: Path) -> Iterator[Served]:
    """Every served entry that there is, once: partition after partition, each in the order of its log.

    What is trimmed from the log while this reads is in the archive before: so the archive is asked again until nothing
    is missing between it and what the log holds. Raises redis.RedisError if Redis does not answer, Altered for a row of
    the archive that was changed, BadInput if the archive has another number of partitions.
    """
    journal = JournalArchive(archive, keys.partitions)
    for number in range(keys.partitions):
        reached = 0
        while True:
            for k, payload in journal.read(number, reached):
                reached = k
                yield decode(payload)
            page = client.xrange(keys.stream(number), min=f"{reached + 1}-0", count=_PAGE)
            # After the page: an archived entry that it does not show any more is read in the next round.
            if journal.covered_until(number) > reached:
                continue
            for entry_id, fields in page:
                reached = int(entry_id.partition(b"-")[0])
                if fields[b"t"] == SERVED_ENTRY:
                    yield decode(fields[b"b"])
            if len(page) < _PAGE:
                break


@contextmanager
def served_journal(settings: Settings, bundles: Bundles, target: str) -> Iterator["Journal"]:
    """The journal of the running deployment, for the vectors of the target's current bundle.

    Raises BadInput if the target has no current bundle or the settings name no Redis, BundleRefused if the current
    bundle is not what was written; another bundle that cannot be read is an unknown one.
    """
    from deployment.connections import connect
    from training.journal_rows import Coding, Journal

    known: dict[str, Coding | None] = {}

    def inputs_of(bundle_id: str) -> "Coding | None":
        if bundle_id not in known:
            try:
                known[bundle_id] = Coding.of_bundle(*bundles.read(bundle_id))
            except BadInput:
                known[bundle_id] = None
        return known[bundle_id]

    coding = Coding.of_bundle(*bundles.read("current", target))
    settings = attached(settings)
    with connect(settings) as client:
        keys = Keys(settings.redis_prefix, settings.partitions)
        yield Journal(served_entries(client, keys, settings.archive), coding, inputs_of)
