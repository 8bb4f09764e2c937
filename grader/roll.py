"""A synthetic class: students made out of a lab's known answers, each with the checks that must be lost."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, combinations
from typing import TypeVar

import nbformat
from nbformat.notebooknode import NotebookNode

from grader import answers, source
from grader.answers import Answer, Edit
from labkit import notebook as notebooks
from labkit.course import Lab
from labkit.errors import UserError

RIGHT = 4
_Place = TypeVar("_Place")

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
    cases = [*_right(parts), *_broken(parts), *_combined(parts)]
    spread = _spread(parts)
    while len(cases) < len(NAMES):
        answer = next(spread)
        cases.append(Case(f"wrong: {answer.name}", parts.files(answer), answer.loses))
    # Dealt out so that the kinds are mixed over the alphabet, the same way each time.
    return [cases[(7 * place) % len(cases)] for place in range(len(cases))]


def _right(parts: _Parts) -> Iterator[Case]:
    yield Case("the reference", parts.files(), frozenset())
    for answer in [answer for answer in parts.known if answer.kind == "right"][: RIGHT - 1]:
        yield Case(f"right: {answer.name}", parts.files(answer), frozenset())


def _spread(parts: _Parts) -> Iterator[Answer]:
    """The wrong answers, a different check each time, again and again."""
    wrong = parts.wrong()
    if not wrong:
        raise UserError(f"{parts.lab.path / 'answers.toml'} has no wrong answer: a class cannot be made of it")
    left = list(wrong)
    while True:
        for check in parts.checks:
            found = next((answer for answer in left if check in answer.loses), None)
            if found is not None:
                left.remove(found)
                yield found
        left = left or list(wrong)


def _combined(parts: _Parts) -> Iterator[Case]:
    """Students with several mistakes at once, in checks and places that do not touch."""
    used: set[str] = set()
    for size in (3, 3, 2, 2):
        left = [answer for answer in parts.wrong() if answer.name not in used]
        for group in filter(_apart, combinations(left, size)):
            lost = frozenset(name for answer in group for name in answer.loses)
            edits = tuple(edit for answer in group for edit in answer.edits)
            used |= {answer.name for answer in group}
            story = "wrong: " + " and ".join(answer.name for answer in group)
            yield Case(story, parts.files(replace(group[0], edits=edits)), lost)
            break


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
    """A starter file that Python cannot read, one that no other imports: only its own checks are lost."""
    files = parts.files()
    texts = {path: data.decode("utf-8", "replace") for path, data in files.items() if path.endswith(".py")}
    lost = {path: _lost_by(parts, lambda edit, path: edit.file == path, path) for path in texts}
    imported = {path for path in texts if any(_imports(text, path) for text in texts.values())}
    path = next(path for path in sorted(texts, key=lambda path: (path in imported, path)) if lost[path])
    return Case(f"a syntax error in {path}", files | {path: files[path] + b"\n\ndef unfinished(:\n"}, lost[path])


def _imports(text: str, path: str) -> bool:
    module = path.removesuffix(".py").replace("/", ".")
    package, _, name = module.rpartition(".")
    return any(
        line.lstrip().startswith((f"from {module} ", f"import {module}"))
        or (line.lstrip().startswith((f"from {package} ", "from . ", f"from .{name} ")) and name in line)
        for line in text.split("\n")
    )


def _endless(parts: _Parts) -> Case:
    """An answer that never ends: in a cell of the notebook if one is answered there, else in a function."""
    edits = [edit for answer in parts.wrong() for edit in answer.edits]
    edit = next(
        chain((e for e in edits if e.cell and e.old is None), (e for e in edits if e.function)),
        None,
    )
    if edit is None:
        raise UserError(f"{parts.lab.path / 'answers.toml'} edits no whole cell and no function: no loop can be put in")
    loop = "while True:\n    pass" if edit.cell else "    while True:\n        pass"
    files = parts.files(replace(parts.wrong()[0], edits=(replace(edit, new=loop),)))
    return Case("an endless loop", files, _lost_by(parts, _same_place, edit))


def _same_place(edit: Edit, other: Edit) -> bool:
    return (edit.cell, edit.file, edit.function) == (other.cell, other.file, other.function)


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


def _lost_by(parts: _Parts, about: Callable[[Edit, _Place], bool], place: _Place) -> frozenset[str]:
    """The checks that some wrong answer loses by an edit of that place."""
    return frozenset(name for a in parts.wrong() if any(about(edit, place) for edit in a.edits) for name in a.loses)


def _without_checks(data: bytes) -> bytes:
    book = nbformat.reads(data.decode(), as_version=4)
    book.cells = [cell for cell in book.cells if not notebooks.is_check(cell)]
    return bytes(nbformat.writes(book).encode())
