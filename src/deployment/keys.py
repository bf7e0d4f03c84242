"""The names of everything in Redis: one place, one hash tag per partition.

All keys of a partition share its hash tag, so that one script can commit them together, on one Redis as on a cluster.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names under a prefix, so that deployments can share a Redis without meeting."""

    prefix: str

    def stream(self, partition: int) -> bytes:
        """The partition's log: a Redis Stream whose entry ids are `<k>-0`."""
        return f"{self.prefix}:{{{partition}}}:log".encode()

    def meta(self, partition: int) -> bytes:
        """Hash: `last_k first_k offset epoch s`, instants in µs as decimal texts."""
        return f"{self.prefix}:{{{partition}}}:meta".encode()

    def counts(self, partition: int) -> bytes:
        """Hash: received, accepted, duplicate, rejected:<reason>, dropped:<purpose>."""
        return f"{self.prefix}:{{{partition}}}:counts".encode()

    def dedupe(self, partition: int, message_id: str) -> bytes:
        """String: present while a repetition of the message id must be recognised."""
        return f"{self.prefix}:{{{partition}}}:seen:{message_id}".encode()

    def user(self, partition: int, user_id: str) -> bytes:
        """Hash: a user's states, field `<view>` for the user and `<view>|<category>` for each of its categories."""
        return f"{self.prefix}:{{{partition}}}:user:{user_id}".encode()

    def partials(self, partition: int) -> bytes:
        """Hash: the partition's share of category and `all` states, field `<view>|<entity>`."""
        return f"{self.prefix}:{{{partition}}}:partials".encode()

    def plain(self, view: str, entity_key: bytes) -> bytes:
        """Hash: one entity's row of a plain view, as the Feast plug-in stores it."""
        return f"{self.prefix}:plain:{view}:".encode() + entity_key

    def snapshot(self) -> bytes:
        """String: the merged category and `all` values at the last whole interval, columnar."""
        return f"{self.prefix}:{{shared}}:snapshot".encode()

    def snapshot_version(self) -> bytes:
        """String: the instant of the snapshot, small enough to poll."""
        return f"{self.prefix}:{{shared}}:snapshot:s".encode()

    def clock(self) -> bytes:
        """String: the replay clock in microseconds; absent in production."""
        return f"{self.prefix}:{{shared}}:clock".encode()

    def deployment(self) -> bytes:
        """Hash: what every process must agree on: the number of partitions, the plan's fingerprint."""
        return f"{self.prefix}:{{shared}}:deployment".encode()

    def learner(self, part: str) -> bytes:
        """The learner's own keys (`epoch weights model offsets pending`), under one tag: it commits them together."""
        return f"{self.prefix}:{{learner}}:{part}".encode()
