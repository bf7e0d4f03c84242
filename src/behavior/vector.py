"""The row that the model sees: the one function that training and serving share.

`finalise` (see `finals`) turns what tables and states hold into final values at given instants; `assemble` lays final
values, the moment and the candidate out as float32 in the model's own order. Only correctly rounded operations are
used, so equal integers give equal bits.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from behavior.column import Column
from behavior.errors import BadInput
from behavior.finals import Columns, Finals
from behavior.moment import Moment
from behavior.places import write_codes

MOMENT_INPUTS = ("moment:hour", "moment:weekday")
CANDIDATE_INPUT = "candidate:category"


def assemble(
    inputs: Sequence[str],
    finals: Mapping[str, Column],
    moment: Moment,
    candidates: Sequence[str] | np.ndarray,
    vocabularies: Mapping[str, Mapping[str, int]],
) -> np.ndarray:
    """The model's rows, float32[n, d], one column per input in the given order.

    inputs         references `view:feature`, `moment:hour`, `moment:weekday`, `candidate:category`
    finals         final columns of n rows, or of one row that stands for all
    moment         n rows, or one that stands for all
    candidates     n, the category of each row
    vocabularies   {input: {text: code}} for the inputs that are texts; a text that is not in it becomes NaN
    """
    rows = np.empty((len(candidates), len(inputs)), dtype=np.float32)
    blocks = finals.blocks if isinstance(finals, Finals) else (Columns(finals),)
    layout = _layout(tuple(inputs), tuple(block.refs for block in blocks), frozenset(vocabularies))
    for block, (places, refs) in zip(blocks, layout.numbers, strict=True):
        if refs:
            block.write(rows, places, refs)
    for place, ref in layout.texts:
        column = finals[ref]
        known = zip(column.values.tolist(), column.valid.tolist(), strict=True)
        write_codes(rows, place, [text if there else None for text, there in known], vocabularies[ref])
    for place, name in layout.asked:
        if name == CANDIDATE_INPUT:
            write_codes(rows, place, candidates, vocabularies[name])
        else:
            rows[:, place] = moment.hour if name == "moment:hour" else moment.weekday
    return rows


class _Layout(NamedTuple):
    """Where inputs come from: per block the places of its numbers and their references; texts; what requests say."""

    numbers: tuple[tuple[np.ndarray, tuple[str, ...]], ...]
    texts: tuple[tuple[int, str], ...]
    asked: tuple[tuple[int, str], ...]


@lru_cache(maxsize=64)
def _layout(inputs: tuple[str, ...], blocks: tuple[frozenset[str], ...], texts: frozenset[str]) -> _Layout:
    """Raises BadInput for an input that no block has."""
    numbers: list[list[tuple[int, str]]] = [[] for _ in blocks]
    of_texts, asked = [], []
    for place, name in enumerate(inputs):
        which = next((number for number, refs in enumerate(blocks) if name in refs), None)
        if name in (*MOMENT_INPUTS, CANDIDATE_INPUT):
            asked.append((place, name))
        elif which is None:
            raise BadInput(
                f"the model needs the input {name}, which nothing provides; apply the features it was made with"
            )
        elif name in texts:
            of_texts.append((place, name))
        else:
            numbers[which].append((place, name))
    laid = tuple(
        (np.array([place for place, _ in each], dtype=np.intp), tuple(name for _, name in each)) for each in numbers
    )
    return _Layout(laid, tuple(of_texts), tuple(asked))
