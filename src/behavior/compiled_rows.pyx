# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Rows of candidates looked up and laid out; the same as `numpy_rows` and `finals`, see there."""

import numpy as np

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.math cimport NAN
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

from behavior.event import SECOND_US as _SECOND_US
from behavior.programs import Finish
from behavior.snapshot_rows import ABSENT as _ABSENT

cdef int64_t ABSENT = _ABSENT
cdef double SECOND_US = _SECOND_US
cdef int64_t SAME = Finish.SAME
cdef int64_t FLAG = Finish.FLAG
cdef int64_t AGE = Finish.AGE
cdef int64_t MEAN = Finish.MEAN
cdef int64_t RATE = Finish.RATE
cdef float MISSING = NAN


def places_in(index, names):
    """As `numpy_rows.places_in`."""
    cdef dict known = index if type(index) is dict else dict(index)
    cdef Py_ssize_t unknown = len(known), row = 0
    found = np.empty(len(names), dtype=np.intp)
    cdef Py_ssize_t[::1] places = found
    for name in names:
        place = known.get(name)
        places[row] = unknown if place is None else place
        row += 1
    return found


def stored_of(fields, bytes letter, categories):
    """As `numpy_rows.stored_of`."""
    cdef dict known = fields if type(fields) is dict else dict(fields)
    cdef list stored = []
    cdef Py_ssize_t row = 0
    found = np.empty(len(categories), dtype=np.intp)
    cdef Py_ssize_t[::1] rows = found
    for category in categories:
        data = known.get(field_of(letter, category))
        rows[row] = -1 if data is None else len(stored)
        if data is not None:
            stored.append(data)
        row += 1
    for row in range(rows.shape[0]):
        if rows[row] < 0:
            rows[row] = len(stored)
    return stored, found


cdef bytes field_of(bytes letter, str category):
    """The letter and the category in UTF-8."""
    cdef Py_ssize_t before = PyBytes_GET_SIZE(letter), size
    cdef const char *text = PyUnicode_AsUTF8AndSize(category, &size)
    cdef bytes field = PyBytes_FromStringAndSize(NULL, before + size)
    memcpy(PyBytes_AS_STRING(field), PyBytes_AS_STRING(letter), before)
    memcpy(PyBytes_AS_STRING(field) + before, text, size)
    return field


def write_codes(float[:, ::1] rows, Py_ssize_t place, texts, vocabulary):
    """As `numpy_rows.write_codes`."""
    if rows.shape[0] == 0:
        return
    cdef dict codes = vocabulary if type(vocabulary) is dict else dict(vocabulary)
    cdef Py_ssize_t row = 0
    check_place(rows, place, len(texts))
    for text in texts:
        code = codes.get(text)
        rows[row, place] = MISSING if code is None else <float><double>code
        row += 1
    for row in range(row, rows.shape[0]):  # one that stands for all
        rows[row, place] = rows[0, place]


def write_gathered(
    float[:, ::1] rows, const Py_ssize_t[::1] places, const float[:, ::1] laid_out, const Py_ssize_t[::1] of,
):
    """As `numpy_rows.write_gathered`."""
    cdef Py_ssize_t row, column, source
    cdef bint is_shared = of.shape[0] == 1
    if rows.shape[0] == 0:
        return
    check_places(rows, places, of.shape[0], laid_out.shape[1])
    for row in range(rows.shape[0]):
        source = of[0 if is_shared else row]
        check_row(source, laid_out.shape[0])
        for column in range(places.shape[0]):
            rows[row, places[column]] = laid_out[source, column]


def write_finals(
    float[:, ::1] rows, const Py_ssize_t[::1] places, const int64_t[::1] finishes, const int64_t[:, ::1] matrix,
    const Py_ssize_t[::1] of, int64_t at, int64_t retention_us,
):
    """The final values of features, made as `programs.finishes_of` says from rows of raw values, in their places.

    rows      float32[n, d], of which the columns `places` are written; NaN for what is not there
    matrix    int64[m, 1 + c], see `snapshot_rows`
    of        intp[n], the row of the matrix that each candidate has; None for the first, which stands for all
    at        the instant that the view is read at
    """
    cdef Py_ssize_t row, column
    if rows.shape[0] == 0:
        return
    check_places(rows, places, 1 if of is None else of.shape[0], places.shape[0])
    if of is not None:
        for row in range(rows.shape[0]):
            check_row(of[row], matrix.shape[0])
            write_one(&rows[row, 0], places, finishes, &matrix[of[row], 0], at, retention_us)
        return
    check_row(0, matrix.shape[0])
    write_one(&rows[0, 0], places, finishes, &matrix[0, 0], at, retention_us)
    for row in range(1, rows.shape[0]):
        for column in range(places.shape[0]):
            rows[row, places[column]] = rows[0, places[column]]


cdef int check_row(Py_ssize_t row, Py_ssize_t n) except -1:
    if row < 0 or row >= n:
        raise IndexError(f"there is no row {row} of {n}")
    return 0


cdef int check_place(float[:, ::1] rows, Py_ssize_t place, Py_ssize_t n) except -1:
    """Whether n values, or one that stands for all, can be written into a column."""
    check_row(place, rows.shape[1])
    if n != rows.shape[0] and n != 1:
        raise ValueError(f"{n} values cannot fill {rows.shape[0]} rows")
    return 0


cdef int check_places(float[:, ::1] rows, const Py_ssize_t[::1] places, Py_ssize_t n, Py_ssize_t columns) except -1:
    cdef Py_ssize_t column
    if columns != places.shape[0]:
        raise ValueError(f"{columns} columns cannot fill {places.shape[0]} places")
    for column in range(columns):
        check_place(rows, places[column], n)
    return 0


cdef void write_one(
    float *out, const Py_ssize_t[::1] places, const int64_t[::1] finishes, const int64_t *raw, int64_t at,
    int64_t retention_us,
) noexcept:
    """One candidate's values."""
    cdef bint is_there = raw[0] != ABSENT and difference(at, raw[0]) < retention_us
    cdef Py_ssize_t column, start = 0
    for column in range(places.shape[0]):
        out[places[column]] = final(raw, &finishes[start], at) if is_there else MISSING
        start += 2 + finishes[start + 1]


cdef float final(const int64_t *raw, const int64_t *finish, int64_t at) noexcept:
    """One value, as the kinds' `finalise` has it: in float64, then one cast; whole numbers in one cast."""
    cdef int64_t first = raw[finish[2]]
    if finish[0] == MEAN:
        return mean(first, raw[finish[3]])
    if first == ABSENT:
        return MISSING
    if finish[0] == SAME:
        return <float>first
    if finish[0] == FLAG:
        return first != 0
    if finish[0] == AGE:
        return <float>(<double>difference(at, first) / SECOND_US)
    if finish[0] == RATE:
        return <float>(<double>total(first, finish[4]) / <double>total(raw[finish[3]], finish[5]))
    return <float>weighted(raw, finish + 2, finish[1])


cdef float mean(int64_t summed, int64_t number) noexcept:
    return MISSING if number == ABSENT or number == 0 else <float>(<double>summed / <double>number)


cdef int64_t weighted(const int64_t *raw, const int64_t *terms, int64_t count) noexcept:
    """Raw values times their weights, in turn."""
    cdef uint64_t summed = 0
    cdef int64_t at
    for at in range(0, count, 2):
        summed += <uint64_t>raw[terms[at]] * <uint64_t>terms[at + 1]
    return <int64_t>summed


cdef inline int64_t total(int64_t left, int64_t right) noexcept:
    return <int64_t>(<uint64_t>left + <uint64_t>right)


cdef inline int64_t difference(int64_t left, int64_t right) noexcept:
    return <int64_t>(<uint64_t>left - <uint64_t>right)
