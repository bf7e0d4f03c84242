"""Where the files of a store lie: a directory on this machine, or any filesystem that fsspec knows.

Paths are relative, with `/` between their parts. An entry is a directory of files that appears whole or not at all.
"""

import os
import shutil
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from behavior.errors import BadInput, Unavailable
from deployment.durable import flush, replace_durably

# A staging directory of this age belongs to a writer that died.
_ABANDONED_S = 3600.0


class FilePlace(Protocol):
    """What a store needs of the place where its files lie."""

    def read(self, path: str) -> bytes | None:
        """The file's bytes, None if there is none."""

    def write(self, path: str, data: bytes) -> None:
        """Put the file there in place of the one before."""

    def write_entry(self, path: str, files: Mapping[str, bytes], last: str) -> None:
        """Put a directory with these files there; whoever finds the file `last` finds all of them."""

    def read_entry(self, path: str) -> dict[str, bytes]:
        """The files of a directory by name, none if it is not there; one of a directory in it is named with a `/`."""

    def directories(self, path: str) -> list[str]:
        """The names of the directories in a directory, sorted."""

    def delete(self, path: str, last: str) -> None:
        """Take a file away, or an entry so that `last` is the first of its files to go."""

    def sweep(self, path: str) -> None:
        """Take away what writers that died have left in the directory."""


class LocalPlace:
    """A directory on this machine: writes are atomic, and survive a power cut."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __str__(self) -> str:
        return str(self._root)

    def read(self, path: str) -> bytes | None:
        """The file's bytes, None if there is none."""
        try:
            return (self._root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unreadable(self._root / path, error) from None

    def write(self, path: str, data: bytes) -> None:
        """Put the file there in place of the one before, atomically."""
        target = self._root / path
        self._make(target.parent)
        replace_durably(target, data)

    def write_entry(self, path: str, files: Mapping[str, bytes], last: str) -> None:
        """Put a directory with these files there, atomically."""
        target = self._root / path
        self._make(target.parent)
        staging = target.parent / f".staging-{uuid.uuid4().hex}"
        staging.mkdir()
        try:
            for name, data in files.items():
                _write(staging / name, data)
            flush(staging)
            staging.rename(target)
            flush(target.parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def read_entry(self, path: str) -> dict[str, bytes]:
        """The files of a directory by name; a directory in it is named with a `/` behind."""
        try:
            found = sorted((self._root / path).iterdir())
            return {each.name: each.read_bytes() for each in found if not each.is_dir()} | {
                f"{each.name}/": b"" for each in found if each.is_dir()
            }
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise _unreadable(self._root / path, error) from None

    def directories(self, path: str) -> list[str]:
        """The names of the directories in a directory, sorted."""
        directory = self._root / path
        if not directory.is_dir():
            return []
        return sorted(each.name for each in directory.iterdir() if each.is_dir() and not each.name.startswith("."))

    def delete(self, path: str, last: str) -> None:
        """Take a file or a whole entry away; an entry is gone at once."""
        target = self._root / path
        if target.is_dir():
            doomed = target.parent / f".staging-{uuid.uuid4().hex}"
            target.rename(doomed)
            flush(target.parent)
            shutil.rmtree(doomed)
        elif target.exists():
            target.unlink()
            flush(target.parent)

    def sweep(self, path: str) -> None:
        """Take away staging directories that nobody has written to for an hour."""
        for each in (self._root / path).glob(".*"):
            if time.time() - each.stat().st_mtime > _ABANDONED_S:
                if each.is_dir():
                    shutil.rmtree(each, ignore_errors=True)
                elif "-" in each.name:  # a pointer's staging file; a pending swap is no rubbish
                    each.unlink(missing_ok=True)

    def _make(self, directory: Path) -> None:
        if not directory.is_dir():
            directory.mkdir(parents=True, exist_ok=True)
            for each in directory.parents:
                flush(each)
                if each == self._root.parent:
                    break


class RemotePlace:
    """A filesystem of fsspec: files first and the entry's last file last, for there is nothing to rename.

    A file is whole or not there where the filesystem puts files so, as object stores do.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self._url = url
        try:
            self._files, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise BadInput(f"{url} is no place for bundles here: {error}") from None
        self._root = str(root).rstrip("/")

    def __str__(self) -> str:
        return self._url

    def read(self, path: str) -> bytes | None:
        """The file's bytes, None if there is none."""
        try:
            data: bytes = self._ask("cat_file", f"{self._root}/{path}")
        except FileNotFoundError:
            return None
        return data

    def write(self, path: str, data: bytes) -> None:
        """Put the file there in place of the one before."""
        target = f"{self._root}/{path}"
        self._ask("makedirs", target.rpartition("/")[0], exist_ok=True)
        self._ask("pipe_file", target, data)

    def write_entry(self, path: str, files: Mapping[str, bytes], last: str) -> None:
        """Put these files there, the one that makes them an entry last."""
        for name in sorted(files, key=lambda name: name == last):
            self.write(f"{path}/{name}", files[name])

    def read_entry(self, path: str) -> dict[str, bytes]:
        """The files of a directory by name; a directory in it is named with a `/` behind."""
        found = {}
        for each in self._list(path):
            name = _name(each)
            if each["type"] == "directory":
                found[f"{name}/"] = b""
            else:
                found[name] = self.read(f"{path}/{name}") or b""
        return found

    def directories(self, path: str) -> list[str]:
        """The names of the directories in a directory, sorted."""
        return sorted(_name(each) for each in self._list(path) if each["type"] == "directory")

    def delete(self, path: str, last: str) -> None:
        """Take a file away, or an entry so that `last` is the first of its files to go."""
        for gone in (f"{self._root}/{path}/{last}", f"{self._root}/{path}"):
            self._files.invalidate_cache()
            with suppress(FileNotFoundError):
                self._ask("rm", gone, recursive=True)

    def sweep(self, path: str) -> None:
        """Leave all as it is: a file of an unfinished entry is written over by the next try."""

    def _list(self, path: str) -> list[Any]:
        self._files.invalidate_cache()  # other processes write too
        try:
            return list(self._ask("ls", f"{self._root}/{path}".rstrip("/"), detail=True))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _ask(self, what: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return getattr(self._files, what)(*args, **kwargs)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:
            raise Unavailable(f"the bundles at {self._url} cannot be reached ({type(error).__name__})") from error


def _name(listed: Mapping[str, Any]) -> str:
    return str(listed["name"]).rstrip("/").rpartition("/")[2]


def _unreadable(path: Path, error: OSError) -> BadInput:
    return BadInput(f"{path} cannot be read ({type(error).__name__}); restore it or train again")


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
