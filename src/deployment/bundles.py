"""Bundles in their store: one way to write and to read them, for whoever trains and whoever serves."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from behavior.errors import BadInput, BundleRefused
from behavior.manifest import (
    MANIFEST_FILE,
    SIGNATURE_FILE,
    Manifest,
    check_files,
    decode,
    encode,
    is_bundle_id,
    target_of,
)
from deployment.bundle_signature import check_signature, public_keys, sign
from deployment.bundle_store import POINTERS, BundleStore, store_at
from deployment.settings import Settings

DEFAULT_TARGET = "purchase_7d"


@dataclass(frozen=True, slots=True)
class Bundles:
    """The bundles of a store.

    signing_key    what new bundles are signed with; None leaves them unsigned
    verify_keys    public keys, one of which must have signed whatever is read; none of them asks for no signature
    """

    store: BundleStore
    signing_key: Path | None = None
    verify_keys: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> "Bundles":
        """Those that the settings name. Raises BadInput if the public keys cannot be read."""
        trusted = settings.bundle_verify_keys_file
        keys = () if trusted is None else public_keys(trusted)
        return cls(BundleStore(settings.bundles), settings.bundle_signing_key_file, keys)

    def write(self, manifest: Manifest, files: Mapping[str, bytes]) -> None:
        """Put the bundle there, signed if there is a key; one that is there is checked and left alone."""
        if self.store.has(manifest.target, manifest.bundle_id):
            self.read(manifest.bundle_id)  # refuses a damaged one rather than to call it written
            return
        data = encode(manifest)
        signed = {} if self.signing_key is None else {SIGNATURE_FILE: sign(data, self.signing_key)}
        self.store.write(manifest.target, manifest.bundle_id, {**files, **signed, MANIFEST_FILE: data})

    def read(self, name: str, target: str = DEFAULT_TARGET) -> tuple[Manifest, dict[str, bytes]]:
        """The manifest and the other files by name of a bundle, whole and checked against each other.

        `name` is an id, or a pointer of the target. Raises BadInput if there is none, BundleRefused if it is not what
        was written, or not signed by whom it must be.
        """
        bundle_id = name if is_bundle_id(name) else self.resolve(name, target)
        files = self.store.read(target_of(bundle_id), bundle_id)
        data, signature = files.pop(MANIFEST_FILE, None), files.pop(SIGNATURE_FILE, None)
        if data is None:
            raise BundleRefused(f"bundle {bundle_id}: {MANIFEST_FILE} missing; restore the bundle or train again")
        manifest = decode(data)
        if manifest.bundle_id != bundle_id:
            raise BundleRefused(
                f"{bundle_id} in {self.store} holds the bundle {manifest.bundle_id}; rename the directory back"
            )
        if self.verify_keys:
            check_signature(f"bundle {bundle_id}", data, signature, self.verify_keys)
        check_files(manifest, files)
        return manifest, files

    def resolve(self, name: str, target: str = DEFAULT_TARGET) -> str:
        """The id that a pointer of the target holds, or the id itself. Raises BadInput if there is no such bundle."""
        if name not in POINTERS and not is_bundle_id(name):
            raise BadInput(f"there is no bundle {name!r} in {self.store}; `opportune bundles list` shows them")
        return self.store.resolve(target if name in POINTERS else target_of(name), name)

    def current_id(self, target: str = DEFAULT_TARGET) -> str | None:
        """The id that `current` names, None before the first training.

        Raises BundleRefused if the pointer is not what was written, or names no bundle of the target.
        """
        found = self.store.pointed(target, "current")
        if found is not None and (not is_bundle_id(found) or target_of(found) != target):
            raise BundleRefused(f"current of {target} in {self.store} names {found}, which is no bundle of it")
        return found


def bundles_at(place: "Bundles | BundleStore | Path | str") -> Bundles:
    """The bundles at a path, a URL or in a store, without signatures; bundles are themselves."""
    return place if isinstance(place, Bundles) else Bundles(store_at(place))
