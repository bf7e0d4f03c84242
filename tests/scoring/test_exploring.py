"""Exploration on the request path: drawn as often as its chances say, told, journalled, and drawn again the same."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from scipy import stats

from behavior.event import HOUR_US, MINUTE_US
from behavior.served import SERVED_ENTRY, Explored, Served, decode, encode
from scoring import metrics
from scoring.answer import Answer
from scoring.candidates import Candidates
from scoring.client import Client
from scoring.exploring import Drawing, as_journalled, chances_in, drawn_again
from scoring.factors import Weighed, relevance
from scoring.journal_entry import served
from scoring.placements import OF_REQUEST, Exploration
from scoring.ranking import Ranking, Scored, rank
from scoring.standing import Standing
from tests.scoring.online import Online, serving
from tests.scoring.small import CATEGORIES, START, make_bundle, make_current, pseudonym, purchase, settings_in
from tests.scoring.test_explaining import rewrite, seal_of
from tests.scoring.test_server import SERVING, eventually, health

FILE = """
[placements.plain]

[placements.greedy]
exploration = { policy = "epsilon-greedy", epsilon = 0.3 }

[placements.sampled]
exploration = { policy = "plackett-luce", temperature = 0.5, over = 3 }

[placements.thompson]
kind = "item"
candidates = [{ from = "configured" }]
ids = ["green", "black", "basmati"]
exploration = { policy = "thompson" }
"""
SAID = {
    "epsilon-greedy": Exploration("epsilon-greedy", epsilon=0.3, over=4),
    "plackett-luce": Exploration("plackett-luce", temperature=0.7, over=4),
    "thompson": Exploration("thompson", over=4),
}


def rates(places: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Beta distributions of which the later ones promise more."""
    return np.array([2.0 + place for place in places]), np.full(len(places), 20.0)


def scored_of(kind: str = "category", n: int = 6) -> Scored:
    """n candidates with two factors; their order by score is not that of their places."""
    ids = tuple(f"c{place}" for place in range(n))
    candidates = Candidates(kind, ids, ids if kind == "category" else ("X", "Y") * (n // 2), (OF_REQUEST,))
    first, second = np.sin(np.arange(n) * 2.0), np.cos(np.arange(n)) / 3
    weighed = [Weighed("propensity", 1.0, first, first), Weighed("boost", 0.3, second, 0.3 * second)]
    margins = first.astype(np.float32)
    return Scored(candidates, np.zeros((n, 2), np.float32), margins, first, second, weighed, relevance(weighed, n))


def ranked_of(policy: str, name: str, top_k: int = 0, kind: str = "category") -> Ranking:
    return scored_of(kind).ranked(top_k, {}, Standing(), drawing=Drawing(name, SAID[policy], rates))


def entry_of(policy: str, name: str, top_k: int = 0, kind: str = "category") -> Served:
    """The journal entry of an answer that was drawn."""
    ranked = ranked_of(policy, name, top_k, kind)
    return served(Answer(name, "k1-u", None, 0, 0, 0, "b", "purchase_7d", None, 0, ranked, ()))


@pytest.mark.parametrize("policy", ["epsilon-greedy", "plackett-luce"])
def test_orders_come_as_often_as_the_answers_say(policy: str) -> None:
    """Over 8,000 requests the first two positions are distributed as their own chances claim (chi-square)."""
    n, scored = 8_000, scored_of()
    seen, said = Counter[tuple[str, ...]](), dict[tuple[str, ...], float]()
    for number in range(n):
        ranked = scored.ranked(2, {}, Standing(), drawing=Drawing(f"request-{number}", SAID[policy], rates))
        order = tuple(ranked.ids)
        seen[order] += 1
        said[order] = math.prod(ranked.chances)
    assert len(said) == math.perm(4, 2)
    assert math.fsum(said.values()) == pytest.approx(1.0, abs=1e-12)
    assert stats.chisquare(list(seen.values()), [n * said[order] for order in seen]).pvalue > 0.01


@pytest.mark.parametrize("policy", SAID)
@pytest.mark.parametrize("kind", ["category", "item"])
def test_only_the_best_change_places(policy: str, kind: str) -> None:
    """Behind the pool all is certain and as the scores have it; of each its position by score is told."""
    best = list(scored_of(kind).ranked(0, {}, Standing()))
    moved = False
    for number in range(20):
        ranked = list(ranked_of(policy, f"r{number}", kind=kind))
        assert [(each.id, each.chance) for each in ranked[4:]] == [(each.id, 1.0) for each in best[4:]]
        assert all(0.0 < each.chance <= 1.0 for each in ranked)
        assert [best[each.relevance_position - 1].id for each in ranked] == [each.id for each in ranked]
        assert {each.id: each.score for each in ranked} == {each.id: each.score for each in best}
        moved |= [each.id for each in ranked] != [each.id for each in best]
    assert moved


@pytest.mark.parametrize("policy", SAID)
def test_who_asks_for_fewer_sees_the_beginning_of_the_same(policy: str) -> None:
    """The draw follows from the request, position by position, not from how many are shown."""
    for number in range(20):
        whole, few = list(ranked_of(policy, f"r{number}")), list(ranked_of(policy, f"r{number}", 2))
        assert few == whole[:2]


def test_thompson_asks_for_the_rates_of_what_it_draws_from() -> None:
    """Of the pool, the best first, and keeps them; the others are asked for none."""
    ranked = ranked_of("thompson", "r")
    assert ranked.explored is not None
    best = rank(scored_of().scores, scored_of().candidates.ids, 4)
    assert np.frombuffer(ranked.explored.rates).reshape(4, 2).tolist() == [[2.0 + place, 20.0] for place in best]
    assert [each.explored and each.explored.rates for each in map(ranked_of, SAID, "rrr")] == [
        b"", b"", ranked.explored.rates,
    ]  # fmt: skip


def test_a_placement_that_does_not_explore_says_nothing_of_it() -> None:
    """No chances, no part of the entry."""
    ranked = scored_of().ranked(3, {}, Standing())
    assert (ranked.chances, ranked.explored, [each.chance for each in ranked]) == ((), None, [0.0] * 3)


@pytest.mark.parametrize("policy", SAID)
@pytest.mark.parametrize("kind", ["category", "item"])
@pytest.mark.parametrize("top_k", [0, 1, 3, 6])
def test_an_entry_is_drawn_again_the_same(policy: str, kind: str, top_k: int) -> None:
    """From its bytes in the log, however many were shown: id, position by score, chance and values to the last bit."""
    for number in range(20):
        entry = decode(encode(entry_of(policy, f"r{number}", top_k, kind)))
        assert len(as_journalled(entry)) == (top_k or 6)
        assert drawn_again(entry) == as_journalled(entry)


def _flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("policy", SAID)
def test_what_was_altered_is_drawn_otherwise(policy: str) -> None:
    """Whatever is said of the draw, of what was shown or its order: the entry is not what its request draws."""
    entry = entry_of(policy, "r", kind="item")
    explored = entry.explored
    assert explored is not None
    of_draw: dict[str, object] = {
        "policy": "plackett", "chances": _flipped(explored.chances), "pool": explored.pool[::-1],
        "values": explored.values[:-8], "categories": explored.categories[1:], "is_exact": not explored.is_exact,
    }  # fmt: skip
    of_draw |= {"rates": explored.rates[:-8]} if explored.rates else {"strength": 0.011}
    altered = [replace(entry, explored=replace(explored, **{name: value})) for name, value in of_draw.items()]
    altered += [
        replace(entry, explored=replace(explored, chances=explored.chances[:-3])),
        replace(entry, explored=replace(explored, categories=("Z",) * 4)),
        replace(entry, explored=Explored("", 0.0, b"", (), b"")),
        replace(entry, request_id="s"),
        replace(entry, shown=entry.shown[::-1]),
        replace(entry, shown=entry.shown[:-1]),
        replace(entry, values=entry.values[8:]),
        replace(entry, categories=entry.categories[:-1]),
        replace(entry, relevance_positions=tuple(range(1, 7))),
        replace(entry, relevance_positions=entry.relevance_positions[:-1]),
    ]
    for each in altered:
        assert drawn_again(each) != as_journalled(each)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundles")
    make_current(directory, make_bundle(directory))
    return directory


@pytest.fixture
def online(tmp_path: Path, redis_url: str, prefix: str, bundles: Path) -> Iterator[Online]:
    """A deployment with a user who has bought tea, and a file of placements that explore."""
    file = tmp_path / "placements.toml"
    file.write_text(FILE)
    made = Online(settings_in(tmp_path, redis_url, prefix, bundles=bundles, placements=file))
    made.append([purchase(pseudonym(made.settings, "u"), "TEA", START - HOUR_US, "m1", item="green")])
    made.advance(START + MINUTE_US)
    made.fold()
    yield made
    made.client.close()


def journalled(online: Online, n: int) -> dict[str, Served]:
    """The n entries of the journal by request id, as soon as they are there."""
    eventually(lambda: len(online.entries(SERVED_ENTRY)) == n)
    return {each.request_id: each for each in map(decode, online.entries(SERVED_ENTRY))}


def test_answer_journal_and_explanation_say_the_same(online: Online) -> None:
    """Of 100 answers: the chance that is told is journalled and drawn again, and Explain finds each equal."""
    before = metrics.EXPLORED.labels("plackett-luce")._value.get()
    with serving(online.settings) as address, Client(address) as client:
        eventually(lambda: health(address) == SERVING)
        asked = ["plain", "greedy", "sampled", "thompson"] * 25
        answers = [
            client.score("u", placement=name, candidates=() if name == "thompson" else CATEGORIES) for name in asked
        ]
        entries = journalled(online, 100)
        explanations = [client.explain(each.request_id) for each in answers]
    for name, answer, explanation in zip(asked, answers, explanations, strict=True):
        entry, told = entries[answer.request_id], [each.chance for each in answer.ranked]
        assert [each.candidate.id for each in answer.ranked] == [each.id for each in entry.shown]
        assert explanation.equal, explanation.checks
        assert (explanation.checks[-1].name == "exploration") == answer.HasField("exploration") == (name != "plain")
        assert [each.ranked.chance for each in explanation.shown] == told
        assert explanation.exploration == answer.exploration
        assert (entry.explored is None) == (name == "plain")
        if entry.explored is not None:
            assert chances_in(entry.explored) == told == [each.chance for each in drawn_again(entry)]
            assert answer.exploration.is_exact == entry.explored.is_exact == (name != "thompson")
        else:
            assert told == [0.0] * 4
    orders = {tuple(each.candidate.id for each in answer.ranked) for answer in answers[1::4]}
    assert len(orders) > 1
    assert metrics.EXPLORED.labels("plackett-luce")._value.get() == before + 25


def test_more_are_asked_for_than_are_drawn_from(online: Online) -> None:
    """The fourth of four, of which three are drawn from, is the one of the least score, for certain."""
    with serving(online.settings) as address, Client(address) as client:
        eventually(lambda: health(address) == SERVING)
        for _ in range(10):
            answer = client.score("u", placement="sampled", candidates=CATEGORIES, top_k=9)
            last = answer.ranked[-1]
            assert (len(answer.ranked), last.relevance_position, last.chance) == (4, 4, 1.0)
            assert last.score == min(each.score for each in answer.ranked)
            assert sorted(each.relevance_position for each in answer.ranked[:3]) == [1, 2, 3]


def test_explain_reports_an_altered_draw(online: Online) -> None:
    """Sealed anew by somebody who has the key, the rest of the answer is equal and its exploration is not."""
    with serving(online.settings) as address, Client(address) as client:
        eventually(lambda: health(address) == SERVING)
        answer = client.score("u", placement="sampled", candidates=CATEGORIES)
        (entry,) = journalled(online, 1).values()
        assert entry.explored is not None
        seal = seal_of(online)
        for changed in (
            replace(entry.explored, chances=_flipped(entry.explored.chances)),
            replace(entry.explored, pool=entry.explored.pool[::-1]),
        ):
            other = encode(replace(entry, explored=changed))
            rewrite(online, lambda _, other=other: seal.sealed(other))
            found = client.explain(answer.request_id)
            assert not found.equal
            assert [each.name for each in found.checks if not each.equal] == ["exploration"]
            assert found.checks[-1].detail.startswith("at position")


def test_a_running_server_explores_while_its_file_says_so(online: Online) -> None:
    """Switched on and off by the file of placements, without a restart."""
    file = online.settings.placements
    assert file is not None
    with serving(online.settings) as address, Client(address) as client:
        eventually(lambda: health(address) == SERVING)
        for said in ('exploration = { policy = "epsilon-greedy", epsilon = 1.0 }\n', "", FILE):
            before = client.score("u", placement="plain").placements_id
            file.write_text(said if said == FILE else f"[placements.plain]\n{said}")
            eventually(lambda before=before: client.score("u", placement="plain").placements_id != before)
            answer = client.score("u", placement="plain", candidates=CATEGORIES)
            explores = "exploration" in said and said != FILE
            assert answer.HasField("exploration") == explores
            assert [round(each.chance, 12) for each in answer.ranked] == (
                [0.25, 0.333333333333, 0.5, 1.0] if explores else [0.0] * 4
            )
