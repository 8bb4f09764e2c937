"""Heavy tools on demand: what a lab needs beyond the core, with its size said first and one progress bar."""

import importlib
import re
import shutil
import sysconfig
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from labkit import locks, pip
from labkit.course import Course
from labkit.errors import FailureError
from labkit.locks import Pin

MB = 1_000_000
LEAST_SPACE = 500 * MB
UNPACKED = 4
"""What a download and its content take together, as a multiple of the download: compiled code shrinks to a third."""


@dataclass(frozen=True)
class Plan:
    """What is to be installed, and the bytes pip would download for each package (None: nobody says)."""

    extras: tuple[str, ...]
    pins: tuple[Pin, ...]
    sizes: dict[str, int | None]

    @property
    def known(self) -> int:
        return sum(size for size in self.sizes.values() if size is not None)

    def sentence(self) -> str:
        """E.g. `torch: 5 packages, 201 MB to download`."""
        count = f"{len(self.pins)} package{'s' if len(self.pins) > 1 else ''}"
        unknown = any(size is None for size in self.sizes.values())
        # What a pin without a lock needs besides (torch: the CUDA libraries of its index) is known to pip alone.
        least = unknown or any(not pin.hashes for pin in self.pins)
        if not self.known:
            size = "size unknown"
        else:
            size = f"{'at least ' if least else ''}{max(1, round(self.known / MB))} MB to download"
        return f"{', '.join(self.extras)}: {count}, {size}"


def missing(course: Course, extras: Iterable[str]) -> tuple[Pin, ...]:
    """The packages of `extras` that are not here at the pinned version. Asks neither pip nor the network."""
    wanted = {pin.name: pin for extra in extras for pin in locks.read(course.root / "requirements", extra)}
    return tuple(pin for pin in wanted.values() if not pin.is_installed())


def ensure(course: Course, extras: Iterable[str], console: Console) -> bool:
    """Install what `extras` need and is not here; says the size first. Returns whether anything was installed.

    Raises FailureError, with what was there intact, where the network, the lock or the disk is against it;
    a later call goes on with what is still missing.
    """
    extras = tuple(dict.fromkeys(extras))
    wanted = missing(course, extras)
    if not wanted:
        return False
    with console.status(f"looking up the size of {', '.join(extras)}"):
        plan = Plan(extras, wanted, pip.sizes(wanted))
    console.print(f"installing {plan.sentence()}")
    _require_space(plan)
    with _progress(console) as progress:
        bar = progress.add_task("preparing", total=plan.known or None)
        _install(plan, course.state_dir / "pip", Follower(progress, bar))
        progress.update(bar, completed=plan.known, description="installed")
    importlib.invalidate_caches()
    if left := missing(course, extras):
        names = ", ".join(pin.name for pin in left)
        raise FailureError(f"{names} is still missing after the installation: run the command again")
    return True


def _install(plan: Plan, folder: Path, follow: Callable[[str], None]) -> None:
    hashed = [pin for pin in plan.pins if pin.hashes]
    loose = [str(pin.requirement) for pin in plan.pins if not pin.hashes]
    shutil.rmtree(folder, ignore_errors=True)  # what a killed run left
    folder.mkdir(parents=True)
    try:
        if hashed:
            with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".txt", encoding="utf-8", delete=False) as file:
                file.writelines(_line(pin) for pin in hashed)
            # The lock is complete, so pip need not look for what a package needs.
            pip.install(["--require-hashes", "--no-deps", "--requirement", file.name], folder, follow)
        if loose:
            pip.install(loose, folder, follow)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _line(pin: Pin) -> str:
    return " ".join([str(pin.requirement), *(f"--hash=sha256:{one}" for one in sorted(pin.hashes))]) + "\n"


def _require_space(plan: Plan) -> None:
    place = Path(sysconfig.get_path("purelib"))
    free, needed = shutil.disk_usage(place).free, plan.known * UNPACKED or LEAST_SPACE
    if free < needed:
        raise FailureError(
            f"installing {', '.join(plan.extras)} takes about {needed // MB} MB and {place} has {free // MB} MB free: "
            "free some space and run the command again"
        )


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


class Follower:
    """Turns pip's lines into one bar over all downloads."""

    def __init__(self, progress: Progress, bar: TaskID) -> None:
        self._progress, self._bar = progress, bar
        self._before = 0  # bytes of the files that are complete
        self._now = 0

    def __call__(self, line: str) -> None:
        if step := re.match(r"Progress (\d+) of (\d+)", line):
            self._now = int(step[1])
        elif file := re.match(r"\s*(Downloading|Using cached|Processing) (\S+)", line):
            self._begin(file[2], _stated(line))
        elif line.startswith("Installing collected packages"):
            self._before, self._now = self._before + self._now, 0
            self._progress.update(self._bar, description="installing")
        self._progress.update(self._bar, completed=self._before + self._now)

    def _begin(self, name: str, size: int) -> None:
        self._before += self._now
        self._now = 0
        if name.endswith(".metadata"):
            return
        if Path(name).is_file():
            size = Path(name).stat().st_size
        # Without raw progress a file counts when it begins; with it, `Progress` lines follow and count from 0.
        self._now = size
        self._progress.update(self._bar, description=pip.file_name(name).split("-")[0])


def _stated(line: str) -> int:
    """The size that pip puts behind a file's name, e.g. `(12.3 MB)`."""
    found = re.search(r"\((\d+(?:\.\d+)?) (bytes|kB|MB|GB)\)", line)
    return int(float(found[1]) * {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[found[2]]) if found else 0
