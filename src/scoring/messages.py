"""What a client sends: questions and events as messages, made of plain values and checked before anything is sent."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from behavior.errors import BadInput
from behavior.event import PURPOSES, SECOND_US
from behavior.served import CATEGORY, ITEM
from scoring.v1 import scoring_pb2 as wire

_KINDS = {CATEGORY: wire.CANDIDATE_KIND_CATEGORY, ITEM: wire.CANDIDATE_KIND_ITEM}


def question(
    user: str | None = None,
    *,
    anonymous: str | None = None,
    candidates: Sequence[str] = (),
    kind: str = CATEGORY,
    placement: str = "",
    utc_offset_s: int | None = None,
    zone: str | None = None,
    device: str = "",
    page: str = "",
    top_k: int = 0,
    explain: bool = False,
) -> wire.ScoreRequest:
    """A request to rank for a user, or for somebody anonymous; what is left out gets the defaults of the proto.

    candidates    ids of `kind`, category or item; none for those that the server offers

    Raises BadInput for what a request cannot carry.

    >>> question("u", candidates=["TEA"], utc_offset_s=3600).moment.utc_offset_s
    3600
    """
    if kind not in _KINDS:
        raise BadInput(f"{kind!r} is no kind of candidates; they are {' or '.join(_KINDS)}")
    try:
        return wire.ScoreRequest(
            user_id=user,
            anonymous_id=anonymous if user is None else None,
            candidates=[wire.Candidate(kind=_KINDS[kind], id=each) for each in candidates],
            placement=placement,
            moment=wire.Moment(utc_offset_s=utc_offset_s, zone=zone, device=device, page=page),
            top_k=top_k,
            explain=explain,
        )
    except (ValueError, TypeError) as error:
        raise BadInput(f"this is no request: {error}") from None


def event(
    *,
    event_time: datetime | int,
    consent: Iterable[str] = (),
    properties: Mapping[str, float | str] | None = None,
    **fields: Any,
) -> wire.Event:
    """An event as a message: fields as the proto names them, what is None is left away.

    event_time    an aware datetime, or µs since 1970 UTC
    consent       purposes by name: personalization, analytics, marketing

    Raises BadInput for what an event cannot carry.

    >>> event(message_id="m1", kind="purchase", user_id="u", event_time=1_500_000_000_000_001).event_time.nanos
    1000
    """
    try:
        return wire.Event(
            event_time=_stamp(event_time),
            consent=[_purpose(name) for name in consent],
            properties={name: _property(value) for name, value in (properties or {}).items()},
            **fields,
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"this is no event: {error}") from None


def _stamp(instant: datetime | int) -> Timestamp:
    stamp = Timestamp()
    if isinstance(instant, datetime):
        if instant.tzinfo is None:
            raise BadInput(f"event_time {instant} has no UTC offset; make the datetime aware")
        stamp.FromDatetime(instant)
    else:
        stamp.seconds, stamp.nanos = instant // SECOND_US, instant % SECOND_US * 1000
    return stamp


def _purpose(name: str) -> str:
    if name not in PURPOSES:
        raise BadInput(f"{name!r} is no purpose; the purposes are {', '.join(PURPOSES)}")
    return f"PURPOSE_{name.upper()}"


def _property(value: float | str) -> wire.Property:
    return wire.Property(text=value) if isinstance(value, str) else wire.Property(number=value)
