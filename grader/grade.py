"""From collected submissions to the gradebook: jobs out, verdicts in."""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import nbformat

from grader import collect, engine, gradebook, source
from grader.house import House
from labkit import checks, cloud, notebook
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
    folders = _folders(house, lab, only)
    problems = {student: problem for student, folder in folders.items() if (problem := collect.problem(folder))}
    jobs = _jobs(house, lab, {student: folder for student, folder in folders.items() if student not in problems})
    if jobs:
        ready(lab)
    refused = (refusal(lab, student, problem) for student, problem in problems.items())
    finished: list[engine.Result] = []

    def told(result: engine.Result) -> engine.Result:
        finished.append(result)
        done(result)
        return result

    gradebook.write(house, lab, map(told, chain(refused, engine.run_all(jobs, workers))))
    return sorted(finished, key=lambda result: result.student)


def ready(lab: Lab) -> None:
    """Raise FailureError where a cloud that `lab` needs cannot start here: it would cost students points."""
    for name in cloud.NAMES:
        sentence = cloud.available(name) if name in lab.needs else None
        if sentence:
            raise FailureError(f"{lab.name} cannot be graded on this machine yet: {sentence}")


def refusal(lab: Lab, student: str, problem: str) -> engine.Result:
    """No points and one sentence, for a submission that collecting refused: nothing of it is run."""
    judged = checks.judge(lab, source.notebook(lab), {})
    for cell in judged.executed.cells:
        if notebook.is_check(cell):
            notebook.fail(cell, "NotRun", problem)
    results = (replace(one, message=problem) if one.status == "not run" else one for one in judged.report.results)
    report = checks.CheckReport(tuple(results), problem)
    return engine.Result(student, lab.name, report, nbformat.writes(judged.executed), 0.0)


def _folders(house: House, lab: Lab, only: frozenset[str]) -> dict[str, Path]:
    folders = gradebook.submitted(house, lab)
    if not folders:
        raise UserError(f"nothing was collected for {lab.name}: run `grader collect {lab.number:02d} FOLDER` first")
    for student in only - folders.keys():
        raise UserError(f"no submission of {lab.name} was collected from {student!r}")
    return {student: folder for student, folder in folders.items() if not only or student in only}


def _jobs(house: House, lab: Lab, folders: dict[str, Path]) -> list[engine.Job]:
    reference = nbformat.writes(source.notebook(lab))
    released = replace(house.course.lab(lab.name), limits=lab.limits)
    return [
        engine.Job(
            student,
            released,
            reference,
            {file.relative_to(folder).as_posix(): file.read_bytes() for file in checks.student_files(lab, folder)},
        )
        for student, folder in folders.items()
    ]
