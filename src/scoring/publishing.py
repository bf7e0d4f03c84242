"""The snapshot: item, category and `all` values of the whole deployment at one instant, made of partitions' deltas.

    s = the last instant that every partition has closed
    whole states (s before) + deltas of the intervals up to s ──▶ whole states (s)
    every entity that was touched, or in whose windows something left ──▶ its raw values at s, one packed row
    whole states + rows + s + what changed, one script ──▶ the deltas are deleted

One process publishes, under an epoch of its own. What was published is not published twice; deltas that a killed one
left behind are known by their interval, and deleted by the next.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import chain, groupby
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np

from behavior import state
from behavior.errors import Fenced
from behavior.plan import Plan, View
from behavior.ragged import NEVER
from behavior.readout import readout
from behavior.snapshot_rows import pack_rows
from deployment.keys import Keys
from scoring.deltas import Delta, decode_deltas, merged, place_of
from scoring.scripts import Run, Script, lua

_log = logging.getLogger("opportune.publish")
# How many snapshots back a reader can catch up by what changed; beyond that, and if more changed at once, it reads all.
KEPT_CHANGES = 60
_LARGEST_CHANGE = 4_000_000  # bytes
# States that are read out at once when publishing is taken over, and that are merged or read out in one piece.
_AT_ONCE = 20_000
_PIECE = 200


class Wholes:
    """The whole states of a generation's snapshot views at s, and when each row changes next by itself.

    A state is kept as its bytes: a hundred thousand items fit into a few tens of megabytes.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.stored: dict[bytes, bytes] = {}
        self._due: list[tuple[int, bytes]] = []
        # Of each field the one entry of `_due` that counts: what is touched every minute is noted once an hour.
        self._noted: dict[bytes, int] = {}

    def merge(self, deltas: Mapping[tuple[int, bytes], Sequence[Delta]]) -> list[bytes]:
        """Merge the deltas of closed intervals, (interval's end, field) each; the fields that changed."""
        touched = list(dict.fromkeys(field for _, field in sorted(deltas)))
        known = [field for field in touched if field in self.stored]
        blobs = [(self.plan.lettered(field), self.stored[field]) for field in known]
        wholes = dict(zip(known, state.decode_all(blobs), strict=True)) if known else {}
        for place in sorted(deltas):
            field = place[1]
            wholes[field] = merged(self.plan.lettered(field), wholes.get(field), list(deltas[place]))
        encoded = state.encode_all([(self.plan.lettered(field), wholes[field]) for field in touched]) if touched else []
        self.stored.update(zip(touched, encoded, strict=True))
        return touched

    def rows_at(self, s: int, fields: Iterable[bytes]) -> dict[bytes, bytes]:
        """The packed rows of the fields at s; notes when each changes next."""
        by_view: dict[View, list[bytes]] = {}
        for field in fields:
            by_view.setdefault(self.plan.lettered(field), []).append(field)
        rows: dict[bytes, bytes] = {}
        for view, names in by_view.items():
            for start in range(0, len(names), _AT_ONCE):
                some = names[start : start + _AT_ONCE]
                found = readout(view, [self.stored[name] for name in some], np.full(len(some), s, dtype=np.int64))
                rows.update(zip(some, pack_rows(view, found.raw, found.seen_e), strict=True))
                for name, leave in zip(some, found.leave.tolist(), strict=True):
                    self._note(name, leave, view.interval_us)
        return rows

    def _note(self, field: bytes, leave: int, interval_us: int) -> None:
        at = -(-leave // interval_us) * interval_us
        if leave != NEVER and self._noted.get(field) != at:
            self._noted[field] = at
            heappush(self._due, (at, field))

    def due(self, s: int) -> set[bytes]:
        """The fields in whose windows something leaves by s."""
        found = set()
        while self._due and self._due[0][0] <= s:
            at, field = heappop(self._due)
            if self._noted.get(field) == at:
                del self._noted[field]
                found.add(field)
        return found


class Publisher:
    """Publishes the snapshots of one generation; making one takes publishing over."""

    def __init__(self, client: Any, keys: Keys, plan: Plan, generation: int) -> None:
        self._client = client
        self._keys = keys
        self._plan = plan
        self._publish = Script(client, lua("publish.lua"))
        self.generation = generation
        self.epoch = int(client.hincrby(keys.snapshot(generation), "epoch", 1))
        self.s = int(client.hget(keys.snapshot(generation), "s") or 0)
        self._wholes = Wholes(plan)
        for view in plan.snapshot_views:
            whole = client.hgetall(keys.whole(generation, view.name))
            self._wholes.stored.update({view.letter + entity: data for entity, data in whole.items()})
        self._work: Iterator[None] | None = None
        self._wholes.rows_at(self.s, self._wholes.stored)

    @property
    def is_busy(self) -> bool:
        """Whether a snapshot is being made."""
        return self._work is not None

    def step(self, budget_s: float | None = None) -> bool:
        """Go on publishing the last instant that every partition has closed; True once one has been published.

        With a budget, the work is laid down when it has taken so long, and taken up at the next step: a fold that
        publishes goes on folding in between. Raises Fenced if another process publishes.
        """
        until = None if budget_s is None else time.monotonic() + budget_s
        if self._work is None:
            s = self._closed()
            if s <= self.s:
                return False
            self._work = self._publishing(s)
        for _ in self._work:
            if until is not None and time.monotonic() >= until:
                return False
        self._work = None
        return True

    def _publishing(self, s: int) -> Iterator[None]:
        """Publish s, with a pause after each piece of work that takes a few milliseconds."""
        deltas: dict[tuple[int, bytes], list[Delta]] = {}
        finished: dict[int, list[bytes]] = {}
        for number in range(self._keys.partitions):
            finished[number] = self._take_in(number, s, deltas)
            yield
        touched: dict[bytes, None] = {}
        places = sorted(deltas, key=itemgetter(1, 0))  # all intervals of an entity together, in their order
        for some in _pieces(places):
            touched |= dict.fromkeys(self._wholes.merge({place: deltas[place] for place in some}))
            yield
        rows: dict[bytes, bytes] = {}
        changed = sorted(touched.keys() | self._wholes.due(s))
        for start in range(0, len(changed), _PIECE):
            rows |= self._wholes.rows_at(s, changed[start : start + _PIECE])
            yield
        if not self._publish.run([self._run(s, touched, rows)])[0]:
            raise Fenced("another process publishes the snapshot; this one stops")
        self.s = s
        for number, fields in finished.items():
            for start in range(0, len(fields), 1000):
                self._client.hdel(self._keys.deltas(number, self.generation), *fields[start : start + 1000])
            yield

    def _closed(self) -> int:
        with self._client.pipeline(transaction=False) as together:
            for number in range(self._keys.partitions):
                together.hget(self._keys.place(number, self.generation), "s")
            return min(int(s or 0) for s in together.execute())

    def _take_in(self, number: int, s: int, deltas: dict[tuple[int, bytes], list[Delta]]) -> list[bytes]:
        """Add a partition's deltas that are not in the whole states yet; the fields that can be deleted afterwards."""
        stored = self._client.hgetall(self._keys.deltas(number, self.generation))
        closed = {field: data for field, data in stored.items() if place_of(field)[0] <= s}
        fresh = {field: data for field, data in closed.items() if place_of(field)[0] > self.s}
        for place, delta in decode_deltas(self._plan, fresh).items():
            deltas.setdefault(place, []).append(delta)
        return list(closed)

    def _run(self, s: int, touched: Iterable[bytes], rows: Mapping[bytes, bytes]) -> Run:
        keys, changes = [self._keys.snapshot(self.generation), self._keys.changes(self.generation)], {}
        hashes: list[dict[bytes, bytes]] = []
        for view in self._plan.snapshot_views:
            keys += (self._keys.whole(self.generation, view.name), self._keys.rows(self.generation, view.name))
            mine = [field for field in touched if field.startswith(view.letter)]
            hashes.append({field[1:]: self._wholes.stored[field] for field in mine})
            hashes.append({field[1:]: row for field, row in rows.items() if field.startswith(view.letter)})
            changes[view.name] = hashes[-1]
        packed = msgspec.msgpack.encode(changes)
        args: list[Any] = [self.epoch, self.s, s, packed if len(packed) <= _LARGEST_CHANGE else b"", KEPT_CHANGES]
        for each in hashes:
            args += [len(each), *chain.from_iterable(each.items())]
        return Run(keys, args)


def _pieces(places: Sequence[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """The places in pieces of about equal size; those of one entity stand together, and stay so."""
    piece: list[tuple[int, bytes]] = []
    for _, together in groupby(places, key=itemgetter(1)):
        piece += together
        if len(piece) >= _PIECE:
            yield piece
            piece = []
    if piece:
        yield piece
