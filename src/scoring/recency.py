"""What was learned about latest: how a learner stays within its memory, and what it has to commit.

Keys are ordered by the tick at which they were last learned about. Ticks are numbers of the learner's state, so after a
restart the same keys go in the same order.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Recency(Generic[Key]):
    """The keys that were learned about latest, at most `room` of them.

    >>> recency = Recency(room=2)
    >>> [recency.touch(each) for each in (["a"], ["b"], ["a"], ["c"])]
    [[], [], [], ['b']]
    >>> recency.changed(), recency.changed()
    (['a', 'b', 'c'], [])
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.ticks: OrderedDict[Key, int] = OrderedDict()
        self._tick = 0
        self._changed: dict[Key, None] = {}

    def touch(self, keys: Iterable[Key]) -> list[Key]:
        """Learned about the keys, in this order; which others are to be forgotten for them."""
        ticks, changed = self.ticks, self._changed
        for tick, key in enumerate(keys, self._tick + 1):
            ticks[key] = self._tick = tick
            ticks.move_to_end(key)
            changed[key] = None
        forgotten = [ticks.popitem(last=False)[0] for _ in range(len(ticks) - self.room)]
        changed.update(dict.fromkeys(forgotten))
        return forgotten

    def drop(self, keys: Iterable[Key]) -> None:
        """Forget these keys."""
        for key in keys:
            if self.ticks.pop(key, None) is not None:
                self._changed[key] = None
        self._tick = next(reversed(self.ticks.values()), 0)  # as after a restart

    def changed(self) -> list[Key]:
        """The keys that were learned about or forgotten since this was last asked."""
        changed = list(self._changed)
        self._changed = {}
        return changed

    def restore(self, ticks: Mapping[Key, float]) -> None:
        """Continue where the ticks of these keys were committed."""
        self.ticks = OrderedDict((key, int(tick)) for key, tick in sorted(ticks.items(), key=lambda each: each[1]))
        self._tick = next(reversed(self.ticks.values()), 0)
        self._changed = {}
