"""From collected submissions to the gradebook: jobs out, verdicts in."""

from collections.abc import Callable

import nbformat

from grader import engine, gradebook, source
from grader.house import House
from labkit import checks, cloud
from labkit.course import Lab
from labkit.errors import FailureError, UserError


def grade(
    house: House,
    lab: Lab,
    workers: int,
    only: frozenset[str] = frozenset(),
    done: Callable[[engine.Result], None] = lambda _: None,
) -> list[engine.Result]:
    """Judge every collected submission of `lab` (or those of the students in `only`) and write the gradebook.

    Raises UserError where nothing was collected, FailureError where this machine lacks what the lab needs.
    """
    jobs = _jobs(house, lab, only)
    ready(lab)
    finished: list[engine.Result] = []

    def told(result: engine.Result) -> engine.Result:
        finished.append(result)
        done(result)
        return result

    gradebook.write(house, lab, map(told, engine.run_all(jobs, workers)))
    return sorted(finished, key=lambda result: result.student)


def ready(lab: Lab) -> None:
    """Raise FailureError where a cloud that `lab` needs cannot start here: it would cost students points."""
    for name in cloud.NAMES:
        sentence = cloud.available(name) if name in lab.needs else None
        if sentence:
            raise FailureError(f"{lab.name} cannot be graded on this machine yet: {sentence}")


def _jobs(house: House, lab: Lab, only: frozenset[str]) -> list[engine.Job]:
    folders = gradebook.submitted(house, lab)
    if not folders:
        raise UserError(f"nothing was collected for {lab.name}: run `grader collect {lab.number:02d} FOLDER` first")
    for student in only - folders.keys():
        raise UserError(f"no submission of {lab.name} was collected from {student!r}")
    reference = nbformat.writes(source.notebook(lab))
    released = house.course.lab(lab.name)
    return [
        engine.Job(
            student,
            released,
            reference,
            {file.relative_to(folder).as_posix(): file.read_bytes() for file in checks.student_files(lab, folder)},
        )
        for student, folder in folders.items()
        if not only or student in only
    ]
