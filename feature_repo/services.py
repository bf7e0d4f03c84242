"""Which features a model is offered: one service per target. A bundle pins the list that it was trained on."""

from feast import FeatureService
from views import category_activity, user_activity, user_category

_NOT_FOR_TREES = ("any_utc_offset_s_last", "recent_10")

purchase_7d = FeatureService(
    name="purchase_7d",
    features=[
        # The last known offset tells the hour, which the moment brings along; it says nothing about taste. What came
        # last is a list, which is for rules, not for trees.
        user_activity[[each.name for each in user_activity.features if each.name not in _NOT_FOR_TREES]],
        user_category,
        category_activity,
        # all_activity is left out: it is the same for all candidates, and a model would read the calendar from it.
    ],
    owner="growth",
    description="Will this user buy in this category within 7 days?",
)
