"""Dead letters: every rejected event, whole and sealed, for the lateness horizon; listed, opened, and sent again.

One stream per partition, entry id `<instant of the refusal>-0`, fields r (the reason, readable) and s (the event as it
was reported, sealed; the reason is authenticated with it). They are written and trimmed by append.lua alone.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

import redis

from behavior.errors import BadInput
from deployment.keys import Keys
from deployment.sealing import Sealing
from scoring.v1 import scoring_pb2 as wire

# A valid event has a few hundred bytes, and cannot reach this; garbage of any size must not fill Redis.
MAX_LETTER_BYTES = 16_384
# With letters of any size, fewer bytes than a call may have.
_SENT_AT_ONCE = 200
_READ_AT_ONCE = 200

Track = Callable[[Sequence[wire.Event]], Sequence[wire.Result]]


class Letter(NamedTuple):
    """One dead letter; `instant` is when the log refused it, µs UTC."""

    partition: int
    id: bytes
    instant: int
    reason: str
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Heap:
    """The letters of one reason: how many, and when the oldest and the newest were refused, µs UTC."""

    reason: str
    letters: int
    oldest: int
    newest: int


@dataclass(slots=True)
class Redriven:
    """What became of the letters that were sent again.

    letters     how many there were
    unopened    sealed with another key, or damaged; they stay
    fates       accepted, duplicate and dropped ones are gone; a rejected one is replaced by a letter of its new refusal
    """

    letters: int = 0
    unopened: int = 0
    fates: Counter[str] = field(default_factory=Counter)


def write_letter(sealing: Sealing, message: wire.Event, reason: str) -> bytes:
    """The sealed letter of a rejected event; no bytes for one that is too large to be kept."""
    whole = message.SerializeToString()
    return sealing.seal(whole, reason.encode()) if len(whole) <= MAX_LETTER_BYTES else b""


def open_letter(sealing: Sealing, letter: Letter) -> wire.Event:
    """The event as it was reported. Raises BadInput if the letter cannot be opened with this key."""
    return wire.Event.FromString(sealing.open(letter.sealed, letter.reason.encode()))


class DeadLetters:
    """The dead letters of a deployment, for a person or a program that looks after them."""

    def __init__(self, client: "redis.Redis", keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def kept(self, since: int, reason: str | None = None) -> Iterator[Letter]:
        """The letters refused at or after the instant, by partition and instant, without those that come meanwhile.

        Raises redis.RedisError.
        """
        for partition in range(self._keys.partitions):
            last: Any = self._client.xrevrange(self._keys.dead(partition), count=1)
            if last:
                letters = self._of(partition, f"{since}-0".encode(), last[0][0])
                yield from (letter for letter in letters if reason in (None, letter.reason))

    def heaps(self, since: int, reason: str | None = None) -> list[Heap]:
        """The letters refused at or after the instant, by reason."""
        heaps: dict[str, Heap] = {}
        for letter in self.kept(since, reason):
            before = heaps.get(letter.reason) or Heap(letter.reason, 0, letter.instant, letter.instant)
            oldest, newest = min(before.oldest, letter.instant), max(before.newest, letter.instant)
            heaps[letter.reason] = Heap(letter.reason, before.letters + 1, oldest, newest)
        return [heaps[name] for name in sorted(heaps)]

    def delete(self, letters: Sequence[Letter]) -> None:
        """Remove the letters."""
        for partition, mine in groupby(letters, lambda letter: letter.partition):
            self._client.xdel(self._keys.dead(partition), *(letter.id for letter in mine))

    def redrive(self, sealing: Sealing, since: int, reason: str | None = None, track: Track | None = None) -> Redriven:
        """Send the letters again, or without `track` only open them.

        A letter is removed as soon as its event has been answered: by then the log has it, or has written a new letter.
        Raises what `track` raises; whatever was answered before is done, the rest stays as it was.
        """
        redriven = Redriven()
        batch: list[tuple[Letter, wire.Event]] = []
        for letter in self.kept(since, reason):
            redriven.letters += 1
            try:
                batch.append((letter, open_letter(sealing, letter)))
            except BadInput:
                redriven.unopened += 1
            if len(batch) == _SENT_AT_ONCE:
                self._send(batch, track, redriven)
                batch = []
        self._send(batch, track, redriven)
        return redriven

    def _send(self, batch: Sequence[tuple[Letter, wire.Event]], track: Track | None, redriven: Redriven) -> None:
        if not batch or track is None:
            return
        for result in track([event for _, event in batch]):
            redriven.fates[wire.Result.Status.Name(result.status).removeprefix("STATUS_").lower()] += 1
        self.delete([letter for letter, _ in batch])

    def _of(self, partition: int, first: bytes, last: bytes) -> Iterator[Letter]:
        while True:
            entries: Any = self._client.xrange(self._keys.dead(partition), first, last, count=_READ_AT_ONCE)
            for entry_id, fields in entries:
                instant = int(entry_id.partition(b"-")[0])
                yield Letter(partition, entry_id, instant, fields[b"r"].decode(), fields[b"s"])
            if len(entries) < _READ_AT_ONCE:
                return
            first = b"(" + entries[-1][0]
