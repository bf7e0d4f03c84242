"""A thin client: ask for a ranking, report what happened. Synchronous, one channel, safe to share between threads.

    with Client("127.0.0.1:50051") as client:
        answer = client.score("household-1", top_k=10)
        client.track([{"message_id": "m1", "kind": "purchase", "user_id": "household-1", ...}])

Calls have a deadline and are repeated only when the server was unavailable; all methods are safe to repeat.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from behavior.errors import Altered, BadInput, Forbidden, NotFound, OpportuneError, Unauthenticated, Unavailable
from behavior.event import PURPOSES, SECOND_US
from scoring.credentials import Credentials
from scoring.v1 import scoring_pb2 as wire
from scoring.v1.scoring_pb2_grpc import ScoringStub

DEADLINE_S = 2.0
_POLICY = {
    "methodConfig": [
        {
            "name": [{"service": "scoring.v1.Scoring"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                # Nothing else: a server that is overloaded or has refused must not be asked again.
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
_OPTIONS = (
    ("grpc.service_config", json.dumps(_POLICY)),
    ("grpc.enable_retries", 1),
    # A scorer is a neighbour, not a web site: a proxy from the environment is never meant for it.
    ("grpc.enable_http_proxy", 0),
)


_REFUSALS = {
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: Forbidden,
}


class Client:
    """Talks to one server.

    deadline_s    how long a call may take with all its repetitions, unless the call says otherwise
    credentials   what is shown to the server, and by what it is trusted; without TLS and token unless given
    """

    def __init__(self, address: str, *, deadline_s: float = DEADLINE_S, credentials: Credentials | None = None) -> None:
        self.address = address
        self._deadline_s = deadline_s
        shown = credentials or Credentials()
        self._metadata = shown.metadata(address)
        self._channel = shown.channel(address, _OPTIONS)
        self._stub = ScoringStub(self._channel)

    def score(
        self,
        user: str | None = None,
        *,
        anonymous: str | None = None,
        candidates: Sequence[str] = (),
        placement: str = "",
        utc_offset_s: int | None = None,
        zone: str | None = None,
        device: str = "",
        page: str = "",
        top_k: int = 0,
        explain: bool = False,
        deadline_s: float | None = None,
    ) -> wire.ScoreResponse:
        """Categories ranked for a user (or somebody anonymous), the popular ones unless `candidates` names some.

        Raises BadInput, Unavailable, or OpportuneError with the server's own sentence.
        """
        request = wire.ScoreRequest(
            user_id=user,
            anonymous_id=anonymous if user is None else None,
            candidates=[wire.Candidate(kind=wire.CANDIDATE_KIND_CATEGORY, id=each) for each in candidates],
            placement=placement,
            moment=wire.Moment(utc_offset_s=utc_offset_s, zone=zone, device=device, page=page),
            top_k=top_k,
            explain=explain,
        )
        answer: wire.ScoreResponse = self._call(self._stub.Score, request, deadline_s)
        return answer

    def track(
        self, events: Iterable[wire.Event | Mapping[str, Any]], *, deadline_s: float | None = None
    ) -> list[wire.Result]:
        """What became of each event, in their order; events as messages or as mappings (see `event`).

        Raises BadInput, Unavailable, or OpportuneError with the server's own sentence. After Unavailable nothing is
        known of the events: send the same ones again, none is taken twice.
        """
        messages = [each if isinstance(each, wire.Event) else event(**each) for each in events]
        answer = self._call(self._stub.Track, wire.TrackRequest(events=messages), deadline_s)
        return list(answer.results)

    def explain(
        self, request_id: str, *, events: bool = False, deadline_s: float | None = None
    ) -> wire.ExplainResponse:
        """An answer of the past made again, and whether it is the same; with the user's events by then if wanted.

        Raises BadInput, NotFound, Altered, Unavailable, or OpportuneError with the server's own sentence.
        """
        request = wire.ExplainRequest(request_id=request_id, events=events)
        answer: wire.ExplainResponse = self._call(self._stub.Explain, request, deadline_s)
        return answer

    def close(self) -> None:
        """Close the connection; open calls are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        """Nothing is sent before the first call."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def _call(self, method: Any, request: Any, deadline_s: float | None) -> Any:
        try:
            timeout = self._deadline_s if deadline_s is None else deadline_s
            return method(request, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._told(error) from None

    def _told(self, error: Any) -> OpportuneError:
        code, detail = error.code(), error.details()
        if code is grpc.StatusCode.INVALID_ARGUMENT:
            return BadInput(detail)
        if code is grpc.StatusCode.NOT_FOUND:
            return NotFound(detail)
        if code is grpc.StatusCode.DATA_LOSS:
            return Altered(detail)
        if code is grpc.StatusCode.UNAVAILABLE:
            return Unavailable(f"the server at {self.address} is unavailable: {detail}")
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return Unavailable(f"the server at {self.address} did not answer in time; give a longer deadline")
        if code in _REFUSALS:
            return _REFUSALS[code](detail)
        return OpportuneError(f"the server at {self.address} answered {code.name}: {detail}")


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
