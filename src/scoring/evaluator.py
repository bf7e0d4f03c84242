"""Who answers for a model's trees: masks of leaves if they answer as ONNX Runtime does, bit for bit, else ONNX Runtime.

The bundle's ONNX stays what a model is. Masks are made from it when it is loaded, and before they serve they answer the
golden rows and rows that are made to find differences in this very model; one bit otherwise, and ONNX Runtime serves.
"""

import logging
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np

from behavior.errors import BadInput, NotExact
from scoring.onnx_trees import Forest, read_forest
from scoring.trees import masks_of, round_down

try:
    from scoring.compiled_trees import MaskedTrees
except ImportError:  # no C compiler where this was installed
    MaskedTrees = None  # type: ignore[assignment,misc]

Predict = Callable[[np.ndarray], np.ndarray]
Name = Literal["masks", "onnx"]
# Rows at tests, times the trees that each of them asks: two for each test of 160 trees of 63 leaves, 0.1 s of ONNX
# Runtime. Of a larger model the tests are drawn.
_ASKED = 3_200_000
_MIXED = 4096  # rows of values at random
# Rows that are asked at once: of a request's size, and no multiple of the rows that are answered side by side. A server
# goes on answering while it loads, between the batches.
_BATCH = 103
_SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 3e38, -3e38, 1e-45, -1e-45], dtype=np.float32)

_log = logging.getLogger("opportune.model")


class Evaluator(NamedTuple):
    """Who answers, and how: rows float32[n, d] -> raw margins float32[n]."""

    name: Name
    predict: Predict


def evaluator_of(model: bytes, onnx: Predict, golden: np.ndarray, wanted: Name, where: str) -> Evaluator:
    """The one that is wanted if it is exact, else ONNX Runtime; why is said in the log.

    model    the ONNX file
    onnx     answers for it through ONNX Runtime
    golden   real rows float32[n, d], n >= 1
    where    names the model in the log
    """
    if wanted == "onnx":
        return Evaluator("onnx", onnx)
    if MaskedTrees is None:
        _log.warning("%s: ONNX Runtime answers, for the compiled parts are missing; see CONTRIBUTING.md", where)
        return Evaluator("onnx", onnx)
    try:
        forest = read_forest(model)
        predict = MaskedTrees(*masks_of(forest, golden.shape[1])).margins
        check(predict, onnx, forest, golden)
    except (BadInput, NotExact) as error:
        _log.warning("%s: %s", where, error)
        return Evaluator("onnx", onnx)
    return Evaluator("masks", predict)


def check(predict: Predict, onnx: Predict, forest: Forest, golden: np.ndarray) -> None:
    """Raise NotExact with a row if the two differ in one bit of one margin, on golden or on made rows."""
    generator = np.random.default_rng(0)  # the same rows wherever and whenever a model is loaded
    made = chain(_at_tests(forest, golden, generator), _mixed(forest, golden, generator))
    for rows in chain((golden, golden[:1]), made):
        found, expected = predict(rows), onnx(rows)
        wrong = np.flatnonzero(found.view(np.uint32) != expected.view(np.uint32))
        if len(wrong):
            place = int(wrong[0])
            raise NotExact(
                f"the trees answer {found[place]} by masks and {expected[place]} by ONNX Runtime, for the row "
                f"{rows[place].tolist()}; ONNX Runtime answers alone: report this model"
            )


def _at_tests(forest: Forest, golden: np.ndarray, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows that lead to each test, with its very threshold and with the next number above it, in batches."""
    reached = _leading(forest, golden, generator)
    tests = generator.permutation(np.flatnonzero(~forest.leaf))[: _ASKED // (2 * int(forest.tree[-1] + 1))]
    threshold = round_down(forest.threshold)
    for start in range(0, len(tests), _BATCH):
        batch = tests[start : start + _BATCH]
        for values in (threshold[batch], _above(threshold[batch])):
            rows = reached[batch]
            rows[np.arange(len(batch)), forest.feature[batch]] = values
            yield rows


def _leading(forest: Forest, golden: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """For each node a row that leads there, float32[m, d]: a golden one, moved just over the thresholds on its way."""
    rows = golden[generator.integers(0, len(golden), len(forest.tree))]
    threshold = round_down(forest.threshold)
    at = np.flatnonzero(np.diff(forest.tree, prepend=-1))
    known = np.zeros(len(rows), dtype=bool)
    while len(at):
        known[at] = True
        tests = at[~forest.leaf[at]]
        led = []
        for holds, to, moved in ((True, forest.true, threshold), (False, forest.false, _above(threshold))):
            parent = tests[~known[to[tests]]]
            value = rows[parent, forest.feature[parent]]
            held = (value <= threshold[parent]) | (np.isnan(value) & forest.nan_true[parent])
            child = to[parent]
            rows[child] = rows[parent]
            rows[child, forest.feature[parent]] = np.where(held == holds, value, moved[parent])
            led.append(child)
        at = np.concatenate(led)
    return rows


def _mixed(forest: Forest, golden: np.ndarray, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows of thresholds, the numbers next to them and special ones, mixed at random, in batches.

    Every other batch keeps three quarters of golden rows. In each about half of the inputs are the same in all rows, as
    those of a user are.
    """
    width = golden.shape[1]
    columns = [_column(forest, feature, generator) for feature in range(width)]
    for number, start in enumerate(range(0, _MIXED, _BATCH)):
        made = np.column_stack([each[start : start + _BATCH] for each in columns])
        real = golden[generator.integers(0, len(golden), len(made))]
        rows = np.where(generator.random(made.shape) < (0.75 if number % 2 else 0.0), real, made)
        yield np.where(generator.random(width) < 0.5, rows[:1], rows)


def _column(forest: Forest, feature: int, generator: np.random.Generator) -> np.ndarray:
    """Values of one input, float32[_MIXED], in any order."""
    told = np.unique(round_down(forest.threshold[~forest.leaf & (forest.feature == feature)]))
    values = np.concatenate([told, -_above(-told), _above(told), _SPECIAL])
    return generator.permutation(np.resize(values, _MIXED))


def _above(thresholds: np.ndarray) -> np.ndarray:
    """The next float32 above each; above infinity there is none."""
    with np.errstate(over="ignore"):
        above: np.ndarray = np.nextafter(thresholds, np.float32(np.inf))
    return above
