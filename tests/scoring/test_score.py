"""The request path on a real Redis with a real model: an answer is what states, model and sum say."""

import asyncio
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis.asyncio

from behavior.calibration import Calibration
from behavior.errors import BadInput
from behavior.event import DAY_US, HOUR_US, MINUTE_US, PERSONALIZATION, Event
from behavior.served import SERVED_ENTRY, decode
from deployment.bundle_store import BundleStore
from deployment.bundles import bundles_at
from deployment.clock import AsyncClock
from deployment.generations import Plans
from scoring import metrics
from scoring.answer import Answer
from scoring.feed import Feed
from scoring.journal import Journal
from scoring.log_writer import LogWriter
from scoring.memory import Held, Memory, NotReady
from scoring.model import load_bundle
from scoring.ranking import propensity_of
from scoring.request import ScoreRequest
from scoring.score import Scoring, score
from scoring.states import States
from tests.scoring.learned import BOUND, learned
from tests.scoring.online import Online
from tests.scoring.small import (
    CATEGORIES,
    INPUTS,
    PARTITIONS,
    PLAN,
    START,
    make_bundle,
    make_current,
    purchase,
    settings_in,
)
from tests.scoring.test_held_personas import promote, two_personas

USER = "k1-00000000000000000000000000000001"
OTHER = "k1-00000000000000000000000000000002"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundles")
    make_current(directory, make_bundle(directory))
    return directory


@pytest.fixture
def online(tmp_path: Path, redis_url: str, prefix: str, bundles: Path) -> Iterator[Online]:
    """A deployment with a few purchases of two users before START, folded."""
    made = Online(settings_in(tmp_path, redis_url, prefix, bundles=bundles))
    made.append(
        [
            purchase(USER, "TEA", START - 2 * DAY_US, "m1", utc_offset_s=-7 * 3600),
            purchase(USER, "TEA", START - HOUR_US, "m2"),
            purchase(OTHER, "RICE", START - 3 * HOUR_US, "m3"),
            purchase(OTHER, "TEA", START - 4 * HOUR_US, "m4"),
            purchase(OTHER, "BREAD", START - 5 * HOUR_US, "m5"),
            purchase(OTHER, "BREAD", START - 6 * HOUR_US, "m6"),
        ]
    )
    made.advance(START + MINUTE_US)
    made.fold()
    yield made
    made.client.close()


def ask(online: Online, request: ScoreRequest, **changes: Any) -> Answer:
    """The answer, with what was served written to the log before this returns."""

    async def answered() -> Answer:
        settings = online.settings
        async with redis.asyncio.Redis.from_url(str(settings.redis_url)) as client:
            journal = Journal(LogWriter(client, online.keys, 48), PARTITIONS)
            bundles = changes.get("bundles", settings.bundles)
            plans = Plans(online.keys)
            memory = Memory(
                client, online.keys, plans, bundles_at(bundles),
                Feed(client, online.keys, settings.residual_bound),
                placements=changes.get("placements"),
            )  # fmt: skip
            await memory.refresh()
            states = States(client, online.keys, plans)
            deps = Scoring(states, AsyncClock(client, online.keys.clock()), memory, journal)
            writing = asyncio.create_task(journal.run())
            answer = await score(request, deps)
            await journal.drain(5)
            writing.cancel()
            return answer

    return asyncio.run(answered())


def test_features_are_those_of_the_states_and_the_snapshot(online: Online) -> None:
    """Each candidate is scored with its own, the user's, its category's and everybody's values at their instants."""
    answer = ask(online, ScoreRequest(USER, ("TEA", "RICE", "COFFEE"), explain=True))
    assert answer.as_of == START + MINUTE_US
    assert answer.s == START + MINUTE_US
    shown = {each.category: each.features for each in answer.ranked}
    assert list(shown["TEA"]) == list(INPUTS)
    age = (answer.as_of - (START - HOUR_US)) / 1e6
    assert shown["TEA"] == {
        "user_activity:purchase_count_7d": 2,
        "user_activity:purchase_age_s": age,
        "user_activity:purchase_category_last": "TEA",
        "user_category:purchase_count_30d": 2,
        "user_category:purchase_age_s": age,
        "category_activity:purchase_count_30d": 3,
        "all_activity:purchase_count_7d": 6,
        "moment:hour": 21,  # 04:01 UTC, seven hours west: the user's last known offset
        "moment:weekday": 5,
        "candidate:category": "TEA",
    }
    assert shown["RICE"]["user_category:purchase_count_30d"] is None
    assert shown["RICE"]["category_activity:purchase_count_30d"] == 1
    assert shown["COFFEE"]["category_activity:purchase_count_30d"] is None


def test_margins_are_the_models_for_those_features(online: Online) -> None:
    """The vector that is served and its margin are the row of the shown features, through the bundle's own model."""
    bundle = load_bundle(bundles_at(online.settings.bundles), "current", PLAN)
    answer = ask(online, ScoreRequest(USER, CATEGORIES, explain=True))
    for each in answer.ranked:
        row = np.frombuffer(each.vector, dtype="<f4")
        for place, name in enumerate(INPUTS):
            value = each.features[name]
            if isinstance(value, str):
                value = bundle.vocabularies[name][value]
            assert np.array_equal(row[place], np.float32(np.nan if value is None else value), equal_nan=True)
        assert each.margin == float(bundle.predict(row.reshape(1, -1))[0])
        assert each.propensity == propensity_of(each.margin)


def test_the_score_is_the_sum_of_its_factors_to_the_last_bit(online: Online) -> None:
    """With a learner at work the contributions still add up exactly, and each residual is bounded."""
    learned(online.client, online.keys, 9, {"TEA": -5.0, "RICE": 1 / 3, "BREAD": 1e-17})
    answer = ask(online, ScoreRequest(USER, CATEGORIES))
    assert answer.learner_version == 9
    by_name = {each.category: each for each in answer.ranked}
    assert [by_name[name].residual for name in ("TEA", "RICE", "BREAD", "COFFEE")] == [-BOUND, 1 / 3, 1e-17, 0.0]
    for each in answer.ranked:
        total = 0.0
        for addend in each.addends:
            total += addend.contribution
        assert struct.pack("<d", total) == struct.pack("<d", each.score)
        assert [addend.value for addend in each.addends] == [each.margin, each.residual]


def test_ranked_by_score_and_ties_by_id(online: Online) -> None:
    """Best first; categories that nothing distinguishes stand in the order of their ids; top_k cuts."""
    unheard = tuple(f"unheard {i}" for i in (3, 1, 2))
    answer = ask(online, ScoreRequest(USER, (*unheard, *CATEGORIES)))
    order = [(-each.score, each.category) for each in answer.ranked]
    assert order == sorted(order)
    assert [each.category for each in answer.ranked if each.category in unheard] == sorted(unheard)
    best = ask(online, ScoreRequest(USER, (*unheard, *CATEGORIES), top_k=2))
    assert [each.category for each in best.ranked] == [each.category for each in list(answer.ranked)[:2]]


def test_without_candidates_the_popular_categories_are_ranked(online: Online) -> None:
    """Categories that were bought in the last 30 days, by everybody; those that were not are left out."""
    assert {each.category for each in ask(online, ScoreRequest(USER)).ranked} == {"TEA", "BREAD", "RICE"}


def test_without_candidates_and_without_purchases_names_are_asked_for(online: Online) -> None:
    """Nothing popular is a request that cannot be answered, with what to do about it."""
    online.advance(START + 40 * DAY_US)
    online.fold()
    with pytest.raises(BadInput, match="name the candidates"):
        ask(online, ScoreRequest(USER))


def test_an_unknown_user_is_ranked_and_marked(online: Online) -> None:
    """Everything about the user is missing, the rest is there, and the answer says so."""
    answer = ask(online, ScoreRequest("k1-ffffffffffffffffffffffffffffffff", CATEGORIES, explain=True))
    assert [each.reason for each in answer.degraded] == ["unknown_user"]
    assert len(answer.ranked) == len(CATEGORIES)
    for each in answer.ranked:
        assert all(each.features[name] is None for name in INPUTS if name.startswith("user_"))
    assert not ask(online, ScoreRequest(USER, CATEGORIES)).degraded


def test_a_stale_snapshot_is_declared(online: Online) -> None:
    """Values of categories that are older than three intervals are named, fresher ones are not."""
    online.advance(START + 4 * MINUTE_US)
    assert not ask(online, ScoreRequest(USER, CATEGORIES)).degraded
    online.advance(START + 4 * MINUTE_US + 1)
    assert [each.reason for each in ask(online, ScoreRequest(USER, CATEGORIES)).degraded] == ["snapshot_stale"]


def test_state_answers_for_instants_after_its_last_event(online: Online) -> None:
    """Under a clock that stands still, as_of runs ahead of it, so that every folded event is counted."""
    now = online.clock.now()
    online.append([purchase(USER, "RICE", now, f"n{i}") for i in range(3)])
    online.fold()
    answer = ask(online, ScoreRequest(USER, ("RICE",), explain=True))
    assert answer.as_of == answer.offset + 1 > now
    assert answer.ranked[0].features["user_category:purchase_count_30d"] == 3


@pytest.mark.parametrize(
    ("request_", "hour"),
    [
        (ScoreRequest(USER, CATEGORIES), 21),
        (ScoreRequest(USER, CATEGORIES, utc_offset_s=9 * 3600), 13),
        (ScoreRequest(USER, CATEGORIES, utc_offset_s=0), 4),
        (ScoreRequest(USER, CATEGORIES, zone="Asia/Kolkata"), 9),
        (ScoreRequest(OTHER, CATEGORIES), 0),
    ],
)
def test_local_time_is_stated_else_last_known_else_the_models_zone(
    online: Online, request_: ScoreRequest, hour: int
) -> None:
    """The hour that the model sees is that of the request's offset, the user's last one, or the bundle's zone."""
    answer = ask(online, ScoreRequest(**{n: getattr(request_, n) for n in request_.__slots__} | {"explain": True}))
    assert answer.ranked[0].features["moment:hour"] == hour


def test_events_without_consent_are_in_no_feature(online: Online) -> None:
    """What was taken in for another purpose changes no answer."""
    before = ask(online, ScoreRequest(USER, CATEGORIES, explain=True))
    event = Event("x1", "purchase", USER, START, category="TEA", purposes=2)
    assert event.purposes & PERSONALIZATION == 0
    online.append([event])
    online.fold()
    after = ask(online, ScoreRequest(USER, CATEGORIES, explain=True))
    name = "user_category:purchase_count_30d"
    assert [each.features[name] for each in after.ranked] == [each.features[name] for each in before.ranked]


def test_what_was_shown_is_in_the_log(online: Online) -> None:
    """The served entry stands in the user's partition with the shown rows, in order, and everything they came from."""
    answer = ask(online, ScoreRequest(USER, CATEGORIES, placement="home", top_k=2))
    served = [decode(payload) for payload in online.entries(SERVED_ENTRY)]
    assert len(served) == 1
    entry = served[0]
    assert (entry.request_id, entry.user_id, entry.placement) == (answer.request_id, USER, "home")
    assert (entry.as_of, entry.offset, entry.s) == (answer.as_of, answer.offset, answer.s)
    assert (entry.bundle_id, entry.learner_version) == (answer.bundle_id, 0)
    assert [(each.kind, each.id, each.margin, each.score, each.vector) for each in entry.shown] == [
        ("category", each.category, each.margin, each.score, each.vector) for each in answer.ranked
    ]


def test_without_a_model_or_a_snapshot_it_says_what_to_run(online: Online, tmp_path: Path) -> None:
    """NotReady names the command that helps."""
    with pytest.raises(NotReady, match="opportune train"):
        ask(online, ScoreRequest(USER, CATEGORIES), bundles=tmp_path / "none")
    online.client.delete(online.keys.snapshot(1))
    with pytest.raises(NotReady, match="opportune fold"):
        ask(online, ScoreRequest(USER, CATEGORIES))


def test_a_refused_bundle_leaves_the_one_before_in_place(online: Online, tmp_path: Path) -> None:
    """A bad bundle is reported once and not served; a good one after it is taken over."""
    refused: list[str] = []
    bundles = tmp_path / "own"
    good = make_bundle(bundles)
    make_current(bundles, good)
    held = bundles_at(bundles)

    async def polled() -> list[str]:
        async with redis.asyncio.Redis.from_url(str(online.settings.redis_url)) as client:
            feed = Feed(client, online.keys, 1.0)
            memory = Memory(client, online.keys, Plans(online.keys), held, feed, metrics.load_timed, refused.append)
            found = []
            other = make_bundle(bundles, seed=1)
            for bundle_id, damage in ((good, False), (other, True), (make_bundle(bundles, seed=2), False)):
                held.store.promote("purchase_7d", bundle_id)
                if damage:
                    (bundles / "purchase_7d" / bundle_id / "model.onnx").write_bytes(b"")
                await memory.refresh()
                await memory.refresh()
                found.append(memory.held().bundle.bundle_id)
            return found

    first, second, third = asyncio.run(polled())
    assert first == second == good
    assert third not in (good, refused[0])
    assert len(refused) == 1


def test_what_is_held_is_made_anew_only_when_a_part_of_it_changes(online: Online) -> None:
    """Polls that find nothing new leave the very same object; another learner makes another one of the same parts."""

    async def polled() -> list[Held]:
        async with redis.asyncio.Redis.from_url(str(online.settings.redis_url)) as client:
            bundles = bundles_at(online.settings.bundles)
            memory = Memory(client, online.keys, Plans(online.keys), bundles, Feed(client, online.keys, 1.0))
            found = []
            for version in (0, 0, 7):
                if version:
                    learned(online.client, online.keys, version, {"TEA": 0.5})
                await memory.refresh()
                found.append(memory.held())
                assert memory.held().residuals.version == version
            return found

    first, second, third = asyncio.run(polled())
    assert first is second
    assert third is not first
    assert third.bundle is first.bundle
    assert third.snapshot is first.snapshot
    assert third.standing is first.standing


def test_a_calibrated_bundle_scores_by_calibrated_margins(online: Online, tmp_path: Path) -> None:
    """Propensity and factor are of the calibrated margin; the log keeps the raw one and how it was calibrated."""
    calibration = Calibration(0.5, -1.25)
    make_current(tmp_path / "own", make_bundle(tmp_path / "own", calibration=calibration))
    raw = ask(online, ScoreRequest(USER, CATEGORIES))
    answer = ask(online, ScoreRequest(USER, CATEGORIES), bundles=tmp_path / "own")
    assert (raw.calibrated, answer.calibrated) == (False, True)
    assert [(each.category, each.margin) for each in answer.ranked] == [
        (each.category, each.margin) for each in raw.ranked
    ]
    uncalibrated, entry = (decode(payload) for payload in online.entries(SERVED_ENTRY))
    assert (uncalibrated.calibration, entry.calibration) == (None, calibration)
    for each, shown, before in zip(answer.ranked, entry.shown, uncalibrated.shown, strict=True):
        believed = 0.5 * each.margin - 1.25
        assert (each.addends[0].value, each.score) == (believed, believed)
        assert each.propensity == propensity_of(believed)
        assert (shown.margin, entry.believed(shown)) == (each.margin, believed)
        assert uncalibrated.believed(before) == before.margin


def test_the_answer_names_the_persona(online: Online, tmp_path: Path, bundles: Path) -> None:
    """By the user's live state, `Unknown` of a user of whom nothing is known, nothing where there are none; and the log
    keeps what was said.
    """
    assert ask(online, ScoreRequest(USER, ("TEA",))).persona == ""
    with_personas = tmp_path / "with personas"
    shutil.copytree(bundles, with_personas)
    promote(BundleStore(with_personas), two_personas("Champions"))
    assert ask(online, ScoreRequest(USER, ("TEA",)), bundles=with_personas).persona == "Champions"
    nobody = "k1-000000000000000000000000000000ff"
    assert ask(online, ScoreRequest(nobody, ("TEA",)), bundles=with_personas).persona == "Unknown"
    kept = sorted((decode(payload) for payload in online.entries(SERVED_ENTRY)), key=lambda entry: entry.user_id)
    assert [(entry.user_id, entry.persona) for entry in kept] == [(USER, ""), (USER, "Champions"), (nobody, "Unknown")]
