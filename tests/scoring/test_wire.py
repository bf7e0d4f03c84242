"""Between the wire and the rooms: what a request must be like, and how an answer is written."""

import pytest

from behavior.errors import BadInput
from deployment.pseudonym import Pseudonyms
from scoring.answer import Addend, Answer, Degradation, Ranked
from scoring.collect import Outcome
from scoring.log_writer import Fate
from scoring.request import ScoreRequest
from scoring.v1 import scoring_pb2 as wire
from scoring.wire import read_request, write_answer, write_outcomes

PSEUDONYMS = Pseudonyms("k1", b"k" * 32)


def category(name: str) -> wire.Candidate:
    return wire.Candidate(kind=wire.CANDIDATE_KIND_CATEGORY, id=name)


def test_a_whole_request_is_read() -> None:
    """Every field arrives, the raw id as a pseudonym."""
    message = wire.ScoreRequest(
        user_id="raw", candidates=[category("TEA"), category("RICE")], placement="home",
        moment=wire.Moment(zone="Asia/Tokyo"), top_k=5, explain=True,
    )  # fmt: skip
    assert read_request(message, PSEUDONYMS) == ScoreRequest(
        PSEUDONYMS.user("raw"), ("TEA", "RICE"), "home", None, "Asia/Tokyo", 5, True
    )


def test_what_is_not_said_is_absent() -> None:
    """An offset of 0 is stated; none is none."""
    stated = wire.ScoreRequest(anonymous_id="raw", moment=wire.Moment(utc_offset_s=0))
    assert read_request(stated, PSEUDONYMS) == ScoreRequest(PSEUDONYMS.anonymous("raw"), utc_offset_s=0)
    assert read_request(wire.ScoreRequest(user_id="u"), PSEUDONYMS).utc_offset_s is None


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
        read_request(message, PSEUDONYMS)


def item(name: str, of: str = "") -> wire.Candidate:
    return wire.Candidate(kind=wire.CANDIDATE_KIND_ITEM, id=name, category=of)


def test_items_are_read_with_the_categories_that_are_said() -> None:
    """The kind, the ids in order, and the category of those that have one."""
    read = read_request(wire.ScoreRequest(user_id="u", candidates=[item("i", "TEA"), item("j")]), PSEUDONYMS)
    assert (read.kind, read.ids, read.categories) == ("item", ("i", "j"), {"i": "TEA"})


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
        read_request(wire.ScoreRequest(user_id="u", candidates=candidates), PSEUDONYMS)


def test_where_an_answer_comes_from_is_written() -> None:
    """Sources, placements, marks, the place by score, and the category of an item."""
    ranked = Ranked("item", "i", "TEA", 1.0, (), 1.0, 0.0, 0.7, b"", {}, ("unknown_item",), 3)
    answer = Answer(
        "r", "k1-u", None, 0, 0, 0, "b", "purchase_7d", None, 0, (ranked,), (), "", ("user", "popular"), "0123456789ab",
    )  # fmt: skip
    message = write_answer(answer)
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
        "r", "k1-u", None, 1_508_040_000_000_001, 5, 1_508_040_000_000_000, "b", "purchase_7d", None, 3, (ranked,),
        (Degradation("unknown_user", "why"),),
    )  # fmt: skip
    message = write_answer(answer)
    assert (message.as_of.seconds, message.as_of.nanos) == (1_508_040_000, 1000)
    assert message.ranked[0].score == 0.1 + 0.2 == sum(each.contribution for each in message.ranked[0].factors)
    assert [each.WhichOneof("value") for each in message.ranked[0].features] == ["integer", "number", "text", None]
    assert (message.ranked[0].position, message.ranked[0].propensities[0].calibrated) == (1, False)
    assert message.degraded[0].reason == "unknown_user"


def test_each_fate_has_its_status() -> None:
    """What became of events is told in order, with the instant where there is one."""
    fates = [Fate("accepted", k=7), Fate("duplicate", k=5), Fate("rejected", "too_late"), Fate("dropped", "consent")]
    results = write_outcomes(Outcome(fate, "") for fate in fates).results
    assert [wire.Result.Status.Name(each.status) for each in results] == [
        "STATUS_ACCEPTED", "STATUS_DUPLICATE", "STATUS_REJECTED", "STATUS_DROPPED",
    ]  # fmt: skip
    assert [each.HasField("admitted_at") for each in results] == [True, True, False, False]
    assert results[0].admitted_at.nanos == 7000
