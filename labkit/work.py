"""The student's own copies of the labs: made once, put back to the start on request, never lost."""

import os
import shutil
import stat
from datetime import datetime
from pathlib import Path

from labkit.course import Course, Lab
from labkit.errors import FailureError, UserError

_CLUTTER = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")


def ensure(course: Course, lab: Lab) -> Path | None:
    """Give the student a copy of `lab` where there is none yet; returns its folder when it was made now."""
    target = course.work(lab)
    if target.exists():
        if not target.is_dir():
            raise UserError(f"{target} is not a folder: move it away, then run the command again")
        return None
    staged = _stage(course, lab)
    staged.rename(target)
    return target


def reset(course: Course, lab: Lab, now: datetime) -> Path | None:
    """Put the student's copy of `lab` back to the start; returns where the work before was backed up.

    Nothing is touched before the backup and the fresh copy are complete and on the disk. Then files are replaced one by
    one, in the same folder, so that an open notebook or terminal stays where it is.
    """
    target = course.work(lab)
    if ensure(course, lab):
        return None
    backup = _back_up(target, course.state_dir / "backups" / lab.name, now)
    staged = _stage(course, lab)
    try:
        _replace_content(target, staged)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return backup


def _stage(course: Course, lab: Lab) -> Path:
    """A complete copy of the released lab beside the place it will take."""
    staged = course.work_dir / f".{lab.name}.new"
    shutil.rmtree(staged, ignore_errors=True)
    _copy(lab.path, staged)
    return staged


def _back_up(source: Path, folder: Path, now: datetime) -> Path:
    final = _free(folder / f"{now:%Y-%m-%d-%H%M%S}")
    partial = final.with_name(f".{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    _copy(source, partial, everything=True)
    partial.rename(final)
    _sync(folder)
    return final


def _copy(source: Path, target: Path, *, everything: bool = False) -> None:
    """Copy a folder and wait until all of it is on the disk; leaves nothing behind when it cannot."""
    _refuse_special(source)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target, symlinks=True, ignore=None if everything else _CLUTTER)
        for path in (target, *target.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | stat.S_IWUSR)
                _sync(path)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(target, ignore_errors=True)
        raise FailureError(
            f"{source} could not be copied to {target.parent} ({_reason(error, target.parent)}): nothing was changed"
        ) from None
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _replace_content(target: Path, staged: Path) -> None:
    wanted = {path.relative_to(staged) for path in staged.rglob("*")}
    for path in sorted(target.rglob("*"), reverse=True):  # what lies in a folder before the folder
        relative = path.relative_to(target)
        same_kind = (staged / relative).is_dir() == (path.is_dir() and not path.is_symlink())
        if relative not in wanted or not same_kind:
            _remove(path)
    for relative in sorted(wanted):  # a folder before what lies in it
        if (staged / relative).is_dir():
            (target / relative).mkdir(exist_ok=True)
        else:
            (staged / relative).replace(target / relative)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _refuse_special(folder: Path) -> None:
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
            raise UserError(f"{path} is neither a file nor a folder (a pipe or a device): remove it, then try again")


def _reason(error: OSError | shutil.Error, folder: Path) -> str:
    """shutil joins the errors of all files into one list: say the one that matters."""
    if shutil.disk_usage(folder if folder.exists() else folder.parent).free < 1024 * 1024:
        return "the disk is full: free some space"
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        return str(error.args[0][0][2])
    return str(error.strerror or error)


def _sync(path: Path) -> None:
    if os.name != "posix" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _free(path: Path) -> Path:
    candidate, count = path, 2
    while candidate.exists():
        candidate, count = path.with_name(f"{path.name}-{count}"), count + 1
    return candidate
