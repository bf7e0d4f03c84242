from collections.abc import Sequence

import numpy as np

# Of one textual slot of one state: where in the bytes the texts begin, the place of its own first one, how many it has,
# and its numbers.
Packed = tuple[int, int, int, list[int]]

def read_states(
    program: np.ndarray,
    slots: int,
    width: int,
    textual: int,
    has_ids: bool,
    stored: list[bytes | None],
    t: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, Sequence[Sequence[Packed | None]]] | None: ...
def texts_at(data: bytes, start: int, first: int, count: int) -> list[str]: ...
def recent_of(
    numbers: list[int], texts: list[str], seen_e: int, events: tuple[str, ...], has_ids: bool
) -> list[str]: ...
