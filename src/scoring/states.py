"""A user's states, read in one round trip."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from behavior.partition import partition_of
from deployment.cold_reading import Moved, UserRead
from deployment.generations import FIRST, Plans
from deployment.keys import Keys
from deployment.user_reading import user_reader
from deployment.user_state import UserState


@dataclass(frozen=True, slots=True)
class ReadState:
    """What the store knows of a user, and how far the log was folded when it said so.

    offset   admission instant (µs) of the last folded entry of the user's partition, 0 before the first;
             the states answer for every instant after it
    """

    offset: int
    state: UserState


# Takes what was read for a caller who has gone meanwhile.
Late = Callable[[ReadState], None]


def no_matter(read: ReadState) -> None:
    """Leaves what was read late."""


class States:
    """Reads user states from Redis, of the generation that each partition serves.

    client   a `Conversation` with one Redis, or an asyncio client of redis-py
    """

    def __init__(self, client: Any, keys: Keys, plans: Plans) -> None:
        self._client = client
        self._partitions = keys.partitions
        self._plans = plans
        self._reader = user_reader(client, keys)
        self._generations: dict[int, int] = {}

    @property
    def given_up(self) -> int:
        """How many reads still go on though nobody waits for them any more."""
        return self._reader.given_up

    async def read(self, user_id: str, late: Late = no_matter) -> ReadState:
        """The user with its categories and the partition's offset, in one round trip.

        A second one only right after a rebuild has moved the partition to another generation. If the caller is
        cancelled before, `late` takes what is read.
        """
        partition = partition_of(user_id, self._partitions)
        while True:
            generation = self._generations.get(partition, FIRST)
            try:
                found = await self._reader.read(
                    partition, generation, user_id, partial(self._came_late, late, generation)
                )
            except Moved as moved:
                self._generations[partition] = moved.generation
                continue
            plan = await self._plans.of_async(self._client, generation)
            return ReadState(found.offset, UserState(plan, found.fields))

    def _came_late(self, late: Late, generation: int, found: UserRead) -> None:
        plan = self._plans.known(generation)
        if plan is not None:
            late(ReadState(found.offset, UserState(plan, found.fields)))
