"""A user's states, read in one round trip."""

from collections.abc import Collection
from dataclasses import dataclass

import redis.asyncio

from behavior.partition import partition_of
from behavior.plan import Plan
from deployment.keys import Keys
from deployment.user_state import UserState, decode_user


@dataclass(frozen=True, slots=True)
class ReadState:
    """What the store knows of a user, and how far the log was folded when it said so.

    offset   admission instant (µs) of the last folded entry of the user's partition, 0 before the first;
             the states answer for every instant after it
    """

    offset: int
    state: UserState


@dataclass(frozen=True, slots=True)
class States:
    """Reads user states from Redis."""

    client: "redis.asyncio.Redis"
    keys: Keys
    partitions: int
    plan: Plan

    async def read(self, user_id: str, categories: Collection[str] | None = None) -> ReadState:
        """The user with its categories (or only those named) and the partition's offset, in one round trip."""
        partition = partition_of(user_id, self.partitions)
        async with self.client.pipeline(transaction=True) as together:
            together.hget(self.keys.meta(partition), "offset")
            together.hgetall(self.keys.user(partition, user_id))
            offset, fields = await together.execute()
        return ReadState(int(offset or 0), decode_user(self.plan, fields, categories))
