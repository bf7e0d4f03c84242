# cython: language_level=3, boundscheck=True, wraparound=False
"""The parts of Score's two messages that there are hundreds of, read and written without an object for each.

Both functions answer None for what is seldom said, or said otherwise than every client says it: the protobuf library
reads and writes that. Field numbers and types are the descriptors'.
"""

import sys

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memcpy, memmove

from google.protobuf.timestamp_pb2 import Timestamp

from behavior.event import SECOND_US
from behavior.served import ITEM
from scoring.v1 import scoring_pb2 as wire

cdef extern from *:
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

if sys.byteorder != "little":
    raise ImportError("doubles are copied as they lie in memory, and here that is not as they are sent")

ctypedef unsigned long long uint64

# Wire types: https://protobuf.dev/programming-guides/encoding
cdef enum:
    VARINT = 0
    I64 = 1
    LEN = 2
    I32 = 5


cdef unsigned char tag(message, str name) except 0:
    """What stands before a field: its number and wire type. All numbers here are below 16, so that it is one byte."""
    field = message.DESCRIPTOR.fields_by_name[name]
    wire_types = {field.TYPE_DOUBLE: I64, field.TYPE_MESSAGE: LEN, field.TYPE_STRING: LEN}
    return field.number << 3 | wire_types.get(field.type, VARINT)


cdef unsigned char REQUEST_CANDIDATES = tag(wire.ScoreRequest, "candidates")
cdef unsigned char CANDIDATE_KIND = tag(wire.Candidate, "kind")
cdef unsigned char CANDIDATE_ID = tag(wire.Candidate, "id")
cdef unsigned char CANDIDATE_CATEGORY = tag(wire.Candidate, "category")
cdef unsigned char RESPONSE_REQUEST_ID = tag(wire.ScoreResponse, "request_id")
cdef unsigned char RESPONSE_AS_OF = tag(wire.ScoreResponse, "as_of")
cdef unsigned char RESPONSE_BUNDLE_ID = tag(wire.ScoreResponse, "bundle_id")
cdef unsigned char RESPONSE_LEARNER_VERSION = tag(wire.ScoreResponse, "learner_version")
cdef unsigned char RESPONSE_SNAPSHOT_INSTANT = tag(wire.ScoreResponse, "snapshot_instant")
cdef unsigned char RESPONSE_RANKED = tag(wire.ScoreResponse, "ranked")
cdef unsigned char RESPONSE_DEGRADED = tag(wire.ScoreResponse, "degraded")
cdef unsigned char RESPONSE_PERSONA = tag(wire.ScoreResponse, "persona")
cdef unsigned char RESPONSE_CANDIDATES_FROM = tag(wire.ScoreResponse, "candidates_from")
cdef unsigned char RESPONSE_PLACEMENTS_ID = tag(wire.ScoreResponse, "placements_id")
cdef unsigned char RESPONSE_EXPLORATION = tag(wire.ScoreResponse, "exploration")
cdef unsigned char RANKED_POSITION = tag(wire.Ranked, "position")
cdef unsigned char RANKED_CANDIDATE = tag(wire.Ranked, "candidate")
cdef unsigned char RANKED_SCORE = tag(wire.Ranked, "score")
cdef unsigned char RANKED_FACTORS = tag(wire.Ranked, "factors")
cdef unsigned char RANKED_PROPENSITIES = tag(wire.Ranked, "propensities")
cdef unsigned char RANKED_MARKS = tag(wire.Ranked, "marks")
cdef unsigned char RANKED_RELEVANCE_POSITION = tag(wire.Ranked, "relevance_position")
cdef unsigned char RANKED_CHANCE = tag(wire.Ranked, "chance")
cdef unsigned char FACTOR_NAME = tag(wire.Factor, "name")
cdef unsigned char FACTOR_VALUE = tag(wire.Factor, "value")
cdef unsigned char FACTOR_WEIGHT = tag(wire.Factor, "weight")
cdef unsigned char FACTOR_CONTRIBUTION = tag(wire.Factor, "contribution")
cdef unsigned char PROPENSITY_TARGET = tag(wire.Propensity, "target")
cdef unsigned char PROPENSITY_VALUE = tag(wire.Propensity, "value")
cdef unsigned char PROPENSITY_CALIBRATED = tag(wire.Propensity, "calibrated")
cdef unsigned char EXPLORATION_POLICY = tag(wire.Exploration, "policy")
cdef unsigned char EXPLORATION_STRENGTH = tag(wire.Exploration, "strength")
cdef unsigned char EXPLORATION_IS_EXACT = tag(wire.Exploration, "is_exact")
cdef unsigned char DEGRADATION_REASON = tag(wire.Degradation, "reason")
cdef unsigned char DEGRADATION_DETAIL = tag(wire.Degradation, "detail")
cdef int KIND_ITEM = wire.CANDIDATE_KIND_ITEM
cdef int KIND_CATEGORY = wire.CANDIDATE_KIND_CATEGORY
cdef long long SECOND = SECOND_US
cdef unsigned char INSTANT_SECONDS = tag(Timestamp, "seconds")
cdef unsigned char INSTANT_NANOS = tag(Timestamp, "nanos")


# ------------------------------------------------------------------------------------------------------------- reading


cdef struct Span:
    # What is still to be read.
    const unsigned char* at
    const unsigned char* end


def split_candidates(bytes data):
    """The candidates of a ScoreRequest apart from its other fields: see `Split` in `scoring.wire`.

    None for bytes that are not written as protobuf libraries write them; whether they are a message is not decided
    here.
    """
    cdef Span left, candidate
    cdef const unsigned char* begin = <const unsigned char*>PyBytes_AS_STRING(data)
    cdef const unsigned char* field
    cdef unsigned char what
    cdef Py_ssize_t longest = 0
    cdef list others = [], kinds = [], ids = [], categories = []
    left.at, left.end = begin, begin + PyBytes_GET_SIZE(data)
    while left.at < left.end:
        field, what = left.at, left.at[0]
        left.at += 1
        if what == REQUEST_CANDIDATES:
            if not take(&left, &candidate) or not read_candidate(candidate, kinds, ids, categories, &longest):
                return None
        elif skip(&left, what):
            others.append(data[field - begin : left.at - begin])
        else:
            return None
    return b"".join(others), kinds, ids, categories, longest


cdef bint read_candidate(Span left, list kinds, list ids, list categories, Py_ssize_t* longest) except -1:
    """Append what one candidate says; False for what only the library reads."""
    cdef Span text
    cdef unsigned char what
    cdef int kind = 0
    cdef object thing = "", category = ""
    while left.at < left.end:
        what = left.at[0]
        left.at += 1
        if what == CANDIDATE_KIND:
            if left.at == left.end or left.at[0] >= 0x80:
                return False
            kind = left.at[0]
            left.at += 1
        elif what == CANDIDATE_ID or what == CANDIDATE_CATEGORY:
            if not take(&left, &text):
                return False
            longest[0] = max(longest[0], text.end - text.at)
            try:
                said = PyUnicode_DecodeUTF8(<const char*>text.at, text.end - text.at, NULL)
            except UnicodeDecodeError:
                return False
            if what == CANDIDATE_ID:
                thing = said
            else:
                category = said
        else:
            return False
    kinds.append(kind)
    ids.append(thing)
    categories.append(category)
    return True


cdef bint take(Span* left, Span* taken) noexcept:
    """What stands behind its length; False if there is less, or the length has more than three bytes."""
    cdef Py_ssize_t length = 0
    cdef int shift = 0
    cdef unsigned char byte
    while True:
        if left.at == left.end or shift > 14:
            return False
        byte = left.at[0]
        left.at += 1
        length |= <Py_ssize_t>(byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    if length > left.end - left.at:
        return False
    taken.at, taken.end = left.at, left.at + length
    left.at = taken.end
    return True


cdef bint skip(Span* left, unsigned char what) noexcept:
    """Go on behind the value of a field; False if it is not whole, or of a field that has a number above 15."""
    cdef Span passed
    cdef Py_ssize_t length
    if what >= 0x80 or what < 0x08:
        return False
    if what & 7 == LEN:
        return take(left, &passed)
    if what & 7 == VARINT:
        length = 1
        while left.end - left.at >= length and left.at[length - 1] >= 0x80:
            length += 1
        if length > 10:
            return False
    elif what & 7 == I64 or what & 7 == I32:
        length = 8 if what & 7 == I64 else 4
    else:
        return False
    if length > left.end - left.at:
        return False
    left.at += length
    return True


# ------------------------------------------------------------------------------------------------------------- writing


def write(answer):
    """The bytes of a ScoreResponse as the library serialises it; None of one with features, which few ask for."""
    if answer.ranked.features:
        return None
    out = Backwards()
    if answer.ranked.explored is not None:
        write_exploration(out, answer.ranked.explored)
    out.text(RESPONSE_PLACEMENTS_ID, answer.placements_id)
    for source in answer.candidates_from[::-1]:
        out.repeated_text(RESPONSE_CANDIDATES_FROM, source)
    out.text(RESPONSE_PERSONA, answer.persona)
    for reason, detail in answer.degraded[::-1]:
        write_degradation(out, reason, detail)
    write_ranking(out, answer.ranked, answer.target, answer.calibrated)
    write_instant(out, RESPONSE_SNAPSHOT_INSTANT, answer.s)
    out.number(RESPONSE_LEARNER_VERSION, answer.learner_version)
    out.text(RESPONSE_BUNDLE_ID, answer.bundle_id)
    write_instant(out, RESPONSE_AS_OF, answer.as_of)
    out.text(RESPONSE_REQUEST_ID, answer.request_id)
    return out.whole()


cdef int write_ranking(Backwards out, ranking, str target, bint calibrated) except -1:
    cdef list values = list(ranking.values), contributions = list(ranking.contributions)
    cdef list names = [name for name, _ in ranking.factors]
    cdef list weights = [weight for _, weight in ranking.factors]
    cdef bint is_item = ranking.kind == ITEM
    cdef int kind = KIND_ITEM if is_item else KIND_CATEGORY
    cdef Py_ssize_t place, number, end, inner
    ids, categories, marks, positions = ranking.ids, ranking.categories, ranking.marks, ranking.positions
    scores, propensities, chances = ranking.scores, ranking.propensities, ranking.chances
    cdef bint is_drawn = len(chances) > 0
    for place in range(len(ids) - 1, -1, -1):
        end = out.written()
        if is_drawn:
            out.double(RANKED_CHANCE, chances[place])
        out.number(RANKED_RELEVANCE_POSITION, positions[place])
        for mark in marks[place][::-1]:
            out.repeated_text(RANKED_MARKS, mark)
        inner = out.written()
        out.number(PROPENSITY_CALIBRATED, calibrated)
        out.double(PROPENSITY_VALUE, propensities[place])
        out.text(PROPENSITY_TARGET, target)
        out.nest(RANKED_PROPENSITIES, inner)
        for number in range(len(names) - 1, -1, -1):
            inner = out.written()
            out.double(FACTOR_CONTRIBUTION, contributions[number][place])
            out.double(FACTOR_WEIGHT, weights[number])
            out.double(FACTOR_VALUE, values[number][place])
            out.text(FACTOR_NAME, names[number])
            out.nest(RANKED_FACTORS, inner)
        out.double(RANKED_SCORE, scores[place])
        inner = out.written()
        if is_item:
            out.text(CANDIDATE_CATEGORY, categories[place])
        out.text(CANDIDATE_ID, ids[place])
        out.number(CANDIDATE_KIND, kind)
        out.nest(RANKED_CANDIDATE, inner)
        out.number(RANKED_POSITION, place + 1)
        out.nest(RESPONSE_RANKED, end)
    return 0


cdef int write_exploration(Backwards out, explored) except -1:
    cdef Py_ssize_t end = out.written()
    out.number(EXPLORATION_IS_EXACT, explored.is_exact)
    out.double(EXPLORATION_STRENGTH, explored.strength)
    out.text(EXPLORATION_POLICY, explored.policy)
    return out.nest(RESPONSE_EXPLORATION, end)


cdef int write_degradation(Backwards out, str reason, str detail) except -1:
    cdef Py_ssize_t end = out.written()
    out.text(DEGRADATION_DETAIL, detail)
    out.text(DEGRADATION_REASON, reason)
    return out.nest(RESPONSE_DEGRADED, end)


cdef int write_instant(Backwards out, unsigned char what, long long us) except -1:
    cdef Py_ssize_t end = out.written()
    out.number(INSTANT_NANOS, us % SECOND * 1000)
    out.number(INSTANT_SECONDS, us // SECOND)
    return out.nest(what, end)


cdef class Backwards:
    """A message written from its last field to its first, so that how long a nested one is is known when it is said.

    Numbers of 0 and empty texts are left out, unless they are repeated ones.
    """

    cdef char* memory
    cdef Py_ssize_t size
    cdef Py_ssize_t free

    def __cinit__(self):
        self.size = self.free = 4096
        self.memory = <char*>PyMem_Malloc(self.size)
        if self.memory is NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self.memory)

    cdef Py_ssize_t written(self) noexcept:
        return self.size - self.free

    cdef bytes whole(self):
        return PyBytes_FromStringAndSize(self.memory + self.free, self.written())

    cdef char* before(self, Py_ssize_t length) except NULL:
        """Room for so many bytes before those that are written."""
        cdef Py_ssize_t more
        cdef char* memory
        if length > self.free:
            more = self.size + length
            memory = <char*>PyMem_Realloc(self.memory, self.size + more)
            if memory is NULL:
                raise MemoryError
            memmove(memory + self.free + more, memory + self.free, self.written())
            self.memory = memory
            self.size += more
            self.free += more
        self.free -= length
        return self.memory + self.free

    cdef int varint(self, uint64 number) except -1:
        cdef unsigned char digits[10]
        cdef int length = 0
        while number >= 0x80:
            digits[length] = <unsigned char>(number & 0x7F) | 0x80
            number >>= 7
            length += 1
        digits[length] = <unsigned char>number
        memcpy(self.before(length + 1), digits, length + 1)
        return 0

    cdef int number(self, unsigned char what, long long number) except -1:
        if number:
            self.varint(<uint64>number)
            self.varint(what)
        return 0

    cdef int double(self, unsigned char what, double number) except -1:
        cdef uint64 bits
        memcpy(&bits, &number, 8)
        if bits:
            memcpy(self.before(8), &bits, 8)
            self.varint(what)
        return 0

    cdef int text(self, unsigned char what, str said) except -1:
        return self.repeated_text(what, said) if said else 0

    cdef int repeated_text(self, unsigned char what, str said) except -1:
        cdef Py_ssize_t length = 0
        cdef const char* data = PyUnicode_AsUTF8AndSize(said, &length)
        memcpy(self.before(length), data, length)
        self.varint(<uint64>length)
        return self.varint(what)

    cdef int nest(self, unsigned char what, Py_ssize_t end) except -1:
        """Make what was written since `end` a field of what is written now."""
        self.varint(<uint64>(self.written() - end))
        return self.varint(what)
