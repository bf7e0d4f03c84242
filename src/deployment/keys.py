"""The names of everything in Redis: one place, one hash tag per partition.

All keys of a partition share its hash tag, so that one script can commit them together, on one Redis as on a cluster.
The tag names the number of partitions too: what was rebuilt with another number meets none of the old keys.

States belong to a generation: a rebuild fills the next one while the one before serves. The log, its counts and its
message ids belong to none.
"""

import re
from dataclasses import dataclass

from behavior.partition import partition_of


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names under a prefix, so that deployments can share a Redis without meeting."""

    prefix: str
    partitions: int

    def partition_of(self, user_id: str) -> int:
        """The partition of a pseudonym."""
        return partition_of(user_id, self.partitions)

    # ------------------------------------------------------------------------------------------------ the log

    def stream(self, partition: int) -> bytes:
        """The partition's log: a Redis Stream whose entry ids are `<k>-0`."""
        return self._of(partition, "log")

    def meta(self, partition: int) -> bytes:
        """Hash of the log: `last_k first_k trimmed` (µs), `generation` (which states are read), `sealed`."""
        return self._of(partition, "meta")

    def counts(self, partition: int) -> bytes:
        """Hash: received, accepted, duplicate, rejected:<reason>, dropped:<purpose>."""
        return self._of(partition, "counts")

    def dedupe(self, partition: int, message_id: str) -> bytes:
        """String: present while a repetition of the message id must be recognised."""
        return self._of(partition, f"seen:{message_id}")

    def dead(self, partition: int) -> bytes:
        """Stream: rejected events, sealed."""
        return self._of(partition, "dead")

    def lease(self, partition: int, role: str) -> bytes:
        """String with an expiry: which process owns the partition for `fold`, `archive`, ..."""
        return self._of(partition, f"lease:{role}")

    # ------------------------------------------------------------------------------------------------ states

    def place(self, partition: int, generation: int) -> bytes:
        """Hash: `epoch offset s` of the fold: who may commit, how far it has come, up to where deltas are closed."""
        return self._of(partition, f"g{generation}:place")

    def user(self, partition: int, generation: int, user_id: str) -> bytes:
        """Hash: a user's states, one field per user view and one per (view, category)."""
        return self._of(partition, f"g{generation}:user:{user_id}")

    def deltas(self, partition: int, generation: int) -> bytes:
        """Hash: what the partition adds to item, category and `all` states, by interval, until it is published."""
        return self._of(partition, f"g{generation}:deltas")

    def plan(self, generation: int) -> bytes:
        """String: the plan that the generation's states were folded under."""
        return self._shared(f"g{generation}:plan")

    def snapshot(self, generation: int) -> bytes:
        """Hash: `epoch s` of what is published: who may publish, and the instant that all rows hold for."""
        return self._shared(f"g{generation}:snapshot")

    def whole(self, generation: int, view: str) -> bytes:
        """Hash: the state over all partitions at the snapshot's instant, by entity."""
        return self._shared(f"g{generation}:whole:{view}")

    def rows(self, generation: int, view: str) -> bytes:
        """Hash: the raw values at the snapshot's instant, one packed row by entity."""
        return self._shared(f"g{generation}:rows:{view}")

    def changes(self, generation: int) -> bytes:
        """Stream: which rows the latest snapshots have changed, so that readers need not fetch all of them."""
        return self._shared(f"g{generation}:changes")

    def states_pattern(self) -> str:
        """A pattern that matches every key of every generation; `generation_of` says of which one, if of any."""
        return f"{_escaped(self.prefix)}:{{*}}:g[0-9]*:*"

    def generation_of(self, key: bytes) -> int | None:
        """The generation that a key belongs to; None for those of the log and of the deployment.

        >>> keys = Keys("shop", 64)
        >>> keys.generation_of(keys.deltas(5, 2)), keys.generation_of(keys.dedupe(5, "sly}:g2:user:"))
        (2, None)
        """
        found = re.match(rf"{re.escape(self.prefix)}:{{[^{{}}]*}}:g(\d+):".encode(), key)
        return int(found[1]) if found else None

    def partitions_pattern(self) -> str:
        """A pattern that matches every key of all partitions of this number of them; `is_of_partition` is exact."""
        return f"{_escaped(self.prefix)}:{{*/{self.partitions}}}:*"

    def is_of_partition(self, key: bytes) -> bool:
        """Whether a key belongs to a partition of this number of them."""
        return re.match(rf"{re.escape(self.prefix)}:{{\d+/{self.partitions}}}:".encode(), key) is not None

    # ------------------------------------------------------------------------------------------------ the deployment

    def clock(self) -> bytes:
        """String: the replay clock in microseconds; absent in production."""
        return self._shared("clock")

    def deployment(self) -> bytes:
        """Hash: what every process must agree on: `partitions`, `shards`, `generation` that serves, `rebuilding`."""
        return self._shared("deployment")

    def publisher(self) -> bytes:
        """String with an expiry: which process publishes snapshots."""
        return self._shared("lease:publish")

    def rebuilder(self) -> bytes:
        """String with an expiry: which process rebuilds."""
        return self._shared("lease:rebuild")

    def members(self, role: str) -> bytes:
        """Sorted set: the living processes of a role by their last sign of life (ms of the server's clock)."""
        return self._shared(f"members:{role}")

    def plain(self, view: str, entity_key: bytes) -> bytes:
        """Hash: one entity's row of a plain view, as the Feast plug-in stores it."""
        return f"{self.prefix}:plain:{view}:".encode() + entity_key

    def _of(self, partition: int, name: str) -> bytes:
        return f"{self.prefix}:{{{partition}/{self.partitions}}}:{name}".encode()

    def _shared(self, name: str) -> bytes:
        return f"{self.prefix}:{{shared}}:{name}".encode()


@dataclass(frozen=True, slots=True)
class ShardKeys:
    """Key names of the shards of the learner: all keys of a shard share its hash tag, so that one script commits them.

    The tag names the number of shards too: who learns with another number meets none of these keys.
    """

    prefix: str
    shards: int

    @property
    def partitions(self) -> int:
        """The number of shards, by the name that leases have for what is shared among processes."""
        return self.shards

    def meta(self, shard: int) -> bytes:
        """Hash: `epoch` (who may commit), `commits`, `version` (how many of these changed the numbers)."""
        return self._of(shard, "meta")

    def numbers(self, shard: int) -> bytes:
        """Hash: all that was learned, packed little-endian float64 by key."""
        return self._of(shard, "numbers")

    def places(self, shard: int) -> bytes:
        """Hash: by partition of the log, how far it was read and joined."""
        return self._of(shard, "places")

    def recent(self, shard: int) -> bytes:
        """Hash: what came in a moment ago, and perhaps before the answer that led to it, by `<partition>|<k>`."""
        return self._of(shard, "recent")

    def pending(self, shard: int) -> bytes:
        """Hash: the served entries whose outcomes are waited for, by `<partition>|<request id>`."""
        return self._of(shard, "pending")

    def order(self, shard: int) -> bytes:
        """Stream: what each commit took of which partition, in the order in which it was learned; ids `<commit>-0`."""
        return self._of(shard, "order")

    def deltas(self, shard: int) -> bytes:
        """Stream: the numbers that each version has changed; ids `<version>-0`."""
        return self._of(shard, "deltas")

    def lease(self, shard: int, role: str) -> bytes:
        """String with an expiry: which process owns the shard."""
        return self._of(shard, f"lease:{role}")

    def members(self, role: str) -> bytes:
        """Sorted set: the living processes of a role by their last sign of life (ms of the server's clock)."""
        return f"{self.prefix}:{{shared}}:members:{role}".encode()

    def all_of(self, shard: int) -> list[bytes]:
        """Every key of a shard but its lease."""
        named = (self.meta, self.numbers, self.places, self.recent, self.pending, self.order, self.deltas)
        return [name(shard) for name in named]

    def _of(self, shard: int, name: str) -> bytes:
        return f"{self.prefix}:{{learner/{shard}/{self.shards}}}:{name}".encode()


def _escaped(text: str) -> str:
    return "".join(f"\\{each}" if each in "*?[]\\" else each for each in text)
