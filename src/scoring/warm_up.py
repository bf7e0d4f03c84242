"""A model's first predictions, made before a caller waits for one."""

from collections.abc import Callable

import numpy as np

# A single candidate, a page's, and the most that a request may name: the runtime allocates for each size once.
ROWS = (1, 100, 1000)
# The first run of a size allocates, the second one runs as all that follow.
TIMES = 2


def warm_up(predict: Callable[[np.ndarray], object], width: int) -> None:
    """Predict batches of the sizes of real requests; the values are of no interest, so all are missing.

    >>> seen = []
    >>> warm_up(lambda x: seen.append(x.shape), 3)
    >>> seen
    [(1, 3), (1, 3), (100, 3), (100, 3), (1000, 3), (1000, 3)]
    """
    for rows in ROWS:
        x = np.full((rows, width), np.nan, dtype=np.float32)
        for _ in range(TIMES):
            predict(x)
