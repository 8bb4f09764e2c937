"""Where the course is on this disk, and what each lab's `lab.toml` says."""

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labkit.errors import UserError

NEEDS = ("aws", "gcp", "azure", "docker", "cluster", "gpu")
"""What a lab may need beyond Python: cloud emulators, a container engine, a cluster, an accelerator."""


@dataclass(frozen=True)
class Limits:
    """What grading one submission may use."""

    cell_seconds: int = 60
    total_seconds: int = 300
    memory_mb: int = 2048


@dataclass(frozen=True)
class Lab:
    """One lab, as its `lab.toml` describes it. `path` is the folder that file lies in."""

    path: Path
    number: int
    slug: str
    title: str
    summary: str
    minutes: int
    objectives: tuple[str, ...]
    topics: tuple[str, ...]
    tools: tuple[str, ...]
    needs: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

    @property
    def name(self) -> str:
        """The lab's folder name, e.g. `02-cloud-storage`."""
        return f"{self.number:02d}-{self.slug}"

    @property
    def notebook(self) -> str:
        """The notebook's file name, e.g. `cloud-storage.ipynb`."""
        return f"{self.slug}.ipynb"


@dataclass(frozen=True)
class Course:
    """The course's folder: labs as released, the student's own copies, the state of what runs."""

    root: Path

    @property
    def labs_dir(self) -> Path:
        return self.root / "labs"

    @property
    def work_dir(self) -> Path:
        """Where the student works: a copy of each lab, never touched by an update of the course."""
        return self.root / "work"

    @property
    def state_dir(self) -> Path:
        """What runs now and what was checked last. `MLE_STATE` puts it elsewhere (one a grading worker)."""
        return Path(os.environ.get("MLE_STATE") or self.root / ".lab").absolute()

    def labs(self) -> list[Lab]:
        """Every released lab, by number."""
        return [read_lab(file.parent) for file in sorted(self.labs_dir.glob("[0-9][0-9]-*/lab.toml"))]

    def lab(self, wanted: str) -> Lab:
        """The released lab called `wanted`: `2`, `02`, `cloud-storage` or `02-cloud-storage`."""
        return pick(self.labs(), wanted)

    def work(self, lab: Lab) -> Path:
        """The student's own folder of that lab."""
        return self.work_dir / lab.name


def pick(labs: list[Lab], wanted: str) -> Lab:
    """The one of `labs` called `wanted`; raises UserError naming the labs there are."""
    wanted = wanted.strip().rstrip("/")
    for lab in labs:
        if wanted in (lab.name, lab.slug) or (wanted.isdecimal() and int(wanted) == lab.number):
            return lab
    there = ", ".join(lab.name for lab in labs) or "none"
    raise UserError(f"there is no lab {wanted!r}; the labs here are: {there}")


def find(start: Path | None = None) -> Course:
    """The course around `start` (the current folder), else the one this package was installed from.

    `MLE_COURSE` names it outright. Raises UserError where there is none.
    """
    named = os.environ.get("MLE_COURSE")
    here = Path(named) if named else (start or Path.cwd())
    package = Path(__file__).resolve().parent.parent
    candidates = [here] if named else [here, *here.parents, package]
    for folder in candidates:
        if (folder / "labs").is_dir() and (folder / "datasets").is_dir():
            return Course(folder.resolve())
    raise UserError(f"{here} is not inside the course: go to the folder you cloned and run the command there")


def read_lab(folder: Path) -> Lab:
    """Read `folder/lab.toml`; raises UserError naming the file and the key that is wrong."""
    file = folder / "lab.toml"
    return _lab(file, read_toml(file, "a lab is described by its lab.toml"))


def read_toml(file: Path, purpose: str) -> dict[str, Any]:
    """What the TOML `file` holds; raises UserError, with its `purpose` where it is missing."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file} is missing: {purpose}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not valid TOML: {error}") from None


def _lab(file: Path, values: dict[str, Any]) -> Lab:
    limits = values.pop("limits", {})
    types: dict[str, type] = {"number": int, "minutes": int, "slug": str, "title": str, "summary": str}
    lists = ("objectives", "topics", "tools", "needs", "extras", "preload", "given")
    for key in values:
        if key not in types and key not in lists:
            raise UserError(f"{file}: unknown key {key!r}; known are {', '.join([*types, *lists, 'limits'])}")
    for key, kind in types.items():
        if not isinstance(values.get(key), kind) or isinstance(values.get(key), bool):
            raise UserError(f"{file}: {key} must be given, as {kind.__name__}")
    for key in lists:
        value = values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UserError(f"{file}: {key} must be a list of texts")
        values[key] = tuple(value)
    for key in ("objectives", "topics", "tools"):
        if not values[key]:
            raise UserError(f"{file}: {key} must name at least one")
    for need in values["needs"]:
        if need not in NEEDS:
            raise UserError(f"{file}: needs names {need!r}; known are {', '.join(NEEDS)}")
    lab = Lab(path=file.parent, limits=_limits(file, limits), **values)
    if file.parent.name != lab.name:
        raise UserError(f"{file}: number and slug say {lab.name!r}, but the folder is {file.parent.name!r}")
    return lab


def _limits(file: Path, values: object) -> Limits:
    known = Limits.__dataclass_fields__
    if not isinstance(values, dict) or any(key not in known for key in values):
        raise UserError(f"{file}: limits is a table of {', '.join(known)}")
    if any(isinstance(value, bool) or not isinstance(value, int) or value < 1 for value in values.values()):
        raise UserError(f"{file}: limits must be whole numbers, at least 1")
    return Limits(**values)
