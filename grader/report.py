"""What a class did in a lab: one page to read and one table to export, from the verdicts and nbgrader's gradebook."""

import csv
import io
import math
import re
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from nbgrader.api import Gradebook

from grader import collect, gradebook
from grader.engine import Result
from grader.house import House
from labkit.checks import CheckResult
from labkit.course import Lab
from labkit.errors import UserError
from labkit.state import replacing

TOP_MESSAGES = 3
STUMBLES = 5


@dataclass(frozen=True)
class Grades:
    """What nbgrader's gradebook says of one submission: points by check, those given by hand included."""

    points: Mapping[str, float]
    penalty: float
    waiting: frozenset[str]
    seconds_late: float


@dataclass(frozen=True)
class Message:
    """A message that several students got, with the first one's figures."""

    text: str
    students: int
    check: str = ""


@dataclass(frozen=True)
class Check:
    """How the class did in one check."""

    grade_id: str
    task: str
    max_points: float
    passed: int
    judged: int
    waiting: int
    messages: tuple[Message, ...]

    @property
    def rate(self) -> float:
        """The share of the judged submissions that got all points."""
        return self.passed / self.judged if self.judged else 0.0


@dataclass(frozen=True)
class Student:
    """One student's points, by task and by check, and all that is to be said of the submission."""

    student: str
    name: str
    score: float
    max_score: float
    tasks: Mapping[str, tuple[float, float]]
    checks: Mapping[str, float]
    lost: tuple[CheckResult, ...]
    problem: str
    late: str
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Bar:
    """How many students have the points that `label` names."""

    label: str
    count: int


@dataclass(frozen=True)
class ClassReport:
    """All of it, ready to be shown."""

    lab: Lab
    students: tuple[Student, ...]
    checks: tuple[Check, ...]
    ungraded: tuple[str, ...]
    stumbles: tuple[Message, ...]
    bars: tuple[Bar, ...]
    max_score: float
    made: datetime

    @property
    def scores(self) -> list[float]:
        return [student.score for student in self.students]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.scores)

    @property
    def median(self) -> float:
        return statistics.median(self.scores)

    @property
    def checks_by_task(self) -> dict[str, list[Check]]:
        """The checks under each of the notebook's headings, in its order."""
        found: dict[str, list[Check]] = {}
        for check in self.checks:
            found.setdefault(check.task, []).append(check)
        return found

    @property
    def tasks(self) -> dict[str, float]:
        """The points of each task, in the lab's order."""
        return {task: sum(check.max_points for check in checks) for task, checks in self.checks_by_task.items()}


def write(house: House, lab: Lab, now: datetime | None = None) -> Path:
    """Write `index.html` and `grades.csv` of `lab` into the classroom's `report/`; returns the page's path.

    Raises UserError where nothing is graded yet.
    """
    made = gather(house, lab, now or datetime.now(UTC))
    folder = house.classroom / "report" / lab.name
    for name, text in (("grades.csv", table(made)), ("index.html", page(made))):
        with replacing(folder / name) as file:
            file.write(text.encode())
        (folder / name).chmod(0o644)
    return folder / "index.html"


# Figures.


def gather(house: House, lab: Lab, now: datetime) -> ClassReport:
    """Put together what is known of `lab`. Raises UserError where nothing is graded yet."""
    results = gradebook.results(house, lab)
    if not results:
        raise UserError(f"{lab.name}: nothing is graded yet: run `grader grade {lab.number:02d}` first")
    records = collect.records(house, lab)
    grades = _grades(house, lab)
    students = []
    for result in results:
        graded = grades.get(result.student)
        checks = _with_grades(result.report.results, graded)
        remarks = (*result.report.notes, *_stale(house, lab, result.student))
        one = _student(result, checks, graded, records.get(result.student, {}), remarks)
        students.append(one)
    every = [_with_grades(result.report.results, grades.get(result.student)) for result in results]
    stopped = {result.student for result in results if result.report.problem}
    checks_made = tuple(_checks(results, every, stopped, grades))
    maximum = max(student.max_score for student in students)
    return ClassReport(
        lab=lab,
        students=tuple(sorted(students, key=lambda one: (one.name.casefold(), one.student))),
        checks=checks_made,
        ungraded=tuple(sorted(records.keys() - {result.student for result in results})),
        stumbles=_stumbles(checks_made),
        bars=tuple(bars([student.score for student in students], maximum)),
        max_score=maximum,
        made=now,
    )


def _grades(house: House, lab: Lab) -> dict[str, Grades]:
    file = gradebook.database(house)
    if not file.is_file():
        return {}
    found = {}
    with Gradebook(f"sqlite:///{file}") as book:
        if lab.name not in {assignment.name for assignment in book.assignments}:
            return {}
        for one in book.assignment_submissions(lab.name):
            given = [grade for notebook in one.notebooks for grade in notebook.grades]
            found[str(one.student.id)] = Grades(
                points={grade.name: float(grade.score or 0) for grade in given},
                penalty=sum(float(notebook.late_submission_penalty or 0) for notebook in one.notebooks),
                waiting=frozenset(grade.name for grade in given if grade.needs_manual_grade),
                seconds_late=float(one.total_seconds_late),
            )
    return found


def _with_grades(checks: Sequence[CheckResult], graded: Grades | None) -> tuple[CheckResult, ...]:
    """The verdicts with the gradebook's points: an instructor may have given others by hand."""
    points = graded.points if graded else {}
    return tuple(replace(check, points=points.get(check.grade_id, check.points)) for check in checks)


def _student(
    result: Result,
    checks: Sequence[CheckResult],
    graded: Grades | None,
    record: Mapping[str, Any],
    remarks: tuple[str, ...],
) -> Student:
    tasks: dict[str, tuple[float, float]] = {}
    for check in checks:
        points, maximum = tasks.get(check.task, (0.0, 0.0))
        tasks[check.task] = points + check.points, maximum + check.max_points
    waiting = sorted(graded.waiting) if graded else []
    penalty = graded.penalty if graded else 0.0
    if waiting:
        remarks += (f"waits to be read by an instructor: {', '.join(waiting)}",)
    if penalty:
        remarks += (f"{penalty:g} points taken off for being late",)
    return Student(
        student=result.student,
        name=str(record.get("name") or result.student),
        score=max(0.0, sum(check.points for check in checks) - penalty),
        max_score=sum(check.max_points for check in checks),
        tasks=tasks,
        checks={check.grade_id: check.points for check in checks},
        lost=tuple(c for c in checks if c.points < c.max_points and c.grade_id not in waiting),
        problem=result.report.problem or "",
        late=_late(graded.seconds_late if graded else 0, bool(record.get("late"))),
        remarks=remarks,
    )


def _late(seconds: float, marked: bool) -> str:
    minutes = int(seconds // 60)
    if seconds >= 86_400:
        return f"{minutes // 1440} d {minutes % 1440 // 60} h late"
    if seconds > 0:
        return f"{minutes // 60} h {minutes % 60} min late"
    return "marked late by Canvas" if marked else ""


def _stale(house: House, lab: Lab, student: str) -> tuple[str, ...]:
    verdict = house.classroom / "results" / lab.name / f"{student}.json"
    handed = house.classroom / "submitted" / student / lab.name / collect.RECORD
    if handed.is_file() and handed.stat().st_mtime > verdict.stat().st_mtime:
        return (f"handed in again since it was graded: run `grader grade {lab.number:02d} --student {student}`",)
    return ()


def _checks(
    results: Sequence[Result],
    every: Sequence[Sequence[CheckResult]],
    stopped: set[str],
    grades: Mapping[str, Grades],
) -> Iterator[Check]:
    order = {check.grade_id: check for checks in every for check in checks}
    for name, first in order.items():
        found = [
            (result.student, check)
            for result, checks in zip(results, every, strict=True)
            for check in checks
            if check.grade_id == name
        ]
        waiting = {student for student, _ in found if student in grades and name in grades[student].waiting}
        judged = [(student, check) for student, check in found if student not in waiting]
        lost = [
            check.message for student, check in judged if check.points < check.max_points and student not in stopped
        ]
        yield Check(
            grade_id=name,
            task=first.task,
            max_points=first.max_points,
            passed=sum(check.points >= check.max_points for _, check in judged),
            judged=len(judged),
            waiting=len(waiting),
            messages=tuple(_common(lost)),
        )


def _common(messages: Sequence[str]) -> Iterator[Message]:
    """The most frequent messages; two that differ only in figures, or in names made at random, are one."""
    alike = [re.sub(r"[0-9a-f]{8,}|\d[\d,._]*", "0", message) for message in messages]
    first = dict(zip(reversed(alike), reversed(messages), strict=True))
    for key, count in Counter(alike).most_common(TOP_MESSAGES):
        yield Message(first[key] or "points were taken off by hand", count)


def _stumbles(checks: Sequence[Check]) -> tuple[Message, ...]:
    """What most of the class stumbled on, over all checks; one student's own slip only where there is nothing else."""
    found = [replace(message, check=check.grade_id) for check in checks for message in check.messages]
    shared = [message for message in found if message.students > 1]
    return tuple(sorted(shared or found, key=lambda message: -message.students)[:STUMBLES])


def bars(scores: Sequence[float], maximum: float) -> Iterator[Bar]:
    """Scores in groups of one size, zeros apart: nothing at all is something else than a little."""
    top = math.ceil(maximum)
    width = max(1, math.ceil(top / 10))
    yield Bar("0", sum(score <= 0 for score in scores))
    for low in range(0, top, width):
        high = min(low + width, top)
        label = f"{high}" if high - low == 1 else f"{low + 1} to {high}"
        yield Bar(label, sum(low < score <= high or (high == top < score) for score in scores))


# Form.


def page(report: ClassReport) -> str:
    """The report as one HTML page that needs nothing else."""
    environment = Environment(
        loader=PackageLoader("grader", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["points"] = lambda number: f"{round(number, 2):g}"
    environment.filters["short"] = _short
    return environment.get_template("report.html").render(report=report)


def _short(task: str) -> str:
    """A task's heading as a column's: `Task 3: one schema` -> `Task 3`."""
    return re.split(r"[:(\u00b7\u2013\u2014]", task)[0].strip()[:12] or "-"


def table(report: ClassReport) -> str:
    """The grades as CSV: one row a student, a column a check."""
    checks = [check.grade_id for check in report.checks]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["student", "name", "score", "max_score", *checks, "late", "problem"])
    for one in report.students:
        points = [f"{one.checks[name]:g}" if name in one.checks else "" for name in checks]
        first, last = [one.student, one.name], [one.late, one.problem]
        row = [*map(_inert, first), f"{one.score:g}", f"{one.max_score:g}", *points, *map(_inert, last)]
        writer.writerow(row)
    return text.getvalue()


def _inert(text: str) -> str:
    """`text` as no spreadsheet takes it for a formula: students choose their names."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
