"""`opportune promote`, `rollback` and `bundles` as typed, over real bundles."""

import json
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from behavior.manifest import sealed
from deployment.bundles import Bundles, bundles_at
from deployment.settings import load
from opportune.command import run
from opportune.processes import has_model
from tests.scoring.small import make_bundle, make_current

TARGET = "purchase_7d"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with three bundles, which tests copy by writing them again."""
    directory = tmp_path_factory.mktemp("made")
    for seed in range(3):
        make_bundle(directory, seed=seed)
    return directory


@pytest.fixture
def held(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundles:
    """Three bundles that were made one day after the other, and the command's settings that name them."""
    found = bundles_at(tmp_path / "bundles")
    for day, name in enumerate(bundles_at(made).store.names(TARGET)):
        manifest, files = bundles_at(made).read(name)
        dated = msgspec.structs.replace(manifest, created=f"2017-09-0{day + 1}T00:00:00+00:00")
        found.write(sealed(dated), files)
    monkeypatch.setenv("OPPORTUNE_BUNDLES", str(tmp_path / "bundles"))
    return found


def names(held: Bundles) -> list[str]:
    """The ids, the oldest first."""
    return sorted(held.store.names(TARGET), key=lambda name: held.read(name)[0].created)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """The JSON object that the command prints."""
    capsys.readouterr()
    assert run([*words, "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The sentence with which the command refuses, with the exit status of what was given wrong."""
    capsys.readouterr()
    assert run(list(words)) == 2
    return capsys.readouterr().err


def test_promote_and_rollback_move_the_pointers(held: Bundles, capsys: pytest.CaptureFixture[str]) -> None:
    """By id or by pointer; the one before is previous; a rollback swaps them."""
    first, second, _ = names(held)
    assert printed(capsys, "promote", first) == {"target": TARGET, "current": first}
    held.store.point(TARGET, "canary", second)
    promoted = {"target": TARGET, "current": second, "previous": first, "canary": second}
    assert printed(capsys, "promote", "canary") == promoted
    assert printed(capsys, "rollback") == promoted | {"current": first, "previous": second}
    assert run(["rollback"]) == 0
    assert f"{second} is current for {TARGET} again" in capsys.readouterr().out


def test_what_cannot_serve_is_not_promoted(held: Bundles, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged bundle, an unknown one, an unset pointer and another target are refused; current stays."""
    first, second, _ = names(held)
    make_current(held, first)
    (tmp_path / "bundles" / TARGET / second / "golden.npz").write_bytes(b"damaged")
    assert "golden.npz is not the file" in refused(capsys, "promote", second)
    assert "there is no bundle" in refused(capsys, "promote", f"{TARGET}-20170901-00000000")
    assert "has no canary" in refused(capsys, "promote", "canary")
    assert "leave --target away" in refused(capsys, "promote", first, "--target", "churn_30d")
    assert "no previous" in refused(capsys, "rollback")
    assert held.store.pointers(TARGET) == {"current": first}


def test_bundles_are_listed_with_what_is_wrong(
    held: Bundles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The newest first, their pointers, why one would be refused, and a pointer that cannot be followed."""
    first, second, third = names(held)
    make_current(held, first)
    (tmp_path / "bundles" / TARGET / second / "model.txt").unlink()
    (tmp_path / "bundles" / TARGET / "shadow").write_text(third)
    told = printed(capsys, "bundles")
    assert [each["bundle_id"] for each in told["bundles"]] == [third, second, first]
    by_name = {each["bundle_id"]: each for each in told["bundles"]}
    assert by_name[first]["pointers"] == ["current"]
    assert "model.txt missing" in by_name[second]["refused"]
    assert by_name[third]["refused"] is None
    assert list(told["broken_pointers"][TARGET]) == ["shadow"]
    assert run(["bundles", "list", "--target", TARGET]) == 0
    assert first in capsys.readouterr().out.replace("\n", "")
    assert printed(capsys, "bundles", "list", "--target", "churn_30d") == {"bundles": [], "broken_pointers": {}}


def test_a_bundle_is_shown_by_its_manifest(held: Bundles, capsys: pytest.CaptureFixture[str]) -> None:
    """The manifest as JSON, a table for people; a bundle that is not whole is refused."""
    first, *_ = names(held)
    make_current(held, first)
    told = printed(capsys, "bundles", "show")
    assert (told["bundle_id"], told["format"], told["calibration"]) == (first, 2, None)
    assert run(["bundles", "show", first]) == 0
    assert "candidate:category" in capsys.readouterr().out
    assert "no bundle" in refused(capsys, "bundles", "show", "nonsense")


def test_prune_keeps_the_newest_and_what_a_pointer_names(held: Bundles, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever has a pointer stays; of the others the newest so many; a dry run deletes nothing."""
    first, second, third = names(held)
    make_current(held, first)
    would = [{"target": TARGET, "bundle_id": second}]
    assert printed(capsys, "bundles", "prune", "--keep", "1", "--dry-run")["would_delete"] == would
    assert names(held) == [first, second, third]
    assert printed(capsys, "bundles", "prune", "--keep", "1")["deleted"] == would
    assert names(held) == [first, third]
    assert printed(capsys, "bundles", "prune", "--keep", "0")["deleted"] == [{"target": TARGET, "bundle_id": third}]
    assert names(held) == [first]
    assert "less than none" in refused(capsys, "bundles", "prune", "--keep", "-1")


def test_nothing_is_pruned_while_a_pointer_is_damaged(
    held: Bundles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it names is not known, so nothing is deleted."""
    before = names(held)
    (tmp_path / "bundles" / TARGET / "current").write_text(before[0])
    assert "is not what was written" in refused(capsys, "bundles", "prune", "--keep", "0")
    assert names(held) == before


def test_signed_bundles_are_asked_for(
    held: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once public keys are set, only signed bundles are promoted; the secret key is shown nowhere."""
    first, *_ = names(held)
    assert run(["bundles", "key", str(tmp_path / "secret"), str(tmp_path / "public")]) == 0
    secret = (tmp_path / "secret").read_text().strip().partition(":")[2]
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert secret not in capsys.readouterr().out
    monkeypatch.setenv("OPPORTUNE_BUNDLE_SIGNING_KEY_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("OPPORTUNE_BUNDLE_VERIFY_KEYS_FILE", str(tmp_path / "public"))
    assert "is not signed" in refused(capsys, "promote", first)
    signed = make_bundle(Bundles.of(load()), seed=7)
    assert printed(capsys, "promote", signed)["current"] == signed


def test_other_artefacts_are_promoted_too(held: Bundles, capsys: pytest.CaptureFixture[str]) -> None:
    """A family that holds no bundles, such as personas, has the same pointers and verbs."""
    for name in ("personas-1", "personas-2"):
        held.store.write("personas", name, {"manifest.json": b"{}"})
        assert printed(capsys, "promote", name, "--target", "personas")["current"] == name
    assert printed(capsys, "rollback", "--target", "personas")["current"] == "personas-1"
    told = printed(capsys, "bundles", "--target", "personas")["bundles"]
    assert [(each["bundle_id"], each["pointers"]) for each in told] == [
        ("personas-2", ["previous"]),
        ("personas-1", ["current"]),
    ]


def test_a_damaged_pointer_is_no_model(held: Bundles, tmp_path: Path) -> None:
    """`up` starts without waiting for a model whose pointer cannot be followed, as if none were trained."""
    settings = load(bundles=tmp_path / "bundles")
    assert not has_model(settings)
    make_current(held, names(held)[0])
    assert has_model(settings)
    (tmp_path / "bundles" / TARGET / "current").write_text("damaged")
    assert not has_model(settings)
