"""Placements on the request path: a real Redis, a real model, candidates of every source, items and their factors."""

import math
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from behavior.errors import BadInput
from behavior.event import DAY_US, HOUR_US, MINUTE_US
from scoring import metrics
from scoring.answer import Answer
from scoring.client import Client
from scoring.held_placements import HeldPlacements
from scoring.request import ScoreRequest
from scoring.v1 import scoring_pb2 as wire
from scoring.v1.scoring_pb2_grpc import ScoringStub
from tests.scoring.online import Online, serving
from tests.scoring.small import CATEGORIES, START, make_bundle, make_current, purchase, settings_in
from tests.scoring.test_score import ask
from tests.scoring.test_server import SERVING, eventually, health

USER = "k1-00000000000000000000000000000001"
OTHER = "k1-00000000000000000000000000000002"
NOBODY = "k1-000000000000000000000000000000ff"
FILE = """
[placements.own]
candidates = [{ from = "user", most = 2 }, { from = "configured" }, { from = "popular", most = 1 }]
ids = ["TEA", "SALT"]

[placements.items]
kind = "item"
candidates = [{ from = "popular" }]

[placements.tired]
kind = "item"
candidates = [{ from = "configured" }]
ids = ["green", "black", "basmati"]
weights = { propensity = 0, learner = 0, fatigue = 2 }
fatigue_half_life_h = 1

[placements.all]
weights = { affinity = 0.5, recency = 0.1, popularity = 0.2, fatigue = 0.3 }
devices = { phone = { TEA = 0.25 } }
boosts = { RICE = 1.5 }

[placements.mixed]
kind = "item"
candidates = [{ from = "configured" }]
ids = ["green", "black", "basmati"]
diversity = { lambda = 0.4 }
"""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundles")
    make_current(directory, make_bundle(directory))
    return directory


@pytest.fixture
def online(tmp_path: Path, redis_url: str, prefix: str, bundles: Path) -> Iterator[Online]:
    """A deployment with a file of placements in which items of three categories were bought before START."""
    file = tmp_path / "placements.toml"
    file.write_text(FILE)
    made = Online(settings_in(tmp_path, redis_url, prefix, bundles=bundles, placements=file))
    made.append(
        [
            purchase(USER, "TEA", START - 2 * DAY_US, "m1", item="green"),
            purchase(USER, "RICE", START - HOUR_US, "m2", item="basmati"),
            purchase(USER, "RICE", START - 2 * HOUR_US, "m3", item="basmati"),
            purchase(OTHER, "BREAD", START - 3 * HOUR_US, "m4", item="rye"),
            purchase(OTHER, "BREAD", START - 3 * HOUR_US, "m5", item="rye"),
            purchase(OTHER, "BREAD", START - 3 * HOUR_US, "m6", item="rye"),
        ]
    )
    made.advance(START + MINUTE_US)
    made.fold()
    yield made
    made.client.close()


def answered(online: Online, request: ScoreRequest) -> Answer:
    return ask(online, request, placements=HeldPlacements(online.settings.placements))


def ids(answer: Answer) -> list[str]:
    return [each.id for each in answer.ranked]


def test_candidates_come_from_one_source_after_the_other(online: Online) -> None:
    """The user's own, then the configured, then the popular that are not there yet; each source with its most."""
    answer = answered(online, ScoreRequest(USER, placement="own"))
    assert sorted(ids(answer)) == ["BREAD", "RICE", "SALT", "TEA"]
    assert answer.candidates_from == ("user", "configured", "popular")
    stranger = answered(online, ScoreRequest(NOBODY, placement="own"))
    assert stranger.candidates_from == ("configured", "popular")
    assert [each.reason for each in stranger.degraded] == ["unknown_user"]
    named = answered(online, ScoreRequest(USER, ("TEA",), placement="own"))
    assert (ids(named), named.candidates_from) == (["TEA"], ("request",))
    assert answered(online, ScoreRequest(USER)).candidates_from == ("popular",)


def test_an_unknown_placement_is_refused(online: Online) -> None:
    """The known ones are named."""
    with pytest.raises(BadInput, match="one of own, items, tired, all, mixed, or none"):
        answered(online, ScoreRequest(USER, placement="hom"))


def test_items_are_ranked_by_their_categories(online: Online) -> None:
    """The model's row of an item is its category's, to the bit; the category is the stated, else the events'."""
    by_category = {each.id: each for each in answered(online, ScoreRequest(USER, CATEGORIES)).ranked}
    asked = ScoreRequest(
        USER, ("rye", "new", "lost", "basmati"), kind="item", categories={"new": "TEA", "rye": "COFFEE"}
    )
    answer = answered(online, asked)
    found = {each.id: each for each in answer.ranked}
    assert {each.id: each.category for each in answer.ranked} == {
        "rye": "COFFEE", "new": "TEA", "lost": "", "basmati": "RICE",
    }  # fmt: skip
    for name in ("rye", "new", "basmati"):
        same = by_category[found[name].category]
        assert (found[name].vector, found[name].margin, found[name].score) == (same.vector, same.margin, same.score)
    assert {each.id: each.marks for each in answer.ranked} == {
        "rye": ("unknown_category",), "new": ("unknown_item",), "lost": ("unknown_item", "unknown_category"),
        "basmati": (),
    }  # fmt: skip
    assert all(math.isfinite(each.score) and each.kind == "item" for each in answer.ranked)


def test_popular_items_are_offered(online: Online) -> None:
    """A placement of items offers those that everybody bought, whoever asks."""
    for user in (USER, NOBODY):
        assert sorted(ids(answered(online, ScoreRequest(user, placement="items")))) == ["basmati", "green", "rye"]


def test_what_was_just_bought_tires(online: Online) -> None:
    """Basmati was bought one and two half-lives ago (and a minute); what is weighed 0 does not count."""
    answer = answered(online, ScoreRequest(USER, placement="tired"))
    assert ids(answer)[-1] == "basmati"
    (addend,) = answer.ranked[-1].addends
    minute = 2 ** (-1 / 60)
    assert addend.value == pytest.approx(-math.log2(1 + 0.5 * minute + 0.25 * minute), rel=1e-12)
    assert (addend.name, addend.weight, answer.ranked[-1].score) == ("fatigue", 2.0, 2.0 * addend.value)


def test_every_weighed_factor_is_an_addend_that_adds_up(online: Online) -> None:
    """In the order of the list, from the live state: the score is their sum to the last bit."""
    answer = answered(online, ScoreRequest(USER, ("TEA", "RICE", "COFFEE"), placement="all", device="phone"))
    for each in answer.ranked:
        total = 0.0
        for addend in each.addends:
            total += addend.contribution
        assert total == each.score
        assert [addend.name for addend in each.addends] == [
            "propensity", "affinity", "recency", "popularity", "learner", "device", "fatigue", "boost",
        ]  # fmt: skip
    values = {each.id: {addend.name: addend.value for addend in each.addends} for each in answer.ranked}
    assert [values[name]["device"] for name in ("TEA", "RICE", "COFFEE")] == [0.25, 0.0, 0.0]
    assert [values[name]["boost"] for name in ("TEA", "RICE", "COFFEE")] == [0.0, 1.5, 0.0]
    assert values["RICE"]["affinity"] > values["TEA"]["affinity"] > 0 > values["COFFEE"]["affinity"]
    assert values["RICE"]["recency"] > values["TEA"]["recency"] > 0 == values["COFFEE"]["recency"]
    assert values["RICE"]["fatigue"] < values["TEA"]["fatigue"] < 0 == values["COFFEE"]["fatigue"]


def test_diversity_moves_items_and_says_so(online: Online) -> None:
    """Two of one category are parted by another one; places by score are told, scores are what they were."""
    names, stated = ("basmati", "long", "green"), {"long": "RICE"}
    plain = answered(online, ScoreRequest(USER, names, kind="item", categories=stated))
    mixed = answered(online, ScoreRequest(USER, names, "mixed", kind="item", categories=stated))
    assert [(each.id, each.category) for each in plain.ranked] == [
        ("basmati", "RICE"), ("long", "RICE"), ("green", "TEA"),
    ]  # fmt: skip
    assert [(each.id, each.relevance_position) for each in mixed.ranked] == [("basmati", 1), ("green", 3), ("long", 2)]
    assert {each.id: each.score for each in plain.ranked} == {each.id: each.score for each in mixed.ranked}


def test_a_running_server_follows_the_file(online: Online) -> None:
    """Through gRPC: a placement is refused until the file has it; a wrong file changes nothing."""
    file = online.settings.placements
    assert file is not None
    with serving(online.settings) as address, Client(address) as client:
        eventually(lambda: health(address) == SERVING)
        before = client.score("u", placement="own")
        with pytest.raises(BadInput, match="one of own, items"):
            client.score("u", placement="new")
        file.write_text("[placements.new]\nweights = {luck = 1}\n")
        refused = metrics.PLACEMENTS_REFUSED._value.get()
        eventually(lambda: metrics.PLACEMENTS_REFUSED._value.get() > refused)
        assert client.score("u", placement="own").placements_id == before.placements_id
        file.write_text("[placements.new]\nweights = {popularity = 1}\n")
        eventually(lambda: client.score("u").placements_id != before.placements_id)
        after = client.score("u", placement="new")
        assert [each.name for each in after.ranked[0].factors] == ["propensity", "popularity", "learner"]
        assert list(after.candidates_from) == ["popular"]


def test_items_over_grpc(online: Online) -> None:
    """Items come back as items, with their categories, marks and places."""
    with serving(online.settings) as address, grpc.insecure_channel(address) as channel:
        eventually(lambda: health(address) == SERVING)
        items = [wire.Candidate(kind=wire.CANDIDATE_KIND_ITEM, id=each) for each in ("rye", "new")]
        request = wire.ScoreRequest(user_id="u", candidates=items)
        found = {each.candidate.id: each for each in ScoringStub(channel).Score(request, timeout=5).ranked}
    assert {name: (each.candidate.kind, each.candidate.category) for name, each in found.items()} == {
        "rye": (wire.CANDIDATE_KIND_ITEM, "BREAD"), "new": (wire.CANDIDATE_KIND_ITEM, ""),
    }  # fmt: skip
    assert list(found["new"].marks) == ["unknown_item", "unknown_category"]
    assert [each.position for each in found.values()] == [each.relevance_position for each in found.values()]
