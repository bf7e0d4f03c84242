"""The joiner: each shown thing is tried once and labelled once, by event time, and a restart changes nothing."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count

import msgspec
import pytest

from behavior.calibration import Calibration
from behavior.event import DAY_US, HOUR_US, MINUTE_US, Admitted, Event, admit
from behavior.served import Basis, Served, Shown
from scoring.example import Example
from scoring.joiner import PartitionJoin
from scoring.outcomes import Outcomes
from scoring.pending import Pending, Place

WINDOW = 7 * DAY_US
HORIZON = 2 * DAY_US
T = 1_508_040_000_000_000  # 2017-10-15T04:00:00Z, a Sunday, midnight in New York
REWARDS = {"click": 0.25, "add_to_cart": 0.5, "purchase": 1.0}
REQUIRED = Outcomes(WINDOW, HORIZON, REWARDS, learned="purchase", is_seen_assumed=False)
ASSUMED = replace(REQUIRED, is_seen_assumed=True)
_ids = count()


def served(request_id: str, as_of: int = T, user: str = "u", categories: str = "AB", persona: str = "") -> Served:
    shown = tuple(Shown("category", each, -1.0 - place, 0.0, 0.0, b"") for place, each in enumerate(categories))
    return Served(request_id, user, as_of, 0, T, "b", 0, shown, persona=persona)


def served_items(request_id: str, as_of: int = T, items: Mapping[str, str] = {"1": "A", "2": "B"}) -> Served:
    shown = tuple(Shown("item", each, -1.0, 0.0, 0.0, b"") for each in items)
    return Served(request_id, "u", as_of, 0, T, "b", 0, shown, categories=tuple(items.values()))


def did(kind: str, t: int, k: int | None = None, user: str = "u", **fields: object) -> Admitted:
    said = {"purposes": 1} | fields
    return admit(Event(f"m{next(_ids)}", kind, user, t, **said), k or t)  # type: ignore[arg-type]


def bought(category: str | None, t: int, k: int | None = None, user: str = "u", **fields: object) -> Admitted:
    return did("purchase", t, k, user, category=category, **fields)


def joined(outcomes: Outcomes = ASSUMED) -> PartitionJoin:
    return PartitionJoin(outcomes)


def told(examples: Sequence[Example]) -> list[tuple[str, str, str, float, bool, bool | None]]:
    """Of each example the answer, the thing, the outcome, its reward, whether it is the trial, and the label."""
    return [(each.request_id, each.id, each.outcome, each.reward, each.is_trial, each.label) for each in examples]


def test_an_example_says_what_was_shown_to_whom_in_which_context() -> None:
    """All words of the context come from the served entry; the part of the day and the weekday are the user's own."""
    basis = Basis(-4 * 3600, "plan", (), device="phone", page="/tea")
    entry = msgspec.structs.replace(
        served_items("r"), persona="loyal", placement="home", basis=basis, calibration=Calibration(0.5, -1.0)
    )
    join = joined()
    assert join.take_served(entry, T + 1) == []
    (found,) = join.take_event(did("click", T + 5, item="2"))
    assert found == Example(
        request_id="r", user_id="u", persona="loyal", placement="home", position=2, kind="item", id="2", category="B",
        daypart="night", weekday="sun", device="phone", page="/tea", t=T + 5, margin=-1.5, outcome="click", reward=0.25,
        is_trial=True, label=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("hours", "utc_offset_h", "words"),
    [
        (0, 0, ("night", "sun")), (0, -5, ("evening", "sat")), (1, 1, ("morning", "sun")), (8, 0, ("afternoon", "sun")),
        (13, 0, ("afternoon", "sun")), (14, 0, ("evening", "sun")), (20, 0, ("night", "mon")),
    ],
)  # fmt: skip
def test_the_part_of_the_day_and_the_weekday_are_local(hours: int, utc_offset_h: int, words: tuple[str, str]) -> None:
    """They are those of the user's clock when the answer was given, at both edges of a part and of a day."""
    basis = Basis(utc_offset_h * 3600, "plan", ())
    join = joined()
    join.take_served(msgspec.structs.replace(served("r", T + hours * HOUR_US), basis=basis), T + hours * HOUR_US + 1)
    (found,) = join.take_event(bought("A", T + hours * HOUR_US + 2))
    assert (found.daypart, found.weekday) == words


def test_without_a_basis_the_context_is_not_known() -> None:
    """Entries of older versions have no basis: no word is invented for them."""
    join = joined()
    join.take_served(served("r"), T + 1)
    (found,) = join.take_event(bought("A", T + 5))
    assert (found.daypart, found.weekday, found.device, found.page, found.placement) == ("", "", "", "", "")


def test_a_purchase_of_what_was_shown_is_positive_at_once_and_once() -> None:
    """The first purchase in the window is a positive with the served margin; the other things wait for its end."""
    join = joined()
    assert join.take_served(served("r"), T + 1) == []
    (positive,) = join.take_event(bought("B", T + 5))
    assert (positive.id, positive.margin, positive.label, positive.t) == ("B", -2.0, True, T + 5)
    assert join.take_event(bought("B", T + 6)) == []
    assert +join.counts == {"duplicate": 1}
    (negative,) = join.wait(T + WINDOW)
    assert (negative.id, negative.margin, negative.label, negative.t) == ("A", -1.0, False, T + WINDOW)


def test_each_outcome_earns_what_it_adds() -> None:
    """A thing earns the greatest of its outcomes' rewards, is tried once, and is labelled once."""
    join = joined()
    join.take_served(served("r", categories="A"), T + 1)
    steps = [did(kind, T + 5, category="A") for kind in ("click", "click", "purchase", "add_to_cart")]
    assert [told(join.take_event(each)) for each in steps] == [
        [("r", "A", "click", 0.25, True, None)],
        [],
        [("r", "A", "purchase", 0.75, False, True)],
        [("r", "A", "add_to_cart", 0.0, False, None)],
    ]
    assert join.wait(T + WINDOW) == []
    assert +join.counts == {"duplicate": 1}


def test_what_was_clicked_and_not_bought_is_a_negative_that_was_tried() -> None:
    """At the end of the window the learned outcome has not come, whatever else did."""
    join = joined(REQUIRED)
    join.take_served(served("r", categories="A"), T + 1)
    join.take_event(did("click", T + 5, category="A"))
    assert told(join.wait(T + WINDOW)) == [("r", "A", "", 0.0, False, False)]


@pytest.mark.parametrize(("t", "hits"), [(T - 1, False), (T, True), (T + WINDOW - 1, True), (T + WINDOW, False)])
def test_the_window_is_half_open_in_event_time(t: int, hits: bool) -> None:
    """An outcome has as_of <= e < as_of + window; when it was admitted does not matter while the window is open."""
    join = joined()
    join.take_served(served("r"), T + 1)
    positives = [each for each in join.take_event(bought("A", t, k=max(t, T + 2))) if each.label]
    assert bool(positives) == hits


@pytest.mark.parametrize(("t", "hits"), [(T - HOUR_US, True), (T + WINDOW - 1, True), (T + WINDOW, False)])
def test_whoever_names_an_answer_came_after_it(t: int, hits: bool) -> None:
    """A client's clock may be behind: what names an answer is not before it. Its window ends all the same."""
    join = joined()
    join.take_served(served("r"), T + 1)
    positives = [each for each in join.take_event(bought("A", t, k=max(t, T + 2), request_id="r")) if each.label]
    assert bool(positives) == hits


@pytest.mark.parametrize(
    "event",
    [
        bought("A", T + 5, user="somebody else"),
        did("item_view", T + 5, category="A"),
        bought("A", T + 5, purposes=2),
        bought("A", T + 5, purposes=0),
        bought("A", T + 5, purposes=0, request_id="r"),
        bought(None, T + 5),
        bought(None, T + 5, item="A"),
        bought("C", T + 5),
    ],
)
def test_only_outcomes_of_that_user_that_may_be_learned_from_count(event: Admitted) -> None:
    """Somebody else, no outcome, no consent to personalization, no or another category: nothing comes of it."""
    join = joined()
    join.take_served(served("r"), T + 1)
    assert join.take_event(event) == []
    assert +join.counts == {}


def test_items_are_joined_by_item_and_categories_by_category() -> None:
    """An item is not bought with its category, nor a category without its name; an event with both is about both."""
    join = joined()
    join.take_served(served_items("items"), T + 1)
    assert join.take_event(bought("A", T + 5)) == []
    assert told(join.take_event(bought("B", T + 6, item="1"))) == [("items", "1", "purchase", 1.0, True, True)]
    join.take_served(served("categories", T + 7), T + 8)
    assert told(join.take_event(bought("A", T + 9, item="2"))) == [
        ("items", "2", "purchase", 0.0, True, True),
        ("categories", "A", "purchase", 1.0, True, True),
    ]


def test_an_outcome_that_names_its_answer_belongs_to_that_one_only() -> None:
    """Neither a later nor an earlier answer that showed the same gets anything of it."""
    join = joined()
    for number, request_id in enumerate(("first", "named", "last")):
        join.take_served(served(request_id, T + number), T + 10 + number)
    event = bought("A", T + 20, request_id="named")
    assert told(join.take_event(event)) == [("named", "A", "purchase", 1.0, True, True)]


def test_an_outcome_that_names_no_answer_is_rewarded_once_and_labels_all() -> None:
    """The latest answer that showed it is credited; that it came true within the window is so of each of them."""
    join = joined()
    join.take_served(served("later", T + 1), T + 10)
    join.take_served(served("first", T), T + 11)
    assert told(join.take_event(did("click", T + 20, category="A"))) == [("later", "A", "click", 0.25, True, None)]
    assert told(join.take_event(bought("A", T + 21))) == [
        ("first", "A", "purchase", 0.0, True, True),
        ("later", "A", "purchase", 0.75, False, True),
    ]


def test_only_what_was_seen_is_labelled_by_an_outcome_elsewhere() -> None:
    """An earlier answer that nobody confirmed is neither positive nor, since it would have been wrong, negative."""
    join = joined(REQUIRED)
    join.take_served(served("unseen", categories="A"), T + 10)
    join.take_served(served("seen", T + 1, categories="A"), T + 11)
    join.take_served(served("last", T + 2, categories="A"), T + 12)
    join.take_event(did("impression", T + 13, category="A", request_id="seen"))
    found = join.take_event(bought("A", T + 20))
    assert [(each.request_id, each.reward) for each in found] == [("seen", 0.0), ("last", 1.0)]
    join.take_event(did("impression", T + 21, category="A", request_id="unseen"))
    assert join.wait(T + WINDOW + 10) == []


@pytest.mark.parametrize(
    ("fields", "seen"),
    [
        ({"request_id": "r"}, "AB"),
        ({"request_id": "r", "category": "B"}, "B"),
        ({"request_id": "r", "category": "B", "item": "7"}, "B"),
        ({"request_id": "r", "item": "B"}, ""),
        ({"request_id": "r", "category": "C"}, ""),
        ({"request_id": "another", "category": "B"}, ""),
        ({"category": "A"}, "A"),
        ({}, ""),
        ({"request_id": "r", "user": "v"}, ""),
        ({"request_id": "r", "purposes": 2}, ""),
    ],
)
def test_only_what_an_impression_confirmed_becomes_a_negative(fields: dict[str, str], seen: str) -> None:
    """It confirms what it names, the whole answer if it names nothing in it; without one the latest that showed it."""
    join = joined(REQUIRED)
    join.take_served(served("r"), T + 1)
    assert join.take_event(did("impression", T + 5, **fields)) == []
    assert told(join.wait(T + WINDOW)) == [("r", each, "", 0.0, True, False) for each in seen]
    assert join.counts["unconfirmed"] == 2 - len(seen)


def test_an_impression_of_items_confirms_the_item() -> None:
    """The category of an item that was seen confirms no other item of it."""
    join = joined(REQUIRED)
    join.take_served(served_items("r", items={"1": "A", "2": "A"}), T + 1)
    join.take_event(did("impression", T + 5, item="2", category="A", request_id="r"))
    assert told(join.wait(T + WINDOW)) == [("r", "2", "", 0.0, True, False)]


def test_an_impression_after_the_end_confirms_nothing() -> None:
    """Once the negatives have been given, what was not confirmed stays unconfirmed."""
    join = joined(REQUIRED)
    join.take_served(served("r"), T + 1)
    assert join.wait(T + WINDOW) == []
    assert join.take_event(did("impression", T + 5, T + WINDOW + 1, request_id="r")) == []
    assert join.wait(T + WINDOW + HORIZON) == []
    assert +join.counts == {"unconfirmed": 2}


def test_negatives_come_when_the_watermark_reaches_the_end() -> None:
    """Not a microsecond before, once, oldest answer first; a heartbeat, any entry or the clock may bring it."""
    join = joined()
    join.take_served(served("later", T + 10), T + 11)
    join.take_served(served("first", T), T + 12)
    assert join.wait(T + WINDOW - 1) == []
    beat = did("heartbeat", T, T + WINDOW, user="a machine", purposes=0)
    assert [each.request_id for each in join.take_event(beat)] == ["first", "first"]
    assert [each.request_id for each in join.take_gap(T + WINDOW + 10)] == ["later", "later"]
    assert join.wait(T + WINDOW + 99) == []


@pytest.mark.parametrize("request_id", [None, "r"])
@pytest.mark.parametrize(("minutes", "hits"), [(1, True), (0, False)])
def test_a_purchase_that_overtook_the_served_entry_counts(request_id: str | None, minutes: int, hits: bool) -> None:
    """A served entry is appended after its answer: what was done in the minute between stands before it in the log."""
    join = joined()
    assert join.take_event(bought("A", T + 3, request_id=request_id)) == []
    assert bool(join.take_served(served("r"), T + 3 + MINUTE_US - minutes)) == hits


def test_an_impression_that_overtook_the_served_entry_counts() -> None:
    """What was seen at once is seen."""
    join = joined(REQUIRED)
    join.take_event(did("impression", T + 3, request_id="r"))
    join.take_served(served("r"), T + 9)
    assert len(join.wait(T + WINDOW)) == 2


def test_what_was_credited_is_not_credited_again_to_an_answer_that_comes_after_it() -> None:
    """An answer that an outcome overtook is labelled by it; rewarded was the latest one that was known."""
    join = joined()
    join.take_served(served("first", T), T + 1)
    assert told(join.take_event(bought("A", T + 5))) == [("first", "A", "purchase", 1.0, True, True)]
    assert told(join.take_served(served("overtaken", T + 4), T + 6)) == [
        ("overtaken", "A", "purchase", 0.0, True, True)
    ]


def test_late_outcomes_are_counted_and_not_learned() -> None:
    """A purchase in the window that is admitted after the negative makes no second example, and is late once."""
    join = joined()
    join.take_served(served("r"), T + 1)
    assert len(join.wait(T + WINDOW)) == 2
    for k in (1, 2):
        assert join.take_event(bought("A", T + 5, k=T + WINDOW + HOUR_US + k)) == []
        assert join.counts["late"] == 1
    assert join.counts["duplicate"] == 1


@pytest.mark.parametrize(
    "event",
    [
        bought("A", T + 5, request_id="nobody's"),
        bought("C", T + 5, request_id="r"),
        bought(None, T + 5, request_id="r"),
        bought("A", T + 5, user="v", request_id="r"),
        bought("A", T + WINDOW + HORIZON + 1, request_id="r"),
        did("click", T + WINDOW, category="A", request_id="r"),
    ],
)
def test_outcomes_that_name_what_is_not_waited_for_are_counted(event: Admitted) -> None:
    """No such answer, not shown in it, another user's, forgotten by now, over by then: unknown, once."""
    join = joined()
    join.take_served(served("r"), T + 1)
    assert [each for each in join.take_event(event) if each.label is not False] == []
    join.wait(event.k + MINUTE_US)
    assert +join.counts == {"unknown": 1}


def test_a_shard_keeps_the_answers_of_its_own_personas() -> None:
    """Each answer is one shard's; an outcome is unknown if no shard knows its answer, and then to one of them only."""
    shards = {
        "ab": PartitionJoin(ASSUMED, lambda persona: persona in ("a", "b")),
        "c": PartitionJoin(ASSUMED, lambda persona: persona not in ("a", "b")),
    }
    entries: list[Served | Admitted] = [
        served("ra", T, persona="a"), served("rb", T, persona="b"), served("rc", T, persona="c"),
        *(bought("A", T + 9, request_id=each) for each in ("ra", "rb", "rc", "nobody's")),
    ]  # fmt: skip
    found = {name: told([each for entry in entries for each in take(join, entry)]) for name, join in shards.items()}
    assert [each[0] for each in found["ab"]] == ["ra", "rb"]
    assert [each[0] for each in found["c"]] == ["rc"]
    for join in shards.values():
        join.wait(T + WINDOW + HORIZON)
        assert join.pending == {}
    assert [join.counts["unknown"] for join in shards.values()] == [0, 1]


def test_an_answer_that_is_logged_twice_is_waited_for_once() -> None:
    """A request id that is pending already is the same answer."""
    join = joined()
    join.take_served(served("r"), T + 1)
    join.take_served(served("r"), T + 2)
    assert len(join.wait(T + WINDOW)) == 2


def test_nothing_is_kept_longer_than_an_outcome_could_come() -> None:
    """After window and lateness horizon an answer is forgotten, and so are reactions after a while."""
    join = joined()
    join.take_served(served("r"), T + 1)
    join.take_event(bought("A", T + 2))
    join.wait(T + WINDOW + HORIZON - 1)
    assert join.pending
    join.wait(T + WINDOW + HORIZON)
    assert (join.pending, join._of_user, join._due, join.place.recent, join._ahead) == ({}, {}, [], [], {})


def stream(rng: random.Random, length: int) -> list[Served | Admitted]:
    """Answers and reactions of a few users, over several windows, in an order of admission."""
    k, made = T, list[Served | Admitted]()
    for number in range(length):
        k += rng.choice([1, 1000, HOUR_US, 6 * HOUR_US])
        user = rng.choice("uvwxyz")
        if rng.random() < 0.4:
            categories = "".join(rng.sample("ABCDEFGH", 3))
            made.append(served(f"r{number}", k - rng.randrange(3), user, categories, rng.choice("pq")))
        else:
            kind = rng.choice(["purchase", "click", "impression"])
            named = rng.choice([None, f"r{max(0, number - rng.randrange(-1, 9))}"])
            t = k - rng.choice([0, 0, 1, DAY_US])
            made.append(did(kind, t, k, user, category=rng.choice("ABCDEFGHIJ"), request_id=named))
    return made


def take(join: PartitionJoin, entry: Served | Admitted) -> list[Example]:
    return join.take_event(entry) if isinstance(entry, Admitted) else join.take_served(entry, entry.as_of + 3)


def stored(join: PartitionJoin, kept: dict[str, bytes]) -> bytes:
    """What a commit writes: changed entries into `kept`, and the place."""
    for request_id in join.changed:
        pending = join.pending.get(request_id)
        if pending is None:
            kept.pop(request_id, None)
        else:
            kept[request_id] = msgspec.msgpack.encode(pending)
    join.changed.clear()
    return msgspec.msgpack.encode(join.place)


@pytest.mark.parametrize("outcomes", [ASSUMED, REQUIRED], ids=["assumed", "required"])
@pytest.mark.parametrize("seed", range(3))
def test_a_restart_after_any_entry_changes_nothing(seed: int, outcomes: Outcomes) -> None:
    """Stored and restored after every entry, in any order, the joiner gives the examples of an uninterrupted run."""
    rng = random.Random(seed)
    entries = stream(rng, 400)
    uninterrupted = joined(outcomes)
    expected = [example for entry in entries for example in take(uninterrupted, entry)]
    labelled = [(each.request_id, each.id) for each in expected if each.label is not None]
    assert len(set(labelled)) == len(labelled), "each labelled once"
    assert 10 < sum(each.label is True for each in expected) < len(labelled)
    found: list[Example] = []
    kept: dict[str, bytes] = {}
    join = joined(outcomes)
    for entry in entries:
        found += take(join, entry)
        place = msgspec.msgpack.decode(stored(join, kept), type=Place)
        join = PartitionJoin(outcomes, place=place)
        for data in rng.sample(list(kept.values()), len(kept)):
            join.restore(msgspec.msgpack.decode(data, type=Pending))
    assert found == expected
