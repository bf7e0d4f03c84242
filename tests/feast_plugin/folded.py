"""A log that tests write entry by entry, folded by the real fold: what then stands in Redis is what serves."""

from collections.abc import Sequence

import redis

from behavior.event import Admitted, admit, encode
from behavior.plan import Plan
from deployment.clock import Clock, advance
from deployment.generations import Plans, agree
from deployment.keys import Keys
from scoring.fold import Fold, Grant
from scoring.folding import Folding
from scoring.log import Log
from scoring.publishing import Publisher


def write_log(client: redis.Redis, keys: Keys, log: Sequence[Admitted]) -> None:
    """Append events at the instants of their admission, which must grow in each partition."""
    for each in log:
        assert admit(each.event, each.k) == each
        number = keys.partition_of(each.event.user_id)
        client.xadd(keys.stream(number), {"t": b"e", "b": encode(each.event)}, id=f"{each.k}-0")
        client.hset(keys.meta(number), "last_k", each.k)


def fold(client: redis.Redis, keys: Keys, plan: Plan, now: int) -> None:
    """Fold all there is, and publish the last whole interval before `now`."""
    advance(client, keys, now)
    agree(client, keys, lambda: plan)
    folding = Folding(client, keys, Log(client, keys), Clock(client, keys.clock()), "test", 60_000)
    while folding.step() or folding.seat.is_busy:
        pass
    folding.release()


def fold_generation(client: redis.Redis, keys: Keys, plan: Plan, generation: int) -> None:
    """Fold the same log into another generation, as a rebuild does; nobody is told yet."""
    client.set(keys.plan(generation), plan.encode())
    grants = {number: Grant(generation, 1) for number in range(keys.partitions)}
    for number in grants:
        client.hset(keys.place(number, generation), "epoch", 1)
    made = Fold(client, keys, Log(client, keys), Clock(client, keys.clock()), Plans(keys))
    made.own(grants)
    while made.step():
        pass
    publisher = Publisher(client, keys, plan, generation)
    while publisher.step():
        pass
