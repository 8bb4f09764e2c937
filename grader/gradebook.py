"""The one writer: verdicts go into nbgrader's gradebook and its folders, through nbgrader's own programs."""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nbgrader.apps import NbGraderAPI
from traitlets.config import Config

from grader import build, classic, source
from grader.engine import Result
from grader.house import House
from labkit.course import Lab
from labkit.errors import UserError
from labkit.state import replacing

_PREPROCESSORS = "nbgrader.preprocessors"


_OUTSIDE = re.compile(r'<script[^>]*\bsrc="https?://[^"]*"[^>]*>\s*</script>')
"""nbgrader's template loads MathJax from a third party: a student's feedback asks nobody for anything."""


def database(house: House) -> Path:
    """The gradebook's file."""
    return house.classroom / "gradebook.db"


def submitted(house: House, lab: Lab) -> dict[str, Path]:
    """The folder of each student's collected submission of `lab`, by student."""
    root = house.classroom / "submitted"
    return {folder.parent.name: folder for folder in sorted(root.glob(f"*/{lab.name}")) if folder.is_dir()}


def results(house: House, lab: Lab) -> list[Result]:
    """Every verdict kept for `lab`, by student."""
    folder = house.classroom / "results" / lab.name
    return [Result.from_json(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]


def write(house: House, lab: Lab, verdicts: Iterable[Result]) -> None:
    """Write each verdict: its JSON under `results/`, its notebook under `autograded/`, its grades into the gradebook.

    Grades that an instructor gave by hand stay: nbgrader keeps them apart from the automatic ones.
    """
    with _writer(house, lab) as save:
        for verdict in verdicts:
            save(verdict)


@contextmanager
def _writer(house: House, lab: Lab) -> Iterator[Callable[[Result], None]]:
    house.classroom.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mle-gradebook-") as name:
        root = Path(name)
        build.generate(lab, source.notebook(lab), classic.configure(Config(), house, root))
        api = classic.api(_without_execution(house, root))

        def save(verdict: Result) -> None:
            folder = root / "submitted" / verdict.student / lab.name
            folder.mkdir(parents=True)
            (folder / lab.notebook).write_text(verdict.notebook, encoding="utf-8")
            stamp = house.classroom / "submitted" / verdict.student / lab.name / "timestamp.txt"
            if stamp.is_file():
                shutil.copyfile(stamp, folder / "timestamp.txt")
            classic.call(api.autograde, lab.name, verdict.student)
            _name(api, verdict.student)
            shutil.rmtree(folder)
            with replacing(house.classroom / "results" / lab.name / f"{verdict.student}.json") as file:
                file.write(verdict.to_json().encode())

        yield save


def _name(api: NbGraderAPI, student: str) -> None:
    """Let nbgrader's screens show the id of a student whose name nobody has entered: they would show `None, None`."""
    with api.gradebook as book:
        if book.find_student(student).last_name is None:
            book.update_or_create_student(student, last_name=student, first_name="")


def _without_execution(house: House, root: Path) -> Config:
    """nbgrader's autograde as it is, but for the steps that the engine has done: it reads the outputs it finds."""
    config = classic.configure(Config(), house, root)
    config.CourseDirectory.submitted_directory = "submitted"
    config.CourseDirectory.autograded_directory = str(house.classroom / "autograded")
    config.CourseDirectory.source_directory = str(root / "nothing")
    config.Autograde.sanitize_preprocessors = [
        f"{_PREPROCESSORS}.{name}" for name in ("DeduplicateIds", "OverwriteCells", "CheckCellMetadata")
    ]
    config.Autograde.autograde_preprocessors = [
        f"{_PREPROCESSORS}.{name}"
        for name in ("LimitOutput", "SaveAutoGrades", "AssignLatePenalties", "CheckCellMetadata")
    ]
    return config


def feedback(house: House, lab: Lab) -> list[Path]:
    """Write nbgrader's feedback page for each graded student, without hidden tests; returns the pages."""
    if not list((house.classroom / "autograded").glob(f"*/{lab.name}/{lab.notebook}")):
        raise UserError(f"{lab.name}: nothing is graded yet: run `grader grade {lab.number:02d}` first")
    api = classic.api(classic.configure(Config(), house))
    classic.call(api.generate_feedback, lab.name)
    pages = sorted((house.classroom / "feedback").glob(f"*/{lab.name}/{lab.slug}.html"))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        page.write_text(_OUTSIDE.sub("", text), encoding="utf-8")
    return pages


def scores(house: House, lab: Lab) -> dict[str, tuple[float, float]]:
    """Score and maximum of each student in nbgrader's gradebook, manual grades included."""
    api = classic.api(classic.configure(Config(), house))
    return {
        entry["student"]: (float(entry["score"]), float(entry["max_score"]))
        for entry in api.get_submissions(lab.name)
        if entry["autograded"]
    }
