"""Names follow from hand-made centres by one list of rules."""

import pytest

from training.persona_names import RULES, Typical, meaning_of, names_of

NEVER = 400.0


def user(
    recency: float, orders: float, spend: float, z: tuple[float, float, float] = (0.0, 0.0, 0.0), **more: float
) -> Typical:
    """Who bought so many days ago, ordered and spent so much in 30 days; z of the three, then further roles."""
    values = {"recency": recency, "orders": orders, "spend": spend} | more
    deviations = dict(zip(("recency", "orders", "spend"), z, strict=True)) | dict.fromkeys(more, 1.0)
    return Typical(values, deviations, 30.0)


@pytest.mark.parametrize(
    ("typical", "name"),
    [
        (user(1, 12, 360, (-1, 1.2, 0.9), tenure=350), "Champions"),
        (user(7, 5, 150, (0.3, 0.3, 0.4), tenure=350), "Loyal"),
        (user(9, 2, 400, (0.3, -0.2, 1.0), tenure=350), "Big Spenders"),
        (user(1, 4, 90, (-0.9, 0.0, 0.1), tenure=350), "Regulars"),
        (user(5, 1, 12, (0.1, -0.9, -0.9), tenure=350), "Occasional"),
        (user(13, 1.5, 30, (0.8, -0.8, -0.5), tenure=350), "At-Risk"),
        (user(40, 0.1, 0.1, (1.7, -1.8, -2.3), tenure=320), "Dormant"),
        (user(6, 1.4, 20, (0, -0.6, -0.6), tenure=20), "New"),
        (user(45, 0, 0, (1.7, -1.8, -2.3), tenure=45.5), "One-Time"),
        (user(NEVER, 0, 0, (3, -1.8, -2.3), tenure=0), "Visitors"),
        (user(NEVER, 0, 0, (3, -1.8, -2.3), tenure=0, views=12), "Frequent Browsers"),
        (user(50, 0.2, 5, (1.8, -1.6, -2.0), tenure=300, views=12, carts=2), "High-Intent"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_centre_has_the_name_of_its_rule(typical: Typical, name: str) -> None:
    """Each shipped name is that of a plain example, and says in a sentence what it means."""
    assert names_of([typical]) == [name]
    assert meaning_of(name).endswith(".")


def test_names_are_unique() -> None:
    """Of two that a name fits, the one of greater worth has it; where all have gone, names are numbered."""
    lesser, greater = user(2, 9, 200, (-0.8, 0.8, 0.6)), user(1, 12, 360, (-1, 1.2, 0.9))
    assert names_of([lesser, greater]) == ["Loyal", "Champions"]
    dormant = [user(40 + days, 0, 0, (1.7, -0.2, -2.3)) for days in range(3)]
    assert sorted(names_of(dormant)) == ["Dormant", "Dormant 2", "Dormant 3"]
    assert meaning_of("Dormant 2") == meaning_of("Dormant")


def test_names_that_are_taken_stay_with_whom_they_are() -> None:
    """A new persona does not get the name of one that was kept."""
    assert names_of([user(1, 12, 360, (-1, 1.2, 0.9))], ["Champions"]) == ["Loyal"]


def test_what_is_not_known_answers_no_question() -> None:
    """Without views, carts and first purchases no rule about them holds."""
    assert names_of([user(3, 0, 0, (0.2, 0.0, 0.0))]) == ["Others"]


def test_rules_have_names_and_meanings_of_their_own() -> None:
    """The list has no two entries of one name, and the last rule holds for everybody."""
    assert len({rule.name for rule in RULES}) == len({rule.meaning for rule in RULES}) == len(RULES)
    assert RULES[-1].holds(Typical({}, {}, 30.0))
