"""A small fitted model and the rows behind it, made once: thresholds near 0, NaN splits and float32 values included."""

from functools import cache

import lightgbm
import numpy as np

from training.fit import Sample, fit

NAMES = ("user:count", "moment:hour", "user:total", "user:tiny", "user:value", "user:age")


def sample(n: int, seed: int) -> Sample:
    """Rows float32[n, 6] with labels that depend on the first two columns and on whether the last is missing."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, len(NAMES))).astype(np.float32)
    x[generator.random(x.shape) < 0.1] = np.nan
    x[:, 1] = np.nan_to_num(np.round(x[:, 1] * 3))
    x[:, 2] = np.where(x[:, 2] > 0, x[:, 2], 0)
    x[:, 3] *= np.float32(1e-35)
    x[:, 4] = np.nan_to_num(x[:, 4] * 1e6)
    margin = np.nan_to_num(x[:, 0]) + x[:, 1] * 0.3 + 2.0 * np.isnan(x[:, 5]) - 2.6
    y = (generator.random(n) < 1 / (1 + np.exp(-margin))).astype(np.uint8)
    return x, y, np.ones(n, dtype=np.float32)


@cache
def model() -> lightgbm.Booster:
    """A model of about 30 trees on 12,000 rows."""
    return fit(*sample(12_000, 0), NAMES, valid=sample(4_000, 1), seed=1, threads=1)


@cache
def categorical_model(**parameters: object) -> lightgbm.Booster:
    """A model of 12 trees on the rows of `categorical_rows`, with splits of categories on the last two inputs."""
    x = categorical_rows()
    y = (np.nan_to_num(x[:, 1], nan=3.0).astype(np.int64) % 5 < 2) ^ (x[:, 2] == 1) ^ (x[:, 0] > 1)
    y ^= np.random.default_rng(4).random(len(x)) < 0.2
    settings = {
        "objective": "binary", "num_leaves": 31, "verbosity": -1, "num_threads": 1, "min_data_per_group": 5,
    } | parameters  # fmt: skip
    return lightgbm.train(settings, lightgbm.Dataset(x, y, params=settings, categorical_feature=[1, 2]), 12)


@cache
def categorical_rows() -> np.ndarray:
    """Rows float32[6000, 3]: a number, a code below 70 that may be missing or fractional, a code from -1 to 2."""
    generator = np.random.default_rng(3)
    n = 6_000
    codes = [generator.integers(0, 70, n), generator.integers(-1, 3, n)]
    x = np.column_stack([generator.normal(size=n), *codes]).astype(np.float32)
    x[generator.random(x.shape) < 0.05] = np.nan
    x[generator.random(n) < 0.05, 1] += np.float32(0.25)
    return x


@cache
def rows() -> np.ndarray:
    """Real rows that the model has not seen, float32[2000, 6]."""
    return sample(2_000, 2)[0]
