"""The event, its two times and its bytes (design 1, 4.1, 4.7)."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from behavior.admission import KIND_PATTERN, refusal
from behavior.event import FIELDS, PERSONALIZATION, PURPOSES, STANDARD_KINDS, Event, admit, decode, encode

maybe_text = st.none() | st.text(max_size=20)
int64 = st.integers(-(2**63), 2**63 - 1)
events = st.builds(
    Event, message_id=st.text(max_size=20), kind=st.text(max_size=20), user_id=st.text(max_size=20), client_time=int64,
    anonymous_id=maybe_text, item=maybe_text, category=maybe_text, value=st.none() | int64, currency=maybe_text,
    quantity=st.none() | int64, order_id=maybe_text, session_id=maybe_text, request_id=maybe_text, placement=maybe_text,
    utc_offset_s=st.none() | int64, device=maybe_text, page=maybe_text, source=maybe_text,
    properties=st.dictionaries(st.text(max_size=8), int64 | st.text(max_size=8), max_size=3),
    purposes=st.integers(0, 255),
)  # fmt: skip


@given(events)
def test_decode_gives_back_what_was_encoded(event: Event) -> None:
    """Every part of an event survives the log, empty texts, NULs and the ends of int64 included."""
    assert decode(encode(event)) == event


def test_absent_parts_take_no_room() -> None:
    """What an event does not say is not in its bytes, and its parts go by their names."""
    said = msgspec.msgpack.decode(encode(Event("m1", "purchase", "k1-a", 5, value=0)))
    assert said == {"message_id": "m1", "kind": "purchase", "user_id": "k1-a", "client_time": 5, "value": 0}


@given(events, int64)
def test_event_time_is_never_later_than_admission(event: Event, k: int) -> None:
    """E = min(the client's time, k), and the client's own time is kept beside it."""
    admitted = admit(event, k)
    assert (admitted.e, admitted.k) == (min(k, event.client_time), k)
    assert admitted.event.client_time == event.client_time


def test_an_event_is_immutable() -> None:
    """Neither an event nor its times can be changed once made."""
    admitted = admit(Event("m1", "purchase", "k1-a", 5), 7)
    for target, name in ((admitted, "e"), (admitted, "k"), (admitted.event, "value")):
        with pytest.raises(AttributeError):
            setattr(target, name, 1)


def test_purposes_are_separate_bits() -> None:
    """Each purpose is one bit of its own, so that consent to one never is consent to another; the default is none."""
    bits = list(PURPOSES.values())
    assert sum(bits) == 7
    assert all(bit.bit_count() == 1 for bit in bits)
    assert PURPOSES["personalization"] == PERSONALIZATION == 1
    assert Event("m1", "purchase", "k1-a", 5).purposes == 0


def test_the_standard_vocabulary_is_that_of_the_schema() -> None:
    """The standard kinds are the sixteen that the event schema names, and all of them are admitted."""
    named = """item_view click search scroll dwell add_to_cart remove_from_cart purchase refund form_submit rating
        preference impression identify consent heartbeat"""
    assert sorted(STANDARD_KINDS) == sorted(named.split())
    assert [kind for kind in STANDARD_KINDS if refusal(Event("m1", kind, "k1-a", 5))] == [], KIND_PATTERN


def test_features_can_only_read_what_an_event_has() -> None:
    """Every readable field is a part of the event and of the type that it is said to have."""
    parts = {part.name: part.type for part in msgspec.structs.fields(Event)}
    for name, kind in FIELDS.items():
        assert parts[name] == kind | None, name
    assert not {"user_id", "anonymous_id", "message_id"} & set(FIELDS)
