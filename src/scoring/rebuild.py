"""The next generation of states, from the archive, while events keep flowing and the generation before keeps serving.

    plan ──▶ fill in bulk from the archive up to s0 ──▶ a fold and a publisher of its own catch up with the log
         ──▶ swap partition by partition, once it has come as far as what serves ──▶ swap the snapshot, forget the old

Into an empty Redis it is the same, and where a log was lost its place and young message ids are restored. Until the
first partition is swapped nothing that serves is touched, and a rebuild that was cut off is cleared by the next one,
which has a number of its own: one that only slept writes where nobody reads. One that was cut off later is finished
first.
"""

import logging
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from behavior.errors import BadInput, Fenced, Unavailable
from behavior.event import HOUR_US
from behavior.plan import Plan
from behavior.served import EVENT_ENTRY
from deployment.archive import Archive
from deployment.clock import Clock
from deployment.connections import PASSING
from deployment.generations import GENERATION, PARTITIONS, REBUILDING, Plans
from deployment.journal_archive import JournalArchive
from deployment.keys import Keys
from deployment.settings import Settings
from scoring.bulk import Filled, Progress, fill_partition, fill_snapshot, snapshot_apart
from scoring.fold import Fold, Grant
from scoring.forgetting import forget_generations
from scoring.log import Log
from scoring.publishing import Publisher
from scoring.scripts import Run, Script, lua

_log = logging.getLogger("opportune.rebuild")
# How long a rebuild that was cut off keeps the next one away, and readers may need to notice a swap (real seconds).
_LEASE_S = 30.0
_NOTICE_S = 2.0
_WAIT_MS = 20
_COMMANDS = 1_000
# Takes or keeps the lease; not if another rebuild has begun meanwhile, even if that is over.
_KEEP = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
if ARGV[3] ~= '0' and redis.call('HGET', KEYS[2], 'rebuilding') ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_LEAVE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"
# Says something of the deployment, as long as the lease is held.
_SAY = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], unpack(ARGV, 2))
return 1
"""
# Nothing up to an instant may come any more, whatever the clock of who appends says. Where a log was lost, its first
# instant is restored, and where no states were, their generation, which only grows.
_LIFT = """
local function less(left, right) return #left < #right or (#left == #right and left < right) end
local last_k, first_k, generation = unpack(ARGV)
local known = redis.call('HMGET', KEYS[1], 'last_k', 'generation')
if less(known[1] or '0', last_k) then redis.call('HSET', KEYS[1], 'last_k', last_k) end
if first_k ~= '' then redis.call('HSET', KEYS[1], 'first_k', first_k) end
if generation ~= '' and less(known[2] or '0', generation) then redis.call('HSET', KEYS[1], 'generation', generation) end
"""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild made: a generation, of so many archived events and users, with a snapshot at s (µs).

    unarchived   events that were acknowledged and are not in the archive: folded from the log if Redis has it still;
                 None if Redis was empty, and nobody can tell
    """

    generation: int
    events: int
    users: int
    s: int
    unarchived: int | None


class Rebuild:
    """One rebuild, into the generation after the one that serves.

    plan          of the next generation
    until         restore only what was admitted before this instant (µs); only into an empty Redis, or `moved`
    lateness_us   how long message ids are recognised
    moved         the log was moved to another number of partitions: nothing of it is under these keys yet
    settings      of the deployment that is rebuilt, so that another process can take half of the work; None: no other
    """

    def __init__(
        self,
        client: Any,
        keys: Keys,
        archive: Archive,
        plan: Plan,
        clock: Clock,
        *,
        until: int | None = None,
        lateness_us: int = 48 * HOUR_US,
        moved: bool = False,
        settings: Settings | None = None,
        progress: Progress = lambda step, done, all_: None,
    ) -> None:
        self._client = client
        self._keys = keys
        self._archive = archive
        self._plan = plan
        self._clock = clock
        self._until = until
        self._lateness_us = lateness_us
        self._progress = progress
        self._token = secrets.token_hex(8)
        self._moved = moved
        self._settings = settings
        # The generation that serves, None if nothing does, and the one that is made; known once others are kept away.
        self._before: int | None = None
        self._next = 0
        self._swap = Script(client, lua("swap.lua"))

    def run(self) -> Rebuilt:
        """Fill, catch up, swap. Raises BadInput for what cannot be rebuilt, Unavailable if another rebuild runs."""
        if not self._holds():
            raise Unavailable(f"another rebuild runs, or was cut off less than {_LEASE_S:.0f} s ago; try again then")
        try:
            return self._rebuilt()
        finally:
            with suppress(*PASSING):
                self._client.eval(_LEAVE, 1, self._keys.rebuilder(), self._token)

    def _rebuilt(self) -> Rebuilt:
        if self._begin():
            _log.info("finishing the rebuild of generation %d, which was cut off", self._next)
            return self._finish(self._take_over(Plans(self._keys).of(self._client, self._next)), 0, 0, 0)
        self._client.set(self._keys.plan(self._next), self._plan.encode())
        s0, unarchived = self._beginning()
        if self._settings is None:
            fill_snapshot(self._client, self._keys, self._next, self._plan, self._archive, s0, self._told)
            events, users = self._fill_partitions(s0)
        else:
            with snapshot_apart(self._settings, self._next, s0, self._told):
                events, users = self._fill_partitions(s0)
        return self._finish(self._take_over(self._plan), events, users, unarchived)

    def _fill_partitions(self, s0: int) -> tuple[int, int]:
        """Write the user states of every partition; how many events and users there are."""
        events = users = 0
        for number in range(self._keys.partitions):
            self._keep()
            table = self._archive.read(number, until=self._end(number))
            filled = fill_partition(self._client, self._keys, self._next, self._plan, number, table, s0)
            self._restore_log(number, table, filled)
            events, users = events + filled.events, users + filled.users
            self._progress("restoring users", number + 1, self._keys.partitions)
        return events, users

    def _end(self, number: int) -> int | None:
        """Where a partition's restoring ends: the archive of a replay goes on beyond its now."""
        if self._until is not None or self._before is None:
            return self._until
        return max(self._clock.now(), int(self._client.hget(self._keys.meta(number), "last_k") or 0)) + 1

    def _finish(self, s: int, events: int, users: int, unarchived: int | None) -> Rebuilt:
        if self._before is not None:
            time.sleep(_NOTICE_S)  # readers may have read the old generation's number just now
        forget_generations(self._client, self._keys, before=self._next)
        return Rebuilt(self._next, events, users, s, unarchived)

    def _begin(self) -> bool:
        """Find out what serves, and number what is made; whether that is left to be finished by a rebuild cut off.

        Raises BadInput for what cannot be rebuilt.
        """
        found = self._client.hgetall(self._keys.deployment())
        serves, begun = int(found.get(GENERATION, 0)), int(found.get(REBUILDING, 0))
        self._before = None if self._moved else serves or None
        stated = int(found.get(PARTITIONS, self._keys.partitions))
        if stated != self._keys.partitions and not self._moved:
            raise BadInput(f"Redis holds a deployment of {stated} partitions; set `partitions` to {stated}")
        if self._until is not None and not self._moved and (serves or self._has_log()):
            raise BadInput(
                "--until restores the past, and Redis serves the present; "
                "restore into an empty Redis, or under another redis_prefix"
            )
        if self._before is not None and begun > self._before and self._is_half_swapped(begun):
            self._next = begun
            return True
        made = max(serves, begun) + 1
        self._say({REBUILDING: made})
        self._next = made
        forget_generations(self._client, self._keys, before=made, but=serves)
        return False

    def _has_log(self) -> bool:
        return any(self._client.exists(self._keys.stream(number)) for number in range(self._keys.partitions))

    def _is_half_swapped(self, begun: int) -> bool:
        """Whether a rebuild was cut off when some partitions were read from the generation that it made already."""
        with self._client.pipeline(transaction=False) as together:
            for number in range(self._keys.partitions):
                together.hget(self._keys.meta(number), GENERATION)
            return any(int(found or 0) == begun for found in together.execute())

    def _holds(self) -> bool:
        """Take the lease of rebuilding, or keep it."""
        names = (self._keys.rebuilder(), self._keys.deployment())
        return bool(self._client.eval(_KEEP, 2, *names, self._token, int(_LEASE_S * 1000), self._next))

    def _keep(self) -> None:
        if not self._holds():
            raise Fenced("another rebuild has taken over; this one stops")

    def _say(self, said: dict[bytes, int]) -> None:
        fields = [part for pair in said.items() for part in pair]
        names = (self._keys.rebuilder(), self._keys.deployment())
        if not self._client.eval(_SAY, 2, *names, self._token, *fields):
            raise Fenced("another rebuild has taken over; this one stops")

    def _told(self, step: str, done: int, all_: int) -> None:
        self._keep()
        self._progress(step, done, all_)

    def _beginning(self) -> tuple[int, int | None]:
        """s0, the last whole interval before which the archive holds every event; and how many events it lacks."""
        now = self._clock.now()
        end, lacking = now if self._until is None else min(self._until, now), 0
        s0 = end - end % self._plan.interval_us
        if self._before is None:
            return s0, None
        for number in range(self._keys.partitions):
            self._client.eval(_LIFT, 1, self._keys.meta(number), s0 - 1, "", "")
            rest = _unarchived(self._client, self._keys, self._archive, number)
            if rest:
                s0 = min(s0, rest[0] - rest[0] % self._plan.interval_us)
                lacking += len(rest)
        return s0, lacking

    def _restore_log(self, number: int, table: pa.Table, filled: Filled) -> None:
        """Where a log that was lost goes on, and the message ids that are young enough to be repeated."""
        span, meta = self._archive.logged_span(number), self._keys.meta(number)
        began = self._client.hget(meta, "first_k")
        is_lost = span is not None and (began is None or int(began) > span[0])
        if self._before is not None and not is_lost:
            return
        generation = self._next if self._before is None else ""
        # Beyond what was served too: what is appended behind that would be taken for archived already.
        last_k = max(filled.last_k, self._shown_until(number), (self._until or 0) - 1)
        self._client.eval(_LIFT, 1, meta, last_k, span[0] if span else "", generation)
        now = self._clock.now() if self._until is None else self._until
        young = table.filter(pc.greater(table["client_time"], now - self._lateness_us))
        columns = (young[name].to_pylist() for name in ("message_id", "client_time", "k"))
        with self._client.pipeline(transaction=False) as together:
            for message_id, client_time, k in zip(*columns, strict=True):
                lasts_ms = (client_time + self._lateness_us - now) // 1000 + 1
                together.set(self._keys.dedupe(number, message_id), k, px=lasts_ms, nx=True)
                if len(together) >= _COMMANDS:
                    together.execute()
            together.execute()

    def _shown_until(self, number: int) -> int:
        journal = JournalArchive(self._archive.path, self._archive.partitions)
        return journal.covered_until(number) if self._until is None else 0

    def _take_over(self, plan: Plan) -> int:
        """Catch up with the log, let every partition be read from the next generation, then the snapshot; its s."""
        self._keep()
        grants = {
            number: Grant(self._next, int(self._client.hincrby(self._keys.place(number, self._next), "epoch", 1)))
            for number in range(self._keys.partitions)
        }
        publisher = Publisher(self._client, self._keys, plan, self._next)
        if self._before is not None:
            fold = Fold(
                self._client, self._keys, Log(self._client, self._keys, self._archive), self._clock, Plans(self._keys)
            )
            fold.own(grants)
            left = set(grants)
            while left:
                self._keep()
                # Once, not until nothing is left: something always is while events flow.
                fold.step(_WAIT_MS)
                publisher.step()
                left -= self._swapped(sorted(left), self._before)
                self._progress("moving partitions", len(grants) - len(left), len(grants))
            self._catch_up(fold, publisher, self._before)
        self._keep()
        self._say({GENERATION: self._next, PARTITIONS: self._keys.partitions})
        return publisher.s

    def _swapped(self, numbers: list[int], before: int) -> set[int]:
        keys = self._keys
        runs = [
            Run([keys.meta(number), keys.place(number, before), keys.place(number, self._next)], [before, self._next])
            for number in numbers
        ]
        answers = self._swap.run(runs)
        if min(answers) < 0:
            raise Fenced("another rebuild has taken over; this one stops")
        return {number for number, swapped in zip(numbers, answers, strict=True) if swapped}

    def _catch_up(self, fold: Fold, publisher: Publisher, before: int) -> None:
        """Publish until readers of the snapshot would lose nothing by the swap. Others may fold by now."""
        served = int(self._client.hget(self._keys.snapshot(before), "s") or 0)
        deadline = time.monotonic() + _LEASE_S
        while publisher.s < served:
            self._keep()
            fold.step(_WAIT_MS)
            if not publisher.step() and time.monotonic() > deadline:
                raise Unavailable("the next generation's snapshot does not catch up; rebuild again")


def unarchived(client: Any, keys: Keys, archive: Archive) -> int:
    """How many events the log holds that the archive does not."""
    return sum(len(_unarchived(client, keys, archive, number)) for number in range(keys.partitions))


def _unarchived(client: Any, keys: Keys, archive: Archive, number: int) -> list[int]:
    """The admission instants of one partition's events that the archive lacks."""
    found: list[int] = []
    after = f"({archive.covered_until(number)}-{2**64 - 1}".encode()
    while rest := client.xrange(keys.stream(number), min=after, count=_COMMANDS):
        found += [int(entry_id.partition(b"-")[0]) for entry_id, fields in rest if fields[b"t"] == EVENT_ENTRY]
        after = b"(" + rest[-1][0]
    return found
