"""Seconds per submission: `grader grade` beside plain nbgrader, on the same submissions in one run.

The submissions are right answers of lab 02. What each runner needs once (its start, the gradebook's schema, the
emulators) is part of its time, as it is for an instructor.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table
from traitlets.config import Config

from grader import build, classic, grade, source
from grader.house import House, here
from labkit import checks
from labkit.course import Lab

LAB = "02"
STUDENTS = 4
ROUNDS = 2


def measure() -> None:
    """Time each runner on the same class, in turn, `ROUNDS` times; print medians."""
    house = here()
    lab = house.source(LAB)
    runners: dict[str, Callable[[House, Lab], None]] = {
        "nbgrader, in one process": lambda house, lab: _nbgrader(house, lab, 1),
        "nbgrader, two processes": lambda house, lab: _nbgrader(house, lab, 2),
        "grader grade, 1 worker": lambda house, lab: _ours(house, lab, 1),
        "grader grade, 2 workers": lambda house, lab: _ours(house, lab, 2),
    }
    walls: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(ROUNDS):
        for name, run in runners.items():
            walls[name].append(_timed(house, lab, run))
    _print(lab, walls)


def _print(lab: Lab, walls: dict[str, list[float]]) -> None:
    cores, load = os.cpu_count(), psutil.getloadavg()[0]
    title = f"{lab.name}: seconds per submission, {STUDENTS} submissions, {cores} cores, load {load:.1f}"
    table = Table(title=title, title_justify="left")
    for column in ("runner", "median", "lowest", "highest", "against one nbgrader"):
        table.add_column(column, justify="left" if column == "runner" else "right")
    base = next(iter(walls.values()))
    for name, times in walls.items():
        ratio = statistics.median(b / a for a, b in zip(times, base, strict=True))
        figures = (statistics.median(times), min(times), max(times))
        table.add_row(name, *(f"{seconds / STUDENTS:.2f}" for seconds in figures), f"{ratio:.2f} times as fast")
    Console().print(table)


def _timed(house: House, lab: Lab, run: Callable[[House, Lab], None]) -> float:
    """Seconds that `run` takes on a fresh class in a copy of the course."""
    with tempfile.TemporaryDirectory(prefix="mle-bench-") as name:
        room = House(house.course, room=str(Path(name) / "classroom"))
        for number in range(STUDENTS):
            _hand_in(room, lab, f"student{number:02d}")
        with checks.own_clouds():
            start = time.monotonic()
            run(room, lab)
            return time.monotonic() - start


def _hand_in(room: House, lab: Lab, student: str) -> None:
    folder = room.classroom / "submitted" / student / lab.name
    for file in checks.student_files(lab, lab.path):
        target = folder / file.relative_to(lab.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def _ours(room: House, lab: Lab, workers: int) -> None:
    results = grade.grade(room, lab, workers)
    assert all(result.report.score == result.report.max_score for result in results), "a right answer lost points"


def _nbgrader(room: House, lab: Lab, processes: int) -> None:
    """nbgrader's own autograde on disjoint students: processes share the gradebook's file, as two terminals would."""
    students = sorted(path.name for path in (room.classroom / "submitted").iterdir())
    staging = room.classroom.parent / "release"
    build.generate(lab, source.notebook(lab), classic.configure(Config(), room, staging))
    command = [sys.executable, "-m", "benchmarks.grading", str(room.classroom), lab.name]
    running = [subprocess.Popen([*command, *students[part::processes]]) for part in range(processes)]
    assert all(process.wait() == 0 for process in running), "nbgrader failed"


def _autograde(classroom: str, lab: str, students: list[str]) -> None:
    room = House(here().course, room=classroom)
    api = classic.api(classic.configure(Config(), room))
    for student in students:
        classic.call(api.autograde, lab, student)


if __name__ == "__main__":
    _autograde(sys.argv[1], sys.argv[2], sys.argv[3:])
