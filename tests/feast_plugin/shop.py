"""What the tests of the online store deploy: a few views of every entity, a log, and who is asked for."""

from feast import FeatureStore

from behavior.event import DAY_US, HOUR_US, MINUTE_US
from tests.feast_plugin.repository import bought

T = 17_440 * DAY_US
NOW = T + 3 * HOUR_US
VIEWS = """
people = behavior_view(
    "people", entity=user, owner="o", selects=("purchase",), retention="40d",
    features=[
        count("purchase", over="1h"), count("purchase"), age("purchase"), last("purchase.category"),
        first("purchase.category"), mean("purchase.value"), distinct("purchase.category", over="7d"),
        rate("purchase", per="purchase", over="24h", prior=(1, 2)), recent(2), recent(3, events=("purchase",)),
    ],
)
pairs = behavior_view(
    "pairs", entity=(user, category), owner="o", selects=("purchase",),
    features=[count("purchase", over="24h"), age("purchase"), affinity({"purchase": 10}, over="24h")],
)
popularity = behavior_view(
    "popularity", entity=category, owner="o", selects=("purchase",), features=[count("purchase"), age("purchase")],
)
items = behavior_view(
    "items", entity=item, owner="o", selects=("purchase",),
    features=[distinct("purchase.user", over="24h"), total("purchase.value", over="24h")],
)
everybody = behavior_view("everybody", entity=all_users, owner="o", selects=("purchase",), features=[count("purchase")])
profile = FeatureView(
    name="profile", entities=[user], source=plain_source("profile"), ttl=timedelta(days=2),
    schema=[Field(name="city", dtype=String), Field(name="points", dtype=Int64)],
)
"""
REFS = [
    "people:purchase_count_1h", "people:purchase_count", "people:purchase_age_s", "people:purchase_category_last",
    "people:purchase_category_first", "people:purchase_value_mean", "people:purchase_category_distinct_7d",
    "people:purchase_per_purchase_rate_24h", "people:recent_2", "people:recent_3_of_purchase",
    "pairs:purchase_count_24h", "pairs:purchase_age_s", "pairs:affinity_24h",
    "popularity:purchase_count", "popularity:purchase_age_s",
    "items:purchase_user_distinct_24h", "items:purchase_value_total_24h", "everybody:purchase_count",
]  # fmt: skip
LOG = [
    bought(1, T, "k1-ada", "TEA", item="i-1"),
    bought(2, T + HOUR_US, "k1-eve", "MILK", value=7, item="i-1"),
    bought(3, T + 2 * HOUR_US + 90 * MINUTE_US // 2, "k1-ada", "MILK", value=-50),
    bought(4, T + 2 * HOUR_US + 46 * MINUTE_US, "k1-eve", "TEA", e=T + HOUR_US + 1, item="käse|2"),
]
ROWS = [
    {"user_id": user, "category": category, "item": item, "all_id": "all"}
    for user, category, item in (
        ("k1-ada", "TEA", "i-1"), ("k1-eve", "TEA", "käse|2"), ("k1-ada", "MILK", "i-1"),
        ("k1-nobody", "NOTHING", "nothing"), ("k1-ada", "TEA", "i-1"),
    )
]  # fmt: skip


def online(store: FeatureStore, refs: list[str], rows: list[dict[str, str]]) -> dict[str, list[object]]:
    return store.get_online_features(refs, rows, full_feature_names=True).to_dict()
