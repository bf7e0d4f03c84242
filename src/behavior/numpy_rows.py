"""Rows of candidates looked up and laid out in numpy, where nothing is compiled; see `places`."""

from collections.abc import Mapping, Sequence

import numpy as np


def places_in(index: Mapping[str, int], names: Sequence[str]) -> np.ndarray:
    """The row of each name, intp[n]; that of an unknown one is behind the last.

    >>> places_in({"TEA": 0, "RICE": 1}, ["RICE", "unheard of"]).tolist()
    [1, 2]
    """
    unknown = len(index)
    return np.array([index.get(each, unknown) for each in names], dtype=np.intp)


def stored_of(
    fields: Mapping[bytes, bytes], letter: bytes, categories: Sequence[str]
) -> tuple[list[bytes], np.ndarray]:
    """What a user's hash holds of a view of (user, category), and the row of each category in it, intp[n].

    A category of which nothing is stored has the row behind the last.

    >>> stored, rows = stored_of({b"cTEA": b"...", b"aTEA": b"?"}, b"c", ["RICE", "TEA"])
    >>> stored, rows.tolist()
    ([b'...'], [1, 0])
    """
    found = [fields.get(letter + category.encode()) for category in categories]
    known = [data for data in found if data is not None]
    count = iter(range(len(known)))
    return known, np.array([len(known) if data is None else next(count) for data in found], dtype=np.intp)


def write_codes(
    rows: np.ndarray, place: int, texts: Sequence[str | None] | np.ndarray, vocabulary: Mapping[str, int]
) -> None:
    """Write the code of each text into a column of rows, float32[n, d]; NaN for what the vocabulary does not have.

    texts    n, or one that stands for all
    """
    rows[:, place] = [np.nan if text is None else vocabulary.get(text, np.nan) for text in texts]


def write_gathered(rows: np.ndarray, places: np.ndarray, laid_out: np.ndarray, of: np.ndarray) -> None:
    """Write rows that are laid out already, float32[m, k], into the columns `places` of rows, float32[n, d].

    of    intp[n], which of them each row has; or one that all have
    """
    rows[:, places] = laid_out[of]
