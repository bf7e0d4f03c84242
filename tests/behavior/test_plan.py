"""The plan: fingerprints of all that changes a value, a JSON round trip, and refusals that say where."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from behavior.aggregation import Aggregation
from behavior.errors import BadDefinition, BadInput
from behavior.plan import FeatureDefinition, Plan, ViewDefinition
from behavior.view_checks import MOST_VIEWS
from behavior.words import affinity, age, count, distinct, ever, first, last, mean, rate, recent, total

DAY = 86_400 * 10**6
SPECS = (
    count("purchase"), count("purchase", over="7d"), total("purchase.value", over="30d"), total("purchase.quantity"),
    ever("purchase"), last("purchase.category"), last("*.utc_offset_s"), age("purchase"), age("item_view"),
    first("purchase.category"), age("purchase", since="first"), mean("purchase.value", over="30d"),
    rate("purchase", per="item_view", over="30d", prior=(1, 50)), distinct("purchase.item", over="7d"),
    count("purchase", over="7d", where="value >= 1000"),
)  # fmt: skip


def view(*specs: Aggregation, **changes: Any) -> ViewDefinition:
    """A user view of the given features."""
    features = tuple(FeatureDefinition(spec.name, spec) for spec in specs or SPECS)
    plain = ViewDefinition("activity", "user", ("item_view", "purchase"), features)
    return msgspec.structs.replace(plain, **changes)


def prints(definition: ViewDefinition) -> dict[str, str]:
    return Plan([definition]).fingerprints


@given(st.permutations(SPECS), st.integers(1, len(SPECS)))
def test_adding_a_feature_changes_no_neighbour(specs: list[Aggregation], kept: int) -> None:
    """Each feature has the fingerprint that it has alone, whatever stands beside it and in whatever order."""
    some, all_of_them = prints(view(*specs[:kept])), prints(view())
    assert some == {ref: all_of_them[ref] for ref in some}
    assert len(some) == kept


@pytest.mark.parametrize(
    "changes",
    [
        {"selects": ("item_view", "purchase", "search")},
        {"retention_us": 401 * DAY},
        {"entity": "user_category"},
    ],
)
def test_what_changes_every_value_changes_every_fingerprint(changes: dict[str, Any]) -> None:
    """Another set of selected kinds, retention or entity leaves no feature of the view its fingerprint."""
    before, after = prints(view()), prints(view(**changes))
    assert before.keys() == after.keys()
    assert not [ref for ref in before if before[ref] == after[ref]]


def test_the_snapshot_interval_changes_what_snapshot_views_say() -> None:
    """Item, category and `all` views are read at whole intervals, so the interval is part of their fingerprints."""
    features = view(*(spec for spec in SPECS if spec.kind != "distinct")).features
    for entity in ("item", "category", "all"):
        definition = view(entity=entity, features=features)
        before, after = prints(definition), prints(msgspec.structs.replace(definition, interval_us=120_000_000))
        assert not [ref for ref in before if before[ref] == after[ref]]
    assert prints(view()) == prints(view(interval_us=120_000_000))


@pytest.mark.parametrize(
    "changes",
    [{"owner": "growth"}, {"description": "words"}, {"personal_data": "none"}, {"selects": ("purchase", "item_view")}],
)
def test_what_changes_no_value_changes_no_fingerprint(changes: dict[str, Any]) -> None:
    """Owner, description, class of personal data and the order of selected kinds part no model from its features."""
    assert prints(view(**changes)) == prints(view())


def test_what_a_feature_computes_changes_its_fingerprint() -> None:
    """Everything that a definition says of one name is told apart."""
    per = {"per": "item_view", "prior": (1, 50)}
    computed = [
        count("purchase"), count("item_view"), count("*"), count("purchase", over="7d"), count("purchase", over="30d"),
        count("purchase", where="value > 1"), count("purchase", where="value > 2"),
        ever("purchase"), age("purchase"), age("purchase", since="first"),
        total("purchase.value"), total("purchase.quantity"), last("purchase.value"), first("purchase.value"),
        mean("purchase.value"), rate("purchase", **per), rate("purchase", **{**per, "per": "purchase"}),
        rate("purchase", **{**per, "prior": (1, 51)}), distinct("purchase.item"), distinct("purchase.item", cap=9),
        recent(3), recent(4), recent(3, events=("purchase",)),
    ]  # fmt: skip
    found = [prints(view(features=(FeatureDefinition("x", spec),)))["activity:x"] for spec in computed]
    warm = [affinity(weights, over="7d") for weights in ({"purchase": 1}, {"purchase": 2}, {"item_view": 1})]
    found += [
        prints(view(features=(FeatureDefinition("x", spec),), entity="user_category"))["activity:x"] for spec in warm
    ]
    assert len(set(found)) == len(computed) + len(warm)


def test_the_fingerprints_of_a_release_are_for_ever() -> None:
    """A fingerprint depends on the definition alone: equal for equal definitions, and not on the process."""
    assert prints(view()) == prints(msgspec.json.decode(msgspec.json.encode(view()), type=ViewDefinition))


def test_a_plan_fingerprint_covers_all_features() -> None:
    """Another feature, another order or another value is another plan."""
    plans = [view(), view(*SPECS[1:]), view(*reversed(SPECS)), view(retention_us=401 * DAY)]
    assert len({Plan([definition]).fingerprint for definition in plans}) == len(plans)
    assert Plan([view()]).fingerprint == Plan([view()]).fingerprint


@given(st.lists(st.permutations(SPECS), min_size=1, max_size=3), st.text(max_size=5))
def test_the_plan_file_gives_back_the_plan(orders: list[list[Aggregation]], words: str) -> None:
    """What was encoded decodes to the same views, features, order, fingerprints and bytes."""
    views = [view(*specs, name=f"v{i}", description=words, owner=words) for i, specs in enumerate(orders)]
    plan = Plan(views)
    found = Plan.decode(plan.encode())
    assert [v.definition for v in found.views] == views
    assert list(found.features) == list(plan.features)
    assert (found.fingerprints, found.fingerprint) == (plan.fingerprints, plan.fingerprint)
    assert found.encode() == plan.encode()


def tampered(change: Any) -> bytes:
    read = json.loads(Plan([view()]).encode())
    change(read)
    return json.dumps(read).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"\xff", b"[]",
        tampered(lambda plan: plan.update(format=99)),
        tampered(lambda plan: plan.update(surprise=1)),
        tampered(lambda plan: plan["fingerprints"].update({"activity:purchase_ever": "0" * 16})),
        tampered(lambda plan: plan["fingerprints"].pop("activity:purchase_ever")),
        tampered(lambda plan: plan["views"][0].update(retention_us=401 * DAY)),
        tampered(lambda plan: plan["views"][0]["selects"].append("search")),
    ],
)  # fmt: skip
def test_a_plan_file_that_is_not_this_versions_is_refused(data: bytes) -> None:
    """Whatever was changed in the file, the plan does not load, and the message says what to do."""
    with pytest.raises(BadInput, match="opportune apply"):
        Plan.decode(data)


def test_a_tampered_file_is_refused_for_the_change_alone() -> None:
    """Control for the test above: the same file, unchanged, loads."""
    assert Plan.decode(tampered(lambda plan: None)).fingerprints == prints(view())


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (count("search"), "'search', which the view does not select"),
        (rate("purchase", per="search", prior=(0, 1)), "'search', which the view does not select"),
        (recent(3, events=("purchase", "search")), "'search', which the view does not select"),
        (affinity({"purchase": 1}, over="7d"), "affinity is not computed for user"),
        (distinct("purchase.user"), "distinct: for user it counts any field but users"),
        (count("purchase", over="401d"), "window is longer than the view's retention"),
        (distinct("purchase.item", over="401d"), "window is longer than the view's retention"),
        (Aggregation("median", "purchase"), "unknown kind 'median'"),
        (Aggregation("count", "purchase", "value"), "not the field 'value'"),
        (Aggregation("count", "purchase", None, "121m"), "not a whole number of its hops"),
        (Aggregation("count", "purchase", None, "7x"), "no time span"),
        (Aggregation("age", "purchase", None, "7d"), "has no window"),
        (Aggregation("ever", "purchase", None, "7d"), "has no window"),
        (Aggregation("total", "purchase", "category"), "needs a number field"),
        (Aggregation("total", "purchase"), "needs a number field"),
        (Aggregation("last", "purchase"), "needs a number or text field"),
        (Aggregation("last", "purchase", "nothing"), "no field 'nothing'"),
        (Aggregation("count", "purchase", where="size > 1"), "no field 'size'"),
        (Aggregation("count", "purchase", where="value"), "write `field op literal`"),
    ],
)
def test_a_feature_that_cannot_be_computed_is_refused_by_name(spec: Aggregation, said: str) -> None:
    """The refusal is a BadDefinition that names the view and the feature, and says what is wrong."""
    broken = FeatureDefinition("broken_one", spec)
    with pytest.raises(BadDefinition, match=f"view activity, feature broken_one: .*{said}"):
        Plan([view(features=(FeatureDefinition("fine", count("purchase")), broken))])


def test_every_kind_that_an_affinity_weighs_must_be_selected() -> None:
    """Otherwise it would count nothing, silently."""
    features = (FeatureDefinition("warmth", affinity({"purchase": 2, "search where value > 1": 1}, over="7d")),)
    with pytest.raises(BadDefinition, match="view activity, feature warmth: it counts 'search'"):
        Plan([view(entity="user_category", features=features)])


@pytest.mark.parametrize(
    ("name", "said"),
    [("seen_e", "a column"), ("ts", "a column"), ("category", "a column"), ("user_id", "a column"),
     ("A", "lower-case"), ("a__b", "lower-case"), ("a:b", "lower-case"), ("", "lower-case"), ("x" * 65, "64 at most")],
)  # fmt: skip
def test_a_name_that_cannot_be_read_back_is_refused(name: str, said: str) -> None:
    """Names of features stand beside other columns, and between `view:` and the end."""
    with pytest.raises(BadDefinition, match=f"view activity, feature {name}: .*{said}"):
        Plan([view(features=(FeatureDefinition(name, count("purchase")),))])
    if "column" not in said:
        with pytest.raises(BadDefinition, match=f"view {name}: .*{said}"):
            Plan([view(name=name)])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"entity": "session"}, "unknown entity 'session'"), ({"entity": ""}, "unknown entity"),
        ({"selects": ()}, "at least one"), ({"features": ()}, "at least one"), ({"selects": ("*",)}, "one by one"),
        ({"selects": ("purchase", "item view")}, "'item view', which is no kind of event"),
        ({"interval_us": 0}, "whole minutes"), ({"interval_us": 61_000_000}, "whole minutes"),
        ({"interval_us": -60_000_000}, "whole minutes"), ({"retention_us": 0}, "span of time"),
        ({"features": (FeatureDefinition("x", count("purchase")), FeatureDefinition("x", ever("purchase")))}, "twice"),
    ],
)  # fmt: skip
def test_a_view_that_cannot_be_computed_is_refused_by_name(changes: dict[str, Any], said: str) -> None:
    """The refusal is a BadDefinition that names the view."""
    with pytest.raises(BadDefinition, match=f"view activity.*{said}"):
        Plan([view(**changes)])


def test_a_plan_has_a_letter_for_each_view() -> None:
    """52 of them, no two the same, and a field of states leads back to its view; the next one is refused."""
    definitions = [view(count("purchase"), name=f"v{number}") for number in range(MOST_VIEWS + 1)]
    plan = Plan(definitions[:MOST_VIEWS])
    assert len({each.letter for each in plan.views}) == MOST_VIEWS
    assert [plan.lettered(each.letter + b"TEA") for each in plan.views] == list(plan.views)
    with pytest.raises(BadDefinition, match=r"view v52: .*52 at most"):
        Plan(definitions)


def test_snapshot_views_share_one_interval() -> None:
    """One snapshot holds for one instant; views of users have none."""
    same = [
        view(count("purchase"), name="a", entity="item"), view(count("purchase"), name="b", entity="all"),
        view(count("purchase"), name="c", interval_us=300_000_000),
    ]  # fmt: skip
    assert Plan(same).interval_us == 60_000_000
    assert Plan([]).interval_us == 60_000_000
    other = msgspec.structs.replace(same[1], interval_us=300_000_000)
    with pytest.raises(BadDefinition, match="view b: its interval is not that of view a"):
        Plan([same[0], other])


def test_two_views_of_one_name_are_refused() -> None:
    """A reference `view:feature` means one thing."""
    with pytest.raises(BadDefinition, match="activity"):
        Plan([view(), view()])


def test_an_unknown_view_is_refused_with_those_that_there_are() -> None:
    """Asking for a view that is not there says which are."""
    with pytest.raises(BadInput, match=r"nothing.*activity"):
        Plan([view()]).view("nothing")


def test_views_are_found_by_entity_in_registry_order() -> None:
    """`of_entity` keeps the order of the registry, not that of the question."""
    entities = (("b", "all"), ("a", "user"), ("c", "user"))
    plan = Plan([view(count("purchase"), name=name, entity=entity) for name, entity in entities])
    assert [found.name for found in plan.of_entity("user", "all")] == ["b", "a", "c"]
    assert plan.of_entity("category") == ()


def test_the_last_known_offset_is_that_of_a_user_view() -> None:
    """The moment falls back on `last("*.utc_offset_s")` of a user view, and on nothing else."""
    user, other = view(last("*.utc_offset_s")), view(last("*.utc_offset_s"), name="other", entity="all")
    found = Plan([other, user]).utc_offset
    assert found is not None
    assert found.ref == "activity:any_utc_offset_s_last"
    assert Plan([other]).utc_offset is None
    assert Plan([view(count("purchase"))]).utc_offset is None


def test_final_types_are_declared() -> None:
    """Counts, totals and flags are int64, divisions float32, a value has the type of its field, recent events texts."""
    plan = Plan([view(*SPECS, recent(3)), view(affinity({"purchase": 1}, over="7d"), name="b", entity="user_category")])
    texts = {"purchase_category_last": "string", "purchase_category_first": "string", "recent_3": "texts"}
    floats = {
        "purchase_age_s", "item_view_age_s", "purchase_age_s_since_first", "purchase_value_mean_30d",
        "purchase_per_item_view_rate_30d",
    }  # fmt: skip
    found = {name.split(":")[1]: feature.dtype for name, feature in plan.features.items()}
    assert found == {name: texts.get(name, "float32" if name in floats else "int64") for name in found}
    assert {*texts, *floats} <= set(found)


def test_raw_columns_are_named_after_their_feature() -> None:
    """What tables hold: one column each, but the parts of what is divided or weighed; texts are texts."""
    plan = Plan(
        [
            view(mean("purchase.value"), rate("purchase", per="item_view", prior=(1, 2)), recent(3), last("*.device")),
            view(affinity({"purchase": 1, "item_view": 2}, over="7d"), name="pairs", entity="user_category"),
        ]
    )
    assert [(raw.name, raw.dtype) for raw in plan.views[0].raws] == [
        ("purchase_value_mean__sum", "int64"), ("purchase_value_mean__n", "int64"),
        ("purchase_per_item_view_rate__n", "int64"), ("purchase_per_item_view_rate__d", "int64"),
        ("recent_3", "texts"), ("any_device_last", "string"),
    ]  # fmt: skip
    assert [raw.name for raw in plan.views[1].raws] == ["affinity_7d__0", "affinity_7d__1"]


def test_equal_parts_of_features_are_stored_once() -> None:
    """A rate's count is the count, and a mean's sum the total."""
    specs = (
        count("purchase"), ever("purchase"), rate("purchase", per="item_view", prior=(1, 2)), total("purchase.value"),
        mean("purchase.value"),
    )  # fmt: skip
    assert len(Plan([view(*specs)]).views[0].slots) == 4  # purchases, views, the sum, and how many say a value


def test_properties_that_features_read_are_told() -> None:
    """With the type that each must have, over all views."""
    plan = Plan(
        [
            view(total("purchase.properties.stars"), name="a"),
            view(count("purchase", where="properties.colour = 'red'"), name="b"),
        ]
    )
    assert plan.properties == {"stars": int, "colour": str}
