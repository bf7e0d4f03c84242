# cython: boundscheck=False, wraparound=False, cdivision=True
"""The margins of many rows by masks of leaves, in one pass over the trees; see `scoring.trees` for what a mask is.

What the arrays say of each other is checked once, when they are taken over: no row can lead out of them.
"""

import numpy as np

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport free, malloc

cdef extern from *:
    int __builtin_ctzll(unsigned long long) noexcept nogil

cdef enum:
    # So many rows are answered side by side: their searches take the same steps, and their sums do not wait for each
    # other.
    LANES = 8
    LEAVES = 64  # bits of a mask


cdef class MaskedTrees:
    """An ensemble as tables of masks, which answers `margins`.

    thresholds       float32[k], those of each input, rising and different
    first_threshold  int64[d + 1], where those of each input begin
    trees            int32[e], the trees that ask for an input, input by input
    first_tree       int64[d + 1], where those of each input begin
    masks            uint64[m], of each input a row per interval of its thresholds and one for NaN, a column per tree
    leaves           float64[t, 64], what each leaf of each tree adds

    Raises ValueError if they do not fit each other.
    """

    cdef const float[::1] thresholds
    cdef const int64_t[::1] first_threshold
    cdef const int32_t[::1] trees
    cdef const int64_t[::1] first_tree
    cdef const uint64_t[::1] masks
    cdef const int64_t[::1] first_mask
    cdef const double[::1] leaves
    cdef Py_ssize_t width
    cdef Py_ssize_t count

    def __cinit__(self, thresholds, first_threshold, trees, first_tree, masks, leaves):
        # Copies, so that nobody can change what has been checked.
        self.thresholds = np.array(thresholds, dtype=np.float32)
        self.first_threshold = np.array(first_threshold, dtype=np.int64)
        self.trees = np.array(trees, dtype=np.int32)
        self.first_tree = np.array(first_tree, dtype=np.int64)
        self.masks = np.array(masks, dtype=np.uint64)
        self.leaves = np.array(leaves, dtype=np.float64).reshape(-1)
        self.width = self.first_threshold.shape[0] - 1
        self.count = self.leaves.shape[0] // LEAVES
        _check_places(self.first_threshold, self.thresholds.shape[0])
        _check_places(self.first_tree, self.trees.shape[0])
        if self.first_tree.shape[0] != self.width + 1 or self.leaves.shape[0] != self.count * LEAVES:
            raise ValueError("the arrays are not of one ensemble")
        if not all(0 <= tree < self.count for tree in self.trees):
            raise ValueError("a tree is named that is not there")
        asking = np.diff(self.first_tree)
        self.first_mask = np.concatenate([[0], np.cumsum((np.diff(self.first_threshold) + 2) * asking)])
        if self.first_mask[self.width] != self.masks.shape[0]:
            raise ValueError("there must be a mask per tree for each interval of an input's thresholds, and for NaN")

    def margins(self, x):
        """Raw margins float32[n] of rows float32[n, d]: each sum of leaves in float64, tree by tree, rounded once.

        Holds the GIL: a hundred rows take a fiftieth of the time after which another thread may ask for it.
        Raises ValueError for rows of another width or type.
        """
        cdef const float[:, ::1] rows = np.ascontiguousarray(x)
        if rows.shape[1] != self.width:
            raise ValueError(f"rows of {rows.shape[1]} inputs; the model has {self.width}")
        made = np.empty(rows.shape[0], dtype=np.float32)
        cdef float[::1] found = made
        cdef uint64_t* common = <uint64_t*>malloc((LANES + 1) * (self.count + 1) * sizeof(uint64_t))
        cdef Py_ssize_t* varying = <Py_ssize_t*>malloc((self.width + 1) * sizeof(Py_ssize_t))
        try:
            if common == NULL or varying == NULL:
                raise MemoryError
            if rows.shape[0] and self.width:
                self.answer(&rows[0, 0], &found[0], rows.shape[0], common, common + self.count, varying)
        finally:
            free(common)
            free(varying)
        return made

    cdef void answer(
        self, const float* x, float* found, Py_ssize_t rows, uint64_t* common, uint64_t* alive, Py_ssize_t* varying
    ) noexcept nogil:
        """The margins of at least one row.

        common    room for the leaves that are left by what all rows share, [t]
        alive     room for those that are left of the rows at hand, [t, lanes]
        varying   room for the places of the inputs that differ between rows, [d]
        """
        cdef Py_ssize_t tree, lane, block, left
        cdef Py_ssize_t count = self.keep_common(x, rows, common, varying)
        for block in range((rows + LANES - 1) // LANES):
            left = min(rows - block * LANES, <Py_ssize_t>LANES)
            for tree in range(self.count):
                for lane in range(LANES):
                    alive[tree * LANES + lane] = common[tree]
            self.keep_lanes(x + block * LANES * self.width, left, alive, varying, count)
            self.add_up(alive, found + block * LANES, left)

    cdef Py_ssize_t keep_common(
        self, const float* x, Py_ssize_t rows, uint64_t* common, Py_ssize_t* varying
    ) noexcept nogil:
        """Rule out leaves by the inputs that are the same in all rows; how many are not."""
        cdef const uint64_t* masks = NULL
        cdef const int32_t* trees
        cdef Py_ssize_t which, tree, each, count = 0
        for tree in range(self.count):
            common[tree] = ~<uint64_t>0
        for which in range(self.width):
            if self.asking(which) == 0:
                continue
            if not _same(x + which, rows, self.width):
                varying[count] = which
                count += 1
                continue
            self.find_masks(which, x, 1, 1, &masks)
            trees = &self.trees[self.first_tree[which]]
            for each in range(self.asking(which)):
                common[trees[each]] &= masks[each]
        return count

    cdef void keep_lanes(
        self, const float* x, Py_ssize_t rows, uint64_t* alive, Py_ssize_t* varying, Py_ssize_t count
    ) noexcept nogil:
        """Rule out leaves of a block of rows by the inputs that vary."""
        cdef const uint64_t *masks[LANES]
        cdef const int32_t* trees
        cdef Py_ssize_t number, which, each, lane
        cdef uint64_t* leaves
        for number in range(count):
            which = varying[number]
            self.find_masks(which, x, rows, LANES, masks)
            trees = &self.trees[self.first_tree[which]]
            for each in range(self.asking(which)):
                leaves = alive + trees[each] * <Py_ssize_t>LANES
                for lane in range(LANES):
                    leaves[lane] &= masks[lane][each]

    cdef void add_up(self, const uint64_t* alive, float* found, Py_ssize_t rows) noexcept nogil:
        """The margins of a block of rows, from the leaf that is left of each tree."""
        cdef double[LANES] sums
        cdef Py_ssize_t tree, lane
        cdef const double* leaves = &self.leaves[0]
        for lane in range(LANES):
            sums[lane] = 0.0
        for tree in range(self.count):
            for lane in range(LANES):
                # The highest bit keeps a mask without leaves, whose lowest bit nothing defines, within the table.
                sums[lane] += leaves[tree * LEAVES + __builtin_ctzll(alive[tree * LANES + lane] | <uint64_t>1 << 63)]
        for lane in range(rows):
            found[lane] = <float>sums[lane]

    cdef inline Py_ssize_t asking(self, Py_ssize_t which) noexcept nogil:
        """How many trees ask for an input."""
        return self.first_tree[which + 1] - self.first_tree[which]

    cdef inline void find_masks(
        self, Py_ssize_t which, const float* x, Py_ssize_t rows, Py_ssize_t lanes, const uint64_t** masks
    ) noexcept nogil:
        """For each lane the masks of its row's value, one per tree that asks; the last row fills the lanes behind it.

        Sums in place of branches, which real rows would take either way. NaN is above no threshold, and moved behind.
        """
        cdef float[LANES] value
        cdef Py_ssize_t[LANES] interval
        cdef const float* told = &self.thresholds[0] + self.first_threshold[which]
        cdef Py_ssize_t count = self.first_threshold[which + 1] - self.first_threshold[which]
        cdef Py_ssize_t left = count, half, lane
        for lane in range(lanes):
            value[lane] = x[min(lane, rows - 1) * self.width + which]
            interval[lane] = 0
        while left > 0:
            half = (left + 1) >> 1
            for lane in range(lanes):
                interval[lane] += half & -<Py_ssize_t>(told[interval[lane] + half - 1] < value[lane])
            left -= half
        for lane in range(lanes):
            interval[lane] += (count + 1) & -<Py_ssize_t>(value[lane] != value[lane])
            masks[lane] = &self.masks[0] + self.first_mask[which] + interval[lane] * self.asking(which)


cdef bint _same(const float* first, Py_ssize_t rows, Py_ssize_t width) noexcept nogil:
    """Whether an input is the same in all rows, NaN being the same as NaN."""
    cdef Py_ssize_t row
    for row in range(1, rows):
        if first[row * width] != first[0] and (first[0] == first[0] or first[row * width] == first[row * width]):
            return False
    return True


cdef _check_places(const int64_t[::1] first, Py_ssize_t last):
    """Raise ValueError unless the places rise from 0 to `last`."""
    if first.shape[0] < 2 or first[0] != 0 or first[first.shape[0] - 1] != last or (np.diff(first) < 0).any():
        raise ValueError("places must rise from the first to the last")
