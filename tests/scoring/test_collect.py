"""Collect, on a real Redis: what clients report becomes pseudonymous events in the log, or an answer that says why."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from behavior.admission import MAX_VALUE_MINOR
from behavior.errors import BadInput, Unavailable
from behavior.event import HOUR_US, SECOND_US, Event
from behavior.partition import partition_of
from deployment.clock import advance
from deployment.pseudonym import Pseudonyms
from scoring.collect import MAX_EVENTS, MESSAGES
from scoring.dead_letters import MAX_LETTER_BYTES, open_letter
from scoring.v1 import scoring_pb2 as wire
from tests.scoring.entrance import PARTITIONS, RAW_COOKIE, RAW_USER, START, Entrance, reported


@pytest.fixture
def entrance(tmp_path: Path, redis_url: str, prefix: str) -> Entrance:
    return Entrance(tmp_path, redis_url, prefix)


def stored_bytes(entrance: Entrance) -> Iterator[bytes]:
    """Every key of the deployment and everything in it."""
    for key in entrance.client.scan_iter(f"{entrance.keys.prefix}:*"):
        kind = entrance.client.type(key)
        yield key
        if kind == b"stream":
            for entry_id, fields in entrance.client.xrange(key):
                yield from (entry_id, *fields, *fields.values())
        elif kind == b"hash":
            for name, value in entrance.client.hgetall(key).items():
                yield from (name, value)
        else:
            assert kind == b"string"
            yield entrance.client.get(key)


def pseudonym(entrance: Entrance) -> str:
    return Pseudonyms.load(entrance.settings.key_file).user(RAW_USER)


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
    user = pseudonym(entrance)
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
    user = pseudonym(entrance)
    assert entrance.stored() == [Event("m1", "purchase", user, START - 5, purposes=1)]


def test_no_raw_id_reaches_redis(entrance: Entrance) -> None:
    """Neither keys nor values hold a raw user or anonymous id, of rejected events neither."""
    entrance.track(
        [
            reported(anonymous_id=RAW_COOKIE), reported("m2", user_id=None, anonymous_id=RAW_COOKIE),
            reported("m3", anonymous_id=RAW_COOKIE, kind="BAD"), reported("m4", event_time=5),
            reported("m5", consent=[]),
        ]
    )  # fmt: skip
    assert len(list(entrance.letters.kept(0))) == 2
    everything = b"".join(stored_bytes(entrance))
    assert b"m1" in everything, "the search would find what is there"
    assert RAW_USER.encode() not in everything
    assert RAW_COOKIE.encode() not in everything


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
    """A broken event is rejected with the reason of its rule and a sentence, counted, and kept as a letter only."""
    message = reported()
    change(message)
    outcome = entrance.track([message])[0]
    assert (outcome.fate.status, outcome.fate.reason) == ("rejected", reason)
    assert outcome.message
    assert entrance.counted() == {"received": 1, f"rejected:{reason}": 1}
    assert entrance.stored() == []
    (letter,) = entrance.letters.kept(0)
    assert letter.reason == reason
    assert open_letter(entrance.sealing, letter) == message


def test_an_event_that_nobody_consented_to_leaves_no_letter(entrance: Entrance) -> None:
    """Nothing is kept of a dropped event, however broken it is, not even sealed."""
    entrance.track([reported(consent=[], kind="BAD"), reported("m2", consent=[], event_time=5)])
    assert entrance.counted() == {"received": 2, "dropped:consent": 2}
    assert list(entrance.letters.kept(0)) == []


def test_an_event_that_is_too_large_to_keep_is_counted(entrance: Entrance) -> None:
    """A rejected event beyond the size of any valid one leaves no letter, and the loss is counted."""
    entrance.track(
        [reported(kind="K" * MAX_LETTER_BYTES), reported("m2", event_time=5, properties={"x": "y" * 20_000})]
    )
    assert entrance.counted() == {"received": 2, "rejected:bad_kind": 1, "rejected:too_late": 1, "letters_lost": 2}
    assert list(entrance.letters.kept(0)) == []


def test_a_log_ahead_of_the_clock_loses_no_late_letter(entrance: Entrance) -> None:
    """An event is too late only by the log's own instant, which no clock has told: it is kept whole all the same."""
    partition = partition_of(pseudonym(entrance), PARTITIONS)
    horizon_us = entrance.settings.lateness_horizon_h * HOUR_US
    ahead = START + 2 * HOUR_US
    entrance.client.hset(entrance.keys.meta(partition), mapping={"last_k": ahead, "first_k": START})
    messages = [
        reported("late", event_time=ahead - horizon_us), reported("m2"),
        reported("taken", event_time=ahead - horizon_us + SECOND_US),
    ]  # fmt: skip
    outcomes = entrance.track(messages)
    assert [outcome.fate[:2] for outcome in outcomes] == [("rejected", "too_late"), ("accepted", ""), ("accepted", "")]
    assert "import it as history" in outcomes[0].message
    assert entrance.counted() == {"received": 3, "accepted": 2, "rejected:too_late": 1}
    assert [open_letter(entrance.sealing, letter) for letter in entrance.letters.kept(0)] == [messages[0]]


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


def test_a_log_that_is_moved_takes_nothing(entrance: Entrance) -> None:
    """While a partition is sealed nothing is taken, counted or kept, and the caller is told to come back."""
    for partition in range(PARTITIONS):
        entrance.client.hset(entrance.keys.meta(partition), "sealed", 1)
    with pytest.raises(Unavailable, match="moved to another number of partitions; try again"):
        entrance.track([reported(), reported("m2", kind="BAD"), reported("m3", consent=[])])
    assert entrance.counted() == {}
    assert entrance.stored() == list(entrance.letters.kept(0)) == []
    entrance.client.hdel(entrance.keys.meta(partition_of(pseudonym(entrance), PARTITIONS)), "sealed")
    assert entrance.track([reported()])[0].fate.status == "accepted"


def test_every_reason_has_a_sentence() -> None:
    """Whatever the append script can answer, a person can read."""
    assert {"too_late", "consent", "wrong_currency", "bad_value"} <= set(MESSAGES)
