"""Collect: what clients report becomes events in the log, or an answer that says why not.

    message ─ consent? ─ readable? ─ pseudonyms ─ rules of admission ─▶ offer to the user's partition ─▶ fate

Every event that is answered is counted in the script that appends: received = accepted + duplicate + rejected +
dropped. The same script keeps what it rejects, whole and sealed, as a dead letter. What the log did not take is never
acknowledged.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np

from behavior.admission import MAX_ID_BYTES, MAX_TEXT_BYTES, MAX_VALUE_MINOR, OTHER_REASONS, RULES, refusal
from behavior.errors import BadInput
from behavior.event import PURPOSES, SECOND_US, Event
from behavior.partition import partition_of
from deployment.clock import AsyncClock
from deployment.pseudonym import Pseudonyms
from deployment.sealing import Sealing
from deployment.setting_types import Property
from deployment.settings import Settings
from deployment.zone import offsets_at
from scoring.dead_letters import write_letter
from scoring.log_writer import Fate, Letter, LogWriter, Offer, offer_dropped, offer_event, offer_rejected
from scoring.v1 import scoring_pb2 as wire

MAX_EVENTS = 1000
_NO_CONSENT = "consent"
# What a dropped or rejected event counts under when nobody can be told from it.
_NOBODY = 0

MESSAGES: dict[str, str] = {
    **{rule.reason: rule.message for rule in RULES},
    **OTHER_REASONS,
    _NO_CONSENT: "the event carries no purpose that the person consented to, so it is not kept",
}
_BITS = {
    value.number: PURPOSES[value.name.removeprefix("PURPOSE_").lower()]
    for value in wire.Purpose.DESCRIPTOR.values
    if value.number
}
_TEXTS = ("item", "category", "order_id", "session_id", "request_id", "placement", "device", "page", "source")


class Refused(Exception):
    """The event breaks a rule: its reason, and the sentence about it."""

    def __init__(self, reason: str, message: str | None = None) -> None:
        super().__init__(message or MESSAGES[reason])
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one reported event; `message` is its reason in a sentence, empty if there is none."""

    fate: Fate
    message: str


@dataclass(frozen=True, slots=True)
class Collect:
    """Takes events in for a deployment."""

    log: LogWriter
    clock: AsyncClock
    pseudonyms: Pseudonyms
    sealing: Sealing
    settings: Settings

    async def track(self, reported: Sequence[wire.Event]) -> list[Outcome]:
        """The outcome of each event, in order; those of one user keep their order in the log.

        Raises BadInput for more than MAX_EVENTS, Unavailable if the log did not take them all; then reporting all
        of them again is safe.
        """
        if len(reported) > MAX_EVENTS:
            raise BadInput(f"a call may carry {MAX_EVENTS} events, this one has {len(reported)}; split it")
        now = await self.clock.now()
        judged = [self._judge(message) for message in reported]
        fates = await self._append([(partition, offer) for partition, offer, _ in judged], now)
        return [
            Outcome(fate, sentence or MESSAGES.get(fate.reason, ""))
            for fate, (_, _, sentence) in zip(fates, judged, strict=True)
        ]

    async def _append(self, offers: Sequence[tuple[int, Offer]], now: int) -> list[Fate]:
        places: dict[int, list[int]] = {}
        for place, (partition, _) in enumerate(offers):
            places.setdefault(partition, []).append(place)
        answers = await asyncio.gather(
            *(
                self.log.append(partition, [offers[place][1] for place in mine], now)
                for partition, mine in places.items()
            )
        )
        fates = {
            place: fate
            for mine, answered in zip(places.values(), answers, strict=True)
            for place, fate in zip(mine, answered, strict=True)
        }
        return [fates[place] for place in range(len(offers))]

    def _judge(self, message: wire.Event) -> tuple[int, Offer, str]:
        """The partition, what to offer it, and the sentence of a refusal."""
        user = self._pseudonym(message)
        partition = partition_of(user, self.settings.partitions) if user else _NOBODY
        purposes = purposes_of(message)
        if not purposes:
            return partition, offer_dropped(_NO_CONSENT), ""
        letter = self._letter(message)
        try:
            return partition, offer_event(self._read(message, user, purposes), letter), ""
        except Refused as refused:
            return partition, offer_rejected(refused.reason, letter), str(refused)

    def _letter(self, message: wire.Event) -> Letter:
        """The whole message as it was reported, once it is asked for."""
        return lambda reason: write_letter(self.sealing, message, reason)

    def _pseudonym(self, message: wire.Event) -> str:
        """The user's pseudonym, else the anonymous one, else an empty text."""
        if message.user_id and len(message.user_id.encode()) <= MAX_ID_BYTES:
            return self.pseudonyms.user(message.user_id)
        if message.anonymous_id and len(message.anonymous_id.encode()) <= MAX_ID_BYTES:
            return self.pseudonyms.anonymous(message.anonymous_id)
        return ""

    def _read(self, message: wire.Event, user: str, purposes: int) -> Event:
        for name in ("user_id", "anonymous_id"):
            if len(getattr(message, name).encode()) > MAX_ID_BYTES:
                raise Refused("bad_value", f"{name} must be at most {MAX_ID_BYTES} bytes")
        event = Event(
            message_id=message.message_id,
            kind=message.kind,
            user_id=user,
            client_time=_time(message),
            anonymous_id=self.pseudonyms.anonymous(message.anonymous_id) if message.anonymous_id else None,
            value=message.value_minor if message.HasField("value_minor") else None,
            currency=message.currency or None,
            quantity=message.quantity if message.HasField("quantity") else None,
            utc_offset_s=_offset(message),
            properties=_properties(message, self.settings.properties),
            purposes=purposes,
            **{name: getattr(message, name) or None for name in _TEXTS},
        )
        broken = refusal(event)
        if broken is not None:
            raise Refused(broken.reason)
        if event.currency not in (None, self.settings.currency):
            raise Refused("wrong_currency", f"amounts of this deployment are in {self.settings.currency}")
        return event


def purposes_of(message: wire.Event) -> int:
    """The purposes consented to, as bits; what this version does not know is not consented to."""
    bits = 0
    for number in message.consent:
        bits |= _BITS.get(number, 0)
    return bits


def _time(message: wire.Event) -> int:
    """The event time in µs UTC, what is finer cut off; a wrong one is refused by the rules."""
    stamp = message.event_time
    if not message.HasField("event_time") or not 0 <= stamp.nanos < 1_000_000_000:
        raise Refused("bad_time", "event_time must be given, and lie between 1970 and 2100")
    return int(stamp.seconds) * SECOND_US + stamp.nanos // 1000


def _offset(message: wire.Event) -> int | None:
    """The stated UTC offset, or the zone's at the event time."""
    which = message.WhichOneof("offset")
    if which != "zone":
        return int(message.utc_offset_s) if which else None
    try:
        return int(offsets_at(message.zone, np.array([_time(message)], dtype=np.int64))[0])
    except (BadInput, ValueError, OSError, OverflowError):
        raise Refused("bad_utc_offset", "zone must be an IANA name such as America/New_York") from None


def _properties(message: wire.Event, allowed: dict[str, Property]) -> dict[str, int | str]:
    """The properties that the deployment allows, numbers as integers of their declared scale."""
    kept: dict[str, int | str] = {}
    # A protobuf map has no order of its own: sorted, so that equal events have equal bytes.
    for name in sorted(allowed.keys() & message.properties.keys()):
        declared, stated = allowed[name], message.properties[name]
        if stated.WhichOneof("value") != declared.kind:
            raise Refused("bad_value", f"the property {name} must be a {declared.kind}")
        kept[name] = stated.text if declared.scale is None else _scaled(name, stated.number, declared.scale)
        if declared.scale is None and len(stated.text.encode()) > MAX_TEXT_BYTES:
            raise Refused("bad_value", f"the property {name} must be at most {MAX_TEXT_BYTES} bytes")
    return kept


def _scaled(name: str, number: float, scale: int) -> int:
    """The number in units of 10^-scale; halves go to the even neighbour, of the decimal digits that were meant."""
    if not math.isfinite(number) or abs(number) * 10**scale > MAX_VALUE_MINOR:
        raise Refused("bad_value", f"the property {name} must be a finite number within ±{MAX_VALUE_MINOR}e-{scale}")
    return int(Decimal(repr(number)).scaleb(scale).to_integral_value(ROUND_HALF_EVEN))
