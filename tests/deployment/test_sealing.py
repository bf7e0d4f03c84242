"""Sealing: only the key opens, nothing can be changed unnoticed, and a key never shows."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behavior.errors import BadInput
from deployment.sealing import Sealing, make_sealing_key

KEY = bytes(range(32))
SECRET = "ab" * 32
# Sealed by this code once: letters of an older version stay readable.
GOLDEN = (
    "73313a"  # s1:
    "000102030405060708090a0b0c0d0e0f1011121314151617"
    "289b3fc16e3a3603c95d2b5198b0ad6a2c9e183965bd80c5"
)


@given(st.binary(max_size=2000), st.binary(max_size=50))
def test_what_was_sealed_is_what_is_opened(message: bytes, beside: bytes) -> None:
    """The key opens what it has sealed, to the last byte, and the message cannot be seen in it."""
    sealing = Sealing("s1", KEY)
    sealed = sealing.seal(message, beside)
    assert Sealing("s1", KEY).open(sealed, beside) == message
    assert len(message) < 8 or message not in sealed
    assert len(sealed) == len(message) + 3 + 24 + 16


@given(st.binary(max_size=60), st.data())
def test_a_single_changed_bit_is_refused(message: bytes, data: st.DataObject) -> None:
    """Whatever bit is turned, or whatever is cut off, it is refused and not opened to something else."""
    sealing = Sealing("s1", KEY)
    sealed = sealing.seal(message, b"reason")
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    turned = bytearray(sealed)
    turned[bit // 8] ^= 1 << bit % 8
    cut = data.draw(st.integers(0, len(sealed) - 1))
    for changed in (bytes(turned), sealed[:cut]):
        with pytest.raises(BadInput):
            sealing.open(changed, b"reason")


def test_what_stands_beside_is_authenticated() -> None:
    """A sealed message that was put beside something else is refused."""
    sealing = Sealing("s1", KEY)
    with pytest.raises(BadInput, match="changed"):
        sealing.open(sealing.seal(b"message", b"too_late"), b"bad_kind")


def test_another_key_is_told_apart() -> None:
    """The refusal says whether it was a key of another name, or another one of the same name."""
    sealed = Sealing("s1", KEY).seal(b"message", b"")
    with pytest.raises(BadInput, match="not sealed with the key s2"):
        Sealing("s2", KEY).open(sealed, b"")
    with pytest.raises(BadInput, match="another key s1"):
        Sealing("s1", KEY[::-1]).open(sealed, b"")


def test_the_same_message_is_never_sealed_the_same() -> None:
    """Nobody can see from sealed bytes that two messages are equal."""
    sealing = Sealing("s1", KEY)
    assert len({sealing.seal(b"message", b"") for _ in range(1000)}) == 1000


def test_what_was_sealed_long_ago_is_still_opened() -> None:
    """A golden value, made by this format's first version."""
    sealed = bytes.fromhex(GOLDEN)
    assert Sealing("s1", KEY).open(sealed, b"too_late") == b"an event"


def test_a_new_key_can_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    """A random key of 256 bits with mode 0600, whatever the umask; an existing one is left alone."""
    before = os.umask(0)
    try:
        make_sealing_key(tmp_path / "deep" / "one")
        make_sealing_key(tmp_path / "two")
    finally:
        os.umask(before)
    one, two = tmp_path / "deep" / "one", tmp_path / "two"
    assert stat.S_IMODE(one.stat().st_mode) == 0o600
    assert one.read_bytes() != two.read_bytes()
    assert Sealing.load(one).open(Sealing.load(one).seal(b"m", b""), b"") == b"m"
    held = one.read_bytes()
    with pytest.raises(BadInput, match="exists already"):
        make_sealing_key(one)
    assert one.read_bytes() == held


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The refusal names the command that mends it, and shows nothing of the key."""
    path = tmp_path / "key"
    path.write_text(f"s1:{SECRET}\n")
    path.chmod(mode)
    with pytest.raises(BadInput, match="chmod 600") as refused:
        Sealing.load(path)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "content", ["", SECRET, f"s1:{SECRET}00", f"s1:{SECRET[2:]}", f"S:{SECRET}", "s1:" + "zz" * 32]
)
def test_a_broken_key_is_refused_and_never_shown(tmp_path: Path, content: str) -> None:
    """The refusal names the file and the form, and no part of what is in it."""
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(BadInput, match=r"must hold one line|does not have 32 bytes") as refused:
        Sealing.load(path)
    assert "abab" not in str(refused.value)


def test_without_a_key_the_refusal_says_how_to_make_one(tmp_path: Path) -> None:
    """A missing file is one clear sentence, and so is one that is no text."""
    with pytest.raises(BadInput, match="opportune key"):
        Sealing.load(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"s1:\xff\xfe")
    (tmp_path / "binary").chmod(0o600)
    with pytest.raises(BadInput, match="cannot be read"):
        Sealing.load(tmp_path / "binary")
    with pytest.raises(BadInput, match="32 bytes"):
        Sealing("s1", b"short")
