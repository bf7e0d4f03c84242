"""Personas of a small archive through Feast: told by orders, equal to requests, and stable when they are made again."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import msgspec
import numpy as np
import pytest
from feast import FeatureStore

from behavior.column import Column
from behavior.errors import BadInput, BundleRefused
from behavior.event import DAY_US, PERSONALIZATION, SECOND_US, Admitted, Event
from behavior.manifest import Span
from behavior.moment import Moment
from behavior.personas import FAMILY, Personas, assign
from behavior.plan import Plan
from behavior.state import State, encode, fold
from deployment.bundle_store import BundleStore
from deployment.current_personas import current_personas
from deployment.user_state import UserState, state_field
from tests.feast_plugin.repository import deployment, write_archive, write_repo
from training.apply import apply
from training.backfill import backfill
from training.persona_inputs import ROLES, Told, active_users, features_of, told
from training.personas import Made, changed_share, group, make, matched, write
from training.slices import slicers
from training.store import open_store

AT = int(datetime(2017, 10, 1, tzinfo=UTC).timestamp()) * SECOND_US
SPAN = Span(AT - 60 * DAY_US, AT)
VIEWS = """
people = behavior_view(
    "people", entity=user, owner="o", selects=("purchase", "item_view", "add_to_cart"),
    features=[
        age("purchase"), age("purchase", since="first"), distinct("purchase.order_id", over="30d"),
        total("purchase.value", over="30d"), count("item_view", over="7d"), count("add_to_cart", over="24h"),
    ],
)
"""
ORDERS = "people:purchase_order_id_distinct_30d"


def happened(user: str, ago: float, kind: str = "purchase", order: str | None = None, value: int = 500) -> Admitted:
    """What a user did so many days before AT; a line of the order, if there is one."""
    e = AT - int(ago * DAY_US)
    event = Event(
        f"m-{user}-{kind}-{ago}-{order}-{value}", kind, user, e, item="i-1", category="TEA", order_id=order,
        value=value if kind == "purchase" else None, utc_offset_s=-14_400, purposes=PERSONALIZATION,
    )  # fmt: skip
    return Admitted(event, e, e)


def shop() -> list[Admitted]:
    """Thirty users who order every other day, thirty who did so once 50 days ago, and thirty who only look."""
    log = [happened("k1-lines", 5, order="one", value=line) for line in range(20)]
    for each in range(30):
        often, gone, looks = f"k1-often-{each:02}", f"k1-gone-{each:02}", f"k1-looks-{each:02}"
        log += [happened(often, 1 + day + each / 100, order=f"{often}-{day}", value=4000) for day in range(0, 100, 2)]
        log += [happened(gone, 100 + each / 10, order=f"{gone}-0"), happened(gone, 50 + each / 10, order=f"{gone}-1")]
        log += [happened(looks, 0.5 + look / 3 + each / 100, kind="item_view") for look in range(12)]
    return sorted(log, key=lambda each: (each.k, each.event.message_id))


class Shop:
    """The archive, its tables and definitions."""

    def __init__(self, home: Path) -> None:
        settings = deployment(home)
        write_repo(settings.feature_repo, VIEWS)
        self.log = shop()
        self.plan: Plan = apply(settings)
        archive = write_archive(settings.archive, self.log)
        backfill(self.plan, archive, settings.tables, threads=1)
        self.store: FeatureStore = open_store(settings)
        self.con = duckdb.connect()
        archive.create_view(self.con)

    def make(self, at: int = AT, before: Personas | None = None) -> Made:
        return make(self.con, self.store, self.plan, at, before=before)

    def state_of(self, user: str) -> UserState:
        """What fold has stored of the user at AT."""
        view = self.plan.view("people")
        state: State | None = None
        for each in self.log:
            if each.event.user_id == user:
                state = fold(view, state, each)
        return UserState(self.plan, {} if state is None else {state_field(view): encode(view, state)})


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    made = Shop(tmp_path_factory.mktemp("personas"))
    yield made
    made.con.close()


@pytest.fixture(scope="module")
def first(deployed: Shop) -> Made:
    return deployed.make()


def test_kinds_of_customers_are_told_apart(first: Made) -> None:
    """Three habits, three personas of plain names; each user who was active is in one."""
    assert set(first.personas.names) >= {"Champions", "Dormant", "Frequent Browsers"}
    assert sum(each.size for each in first.personas.personas) == 91 == len(first.assigned)
    assert first.changed is None


def test_frequency_counts_orders_and_not_lines(deployed: Shop) -> None:
    """Twenty lines of one order are one."""
    found = told(deployed.store, deployed.plan, [ORDERS], ["k1-lines", "k1-often-00"], AT)
    assert found.finals[ORDERS].values.tolist() == [1, 15]
    played = {role.name: feature.ref for role, feature in features_of(deployed.plan, ["purchase"]).items()}
    assert played["orders"] == ORDERS


def test_roles_are_played_by_what_the_archive_has(deployed: Shop) -> None:
    """Views count only where there are views; another window is asked for by its word."""
    assert "views" not in {role.name for role in features_of(deployed.plan, ["purchase"])}
    assert "views" in {role.name for role in features_of(deployed.plan, ["purchase", "item_view"])}
    with pytest.raises(BadInput, match=r'distinct\("purchase.order_id", over="90d"\)'):
        features_of(deployed.plan, ["purchase"], 90 * DAY_US)


def test_the_active_are_those_of_sixty_days(deployed: Shop) -> None:
    """Who did nothing for 60 days is left out, who did so just within is in, and nothing after the instant counts."""
    log = deployed.log
    ever = {each.event.user_id for each in log}
    kinds = ("purchase", "item_view")
    assert set(active_users(deployed.con, AT, kinds)) == ever
    gone = [user for user in active_users(deployed.con, AT + 12 * DAY_US, kinds) if "gone" in user]
    assert gone == []
    assert not any("looks" in user for user in active_users(deployed.con, AT - 10 * DAY_US, kinds))


def test_requests_assign_as_training_does(deployed: Shop, first: Made) -> None:
    """For every user, what fold stored and a request reads has the persona that the offline join has."""
    view = deployed.plan.view("people")
    users = [*active_users(deployed.con, AT, ("purchase", "item_view")), "k1-nobody"]
    offline = told(deployed.store, deployed.plan, first.personas.refs, users, AT)
    assert offline.users == users
    joined = assign(first.personas, offline.finals).tolist()
    served = [int(assign(first.personas, deployed.state_of(user).columns(view, (), AT))[0]) for user in users]
    assert served == joined
    assert joined[-1] == -1
    assert len(set(joined)) >= 4


def test_rows_are_parted_by_persona(deployed: Shop, first: Made) -> None:
    """The slicer names the persona of each row; other definitions are refused, and without personas there is none."""
    slicer = next(each for each in slicers(deployed.plan, first.personas) if each.name == "persona")
    found = told(deployed.store, deployed.plan, slicer.needs, ["k1-often-00", "k1-gone-00", "k1-nobody"], AT)
    parted = slicer.of(found.finals, Moment(np.full(3, AT), np.zeros(3, np.int64)))
    assert parted.tolist() == ["Champions", "Dormant", "Unknown"]
    assert "persona" not in {each.name for each in slicers(deployed.plan)}
    with pytest.raises(BundleRefused, match="lacks or defines otherwise"):
        slicers(Plan([]), first.personas)


def test_a_refresh_on_the_same_data_changes_nothing(deployed: Shop, first: Made) -> None:
    """The same bytes, and nobody has another persona: a fixed point, however often."""
    again = deployed.make(before=first.personas)
    assert again.personas == first.personas
    assert again.changed == 0.0
    assert deployed.make().personas == first.personas


def test_too_few_users_make_no_personas(deployed: Shop) -> None:
    """A group of less than twenty says too much about each."""
    with pytest.raises(BadInput, match="personas need 20"):
        deployed.make(AT - 200 * DAY_US)


def crowd(seed: int = 1, shift: float = 1.0) -> Told:
    """Three kinds of users at once, and where they are: shifted, all spend and order that much more."""
    draw = np.random.default_rng(seed)
    ages = np.concatenate([draw.lognormal(mean, 0.2, 100) for mean in (0.2, 1.5, 3.6)]) * 86_400
    orders = np.concatenate([draw.poisson(mean * shift, 100) for mean in (15, 4, 0.01)])
    spend = np.concatenate([draw.lognormal(mean, 0.2, 100) for mean in (6.0, 4.0, 0.1)]) * 100 * shift
    columns = [
        Column(values, np.ones(300, bool)) for values in (ages.astype(np.float32), orders, spend.astype(np.int64))
    ]
    refs = ("people:purchase_age_s", ORDERS, "people:purchase_value_total_30d")
    return Told([f"u{each}" for each in range(300)], dict(zip(refs, columns, strict=True)))


def grouped(deployed: Shop, found: Told, before: Personas | None = None) -> Made:
    told_by = {role: deployed.plan.features[ref] for role, ref in zip(ROLES[:3], found.finals, strict=True)}
    return group(told_by, found, SPAN, before=before)


def test_names_stay_when_clusters_move(deployed: Shop) -> None:
    """A season in which everybody orders more moves every centre; names, their order and their users stay."""
    before = grouped(deployed, crowd()).personas
    after = grouped(deployed, crowd(seed=2, shift=1.3), before)
    assert after.personas.names == before.names
    assert after.personas.personas_id != before.personas_id
    assert all(a.centre != b.centre for a, b in zip(after.personas.personas, before.personas, strict=True))
    assert after.changed is not None
    assert after.changed < 0.1


def test_a_kept_name_is_that_of_the_nearest_before_whatever_the_rules_say(deployed: Shop) -> None:
    """Personas that were renamed by hand keep their names in a refresh."""
    before = grouped(deployed, crowd()).personas
    renamed = msgspec.structs.replace(
        before, personas=tuple(msgspec.structs.replace(p, name=f"Kind {n}") for n, p in enumerate(before.personas))
    )
    assert grouped(deployed, crowd(seed=2), renamed).personas.names == renamed.names


def test_a_centre_that_moved_far_is_another_persona(deployed: Shop) -> None:
    """It is not matched, and gets a name by rule that none of those kept has."""
    before = grouped(deployed, crowd()).personas
    far = msgspec.structs.replace(
        before,
        personas=(
            msgspec.structs.replace(before.personas[0], centre=(9.0, 9.0, 9.0), name="Far"), *before.personas[1:],
        ),
    )  # fmt: skip
    after = grouped(deployed, crowd(seed=2), far)
    assert len(matched(far, after.personas)) == len(before.personas) - 1
    assert "Far" not in after.personas.names
    assert len(set(after.personas.names)) == len(after.personas.names)
    assert after.changed == pytest.approx(changed_share(far, after.personas, crowd(seed=2).finals))
    assert after.changed > 0.2


def test_personas_are_kept_and_found_by_their_pointer(tmp_path: Path, first: Made) -> None:
    """Written once, current until others are; a damaged manifest is refused."""
    store = BundleStore(tmp_path / "bundles")
    assert current_personas(store) is None
    write(store, first.personas)
    write(store, first.personas)
    assert current_personas(store) == first.personas
    assert store.names(FAMILY) == [first.personas.personas_id]
    file = tmp_path / "bundles" / FAMILY / first.personas.personas_id / "manifest.json"
    file.write_bytes(file.read_bytes().replace(b"Champions", b"Champigno"))
    with pytest.raises(BundleRefused, match="not what was written"):
        current_personas(store)
