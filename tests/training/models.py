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
def rows() -> np.ndarray:
    """Real rows that the model has not seen, float32[2000, 6]."""
    return sample(2_000, 2)[0]
