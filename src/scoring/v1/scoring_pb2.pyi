import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CandidateKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CANDIDATE_KIND_UNSPECIFIED: _ClassVar[CandidateKind]
    CANDIDATE_KIND_ITEM: _ClassVar[CandidateKind]
    CANDIDATE_KIND_CATEGORY: _ClassVar[CandidateKind]

class Purpose(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PURPOSE_UNSPECIFIED: _ClassVar[Purpose]
    PURPOSE_PERSONALIZATION: _ClassVar[Purpose]
    PURPOSE_ANALYTICS: _ClassVar[Purpose]
    PURPOSE_MARKETING: _ClassVar[Purpose]
CANDIDATE_KIND_UNSPECIFIED: CandidateKind
CANDIDATE_KIND_ITEM: CandidateKind
CANDIDATE_KIND_CATEGORY: CandidateKind
PURPOSE_UNSPECIFIED: Purpose
PURPOSE_PERSONALIZATION: Purpose
PURPOSE_ANALYTICS: Purpose
PURPOSE_MARKETING: Purpose

class Candidate(_message.Message):
    __slots__ = ("kind", "id", "category")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    kind: CandidateKind
    id: str
    category: str
    def __init__(self, kind: _Optional[_Union[CandidateKind, str]] = ..., id: _Optional[str] = ..., category: _Optional[str] = ...) -> None: ...

class Moment(_message.Message):
    __slots__ = ("utc_offset_s", "zone", "device", "page")
    UTC_OFFSET_S_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    utc_offset_s: int
    zone: str
    device: str
    page: str
    def __init__(self, utc_offset_s: _Optional[int] = ..., zone: _Optional[str] = ..., device: _Optional[str] = ..., page: _Optional[str] = ...) -> None: ...

class ScoreRequest(_message.Message):
    __slots__ = ("user_id", "anonymous_id", "candidates", "placement", "moment", "top_k", "explain")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ANONYMOUS_ID_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    MOMENT_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    anonymous_id: str
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    placement: str
    moment: Moment
    top_k: int
    explain: bool
    def __init__(self, user_id: _Optional[str] = ..., anonymous_id: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., placement: _Optional[str] = ..., moment: _Optional[_Union[Moment, _Mapping]] = ..., top_k: _Optional[int] = ..., explain: _Optional[bool] = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("request_id", "as_of", "bundle_id", "learner_version", "snapshot_instant", "ranked", "degraded", "persona", "candidates_from", "placements_id", "exploration")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    LEARNER_VERSION_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_INSTANT_FIELD_NUMBER: _ClassVar[int]
    RANKED_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    PERSONA_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FROM_FIELD_NUMBER: _ClassVar[int]
    PLACEMENTS_ID_FIELD_NUMBER: _ClassVar[int]
    EXPLORATION_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    as_of: _timestamp_pb2.Timestamp
    bundle_id: str
    learner_version: int
    snapshot_instant: _timestamp_pb2.Timestamp
    ranked: _containers.RepeatedCompositeFieldContainer[Ranked]
    degraded: _containers.RepeatedCompositeFieldContainer[Degradation]
    persona: str
    candidates_from: _containers.RepeatedScalarFieldContainer[str]
    placements_id: str
    exploration: Exploration
    def __init__(self, request_id: _Optional[str] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., bundle_id: _Optional[str] = ..., learner_version: _Optional[int] = ..., snapshot_instant: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ranked: _Optional[_Iterable[_Union[Ranked, _Mapping]]] = ..., degraded: _Optional[_Iterable[_Union[Degradation, _Mapping]]] = ..., persona: _Optional[str] = ..., candidates_from: _Optional[_Iterable[str]] = ..., placements_id: _Optional[str] = ..., exploration: _Optional[_Union[Exploration, _Mapping]] = ...) -> None: ...

class Exploration(_message.Message):
    __slots__ = ("policy", "strength", "is_exact")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    STRENGTH_FIELD_NUMBER: _ClassVar[int]
    IS_EXACT_FIELD_NUMBER: _ClassVar[int]
    policy: str
    strength: float
    is_exact: bool
    def __init__(self, policy: _Optional[str] = ..., strength: _Optional[float] = ..., is_exact: _Optional[bool] = ...) -> None: ...

class Ranked(_message.Message):
    __slots__ = ("position", "candidate", "score", "factors", "propensities", "features", "marks", "relevance_position", "chance")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    FACTORS_FIELD_NUMBER: _ClassVar[int]
    PROPENSITIES_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    MARKS_FIELD_NUMBER: _ClassVar[int]
    RELEVANCE_POSITION_FIELD_NUMBER: _ClassVar[int]
    CHANCE_FIELD_NUMBER: _ClassVar[int]
    position: int
    candidate: Candidate
    score: float
    factors: _containers.RepeatedCompositeFieldContainer[Factor]
    propensities: _containers.RepeatedCompositeFieldContainer[Propensity]
    features: _containers.RepeatedCompositeFieldContainer[Feature]
    marks: _containers.RepeatedScalarFieldContainer[str]
    relevance_position: int
    chance: float
    def __init__(self, position: _Optional[int] = ..., candidate: _Optional[_Union[Candidate, _Mapping]] = ..., score: _Optional[float] = ..., factors: _Optional[_Iterable[_Union[Factor, _Mapping]]] = ..., propensities: _Optional[_Iterable[_Union[Propensity, _Mapping]]] = ..., features: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., marks: _Optional[_Iterable[str]] = ..., relevance_position: _Optional[int] = ..., chance: _Optional[float] = ...) -> None: ...

class Factor(_message.Message):
    __slots__ = ("name", "value", "weight", "contribution")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    weight: float
    contribution: float
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ..., weight: _Optional[float] = ..., contribution: _Optional[float] = ...) -> None: ...

class Propensity(_message.Message):
    __slots__ = ("target", "value", "calibrated")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CALIBRATED_FIELD_NUMBER: _ClassVar[int]
    target: str
    value: float
    calibrated: bool
    def __init__(self, target: _Optional[str] = ..., value: _Optional[float] = ..., calibrated: _Optional[bool] = ...) -> None: ...

class Feature(_message.Message):
    __slots__ = ("name", "integer", "number", "text")
    NAME_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    name: str
    integer: int
    number: float
    text: str
    def __init__(self, name: _Optional[str] = ..., integer: _Optional[int] = ..., number: _Optional[float] = ..., text: _Optional[str] = ...) -> None: ...

class Degradation(_message.Message):
    __slots__ = ("reason", "detail")
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    reason: str
    detail: str
    def __init__(self, reason: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("request_id", "events")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    events: bool
    def __init__(self, request_id: _Optional[str] = ..., events: _Optional[bool] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("request_id", "user", "as_of", "snapshot_instant", "folded_until", "bundle_id", "learner_version", "placement", "persona", "utc_offset_s", "device", "page", "candidates_from", "degraded", "found_in", "equal", "checks", "shown", "events", "exploration")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_INSTANT_FIELD_NUMBER: _ClassVar[int]
    FOLDED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    LEARNER_VERSION_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    PERSONA_FIELD_NUMBER: _ClassVar[int]
    UTC_OFFSET_S_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FROM_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    FOUND_IN_FIELD_NUMBER: _ClassVar[int]
    EQUAL_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    SHOWN_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    EXPLORATION_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    user: str
    as_of: _timestamp_pb2.Timestamp
    snapshot_instant: _timestamp_pb2.Timestamp
    folded_until: _timestamp_pb2.Timestamp
    bundle_id: str
    learner_version: int
    placement: str
    persona: str
    utc_offset_s: int
    device: str
    page: str
    candidates_from: str
    degraded: _containers.RepeatedCompositeFieldContainer[Degradation]
    found_in: str
    equal: bool
    checks: _containers.RepeatedCompositeFieldContainer[Check]
    shown: _containers.RepeatedCompositeFieldContainer[Shown]
    events: _containers.RepeatedCompositeFieldContainer[PastEvent]
    exploration: Exploration
    def __init__(self, request_id: _Optional[str] = ..., user: _Optional[str] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., snapshot_instant: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., folded_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., bundle_id: _Optional[str] = ..., learner_version: _Optional[int] = ..., placement: _Optional[str] = ..., persona: _Optional[str] = ..., utc_offset_s: _Optional[int] = ..., device: _Optional[str] = ..., page: _Optional[str] = ..., candidates_from: _Optional[str] = ..., degraded: _Optional[_Iterable[_Union[Degradation, _Mapping]]] = ..., found_in: _Optional[str] = ..., equal: _Optional[bool] = ..., checks: _Optional[_Iterable[_Union[Check, _Mapping]]] = ..., shown: _Optional[_Iterable[_Union[Shown, _Mapping]]] = ..., events: _Optional[_Iterable[_Union[PastEvent, _Mapping]]] = ..., exploration: _Optional[_Union[Exploration, _Mapping]] = ...) -> None: ...

class Check(_message.Message):
    __slots__ = ("name", "equal", "detail")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EQUAL_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    name: str
    equal: bool
    detail: str
    def __init__(self, name: _Optional[str] = ..., equal: _Optional[bool] = ..., detail: _Optional[str] = ...) -> None: ...

class Shown(_message.Message):
    __slots__ = ("ranked", "margin", "residual", "vector")
    RANKED_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    RESIDUAL_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    ranked: Ranked
    margin: float
    residual: float
    vector: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, ranked: _Optional[_Union[Ranked, _Mapping]] = ..., margin: _Optional[float] = ..., residual: _Optional[float] = ..., vector: _Optional[_Iterable[float]] = ...) -> None: ...

class PastEvent(_message.Message):
    __slots__ = ("message_id", "kind", "event_time", "admitted_at", "item", "category", "value_minor")
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    ADMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    VALUE_MINOR_FIELD_NUMBER: _ClassVar[int]
    message_id: str
    kind: str
    event_time: _timestamp_pb2.Timestamp
    admitted_at: _timestamp_pb2.Timestamp
    item: str
    category: str
    value_minor: int
    def __init__(self, message_id: _Optional[str] = ..., kind: _Optional[str] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., admitted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., item: _Optional[str] = ..., category: _Optional[str] = ..., value_minor: _Optional[int] = ...) -> None: ...

class TrackRequest(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class TrackResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[Result]
    def __init__(self, results: _Optional[_Iterable[_Union[Result, _Mapping]]] = ...) -> None: ...

class Property(_message.Message):
    __slots__ = ("number", "text")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    number: float
    text: str
    def __init__(self, number: _Optional[float] = ..., text: _Optional[str] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("message_id", "kind", "user_id", "anonymous_id", "event_time", "item", "category", "value_minor", "currency", "quantity", "order_id", "session_id", "request_id", "placement", "utc_offset_s", "zone", "device", "page", "source", "properties", "consent")
    class PropertiesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Property
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Property, _Mapping]] = ...) -> None: ...
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ANONYMOUS_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    VALUE_MINOR_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    UTC_OFFSET_S_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    CONSENT_FIELD_NUMBER: _ClassVar[int]
    message_id: str
    kind: str
    user_id: str
    anonymous_id: str
    event_time: _timestamp_pb2.Timestamp
    item: str
    category: str
    value_minor: int
    currency: str
    quantity: int
    order_id: str
    session_id: str
    request_id: str
    placement: str
    utc_offset_s: int
    zone: str
    device: str
    page: str
    source: str
    properties: _containers.MessageMap[str, Property]
    consent: _containers.RepeatedScalarFieldContainer[Purpose]
    def __init__(self, message_id: _Optional[str] = ..., kind: _Optional[str] = ..., user_id: _Optional[str] = ..., anonymous_id: _Optional[str] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., item: _Optional[str] = ..., category: _Optional[str] = ..., value_minor: _Optional[int] = ..., currency: _Optional[str] = ..., quantity: _Optional[int] = ..., order_id: _Optional[str] = ..., session_id: _Optional[str] = ..., request_id: _Optional[str] = ..., placement: _Optional[str] = ..., utc_offset_s: _Optional[int] = ..., zone: _Optional[str] = ..., device: _Optional[str] = ..., page: _Optional[str] = ..., source: _Optional[str] = ..., properties: _Optional[_Mapping[str, Property]] = ..., consent: _Optional[_Iterable[_Union[Purpose, str]]] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("status", "reason", "message", "admitted_at")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[Result.Status]
        STATUS_ACCEPTED: _ClassVar[Result.Status]
        STATUS_DUPLICATE: _ClassVar[Result.Status]
        STATUS_REJECTED: _ClassVar[Result.Status]
        STATUS_DROPPED: _ClassVar[Result.Status]
    STATUS_UNSPECIFIED: Result.Status
    STATUS_ACCEPTED: Result.Status
    STATUS_DUPLICATE: Result.Status
    STATUS_REJECTED: Result.Status
    STATUS_DROPPED: Result.Status
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ADMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    status: Result.Status
    reason: str
    message: str
    admitted_at: _timestamp_pb2.Timestamp
    def __init__(self, status: _Optional[_Union[Result.Status, str]] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., admitted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
