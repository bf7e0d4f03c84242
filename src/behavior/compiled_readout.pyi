from collections.abc import Sequence

import numpy as np

# Of one textual slot of one state: the place of its first text, and its numbers.
Packed = tuple[int, list[int]]

def read_states(
    program: np.ndarray,
    slots: int,
    width: int,
    textual: int,
    has_ids: bool,
    stored: list[bytes | None],
    t: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, Sequence[Sequence[Packed | None]]] | None: ...
