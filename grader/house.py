"""The instructor's side of the course folder: the sources of the labs and the classroom."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from labkit.course import Course, Lab, find, pick, read_lab
from labkit.errors import UserError

ROOM = "MLE_CLASSROOM"
"""Names another classroom where nothing can be passed on: nbgrader, run as a command, reads its own configuration."""


@dataclass(frozen=True)
class House:
    """A course folder that has the sources of its labs."""

    course: Course
    room: str = "classroom"

    @property
    def solutions(self) -> Path:
        return self.course.root / "solutions"

    @property
    def classroom(self) -> Path:
        """Submissions, feedback and the gradebook: nothing of it goes into git."""
        return self.course.root / self.room

    def sources(self) -> list[Lab]:
        """Every lab as its author wrote it, by number."""
        return [read_lab(file.parent) for file in sorted(self.solutions.glob("[0-9][0-9]-*/lab.toml"))]

    def source(self, wanted: str) -> Lab:
        """The source of the lab called `wanted`."""
        return pick(self.sources(), wanted)

    def release(self, lab: Lab) -> Path:
        """The folder of `lab` that students get."""
        return self.course.labs_dir / lab.name


def here() -> House:
    """The house around the current folder. Raises UserError where the labs' sources are not there."""
    house = House(find(), os.environ.get(ROOM) or House.room)
    if not house.solutions.is_dir():
        raise UserError(
            f"{house.course.root} has no folder solutions/: `grader` needs the instructor's copy of the course"
        )
    return house


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """An empty folder that becomes `target` at once if all goes well; otherwise `target` stays as it was."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as name:
        fresh = Path(name) / "new"
        fresh.mkdir()
        yield fresh
        if target.exists():
            target.rename(Path(name) / "old")
        fresh.rename(target)
