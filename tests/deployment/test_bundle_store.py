"""The store of trained artefacts: whole entries, pointers that cannot lie, on a disk and behind fsspec alike."""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from behavior.errors import BadInput, BundleRefused
from deployment import file_places
from deployment.bundle_store import POINTERS, BundleStore

FAMILY = "purchase_7d"
FILES = {"manifest.json": b"{}", "model.onnx": b"\x00\x01", "empty": b""}


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BundleStore:
    """An empty store of either kind."""
    return BundleStore(tmp_path / "bundles" if request.param == "local" else f"memory://{uuid.uuid4().hex}")


def filled(store: BundleStore, *names: str) -> BundleStore:
    for name in names:
        store.write(FAMILY, name, FILES)
    return store


def test_what_is_written_is_read_listed_and_deleted(store: BundleStore) -> None:
    """An entry has the very bytes of its files, stands in the lists, and is gone when it is deleted."""
    assert (store.families(), store.names(FAMILY)) == ([], [])
    filled(store, "b", "a").write("personas", "p1", FILES)
    assert store.read(FAMILY, "a") == FILES
    assert store.manifest(FAMILY, "a") == b"{}"
    assert (store.families(), store.names(FAMILY)) == (["personas", FAMILY], ["a", "b"])
    store.delete(FAMILY, "a")
    assert store.names(FAMILY) == ["b"]
    with pytest.raises(BundleRefused, match="not there"):
        store.read(FAMILY, "a")


def test_entries_never_change(store: BundleStore) -> None:
    """A second write of the same name is refused, and so is one without a manifest."""
    filled(store, "a")
    with pytest.raises(BadInput, match="never change"):
        store.write(FAMILY, "a", FILES | {"model.onnx": b"other"})
    with pytest.raises(BadInput, match=r"manifest\.json"):
        store.write(FAMILY, "b", {"model.onnx": b""})
    assert store.read(FAMILY, "a") == FILES


def test_pointers_name_entries(store: BundleStore) -> None:
    """Each pointer is set, moved and taken away by itself; an absent entry and an unknown pointer are refused."""
    filled(store, "a", "b")
    assert store.pointers(FAMILY) == {}
    for pointer in POINTERS:
        store.point(FAMILY, pointer, "a")
    store.point(FAMILY, "canary", "b")
    store.point(FAMILY, "shadow", None)
    assert store.pointers(FAMILY) == {"current": "a", "previous": "a", "canary": "b"}
    assert store.resolve(FAMILY, "canary") == store.resolve(FAMILY, "b") == "b"
    for family, pointer, name in ((FAMILY, "newest", "a"), (FAMILY, "current", "c"), ("../x", "current", "a")):
        with pytest.raises(BadInput):
            store.point(family, pointer, name)
    with pytest.raises(BadInput, match="no shadow"):
        store.resolve(FAMILY, "shadow")


def test_every_flipped_bit_of_a_pointer_is_refused(store: BundleStore) -> None:
    """No damaged pointer names anything, not even another entry that is there; a promotion sets it anew."""
    filled(store, "a", "c").point(FAMILY, "current", "a")  # one bit lies between the names
    data = store._place.read(f"{FAMILY}/current")
    assert data is not None
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        store._place.write(f"{FAMILY}/current", bytes(changed))
        with pytest.raises(BundleRefused, match="promote"):
            store.pointed(FAMILY, "current")
    store.promote(FAMILY, "c")
    assert store.pointers(FAMILY) == {"current": "c"}


def test_a_pointer_of_another_family_is_refused(store: BundleStore) -> None:
    """A pointer file that was copied from another target's directory names nothing."""
    filled(store, "a").write("churn_30d", "a", FILES)
    store.point("churn_30d", "current", "a")
    store._place.write(f"{FAMILY}/current", store._place.read("churn_30d/current") or b"")
    with pytest.raises(BundleRefused):
        store.pointed(FAMILY, "current")


def test_promotion_keeps_the_one_before_and_rollback_swaps(store: BundleStore) -> None:
    """The promoted is current and the one before previous; promoting it again changes nothing; a rollback swaps."""
    filled(store, "a", "b")
    store.promote(FAMILY, "a")
    with pytest.raises(BadInput, match="no previous"):
        store.rollback(FAMILY)
    for _ in range(2):
        store.promote(FAMILY, "b")
        assert store.pointers(FAMILY) == {"current": "b", "previous": "a"}
    assert store.rollback(FAMILY) == "a"
    assert store.pointers(FAMILY) == {"current": "a", "previous": "b"}
    assert store.rollback(FAMILY) == "b"
    assert store.pointers(FAMILY) == {"current": "b", "previous": "a"}


def test_what_a_pointer_names_is_not_deleted(store: BundleStore) -> None:
    """Whichever pointer it is."""
    filled(store, "a")
    for pointer in POINTERS:
        store.point(FAMILY, pointer, "a")
        with pytest.raises(BadInput, match=pointer):
            store.delete(FAMILY, "a")
        store.point(FAMILY, pointer, None)
    store.delete(FAMILY, "a")


def test_what_lies_beside_is_no_entry(store: BundleStore) -> None:
    """A report is written and read, and is neither an entry nor a way out of the store."""
    assert store.read_beside(FAMILY, "reports/a.html") is None
    store.put_beside(FAMILY, "reports/a.html", b"<html>")
    assert store.read_beside(FAMILY, "reports/a.html") == b"<html>"
    assert store.names(FAMILY) == []
    for path in ("../x", "reports/../x", "current", "a/b/c"):
        with pytest.raises(BadInput):
            store.put_beside(FAMILY, path, b"")


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".a", "current", "a\n", "ü"])
def test_names_are_plain(store: BundleStore, name: str) -> None:
    """No name leads out of the store or hides in it."""
    with pytest.raises(BadInput):
        store.write(FAMILY, name, FILES)


def test_an_unfinished_entry_is_none(tmp_path: Path) -> None:
    """Behind fsspec the manifest comes last: files without one are no entry, and the next try completes them."""
    url = f"memory://{uuid.uuid4().hex}"
    store = BundleStore(url)
    store._place.write(f"{FAMILY}/a/model.onnx", b"half")
    assert (store.names(FAMILY), store.has(FAMILY, "a")) == ([], False)
    store.write(FAMILY, "a", FILES)
    assert store.read(FAMILY, "a") == FILES


# A process that is killed, as by a power cut, before the nth change that it makes.
KILLED = """
import os, signal, sys
from pathlib import Path
from deployment.bundle_store import BundleStore
store, left = BundleStore(Path(sys.argv[1])), int(sys.argv[2])
def counted(change):
    def made(*args):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return change(*args)
    return made
store._place.write, store._place.delete = counted(store._place.write), counted(store._place.delete)
getattr(store, sys.argv[3])("purchase_7d", *sys.argv[4:])
"""


@pytest.mark.parametrize(
    ("verb", "changes", "after"),
    [
        (("promote", "c"), 2, {"current": "c", "previous": "b"}),
        (("rollback",), 4, {"current": "a", "previous": "b"}),
    ],
)
def test_killed_at_any_change_and_run_again_it_ends_the_same(
    tmp_path: Path, verb: tuple[str, ...], changes: int, after: dict[str, str]
) -> None:
    """Between any two changes `current` names a whole entry, and the same command again ends where it would have."""
    for survived in range(changes + 1):
        store = filled(BundleStore(tmp_path / str(survived)), "a", "b", "c")
        store.promote(FAMILY, "a")
        store.promote(FAMILY, "b")
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path / str(survived)), str(survived), *verb], env=dict(os.environ)
        )
        assert done.returncode == (0 if survived == changes else -signal.SIGKILL)
        assert store.pointed(FAMILY, "current") in ("b", after["current"])
        if survived < changes:
            getattr(store, verb[0])(FAMILY, *verb[1:])
        assert store.pointers(FAMILY) == after
        assert not list((tmp_path / str(survived) / FAMILY).glob(".*"))


def test_what_a_dead_writer_left_is_swept(tmp_path: Path) -> None:
    """Old staging goes, that of a writer at work stays, and so does everything else."""
    store = filled(BundleStore(tmp_path), "a")
    store.promote(FAMILY, "a")
    for name in (".staging-old", ".staging-new"):
        (tmp_path / FAMILY / name).mkdir()
    (tmp_path / FAMILY / ".current-old").write_bytes(b"")
    for name in (".staging-old", ".current-old", "current", "a"):
        os.utime(tmp_path / FAMILY / name, (0, 0))
    store.sweep(FAMILY)
    assert {each.name for each in (tmp_path / FAMILY).iterdir()} == {"a", "current", ".staging-new"}


def test_a_pointer_is_flushed_before_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails on its way to the disk leaves the old pointer and nothing else."""
    store = filled(BundleStore(tmp_path), "a", "b")
    store.point(FAMILY, "current", "a")

    def full(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(file_places.os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        store.point(FAMILY, "current", "b")
    assert store.pointers(FAMILY) == {"current": "a"}
    assert not list((tmp_path / FAMILY).glob(".*"))
