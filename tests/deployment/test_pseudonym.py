"""Pseudonyms: HMAC-SHA256 checked against a second implementation, and a key that never shows."""

import os
import stat
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behavior.errors import BadInput
from deployment.pseudonym import Pseudonyms, is_pseudonym, make_key

KEY = bytes(range(32))
SECRET = "ab" * 32


def hmac_sha256(key: bytes, message: bytes) -> str:
    """RFC 2104 word for word, with nothing but the hash."""
    block = (sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    inner = sha256(bytes(byte ^ 0x36 for byte in block) + message).digest()
    return sha256(bytes(byte ^ 0x5C for byte in block) + inner).hexdigest()


RFC_4231 = [
    (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (
        b"\xaa" * 131, b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("key", "message", "expected"), RFC_4231)
def test_the_second_implementation_is_right(key: bytes, message: bytes, expected: str) -> None:
    """The HMAC that these tests compare with gives the vectors of RFC 4231 (test cases 1, 2, 3 and 6)."""
    assert hmac_sha256(key, message) == expected


@given(st.binary(min_size=32, max_size=100), st.text(max_size=300))
def test_a_pseudonym_is_the_keyed_hash_of_space_and_id(key: bytes, raw_id: str) -> None:
    """`<key id>-` and the first 128 bits of HMAC-SHA256 over the name space, a zero byte and the raw id."""
    names = Pseudonyms("k7", key)
    assert names.user(raw_id) == "k7-" + hmac_sha256(key, b"user\0" + raw_id.encode())[:32]
    assert names.anonymous(raw_id) == "k7-" + hmac_sha256(key, b"anonymous\0" + raw_id.encode())[:32]


def test_a_pseudonym_is_for_ever() -> None:
    """A golden value: a user of last year is the same user this year."""
    assert (
        Pseudonyms("k1", KEY).user("4711")
        == "k1-" + hmac_sha256(KEY, b"user\x004711")[:32]
        == "k1-c3cff56aeb0562432247cc80d4be194d"
    )


@given(st.text(max_size=20), st.text(max_size=20))
def test_different_ids_have_different_pseudonyms(one: str, other: str) -> None:
    """Equal ids, equal pseudonyms; different ids, keys or spaces, different ones; asking again changes nothing."""
    names = Pseudonyms("k1", KEY)
    assert (names.user(one) == names.user(other)) is (one == other)
    assert names.user(one) != names.anonymous(one)
    assert names.user(one) != Pseudonyms("k1", KEY[::-1]).user(one)
    assert names.user(one) == Pseudonyms("k1", KEY).user(one)


@given(st.text(min_size=3, max_size=40))
def test_the_form_is_recognised_and_tells_nothing(raw_id: str) -> None:
    """Every pseudonym has the form of one, whatever the id was, and the id is not in it."""
    made = Pseudonyms("k1", KEY).user(raw_id)
    assert is_pseudonym(made)
    assert len(made) == 35


@pytest.mark.parametrize(
    "text",
    ["", "4711", "k1-", "k1-" + "a" * 31, "k1-" + "a" * 33, "k1-" + "A" * 32, "-" + "a" * 32, "k1-" + "a" * 32 + "\n"],
)
def test_what_is_no_pseudonym_is_not_taken_for_one(text: str) -> None:
    """A raw id, and anything that is not exactly of the form, is told apart."""
    assert not is_pseudonym(text)


def test_a_new_key_can_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    """make_key writes a random key of at least 256 bits with mode 0600, whatever the umask, and load takes it."""
    before = os.umask(0)
    try:
        make_key(tmp_path / "one")
        make_key(tmp_path / "two", "k2")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600
    one, two = Pseudonyms.load(tmp_path / "one"), Pseudonyms.load(tmp_path / "two")
    assert one.user("4711").startswith("k1-")
    assert two.user("4711").startswith("k2-")
    assert one.user("4711")[3:] != two.user("4711")[3:]
    assert len(bytes.fromhex((tmp_path / "one").read_text().strip().split(":")[1])) >= 32


def test_an_existing_key_is_left_alone(tmp_path: Path) -> None:
    """A new key would orphan every pseudonym: an existing file is refused and unchanged, also if it is no key."""
    for content in (f"k1:{SECRET}\n", "", "something else"):
        path = tmp_path / "key"
        path.write_text(content)
        with pytest.raises(BadInput, match="key"):
            make_key(path)
        assert path.read_text() == content


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o666, 0o620 | 0o040])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """A key readable by the group or the world is refused with the command that mends it."""
    path = tmp_path / "key"
    path.write_text(f"k1:{SECRET}\n")
    path.chmod(mode)
    with pytest.raises(BadInput, match="chmod 600") as refused:
        Pseudonyms.load(path)
    assert SECRET not in str(refused.value)


BROKEN = [
    "", SECRET, f"k1:{SECRET[:-2]}", f"k1:{SECRET[:-2]}zz", f":{SECRET}", f"K 1:{SECRET}",
    f"k1:{SECRET}\nk2:{SECRET}", f"k1 {SECRET}", f"k1:{SECRET[:32]}:{SECRET[32:]}",
]  # fmt: skip


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_key_is_refused_and_never_shown(tmp_path: Path, content: str) -> None:
    """The refusal names the file and the expected form and shows no part of what is in it, nor does its cause."""
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(BadInput) as refused:
        Pseudonyms.load(path)
    assert str(path) in str(refused.value)
    error: BaseException | None = refused.value
    while error is not None:
        assert "abab" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_bytes_that_are_no_text_are_refused_and_never_shown(tmp_path: Path) -> None:
    """A binary file is refused like any other, without its bytes in the error or in what caused it."""
    path = tmp_path / "key"
    path.write_bytes(b"k1:" + SECRET.encode() + b"\xff\xfe")
    path.chmod(0o600)
    with pytest.raises(BadInput) as refused:
        Pseudonyms.load(path)
    error: BaseException | None = refused.value
    while error is not None:
        assert "abab" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_without_a_key_nothing_starts(tmp_path: Path) -> None:
    """A missing file is one clear line that says how to make it; a key that is too short is refused too."""
    with pytest.raises(BadInput, match="opportune key"):
        Pseudonyms.load(tmp_path / "nothing")
    with pytest.raises(BadInput) as refused:
        Pseudonyms("k1", b"abab" * 7)
    assert "abab" not in str(refused.value)


def test_printing_shows_no_key() -> None:
    """Neither str nor repr of what holds the key shows it, for a log line or a traceback."""
    names = Pseudonyms("k1", b"abab" * 8)
    assert "abab" not in f"{names}{names!r}"
    assert (b"abab" * 8).hex() not in f"{names}{names!r}"
