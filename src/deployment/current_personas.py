"""Where the current personas are read: an entry of the store of bundles, in a family of its own."""

from typing import Protocol

from behavior.errors import BundleRefused
from behavior.manifest import MANIFEST_FILE
from behavior.personas import FAMILY, Personas, decode
from deployment.bundle_store import CURRENT


class Readable(Protocol):
    """As much of `BundleStore` as reading needs."""

    def read(self, family: str, name: str) -> dict[str, bytes]:
        """All files of an entry by name."""
        ...

    def pointed(self, family: str, pointer: str) -> str | None:
        """The name of the entry that the pointer names, None if it was never set."""
        ...


def current_id(store: Readable) -> str | None:
    """The id of the current personas, None if none were made. Raises BundleRefused for a damaged pointer."""
    return store.pointed(FAMILY, CURRENT)


def read_personas(store: Readable, personas_id: str) -> Personas:
    """The personas of that id. Raises BundleRefused if they are not there, or not what was written."""
    found = decode(store.read(FAMILY, personas_id).get(MANIFEST_FILE, b""))
    if found.personas_id != personas_id:
        raise BundleRefused(
            f"{personas_id} holds the personas {found.personas_id}; restore it or run `opportune segment` again"
        )
    return found


def current_personas(store: Readable) -> Personas | None:
    """The current personas, None if none were made. Raises BundleRefused as the other two."""
    name = current_id(store)
    return None if name is None else read_personas(store, name)
