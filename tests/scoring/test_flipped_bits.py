"""No bit of a bundle or of its pointer can flip unnoticed: every one that is tried is refused at load."""

from collections.abc import Callable
from pathlib import Path

import pytest

from behavior.errors import BundleRefused
from behavior.manifest import FILES, MANIFEST_FILE, SIGNATURE_FILE
from deployment.bundle_signature import make_signing_key, public_keys
from deployment.bundle_store import BundleStore
from deployment.bundles import Bundles
from scoring.model import load_bundle
from tests.scoring.small import PLAN, make_bundle, make_current

POINTER = "../current"
EVERYTHING = (*FILES, MANIFEST_FILE, SIGNATURE_FILE, POINTER)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """A store with one signed bundle, which is current, read by somebody who asks for the signature."""
    home = tmp_path_factory.mktemp("signed")
    make_signing_key(home / "secret", home / "public")
    held = Bundles(BundleStore(home / "bundles"), home / "secret", public_keys(home / "public"))
    make_current(held, make_bundle(held))
    # Another bundle lies there too, so that a flipped bit of a name could lead to one.
    make_bundle(held, seed=1)
    return held


def directory_of(held: Bundles) -> Path:
    """Where the current bundle lies."""
    return Path(str(held.store)) / "purchase_7d" / str(held.current_id())


def loads(held: Bundles) -> bool:
    """Whether the current bundle is taken; only a refusal that says why counts as none."""
    try:
        load_bundle(held, "current", PLAN)
    except BundleRefused:
        return False
    return True


def silent_loads(held: Bundles, name: str, every: int) -> tuple[int, int]:
    """How many of the file's bits were flipped, and after how many of these flips the bundle still loaded."""
    path = directory_of(held) / name
    whole = path.read_bytes()
    bits = range(0, 8 * len(whole), every)
    silent = 0
    try:
        for bit in bits:
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            silent += loads(held)
    finally:
        path.write_bytes(whole)
    assert loads(held)  # the control: as it was written it is taken
    return len(bits), silent


@pytest.mark.parametrize("name", EVERYTHING)
def test_no_flipped_bit_loads(signed: Bundles, name: str) -> None:
    """0 silent loads over every 251st bit, every 7th of what is small: primes, so that every place in a byte is met."""
    size = (directory_of(signed) / name).stat().st_size
    tried, silent = silent_loads(signed, name, 7 if size < 1000 else 251)
    assert tried >= 4
    assert silent == 0


@pytest.mark.parametrize("name", [each for each in EVERYTHING if each != SIGNATURE_FILE])
def test_without_signatures_no_flipped_bit_loads_either(signed: Bundles, name: str) -> None:
    """The hashes alone refuse every flip, but those of a signature that nobody asks for."""
    plain = Bundles(signed.store)
    size = (directory_of(signed) / name).stat().st_size
    assert silent_loads(plain, name, 11 if size < 1000 else 509)[1] == 0


@pytest.mark.prove
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", EVERYTHING)
def test_not_one_bit_can_flip(signed: Bundles, name: str) -> None:
    """Every single bit of every file is flipped, in turn: 0 silent loads."""
    assert silent_loads(signed, name, 1)[1] == 0


def missing(directory: Path) -> None:
    (directory / "golden.npz").unlink()


def without_manifest(directory: Path) -> None:
    (directory / MANIFEST_FILE).unlink()


def unsigned(directory: Path) -> None:
    (directory / SIGNATURE_FILE).unlink()


def more(directory: Path) -> None:
    (directory / "notes.txt").write_bytes(b"")


def nested(directory: Path) -> None:
    (directory / "more").mkdir()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (missing, r"golden\.npz missing"),
        (without_manifest, r"manifest\.json missing"),
        (unsigned, "is not signed"),
        (more, r"notes\.txt not in its manifest"),
        (nested, r"more/ not in its manifest"),
    ],
)
def test_what_is_missing_or_too_much_is_said(tmp_path: Path, damage: Callable[[Path], None], reason: str) -> None:
    """A missing file, an extra one and a missing signature are each refused with their reason."""
    make_signing_key(tmp_path / "secret", tmp_path / "public")
    held = Bundles(BundleStore(tmp_path / "bundles"), tmp_path / "secret", public_keys(tmp_path / "public"))
    make_current(held, make_bundle(held))
    damage(directory_of(held))
    with pytest.raises(BundleRefused, match=reason):
        load_bundle(held, "current", PLAN)


def test_a_bundle_by_a_stranger_is_refused(signed: Bundles, tmp_path: Path) -> None:
    """A whole bundle that somebody else has signed is refused where keys are set, and taken where none are."""
    make_signing_key(tmp_path / "secret", tmp_path / "public")
    stranger = Bundles(BundleStore(tmp_path / "bundles"), tmp_path / "secret")
    make_current(stranger, make_bundle(stranger))
    assert loads(stranger)
    with pytest.raises(BundleRefused, match="by none of the keys"):
        load_bundle(Bundles(stranger.store, None, signed.verify_keys), "current", PLAN)


def test_a_bundle_behind_fsspec_loads(signed: Bundles) -> None:
    """The same bundle from another filesystem, by its pointer; a flipped bit is refused there too."""
    far = Bundles(BundleStore(f"memory://{directory_of(signed).name}"))
    bundle_id = make_bundle(far)
    make_current(far, bundle_id)
    assert far.current_id() == load_bundle(far, "current", PLAN).bundle_id == bundle_id
    path = f"purchase_7d/{bundle_id}/golden.npz"
    golden = bytearray(far.store._place.read(path) or b"")
    golden[len(golden) // 2] ^= 1
    far.store._place.write(path, bytes(golden))
    with pytest.raises(BundleRefused, match=r"golden\.npz"):
        load_bundle(far, "current", PLAN)
