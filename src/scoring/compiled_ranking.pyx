# cython: language_level=3, boundscheck=True, wraparound=False
"""What a ranking needs of the arrays of all candidates, without a call of numpy for each: see `scoring.ranking`."""

import sys

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.math cimport exp, fabs

if sys.byteorder != "little":
    raise ImportError("rows are copied as they lie in memory, and here that is not as the journal keeps them")

# So many are chosen one by one; where more are asked for, sorting all is faster.
cdef enum:
    FEW = 32


def few(const double[:] scores, ids, Py_ssize_t top_k):
    """As `rank`, of 1 to FEW candidates; None of more, and of scores that have no order."""
    cdef Py_ssize_t best[FEW]
    cdef Py_ssize_t count = 0, place, at
    cdef double score
    if not 1 <= top_k <= FEW:
        return None
    for place in range(scores.shape[0]):
        score = scores[place]
        if score != score:
            return None
        at = count
        while at > 0 and precedes(scores, ids, place, best[at - 1]):
            at -= 1
        if at == top_k:
            continue
        count += count < top_k
        insert(best, count, at, place)
    return [best[at] for at in range(count)]


cdef bint precedes(const double[:] scores, ids, Py_ssize_t one, Py_ssize_t other) except -1:
    if scores[one] != scores[other]:
        return scores[one] > scores[other]
    return ids[one] < ids[other]


cdef void insert(Py_ssize_t* best, Py_ssize_t count, Py_ssize_t at, Py_ssize_t place) noexcept:
    """Put the place at `at` of `count`; those behind it move on, and the last one falls out."""
    cdef Py_ssize_t last
    for last in range(count - 1, at, -1):
        best[last] = best[last - 1]
    best[at] = place


def picked(columns, places):
    """The numbers of columns float64[n] or float32[n] at the places, a list for each; one for a column that recurs."""
    cdef list taken = list(columns), found = []
    cdef Py_ssize_t number, before
    for number in range(len(taken)):
        for before in range(number):
            if taken[before] is taken[number]:
                found.append(found[before])
                break
        else:
            found.append(numbers_at(taken[number], places))
    return found


cdef list numbers_at(column, places):
    cdef const double[:] wide
    cdef const float[:] narrow
    cdef Py_ssize_t place
    if column.itemsize == 8:
        wide = column
        return [wide[place] for place in places]
    narrow = column
    return [<double>narrow[place] for place in places]


def propensities_of(margins):
    """As `propensity_of`, of each of a list: the same steps, and the C library's exponential as Python calls it."""
    cdef list found = []
    cdef double margin, tail
    for margin in margins:
        tail = exp(-fabs(margin))
        found.append((1.0 if margin >= 0 else tail) / (1.0 + tail))
    return found


def rows_at(const float[:, :] matrix, places):
    """The rows of a float32[n, d] at the places, each as its little-endian bytes."""
    cdef list found = []
    cdef Py_ssize_t place, column
    cdef bytes row
    cdef float* cells
    for place in places:
        row = PyBytes_FromStringAndSize(NULL, 4 * matrix.shape[1])
        cells = <float*>PyBytes_AS_STRING(row)
        for column in range(matrix.shape[1]):
            cells[column] = matrix[place, column]
        found.append(row)
    return found
