"""Trees as masks of leaves: what a value of one input rules out, for every interval of its thresholds, known ahead.

A tree of at most 64 leaves is a word with a bit per leaf. Of each input and each tree that asks for it there is a mask
per interval between the input's thresholds, and one for NaN: the leaves that this value does not rule out. The masks of
all inputs, ANDed, leave the one leaf that the row falls into. So a row costs one search per input, and one AND per
input and tree, without a branch that a processor would have to guess; and what all rows of a request share is ANDed
once for all of them. After Lucchese et al., QuickScorer (SIGIR 2015), whose masks rule out on one side only and so
need an order of the leaves.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from behavior.errors import BadInput
from scoring.onnx_trees import Forest

LEAVES = 64
# Masks of 64 MiB; the largest models that training fits take 2.
_MOST_MASKS = 8 * 1024 * 1024


class Masks(NamedTuple):
    """The arrays that `scoring.compiled_trees.MaskedTrees` is made of; see there."""

    thresholds: np.ndarray
    first_threshold: np.ndarray
    trees: np.ndarray
    first_tree: np.ndarray
    masks: np.ndarray
    leaves: np.ndarray


def masks_of(forest: Forest, width: int) -> Masks:
    """The masks of an ensemble for rows float32[n, width].

    Raises BadInput that says why if it cannot be told by masks: more than 64 leaves in a tree, too many masks, children
    that tests of several inputs share.
    """
    if not ((forest.feature >= 0) & (forest.feature < width)).all() or np.isnan(forest.threshold[~forest.leaf]).any():
        raise _refused("it tests what is no input, or by what is no number")
    leaves, below, head = _leaves(forest), _leaves_below(forest), _heads(forest)
    inputs: list[_Input] = []
    room = _MOST_MASKS
    for feature in range(width):
        inputs.append(_of_input(forest, feature, below, head, room))
        room -= len(inputs[-1].masks)
    thresholds, trees, masks = zip(*inputs, strict=True)
    return Masks(
        thresholds=np.concatenate(thresholds),
        first_threshold=_starts(thresholds),
        trees=np.concatenate(trees),
        first_tree=_starts(trees),
        masks=np.concatenate(masks),
        leaves=leaves,
    )


class _Input(NamedTuple):
    """What is known of one input: its thresholds, the trees that ask for it, and their masks for each interval."""

    thresholds: np.ndarray
    trees: np.ndarray
    masks: np.ndarray


def _of_input(forest: Forest, feature: int, below: np.ndarray, head: np.ndarray, room: int) -> _Input:
    tests = np.flatnonzero(~forest.leaf & (forest.feature == feature))
    rising = np.unique(round_down(forest.threshold[tests]))
    asking = np.unique(forest.tree[tests])
    if (len(rising) + 2) * len(asking) > room:
        raise _refused(f"it needs more than {_MOST_MASKS:,} masks")
    heads = tests[head[tests] == tests]
    kept = below[_exits(forest, head, heads, rising)] | ~below[heads]
    return _Input(rising, asking, _together(kept, forest.tree[heads], asking).reshape(-1))


def _starts(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Where each of the arrays begins when they follow each other, and where the last ends: int64[parts + 1]."""
    return np.concatenate([[0], np.cumsum([len(each) for each in parts])]).astype(np.int64)


def round_down(thresholds: np.ndarray) -> np.ndarray:
    """The float32 thresholds that decide `x <= T` for every float32 x as the float64 ones do."""
    with np.errstate(over="ignore"):
        nearest = thresholds.astype(np.float32)
    down: np.ndarray = np.where(nearest > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest)
    return down


def _numbers(forest: Forest) -> np.ndarray:
    """The number of each leaf within its tree, from 0; of a test that of the leaf before it. Refuses more than 64."""
    before = np.cumsum(forest.leaf)
    roots = np.flatnonzero(np.diff(forest.tree, prepend=-1))
    numbers: np.ndarray = before - (before - forest.leaf)[roots][forest.tree] - 1
    most = int(numbers.max()) + 1
    if most > LEAVES:
        raise _refused(f"a tree has {most} leaves, and a mask has {LEAVES} bits")
    return numbers


def _leaves(forest: Forest) -> np.ndarray:
    """What each leaf of each tree adds, float64[t, 64]; leaves that a tree does not have add 0."""
    values = np.zeros((int(forest.tree[-1]) + 1, LEAVES))
    values[forest.tree[forest.leaf], _numbers(forest)[forest.leaf]] = forest.value[forest.leaf]
    return values


def _leaves_below(forest: Forest) -> np.ndarray:
    """The leaves that can be reached from each node, as masks uint64[m]."""
    numbers = np.where(forest.leaf, _numbers(forest), 0).astype(np.uint64)
    below = np.where(forest.leaf, np.uint64(1) << numbers, np.uint64(0))
    while True:  # from the leaves upwards, a level at a time
        reached = below | below[forest.true] | below[forest.false]
        if np.array_equal(reached, below):
            return below
        below = reached


def _heads(forest: Forest) -> np.ndarray:
    """The head of each test's group, int64[m]: tests in line of one input are one question with several answers.

    Our writer makes such lines of splits of categories, whose tests share their children. Refuses children that tests
    of several groups share, for then a leaf can be reached in several ways.
    """
    parent = np.flatnonzero(~forest.leaf)
    parent, child = np.tile(parent, 2), np.concatenate([forest.true[parent], forest.false[parent]])
    head = np.arange(len(forest.tree))
    same = ~forest.leaf[child] & (forest.feature[parent] == forest.feature[child])
    for _ in range(len(head)):
        led = head.copy()
        led[child[same]] = head[parent[same]]
        if np.array_equal(led, head):
            break
        head = led
    led_by = np.full(len(head), -1)
    led_by[child] = head[parent]
    roots = np.diff(forest.tree, prepend=-1) > 0
    if (led_by[child] != head[parent]).any() or (led_by[roots] >= 0).any():
        raise _refused("tests of several inputs share a child")
    return head


def _exits(forest: Forest, head: np.ndarray, heads: np.ndarray, rising: np.ndarray) -> np.ndarray:
    """Where each group is left, int64[k + 2, groups]: by the interval of the input's thresholds, the last being NaN."""
    interval = np.arange(len(rising) + 2)[:, None]
    place = np.searchsorted(rising, round_down(forest.threshold))
    at = np.tile(heads, (len(interval), 1))
    for _ in range(len(head)):
        inside = ~forest.leaf[at] & (head[at] == heads)
        if not inside.any():
            return at
        holds = np.where(interval > len(rising), forest.nan_true[at], interval <= place[at])
        at = np.where(inside, np.where(holds, forest.true[at], forest.false[at]), at)
    raise _refused("tests lead back to themselves")


def _together(kept: np.ndarray, trees: np.ndarray, asking: np.ndarray) -> np.ndarray:
    """The masks of a tree's groups as one, uint64[k + 2, asking]."""
    masks = np.full((len(asking), len(kept)), ~np.uint64(0))
    np.bitwise_and.at(masks, np.searchsorted(asking, trees), kept.T)
    return masks.T


def _refused(reason: str) -> BadInput:
    return BadInput(f"the ensemble cannot be answered by masks: {reason}; ONNX Runtime answers alone")
