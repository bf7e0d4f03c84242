"""What a reaction looks like to those who only see events: impression → click → add_to_cart → purchase.

One function makes them, for files and for `Track` alike, with the keys that a client takes.
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from behavior.event import SECOND_US
from training.simulation.rhythm import Visit
from training.simulation.running import Offer, Reaction
from training.simulation.streams import ITEMS, WORLD, uniforms
from training.simulation.world import World, item_name

CURRENCY = "USD"
PLACEMENT = "simulated"
# From one position to the next, and from a click to the cart and to the till.
_LOOK_US, _ADD_US, _BUY_US = SECOND_US, 10 * SECOND_US, 40 * SECOND_US
_DEAREST_MINOR, _CHEAPEST_MINOR = 5_000, 100
_BATCH_ROWS = 100_000
_SCHEMA = pa.schema(
    [
        ("message_id", pa.string()), ("event_time", pa.int64()), ("kind", pa.string()), ("user_id", pa.string()),
        ("session_id", pa.string()), ("placement", pa.string()), ("page", pa.string()), ("device", pa.string()),
        ("zone", pa.string()), ("category", pa.string()), ("item", pa.string()), ("value_minor", pa.int64()),
        ("currency", pa.string()), ("order_id", pa.string()),
    ]
)  # fmt: skip
_MAPPING = """\
# How `opportune import` reads the events beside this file. They are simulated, with seed {seed}.
name = "simulated-{seed}"
source = "simulated, seed {seed}"
timestamps_in = "us"
local_zone = {{ column = "zone" }}
consent = ["personalization"]       # of people who do not exist

[columns]
user_id = "user_id"
client_time = "event_time"
kind = "kind"
item = "item"
category = "category"
order_id = "order_id"
session_id = "session_id"
placement = "placement"
page = "page"
device = "device"

[money]
column = "value_minor"
unit = "minor"
currency = "{currency}"

[message_id]
columns = ["message_id"]
"""


class Teller:
    """Makes the events of reactions in one world."""

    def __init__(self, world: World) -> None:
        p = world.parameters
        drawn = uniforms(p.seed, WORLD, ITEMS, 1, p.categories * p.items).reshape(p.categories, p.items)
        self._prices = (_CHEAPEST_MINOR + drawn * (_DEAREST_MINOR - _CHEAPEST_MINOR)).astype(int).tolist()
        self._seed, self._category = p.seed, world.things.category.tolist()
        self._names_items = p.kind == "item"

    def user_id(self, user: int) -> str:
        """What a user is called: it says that nobody is meant, and the seed."""
        return f"simulated-{self._seed}-{user}"

    def events(self, visit: Visit, offer: Offer, reaction: Reaction) -> Iterator[dict[str, Any]]:
        """All that came of a visit, position by position: fields of `Client.track` without consent and request id.

        An impression names what was shown; what follows names the item, too.
        """
        user = self.user_id(visit.user)
        said = {
            "user_id": user, "session_id": f"{user}-{visit.session}", "placement": PLACEMENT, "page": visit.page,
            "device": visit.device, "zone": visit.zone,
        }  # fmt: skip
        steps = zip(reaction.clicked.tolist(), reaction.added.tolist(), reaction.bought.tolist(), strict=True)
        places, items = reaction.shown.tolist(), reaction.items.tolist()
        for position, (place, item, (clicked, added, bought)) in enumerate(zip(places, items, steps, strict=True)):
            name, t = f"{user}-{visit.number}-{position}", visit.t + position * _LOOK_US
            about = {"category": offer.categories[place]}
            thing = {"item": offer.ids[place]} if self._names_items else {}
            yield {**said, **about, **thing, "message_id": f"{name}-i", "kind": "impression", "event_time": t}
            if not clicked:
                continue
            category = self._category[place]
            about["item"] = item_name(category, item)
            yield {**said, **about, "message_id": f"{name}-c", "kind": "click", "event_time": t + _LOOK_US}
            if added:
                yield {**said, **about, "message_id": f"{name}-a", "kind": "add_to_cart", "event_time": t + _ADD_US}
            if bought:
                yield {
                    **said, **about, "message_id": f"{name}-p", "kind": "purchase", "event_time": t + _BUY_US,
                    "value_minor": self._prices[category][item], "currency": CURRENCY,
                    "order_id": f"{user}-{visit.number}",
                }  # fmt: skip


class EventFile:
    """A Parquet file of events, and beside it the mapping that `opportune import` reads it with.

    The file appears whole when the block ends well, else not at all. `hear` is told of each visit.
    """

    def __init__(self, world: World, file: Path) -> None:
        self._file, self._part = file, file.with_name(f"{file.name}.part")
        self._world, self._teller = world, Teller(world)
        self._rows: list[dict[str, Any]] = []
        self.written = 0

    @property
    def mapping(self) -> Path:
        """The mapping file."""
        return self._file.with_suffix(".toml")

    def __enter__(self) -> Self:
        """The file says what it is: simulated, by which seed and which other parameters."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        parameters = self._world.parameters
        about = {"simulated": "true", "seed": str(parameters.seed), "parameters": msgspec.json.encode(parameters)}
        self._writer = pq.ParquetWriter(self._part, _SCHEMA.with_metadata(about), compression="zstd")
        return self

    def hear(self, visit: Visit, offer: Offer, reaction: Reaction) -> None:
        """Write what came of the visit."""
        self._rows.extend(self._teller.events(visit, offer, reaction))
        if len(self._rows) >= _BATCH_ROWS:
            self._flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the file appear, or take away what there is of it."""
        if kind is None:
            self._flush()
        self._writer.close()
        if kind is not None:
            self._part.unlink()
            return
        self._part.replace(self._file)
        self.mapping.write_text(_MAPPING.format(seed=self._world.parameters.seed, currency=CURRENCY))

    def _flush(self) -> None:
        columns = {name: [row.get(name) for row in self._rows] for name in _SCHEMA.names}
        self._writer.write_table(pa.table(columns, schema=_SCHEMA))
        self.written += len(self._rows)
        self._rows.clear()
