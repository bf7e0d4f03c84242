"""`opportune inspect` as typed: a user's state and features, online beside what the events say."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from behavior.event import DAY_US, HOUR_US, MINUTE_US
from behavior.state import decode, encode
from deployment.archive import Archive
from opportune.command import run
from scoring.archiver import archiver_of
from tests.scoring.online import Online
from tests.scoring.small import PLAN, START, pseudonym, purchase, settings_in

RAW = "household 7"


@pytest.fixture
def online(tmp_path: Path, redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Online]:
    """A deployment that has folded purchases of two users, nothing archived; the command has its settings."""
    made = Online(settings_in(tmp_path, redis_url, prefix))
    user, other = pseudonym(made.settings, RAW), pseudonym(made.settings, "another")
    made.append(
        [
            purchase(user, "TEA", START - DAY_US, "m1", value=350, utc_offset_s=-7 * 3600),
            purchase(user, "RICE", START - HOUR_US, "m2", item="i-1"),
            purchase(other, "TEA", START - 3 * HOUR_US, "m3", item="i-1"),
        ]
    )
    made.advance(START + MINUTE_US)
    made.fold()
    for name, value in made.settings.child_environment().items():
        if name.startswith("OPPORTUNE_"):
            monkeypatch.setenv(name, value)
    yield made
    made.client.close()


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What the command says to machines."""
    assert run(["inspect", *arguments, "--json"]) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def values(said: dict[str, Any], side: str = "online") -> dict[tuple[str, str | None], Any]:
    """The values of one side by feature and entity."""
    return {(each["feature"], each["entity"]): each[side] for each in said["values"]}


def archive(online: Online) -> None:
    """Archive what the log holds."""
    archiver = archiver_of(
        online.settings, online.client, Archive(online.settings.archive, online.settings.partitions), "test"
    )
    archiver.step()
    archiver.flush()
    archiver._leases.release()


def falsify(online: Online) -> None:
    """Let the stored count of the user's purchases in seven days be one higher."""
    user = pseudonym(online.settings, RAW)
    view = PLAN.view("user_activity")
    place = next(raw.place for raw in view.raws if raw.name == "purchase_count_7d")
    key = online.keys.user(online.keys.partition_of(user), 1, user)
    state = decode(view, online.client.hget(key, view.letter))
    state.values[place][1] += 1
    online.client.hset(key, view.letter, encode(view, state))


def test_both_sides_are_shown_and_equal(online: Online, capsys: pytest.CaptureFixture[str]) -> None:
    """The user, its latest categories, these for everybody and all together: each value twice, the same bits."""
    said = told(capsys, RAW)
    user = pseudonym(online.settings, RAW)
    assert said["user_id"] == user
    assert (said["known"], said["as_of"], said["s"]) == (True, START + MINUTE_US, START + MINUTE_US)
    assert said["partition"] == online.keys.partition_of(user)
    assert not any(each["differs"] for each in said["values"])
    found = values(said)
    assert found == values(said, "offline")
    assert found["user_activity:purchase_count_7d", None] == 2
    assert found["user_activity:purchase_category_last", None] == "RICE"
    assert found["user_category:purchase_count_30d", "TEA"] == 1
    assert found["category_activity:purchase_count_30d", "TEA"] == 2
    assert found["all_activity:purchase_count_7d", "all"] == 3
    assert {entity for _, entity in found} == {None, "RICE", "TEA", "all"}
    stored = {(each["view"], each["category"]): each for each in said["states"]}
    assert set(stored) == {("user_activity", None), ("user_category", "TEA"), ("user_category", "RICE")}
    assert sum(each["size"] for each in stored.values()) == said["bytes"]
    assert stored["user_category", "TEA"]["seen_e"] == START - DAY_US


def test_people_read_a_table(online: Online, capsys: pytest.CaptureFixture[str]) -> None:
    """Pseudonym, offsets, stored slots and values; never the raw id."""
    assert run(["inspect", RAW, "--category", "TEA"]) == 0
    shown = capsys.readouterr().out
    assert RAW not in shown
    for word in (
        pseudonym(online.settings, RAW), "as of 2017-10-15T00:01:00-04:00", "generation 1",
        "user_activity:purchase_age_s",
        "2 in 2 hops of 1h", "'RICE' of 2017-10-15T03:00:00Z", "all 10 values are equal to the last bit",
    ):  # fmt: skip
        assert word in shown
    assert "≠" not in shown


def test_what_is_not_archived_yet_is_no_difference(online: Online, capsys: pytest.CaptureFixture[str]) -> None:
    """The offline side takes from the log what the archive lacks, each event once, and says how many these were."""
    before = told(capsys, RAW)
    assert (before["archived_until"], before["from_log"]) == (0, 3)
    archive(online)
    online.append([purchase(pseudonym(online.settings, RAW), "TEA", START, "m4")])
    online.fold()
    after = told(capsys, RAW)
    assert after["archived_until"] > 0
    assert after["from_log"] == 1
    assert values(after, "offline")["user_activity:purchase_count_7d", None] == 3
    assert not any(each["differs"] for each in after["values"])


def test_a_false_state_is_marked(online: Online, capsys: pytest.CaptureFixture[str]) -> None:
    """One count that is one too high is one marked row, and nothing else is."""
    falsify(online)
    said = told(capsys, RAW)
    (wrong,) = [each for each in said["values"] if each["differs"]]
    expected = {
        "feature": "user_activity:purchase_count_7d",
        "entity": None,
        "online": 3,
        "offline": 2,
        "differs": True,
    }
    assert wrong == expected
    assert run(["inspect", RAW]) == 0
    shown = capsys.readouterr().out
    assert "≠" in shown
    assert f"1 of {len(said['values'])} values differ" in shown


def test_the_past_is_told_by_the_events(
    online: Online, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At an instant only what the log had taken by then; with the archive alone no Redis is needed."""
    archive(online)
    falsify(online)
    last_k = max(each.k for each in online.log.read(dict.fromkeys(range(4), 0), 0, 100))
    at = "2017-10-15T00:01:00"
    with_redis = told(capsys, RAW, "--at", at)
    assert last_k < with_redis["as_of"] == START + MINUTE_US
    assert values(with_redis, "offline")["user_activity:purchase_count_7d", None] == 2
    assert (with_redis["offset"], with_redis["states"]) == (None, [])
    assert not any(each["differs"] for each in with_redis["values"])
    monkeypatch.delenv("OPPORTUNE_REDIS_URL")
    assert told(capsys, RAW, "--at", at) == with_redis
    earlier = told(capsys, RAW, "--at", "2017-10-14T00:00:00")
    assert earlier["known"] is False  # nothing had been admitted
    assert run(["inspect", RAW, "--at", at]) == 0
    shown = capsys.readouterr().out
    assert "offline" in shown
    assert "online" not in shown


def test_an_unknown_user_is_told_in_a_sentence(online: Online, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody's fault: exit 0, and what was looked for."""
    assert run(["inspect", "nobody"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"nothing is known of this user ({pseudonym(online.settings, 'nobody')}" in shown
    said = told(capsys, "nobody")
    assert (said["known"], said["values"]) == (False, [])


def test_a_pseudonym_and_a_cookie_are_users_too(online: Online, capsys: pytest.CaptureFixture[str]) -> None:
    """What other output shows can be asked for; an anonymous id is another user than the same text as a user id."""
    user = pseudonym(online.settings, RAW)
    assert told(capsys, user) == told(capsys, RAW)
    assert told(capsys, RAW, "--anonymous")["user_id"] != user
