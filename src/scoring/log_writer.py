"""Writing to the log: offers become admitted entries, each with its fate, in one script per partition.

One stream per partition, entry id `<k>-0`. The script admits, de-duplicates and counts in one step (append.lua). What
it rejects is kept as a dead letter by the same script. A letter is sealed only when it is needed, or may be: an event
that is about to be too late brings its own, one that turns out to be too late without it is offered once more with it.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any, NamedTuple

import msgspec
from redis.exceptions import NoScriptError

from behavior import event as events
from behavior import served as served_entries
from behavior.errors import Unavailable
from behavior.event import HOUR_US, MINUTE_US, Event
from behavior.served import EVENT_ENTRY, SERVED_ENTRY, Served
from deployment.connections import UNANSWERED, ask_each, is_silence
from deployment.keys import Keys
from scoring.circuit import Circuit, Circuits

ACCEPTED = "accepted"
DUPLICATE = "duplicate"
REJECTED = "rejected"
DROPPED = "dropped"
SERVED = "served"
_AGAIN = "again"
_MOVING = b"MOVING"
TOO_LATE = "too_late"
TOO_EARLY = "too_early"

APPEND = files("scoring").joinpath("append.lua").read_text(encoding="utf-8")
_APPEND_SHA = sha1(APPEND.encode(), usedforsecurity=False).hexdigest()
# How far the log's own instants may be ahead of the clock before an event needs a second offer to be rejected.
_NEAR_US = MINUTE_US
# A caller who gives up before this says nothing about the log: every append is on disk before it is answered.
_FAIR_S = 0.1

# What is kept of a rejected event, sealed, given the reason; no bytes if it cannot be kept, which is counted.
Letter = Callable[[str], bytes]


def no_letter(reason: str) -> bytes:
    """Keeps nothing of a rejected event."""
    return b""


class Offer(msgspec.Struct, frozen=True):
    """One thing that a partition is offered; make it with the functions below.

    what         e, s, rejected or dropped, as append.lua reads them
    message_id   of an event, what a repetition is recognised by
    client_time  of an event, µs UTC
    body         bytes of the entry, else the reason
    letter       what is kept of it if it is rejected
    """

    what: bytes
    body: bytes
    message_id: str = ""
    client_time: int = 0
    letter: Letter = no_letter


class Fate(NamedTuple):
    """What became of an offer: its status, why, and the admission instant k (0 if it has none)."""

    status: str
    reason: str = ""
    k: int = 0


def offer_event(event: Event, letter: Letter = no_letter) -> Offer:
    """An event that keeps every rule of admission."""
    return Offer(EVENT_ENTRY, events.encode(event), event.message_id, event.client_time, letter)


def offer_served(served: Served | bytes) -> Offer:
    """What was shown to a user, or the bytes of it."""
    return Offer(SERVED_ENTRY, served if isinstance(served, bytes) else served_entries.encode(served))


def offer_rejected(reason: str, letter: Letter = no_letter) -> Offer:
    """An event that was refused before it got to the log: counted, and its letter kept."""
    return Offer(REJECTED.encode(), reason.encode(), letter=letter)


def offer_dropped(purpose: str) -> Offer:
    """An event that nobody consented to keep: only counted."""
    return Offer(DROPPED.encode(), purpose.encode())


class LogWriter:
    """Appends to the log, inside an event loop.

    client              as `converse` gives it
    lateness_horizon_h  how old an event may be at admission, and how long dead letters are kept, in hours
    dead_letters        how many dead letters a partition keeps
    check_room          raises Unavailable while nothing may be written; called before every append, without I/O
    circuits            follow whether the log answers: while it does not, most appends are refused at once;
                        without them every append waits for its answer
    """

    def __init__(
        self,
        client: Any,
        keys: Keys,
        lateness_horizon_h: int,
        dead_letters: int = 1000,
        check_room: Callable[[], None] = lambda: None,
        circuits: Circuits | None = None,
    ) -> None:
        self._client = client
        self._keys = keys
        self._horizon_us = lateness_horizon_h * HOUR_US
        self._dead_letters = dead_letters
        self._check_room = check_room
        self._circuits = circuits

    async def append(self, partition: int, offers: Sequence[Offer], now: int) -> list[Fate]:
        """What became of each offer, in their order; all of them in one step, at or after `now`.

        Raises Unavailable if the log did not answer or refused: then some of the offers may have been taken, and
        offering them again is safe.
        """
        self._check_room()
        letters = [self._letter(offer, now) for offer in offers]
        fates = await self._run(partition, offers, letters, now, complete=False)
        again = [place for place, fate in enumerate(fates) if fate.status == _AGAIN]
        if again:
            # What was too late stays too late: instants of the log only grow.
            late = [offers[place] for place in again]
            letters = [offers[place].letter(fates[place].reason) for place in again]
            for place, fate in zip(again, await self._run(partition, late, letters, now, complete=True), strict=True):
                fates[place] = fate
        return fates

    async def append_many(self, offers: Mapping[int, tuple[Sequence[Offer], int]]) -> dict[int, Unavailable]:
        """Append to many partitions in one round trip, one step each: {partition: (offers, not before)}.

        For offers that need no answer of their own and no letter: served entries. Returns why a partition did not take
        its offers, those that did left out. Raises Unavailable if nothing may be written, or nothing was answered.
        """
        self._check_room()
        runs = {
            number: self._arguments(number, said, [b""] * len(said), now, complete=False)
            for number, (said, now) in offers.items()
        }
        try:
            answers = dict(zip(runs, await self._ran(list(runs.values())), strict=True))
        except UNANSWERED as error:
            raise Unavailable(f"the log could not take entries ({type(error).__name__})") from error
        failed: dict[int, Unavailable] = {}
        for number, answer in answers.items():
            if answer == _MOVING:
                failed[number] = Unavailable("the log is being moved to another number of partitions")
            elif isinstance(answer, Exception):
                failed[number] = Unavailable(f"the log could not take entries ({type(answer).__name__})")
        return failed

    def _arguments(
        self, partition: int, offers: Sequence[Offer], letters: Sequence[bytes], now: int, *, complete: bool
    ) -> list[Any]:
        """Of one run of the script, beginning with the number of its keys."""
        keys = _names(self._keys, partition, offers)
        arguments = [len(keys), *keys, now, self._horizon_us, self._dead_letters, int(complete)]
        for offer, letter in zip(offers, letters, strict=True):
            arguments += (offer.what, offer.client_time, offer.body, letter)
        return arguments

    async def _ran(self, runs: Sequence[list[Any]]) -> list[Any]:
        """What each run of the script answers, or its error, in one round trip; by its text where it is not known."""
        answers = await ask_each(self._client, [("EVALSHA", _APPEND_SHA, *run) for run in runs])
        unknown = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        again = await ask_each(self._client, [("EVAL", APPEND, *runs[place]) for place in unknown])
        for place, answer in zip(unknown, again, strict=True):
            answers[place] = answer
        return answers

    def _letter(self, offer: Offer, now: int) -> bytes:
        """The letter of an offer that is rejected, or may be; no bytes for any other."""
        if offer.what == REJECTED.encode():
            return offer.letter(offer.body.decode())
        if offer.what == EVENT_ENTRY:
            if now - offer.client_time > self._horizon_us - _NEAR_US:
                return offer.letter(TOO_LATE)
            if offer.client_time - now > self._horizon_us:
                return offer.letter(TOO_EARLY)
        return b""

    async def _run(
        self, partition: int, offers: Sequence[Offer], letters: Sequence[bytes], now: int, *, complete: bool
    ) -> list[Fate]:
        circuit = Circuit() if self._circuits is None else self._circuits.of_partition(partition)
        began = time.monotonic()
        if not circuit.allows(began):
            raise Unavailable("the log does not answer at the moment; try again")
        try:
            (raw,) = await self._ran([self._arguments(partition, offers, letters, now, complete=complete)])
            if isinstance(raw, Exception):
                raise raw
        except asyncio.CancelledError:  # the caller's deadline was shorter than Redis's
            if time.monotonic() - began >= _FAIR_S:
                circuit.failed(time.monotonic())
            raise
        except UNANSWERED as error:
            if is_silence(error):
                circuit.failed(time.monotonic())
            raise Unavailable(f"the log could not take events ({type(error).__name__}); try again") from error
        circuit.answered()
        if raw == _MOVING:
            raise Unavailable("the log is being moved to another number of partitions; try again")
        return [_fate(status, detail) for status, detail in raw]


def _names(keys: Keys, partition: int, offers: Sequence[Offer]) -> list[bytes]:
    seen = [keys.dedupe(partition, offer.message_id) for offer in offers if offer.what == EVENT_ENTRY]
    return [keys.stream(partition), keys.meta(partition), keys.counts(partition), keys.dead(partition), *seen]


def _fate(status: bytes, detail: bytes) -> Fate:
    name = status.decode()
    if name in (ACCEPTED, DUPLICATE, SERVED):
        return Fate(name, k=int(detail))
    return Fate(name, detail.decode())
