"""The main job with nobody at the keyboard: a made-up class hands in, is collected, graded and reported on."""

import io
import shutil
import time
import unicodedata
import zipfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from grader import collect, engine, gradebook, report, roll, shapes
from grader import grade as grading
from grader.house import House
from labkit import session, submission
from labkit.console import stderr
from labkit.course import Lab
from labkit.errors import FailureError, UserError
from labkit.state import locked

ROOM = "classroom-demo"
CELL_SECONDS = 30
"""An endless loop is waited for: a shorter limit than the lab's keeps the demonstration short."""

LATE = (5, 17)
AGAIN = 11
"""Places in the class of those who hand in late, and of the one who hands in a second time."""

_MARK = ".demo"
_PACKED = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]


@dataclass(frozen=True)
class Shown:
    """What came out: the report's page, how long it took, and each score that is not what the answers say."""

    page: Path
    students: int
    grading: float
    seconds: float
    surprises: tuple[str, ...]


def run(house: House, lab: Lab, workers: int, say: Callable[[str], None], progress: Progress) -> Shown:
    """Do all of it in a classroom of its own, begun afresh. Raises UserError where that folder is somebody's."""
    began = time.monotonic()
    own = House(house.course, room=ROOM)
    lab = replace(lab, limits=replace(lab.limits, cell_seconds=min(CELL_SECONDS, lab.limits.cell_seconds)))
    # Nobody has typed `lab start` yet: what the lab needs may still be missing.
    session.install_for(house.course, lab, session.clouds_for(lab, ()), stderr)
    grading.ready(lab)
    busy = f"{own.classroom} is in use by another `grader demo`: wait for it, then run this again"
    with locked(house.course.state_dir / "demo.lock", 1, busy):
        _afresh(own.classroom)
        cases = roll.call(lab, house.course.lab(lab.name))
        download = pack(house, lab, cases, own.classroom / "submissions.zip")
        say(f"{len(cases)} made-up students have handed in {lab.name}: {download.relative_to(house.course.root)}")
        outcomes = collect.collect(own, lab, download)
        say("collected: " + collect.summary(outcomes))
        started = time.monotonic()
        with progress("grading", len(cases)) as done:
            results = grading.grade(own, lab, workers, done=lambda _: done())
        seconds = time.monotonic() - started
        say(f"graded: {len(results)} in {seconds:.0f} s, {seconds / len(results):.1f} s each, {workers} at a time")
        say(f"feedback: {len(gradebook.feedback(own, lab))} pages in {ROOM}/feedback/")
        page = report.write(own, lab)
        return Shown(page, len(cases), seconds, time.monotonic() - began, tuple(surprises(own, lab, cases, results)))


def surprises(house: House, lab: Lab, cases: Sequence[roll.Case], results: Sequence[engine.Result]) -> list[str]:
    """A sentence for each student of whom the gradebook does not say what the answers say."""
    points = {one.student: one for one in report.gather(house, lab, datetime.now(UTC)).students}
    verdicts = {result.student: result for result in results}
    found = []
    for place, case in enumerate(cases):
        student = _student(place)
        if student not in verdicts:
            found.append(f"{student} ({case.story}) was not graded")
            continue
        checks = verdicts[student].report.results
        maximum = {check.grade_id: check.max_points for check in checks if check.status != "by hand"}
        lost = {name for name in maximum if points[student].checks[name] < maximum[name]}
        partly = {name for name in lost if points[student].checks[name] > 0}
        if lost != case.loses or partly:
            told = f"should lose {_names(case.loses)} and lost {_names(lost)}"
            found.append(f"{student} ({case.story}) {told}")
    return found


def _names(checks: frozenset[str] | set[str]) -> str:
    return ", ".join(sorted(checks)) or "nothing"


# Handing in.


def pack(house: House, lab: Lab, cases: Sequence[roll.Case], target: Path) -> Path:
    """Everybody's archive in one zip, named as Canvas names them; always the same bytes."""
    released = house.course.lab(lab.name)
    entries = {}
    for place, case in enumerate(cases):
        late = "_LATE" if place in LATE else ""
        name = f"{_canvas_name(place)}{late}_{_number(place)}"
        if place == AGAIN:
            first = roll.Case("a first try", cases[0].files, frozenset(), refused=True)
            entries[f"{name}_{90_000 + place}_{lab.name}.zip"] = _archive(lab, released, first, target.parent)
            entries[f"{name}_{90_900 + place}_{lab.name}-1.zip"] = _archive(lab, released, case, target.parent)
        else:
            entries[f"{name}_{90_000 + place}_{lab.name}.zip"] = _archive(lab, released, case, target.parent)
    target.write_bytes(_zipped(entries))
    return target


def _archive(lab: Lab, released: Lab, case: roll.Case, folder: Path) -> bytes:
    """What the student uploads: made as `lab submit` makes it, or by hand where it would refuse."""
    if case.refused:
        return _zipped(dict(case.files))
    entries = [submission.Entry(name, len(data), "file", data) for name, data in case.files.items()]
    path = folder / "packed.zip"
    submission.write_archive(submission.from_entries(entries, lab), released, path, _PACKED)
    data = path.read_bytes()
    path.unlink()
    return data


def _zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return buffer.getvalue()


def _canvas_name(place: int) -> str:
    """Last and first name as Canvas writes them: in one, in lower case."""
    bare = unicodedata.normalize("NFKD", "".join(roll.NAMES[place]))
    return "".join(letter for letter in bare if letter.isalpha()).casefold()


def _number(place: int) -> int:
    return 4_100 + 7 * place


def _student(place: int) -> str:
    """The folder that collecting gives to that student."""
    return shapes.folder_name(f"{_canvas_name(place)} {_number(place)}")


def _afresh(folder: Path) -> None:
    """An empty classroom, marked as this command's own: anybody else's stays as it is."""
    if folder.exists() and not (folder / _MARK).is_file():
        raise UserError(f"{folder} was not made by `grader demo`: move it away, then run this again")
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        raise FailureError(f"{folder} could not be emptied: close what uses it, then run this again")
    folder.mkdir(parents=True)
    (folder / _MARK).touch()
