"""A synthetic class: students made out of a lab's known answers, each with the checks that must be lost."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, cycle, islice

import nbformat
from nbformat.notebooknode import NotebookNode

from grader import answers, source, unbound
from grader.answers import Answer, Edit
from labkit import notebook as notebooks
from labkit.course import Lab
from labkit.errors import UserError

RIGHT = 4

NAMES = (
    ("Aldana", "Inés"),
    ("Bakke", "Torvald"),
    ("Calloway", "June"),
    ("Dragan", "Mirela"),
    ("Eriksen", "Pål"),
    ("Fontaine", "Margaux"),
    ("Gathoni", "Wambui"),
    ("Haddad", "Samir"),
    ("Ilves", "Kaarel"),
    ("Jankowski", "Zofia"),
    ("Kalani", "Noa"),
    ("Lindqvist", "Astrid"),
    ("Mbeki", "Themba"),
    ("Novak", "Petra"),
    ("Okafor", "Chidi"),
    ("Pereira", "Duarte"),
    ("Quispe", "Amaru"),
    ("Rahimi", "Laleh"),
    ("Sato", "Haruka"),
    ("Tamm", "Oskar"),
    ("Ueda", "Ren"),
    ("Varga", "Ildikó"),
    ("Whitlock", "Rosa"),
    ("Zeman", "Jakub"),
)
"""Nobody's: made up for this class."""


@dataclass(frozen=True)
class Case:
    """What one student hands in. `refused`: `lab submit` would not pack it, so it was zipped by hand."""

    story: str
    files: Mapping[str, bytes] = field(repr=False)
    loses: frozenset[str]
    refused: bool = False


@dataclass(frozen=True)
class _Parts:
    """What every case of a lab is made of."""

    lab: Lab
    solved: NotebookNode
    known: Sequence[Answer]
    untouched: Mapping[str, bytes]

    @property
    def checks(self) -> list[str]:
        return [cell.metadata.nbgrader.grade_id for cell in self.solved.cells if notebooks.is_check(cell)]

    def wrong(self) -> list[Answer]:
        return [answer for answer in self.known if answer.kind == "wrong"]

    def files(self, answer: Answer | None = None) -> dict[str, bytes]:
        if answer is None:
            return answers.reference(self.lab, self.solved)
        return answers.apply(self.lab, self.solved, answer)


def call(lab: Lab, released: Lab) -> list[Case]:
    """The class, one case for each of `NAMES`. Raises UserError where the lab's answers are too few for it."""
    solved = source.notebook(lab)
    untouched = {name: (released.path / name).read_bytes() for name in answers.reference(lab, solved)}
    parts = _Parts(lab, solved, answers.read(lab), untouched)
    wrong = _spread(parts)
    combined = list(_combined(parts, wrong))
    cases = [*_right(parts), *_broken(parts), *(case for case, _ in combined)]
    used = [answer.name for _, group in combined for answer in group]
    alone = cycle([answer for answer in wrong if answer.name not in used] or wrong)
    for answer in islice(alone, len(NAMES) - len(cases)):
        cases.append(Case(f"wrong: {answer.name}", parts.files(answer), answer.loses))
    # Dealt out so that the kinds are mixed over the alphabet, the same way each time.
    return [cases[(7 * place) % len(cases)] for place in range(len(cases))]


def _right(parts: _Parts) -> Iterator[Case]:
    yield Case("the reference", parts.files(), frozenset())
    for answer in [answer for answer in parts.known if answer.kind == "right"][: RIGHT - 1]:
        yield Case(f"right: {answer.name}", parts.files(answer), frozenset())


def _spread(parts: _Parts) -> list[Answer]:
    """The wrong answers, a different check's each time, those that lose least first."""
    left = sorted(parts.wrong(), key=lambda answer: len(answer.loses))
    if not left:
        raise UserError(f"{parts.lab.path / 'answers.toml'} has no wrong answer: a class cannot be made of it")
    found: list[Answer] = []
    while left:
        for check in parts.checks:
            answer = next((answer for answer in left if check in answer.loses), None)
            if answer is not None:
                left.remove(answer)
                found.append(answer)
    return found


def _combined(parts: _Parts, wrong: Sequence[Answer]) -> Iterator[tuple[Case, tuple[Answer, ...]]]:
    """Students with several mistakes at once, in checks and files that do not touch."""
    left = list(wrong)
    for size in (3, 3, 2, 2):
        group = next(filter(_apart, combinations(left, size)), None)
        if group is not None:
            left = [answer for answer in left if answer not in group]
            lost = frozenset(name for answer in group for name in answer.loses)
            edits = tuple(edit for answer in group for edit in answer.edits)
            story = "wrong: " + " and ".join(answer.name for answer in group)
            yield Case(story, parts.files(replace(group[0], edits=edits)), lost), group


def _apart(group: Sequence[Answer]) -> bool:
    """Whether the answers lose different checks and edit different files or cells."""
    lost = [name for answer in group for name in answer.loses]
    places = [place for answer in group for place in {_place(edit) for edit in answer.edits}]
    return len(lost) == len(set(lost)) and len(places) == len(set(places))


def _place(edit: Edit) -> str:
    return edit.file or f"cell {edit.cell}"


# Broken ones: what a class really hands in.


def _broken(parts: _Parts) -> Iterator[Case]:
    every = frozenset(parts.checks)
    name = parts.lab.notebook
    reference = parts.files()
    yield Case("untouched", parts.untouched, every)
    yield Case("a notebook cut off in the middle", reference | {name: reference[name][:2000]}, every, refused=True)
    yield Case("no notebook", {path: data for path, data in reference.items() if path != name}, every, refused=True)
    wrong = parts.wrong()[-1]
    unchecked = parts.files(wrong) | {name: _without_checks(parts.files(wrong)[name])}
    yield Case("a wrong answer, and every check deleted", unchecked, wrong.loses)
    yield _syntax_error(parts)
    yield _endless(parts)
    yield _kernel_ended(parts)


def _syntax_error(parts: _Parts) -> Case:
    """A starter file that Python cannot read: what needs it is lost, and nothing else."""
    path, lost = _loosest(parts)
    broken = parts.files()[path] + b"\n\ndef unfinished(:\n"
    return Case(f"a syntax error in {path}", parts.files() | {path: broken}, lost)


def _endless(parts: _Parts) -> Case:
    """An answer that never ends: a cell of the notebook where one is answered there, else a starter file."""
    files, name = parts.files(), parts.lab.notebook
    book = nbformat.reads(files[name].decode(), as_version=4)
    cells = [cell for cell in book.cells if cell.cell_type == "code" and notebooks.is_answer(cell)]
    if cells:
        cells[0].source = "while True:\n    pass"
        cell = cells[0].metadata.nbgrader.grade_id
        lost = unbound.checks_without(parts.solved, frozenset(), frozenset({cell}))
        return Case(f"an endless loop in {cell}", files | {name: nbformat.writes(book).encode()}, lost)
    path, lost = _loosest(parts)
    looped = files[path] + b"\n\nwhile True:\n    pass\n"
    return Case(f"an endless loop in {path}", files | {path: looped}, lost)


def _loosest(parts: _Parts) -> tuple[str, frozenset[str]]:
    """The starter file that the fewest checks need, and these checks."""
    files = parts.files()
    lost = {
        path: unbound.checks_without(parts.solved, unbound.broken_by(files, path))
        for path in files
        if path.endswith(".py")
    }
    needed = [path for path in lost if lost[path]]
    if not needed:
        raise UserError(f"{parts.lab.path}: no check needs a Python file of starter/, so none can be broken")
    path = min(needed, key=lambda path: (len(lost[path]), path))
    return path, lost[path]


def _kernel_ended(parts: _Parts) -> Case:
    """A cell of the student's own, halfway, that ends the kernel: the checks after it cannot run."""
    checks = parts.checks
    half = len(checks) // 2
    files = parts.files()
    book = nbformat.reads(files[parts.lab.notebook].decode(), as_version=4)
    names = [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in book.cells]
    own = nbformat.v4.new_code_cell("import os\n\nos._exit(3)", id="own-cell")
    book.cells.insert(names.index(checks[half - 1]) + 1 if half else 0, own)
    files[parts.lab.notebook] = nbformat.writes(book).encode()
    return Case("a cell that ends the kernel", files, frozenset(checks[half:]))


def _without_checks(data: bytes) -> bytes:
    book = nbformat.reads(data.decode(), as_version=4)
    book.cells = [cell for cell in book.cells if not notebooks.is_check(cell)]
    return bytes(nbformat.writes(book).encode())
