"""Small files that two commands may want at once: replaced whole or not at all, and locks held while needed."""

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from labkit.errors import FailureError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` once all of it is on the disk; on any error `path` stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any, *, private: bool = False) -> None:
    """Write `value` to `path`, whole or not at all; `private` keeps other users of the machine from reading it."""
    with replacing(path) as file:
        if not private and os.name == "posix":
            os.fchmod(file.fileno(), 0o644)
        file.write(json.dumps(value, indent=2, sort_keys=True).encode() + b"\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The object written in `path`; None when there is no such file. Raises ValueError when it is damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


@contextlib.contextmanager
def locked(path: Path, seconds: float, message: str) -> Iterator[None]:
    """Hold the lock file `path`; raises FailureError with `message` when another holds it for `seconds`.

    The system lets go of it when its holder dies.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        limit = time.monotonic() + seconds
        while not _try_lock(file.fileno()):
            if time.monotonic() > limit:
                raise FailureError(message)
            time.sleep(0.05)
        yield


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
