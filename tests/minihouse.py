"""A whole course in a temporary folder, with one small lab, for tests of the tools themselves."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grader import new
from grader.house import House
from labkit.course import Course, Lab

NAME = "90-mini"


def make(root: Path) -> House:
    """A course in the empty folder `root` with the lab that `grader new` makes; not built yet."""
    for name in ("labs", "solutions", "datasets"):
        (root / name).mkdir(parents=True)
    house = House(Course(root))
    new.create(house, NAME)
    return house


def lab(house: House) -> Lab:
    """That lab's source, read afresh."""
    return house.source(NAME)


@contextmanager
def inside(house: House) -> Iterator[None]:
    """The current folder is the course's, as it is for somebody who runs a command there."""
    before = Path.cwd()
    os.chdir(house.course.root)
    try:
        yield
    finally:
        os.chdir(before)


def edit(path: Path, old: str, new: str) -> None:
    """Replace `old`, which must be there once, in the file `path`."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path} has {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new), encoding="utf-8")
