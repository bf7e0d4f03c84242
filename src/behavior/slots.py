"""What a state is made of: slots, each a commutative sum or maximum over events.

    slot          holds                                   an event                  two states
    Buckets       {hop index: sum} of the last `keep`     adds into its hop         add hop by hop
    Sum           one sum since the state began           adds                      add
    LatestTime    the greatest event time                 takes the greater         take the greater
    LatestValue   the value of the greatest (e, k, id)    takes the greater         take the greater

All are integers (or ids), so any order of folding and any split and merge give the same state. Several features share
a slot: windows with the same hop read the same buckets. Every slot also knows its SQL, so that the offline tables are
derived from the same definition.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from behavior.event import Admitted
from behavior.window import hop_of

ANY_KIND = "*"


def contribution(event: Admitted, field: str | None) -> int:
    """What one event adds: 1 for a count, else its field, 0 where the event does not say."""
    if field is None:
        return 1
    value = getattr(event.event, field)
    return 0 if value is None else int(value)


def _sql_condition(kind: str, field: str | None) -> str:
    kind_matches = "TRUE" if kind == ANY_KIND else f"kind = '{kind}'"
    return kind_matches if field is None else f"{kind_matches} AND {field} IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Buckets:
    """Sums per hop: enough for every window that shares the hop, up to `keep_us` back."""

    kind: str
    field: str | None
    hop_us: int
    keep_us: int

    def empty(self) -> dict[int, int]:
        """No hops."""
        return {}

    def update(self, values: list[Any], index: int, event: Admitted) -> None:
        """Add the event into the hop of its event time."""
        hop = event.e // self.hop_us
        buckets = values[index]
        buckets[hop] = buckets.get(hop, 0) + contribution(event, self.field)

    def merge(self, left: dict[int, int], right: dict[int, int]) -> dict[int, int]:
        """Hop by hop sums of two disjoint sets of events."""
        merged = dict(left)
        for hop, amount in right.items():
            merged[hop] = merged.get(hop, 0) + amount
        return merged

    def prune(self, buckets: dict[int, int], seen_e: int) -> dict[int, int]:
        """Without the hops that no window can reach any more once time is at `seen_e`, and in ascending order."""
        oldest = seen_e // self.hop_us - self.keep_us // self.hop_us
        return {hop: buckets[hop] for hop in sorted(buckets) if hop > oldest and buckets[hop] != 0}

    def over(self, buckets: dict[int, int], window_us: int, t: int) -> int:
        """The sum of the window that ends at instant t."""
        oldest = t // self.hop_us - window_us // self.hop_us
        return sum(amount for hop, amount in buckets.items() if hop > oldest)

    def pack(self, buckets: dict[int, int], seen_e: int, texts: list[str]) -> Iterator[int]:
        """Their number, then per hop the distance back from the previous one and the sum."""
        yield len(buckets)
        last = seen_e // self.hop_us
        for hop in reversed(buckets):
            yield last - hop
            yield buckets[hop]
            last = hop

    def unpack(self, numbers: Iterator[int], seen_e: int, texts: Iterator[str]) -> dict[int, int]:
        """What `pack` wrote."""
        hop = seen_e // self.hop_us
        newest_first = []
        for _ in range(next(numbers)):
            hop -= next(numbers)
            newest_first.append((hop, next(numbers)))
        return dict(reversed(newest_first))

    @property
    def sql(self) -> str:
        """What one row of events contributes, as SQL."""
        return f"CASE WHEN {_sql_condition(self.kind, self.field)} THEN {self.field or 1} ELSE 0 END"


@dataclass(frozen=True, slots=True)
class Sum:
    """One sum since the state began."""

    kind: str
    field: str | None

    def empty(self) -> int:
        """Nothing yet."""
        return 0

    def update(self, values: list[Any], index: int, event: Admitted) -> None:
        """Add the event."""
        values[index] += contribution(event, self.field)

    def merge(self, left: int, right: int) -> int:
        """The sum over both sets of events."""
        return left + right

    def prune(self, total: int, seen_e: int) -> int:
        """Nothing to forget."""
        return total

    def pack(self, total: int, seen_e: int, texts: list[str]) -> Iterator[int]:
        """The sum."""
        yield total

    def unpack(self, numbers: Iterator[int], seen_e: int, texts: Iterator[str]) -> int:
        """What `pack` wrote."""
        return next(numbers)

    @property
    def sql(self) -> str:
        """What one row of events contributes, as SQL."""
        return f"CASE WHEN {_sql_condition(self.kind, self.field)} THEN {self.field or 1} ELSE 0 END"


@dataclass(frozen=True, slots=True)
class LatestTime:
    """The greatest event time of a kind."""

    kind: str

    def empty(self) -> int | None:
        """Never."""
        return None

    def update(self, values: list[Any], index: int, event: Admitted) -> None:
        """Take the event's time if it is later."""
        if values[index] is None or event.e > values[index]:
            values[index] = event.e

    def merge(self, left: int | None, right: int | None) -> int | None:
        """The later of two."""
        return right if left is None else left if right is None else max(left, right)

    def prune(self, latest: int | None, seen_e: int) -> int | None:
        """Nothing to forget."""
        return latest

    def pack(self, latest: int | None, seen_e: int, texts: list[str]) -> Iterator[int]:
        """0 for never, else 1 + how long before the newest event of the state."""
        yield 0 if latest is None else 1 + seen_e - latest

    def unpack(self, numbers: Iterator[int], seen_e: int, texts: Iterator[str]) -> int | None:
        """What `pack` wrote."""
        distance = next(numbers)
        return None if distance == 0 else seen_e - (distance - 1)

    @property
    def sql(self) -> str:
        """The event time where the row takes part, else NULL, as SQL."""
        return f"CASE WHEN {_sql_condition(self.kind, None)} THEN e END"


@dataclass(frozen=True, slots=True)
class LatestValue:
    """The value that the latest event of a kind carried: the greatest (e, k, message id) among those that say it."""

    kind: str
    field: str
    is_text: bool

    def empty(self) -> tuple[int, int, str, int | str] | None:
        """None yet."""
        return None

    def update(self, values: list[Any], index: int, event: Admitted) -> None:
        """Take the event's value if the event is later."""
        value = getattr(event.event, self.field)
        if value is None:
            return
        candidate = (event.e, event.k, event.event.message_id, value)
        if values[index] is None or candidate[:3] > values[index][:3]:
            values[index] = candidate

    def merge(self, left: Any, right: Any) -> Any:
        """The later of two."""
        return right if left is None else left if right is None else max(left, right)

    def prune(self, latest: Any, seen_e: int) -> Any:
        """Nothing to forget."""
        return latest

    def pack(self, latest: Any, seen_e: int, texts: list[str]) -> Iterator[int]:
        """0 for none, else 1 + its age, k - e, and the value (texts go to the texts)."""
        if latest is None:
            yield 0
            return
        e, k, message_id, value = latest
        yield 1 + seen_e - e
        yield k - e
        texts.append(message_id)
        if self.is_text:
            texts.append(value)
        else:
            yield value

    def unpack(self, numbers: Iterator[int], seen_e: int, texts: Iterator[str]) -> Any:
        """What `pack` wrote."""
        distance = next(numbers)
        if distance == 0:
            return None
        e = seen_e - (distance - 1)
        k = e + next(numbers)
        message_id = next(texts)
        return (e, k, message_id, next(texts) if self.is_text else next(numbers))

    @property
    def sql(self) -> str:
        """An ordered struct where the row takes part, else NULL, as SQL; its maximum is the latest."""
        fields = f"{{'e': e, 'k': k, 'message_id': message_id, 'value': {self.field}}}"
        return f"CASE WHEN {_sql_condition(self.kind, self.field)} THEN {fields} END"


Slot = Buckets | Sum | LatestTime | LatestValue


def buckets_for(kind: str, field: str | None, window_us: int) -> Buckets:
    """The buckets that a window needs."""
    return Buckets(kind, field, hop_of(window_us), window_us)
