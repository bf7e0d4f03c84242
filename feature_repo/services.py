"""Which features a model is offered: one service per target. A bundle pins the list that it was trained on."""

from feast import FeatureService
from views import category_activity, user_activity, user_campaigns, user_category

# The last known offset tells the hour, which the moment brings along; it says nothing about taste. What came last is a
# list, which is for rules, not for trees.
_NOT_FOR_TREES = ("any_utc_offset_s_last", "recent_10")
_OF_USERS = [each.name for each in user_activity.features if each.name not in _NOT_FOR_TREES]
# How long ago it began, and how much there was since, grow with the calendar: no row to learn from has been as old as
# those that are asked later. It matters most where the horizon is long.
_AGELESS = [name for name in _OF_USERS if name not in ("purchase_age_s_since_first", "purchase_count")]

purchase_7d = FeatureService(
    name="purchase_7d",
    features=[
        user_activity[_OF_USERS],
        user_category,
        category_activity,
        # all_activity is left out: it is the same for all candidates, and a model would read the calendar from it.
    ],
    owner="growth",
    description="Will this user buy in this category within 7 days?",
)

purchase_14d = FeatureService(
    name="purchase_14d",
    features=[user_activity[_OF_USERS]],
    owner="growth",
    description="Will this user buy anything within 14 days?",
)

churn_30d = FeatureService(
    name="churn_30d",
    features=[user_activity[_AGELESS]],
    owner="growth",
    description="Will this user buy nothing for 30 days?",
)

redeem = FeatureService(
    name="redeem",
    features=[user_activity[_OF_USERS], user_campaigns],
    owner="growth",
    description="Will this user redeem a coupon of the campaign that was shown?",
)
