"""One read of one view, until every entity is answered: asked again where a rebuild has moved what was asked.

A rebuild moves partitions to the next generation one by one, each under the plan of its states. So the entities of one
read may belong to two generations for a while, or for long if the rebuild was cut off: those of one are asked together.
"""

from collections.abc import Sequence
from typing import Any

from feast import FeatureView
from feast.protos.feast.types.EntityKey_pb2 import EntityKey

from behavior.errors import BadInput
from behavior.kinds import SNAPSHOT_ENTITIES
from behavior.plan import Plan
from deployment.definition_tags import is_behavior_view
from deployment.keys import Keys
from feast_plugin.plain_rows import FeastRow
from feast_plugin.readings import SNAPSHOT, PlainReading, Reading, SnapshotReading, UserReading, key_values


class Question:
    """What is asked of a view, and the rows that were answered so far.

    generations    by partition, and of the SNAPSHOT, which one served last; brought up to date by the answers
    rows           one per entity key; (None, None) for what is missing
    """

    def __init__(
        self,
        keys: Keys,
        generations: dict[int, int],
        table: FeatureView,
        entities: Sequence[EntityKey],
        requested: Sequence[str] | None,
    ) -> None:
        self._keys = keys
        self._generations = generations
        self._table = table
        self._entities = entities
        self._wanted = requested or [field.name for field in table.features]
        self._waiting = list(range(len(entities)))
        self._asked: list[int] = []
        self.rows: list[FeastRow] = [(None, None)] * len(entities)

    @property
    def is_open(self) -> bool:
        """Whether some entities are not answered yet."""
        return bool(self._waiting)

    @property
    def generation(self) -> int | None:
        """Which generation is asked next; None for a plain view, whose rows belong to none."""
        return self._generation_of(self._waiting[0]) if is_behavior_view(self._table.tags) else None

    def reading(self, plan: Plan | None) -> Reading:
        """How the entities of that generation are read, under its plan.

        Raises BadInput for a feature that the states do not hold yet.
        """
        generation = self.generation
        if plan is None or generation is None:
            self._asked = self._waiting
            return PlainReading(self._keys, self._table, self._entities, self._wanted)
        self._asked = [place for place in self._waiting if self._generation_of(place) == generation]
        for name in self._wanted:
            if f"{self._table.name}:{name}" not in plan.features:
                raise BadInput(f"view {self._table.name}: the states do not hold {name} yet; run `opportune rebuild`")
        view = plan.view(self._table.name)
        kind = SnapshotReading if view.is_snapshot else UserReading
        return kind(self._keys, generation, view, [self._entities[place] for place in self._asked], self._wanted)

    def take(self, reading: Reading, answers: list[Any], now: int) -> None:
        """Take the answers; those of another generation than was asked only say which one to ask."""
        moved = reading.moved(answers)
        if moved:
            self._generations |= moved
            return
        for place, row in zip(self._asked, reading.rows(answers, now), strict=True):
            self.rows[place] = row
        answered = set(self._asked)
        self._waiting = [place for place in self._waiting if place not in answered]

    def _generation_of(self, place: int) -> int:
        """A partition that was never asked is taken to be where the snapshot is."""
        snapshot = self._generations[SNAPSHOT]
        if self._table.tags["entity"] in SNAPSHOT_ENTITIES:
            return snapshot
        home = self._keys.partition_of(key_values(self._entities[place])["user_id"])
        return self._generations.get(home, snapshot)
