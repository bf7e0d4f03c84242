"""Between the wire and the rooms: what a request must be like, and how an answer is written."""

import math
from dataclasses import dataclass

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from behavior.calibration import Calibration
from behavior.errors import BadInput
from behavior.served import Explored
from deployment.pseudonym import Pseudonyms
from scoring import wire as rooms
from scoring.answer import Answer, Degradation
from scoring.collect import Outcome
from scoring.log_writer import Fate
from scoring.ranking import Addend, Ranked
from scoring.request import ScoreRequest
from scoring.v1 import scoring_pb2 as wire
from scoring.wire import Asked, answer_message, parse_request, read_request, write_answer, write_outcomes
from tests.scoring.fuzzing import Fuzz
from tests.scoring.rankings import ranking_of

PSEUDONYMS = Pseudonyms("k1", b"k" * 32)


def category(name: str) -> wire.Candidate:
    return wire.Candidate(kind=wire.CANDIDATE_KIND_CATEGORY, id=name)


def read(message: wire.ScoreRequest) -> ScoreRequest:
    return read_request(parse_request(message.SerializeToString()), PSEUDONYMS)


def test_a_whole_request_is_read() -> None:
    """Every field arrives, the raw id as a pseudonym."""
    message = wire.ScoreRequest(
        user_id="raw", candidates=[category("TEA"), category("RICE")], placement="home",
        moment=wire.Moment(zone="Asia/Tokyo"), top_k=5, explain=True,
    )  # fmt: skip
    assert read(message) == ScoreRequest(PSEUDONYMS.user("raw"), ("TEA", "RICE"), "home", None, "Asia/Tokyo", 5, True)


def test_what_is_not_said_is_absent() -> None:
    """An offset of 0 is stated; none is none."""
    stated = wire.ScoreRequest(anonymous_id="raw", moment=wire.Moment(utc_offset_s=0))
    assert read(stated) == ScoreRequest(PSEUDONYMS.anonymous("raw"), utc_offset_s=0)
    assert read(wire.ScoreRequest(user_id="u")).utc_offset_s is None


@pytest.mark.parametrize(
    ("message", "names"),
    [
        (wire.ScoreRequest(), "user_id"),
        (wire.ScoreRequest(user_id=""), "user_id"),
        (wire.ScoreRequest(user_id="u" * 257), "user_id"),
        (wire.ScoreRequest(user_id="u", top_k=-1), "top_k"),
        (wire.ScoreRequest(user_id="u", placement="p" * 257), "placement"),
        (wire.ScoreRequest(user_id="u", candidates=[wire.Candidate(id="TEA")]), "candidates.0..kind"),
        (wire.ScoreRequest(user_id="u", candidates=[category("")]), "candidates.0..id"),
        (wire.ScoreRequest(user_id="u", candidates=[category("a"), category("a")]), "candidates.1. is there twice"),
        (wire.ScoreRequest(user_id="u", candidates=[category(str(i)) for i in range(1001)]), "1000"),
        (wire.ScoreRequest(user_id="u", moment=wire.Moment(utc_offset_s=70_000)), "utc_offset_s"),
        (wire.ScoreRequest(user_id="u", moment=wire.Moment(zone="Mars")), "Mars"),
        (wire.ScoreRequest(user_id="u", moment=wire.Moment(zone="America")), "zone"),
        (wire.ScoreRequest(user_id="u", moment=wire.Moment(zone="")), "zone"),
    ],
)
def test_a_wrong_request_is_refused_by_name(message: wire.ScoreRequest, names: str) -> None:
    """The sentence names the field that is wrong."""
    with pytest.raises(BadInput, match=names):
        read(message)


def item(name: str, of: str = "") -> wire.Candidate:
    return wire.Candidate(kind=wire.CANDIDATE_KIND_ITEM, id=name, category=of)


def test_items_are_read_with_the_categories_that_are_said() -> None:
    """The kind, the ids in order, and the category of those that have one."""
    found = read(wire.ScoreRequest(user_id="u", candidates=[item("i", "TEA"), item("j")]))
    assert (found.kind, found.ids, found.categories) == ("item", ("i", "j"), {"i": "TEA"})


@pytest.mark.parametrize(
    ("candidates", "says"),
    [
        (
            [category("TEA"), item("i")],
            r"candidates\[1\] is of another kind .* send items and categories in two requests",
        ),
        ([item("i"), category("TEA")], r"candidates\[1\] is of another kind"),
        ([item("i"), item("i", "TEA")], r"candidates\[1\] is there twice"),
        ([item("i", "c" * 257)], r"candidates\[0\]\.category must be at most 256 bytes"),
        ([wire.Candidate(kind=2, id="TEA", category="TEA")], r"candidates\[0\]\.category is for items"),
        ([wire.Candidate(kind=7, id="TEA")], r"candidates\[0\]\.kind must be"),
    ],
)
def test_wrong_candidates_are_refused_by_place(candidates: list[wire.Candidate], says: str) -> None:
    """Kinds are not mixed, nothing is there twice, and a category has no category."""
    with pytest.raises(BadInput, match=says):
        read(wire.ScoreRequest(user_id="u", candidates=candidates))


def test_where_an_answer_comes_from_is_written() -> None:
    """Sources, placements, marks, the place by score, and the category of an item."""
    ranked = Ranked("item", "i", "TEA", 1.0, (), 1.0, 0.0, 0.7, b"", {}, ("unknown_item",), 3)
    answer = Answer(
        "r", "k1-u", None, 0, 0, 0, "b", "purchase_7d", None, 0, ranking_of(ranked), (), "", ("user", "popular"),
        "0123456789ab",
    )  # fmt: skip
    message = wire.ScoreResponse.FromString(write_answer(answer))
    assert (list(message.candidates_from), message.placements_id) == (["user", "popular"], "0123456789ab")
    (shown,) = message.ranked
    assert (shown.position, shown.relevance_position, list(shown.marks)) == (1, 3, ["unknown_item"])
    assert (shown.candidate.kind, shown.candidate.id, shown.candidate.category) == (1, "i", "TEA")


def test_an_answer_is_written_to_the_last_bit() -> None:
    """Scores, contributions and instants are those of the answer; missing features have no value."""
    addends = (Addend("propensity", 0.1, 1.0, 0.1), Addend("learner", 0.2, 1.0, 0.2))
    features = {"v:n": 3, "v:age": 1.5, "v:last": "TEA", "v:none": None}
    ranked = Ranked("category", "TEA", "TEA", 0.1 + 0.2, addends, 0.1, 0.2, 0.525, b"", features)
    answer = Answer(
        "r", "k1-u", None, 1_508_040_000_000_001, 5, 1_508_040_000_000_000, "b", "purchase_7d", None, 3,
        ranking_of(ranked), (Degradation("unknown_user", "why"),),
    )  # fmt: skip
    message = wire.ScoreResponse.FromString(write_answer(answer))
    assert (message.as_of.seconds, message.as_of.nanos) == (1_508_040_000, 1000)
    assert message.ranked[0].score == 0.1 + 0.2 == sum(each.contribution for each in message.ranked[0].factors)
    assert [each.WhichOneof("value") for each in message.ranked[0].features] == ["integer", "number", "text", None]
    assert (message.ranked[0].position, message.ranked[0].propensities[0].calibrated) == (1, False)
    assert message.degraded[0].reason == "unknown_user"


numbers = st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, math.inf, 5e-324])
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=300) | st.sampled_from(["", "TEA", "TÉ", "x" * 128])
longs = st.integers(-(2**63), 2**63 - 1)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """Any answer, of candidates that share their kind and factors, with features or without."""
    kind, weights = draw(st.sampled_from(["category", "item"])), draw(st.lists(st.tuples(names, numbers), max_size=4))
    features = draw(st.sampled_from([{}, {"v:n": 3, "v:age": 1.5, "v:last": "TEA", "v:none": None}]))
    rows = [
        Ranked(
            kind, draw(names), draw(names), draw(numbers),
            tuple(Addend(name, draw(numbers), weight, draw(numbers)) for name, weight in weights),
            draw(numbers), draw(numbers), draw(numbers), b"", features, tuple(draw(st.lists(names, max_size=2))),
            draw(st.integers(0, 1000)), draw(numbers),
        )
        for _ in range(draw(st.integers(0, 4)))
    ]  # fmt: skip
    us = st.integers(-(10**15), 2**52)
    explored = st.builds(Explored, names, numbers, st.just(b""), st.just(()), st.just(b""), is_exact=st.booleans())
    return Answer(
        draw(names), "k1-u", None, draw(us), 0, draw(us), draw(names), draw(names),
        draw(st.sampled_from([None, Calibration(1.0, 0.0)])), draw(longs),
        ranking_of(*rows, explored=draw(st.none() | explored)),
        tuple(Degradation(*each) for each in draw(st.lists(st.tuples(names, names), max_size=2))),
        draw(names), tuple(draw(st.lists(names, max_size=3))), draw(names),
    )  # fmt: skip


@given(answers())
def test_an_answer_is_written_as_the_library_writes_it(answer: Answer) -> None:
    """Byte for byte, whatever is in it: zeros of either sign, texts of any length, instants before 1970."""
    assert write_answer(answer) == answer_message(answer).SerializeToString()


@dataclass(frozen=True)
class Refused:
    """What a request that cannot be read was told, and as which error."""

    error: type[Exception]
    says: str


def outcome(data: bytes) -> ScoreRequest | Refused:
    try:
        return read_request(parse_request(data), PSEUDONYMS)
    except DecodeError as error:
        return Refused(type(error), "")
    except BadInput as error:
        return Refused(type(error), str(error))


def by_the_library(data: bytes) -> ScoreRequest | Refused:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rooms, "split_candidates", lambda data: None)
        return outcome(data)


@pytest.mark.parametrize("seed", range(2))
def test_any_bytes_are_read_as_the_library_reads_them(seed: int) -> None:
    """Requests that clients send, broken ones, torn ones and noise: the same request, or the same error."""
    fuzz, read, refused = Fuzz(seed), 0, 0
    for drawn in [each for each in (fuzz.draw() for _ in range(1500)) if each.method == "Score"]:
        found = outcome(drawn.data)
        assert found == by_the_library(drawn.data), drawn.data[:500]
        read, refused = read + isinstance(found, ScoreRequest), refused + isinstance(found, Refused)
    assert min(read, refused) > 50


@given(st.binary(max_size=40), st.sampled_from([b"", b"\x0a\x01u", b"\x0a\x01u\x1a"]))
def test_noise_is_read_as_the_library_reads_it(noise: bytes, before: bytes) -> None:
    """Bytes in the place of a message, of its second field, and of a candidate."""
    assert outcome(before + noise) == by_the_library(before + noise)


def test_a_bit_anywhere_may_flip() -> None:
    """Each bit of a request flipped, and each end cut off: the same request, or the same error."""
    said = [*[item(f"{i}", "TÉA") for i in range(3)], item("x" * 200)]
    data = wire.ScoreRequest(
        user_id="u", candidates=said, top_k=7, moment=wire.Moment(utc_offset_s=-5)
    ).SerializeToString()
    for place in range(len(data)):
        cut = data[:place]
        assert outcome(cut) == by_the_library(cut)
        for bit in range(8):
            flipped = cut + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
            assert outcome(flipped) == by_the_library(flipped)


def one_by_one(asked: Asked) -> ScoreRequest | Refused:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rooms, "_are_right", lambda asked, kind: False)
        try:
            return read_request(asked, PSEUDONYMS)
        except BadInput as error:
            return Refused(type(error), str(error))


@given(
    st.lists(
        st.tuples(
            st.sampled_from([1, 1, 1, 2, 0]), st.sampled_from(["", "a", "b", "c", "é" * 64, "é" * 129, "x" * 256]),
            st.sampled_from(["", "", "", "TEA", "日" * 86, "x" * 65]),
        ),
        max_size=4,
    ),
    st.booleans(),
)  # fmt: skip
def test_what_is_seen_at_once_is_what_is_seen_one_by_one(said: list[tuple[int, str, str]], alike: bool) -> None:
    """Candidates in which nothing is wrong at first sight are those that a look at each finds nothing wrong with."""
    drawn = [(said[0][0] if alike else kind, name, category) for kind, name, category in said]
    kinds, ids, categories = ([each[at] for each in drawn] for at in range(3))
    longest = max((len(text.encode()) for text in (*ids, *categories)), default=0)
    asked = Asked(wire.ScoreRequest(user_id="u"), kinds, ids, categories, longest)
    try:
        found: ScoreRequest | Refused = read_request(asked, PSEUDONYMS)
    except BadInput as error:
        found = Refused(type(error), str(error))
    assert found == one_by_one(asked)


def test_each_fate_has_its_status() -> None:
    """What became of events is told in order, with the instant where there is one."""
    fates = [Fate("accepted", k=7), Fate("duplicate", k=5), Fate("rejected", "too_late"), Fate("dropped", "consent")]
    results = write_outcomes(Outcome(fate, "") for fate in fates).results
    assert [wire.Result.Status.Name(each.status) for each in results] == [
        "STATUS_ACCEPTED", "STATUS_DUPLICATE", "STATUS_REJECTED", "STATUS_DROPPED",
    ]  # fmt: skip
    assert [each.HasField("admitted_at") for each in results] == [True, True, False, False]
    assert results[0].admitted_at.nanos == 7000
