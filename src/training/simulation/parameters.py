"""What a world is made from: every parameter with its default, its bounds and what it means."""

import tomllib
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from behavior.errors import BadInput
from behavior.event import DAY_US
from deployment.zone import zone

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Spread = Annotated[float, Meta(ge=0, le=10)]
Logit = Annotated[float, Meta(ge=-20, le=20)]


class Shock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From an instant on, one persona's own tastes are those of other categories.

    at         an instant with its offset
    persona    0, 1, ...
    """

    at: Annotated[datetime, Meta(tz=True)]
    persona: Annotated[int, Meta(ge=0)]

    @property
    def t(self) -> int:
        """The instant in µs UTC."""
        return (self.at - _EPOCH) // timedelta(microseconds=1)


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a world depends on; equal parameters make equal worlds. Spreads are standard deviations in logits.

    seed               which of all worlds of this kind
    start              the day (UTC) on which tastes are as they were drawn; there is nothing before
    users, personas    how many; each user is of one persona, each persona as likely
    categories, items  how many categories, and how many items in each
    kind               what is ranked: `category` or `item`
    slots              how many of the ranking are shown
    zones              IANA zones in which users live, each as likely

    sessions_per_day   mean over users and a week; activity_spread is that of its logarithm among users
    daily, peak_hour   swing of the day around its mean, and the local hour at which it is greatest
    weekend            how many times as many sessions a Saturday or Sunday has as another day
    pages, pause_s     mean number of visits in a session, and mean time between two of them

    common_spread      how much more some categories are liked by everybody
    taste_spread       ... by a persona
    own_spread         ... by a user
    item_spread        how much more some items of a category are liked
    context_spread     ... a category at a part of the day, on a weekday, on a device, on a page: each
    drift              a persona's tastes move by so much a day, at random, of each category
    shocks             what is asked for of this kind

    click, cart, purchase
                       the logit of each step where all the above is zero, given the one before
    depth              how much of what makes somebody click also makes them go on
    position_decay     the exponent of how seldom a place is looked at
    shown_fatigue      logits that a category loses when it has been looked at once
    bought_fatigue     ... bought once; both halve every fatigue_half_life_h hours
    """

    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 1
    start: date = date(2024, 1, 1)
    users: Count = 1_000
    personas: Annotated[int, Meta(ge=1, le=1_000)] = 4
    categories: Annotated[int, Meta(ge=2, le=1_000)] = 20
    items: Annotated[int, Meta(ge=1, le=1_000)] = 8
    kind: Literal["category", "item"] = "category"
    slots: Annotated[int, Meta(ge=1, le=100)] = 10
    zones: Annotated[tuple[str, ...], Meta(min_length=1)] = ("America/New_York", "Europe/Berlin", "Asia/Tokyo")
    sessions_per_day: Annotated[float, Meta(gt=0, le=100)] = 0.5
    activity_spread: Annotated[float, Meta(ge=0, le=3)] = 0.8
    daily: Annotated[float, Meta(ge=0, le=1)] = 0.8
    peak_hour: Annotated[float, Meta(ge=0, lt=24)] = 20.0
    weekend: Annotated[float, Meta(gt=0, le=100)] = 1.5
    pages: Annotated[float, Meta(ge=1, le=10)] = 3.0
    pause_s: Annotated[float, Meta(gt=0, le=3600)] = 45.0
    common_spread: Spread = 0.5
    taste_spread: Spread = 1.0
    own_spread: Spread = 0.4
    item_spread: Spread = 0.4
    context_spread: Spread = 0.2
    drift: Spread = 0.0
    shocks: tuple[Shock, ...] = ()
    click: Logit = -2.5
    cart: Logit = -1.0
    purchase: Logit = 0.0
    depth: Annotated[float, Meta(ge=0, le=2)] = 0.5
    position_decay: Annotated[float, Meta(ge=0, le=5)] = 1.0
    shown_fatigue: Annotated[float, Meta(ge=0, le=10)] = 0.05
    bought_fatigue: Annotated[float, Meta(ge=0, le=10)] = 1.0
    fatigue_half_life_h: Annotated[float, Meta(gt=0, le=10_000)] = 24.0

    @property
    def start_t(self) -> int:
        """The first instant, µs UTC."""
        return (self.start - _EPOCH.date()).days * DAY_US

    @property
    def things(self) -> int:
        """How many things there are to rank."""
        return self.categories * (1 if self.kind == "category" else self.items)


def made_of(given: Mapping[str, Any], shocks: Iterable[Mapping[str, Any]] = ()) -> Parameters:
    """The parameters that are given, all others as by default, with more shocks than the given ones.

    Raises BadInput for what makes no world.
    """
    try:
        made = msgspec.convert({**given, "shocks": [*given.get("shocks", ()), *shocks]}, Parameters)
    except msgspec.ValidationError as error:
        raise BadInput(f"this makes no simulated world: {error}") from None
    for name in made.zones:
        zone(name)  # raises for what is none
    wrong = [shock.persona for shock in made.shocks if shock.persona >= made.personas]
    if wrong:
        raise BadInput(f"a shock is for persona {wrong[0]}, but they are numbered from 0 to {made.personas - 1}")
    if made.slots > made.things:
        raise BadInput(f"{made.slots} slots cannot be filled with {made.things} things; give fewer slots")
    return made


def given_in(file: Path) -> dict[str, Any]:
    """What a TOML file says of parameters, not checked yet. Raises BadInput if it is no TOML file."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise BadInput(f"{file} is not TOML: {error}") from None
