"""A small deployment for tests: a plan of five views, keys, settings, a real LightGBM bundle."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from behavior.aggregation import Aggregation
from behavior.calibration import Calibration
from behavior.context import ContextTables
from behavior.event import PERSONALIZATION, SECOND_US, Event
from behavior.manifest import Span
from behavior.plan import FeatureDefinition, Plan, ViewDefinition
from behavior.words import age, count, distinct, last, recent
from deployment.pseudonym import Pseudonyms, make_key
from deployment.sealing import make_sealing_key
from deployment.settings import Settings, load
from training.bundle import Place, Trained, point, write_bundle
from training.onnx_export import export

START = 1_508_040_000_000_000  # 2017-10-15T04:00:00Z, midnight in New York
PARTITIONS = 4
CATEGORIES = ("BREAD", "COFFEE", "RICE", "TEA")


def _view(name: str, entity: str, *aggregations: Aggregation) -> ViewDefinition:
    features = tuple(FeatureDefinition(each.name, each) for each in aggregations)
    return ViewDefinition(name, entity, ("purchase", "item_view"), features)


PLAN = Plan(
    [
        _view("user_activity", "user", count("purchase", over="7d"), age("purchase"), last("purchase.category"),
              last("*.utc_offset_s"), count("purchase", over="30d"), recent(5)),
        _view("user_category", "user_category", count("purchase", over="30d"), age("purchase")),
        _view("category_activity", "category", count("purchase", over="30d")),
        _view("all_activity", "all", count("purchase", over="7d")),
        _view("item_activity", "item", count("purchase", over="7d"), distinct("purchase.user", over="30d"),
              count("purchase", over="30d"), last("*.category")),
    ]
)  # fmt: skip
INPUTS = (
    "user_activity:purchase_count_7d", "user_activity:purchase_age_s", "user_activity:purchase_category_last",
    "user_category:purchase_count_30d", "user_category:purchase_age_s", "category_activity:purchase_count_30d",
    "all_activity:purchase_count_7d", "moment:hour", "moment:weekday", "candidate:category",
)  # fmt: skip
TEXTS = ("user_activity:purchase_category_last", "candidate:category")


def settings_in(home: Path, redis_url: str, prefix: str, **changes: Any) -> Settings:
    """Settings of a replayed deployment under `home`, with its plan and keys written."""
    settings = load(
        home=home, redis_url=redis_url, redis_prefix=prefix, partitions=PARTITIONS, port=0, zone="America/New_York",
        **{"replay": True, "impressions": "assumed"} | changes,
    )  # fmt: skip
    settings.plan.parent.mkdir(parents=True, exist_ok=True)
    settings.plan.write_bytes(PLAN.encode())
    if not settings.key_file.exists():
        make_key(settings.key_file)
    if not settings.sealing_key_file.exists():
        make_sealing_key(settings.sealing_key_file)
    return settings


def pseudonym(settings: Settings, raw: str) -> str:
    """The pseudonym of a raw user id in this deployment."""
    return Pseudonyms.load(settings.key_file).user(raw)


def purchase(user: str, category: str, t: int, message_id: str, **fields: Any) -> Event:
    """A purchase with consent; `user` is a pseudonym."""
    return Event(message_id, "purchase", user, t, category=category, purposes=PERSONALIZATION, **fields)


def make_bundle(
    bundles: Place,
    seed: int = 0,
    fingerprints: Mapping[str, str] | None = None,
    calibration: Calibration | None = None,
    tables: ContextTables | None = None,
) -> str:
    """Train a real model on made-up rows in which own purchases, the hour and the category matter; not yet current."""
    rng = np.random.default_rng(seed)
    x = np.column_stack(
        [
            rng.integers(0, 9, 4000), rng.uniform(0, 1e6, 4000), rng.integers(0, 4, 4000), rng.integers(0, 6, 4000),
            rng.uniform(0, 2e6, 4000), rng.integers(0, 50, 4000), rng.integers(0, 200, 4000), rng.integers(0, 24, 4000),
            rng.integers(0, 7, 4000), rng.integers(0, 4, 4000),
        ]
    ).astype(np.float32)  # fmt: skip
    x[rng.random(x.shape) < 0.1] = np.nan
    logit = np.nan_to_num(x[:, 3]) - 2 + 0.1 * np.nan_to_num(x[:, 7] - 12) + np.nan_to_num(x[:, 9] - 2)
    y = rng.random(4000) < 1 / (1 + np.exp(-logit))
    parameters = {"objective": "binary", "num_leaves": 7, "verbosity": -1, "seed": seed, "num_threads": 1}
    booster = lightgbm.train(parameters, lightgbm.Dataset(x, y), num_boost_round=12)
    trained = Trained(
        target="purchase_7d", entity="user_category", inputs=INPUTS, fingerprints=fingerprints or PLAN.fingerprints,
        zone="America/New_York", trained=Span(0, 1), rows={"train": 4000}, metrics={}, export_difference=0.0,
        model_onnx=export(booster), model_text=booster.model_to_string(),
        vocabularies=dict.fromkeys(TEXTS, CATEGORIES), golden_x=x[:50], reference=b"{}\n", calibration=calibration,
        tables=tables,
    )  # fmt: skip
    return write_bundle(bundles, trained, datetime.fromtimestamp(START / SECOND_US, UTC))


def make_current(bundles: Place, bundle_id: str) -> None:
    """Let the pointer name the bundle."""
    point(bundles, "current", bundle_id)
