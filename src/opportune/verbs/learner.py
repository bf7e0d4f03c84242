"""`opportune learner`: what is learned, and the switch that stops it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import App, Parameter

from deployment.settings import load
from opportune.addresses import attached
from opportune.output import show

if TYPE_CHECKING:
    from deployment.keys import Keys
    from deployment.settings import Settings

learner = App(name="learner", help="Show what was learned from outcomes, or stop and start learning.")


class ShardTold(msgspec.Struct, frozen=True):
    """How one shard stands.

    version   commits that have changed its numbers
    pending   answers whose outcomes are waited for
    harms     how often harm was seen and corrections were taken back
    resting   personas of which nothing is learned for a while, after harm
    """

    shard: int
    version: int
    numbers: int
    pending: int
    harms: int
    resting: tuple[str, ...]


class LearnerTold(msgspec.Struct, frozen=True):
    """How the learner stands; `is_frozen` while the operator wants nothing learned."""

    is_frozen: bool
    shards: tuple[ShardTold, ...]


@learner.default
@learner.command(name="show")
def show_learner(*, as_json: Annotated[bool, Parameter(name="--json")] = False) -> None:
    """Show each shard: its version, how much it has learned, and which personas rest after harm.

    Parameters
    ----------
    as_json
        Print one JSON object as the last line.
    """
    from rich.table import Table

    with _deployment() as (client, keys, settings):
        found = told(client, keys, settings.learner_shards)
    table = Table("shard", "version", "numbers", "waiting answers", "harms", "resting personas")
    for each in found.shards:
        counts = (each.shard, each.version, each.numbers, each.pending, each.harms)
        table.add_row(*(f"{count:,}" for count in counts), ", ".join(each.resting) or "none")
    table.caption = "frozen: nothing is learned until `opportune learner thaw`" if found.is_frozen else "learning"
    show(table, found, as_json=as_json)


@learner.command(name="freeze")
def freeze_learner() -> None:
    """Learn nothing from now on: outcomes are still joined and looked at, corrections stay as they are.

    Every learner process follows within a third of a lease. What came in meanwhile is not learned later.
    """
    _switch(to_frozen=True)
    print("frozen; `opportune learner thaw` goes on learning")


@learner.command(name="thaw")
def thaw_learner() -> None:
    """Learn again, from what comes in from now on."""
    _switch(to_frozen=False)
    print("learning")


def told(client: Any, keys: "Keys", shards: int) -> LearnerTold:
    """How the learner stands in Redis. Raises redis.RedisError if it does not answer."""
    from deployment.generations import FROZEN
    from deployment.keys import ShardKeys
    from scoring import guard
    from scoring.learners import GUARD, apart
    from scoring.packed_numbers import unpacked

    of_shards, found = ShardKeys(keys.prefix, shards), []
    for shard in range(shards):
        numbers = {key.decode(): unpacked(data) for key, data in client.hgetall(of_shards.numbers(shard)).items()}
        harms, resting = guard.told(apart(numbers).get(GUARD, {}))
        version, pending = client.hget(of_shards.meta(shard), "version"), client.hlen(of_shards.pending(shard))
        found.append(ShardTold(shard, int(version or 0), len(numbers), pending, harms, resting))
    return LearnerTold(client.hget(keys.deployment(), FROZEN) is not None, tuple(found))


def _switch(*, to_frozen: bool) -> None:
    from deployment.generations import FROZEN

    with _deployment() as (client, keys, _):
        if to_frozen:
            client.hset(keys.deployment(), FROZEN, 1)
        else:
            client.hdel(keys.deployment(), FROZEN)


@contextmanager
def _deployment() -> Iterator[tuple[Any, "Keys", "Settings"]]:
    from deployment.connections import connect
    from scoring.entry import join_in

    settings = attached(load())
    with connect(settings) as client:
        yield client, join_in(settings, client), settings
