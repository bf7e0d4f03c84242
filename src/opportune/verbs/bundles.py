"""`opportune promote`, `rollback` and `bundles`: which trained model serves, which came before, which are kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.table import Table
from rich.text import Text

from behavior.errors import BadInput, BundleRefused
from behavior.manifest import is_bundle_id, target_of
from behavior.personas import FAMILY
from deployment.bundle_signature import make_signing_key
from deployment.bundle_store import POINTERS
from deployment.bundles import Bundles
from deployment.current_personas import read_personas
from deployment.settings import Settings, load
from opportune.output import show

Json = Annotated[bool, Parameter(name="--json")]
bundles = App(name="bundles", help="Show the trained bundles, or take old ones away.")


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of the store: what it is, which pointers name it, and why it would be refused, if it would."""

    target: str
    bundle_id: str
    pointers: tuple[str, ...]
    created: str | None
    rows: dict[str, int] | None
    calibrated: bool | None
    refused: str | None


def promote(name: str, *, target: str | None = None, as_json: Json = False) -> None:
    """Let a bundle serve: it becomes `current`, and the one that was becomes `previous`. Servers follow in a second.

    Parameters
    ----------
    name
        The bundle's id, or the pointer that names it, such as canary.
    target
        Of which target the pointer is, such as purchase_14d, or `personas`. Default: the id's, else the setting.
    as_json
        Print one JSON object instead of a sentence.
    """
    settings = load()
    held = Bundles.of(settings)
    family = _family(name, target, settings)
    bundle_id = held.store.resolve(family, name)
    if is_bundle_id(bundle_id):
        held.read(bundle_id)  # what is not whole is refused here, not by the server
    held.store.promote(family, bundle_id)
    _tell(held, family, f"{bundle_id} is current for {family}", as_json=as_json)


def rollback(*, target: str | None = None, as_json: Json = False) -> None:
    """Let the previous bundle serve again: `current` and `previous` change places. Servers follow in a second.

    Parameters
    ----------
    target
        Whose bundles, such as purchase_14d, or `personas`. Default: the setting `target`.
    as_json
        Print one JSON object instead of a sentence.
    """
    settings = load()
    held = Bundles.of(settings)
    family = target or settings.target
    bundle_id = held.store.rollback(family)
    _tell(held, family, f"{bundle_id} is current for {family} again", as_json=as_json)


@bundles.default
@bundles.command(name="list")
def list_bundles(*, target: str | None = None, as_json: Json = False) -> None:
    """Show the bundles that are kept, which pointers name them, and those that a server would refuse.

    Parameters
    ----------
    target
        Only those of this target. Default: all.
    as_json
        Print one JSON object instead of a table.
    """
    held = Bundles.of(load())
    families = held.store.families() if target is None else [target]
    found = [each for family in families for each in _listed(held, family)]
    broken = {family: _broken_pointers(held, family) for family in families}
    table = Table("target", "bundle", "pointers", "created", "rows", "calibrated", "refused")
    for column in table.columns[:2]:
        column.no_wrap = True  # an id is copied from here
    for each in found:
        rows = ", ".join(f"{count:,} {name}" for name, count in (each.rows or {}).items())
        calibrated = "" if each.calibrated is None else "yes" if each.calibrated else "no"
        table.add_row(
            each.target, each.bundle_id, " ".join(each.pointers), (each.created or "")[:16], rows, calibrated,
            each.refused or "",
        )  # fmt: skip
    for family, told in broken.items():
        for pointer, why in told.items():
            table.add_row(family, "", pointer, "", "", "", why)
    empty = Text(f"there is no bundle in {held.store}; `opportune train` makes one")
    machine = {"bundles": found, "broken_pointers": {family: told for family, told in broken.items() if told}}
    show(table if found else empty, machine, as_json=as_json)


@bundles.command(name="show")
def show_bundle(name: str = "current", *, target: str | None = None, as_json: Json = False) -> None:
    """Show what a bundle is: its manifest, checked against every file.

    Parameters
    ----------
    name
        Its id, or the name of a pointer.
    target
        Of which target the pointer is. Default: the setting `target`.
    as_json
        Print the manifest as one JSON object.
    """
    import msgspec

    settings = load()
    held = Bundles.of(settings)
    manifest, files = held.read(name, _family(name, target, settings))
    plain = msgspec.to_builtins(manifest)
    table = Table("what", "value", show_header=False)
    for key, value in plain.items():
        if key not in ("features", "files", "metrics", "format"):
            table.add_row(key, _words(value))
    table.add_row("features", "\n".join(manifest.inputs))
    table.add_row("files", "\n".join(f"{name} {len(data):,} bytes" for name, data in files.items()))
    for key, value in manifest.metrics.items():
        table.add_row(f"metrics {key}", _words(value))
    show(table, plain, as_json=as_json)


@bundles.command
def prune(*, keep: int, target: str | None = None, dry_run: bool = False, as_json: Json = False) -> None:
    """Delete old bundles: of each target the newest are kept, and always those that a pointer names.

    Parameters
    ----------
    keep
        How many of each target are kept, the newest first, beside those with a pointer.
    target
        Only of this target, or `personas`. Default: of all.
    dry_run
        Say what would be deleted, and delete nothing.
    as_json
        Print one JSON object instead of sentences.
    """
    if keep < 0:
        raise BadInput(f"--keep {keep} is less than none; give 0 or more")
    held = Bundles.of(load())
    gone = []
    for family in held.store.families() if target is None else [target]:
        if not dry_run:
            held.store.sweep(family)
        named = set(held.store.pointers(family).values())  # a damaged pointer stops here: what it names is not known
        free = [each for each in _newest_first(held, family) if each not in named]
        for bundle_id in free[keep:]:
            gone.append({"target": family, "bundle_id": bundle_id})
            if not dry_run:
                held.store.delete(family, bundle_id)
    verb = "would delete" if dry_run else "deleted"
    text = "\n".join(f"{verb} {each['bundle_id']}" for each in gone) or "there is nothing to delete"
    show(Text(text), {"deleted": [] if dry_run else gone, "would_delete": gone if dry_run else []}, as_json=as_json)


@bundles.command
def key(secret: Path, public: Path) -> None:
    """Make a pair of keys: bundles are signed with the secret one, servers check them with the public one.

    Set bundle_signing_key_file where models are trained, and bundle_verify_keys_file where they serve.

    Parameters
    ----------
    secret
        The file to make; an existing one is never replaced, and only its owner can read it.
    public
        The file that the public key is added to, one a line.
    """
    make_signing_key(secret, public)
    print(f"made {secret}; its public key is in {public}")


def _listed(held: Bundles, family: str) -> list[Listed]:
    named: dict[str, list[str]] = {}
    for pointer in POINTERS:
        try:
            entry = held.store.pointed(family, pointer)
        except BundleRefused:
            continue  # told in a row of its own
        if entry is not None:
            named.setdefault(entry, []).append(pointer)
    return [_entry(held, family, name, tuple(named.get(name, ()))) for name in _newest_first(held, family)]


def _entry(held: Bundles, family: str, name: str, pointers: tuple[str, ...]) -> Listed:
    if not is_bundle_id(name) or target_of(name) != family:
        return Listed(family, name, pointers, None, None, None, None)  # an artefact that is no bundle
    try:
        if family == FAMILY:  # personas: their ids look like those of bundles
            read_personas(held.store, name)
            return Listed(family, name, pointers, None, None, None, None)
        manifest, _ = held.read(name)
    except BundleRefused as error:
        return Listed(family, name, pointers, None, None, None, str(error))
    return Listed(family, name, pointers, manifest.created, manifest.rows, manifest.calibrated, None)


def _broken_pointers(held: Bundles, family: str) -> dict[str, str]:
    found = {}
    for pointer in POINTERS:
        try:
            held.store.pointed(family, pointer)
        except BundleRefused as error:
            found[pointer] = str(error)
    return found


def _newest_first(held: Bundles, family: str) -> list[str]:
    """Entries by when they were made, as their manifests say; those that say nothing last, by name."""
    return sorted(held.store.names(family), key=lambda name: (_created(held, family, name), name), reverse=True)


def _created(held: Bundles, family: str, name: str) -> str:
    import msgspec

    class Dated(msgspec.Struct):
        created: str = ""

    try:
        data = held.store.manifest(family, name)
        return msgspec.json.decode(data, type=Dated).created
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def _family(name: str, target: str | None, settings: Settings) -> str:
    """The family that is meant: the one that the id names, else what was said, else the setting."""
    if is_bundle_id(name):
        meant = target_of(name)
        if target not in (None, meant):
            raise BadInput(f"{name} is a bundle of {meant}, not of {target}; leave --target away")
        return meant
    return target or settings.target


def _tell(held: Bundles, family: str, text: str, *, as_json: bool) -> None:
    show(Text(text), {"target": family, **held.store.pointers(family)}, as_json=as_json)


def _words(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key} {each}" for key, each in value.items())
    return "–" if value is None else str(value)
