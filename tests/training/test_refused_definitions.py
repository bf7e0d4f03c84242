"""What `opportune apply` refuses: before anything is written, by file, view and feature, with what would do."""

from pathlib import Path

import pytest

from behavior.errors import BadDefinition
from behavior.plan import Plan
from behavior.view_checks import MOST_VIEWS
from deployment.settings import Settings
from tests.feast_plugin.repository import deployment
from tests.training.test_apply import ONE_VIEW, with_views
from training.apply import apply


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return deployment(tmp_path, properties={"stars": {"scale": 0}, "colour": {"kind": "text"}})


ITEMS = """
items = behavior_view(
    "items", entity=item, owner="o", selects=("purchase",), retention="90d",
    features=[count("purchase", over="7d"), distinct("purchase.user")],
)
"""
PAIRS = """
pairs = behavior_view(
    "pairs", entity=(user, category), owner="o", selects=("purchase",), retention="90d",
    features=[count("purchase"), affinity({"purchase": 2}, over="7d")],
)
"""
VIEW = "views.py, line", "view user_activity"


def with_feature(feature: str, views: str = ONE_VIEW) -> str:
    """The definitions with one more feature in each view."""
    return views.replace("features=[", f"features=[{feature}, ")


def by_hand(feature: str) -> str:
    """A definition that was made by no word."""
    return "from behavior.aggregation import Aggregation\n" + with_feature(feature)


# What is wrong, and what the sentence must say. What a word refuses is told by the line of the word.
REFUSED = {
    "an unknown field": (
        with_feature('total("purchase.size")'), ["views.py, line", "feature purchase_size_total", "no field 'size'"],
    ),
    "a field of the wrong type": (
        with_feature('total("purchase.category")'),
        ["views.py, line", "feature purchase_category_total", "needs a number field"],
    ),
    "a predicate on an unknown field": (
        with_feature('count("purchase", where="size > 1")'),
        ["views.py, line", "feature purchase_count_where", "no field 'size'"],
    ),
    "a predicate that is none": (
        with_feature('count("purchase", where="value is 1", name="x")'),
        ["views.py, line", "feature x", "where 'value is 1'", "field op literal"],
    ),
    "a predicate of the wrong type": (
        with_feature("count('purchase', where=\"device > 'a'\")"), ["views.py, line", "= and != only"],
    ),
    "recent events of any kind by a star": (
        with_feature('recent(3, events=("*",))'), ["views.py, line", "one by one"],
    ),
    "a kind that has no window": (
        by_hand('Aggregation("ever", "purchase", over="7d")'), [*VIEW, "feature purchase_ever_7d", "no window"],
    ),
    "an unknown kind": (
        by_hand('Aggregation("median", "purchase")'), [*VIEW, "feature purchase_median", "unknown kind 'median'"],
    ),
    "a feature twice": (with_feature('age("purchase")'), [*VIEW, "feature purchase_age_s", "defined twice"]),
    "two features of one name": (
        with_feature('count("purchase", name="x"), ever("purchase", name="x")'), [*VIEW, "feature x", "defined twice"],
    ),
    "a feature named like a column": (
        with_feature('count("purchase", name="user_id")'), [*VIEW, "feature user_id", "give it another `name`"],
    ),
    "a kind that is not selected": (with_feature('age("refund")'), [*VIEW, "feature refund_age_s", "does not select"]),
    "a kind that is not selected, in `per`": (
        with_feature('rate("purchase", per="refund", prior=(0, 1))'),
        [*VIEW, "feature purchase_per_refund_rate", "'refund'", "does not select"],
    ),
    "a kind that is not selected, in `events`": (
        with_feature('recent(3, events=("purchase", "refund"))'),
        [*VIEW, "feature recent_3_of_purchase_refund", "'refund'", "does not select"],
    ),
    "a kind that is not selected, in the weights": (
        with_feature('affinity({"refund": 2}, over="7d", name="cold")', PAIRS),
        ["views.py, line", "view pairs", "feature cold", "'refund'", "does not select"],
    ),
    "a window beyond the retention": (
        with_feature('count("purchase", over="120d")'), [*VIEW, "feature purchase_count_120d", "retention"],
    ),
    "a kind that the entity does not allow": (
        with_feature("recent(3)", ITEMS), ["views.py, line", "view items", "feature recent_3", "not computed for item"],
    ),
    "an affinity to an item": (
        with_feature('affinity({"purchase": 1}, over="7d")', ITEMS),
        ["views.py, line", "view items", "feature affinity_7d", "not computed for item"],
    ),
    "users of a user": (
        with_feature('distinct("purchase.user")'), [*VIEW, "feature purchase_user_distinct", "any field but users"],
    ),
    "categories of an item": (
        with_feature('distinct("purchase.category")', ITEMS),
        ["views.py, line", "view items", "feature purchase_category_distinct", "users only"],
    ),
    "a retention that is no span": (
        ONE_VIEW.replace('"90d"', '"3 months"'), [*VIEW, "'3 months' is no time span"],
    ),
    "an entity that is none of ours": (
        "from entities import Entity, ValueType\n"
        'shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.STRING)\n'
        + ONE_VIEW.replace("entity=user,", "entity=shop,"),
        [*VIEW, "shop", "must be one of"],
    ),
    "a feature that is no aggregation": (with_feature('"purchase"'), [*VIEW, "feature number 1"]),
    "one kind of event as a text": (ONE_VIEW.replace('("purchase",)', '"purchase"'), [*VIEW, "list of kinds"]),
    "a ttl": (
        ONE_VIEW + "user_activity.ttl = timedelta(days=1)\n",
        ["views.py", "view user_activity", "ttl"],
    ),
    "a field without an aggregation": (
        ONE_VIEW + "user_activity.features.append(Field(name='bare', dtype=Int64))\n",
        ["views.py", "view user_activity", "feature bare", "no aggregation"],
    ),
    "tags that somebody changed": (
        ONE_VIEW + "user_activity.features[0].tags['over'] = '500d'\n",
        ["views.py", "view user_activity", "feature purchase_count_7d", "retention"],
    ),
    "entities that somebody changed": (
        ONE_VIEW + "user_activity.tags['entity'] = 'item'\n",
        ["views.py", "view user_activity", "its entities are user, its tags say item"],
    ),
    "two views of one name": (
        ONE_VIEW + ONE_VIEW.replace("user_activity =", "other ="),
        ["views.py", "view user_activity", "twice"],
    ),
    "two snapshot intervals": (
        ITEMS + ITEMS.replace("items", "others").replace('"90d"', '"90d", interval="5m"'),
        ["views.py", "view others", "its interval is not that of view items"],
    ),
    "more views than letters": (
        f"""
for number in range({MOST_VIEWS + 1}):
    globals()[f"v{{number}}"] = behavior_view(
        f"v{{number:02}}", entity=user, owner="o", selects=("purchase",), features=[count("purchase")]
    )
""",
        [f"view v{MOST_VIEWS}", f"{MOST_VIEWS} at most"],
    ),
    "a property that the settings do not declare": (
        with_feature('count("purchase", where="properties.size > 1", name="large")'),
        ["views.py", "view user_activity", "feature large", "declare no property size"],
    ),
    "a property that is a number, for a text": (
        with_feature("count('purchase', where=\"properties.stars = 'five'\", name='five')"),
        ["views.py", "view user_activity", "feature five", "properties.stars for a text", "for a number"],
    ),
    "a property that is a text, for a number": (
        with_feature('total("purchase.properties.colour", name="colours")'),
        ["views.py", "view user_activity", "feature colours", "properties.colour for a number", "for a text"],
    ),
    "a property of an affinity": (
        with_feature('affinity({"purchase where properties.size > 1": 2}, over="7d", name="warm")', PAIRS),
        ["views.py", "view pairs", "feature warm", "declare no property size"],
    ),
    "a retention that a late event outlives": (
        ITEMS.replace('"90d"', '"48h"').replace(', over="7d"', ""),
        ["views.py", "view items", "lateness_horizon_h (48)"],
    ),
    "a retention as long as lateness and interval": (
        ITEMS.replace('"90d"', '"2881m"').replace(', over="7d"', ""), ["views.py", "view items", "must be longer than"],
    ),
    "a field twice in a plain view": (
        ONE_VIEW + "v = FeatureView(name='v', entities=[user], source=plain_source('v'),"
        " schema=[Field(name='a', dtype=Int64), Field(name='a', dtype=String)])\n",
        ["views.py", "view v", "feature a", "twice"],
    ),
    "a view twice in a service": (
        ONE_VIEW + 'bad = FeatureService(name="bad", features=[user_activity, user_activity])\n',
        ["views.py", "service bad", "user_activity", "twice"],
    ),
    "broken Python": (ONE_VIEW + "1 / 0\n", ["views.py, line", "ZeroDivisionError"]),
    "no views at all": ("nothing = 1\n", ["no feature view"]),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_served_is_refused_with_its_place(settings: Settings, what: str) -> None:
    """The sentence names file, view and feature; and nothing is written, neither registry nor plan."""
    views, said = REFUSED[what]
    with pytest.raises(BadDefinition) as refusal:
        apply(with_views(settings, views))
    for each in said:
        assert each in str(refusal.value)
    assert not settings.plan.exists()
    assert not settings.registry.exists()


LAWFUL = {
    "properties as the settings declare them": with_feature(
        'total("purchase.properties.stars"), distinct("purchase.properties.colour"), '
        """count("purchase", where="properties.stars >= 4 and properties.colour != 'red'", name="fine")"""
    ),
    "a retention just longer than lateness and interval": ITEMS.replace('"90d"', '"2882m"').replace(', over="7d"', ""),
    "a short retention of a user": ONE_VIEW.replace('"90d"', '"7d"'),
    "recent events of all kinds and of some": with_feature('recent(3), recent(3, events=("purchase",))'),
    "a rate of all events": with_feature('rate("purchase", per="*", prior=(0, 1))'),
    "as many views as letters": REFUSED["more views than letters"][0].replace(
        f"range({MOST_VIEWS + 1})", f"range({MOST_VIEWS})"
    ),
}


@pytest.mark.parametrize("what", LAWFUL)
def test_what_is_just_right_is_applied(settings: Settings, what: str) -> None:
    """Control for the refusals: a little less wrong is right, and the plan file holds it."""
    plan = apply(with_views(settings, LAWFUL[what]))
    assert Plan.decode(settings.plan.read_bytes()).fingerprints == plan.fingerprints


def test_the_retention_is_measured_by_the_settings(settings: Settings) -> None:
    """A deployment that takes later events needs longer retention, of what many users share only."""
    apply(with_views(settings, ITEMS + ONE_VIEW))
    later = settings.replaced(lateness_horizon_h=24 * 90)
    with pytest.raises(BadDefinition, match=r"views.py: view items: .*lateness_horizon_h \(2160\)"):
        apply(later)
