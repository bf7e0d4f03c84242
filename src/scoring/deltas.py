"""A partition's share of one snapshot interval: the state of the events that it took within, per entity.

The bytes are a MessagePack array: the format, the admission instant of the first event, and the state as it lies in
memory. Whether an entity had gone missing before the interval is asked of its whole state, and depends on when the
interval's first event came. A delta lives for a minute and is written again with every commit: it is made to be
written fast, not to be small as a stored state is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import msgspec

from behavior import state
from behavior.errors import OpportuneError
from behavior.plan import Plan, View
from behavior.state import State

_FORMAT = 1
# The same delta has the same bytes, whatever it was read from.
_encoder = msgspec.msgpack.Encoder(order="deterministic")


@dataclass(slots=True)
class Delta:
    """What was added within an interval; `first_k` is the admission of its first event."""

    first_k: int
    state: State


def delta_field(place: tuple[int, bytes]) -> bytes:
    """The delta's field in its partition's hash: `<interval's end>|<view's letter><entity>`."""
    return str(place[0]).encode() + b"|" + place[1]


def place_of(field: bytes) -> tuple[int, bytes]:
    """The interval's end and the state's field that a delta's field names."""
    end, _, name = field.partition(b"|")
    return int(end), name


def encode_deltas(plan: Plan, deltas: Mapping[tuple[int, bytes], Delta]) -> dict[bytes, bytes]:
    """Deltas as fields of their partition's hash."""
    return {
        delta_field(place): _encoder.encode((_FORMAT, each.first_k, each.state.seen_e, each.state.values))
        for place, each in deltas.items()
    }


def decode_deltas(plan: Plan, stored: Mapping[bytes, bytes]) -> dict[tuple[int, bytes], Delta]:
    """What `encode_deltas` wrote. Raises OpportuneError if the format is unknown."""
    deltas = {}
    for field, data in stored.items():
        place = place_of(field)
        view = plan.lettered(place[1])
        try:
            _, first_k, seen_e, values = _decoder(view).decode(data)
        except msgspec.DecodeError as error:
            raise OpportuneError(f"view {view.name}: a delta cannot be read ({error}); run a rebuild") from None
        deltas[place] = Delta(first_k, State(seen_e, list(values)))
    return deltas


@lru_cache(maxsize=64)
def _decoder(view: View) -> "msgspec.msgpack.Decoder[Any]":
    """Reads the view's deltas back as the slots hold them."""
    held: Any = tuple[*(slot.holds for slot in view.slots)]  # type: ignore[misc]
    return msgspec.msgpack.Decoder(tuple[Literal[1], int, int, held])


def merged(view: View, whole: State | None, deltas: list[Delta]) -> State:
    """The entity's whole state with the deltas of one interval, whatever their order.

    Starts afresh if the entity had gone missing before the interval's first event. Within one interval it cannot go
    missing: event times lag admissions by the lateness horizon at most, and the retention is longer than both.
    """
    assert deltas
    if whole is not None and min(each.first_k for each in deltas) - whole.seen_e >= view.retention_us:
        whole = None
    for each in deltas:
        whole = each.state if whole is None else state.merge(view, whole, each.state)
    assert whole is not None
    return whole
