# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Many stored states at once, in one pass over their bytes; the same as `readout` does in numpy, see there.

Stored bytes are not trusted: whatever they are, nothing is read outside of them, and what cannot be a state is a
ValueError. Sums wrap around as numpy's do, so they are made of unsigned numbers.
"""

import numpy as np

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t, uint64_t

from behavior.programs import Take
from behavior.ragged import NEVER as _NEVER
from behavior.snapshot_rows import ABSENT as _ABSENT

cdef int64_t ABSENT = _ABSENT
cdef int64_t NEVER = _NEVER
cdef int64_t SUM = Take.SUM
cdef int64_t BUCKETS = Take.BUCKETS
cdef int64_t TIME = Take.TIME
cdef int64_t NUMBER = Take.NUMBER
cdef int64_t TEXT = Take.TEXT
cdef int64_t DISTINCT = Take.DISTINCT
# Of the first byte of a state, see `state`.
cdef enum:
    FORMAT = 2
    NO_TEXTS = 0x80
cdef int64_t[3] UNITS = [1, 1_000, 1_000_000]


cdef struct Reader:
    # What is left of a state's numbers; `zeros` may follow that were not written.
    const uint8_t *at
    const uint8_t *end
    Py_ssize_t zeros


cdef struct State:
    # One state while its slots are taken: `row` and `leave` are where its values go, `texts` how many were passed, of
    # which an event has `texts_each`, and `texts_at` where they begin.
    Reader numbers
    int64_t seen_e
    int64_t unit
    int64_t t
    int64_t *row
    int64_t *leave
    Py_ssize_t texts
    Py_ssize_t texts_each
    Py_ssize_t texts_at


cdef struct Slot:
    # One slot of the program: `count` columns of three numbers each.
    int64_t hop_us
    int64_t count
    const int64_t *columns


cdef int64_t next_number(Reader *numbers) except? -1:
    """The next zigzag LEB128 number."""
    cdef uint64_t found = 0
    cdef uint8_t byte = 0x80
    cdef int shift = 0
    if numbers.at == numbers.end:
        if numbers.zeros == 0:
            raise ValueError("ends too early")
        numbers.zeros -= 1
        return 0
    while byte & 0x80:
        if numbers.at == numbers.end:
            raise ValueError("ends within a number")
        byte = numbers.at[0]
        numbers.at += 1
        if shift == 63 and byte > 1:
            raise ValueError("has a number that is too large")
        found |= <uint64_t>(byte & 0x7F) << shift
        shift += 7
    return <int64_t>((found >> 1) ^ (~(found & 1) + 1))


cdef int64_t next_length(Reader *numbers) except -1:
    """The next number, which counts something."""
    cdef int64_t length = next_number(numbers)
    if length < 0:
        raise ValueError("has a negative length")
    return length


cdef inline int64_t total(int64_t left, int64_t right) noexcept:
    return <int64_t>(<uint64_t>left + <uint64_t>right)


cdef inline int64_t difference(int64_t left, int64_t right) noexcept:
    return <int64_t>(<uint64_t>left - <uint64_t>right)


cdef inline int64_t product(int64_t left, int64_t right) noexcept:
    return <int64_t>(<uint64_t>left * <uint64_t>right)


cdef inline int64_t floored(int64_t time, int64_t hop) noexcept:
    """The hop that a time is in, also before 1970."""
    cdef int64_t quotient = time / hop
    return quotient - (quotient * hop > time)


cdef inline void note(State *state, const Slot *slot, int64_t hop, int64_t now, int64_t amount) noexcept:
    """Add an amount of a hop into the windows that hold it, and when it leaves the first of these."""
    cdef int64_t n, length
    cdef int64_t *cell
    for n in range(slot.count):
        length = slot.columns[3 * n + 1]
        if difference(hop, now) > -length:
            cell = state.row + slot.columns[3 * n]
            cell[0] = total(cell[0], 1 if slot.columns[3 * n + 2] else amount)
            state.leave[0] = min(state.leave[0], product(total(hop, length), slot.hop_us))


cdef int take_hops(State *state, const Slot *slot, int64_t head, bint has_amounts) except -1:
    """Windows over a run of hops; see `Cursor.in_windows` for the head."""
    cdef int64_t hop = floored(state.seen_e, slot.hop_us), now = floored(state.t, slot.hop_us)
    cdef int64_t nth, amount
    put(state, slot, 0)
    for nth in range(max(head >> 1, head & 1)):
        if nth or not head & 1:
            hop = difference(hop, next_number(&state.numbers))
        amount = next_number(&state.numbers) if has_amounts and head != 1 else 1
        note(state, slot, hop, now, amount)
    return 0


cdef inline void put(State *state, const Slot *slot, int64_t value) noexcept:
    """One value in all columns that a slot answers."""
    cdef int64_t n
    for n in range(slot.count):
        state.row[slot.columns[3 * n]] = value


cdef int64_t next_time(State *state) except? -1:
    """The next number as an event time, ABSENT for never; see `ExtremeTime`."""
    cdef int64_t distance = next_number(&state.numbers)
    return difference(state.seen_e, product(difference(distance, 1), state.unit)) if distance else ABSENT


cdef int take_distinct(State *state, const Slot *slot) except -1:
    """How many values there are, or are in each window; the values themselves are texts."""
    cdef int64_t length = next_length(&state.numbers), nth
    if slot.hop_us:
        if length >> 62:
            raise ValueError("has a length that is too large")
        take_hops(state, slot, 2 * length, False)
    else:
        put(state, slot, length)
        for nth in range(length):
            next_number(&state.numbers)
    state.texts += length
    return 0


cdef int take_value(State *state, const Slot *slot) except -1:
    """The number that one event said."""
    if next_number(&state.numbers) == 0:
        put(state, slot, ABSENT)
        return 0
    next_number(&state.numbers)  # k - e
    put(state, slot, next_number(&state.numbers))
    state.texts += state.texts_each - 1
    return 0


cdef object take_packed(State *state, int64_t each, bint is_one):
    """As `Packed`, of a slot that holds texts, `each` numbers per event; None of nothing."""
    cdef int64_t head = next_length(&state.numbers), nth, length
    if head == 0:
        return None
    length = 1 if is_one else head
    if length >> 60:
        raise ValueError("has a length that is too large")
    numbers = [head]
    for nth in range(each * length):
        numbers.append(next_number(&state.numbers))
    found = (state.texts_at, state.texts, length * state.texts_each, numbers)
    state.texts += length * state.texts_each
    return found


cdef int take_texts(State *state, const Slot *slot, bint is_one, list texts, Py_ssize_t row) except -1:
    """Leave what is packed for whoever asks for the texts."""
    cdef int64_t n
    found = take_packed(state, 1 if is_one else 3, is_one)
    for n in range(slot.count):
        (<list>texts[slot.columns[3 * n]])[row] = found
    return 0


cdef int take_slots(State *state, const int64_t[::1] program, list texts, Py_ssize_t row) except -1:
    """All slots of a state, as the program says."""
    cdef Py_ssize_t at = 0
    cdef int64_t what
    cdef Slot slot
    while at < program.shape[0]:
        what, slot.hop_us, slot.count = program[at], program[at + 1], program[at + 2]
        slot.columns = &program[at] + 3
        at += 3 + 3 * slot.count
        if what == BUCKETS:
            take_hops(state, &slot, next_length(&state.numbers), True)
        elif what == SUM:
            put(state, &slot, next_number(&state.numbers))
        elif what == TIME:
            put(state, &slot, next_time(state))
        elif what == NUMBER:
            take_value(state, &slot)
        elif what == DISTINCT:
            take_distinct(state, &slot)
        else:
            take_texts(state, &slot, what == TEXT, texts, row)
    return 0


cdef bint opened(bytes data, State *state) except -1:
    """Set the state at its first number; False if its format is another one."""
    cdef const uint8_t *start = <const uint8_t *>PyBytes_AS_STRING(data)
    cdef uint8_t head
    cdef int64_t length
    state.numbers.at, state.numbers.end = start, start + PyBytes_GET_SIZE(data)
    if state.numbers.at == state.numbers.end:
        raise ValueError("is empty")
    head = start[0]
    if head & 0x0F != FORMAT or head >> 4 & 7 > 2:
        return False
    state.numbers.at += 1
    state.unit = UNITS[head >> 4 & 7]
    if not head & NO_TEXTS:
        state.numbers.zeros = 0
        length = next_length(&state.numbers)
        if length > state.numbers.end - state.numbers.at:
            raise ValueError("ends too early")
        state.numbers.end = state.numbers.at + length
    state.texts_at = state.numbers.end - start
    return True


def read_states(
    const int64_t[::1] program, Py_ssize_t slots, Py_ssize_t width, Py_ssize_t textual, bint has_ids, list stored,
    const int64_t[::1] t,
):
    """The rows of n states at instants t; None if one is not of this format.

    program, slots   of the view, see `programs.takes_of`, and how many slots it has
    width, textual   how many columns of whole numbers there are, with `seen_e`, and of texts
    has_ids          whether message ids are kept
    Returns int64[n + 1, width], the rows with ABSENT where nothing is, and one row of nothing more; int64[n], when a
    window loses something first; per textual column and state what it has packed, see `Packed`, or None.
    Raises ValueError for bytes that are no state.
    """
    cdef Py_ssize_t n = len(stored), row, column
    rows_made, leave_made = np.empty((n + 1, width), np.int64), np.empty(n, np.int64)
    cdef int64_t[:, ::1] rows = rows_made
    cdef int64_t[::1] leave = leave_made
    cdef list texts = [[None] * n for _ in range(textual)]
    cdef State state
    if t.shape[0] != n:
        raise ValueError("has no instant of its own")
    for row in range(n + 1):
        for column in range(width):
            rows[row, column] = ABSENT
    for row in range(n):
        leave[row] = NEVER
        data = stored[row]
        if data is None:
            continue
        if not opened(<bytes?>data, &state):
            return None
        state.numbers.zeros = slots
        state.seen_e = product(next_number(&state.numbers), state.unit)
        state.t = t[row]
        state.row, state.leave = &rows[row, 0], &leave[row]
        state.row[0] = state.seen_e
        state.texts, state.texts_each = 0, 2 if has_ids else 1
        take_slots(&state, program, texts, row)
    return rows_made, leave_made, texts


def texts_at(bytes data, Py_ssize_t start, Py_ssize_t first, Py_ssize_t count):
    """`count` texts from the `first` on of the MessagePack array at data[start:]; those before are passed over.

    A user's state has a hundred of them, of which a request needs eleven. Raises ValueError if they are not there.
    """
    cdef Reader texts
    cdef Py_ssize_t nth, size, there
    cdef list found = []
    if start < 0 or start > PyBytes_GET_SIZE(data) or first < 0 or count < 0:
        raise ValueError("has no texts there")
    texts.at = <const uint8_t *>PyBytes_AS_STRING(data) + start
    texts.end = <const uint8_t *>PyBytes_AS_STRING(data) + PyBytes_GET_SIZE(data)
    there = next_size(&texts, 0x90, 0x0F, 0, 0xDC, 0xDD)
    if count > there or first > there - count:
        raise ValueError("has too few texts")
    for nth in range(first + count):
        size = next_size(&texts, 0xA0, 0x1F, 0xD9, 0xDA, 0xDB)
        if size > texts.end - texts.at:
            raise ValueError("ends within a text")
        if nth >= first:
            found.append(PyUnicode_DecodeUTF8(<const char *>texts.at, size, NULL))
        texts.at += size
    return found


cdef Py_ssize_t next_size(
    Reader *texts, uint8_t short, uint8_t most, uint8_t one, uint8_t two, uint8_t four,
) except -1:
    """How long the next array or text is: MessagePack has it in its first byte, or in so many bytes behind it."""
    cdef uint8_t head
    cdef int size = 0
    cdef Py_ssize_t length = 0
    if texts.at == texts.end:
        raise ValueError("ends before a text")
    head = texts.at[0]
    texts.at += 1
    if head & ~most == short:
        return head & most
    size = 4 if head == four else 2 if head == two else 1 if one and head == one else 0
    if size == 0 or size > texts.end - texts.at:
        raise ValueError("has something else than texts")
    for _ in range(size):
        length = length << 8 | texts.at[0]
        texts.at += 1
    return length


def recent_of(list numbers, list texts, int64_t seen_e, tuple events, bint has_ids):
    """What `Recent.read` says of what `Recent.unpack` makes of a slot's numbers and texts; see there.

    Raises ValueError if there is no such event, or another number of texts.
    """
    cdef Py_ssize_t n = (len(numbers) - 1) // 3, each = 2 if has_ids else 1, nth
    cdef int64_t k = seen_e, e, kind
    cdef list found = []
    if len(texts) != n * each:
        raise ValueError("has another number of texts")
    for nth in range(n):
        k = difference(k, numbers[3 * nth + 1])
        e = difference(k, numbers[3 * nth + 2])
        kind = numbers[3 * nth + 3]
        if kind < 0 or kind >= len(events):
            raise ValueError("has an event of no kind")
        found.append(f"{events[kind]}|{e}|{texts[nth * each]}")
    return found
