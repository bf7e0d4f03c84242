"""The plan: fingerprints of all that changes a value, a JSON round trip, and refusals that say where."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from behavior.errors import BadDefinition, BadInput
from behavior.kinds import Aggregation, age, count, ever, last, total
from behavior.plan import FeatureDefinition, Plan, ViewDefinition

DAY = 86_400 * 10**6
SPECS = (
    count("purchase"), count("purchase", over="7d"), total("purchase.value", over="30d"), total("purchase.quantity"),
    ever("purchase"), last("purchase.category"), last("*.utc_offset_s"), age("purchase"), age("item_view"),
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
    """Category and `all` views are read at whole intervals, so the interval is part of their fingerprints."""
    for entity in ("category", "all"):
        before, after = prints(view(entity=entity)), prints(view(entity=entity, interval_us=120_000_000))
        assert not [ref for ref in before if before[ref] == after[ref]]


@pytest.mark.parametrize(
    "changes",
    [{"owner": "growth"}, {"description": "words"}, {"personal_data": "none"}, {"selects": ("purchase", "item_view")}],
)
def test_what_changes_no_value_changes_no_fingerprint(changes: dict[str, Any]) -> None:
    """Owner, description, class of personal data and the order of selected kinds part no model from its features."""
    assert prints(view(**changes)) == prints(view())


def test_what_a_feature_computes_changes_its_fingerprint() -> None:
    """Kind, event, field and window of one name are all told apart."""
    computed = [
        count("purchase"), count("item_view"), count("*"), count("purchase", over="7d"), count("purchase", over="30d"),
        ever("purchase"), age("purchase"), total("purchase.value"), total("purchase.quantity"), last("purchase.value"),
    ]  # fmt: skip
    found = [prints(view(features=(FeatureDefinition("x", spec),)))["activity:x"] for spec in computed]
    assert len(set(found)) == len(computed)


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
    "spec",
    [
        count("search"),
        count("purchase", over="401d"),
        Aggregation("median", "purchase"),
        Aggregation("count", "purchase", "value"),
        Aggregation("count", "purchase", None, "121m"),
        Aggregation("count", "purchase", None, "7x"),
        Aggregation("age", "purchase", None, "7d"),
        Aggregation("ever", "purchase", None, "7d"),
        Aggregation("total", "purchase", "category"),
        Aggregation("total", "purchase"),
        Aggregation("last", "purchase"),
        Aggregation("last", "purchase", "nothing"),
    ],
)
def test_a_feature_that_cannot_be_computed_is_refused_by_name(spec: Aggregation) -> None:
    """The refusal is a BadDefinition that names the view and the feature."""
    broken = FeatureDefinition("broken_one", spec)
    with pytest.raises(BadDefinition) as refused:
        Plan([view(features=(FeatureDefinition("fine", count("purchase")), broken))])
    assert "activity" in str(refused.value)
    assert "broken_one" in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"entity": "item"}, {"entity": ""}, {"selects": ()}, {"features": ()}, {"interval_us": 0},
        {"interval_us": 61_000_000}, {"interval_us": -60_000_000},
        {"features": (FeatureDefinition("x", count("purchase")), FeatureDefinition("x", ever("purchase")))},
    ],
)  # fmt: skip
def test_a_view_that_cannot_be_computed_is_refused_by_name(changes: dict[str, Any]) -> None:
    """The refusal is a BadDefinition that names the view."""
    with pytest.raises(BadDefinition, match="activity"):
        Plan([view(**changes)])


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
    plan = Plan([view(name=name, entity=entity) for name, entity in (("b", "all"), ("a", "user"), ("c", "user"))])
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
    """Counts, totals and flags are int64, an age is float32, a last value has the type of its field."""
    plan = Plan([view()])
    assert {name.split(":")[1]: feature.dtype for name, feature in plan.features.items()} == {
        "purchase_count": "int64", "purchase_count_7d": "int64", "purchase_value_total_30d": "int64",
        "purchase_quantity_total": "int64", "purchase_ever": "int64", "purchase_category_last": "string",
        "any_utc_offset_s_last": "int64", "purchase_age_s": "float32", "item_view_age_s": "float32",
    }  # fmt: skip
