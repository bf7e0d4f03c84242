"""Signatures of bundles: made with one secret key, checked with public ones."""

import stat
from pathlib import Path

import pytest

from behavior.errors import BadInput, BundleRefused
from deployment.bundle_signature import check_signature, make_signing_key, public_keys, sign


def test_a_signature_is_of_these_bytes_and_this_key(tmp_path: Path) -> None:
    """Any trusted key will do; another key, other bytes, a flipped bit or no signature are refused."""
    for name in ("a", "b", "c"):
        make_signing_key(tmp_path / name, tmp_path / ("others" if name == "c" else "public"))
    signature = sign(b"manifest", tmp_path / "b")
    keys = public_keys(tmp_path / "public")
    assert len(keys) == 2
    check_signature("x", b"manifest", signature, keys)
    for bit in range(8 * len(signature)):
        changed = bytearray(signature)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BundleRefused, match="by none of the keys"):
            check_signature("x", b"manifest", bytes(changed), keys)
    for manifest, mark, trusted in (
        (b"manifesT", signature, keys),
        (b"manifest", signature, public_keys(tmp_path / "others")),
        (b"manifest", b"", keys),
    ):
        with pytest.raises(BundleRefused, match="by none of the keys"):
            check_signature("x", manifest, mark, trusted)
    with pytest.raises(BundleRefused, match="not signed"):
        check_signature("x", b"manifest", None, keys)


def test_the_secret_key_is_its_owners(tmp_path: Path) -> None:
    """Nobody else can read it, it is never replaced, and its public key alone is in the other file."""
    secret, public = tmp_path / "secret", tmp_path / "public"
    make_signing_key(secret, public)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    before = public.read_text()
    with pytest.raises(BadInput, match="exists already"):
        make_signing_key(secret, public)
    assert public.read_text() == before
    assert secret.read_text().strip().partition(":")[2] not in before
    secret.chmod(0o644)
    with pytest.raises(BadInput, match="chmod 600"):
        sign(b"", secret)


@pytest.mark.parametrize("text", ["", "b1:", "b1:0011", "b1:zz", "ü"])
def test_a_file_without_public_keys_trusts_nobody(tmp_path: Path, text: str) -> None:
    """An empty or damaged file of keys is refused, rather than to switch the check off."""
    (tmp_path / "public").write_text(text)
    with pytest.raises(BadInput, match="public keys"):
        public_keys(tmp_path / "public")
    with pytest.raises(BadInput, match="cannot be read"):
        public_keys(tmp_path / "absent")
