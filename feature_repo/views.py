"""The features: what is known about users, categories and items at any instant. Adding one is one line.

After a change: `opportune apply`, then `opportune backfill` and `opportune rebuild`.
"""

from datetime import timedelta

from entities import all_users, category, item, user
from feast import FeatureView, Field
from feast.types import Bool, Int64, String

from feast_plugin.definitions import (
    affinity,
    age,
    behavior_view,
    count,
    days,
    distinct,
    ever,
    last,
    mean,
    plain_source,
    rate,
    recent,
    total,
)

# What a person did that says something about their taste, from the strongest to the weakest sign.
INTEREST = ("purchase", "add_to_cart", "item_view")

user_activity = behavior_view(
    "user_activity",
    entity=user,
    owner="growth",
    description="What a user does, over all categories.",
    selects=INTEREST,
    features=[
        count("purchase", over="1h"),
        count("purchase", over="24h"),
        count("purchase", over="7d"),
        count("purchase", over="30d"),
        count("purchase", over="90d"),
        count("purchase"),
        days("purchase", over="30d"),
        days("purchase", over="60d"),
        days("purchase", over="90d"),
        days("purchase", over="180d"),
        distinct("purchase.order_id", over="30d"),
        distinct("purchase.category", over="7d"),
        total("purchase.value", over="30d"),
        total("purchase.value", over="90d"),
        mean("purchase.value", over="30d"),
        ever("purchase"),
        age("purchase"),
        age("purchase", since="first"),
        last("purchase.category"),
        count("add_to_cart", over="1h"),
        count("add_to_cart", over="24h"),
        count("item_view", over="1h"),
        count("item_view", over="24h"),
        count("item_view", over="7d"),
        age("item_view"),
        rate("purchase", per="item_view", over="30d", prior=(1, 50)),
        recent(10),
        last("*.utc_offset_s"),
    ],
)

user_category = behavior_view(
    "user_category",
    entity=(user, category),
    owner="growth",
    description="What a user does within one category.",
    selects=INTEREST,
    features=[
        count("purchase", over="24h"),
        count("purchase", over="7d"),
        count("purchase", over="30d"),
        count("purchase", over="90d"),
        count("purchase"),
        days("purchase", over="30d"),
        days("purchase", over="90d"),
        total("purchase.value", over="30d"),
        ever("purchase"),
        age("purchase"),
        age("purchase", since="first"),
        affinity({"purchase": 10, "add_to_cart": 4, "item_view": 1}, over="30d"),
        count("add_to_cart", over="24h"),
        count("item_view", over="1h"),
        count("item_view", over="24h"),
    ],
)

user_campaigns = behavior_view(
    "user_campaigns",
    entity=user,
    owner="growth",
    description="Which offers a user was shown, and redeemed.",
    selects=("exposure", "redemption"),
    features=[
        count("exposure", over="90d"),
        count("exposure"),
        count("redemption", over="90d"),
        count("redemption"),
        age("redemption"),
        rate("redemption", per="exposure", prior=(1, 10)),
    ],
)

item_activity = behavior_view(
    "item_activity",
    entity=item,
    owner="merchandising",
    description="How popular an item is with everybody.",
    personal_data="aggregate",
    selects=INTEREST,
    features=[
        count("purchase", over="24h"),
        count("purchase", over="7d"),
        count("purchase", over="30d"),
        count("purchase"),
        total("purchase.value", over="30d"),
        distinct("purchase.user", over="30d"),
        age("purchase"),
        count("item_view", over="24h"),
        rate("purchase", per="item_view", over="30d", prior=(1, 50)),
        last("*.category"),  # what an item is in, where the request does not say
    ],
)

category_activity = behavior_view(
    "category_activity",
    entity=category,
    owner="merchandising",
    description="How popular a category is with everybody.",
    personal_data="aggregate",
    selects=INTEREST,
    features=[
        count("purchase", over="1h"),
        count("purchase", over="24h"),
        count("purchase", over="7d"),
        count("purchase", over="30d"),
        count("purchase", over="90d"),
        count("purchase"),
        distinct("purchase.user", over="7d"),
        total("purchase.value", over="30d"),
        age("purchase"),
    ],
)

all_activity = behavior_view(
    "all_activity",
    entity=all_users,
    owner="merchandising",
    description="How much everybody does together: what the popularity of a category is measured against.",
    personal_data="aggregate",
    selects=INTEREST,
    features=[
        count("purchase", over="1h"),
        count("purchase", over="24h"),
        count("purchase", over="7d"),
        count("purchase", over="30d"),
        distinct("purchase.user", over="24h", cap=10_000),
        total("purchase.value", over="30d"),
        age("purchase"),
    ],
)

# Pushed or imported (`opportune import --items`), not computed from events.
item_catalogue = FeatureView(
    name="item_catalogue",
    entities=[item],
    schema=[
        Field(name="category", dtype=String, description="The group that the item is in."),
        Field(name="price_minor", dtype=Int64, description="Price in minor units of the base currency."),
        Field(name="available", dtype=Bool, description="Whether it can be bought."),
    ],
    source=plain_source("item_catalogue"),
    ttl=timedelta(0),
    owner="merchandising",
    description="What is known about an item, as of the instant it was valid from.",
)
