"""Context on the request path, on a real Redis with a real model: what a local hour, a weekday and a persona add is
what the bundle's tables say, and what an evaluation adds up offline is the very same.
"""

import asyncio
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import redis.asyncio

from behavior.context import ContextTables, Counts, tables_of
from behavior.errors import BundleRefused
from behavior.event import DAY_US, HOUR_US
from behavior.manifest import CONTEXT_FILE, Span
from behavior.moment import Moment
from behavior.relevance import CONTEXT_FACTORS, Context, default_relevance
from deployment.bundle_store import BundleStore
from deployment.bundles import bundles_at
from deployment.clock import AsyncClock
from deployment.generations import Plans
from scoring.answer import Answer
from scoring.factors import FACTORS
from scoring.feed import Feed
from scoring.journal import Journal
from scoring.log_writer import LogWriter
from scoring.memory import Held, Memory
from scoring.model import load_bundle
from scoring.placements import Placement, Placements
from scoring.ranking import Ranked
from scoring.request import ScoreRequest
from scoring.score import Scoring, score
from scoring.states import States
from tests.scoring.online import Online
from tests.scoring.small import CATEGORIES, PARTITIONS, PLAN, START, make_bundle, make_current, purchase, settings_in
from tests.scoring.test_held_personas import promote, two_personas
from tests.scoring.test_model import rewritten

USER = "k1-00000000000000000000000000000001"
CHAMPION = two_personas("Champions")
WEIGHTS = {"daypart": 2.0, "weekday": 0.75, "persona": 0.5}
NEW_YORK, TOKYO = "America/New_York", "Asia/Tokyo"


def _tables() -> ContextTables:
    """TEA is for the evening and for Saturdays, COFFEE for the morning and for Sundays, BREAD for Champions."""
    bread, coffee, rice, tea = range(4)
    hour, weekday = np.full((4, 24), 100), np.full((4, 7), 300)
    hour[tea, 18:], hour[coffee, 6:12] = 500, 500
    weekday[tea, 5], weekday[coffee, 6], weekday[rice, 5:] = 900, 900, 100
    persona = np.full((4, 2), 200)
    persona[bread, 0] = 800
    return tables_of(Counts(CATEGORIES, hour, weekday, CHAMPION.names, persona), Span(0, 1), CHAMPION.personas_id)


TABLES = _tables()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with tables, and the personas that they know."""
    directory = tmp_path_factory.mktemp("bundles")
    make_current(directory, make_bundle(directory, tables=TABLES))
    promote(BundleStore(directory), CHAMPION)
    return directory


@pytest.fixture
def online(tmp_path: Path, redis_url: str, prefix: str, bundles: Path) -> Iterator[Online]:
    """A user who bought something a moment ago."""
    made = Online(settings_in(tmp_path, redis_url, prefix, bundles=bundles))
    made.append([purchase(USER, name, START - HOUR_US, f"m {name}") for name in CATEGORIES])
    made.fold()
    yield made
    made.client.close()


class Weighing(Memory):
    """A memory that holds a default placement with known weights."""

    weights: dict[str, float] = {}  # noqa: RUF012

    def held(self) -> Held:
        return replace(super().held(), placements=Placements(default=Placement(weights=self.weights)))


def ask(online: Online, weights: dict[str, float], bundles: Path | None = None, zone: str | None = None) -> Answer:
    async def answered() -> Answer:
        settings, keys = online.settings, online.keys
        async with redis.asyncio.Redis.from_url(str(settings.redis_url)) as client:
            plans = Plans(keys)
            feed = Feed(client, keys, settings.residual_bound)
            memory = Weighing(client, keys, plans, bundles_at(bundles or settings.bundles), feed)
            memory.weights = weights
            await memory.refresh()
            journal = Journal(LogWriter(client, keys, 48), PARTITIONS)
            deps = Scoring(States(client, keys, plans), AsyncClock(client, keys.clock()), memory, journal)
            return await score(ScoreRequest(USER, CATEGORIES, zone=zone), deps)

    return asyncio.run(answered())


def ask_at(online: Online, instant: str, zone: str) -> Answer:
    """The answer at an instant in UTC; instants only go forward."""
    online.advance(int(np.datetime64(instant, "us").astype(np.int64)))
    online.fold()
    return ask(online, WEIGHTS, zone=zone)


def adds(each: Ranked, factor: str) -> tuple[float, float]:
    """A factor's value and its weight."""
    ((value, weight),) = [(addend.value, addend.weight) for addend in each.addends if addend.name == factor]
    return value, weight


def order(answer: Answer, factors: tuple[str, ...]) -> list[str]:
    """The candidates in the order of what these factors alone contribute."""
    added = {
        each.id: sum(addend.contribution for addend in each.addends if addend.name in factors) for each in answer.ranked
    }
    return sorted(added, key=lambda name: (-added[name], name))


# Local time as a wall clock shows it, (hour, weekday), at instants that only the right offset of that very instant
# turns into it: on 5 November 2017 New York leaves summer time at 06:00 UTC, on 11 March 2018 it enters it at 07:00.
AT = (
    (TOKYO, "2017-11-04T14:30", "23:30", "evening", 5),
    (TOKYO, "2017-11-05T02:00", "11:00", "morning", 6),
    (NEW_YORK, "2017-11-05T03:30", "23:30", "evening", 5),  # UTC−4; at UTC−5 22:30
    (NEW_YORK, "2017-11-05T16:00", "11:00", "morning", 6),  # UTC−5; at UTC−4 noon, and that is afternoon
    (TOKYO, "2018-03-10T14:30", "23:30", "evening", 5),
    (TOKYO, "2018-03-11T02:00", "11:00", "morning", 6),
    (NEW_YORK, "2018-03-11T04:30", "23:30", "evening", 5),  # UTC−5; at UTC−4 00:30, and that is Sunday night
    (NEW_YORK, "2018-03-11T15:00", "11:00", "morning", 6),  # UTC−4
)


def test_the_hour_and_the_day_of_the_user_rank_in_tokyo_and_in_new_york(online: Online) -> None:
    """The same user at 23:30 and at 11:00 local time: each candidate gets exactly the tables' numbers of that part of
    the day and that weekday, times the placement's weights, and so TEA gains in the evening and COFFEE in the morning.
    """
    answers = []
    for zone, instant, clock, part, weekday in AT:
        answer = ask_at(online, instant, zone)
        answers.append(answer)
        column = [each.name for each in TABLES.dayparts].index(part)
        for each in answer.ranked:
            row = CATEGORIES.index(each.id)
            assert adds(each, "daypart") == (TABLES.daypart[row][column], 2.0), (zone, instant)
            assert adds(each, "weekday") == (TABLES.weekday[row][weekday], 0.75), (zone, instant)
        assert order(answer, ("daypart", "weekday"))[0] == ("TEA" if clock == "23:30" else "COFFEE")
        bits = struct.pack("<d", sum(addend.contribution for addend in answer.ranked[0].addends))
        assert bits == struct.pack("<d", answer.ranked[0].score)
    for evening, morning in zip(answers[::2], answers[1::2], strict=True):
        gained = {
            name: score_of(morning, name)
            - score_of(evening, name)
            - (margin_of(morning, name) - margin_of(evening, name))
            for name in CATEGORIES
        }
        # What the model itself sees of the hour put aside: COFFEE gains and TEA loses, by the known weights.
        for name in CATEGORIES:
            row = CATEGORIES.index(name)
            day = TABLES.daypart[row][1] - TABLES.daypart[row][3]
            week = TABLES.weekday[row][6] - TABLES.weekday[row][5]
            assert gained[name] == pytest.approx(2.0 * day + 0.75 * week, abs=1e-12)
        assert gained["COFFEE"] > 1 > 0 > -1 > gained["TEA"]
        assert [each.id for each in evening.ranked] != [each.id for each in morning.ranked]


def score_of(answer: Answer, name: str) -> float:
    return next(each.score for each in answer.ranked if each.id == name)


def margin_of(answer: Answer, name: str) -> float:
    return next(adds(each, "propensity")[0] for each in answer.ranked if each.id == name)


def test_a_persona_adds_what_its_users_want(online: Online) -> None:
    """The user is a Champion now; after 100 days without a purchase the same request gets what Dormant users want."""
    champion = ask(online, WEIGHTS)
    assert champion.persona == "Champions"
    assert {each.id: adds(each, "persona") for each in champion.ranked} == {
        name: (TABLES.persona[row][0], 0.5) for row, name in enumerate(CATEGORIES)
    }
    online.advance(START + 100 * DAY_US)
    online.fold()
    dormant = ask(online, WEIGHTS)
    assert dormant.persona == "Dormant"
    assert {each.id: adds(each, "persona")[0] for each in dormant.ranked} == {
        name: TABLES.persona[row][1] for row, name in enumerate(CATEGORIES)
    }


@pytest.mark.parametrize("weights", [{}, WEIGHTS, {"weekday": -1.0}])
def test_offline_relevance_is_the_servers_to_the_last_bit(online: Online, weights: dict[str, float]) -> None:
    """What `opportune evaluate` ranks by is the score of a request, at the default weights and at others: the list of
    factors has none besides that would change it.
    """
    answer = ask(online, weights, zone=TOKYO)
    believed = np.array([adds(each, "propensity")[0] for each in answer.ranked])
    moment = Moment(np.array([answer.as_of]), np.array([9 * 3600]))
    context = Context([each.category for each in answer.ranked], moment, (answer.persona,))
    found = default_relevance(believed, TABLES, context, weights)
    assert found.tobytes() == np.array([each.score for each in answer.ranked]).tobytes()
    assert {each.name for each in CONTEXT_FACTORS} <= {each.name for each in FACTORS}


def test_without_tables_the_factors_are_absent(online: Online, tmp_path: Path) -> None:
    """A bundle from before there were any loads and answers; its breakdown names no factor that it could not make."""
    make_current(tmp_path / "old", make_bundle(tmp_path / "old"))
    answer = ask(online, WEIGHTS, bundles=tmp_path / "old")
    for each in answer.ranked:
        assert [addend.name for addend in each.addends] == ["propensity", "learner"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b'"weekday":[[', b'"weekday":[[9.5,', 1),
        lambda data: msgspec.json.encode(msgspec.json.decode(data) | {"categories": ["TEA"]}),
    ],
)
def test_a_bundle_with_tables_that_are_no_use_is_refused(
    bundles: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """Well hashed nonsense is refused at load with the name of the file; so is a bundle that has lost it."""
    directory = rewritten(bundles, tmp_path, lambda files: files.update({CONTEXT_FILE: damage(files[CONTEXT_FILE])}))
    with pytest.raises(BundleRefused, match=CONTEXT_FILE):
        load_bundle(bundles_at(tmp_path), directory.name, PLAN)
    whole = rewritten(bundles, tmp_path / "whole", lambda files: None)
    assert load_bundle(bundles_at(tmp_path / "whole"), whole.name, PLAN).tables == TABLES
    (whole / CONTEXT_FILE).unlink()
    with pytest.raises(BundleRefused, match=CONTEXT_FILE):
        load_bundle(bundles_at(tmp_path / "whole"), whole.name, PLAN)
