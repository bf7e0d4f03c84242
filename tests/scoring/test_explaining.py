"""Explain on a real Redis: answers are made again from journal and bundle bit for bit, and what was altered is told."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import redis.asyncio

from behavior import served
from behavior.calibration import Calibration
from behavior.errors import Altered, BadInput, Gone, NotFound
from behavior.event import HOUR_US, MINUTE_US, SECOND_US
from behavior.served import SERVED_ENTRY, Served, decode
from deployment.archive import Archive
from deployment.bundles import bundles_at
from deployment.clock import AsyncClock
from deployment.generations import Plans
from deployment.journal_archive import JournalArchive
from deployment.journal_seal import JournalSeal
from deployment.sealing import Sealing
from scoring.answer import Answer
from scoring.archiver import archiver_of
from scoring.entry_search import EntrySearch
from scoring.explaining import Explaining, Explanation
from scoring.feed import Feed
from scoring.journal import Journal
from scoring.journal_entry import entry_of
from scoring.log_writer import LogWriter
from scoring.memory import Memory
from scoring.request import ScoreRequest
from scoring.score import Scoring, score
from scoring.states import States
from tests.scoring.learned import learned
from tests.scoring.online import Online
from tests.scoring.raw_log import drain
from tests.scoring.small import CATEGORIES, PARTITIONS, START, make_bundle, make_current, purchase, settings_in

USERS = [f"k1-{number:032x}" for number in range(12)]
NOBODY = "k1-" + 32 * "f"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundles")
    make_current(directory, make_bundle(directory, calibration=Calibration(0.8, -0.3)))
    return directory


@pytest.fixture
def online(tmp_path: Path, redis_url: str, prefix: str, bundles: Path) -> Iterator[Online]:
    """A deployment with purchases of twelve users before START, folded, and a learner that has learned."""
    draw = random.Random(7)
    made = Online(settings_in(tmp_path, redis_url, prefix, bundles=bundles))
    made.append(
        [
            purchase(
                user, draw.choice(CATEGORIES), START - draw.randrange(40 * HOUR_US), f"m{user[-2:]}-{number}",
                item=f"i{number}", utc_offset_s=draw.choice([None, -7 * 3600, 9 * 3600]),
            )
            for user in USERS for number in range(draw.randrange(1, 5))
        ]
    )  # fmt: skip
    made.advance(START + MINUTE_US)
    made.fold()
    learned(made.client, made.keys, 3, {"TEA": 1 / 3, "RICE": -5.0})
    yield made
    made.client.close()


def seal_of(online: Online) -> JournalSeal:
    """The seal that the deployment's entries have."""
    return JournalSeal(Sealing.load(online.settings.sealing_key_file))


def run(online: Online, work: Callable[[Scoring, Explaining], Awaitable[Any]]) -> Any:
    """Let a scorer and what explains its answers work; what was answered is in the log when this returns."""

    async def worked() -> Any:
        settings, keys = online.settings, online.keys
        async with redis.asyncio.Redis.from_url(str(settings.redis_url)) as client:
            journal = Journal(LogWriter(client, keys, 48), PARTITIONS, entry=partial(entry_of, seal=seal_of(online)))
            plans, bundles = Plans(keys), bundles_at(settings.bundles)
            memory = Memory(client, keys, plans, bundles, Feed(client, keys, settings.residual_bound))
            await memory.refresh()
            deps = Scoring(States(client, keys, plans), AsyncClock(client, keys.clock()), memory, journal)
            search = EntrySearch(client, keys, settings.archive, seal_of(online))
            explaining = Explaining(client, keys, plans, bundles, search, settings.archive)
            writing = asyncio.create_task(journal.run())
            answer = await work(deps, explaining)
            await journal.drain(20)
            writing.cancel()
            return answer

    return asyncio.run(worked())


def ask(online: Online, *requests: ScoreRequest) -> list[Answer]:
    """The answers to requests, journalled."""

    async def asked(deps: Scoring, _: Explaining) -> list[Answer]:
        return [await score(request, deps) for request in requests]

    return list(run(online, asked))


def explain(online: Online, *request_ids: str, events: bool = False) -> list[Explanation]:
    """Explanations of answers."""

    async def explained(_: Scoring, explaining: Explaining) -> list[Explanation]:
        return [await explaining.explain(each, events=events) for each in request_ids]

    return list(run(online, explained))


def archived(online: Online) -> None:
    """Let the archiver take over all there is, and the log go."""
    online.advance(online.clock.now() + SECOND_US)
    online.fold()
    archive = Archive(online.settings.archive, PARTITIONS)
    archiver = archiver_of(online.settings.replaced(log_keep_s=0), online.client, archive, "archiver")
    drain(archiver)
    archiver._leases.release()
    assert not any(online.client.xlen(online.keys.stream(number)) for number in range(PARTITIONS))


def requests(number: int, seed: int = 1) -> list[ScoreRequest]:
    """Requests of all shapes: known and unknown users, placements, offsets, candidates, lengths."""
    draw = random.Random(seed)
    return [
        ScoreRequest(
            draw.choice([*USERS, NOBODY]),
            tuple(draw.sample([*CATEGORIES, "unheard of", "SALT"], draw.randrange(6))),
            placement=draw.choice([None, "home", "basket"]),
            utc_offset_s=draw.choice([None, 0, 9 * 3600, -16_200]),
            top_k=draw.randrange(4),
            device=draw.choice(["", "phone"]),
        )
        for _ in range(number)
    ]


def assert_equal(explanation: Explanation, answer: Answer) -> None:
    """Every check holds, and what is made again is the answer itself, to the last bit."""
    assert [each.name for each in explanation.retraced.checks] == [
        "vector", "margins", "propensities", "factors", "scores", "order"
    ]  # fmt: skip
    assert all(each.equal for each in explanation.retraced.checks), explanation.retraced.checks
    for one, other in zip(explanation.retraced.ranked, answer.ranked, strict=True):
        assert (one.id, one.category, one.score, one.addends) == (other.id, other.category, other.score, other.addends)
        assert (one.margin, one.residual, one.propensity, one.vector) == (
            other.margin, other.residual, other.propensity, other.vector
        )  # fmt: skip


def test_a_thousand_of_a_thousand_answers_are_made_again_bit_for_bit(online: Online) -> None:
    """Of several users and placements, over a day in which events go on; from the log."""
    answers: list[Answer] = []
    for hour in range(10):
        online.append([purchase(USERS[hour], "BREAD", online.clock.now(), f"late-{hour}", item="i")])
        online.advance(online.clock.now() + HOUR_US + hour * SECOND_US + hour)
        online.fold()
        answers += ask(online, *requests(100, hour))
    explained = explain(online, *(each.request_id for each in answers))
    assert len({each.request_id for each in answers}) == 1000
    for explanation, answer in zip(explained, answers, strict=True):
        assert_equal(explanation, answer)
        assert explanation.found.place == "log"


def test_what_the_log_has_let_go_is_made_again_from_the_archive(online: Online) -> None:
    """With the plan that the archiver kept, even when another one serves by then."""
    answers = ask(online, *requests(20))
    archived(online)
    online.client.delete(online.keys.plan(1), online.keys.deployment())
    for explanation, answer in zip(explain(online, *(each.request_id for each in answers)), answers, strict=True):
        assert_equal(explanation, answer)
        assert explanation.found.place == "archive"


def test_the_events_behind_an_answer_are_told(online: Online) -> None:
    """Those of the user that the states knew, newest first, wherever they are by now."""
    (answer,) = ask(online, ScoreRequest(USERS[3], CATEGORIES))
    online.append([purchase(USERS[3], "TEA", online.clock.now(), "too new")])
    (before,) = explain(online, answer.request_id, events=True)
    assert before.events
    ids = [each.event.message_id for each in before.events]
    assert all(each.startswith("m03-") for each in ids)
    assert [each.k for each in before.events] == sorted((each.k for each in before.events), reverse=True)
    archived(online)
    (after,) = explain(online, answer.request_id, events=True)
    assert after.events == before.events
    assert explain(online, answer.request_id)[0].events is None


def rewrite(online: Online, change: Callable[[bytes], bytes]) -> None:
    """Change the one served entry of the log, at its place."""
    for number in range(PARTITIONS):
        stream = online.keys.stream(number)
        found: Any = online.client.xrange(stream)
        online.client.delete(stream)
        for entry_id, fields in found:
            if fields[b"t"] == SERVED_ENTRY:
                fields[b"b"] = change(fields[b"b"])
            online.client.xadd(stream, fields, id=entry_id)


def altered(entry: Served, name: str) -> Served:
    """The entry with one of its fields changed a little."""
    value = getattr(entry, name)
    other: Any
    match value:
        case str() | None:
            other = f"{value or ''}x" if name != "request_id" else f"{value[:-1]}{'0' if value[-1] != '0' else '1'}"
        case int():
            other = value + 1
        case bytes():
            other = value[:-1] + bytes([value[-1] ^ 1])
        case Calibration():
            other = Calibration(value.slope, value.intercept + 1e-9)
        case served.Basis():
            other = msgspec.structs.replace(value, utc_offset_s=value.utc_offset_s + 3600)
        case _ if name == "shown":
            other = tuple(msgspec.structs.replace(each, margin=float(np.nextafter(each.margin, 9))) for each in value)
        case _:
            other = (*value, *value[:1]) or ("x",)
    return msgspec.structs.replace(entry, **{name: other})


@pytest.mark.parametrize("name", Served.__struct_fields__)
def test_an_entry_of_which_any_field_was_altered_is_reported(online: Online, name: str) -> None:
    """Whatever it is, the answer is not explained by it; the untouched entry is."""
    (answer,) = ask(online, ScoreRequest(USERS[1], CATEGORIES))
    assert_equal(explain(online, answer.request_id)[0], answer)

    def change(data: bytes) -> bytes:
        changed = served.encode(altered(decode(data), name))
        assert changed != data
        return changed

    rewrite(online, change)
    with pytest.raises(Altered, match="changed since it was written"):
        explain(online, answer.request_id)


def test_a_single_flipped_bit_is_reported(online: Online) -> None:
    """Wherever in the entry it is."""
    (answer,) = ask(online, ScoreRequest(USERS[1], CATEGORIES))
    (payload,) = online.entries(SERVED_ENTRY)
    seal = seal_of(online)
    assert seal.is_intact(payload)
    for bit in range(8 * len(payload)):
        flipped = bytearray(payload)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not seal.is_intact(bytes(flipped))
    assert answer.ranked


def test_an_altered_row_of_the_archive_is_reported(online: Online, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column that is not its entry's says so, as does an entry that was changed with all its columns."""
    (answer,) = ask(online, ScoreRequest(USERS[1], CATEGORIES))
    archived(online)
    journal = JournalArchive(online.settings.archive, PARTITIONS)
    (number,) = (number for number in range(PARTITIONS) if journal.covered_until(number))
    ((k, data),) = journal.read(number)
    (file,) = journal.files(number)
    from deployment import journal_archive

    row = journal_archive.to_table([(k, data)]).to_pylist()[0]
    monkeypatch.setattr(journal_archive, "_row", lambda k, data: row | {"scores": [1.0]})
    file.unlink()
    journal.append(number, 1, [(k, data)])
    monkeypatch.undo()
    with pytest.raises(Altered, match="its scores is not its entry's"):
        explain(online, answer.request_id)
    journal.files(number)[0].unlink()
    journal.append(number, 1, [(k, served.encode(altered(decode(data), "values")))])
    with pytest.raises(Altered, match="changed since it was written"):
        explain(online, answer.request_id)


def test_what_cannot_be_explained_says_why(online: Online, bundles: Path) -> None:
    """No id, an id of nobody's answer, an answer whose bundle is gone, an entry of before."""
    (answer,) = ask(online, ScoreRequest(USERS[1], CATEGORIES))
    with pytest.raises(BadInput, match="32 hexadecimal digits"):
        explain(online, "r-1")
    with pytest.raises(BadInput, match="the deployment has 4"):
        explain(online, "fff" + answer.request_id[3:])
    with pytest.raises(NotFound, match="no entry"):
        explain(online, answer.request_id[:16] + 16 * "0")
    place = bundles / "purchase_7d" / answer.bundle_id
    place.rename(place.with_name("elsewhere"))
    try:
        with pytest.raises(Gone, match="cannot be loaded"):
            run(online, lambda _, explaining: explaining.explain(answer.request_id))
    finally:
        place.with_name("elsewhere").rename(place)
    seal = seal_of(online)
    rewrite(online, lambda data: seal.sealed(served.encode(msgspec.structs.replace(decode(data), basis=None))))
    with pytest.raises(Gone, match="bundle and plan"):
        explain(online, answer.request_id)
