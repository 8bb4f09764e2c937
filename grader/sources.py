"""What lies in a folder or in a zip, listed without following or opening anything that is not a plain file."""

import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from labkit.errors import UserError
from labkit.submission import MAX_TOTAL, MIB, Kind, RefusedError, zip_kind

MAX_ITEMS = 100_000
MAX_ARCHIVE = MAX_TOTAL + MIB
"""What one student's archive may be at most, its own overhead included."""

_SKIPPED = {"__MACOSX", "__pycache__", ".ipynb_checkpoints", ".git", ".venv", ".DS_Store", "Thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Item:
    """One thing in a source. `name` is its path there; `modified` is seconds, comparable within the source only."""

    name: str
    kind: Kind
    size: int
    modified: float
    load: Callable[[int], bytes]

    def read(self) -> bytes:
        """Its bytes. Raises RefusedError where there are more or fewer than was declared, or no archive's cap holds."""
        if self.size > MAX_ARCHIVE:
            raise RefusedError([f"{self.name!a} is {self.size / MIB:.1f} MiB: remove data and large outputs"])
        data = self.load(self.size + 1)
        if len(data) != self.size:
            raise RefusedError([f"{self.name!a} cannot be read whole: hand it in again"])
        return data


@contextmanager
def opened(path: Path) -> Iterator[list[Item]]:
    """Everything in the folder or zip `path`, by name. Raises UserError where it is neither."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} does not exist: give the folder or the zip that holds the submissions") from None
    if stat.S_ISDIR(mode):
        yield _capped(_walk(path), path)
    elif stat.S_ISREG(mode):
        try:
            archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile:
            raise UserError(f"{path} is not a zip, or a damaged one: download it again, or give a folder") from None
        with archive:
            yield _capped(_members(archive), path)
    else:
        raise UserError(f"{path} is neither a folder nor a zip: give what holds the submissions")


def file(path: Path) -> Item:
    """The file `path` itself, as an item."""
    return _item(path, path.name)


def _capped(items: Iterator[Item], path: Path) -> list[Item]:
    found = []
    for item in items:
        found.append(item)
        if len(found) > MAX_ITEMS:
            raise UserError(f"{path} holds more than {MAX_ITEMS:,} files: give the folder that holds submissions only")
    return sorted(found, key=lambda item: item.name)


def skipped(name: str) -> bool:
    """Whether a path is what tools leave behind and nobody hands in."""
    parts = name.split("/")
    return not _SKIPPED.isdisjoint(parts) or parts[-1].startswith("._")


def _walk(folder: Path) -> Iterator[Item]:
    todo = [(path, path.name) for path in folder.iterdir()]
    while todo:
        path, name = todo.pop()
        if skipped(name):
            continue
        item = _item(path, name)
        yield item
        if item.kind == "folder":
            todo += [(inner, f"{name}/{inner.name}") for inner in path.iterdir()]


def _item(path: Path, name: str) -> Item:
    found = path.lstat()
    kind = _kind(found.st_mode)
    return Item(name, kind, found.st_size if kind == "file" else 0, found.st_mtime, partial(_read_file, path))


def _kind(mode: int) -> Kind:
    if stat.S_ISDIR(mode):
        return "folder"
    if stat.S_ISLNK(mode):
        return "symlink"
    return "file" if stat.S_ISREG(mode) else "special"


def _read_file(path: Path, size: int) -> bytes:
    # Neither a link nor a pipe that took the file's place since it was listed is followed or waited for.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as stream:
        return stream.read(size)


def _members(archive: zipfile.ZipFile) -> Iterator[Item]:
    for info in archive.infolist():
        name = info.orig_filename
        if skipped(name):
            continue
        modified = sum(part * 100**place for place, part in enumerate(reversed(info.date_time)))
        yield Item(
            name.rstrip("/"), zip_kind(info), info.file_size, float(modified), partial(_read_member, archive, info)
        )


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int) -> bytes:
    try:
        with archive.open(info) as stream:
            return stream.read(size)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError, EOFError) as error:
        raise RefusedError([f"{info.orig_filename!a} cannot be unpacked ({error}): hand it in again"]) from None
