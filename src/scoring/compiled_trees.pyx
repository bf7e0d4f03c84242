# cython: boundscheck=False, wraparound=False, cdivision=True
"""The margins of many rows by masks of leaves, in one pass over the trees; see `scoring.trees` for what a mask is.

What the arrays say of each other is checked once, when they are taken over: no row can lead out of them.
"""

import numpy as np

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

cdef extern from *:
    int __builtin_ctzll(unsigned long long) noexcept nogil

cdef enum:
    # So many rows are answered side by side: their searches take the same steps, and their sums do not wait for each
    # other.
    LANES = 8
    LEAVES = 64  # bits of a mask
    SET = 64  # so many inputs can be a set of bits


cdef struct Room:
    # Where an answer is worked out, of t trees, d inputs and n rows.
    uint64_t* common  # t, the leaves that are left by what all rows share
    uint64_t* usual  # t, those that are left by what the usual rows share
    uint64_t* alive  # t × lanes, those that are left of the rows at hand
    uint64_t* agrees  # n, the set of the varying inputs that have their usual value
    uint32_t* varies  # d, 0 for the inputs that are the same in all rows
    Py_ssize_t* varying  # d, the inputs that differ between rows
    Py_ssize_t* rest  # d, those of them that differ between usual rows
    Py_ssize_t* order  # n, the rows, usual ones first


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
        cdef Room room
        cdef Py_ssize_t n = rows.shape[0]
        room.common = <uint64_t*>malloc(((LANES + 2) * (self.count + 1) + n) * sizeof(uint64_t))
        room.varying = <Py_ssize_t*>malloc((3 * (self.width + 1) + n) * sizeof(Py_ssize_t))
        try:
            if room.common == NULL or room.varying == NULL:
                raise MemoryError
            room.usual = room.common + self.count
            room.alive = room.usual + self.count
            room.agrees = room.alive + LANES * self.count
            room.rest = room.varying + self.width
            room.order = room.rest + self.width
            room.varies = <uint32_t*>(room.order + n)
            if n and self.width:
                self.answer(&rows[0, 0], &found[0], n, &room)
        finally:
            free(room.common)
            free(room.varying)
        return made

    cdef void answer(self, const float* x, float* found, Py_ssize_t rows, Room* room) noexcept nogil:
        """The margins of at least one row: first of those that are usual, then of the others."""
        cdef Py_ssize_t count = self.keep_common(x, rows, room)
        cdef uint64_t shared = self.find_usual(x, rows, room, count)
        cdef Py_ssize_t usual = self.put_in_order(rows, room, shared)
        cdef Py_ssize_t rest = self.keep_usual(x, room, count, shared)
        self.answer_alike(x, found, room.order, usual, room.usual, room.alive, room.rest, rest)
        self.answer_alike(x, found, room.order + usual, rows - usual, room.common, room.alive, room.varying, count)

    cdef void answer_alike(
        self, const float* x, float* found, const Py_ssize_t* order, Py_ssize_t rows, const uint64_t* kept,
        uint64_t* alive, const Py_ssize_t* varying, Py_ssize_t count
    ) noexcept nogil:
        """The margins of the rows of `order`, which are left the leaves `kept` and told apart by `count` inputs."""
        cdef Py_ssize_t tree, lane, block, left
        for block in range((rows + LANES - 1) // LANES):
            left = min(rows - block * LANES, <Py_ssize_t>LANES)
            for tree in range(self.count):
                for lane in range(LANES):
                    alive[tree * LANES + lane] = kept[tree]
            self.keep_lanes(x, order + block * LANES, left, alive, varying, count)
            self.add_up(alive, found, order + block * LANES, left)

    cdef Py_ssize_t keep_common(self, const float* x, Py_ssize_t rows, Room* room) noexcept nogil:
        """Rule out leaves by the inputs that are the same in all rows; how many are not."""
        cdef Py_ssize_t which, tree, count = 0, first = 0
        _note_varying(<const uint32_t*>x, rows, self.width, room.varies)
        for tree in range(self.count):
            room.common[tree] = ~<uint64_t>0
        for which in range(self.width):
            if self.asking(which) == 0:
                continue
            if not room.varies[which]:
                self.keep_one(which, x, &first, room.common)
            else:
                room.varying[count] = which
                count += 1
        return count

    cdef uint64_t find_usual(self, const float* x, Py_ssize_t rows, Room* room, Py_ssize_t count) noexcept nogil:
        """The set of varying inputs that it saves most to look up once, for the rows in which all have their usual
        value: a user has been in a few of the candidates' categories, and the others are alike in all about the pair.

        Usual is what a row has in which as much is missing as in most. Of each input the rows with its usual value are
        tried, and what else they share. `room.agrees` is left with the set of the inputs that are usual, of each row.
        """
        cdef Py_ssize_t row, nth, sharing, saved, most = 0
        cdef Py_ssize_t[SET] asking
        cdef uint64_t agrees, shared, best = 0
        count = min(count, <Py_ssize_t>SET)
        _note_agreeing(<const uint32_t*>x, _usual(x, rows, self.width), rows, self.width, room, count)
        for nth in range(count):
            asking[nth] = self.asking(room.varying[nth])
        for nth in range(count):
            shared, sharing = ~<uint64_t>0, 0
            for row in range(rows):
                agrees = room.agrees[row] >> nth & 1
                shared &= room.agrees[row] | (agrees - 1)
                sharing += agrees
            saved = (sharing - 1) * _weight(shared, asking, count)
            if saved > most:
                most, best = saved, shared
        return best

    cdef Py_ssize_t put_in_order(self, Py_ssize_t rows, Room* room, uint64_t shared) noexcept nogil:
        """Put the rows in which the shared inputs are usual before the others; how many they are."""
        cdef Py_ssize_t row, usual = 0, last = rows
        for row in range(rows):
            if shared and room.agrees[row] & shared == shared:
                room.order[usual] = row
                usual += 1
            else:
                last -= 1
                room.order[last] = row
        return usual

    cdef Py_ssize_t keep_usual(self, const float* x, Room* room, Py_ssize_t count, uint64_t shared) noexcept nogil:
        """Rule out leaves by the usual values of the shared inputs too; how many varying inputs are not shared."""
        cdef Py_ssize_t tree, nth, rest = 0
        for tree in range(self.count):
            room.usual[tree] = room.common[tree]
        for nth in range(count):
            if nth < SET and shared >> nth & 1:
                self.keep_one(room.varying[nth], x, room.order, room.usual)
            else:
                room.rest[rest] = room.varying[nth]
                rest += 1
        return rest

    cdef void keep_one(self, Py_ssize_t which, const float* x, const Py_ssize_t* row, uint64_t* kept) noexcept nogil:
        """Rule out leaves of each tree by one input of one row."""
        cdef const uint64_t* masks = NULL
        cdef const int32_t* trees = &self.trees[self.first_tree[which]]
        cdef Py_ssize_t each
        self.find_masks(which, x, row, 1, 1, &masks)
        for each in range(self.asking(which)):
            kept[trees[each]] &= masks[each]

    cdef void keep_lanes(
        self, const float* x, const Py_ssize_t* order, Py_ssize_t rows, uint64_t* alive, const Py_ssize_t* varying,
        Py_ssize_t count
    ) noexcept nogil:
        """Rule out leaves of a block of rows by the inputs that vary."""
        cdef const uint64_t *masks[LANES]
        cdef const int32_t* trees
        cdef Py_ssize_t number, which, each, lane
        cdef uint64_t* leaves
        for number in range(count):
            which = varying[number]
            self.find_masks(which, x, order, rows, LANES, masks)
            trees = &self.trees[self.first_tree[which]]
            for each in range(self.asking(which)):
                leaves = alive + trees[each] * <Py_ssize_t>LANES
                for lane in range(LANES):
                    leaves[lane] &= masks[lane][each]

    cdef void add_up(
        self, const uint64_t* alive, float* found, const Py_ssize_t* order, Py_ssize_t rows
    ) noexcept nogil:
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
            found[order[lane]] = <float>sums[lane]

    cdef inline Py_ssize_t asking(self, Py_ssize_t which) noexcept nogil:
        """How many trees ask for an input."""
        return self.first_tree[which + 1] - self.first_tree[which]

    cdef inline void find_masks(
        self, Py_ssize_t which, const float* x, const Py_ssize_t* order, Py_ssize_t rows, Py_ssize_t lanes,
        const uint64_t** masks
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
            value[lane] = x[order[min(lane, rows - 1)] * self.width + which]
            interval[lane] = 0
        while left > 0:
            half = (left + 1) >> 1
            for lane in range(lanes):
                interval[lane] += half & -<Py_ssize_t>(told[interval[lane] + half - 1] < value[lane])
            left -= half
        for lane in range(lanes):
            interval[lane] += (count + 1) & -<Py_ssize_t>(value[lane] != value[lane])
            masks[lane] = &self.masks[0] + self.first_mask[which] + interval[lane] * self.asking(which)


cdef void _note_varying(const uint32_t* x, Py_ssize_t rows, Py_ssize_t width, uint32_t* varies) noexcept nogil:
    """Note for each input whether its bits are the same in all rows: 0 if so. Zeros of two signs count as different."""
    cdef Py_ssize_t row, which
    for which in range(width):
        varies[which] = 0
    for row in range(1, rows):
        for which in range(width):
            varies[which] |= x[row * width + which] ^ x[which]


cdef Py_ssize_t _usual(const float* x, Py_ssize_t rows, Py_ssize_t width) noexcept nogil:
    """A row in which as many inputs are missing as in more than half of the rows; any, if there is none.

    After Boyer and Moore, MJRTY (1991): numbers that differ cancel each other out, and the one that most have is left.
    """
    cdef Py_ssize_t row, which, usual = 0, ahead = 0
    cdef int missing, usually = 0
    for row in range(rows):
        missing = 0
        for which in range(width):
            missing += x[row * width + which] != x[row * width + which]
        if ahead == 0:
            usual, usually = row, missing
        ahead += 1 if missing == usually else -1
    return usual


cdef void _note_agreeing(
    const uint32_t* x, Py_ssize_t usual, Py_ssize_t rows, Py_ssize_t width, Room* room, Py_ssize_t count
) noexcept nogil:
    """Note which varying inputs of each row have the same bits as in the usual one."""
    cdef Py_ssize_t row, nth
    cdef uint64_t agrees
    for row in range(rows):
        agrees = 0
        for nth in range(count):
            agrees |= <uint64_t>(x[row * width + room.varying[nth]] == x[usual * width + room.varying[nth]]) << nth
        room.agrees[row] = agrees


cdef Py_ssize_t _weight(uint64_t chosen, const Py_ssize_t* asking, Py_ssize_t count) noexcept nogil:
    """How many trees ask for the chosen inputs, each counted for every input that it asks for."""
    cdef Py_ssize_t nth, weight = 0
    for nth in range(count):
        if chosen >> nth & 1:
            weight += asking[nth]
    return weight


cdef _check_places(const int64_t[::1] first, Py_ssize_t last):
    """Raise ValueError unless the places rise from 0 to `last`."""
    if first.shape[0] < 2 or first[0] != 0 or first[first.shape[0] - 1] != last or (np.diff(first) < 0).any():
        raise ValueError("places must rise from the first to the last")
