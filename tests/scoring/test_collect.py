"""Collect, on a real Redis: what clients report becomes pseudonymous events in the log, or an answer that says why."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from behavior.admission import MAX_VALUE_MINOR
from behavior.errors import BadInput, Unavailable
from behavior.event import Event, decode
from behavior.partition import partition_of
from deployment.clock import AsyncClock, advance
from deployment.keys import Keys
from deployment.pseudonym import Pseudonyms
from deployment.settings import Settings
from scoring.client import event
from scoring.collect import MAX_EVENTS, MESSAGES, Collect, Outcome
from scoring.log import Log, LogWriter
from scoring.v1 import scoring_pb2 as wire
from tests.scoring.small import PARTITIONS, START, pseudonym, settings_in

RAW_USER = "household number 42"
RAW_COOKIE = "cookie number 43"
PROPERTIES = {"rating": {"scale": 2}, "colour": {"kind": "text"}}


class Entrance:
    """One deployment's collect, and what it put into the log."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.keys = Keys(settings.redis_prefix)
        self.client = redis.Redis.from_url(str(settings.redis_url))
        advance(self.client, self.keys, START)

    def track(self, messages: Sequence[wire.Event], url: str | None = None) -> list[Outcome]:
        """What Track would answer."""

        async def tracked() -> list[Outcome]:
            async with redis.asyncio.Redis.from_url(url or str(self.settings.redis_url)) as client:
                log = LogWriter(client, self.keys, self.settings.lateness_horizon_h)
                clock = AsyncClock(client, None if url else self.keys.clock())
                pseudonyms = Pseudonyms.load(self.settings.key_file)
                return await Collect(log, clock, pseudonyms, self.settings).track(messages)

        return asyncio.run(tracked())

    def stored(self) -> list[Event]:
        """The events in the log."""
        entries = Log(self.client, self.keys).read(dict.fromkeys(range(PARTITIONS), 0), 0, 10_000)
        return [decode(entry.payload) for entry in entries]

    def counted(self) -> dict[str, int]:
        """The counters of all partitions together."""
        counts: dict[str, int] = {}
        for partition in range(PARTITIONS):
            for name, n in self.client.hgetall(self.keys.counts(partition)).items():
                counts[name.decode()] = counts.get(name.decode(), 0) + int(n)
        return counts


@pytest.fixture
def entrance(tmp_path: Path, redis_url: str, prefix: str) -> Entrance:
    return Entrance(settings_in(tmp_path, redis_url, prefix, properties=PROPERTIES))


def reported(message_id: str = "m1", **changes: Any) -> wire.Event:
    fields: dict[str, Any] = {
        "kind": "purchase", "user_id": RAW_USER, "event_time": START - 5, "consent": ["personalization"],
    }  # fmt: skip
    return event(message_id=message_id, **fields | changes)


def test_a_whole_event_arrives_as_it_was_reported(entrance: Entrance) -> None:
    """Every field of the message is in the stored event, under the partition of the user's pseudonym."""
    message = reported(
        anonymous_id=RAW_COOKIE, item="i", category="TEA", value_minor=-139, currency="USD", quantity=0,
        order_id="o", session_id="s", request_id="r", placement="home", zone="America/New_York", device="phone",
        page="/", source="pos", properties={"rating": 4.5, "colour": "red", "unlisted": "x"},
        consent=["personalization", "marketing"],
    )  # fmt: skip
    outcome = entrance.track([message])[0]
    assert (outcome.fate.status, outcome.fate.k, outcome.message) == ("accepted", START, "")
    user = pseudonym(entrance.settings, RAW_USER)
    cookie = Pseudonyms.load(entrance.settings.key_file).anonymous(RAW_COOKIE)
    assert entrance.stored() == [
        Event(
            "m1", "purchase", user, START - 5, cookie, "i", "TEA", -139, "USD", 0, "o", "s", "r", "home", -4 * 3600,
            "phone", "/", "pos", {"rating": 450, "colour": "red"}, 5,
        )
    ]  # fmt: skip
    assert entrance.client.exists(entrance.keys.stream(partition_of(user, PARTITIONS)))


def test_what_is_not_said_is_absent(entrance: Entrance) -> None:
    """Absent and empty fields are None, never 0 or an empty text."""
    entrance.track([reported(item="", zone=None)])
    user = pseudonym(entrance.settings, RAW_USER)
    assert entrance.stored() == [Event("m1", "purchase", user, START - 5, purposes=1)]


def test_no_raw_id_reaches_redis(entrance: Entrance) -> None:
    """Neither keys nor values hold a raw user or anonymous id."""
    entrance.track([reported(anonymous_id=RAW_COOKIE), reported("m2", user_id=None, anonymous_id=RAW_COOKIE)])
    stream = b"".join(entrance.client.dump(key) + key for key in entrance.client.scan_iter(f"{entrance.keys.prefix}:*"))
    assert b"m1" in stream, "the search would find what is there"
    assert RAW_USER.encode() not in stream
    assert RAW_COOKIE.encode() not in stream


def test_an_anonymous_user_is_nobody_elses(entrance: Entrance) -> None:
    """An anonymous id is a user of its own, even if a user id reads the same."""
    entrance.track([reported("m1", user_id="x"), reported("m2", user_id=None, anonymous_id="x")])
    assert len({each.user_id for each in entrance.stored()}) == 2


@pytest.mark.parametrize(("consent", "bits"), [(["analytics"], 2), (["personalization", "analytics", "marketing"], 7)])
def test_an_event_keeps_exactly_its_purposes(entrance: Entrance, consent: list[str], bits: int) -> None:
    """With any purpose an event is taken, and says which ones they were."""
    assert entrance.track([reported(consent=consent)])[0].fate.status == "accepted"
    assert [each.purposes for each in entrance.stored()] == [bits]


@pytest.mark.parametrize("kind", ["purchase", "NO KIND"])
def test_consent_is_denied_by_default(entrance: Entrance, kind: str) -> None:
    """Without any purpose an event is dropped before anything else about it is looked at."""
    outcome = entrance.track([reported(consent=[], kind=kind)])[0]
    assert (outcome.fate.status, outcome.fate.reason) == ("dropped", "consent")
    assert entrance.counted() == {"received": 1, "dropped:consent": 1}
    assert entrance.stored() == []


def test_a_purpose_that_this_version_does_not_know_is_no_consent(entrance: Entrance) -> None:
    """An unknown number in the list of purposes denies, like an empty list."""
    message = reported(consent=[])
    message.consent.append(99)  # type: ignore[arg-type]
    assert entrance.track([message])[0].fate.status == "dropped"


def changed(**fields: Any) -> Callable[[wire.Event], None]:
    def change(message: wire.Event) -> None:
        for name, value in fields.items():
            setattr(message, name, value)

    return change


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("bad_message_id", changed(message_id="")),
        ("bad_message_id", changed(message_id="m" * 257)),
        ("bad_kind", changed(kind="Purchase")),
        ("no_user", changed(user_id="")),
        ("bad_value", changed(user_id="u" * 257)),
        ("bad_value", changed(anonymous_id="u" * 257)),
        ("bad_time", lambda message: message.ClearField("event_time")),
        ("bad_time", lambda message: setattr(message.event_time, "seconds", -1)),
        ("bad_time", lambda message: setattr(message.event_time, "seconds", 2**62)),
        ("bad_time", lambda message: setattr(message.event_time, "nanos", -5)),
        ("value_out_of_range", changed(value_minor=MAX_VALUE_MINOR + 1)),
        ("quantity_out_of_range", changed(quantity=-1)),
        ("bad_currency", changed(currency="usd")),
        ("wrong_currency", changed(currency="EUR")),
        ("bad_utc_offset", changed(utc_offset_s=18 * 3600 + 1)),
        ("bad_utc_offset", changed(zone="Mars/Olympus")),
        ("bad_utc_offset", changed(zone="America")),
        ("bad_utc_offset", changed(zone="Z" * 5000)),
        ("bad_item", changed(item="a\x00b")),
        ("bad_category", changed(category="c" * 257)),
        ("bad_page", changed(page="p" * 1025)),
        ("bad_value", lambda message: setattr(message.properties["rating"], "text", "four")),
        ("bad_value", lambda message: setattr(message.properties["rating"], "number", float("nan"))),
        ("bad_value", lambda message: setattr(message.properties["rating"], "number", 1e300)),
        ("bad_value", lambda message: setattr(message.properties["colour"], "text", "r" * 1025)),
        ("bad_value", lambda message: message.properties["colour"].ClearField("value")),
        ("too_late", lambda message: setattr(message.event_time, "seconds", 5)),
    ],
)
def test_each_rule_has_its_reason(entrance: Entrance, reason: str, change: Callable[[wire.Event], None]) -> None:
    """A broken event is rejected with the reason of its rule and a sentence, is counted, and leaves nothing else."""
    message = reported()
    change(message)
    outcome = entrance.track([message])[0]
    assert (outcome.fate.status, outcome.fate.reason) == ("rejected", reason)
    assert outcome.message
    assert entrance.counted() == {"received": 1, f"rejected:{reason}": 1}
    assert entrance.stored() == []


def test_outcomes_come_in_the_order_of_the_request(entrance: Entrance) -> None:
    """Events of many users, good and bad, are answered in place; the order of one user is the order of the log."""
    messages = [
        reported(f"m{i}", user_id=f"user {i % 9}", kind="purchase" if i % 7 else "BAD", consent=["analytics"] * (i % 5))
        for i in range(300)
    ]
    outcomes = entrance.track([*messages, *messages])
    for i, outcome in enumerate(outcomes):
        good = "accepted" if i < 300 else "duplicate"
        bad = "dropped" if i % 300 % 5 == 0 else "rejected" if i % 300 % 7 == 0 else ""
        assert outcome.fate.status == (bad or good)
    for user in {each.user_id for each in entrance.stored()}:
        mine = [int(each.message_id[1:]) for each in entrance.stored() if each.user_id == user]
        assert mine == sorted(mine)
    counts = entrance.counted()
    assert counts.pop("received") == 600 == sum(counts.values())


def test_a_zone_is_the_offset_at_the_event_time(entrance: Entrance) -> None:
    """Both sides of a change of daylight saving time get their own offset."""
    summer, winter = 1_509_861_599_000_000, 1_509_865_201_000_000  # 2017-11-05 in New York, 01:59:59 EDT, 02:00:01 EST
    advance(entrance.client, entrance.keys, winter + 1)
    entrance.track([reported("a", event_time=summer, zone="America/New_York")])
    entrance.track([reported("b", event_time=winter, zone="America/New_York")])
    assert [each.utc_offset_s for each in entrance.stored()] == [-4 * 3600, -5 * 3600]


@pytest.mark.parametrize(("number", "kept"), [(1.255, 126), (1.245, 124), (0.1 + 0.2, 30), (-2.675, -268), (1e-9, 0)])
def test_a_property_is_scaled_by_the_digits_that_were_meant(entrance: Entrance, number: float, kept: int) -> None:
    """Numbers become integers of the declared scale, by their shortest decimal form, halves to even."""
    entrance.track([reported(properties={"rating": number})])
    assert entrance.stored()[0].properties == {"rating": kept}


def test_a_call_is_bounded(entrance: Entrance) -> None:
    """More than the stated number of events is refused whole, before anything is stored."""
    with pytest.raises(BadInput, match=str(MAX_EVENTS)):
        entrance.track([reported(str(i)) for i in range(MAX_EVENTS + 1)])
    assert entrance.counted() == {}


def test_without_redis_nothing_is_acknowledged(entrance: Entrance) -> None:
    """When the log does not answer, the call fails as unavailable."""
    with pytest.raises(Unavailable):
        entrance.track([reported()], url="redis://127.0.0.1:1")


def test_every_reason_has_a_sentence() -> None:
    """Whatever the append script can answer, a person can read."""
    assert {"too_late", "consent", "wrong_currency", "bad_value"} <= set(MESSAGES)
