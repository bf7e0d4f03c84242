"""Where names stand in tables that have one row more than names: the last stands for every unknown one."""

from collections.abc import Mapping, Sequence

import numpy as np


def places_in(index: Mapping[str, int], names: Sequence[str]) -> np.ndarray:
    """The row of each name, intp[n]; that of an unknown one is behind the last.

    >>> places_in({"TEA": 0, "RICE": 1}, ["RICE", "unheard of"]).tolist()
    [1, 2]
    """
    unknown = len(index)
    return np.array([index.get(each, unknown) for each in names], dtype=np.intp)
