"""The project's promise about grading: each known answer gets exactly the points it should."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import nbformat

from grader import answers, engine, source
from grader.house import House
from labkit import notebook as notebooks
from labkit.course import Lab
from labkit.errors import UserError

MIN_WRONG = 3
MIN_RIGHT = 1


@dataclass(frozen=True)
class Case:
    """One known submission, and the checks that it must lose."""

    name: str
    kind: str
    files: dict[str, bytes]
    loses: frozenset[str]


@dataclass(frozen=True)
class Proof:
    """What became of one case. `surprises` says in a sentence each where the grading was not as it must be."""

    name: str
    kind: str
    score: float
    max_score: float
    seconds: float
    lost: tuple[str, ...]
    surprises: tuple[str, ...]


def prove(house: House, lab: Lab, workers: int, done: Callable[[], None] = lambda: None) -> list[Proof]:
    """Judge every known answer of `lab`: untouched and reference twice, each wrong and each right answer once.

    Raises UserError for a lab whose answers do not cover its checks.
    """
    solved = source.notebook(lab)
    released = house.course.lab(lab.name)
    known = list(cases(lab, released))
    names = [str(index) for index in range(len(known))]
    jobs = [
        engine.Job(name, released, nbformat.writes(solved), case.files) for name, case in zip(names, known, strict=True)
    ]
    results: dict[str, engine.Result] = {}
    for result in engine.run_all(jobs, workers):
        results[result.student] = result
        done()
    proofs = [_proof(case, results[name]) for name, case in zip(names, known, strict=True)]
    return _twice_the_same(proofs)


def cases(lab: Lab, released: Lab) -> Iterator[Case]:
    """Every known submission of `lab`."""
    solved = source.notebook(lab)
    checks = frozenset(cell.metadata.nbgrader.grade_id for cell in solved.cells if notebooks.is_check(cell))
    known = answers.read(lab)
    _covers(lab, checks, known)
    untouched = {name: (released.path / name).read_bytes() for name in answers.reference(lab, solved)}
    for kind in ("untouched", "reference") * 2:
        files = untouched if kind == "untouched" else answers.reference(lab, solved)
        yield Case(kind, kind, files, checks if kind == "untouched" else frozenset())
    for answer in known:
        yield Case(answer.name, answer.kind, answers.apply(lab, solved, answer), answer.loses)


def _covers(lab: Lab, checks: frozenset[str], known: list[answers.Answer]) -> None:
    file = lab.path / "answers.toml"
    for answer in known:
        for name in (answer.loses | answer.covers) - checks:
            raise UserError(f"{file}, answer {answer.name!r}: names {name!r}, which is no check of this lab")
    for check in sorted(checks):
        wrong = sum(check in answer.loses for answer in known)
        right = sum(check in answer.covers for answer in known)
        if wrong < MIN_WRONG or right < MIN_RIGHT:
            raise UserError(
                f"{file}: the check {check!r} has {wrong} wrong and {right} right answers; "
                f"it needs at least {MIN_WRONG} and {MIN_RIGHT}"
            )


def _proof(case: Case, result: engine.Result) -> Proof:
    report = result.report
    lost = tuple(check.grade_id for check in report.results if check.points < check.max_points)
    surprises = [report.problem] if report.problem else []
    for check in report.results:
        if check.grade_id in case.loses and check.points > 0:
            surprises.append(f"{check.grade_id} gave {check.points:g} points and should have given none")
        if check.grade_id not in case.loses and check.points < check.max_points and check.status != "by hand":
            surprises.append(f"{check.grade_id} was lost and should not be: {check.message}")
    return Proof(case.name, case.kind, report.score, report.max_score, result.seconds, lost, tuple(surprises))


def _twice_the_same(proofs: list[Proof]) -> list[Proof]:
    """The first proof of each name, with a surprise where the second run of the same submission differs."""
    kept: dict[tuple[str, str], Proof] = {}
    for proof in proofs:
        first = kept.setdefault((proof.kind, proof.name), proof)
        if (first.score, first.lost) != (proof.score, proof.lost):
            told = f"a second run gave {proof.score:g} points, the first {first.score:g}"
            kept[proof.kind, proof.name] = Proof(**{**first.__dict__, "surprises": (*first.surprises, told)})
    return list(kept.values())
