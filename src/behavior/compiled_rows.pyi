from collections.abc import Mapping, Sequence

import numpy as np

def places_in(index: Mapping[str, int], names: Sequence[str]) -> np.ndarray: ...
def stored_of(
    fields: Mapping[bytes, bytes], letter: bytes, categories: Sequence[str]
) -> tuple[list[bytes], np.ndarray]: ...
def write_codes(
    rows: np.ndarray, place: int, texts: Sequence[str | None] | np.ndarray, vocabulary: Mapping[str, int]
) -> None: ...
def write_gathered(rows: np.ndarray, places: np.ndarray, laid_out: np.ndarray, of: np.ndarray) -> None: ...
def write_finals(
    rows: np.ndarray,
    places: np.ndarray,
    finishes: np.ndarray,
    matrix: np.ndarray,
    of: np.ndarray | None,
    at: int,
    retention_us: int,
) -> None: ...
