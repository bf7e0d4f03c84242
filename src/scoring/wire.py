"""Between the wire and the rooms: protobuf messages become checked requests, answers become protobuf messages."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from behavior.admission import MAX_ID_BYTES, MAX_TEXT_BYTES, MAX_UTC_OFFSET_S
from behavior.errors import BadInput
from behavior.event import SECOND_US
from behavior.served import CATEGORY, ITEM, Explored
from deployment.pseudonym import Pseudonyms
from deployment.zone import zone
from scoring.answer import Answer
from scoring.collect import Outcome
from scoring.ranking import FeatureValue, Ranked
from scoring.request import MAX_CANDIDATES, ScoreRequest
from scoring.v1 import scoring_pb2 as wire

# What a ScoreRequest says of its candidates, apart from its other fields: the bytes of these, then kinds, ids and
# categories of the candidates, and how many bytes the longest text among them has.
Split = tuple[bytes, list[int], list[str], list[str], int]

try:
    from scoring.compiled_wire import split_candidates, write
except ImportError:  # where there is no C compiler the protobuf library does all of it

    def split_candidates(data: bytes) -> Split | None:
        """Leave all to the library."""
        return None

    def write(answer: Answer) -> bytes | None:
        """Leave it to the library."""
        return None


_STATUS = {
    status.name.removeprefix("STATUS_").lower(): status.number for status in wire.Result.Status.DESCRIPTOR.values
}

_KIND = {CATEGORY: wire.CANDIDATE_KIND_CATEGORY, ITEM: wire.CANDIDATE_KIND_ITEM}
_KIND_OF: dict[int, str] = {number: kind for kind, number in _KIND.items()}


class Asked(NamedTuple):
    """A ScoreRequest whose candidates, if any, are columns: what each says, in their order.

    message    all other fields
    longest    bytes of the longest id or category
    """

    message: wire.ScoreRequest
    kinds: Sequence[int]
    ids: Sequence[str]
    categories: Sequence[str]
    longest: int


def parse_request(data: bytes) -> Asked:
    """What the bytes of a ScoreRequest say. Raises DecodeError if they are none."""
    split = split_candidates(data)
    if split is not None:
        others, kinds, ids, categories, longest = split
        return Asked(wire.ScoreRequest.FromString(others), kinds, ids, categories, longest)
    message = wire.ScoreRequest.FromString(data)
    named = list(message.candidates)
    ids, categories = [each.id for each in named], [each.category for each in named]
    longest = max((len(text.encode()) for text in (*ids, *categories)), default=0)
    return Asked(message, [each.kind for each in named], ids, categories, longest)


def read_request(asked: Asked, pseudonyms: Pseudonyms) -> ScoreRequest:
    """The request, with the user behind a pseudonym.

    Raises BadInput that names the field, what is wrong with it and what to send instead.
    """
    message = asked.message
    if message.top_k < 0:
        raise BadInput(f"top_k is {message.top_k}; send how many to answer, or 0 for all")
    moment = message.moment
    which = moment.WhichOneof("offset")
    if which == "utc_offset_s" and abs(moment.utc_offset_s) > MAX_UTC_OFFSET_S:
        raise BadInput("moment.utc_offset_s must be within ±18 hours, in seconds")
    kind, ids, categories = _candidates(asked)
    return ScoreRequest(
        user_id=_pseudonym(message, pseudonyms),
        ids=ids,
        placement=_short("placement", message.placement) or None,
        utc_offset_s=moment.utc_offset_s if which == "utc_offset_s" else None,
        zone=_zone(moment.zone) if which == "zone" else None,
        top_k=message.top_k,
        explain=message.explain,
        device=_short("moment.device", moment.device),
        page=_short("moment.page", moment.page, MAX_TEXT_BYTES),
        kind=kind,
        categories=categories,
    )


def write_answer(answer: Answer) -> bytes:
    """The bytes of the answer's message."""
    written = write(answer)
    return answer_message(answer).SerializeToString() if written is None else written


def answer_message(answer: Answer) -> wire.ScoreResponse:
    """The answer as a message."""
    response = wire.ScoreResponse(
        request_id=answer.request_id,
        bundle_id=answer.bundle_id,
        learner_version=answer.learner_version,
        persona=answer.persona,
        ranked=[
            write_ranked(place, each, answer.target, answer.calibrated) for place, each in enumerate(answer.ranked, 1)
        ],
        degraded=[wire.Degradation(reason=each.reason, detail=each.detail) for each in answer.degraded],
        candidates_from=answer.candidates_from,
        placements_id=answer.placements_id,
    )
    if answer.ranked.explored is not None:
        response.exploration.CopyFrom(write_exploration(answer.ranked.explored))
    set_instant(response.as_of, answer.as_of)
    set_instant(response.snapshot_instant, answer.s)
    return response


def write_outcomes(outcomes: Iterable[Outcome]) -> wire.TrackResponse:
    """The outcomes of events as a message, in the same order."""
    response = wire.TrackResponse()
    for outcome in outcomes:
        result = response.results.add(
            status=_STATUS[outcome.fate.status], reason=outcome.fate.reason, message=outcome.message
        )
        if outcome.fate.k:
            set_instant(result.admitted_at, outcome.fate.k)
    return response


def _pseudonym(message: wire.ScoreRequest, pseudonyms: Pseudonyms) -> str:
    which = message.WhichOneof("who")
    raw = getattr(message, which) if which else ""
    if not raw:
        raise BadInput("a request needs a user_id or an anonymous_id")
    _short(str(which), raw)
    return pseudonyms.user(raw) if which == "user_id" else pseudonyms.anonymous(raw)


def _candidates(asked: Asked) -> tuple[str, tuple[str, ...], dict[str, str]]:
    """The kind that all are of, their ids, and {item: category} where that is said."""
    if len(asked.ids) > MAX_CANDIDATES:
        raise BadInput(f"a request may name {MAX_CANDIDATES} candidates; split it")
    kind = asked.kinds[0] if asked.kinds else wire.CANDIDATE_KIND_CATEGORY
    if not _are_right(asked, kind):
        _refuse_candidates(asked, kind)
    may_state = kind != wire.CANDIDATE_KIND_CATEGORY and any(asked.categories)
    stated = zip(asked.ids, asked.categories, strict=True) if may_state else ()
    return _KIND_OF[kind], tuple(asked.ids), {each: category for each, category in stated if category}


def _are_right(asked: Asked, kind: int) -> bool:
    """Whether nothing is wrong with any candidate, seen without looking at them one by one."""
    _, kinds, ids, categories, longest = asked
    different = set(ids)
    return (
        kind in _KIND_OF
        and kinds.count(kind) == len(kinds)
        and "" not in different
        and len(different) == len(ids)
        and longest <= MAX_ID_BYTES
        and not (kind == wire.CANDIDATE_KIND_CATEGORY and any(categories))
    )


def _refuse_candidates(asked: Asked, kind: int) -> None:
    """Say what is wrong with the first candidate that is not as it must be."""
    found = set()
    for place, (own, name, category) in enumerate(zip(asked.kinds, asked.ids, asked.categories, strict=True)):
        where = f"candidates[{place}]"
        if own not in _KIND_OF:
            raise BadInput(f"{where}.kind must be CANDIDATE_KIND_CATEGORY or CANDIDATE_KIND_ITEM")
        if own != kind:
            raise BadInput(
                f"{where} is of another kind than those before it; send items and categories in two requests"
            )
        if not _short(f"{where}.id", name):
            raise BadInput(f"{where}.id is empty; send the item's or category's")
        if name in found:
            raise BadInput(f"{where} is there twice; send each candidate once")
        found.add(name)
        if _short(f"{where}.category", category) and kind == wire.CANDIDATE_KIND_CATEGORY:
            raise BadInput(f"{where}.category is for items; of a category send the id only")


def _short(name: str, text: str, most: int = MAX_ID_BYTES) -> str:
    if len(text.encode()) > most:
        raise BadInput(f"{name} must be at most {most} bytes")
    return text


def _zone(name: str) -> str:
    try:
        zone(name)
    except OSError:  # the name of a directory among the zones, or one longer than a path may be
        raise BadInput("moment.zone is no IANA time zone; write one such as America/New_York") from None
    return name


def write_ranked(position: int, ranked: Ranked, target: str, calibrated: bool) -> wire.Ranked:
    """A candidate at its position, counted from 1."""
    return wire.Ranked(
        position=position,
        candidate=_candidate(ranked),
        score=ranked.score,
        factors=[
            wire.Factor(name=each.name, value=each.value, weight=each.weight, contribution=each.contribution)
            for each in ranked.addends
        ],
        propensities=[wire.Propensity(target=target, value=ranked.propensity, calibrated=calibrated)],
        features=[_feature(name, value) for name, value in ranked.features.items()],
        marks=ranked.marks,
        relevance_position=ranked.relevance_position,
        chance=ranked.chance,
    )


def write_exploration(explored: Explored) -> wire.Exploration:
    """How an order was drawn."""
    return wire.Exploration(policy=explored.policy, strength=explored.strength, is_exact=explored.is_exact)


def _candidate(ranked: Ranked) -> wire.Candidate:
    return wire.Candidate(
        kind=_KIND[ranked.kind], id=ranked.id, category=ranked.category if ranked.kind == ITEM else ""
    )


def _feature(name: str, value: FeatureValue) -> wire.Feature:
    if value is None:
        return wire.Feature(name=name)
    if isinstance(value, str):
        return wire.Feature(name=name, text=value)
    if isinstance(value, int):
        return wire.Feature(name=name, integer=value)
    return wire.Feature(name=name, number=value)


def set_instant(stamp: Timestamp, us: int) -> None:
    """Let the message say the instant (µs UTC)."""
    stamp.seconds, stamp.nanos = us // SECOND_US, us % SECOND_US * 1000
