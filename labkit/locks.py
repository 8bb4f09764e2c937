"""What the locks under requirements/ pin for this machine, and what of it is not installed yet."""

import importlib.metadata
import re
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from labkit.errors import FailureError


@dataclass(frozen=True)
class Pin:
    """One package at one version. Without hashes where one version is several files (torch)."""

    requirement: Requirement
    hashes: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return re.sub(r"[-_.]+", "-", self.requirement.name).lower()

    def accepts(self, version: str) -> bool:
        return self.requirement.specifier.contains(version, prereleases=True)

    def is_installed(self) -> bool:
        """Whether that version is here, whole: pip writes RECORD when everything else is in place."""
        try:
            found = importlib.metadata.distribution(self.requirement.name)
        except importlib.metadata.PackageNotFoundError:
            return False
        return found.read_text("RECORD") is not None and self.accepts(found.version)


def read(requirements: Path, extra: str) -> tuple[Pin, ...]:
    """The pins of an extra that apply here: those of its lock, and those of its `.pin` file where it has one."""
    lock, loose = requirements / f"{extra}.lock", requirements / f"{extra}.pin"
    if not lock.is_file():
        raise FailureError(f"{lock} is missing: get it again with `git checkout -- requirements`")
    return _parse(lock, hashed=True) + (_parse(loose, hashed=False) if loose.is_file() else ())


def _parse(file: Path, *, hashed: bool) -> tuple[Pin, ...]:
    text = file.read_text(encoding="utf-8")
    lines = re.sub(r"\\\r?\n", " ", text).splitlines()
    pins = (_pin(file, line, hashed=hashed) for line in lines if line.strip() and not line.lstrip().startswith("#"))
    return tuple(pin for pin in pins if pin.requirement.marker is None or pin.requirement.marker.evaluate())


def _pin(file: Path, line: str, *, hashed: bool) -> Pin:
    text, *hashes = line.split("--hash=sha256:")
    try:
        requirement = Requirement(text.strip())
    except InvalidRequirement:
        raise FailureError(
            f"{file}: {text.strip()!r} is no pinned package: run `git checkout -- requirements`"
        ) from None
    if hashed and not hashes:
        raise FailureError(f"{file}: {requirement.name} has no hash: run `git checkout -- requirements`")
    return Pin(requirement, frozenset(one.strip() for one in hashes))
