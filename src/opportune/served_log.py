"""What the log still holds of the journal, to learn from: served entries, and what the bundles that served them say.

The archive keeps events alone. How far back this reaches is the log's `log_keep_s` and `log_max_entries`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from behavior.errors import BadInput
from behavior.served import SERVED_ENTRY, Served, decode
from deployment.bundles import Bundles
from deployment.keys import Keys
from deployment.settings import Settings
from opportune.addresses import attached

if TYPE_CHECKING:
    from training.journal_rows import Coding, Journal

# Entries that are in memory at once, up to 20 kB each.
_PAGE = 256


def served_entries(client: Any, keys: Keys) -> Iterator[Served]:
    """Every served entry that the log holds, partition after partition, each in the order of its log.

    Raises redis.RedisError if Redis does not answer.
    """
    for number in range(keys.partitions):
        after = "-"
        while True:
            page = client.xrange(keys.stream(number), min=after, count=_PAGE)
            for entry_id, fields in page:
                after = f"({entry_id.decode()}"
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
        yield Journal(served_entries(client, keys), coding, inputs_of)
