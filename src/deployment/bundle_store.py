"""Where trained artefacts are kept: entries in families, and the pointers that say which of them counts.

<root>/<family>/<entry>/manifest.json ...     an entry: a directory that appears whole or not at all
<root>/<family>/current                       a pointer: an entry's name, and a hash that no flipped bit survives
<root>/<family>/reports/...                   what lies beside and is no entry

A family is a target (`purchase_7d`) or another kind of artefact (`personas`). What is in an entry is not this room's
matter: it knows only that `manifest.json` makes a directory one.
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from behavior.errors import BadInput, BundleRefused
from behavior.manifest import MANIFEST_FILE
from deployment.file_places import FilePlace, LocalPlace, RemotePlace

CURRENT, PREVIOUS, CANARY, SHADOW = POINTERS = ("current", "previous", "canary", "shadow")
# Written before two pointers change places, taken away after: whoever finds it finishes what was begun.
_SWAP = ".swap"
_FAMILY = re.compile(r"[a-z0-9_]{1,64}")
_ENTRY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_BESIDE = re.compile(r"[a-z]+/[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class BundleStore:
    """A store at a local path, or at a URL of fsspec (`s3://bucket/bundles`, `memory://bundles`).

    Pointers are changed by one process at a time; whoever reads them meanwhile finds the old or the new.
    """

    def __init__(self, root: Path | str) -> None:
        self._place: FilePlace = (
            RemotePlace(root) if isinstance(root, str) and "://" in root else LocalPlace(Path(root))
        )

    def __str__(self) -> str:
        return str(self._place)

    def write(self, family: str, name: str, files: Mapping[str, bytes]) -> None:
        """Put an entry there, durably, `manifest.json` among its files.

        Raises BadInput for names that are none, and if there is such an entry already.
        """
        if MANIFEST_FILE not in files:
            raise BadInput(f"{name} has no {MANIFEST_FILE}; an entry of {self} needs one")
        if self.has(family, name):
            raise BadInput(f"{self} has {name} already; entries never change")
        self._place.write_entry(_entry(family, name), files, MANIFEST_FILE)

    def has(self, family: str, name: str) -> bool:
        """Whether there is such an entry."""
        return self._place.read(f"{_entry(family, name)}/{MANIFEST_FILE}") is not None

    def read(self, family: str, name: str) -> dict[str, bytes]:
        """All files of an entry by name. Raises BundleRefused if it is not there."""
        files = self._place.read_entry(_entry(family, name))
        if not files:
            raise BundleRefused(f"{name} cannot be read in {self}: it is not there; restore it or train again")
        return files

    def manifest(self, family: str, name: str) -> bytes:
        """The manifest file of an entry. Raises BundleRefused if it is not there."""
        data = self._place.read(f"{_entry(family, name)}/{MANIFEST_FILE}")
        if data is None:
            raise BundleRefused(f"{name} cannot be read in {self}: it is not there; restore it or train again")
        return data

    def names(self, family: str) -> list[str]:
        """The entries of a family, sorted by name."""
        found = self._place.directories(_family(family))
        return [name for name in found if _ENTRY.fullmatch(name) and self.has(family, name)]

    def families(self) -> list[str]:
        """The families that have an entry, sorted."""
        return [each for each in self._place.directories("") if _FAMILY.fullmatch(each) and self.names(each)]

    def delete(self, family: str, name: str) -> None:
        """Take an entry away. Raises BadInput if a pointer names it."""
        self._finish_swap(family)  # until then `previous` does not name what it will
        naming = [pointer for pointer, named in self.pointers(family).items() if named == name]
        if naming:
            raise BadInput(f"{name} is {' and '.join(naming)} of {family}; point elsewhere first")
        self._place.delete(_entry(family, name), MANIFEST_FILE)

    def sweep(self, family: str) -> None:
        """Finish what a writer that died has begun, and take away what it has left."""
        self._finish_swap(family)
        self._place.sweep(_family(family))

    def pointed(self, family: str, pointer: str) -> str | None:
        """The name of the entry that the pointer names, None if it was never set.

        Raises BadInput for an unknown pointer, BundleRefused if a single bit of it is not as it was written.
        """
        if pointer not in POINTERS:
            raise BadInput(f"{pointer!r} is no pointer to a bundle; use one of {', '.join(POINTERS)}")
        return self._named_by(family, pointer)

    def pointers(self, family: str) -> dict[str, str]:
        """What each pointer names, those that are set."""
        found = ((pointer, self.pointed(family, pointer)) for pointer in POINTERS)
        return {pointer: name for pointer, name in found if name is not None}

    def point(self, family: str, pointer: str, name: str | None) -> None:
        """Let the pointer name the entry, atomically and durably; None takes the pointer away.

        Raises BadInput for an unknown pointer, or if the entry is not there.
        """
        if pointer not in POINTERS:
            raise BadInput(f"{pointer!r} is no pointer to a bundle; use one of {', '.join(POINTERS)}")
        self._finish_swap(family)
        if name is None:
            self._place.delete(f"{_family(family)}/{pointer}", MANIFEST_FILE)
        else:
            self._refuse_absent(family, name)
            self._point(family, pointer, name)

    def promote(self, family: str, name: str) -> None:
        """Make the entry `current` and the one that was so `previous`; nothing changes if it is current already.

        `previous` moves first: cut off between the two, `current` is as it was, and running it again ends the same.
        Raises BadInput if the entry is not there.
        """
        self._refuse_absent(family, name)
        current = self._sound_current(family)
        if current == name:
            return
        if current is not None:
            self._point(family, PREVIOUS, current)
        self._point(family, CURRENT, name)

    def rollback(self, family: str) -> str:
        """Let `current` and `previous` change places; the name of the entry that is current now.

        Cut off at any point, the next change of a pointer, or this again, finishes it. Raises BadInput if there is
        nothing to go back to, BundleRefused for a damaged pointer.
        """
        finished = self._finish_swap(family)
        if finished is not None:
            return finished
        current, previous = self.pointed(family, CURRENT), self.pointed(family, PREVIOUS)
        if current is None or previous is None or current == previous:
            raise BadInput(f"{family} has no previous bundle in {self}; promote one by its id")
        self._refuse_absent(family, previous)
        self._point(family, _SWAP, current)
        return str(self._finish_swap(family))

    def resolve(self, family: str, name: str) -> str:
        """The name that a pointer holds, or the entry's own name. Raises BadInput if there is no such one."""
        if name in POINTERS:
            found = self.pointed(family, name)
            if found is None:
                raise BadInput(f"{family} has no {name} in {self}; train one with `opportune train`")
            return found
        self._refuse_absent(family, name)
        return name

    def put_beside(self, family: str, path: str, data: bytes) -> None:
        """Write a file that is no part of an entry, such as `reports/<id>.html`."""
        self._place.write(f"{_family(family)}/{_beside(path)}", data)

    def read_beside(self, family: str, path: str) -> bytes | None:
        """A file that is no part of an entry, None if it is not there."""
        return self._place.read(f"{_family(family)}/{_beside(path)}")

    def _sound_current(self, family: str) -> str | None:
        """What is current; damaged pointers are no reason not to set them anew, but what they named is lost."""
        try:
            self._finish_swap(family)
            return self.pointed(family, CURRENT)
        except BundleRefused:
            self._place.delete(f"{_family(family)}/{_SWAP}", MANIFEST_FILE)
            return None

    def _finish_swap(self, family: str) -> str | None:
        """Finish the rollback that was begun, if one was; the name of what is current then."""
        leaving = self._named_by(family, _SWAP)
        if leaving is None:
            return None
        current = self.pointed(family, CURRENT)
        if current == leaving:
            current = self.pointed(family, PREVIOUS)
            assert current is not None  # a swap begins with both
            self._point(family, CURRENT, current)
        self._point(family, PREVIOUS, leaving)
        self._place.delete(f"{_family(family)}/{_SWAP}", MANIFEST_FILE)
        return current

    def _named_by(self, family: str, pointer: str) -> str | None:
        data = self._place.read(f"{_family(family)}/{pointer}")
        if data is None:
            return None
        name = data.partition(b" ")[0].decode("ascii", "replace")
        if _ENTRY.fullmatch(name) is None or data != _pointer(family, name):
            raise BundleRefused(
                f"the pointer {pointer} of {family} in {self} is not what was written; "
                "set it anew with `opportune promote`"
            )
        return name

    def _point(self, family: str, pointer: str, name: str) -> None:
        self._place.write(f"{_family(family)}/{pointer}", _pointer(family, name))

    def _refuse_absent(self, family: str, name: str) -> None:
        if not self.has(family, name):
            raise BadInput(f"there is no bundle {name!r} of {family} in {self}; train one with `opportune train`")


def store_at(place: BundleStore | Path | str) -> BundleStore:
    """The store at a path or a URL; a store is itself."""
    return place if isinstance(place, BundleStore) else BundleStore(place)


def _pointer(family: str, name: str) -> bytes:
    return f"{name} {sha256(f'{family}/{name}'.encode()).hexdigest()}\n".encode()


def _family(family: str) -> str:
    if _FAMILY.fullmatch(family) is None:
        raise BadInput(f"{family!r} is no target; it looks like purchase_7d")
    return family


def _entry(family: str, name: str) -> str:
    if _ENTRY.fullmatch(name) is None or name in POINTERS:
        raise BadInput(f"{name!r} is no bundle id; it looks like purchase_7d-20170925-0123abcd")
    return f"{_family(family)}/{name}"


def _beside(path: str) -> str:
    if _BESIDE.fullmatch(path) is None:
        raise BadInput(f"{path!r} is no name of a file beside bundles; it looks like reports/<id>.html")
    return path
