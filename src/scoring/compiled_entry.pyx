# cython: language_level=3, boundscheck=True, wraparound=False
"""The bytes of an answer's journal entry, written without an object for each thing that was shown.

MessagePack (https://github.com/msgpack/msgpack/blob/master/spec.md) of the fields of `behavior.served.Served`, in their
order, those of a default value left out: what msgspec writes of the same entry, to the last byte.
"""

import sys

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.string cimport memcpy

from behavior.served import ITEM

cdef extern from *:
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

if sys.byteorder != "little":
    raise ImportError("doubles are turned round, and here they lie in memory as MessagePack has them")

ctypedef unsigned long long uint64


def write(answer, str key_id, bytes seal, packed):
    """The bytes of the entry; `packed` gives those of a structure within it."""
    cdef Forwards out = Forwards()
    ranked = answer.ranked
    cdef Py_ssize_t m = len(ranked.ids)
    out.named_text("request_id", answer.request_id)
    out.named_text("user_id", answer.user_id)
    out.named_number("as_of", answer.as_of)
    out.named_number("offset", answer.offset)
    out.named_number("s", answer.s)
    out.named_text("bundle_id", answer.bundle_id)
    out.named_number("learner_version", answer.learner_version)
    out.name("shown")
    write_shown(out, ranked, m)
    if answer.placement is not None:
        out.named_text("placement", answer.placement)
    if answer.calibration is not None:
        out.name("calibration")
        out.raw(packed(answer.calibration))
    if answer.persona:
        out.named_text("persona", answer.persona)
    if answer.basis is not None:
        out.name("basis")
        out.raw(packed(answer.basis))
    if m:
        write_factors(out, ranked, m)
    if m and ranked.kind == ITEM:
        out.named_texts("categories", ranked.categories)
    if answer.degraded:
        out.named_texts("degraded", [each.reason for each in answer.degraded])
    if answer.placements_id:
        out.named_text("placements_id", answer.placements_id)
    if is_moved(ranked.positions):
        out.name("relevance_positions")
        out.array(len(ranked.positions))
        for position in ranked.positions:
            out.number(position)
    if ranked.explored is not None:
        out.name("explored")
        out.raw(packed(ranked.explored))
    if key_id:
        out.named_text("key_id", key_id)
    if seal:
        out.name("seal")
        out.binary(seal)
    return out.whole()


cdef int write_shown(Forwards out, ranked, Py_ssize_t m) except -1:
    cdef str kind = ranked.kind
    cdef Py_ssize_t place
    ids, margins, residuals = ranked.ids, ranked.margins, ranked.residuals
    scores, vectors = ranked.scores, ranked.vectors
    out.array(m)
    for place in range(m):
        out.array(6)
        out.text(kind)
        out.text(ids[place])
        out.double(margins[place])
        out.double(residuals[place])
        out.double(scores[place])
        out.binary(vectors[place])
    return 0


cdef int write_factors(Forwards out, ranked, Py_ssize_t m) except -1:
    """The factors, their values row by row, and the propensities."""
    cdef list values = list(ranked.values)
    cdef Py_ssize_t place
    propensities = ranked.propensities
    if values:
        out.name("factors")
        out.array(len(values))
        for name, weight in ranked.factors:
            out.array(2)
            out.text(name)
            out.double(weight)
        out.name("values")
        out.binary_head(8 * m * len(values))
        for place in range(m):
            for column in values:
                out.little(column[place])
    out.name("propensities")
    out.binary_head(8 * m)
    for place in range(m):
        out.little(propensities[place])
    return 0


cdef bint is_moved(positions) except -1:
    """Whether any stands elsewhere than by score alone."""
    cdef Py_ssize_t place = 0
    for position in positions:
        place += 1
        if position != place:
            return True
    return False


cdef class Forwards:
    """A map of at most 65,535 entries, written from the first to the last."""

    cdef char* memory
    cdef Py_ssize_t size
    cdef Py_ssize_t used
    cdef unsigned int entries

    def __cinit__(self):
        self.size = 16384
        self.memory = <char*>PyMem_Malloc(self.size)
        if self.memory is NULL:
            raise MemoryError
        # Before them all stands how many they are, in two bytes.
        self.used = 3
        self.entries = 0

    def __dealloc__(self):
        PyMem_Free(self.memory)

    cdef bytes whole(self):
        self.memory[0] = <char>0xDE
        self.memory[1] = <char>(self.entries >> 8)
        self.memory[2] = <char>(self.entries & 0xFF)
        return PyBytes_FromStringAndSize(self.memory, self.used)

    cdef char* room(self, Py_ssize_t length) except NULL:
        """Room for so many bytes behind those that are written."""
        cdef char* memory
        cdef Py_ssize_t size = self.size
        if length > size - self.used:
            size += size + length
            memory = <char*>PyMem_Realloc(self.memory, size)
            if memory is NULL:
                raise MemoryError
            self.memory, self.size = memory, size
        self.used += length
        return self.memory + self.used - length

    cdef int big_endian(self, unsigned char what, uint64 number, int length) except -1:
        """What is said, then a number of so many bytes, the greatest first."""
        cdef char* at = self.room(1 + length)
        at[0] = <char>what
        while length:
            at[length] = <char>(number & 0xFF)
            number >>= 8
            length -= 1
        return 0

    cdef int name(self, str said) except -1:
        """The name of the next entry, whose value is written next."""
        self.entries += 1
        return self.text(said)

    cdef int named_text(self, str name, str said) except -1:
        self.name(name)
        return self.text(said)

    cdef int named_texts(self, str name, said) except -1:
        self.name(name)
        self.array(len(said))
        for each in said:
            self.text(each)
        return 0

    cdef int named_number(self, str name, long long number) except -1:
        self.name(name)
        return self.number(number)

    cdef int number(self, long long number) except -1:
        if -32 <= number < 0x80:
            self.room(1)[0] = <char>number
            return 0
        if number >= 0:
            if number < 0x100:
                return self.big_endian(0xCC, number, 1)
            if number < 0x10000:
                return self.big_endian(0xCD, number, 2)
            return self.big_endian(0xCE, number, 4) if number < 0x100000000 else self.big_endian(0xCF, number, 8)
        if number >= -0x80:
            return self.big_endian(0xD0, <uint64>number, 1)
        if number >= -0x8000:
            return self.big_endian(0xD1, <uint64>number, 2)
        if number >= -0x80000000LL:
            return self.big_endian(0xD2, <uint64>number, 4)
        return self.big_endian(0xD3, <uint64>number, 8)

    cdef int double(self, double number) except -1:
        cdef uint64 bits
        memcpy(&bits, &number, 8)
        return self.big_endian(0xCB, bits, 8)

    cdef int little(self, double number) except -1:
        """The eight bytes of a number as they lie in memory."""
        memcpy(self.room(8), &number, 8)
        return 0

    cdef int text(self, str said) except -1:
        cdef Py_ssize_t length = 0
        cdef const char* data = PyUnicode_AsUTF8AndSize(said, &length)
        if length < 32:
            self.room(1)[0] = <char>(0xA0 | length)
        else:
            self.head(0xD9, length)
        memcpy(self.room(length), data, length)
        return 0

    cdef int array(self, Py_ssize_t length) except -1:
        if length < 16:
            self.room(1)[0] = <char>(0x90 | length)
            return 0
        return self.big_endian(0xDC, length, 2) if length < 0x10000 else self.big_endian(0xDD, length, 4)

    cdef int binary(self, bytes data) except -1:
        self.binary_head(PyBytes_GET_SIZE(data))
        return self.raw(data)

    cdef int binary_head(self, Py_ssize_t length) except -1:
        return self.head(0xC4, length)

    cdef int head(self, unsigned char what, Py_ssize_t length) except -1:
        """How long a text or bytes are, in 1, 2 or 4 bytes; `what` is said of the first of these."""
        if length < 0x100:
            return self.big_endian(what, length, 1)
        return self.big_endian(what + 1, length, 2) if length < 0x10000 else self.big_endian(what + 2, length, 4)

    cdef int raw(self, bytes data) except -1:
        """Bytes that are MessagePack already, or what follows their head."""
        cdef Py_ssize_t length = PyBytes_GET_SIZE(data)
        memcpy(self.room(length), PyBytes_AS_STRING(data), length)
        return 0
