"""A user's states, read in one round trip."""

from dataclasses import dataclass, field
from typing import Any

from behavior.partition import partition_of
from deployment.cold_reading import Moved, read_user
from deployment.generations import FIRST, Plans
from deployment.keys import Keys
from deployment.user_state import UserState


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
    """Reads user states from Redis, of the generation that each partition serves; `client` is an asyncio client."""

    client: Any
    keys: Keys
    plans: Plans
    _generations: dict[int, int] = field(default_factory=dict, init=False)

    async def read(self, user_id: str) -> ReadState:
        """The user with its categories and the partition's offset, in one round trip.

        A second one only right after a rebuild has moved the partition to another generation.
        """
        partition = partition_of(user_id, self.keys.partitions)
        while True:
            generation = self._generations.get(partition, FIRST)
            try:
                found = await read_user(self.client, self.keys, generation, user_id)
            except Moved as moved:
                self._generations[partition] = moved.generation
                continue
            plan = await self.plans.of_async(self.client, generation)
            return ReadState(found.offset, UserState(plan, found.fields))
