"""The known right and wrong answers of a lab: edits of its reference, read from `answers.toml`."""

import ast
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nbformat
from nbformat.notebooknode import NotebookNode

from grader.source import regions
from labkit.checks import student_files
from labkit.course import Lab, read_toml
from labkit.errors import UserError

_EDIT_KEYS = {"file", "cell", "function", "old", "new"}


@dataclass(frozen=True)
class Edit:
    """One change of the reference, in a `file` or a notebook's `cell`.

    `old` is replaced by `new` (it must occur exactly once); with `function`, the solution region of that function
    is; with neither, the whole text.
    """

    new: str
    file: str | None = None
    cell: str | None = None
    function: str | None = None
    old: str | None = None


@dataclass(frozen=True)
class Answer:
    """One known answer: a wrong one with the checks that it must lose, a right one with those it answers anew."""

    name: str
    kind: Literal["right", "wrong"]
    edits: tuple[Edit, ...]
    loses: frozenset[str] = frozenset()
    covers: frozenset[str] = frozenset()
    why: str = ""


def read(lab: Lab) -> list[Answer]:
    """The answers of `lab`. Raises UserError naming the file and the answer that is wrong."""
    file = lab.path / "answers.toml"
    table = read_toml(file, "it lists the right and wrong answers that prove the checks")
    for key in table:
        if key not in ("right", "wrong"):
            raise UserError(f"{file}: unknown table {key!r}; known are [[right]] and [[wrong]]")
    kinds: tuple[Literal["right", "wrong"], ...] = ("wrong", "right")
    answers = [_answer(file, kind, values) for kind in kinds for values in table.get(kind, [])]
    names = [answer.name for answer in answers]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{file}: two answers are called {name!r}")
    return answers


def _answer(file: Path, kind: Literal["right", "wrong"], values: dict[str, Any]) -> Answer:
    name = values.get("name")
    if not isinstance(name, str):
        raise UserError(f"{file}: an answer under [[{kind}]] has no name")
    where = f"{file}, answer {name!r}"
    for key in values:
        if key not in ("name", "why", "loses", "covers", "edits"):
            raise UserError(f"{where}: unknown key {key!r}; known are name, why, loses, covers, edits")
    loses, covers = frozenset(values.get("loses", [])), frozenset(values.get("covers", []))
    if bool(loses) != (kind == "wrong") or bool(covers) != (kind == "right"):
        raise UserError(f"{where}: a wrong answer names the checks it `loses`, a right one those it `covers`")
    edits = values.get("edits", [])
    if not edits:
        raise UserError(f"{where}: it edits nothing, so it is the reference")
    return Answer(name, kind, tuple(_edit(where, edit) for edit in edits), loses, covers, values.get("why", ""))


def _edit(where: str, values: dict[str, Any]) -> Edit:
    if not set(values) <= _EDIT_KEYS or "new" not in values or ("file" in values) == ("cell" in values):
        raise UserError(f"{where}: an edit has `new`, either `file` or `cell`, and perhaps `old` or `function`")
    return Edit(**values)


def reference(lab: Lab, notebook: NotebookNode) -> dict[str, bytes]:
    """The files of a perfect submission: the solved notebook and starter files."""
    files = {path.relative_to(lab.path).as_posix(): path.read_bytes() for path in student_files(lab, lab.path)}
    return files | {lab.notebook: nbformat.writes(notebook).encode()}


def apply(lab: Lab, notebook: NotebookNode, answer: Answer) -> dict[str, bytes]:
    """The files a student hands in who answered so. Raises UserError where an edit fits nothing, or two places."""
    changed = deepcopy(notebook)
    cells = {cell.metadata.nbgrader.grade_id: cell for cell in changed.cells if "nbgrader" in cell.metadata}
    files = reference(lab, notebook)
    for edit in answer.edits:
        where = f"{lab.path / 'answers.toml'}, answer {answer.name!r}"
        if edit.cell is not None:
            if edit.cell not in cells:
                raise UserError(f"{where}: the notebook has no cell {edit.cell!r}")
            cells[edit.cell].source = edited(cells[edit.cell].source, edit, f"{where}, cell {edit.cell!r}")
        else:
            name = str(edit.file)
            if name not in files:
                raise UserError(f"{where}: there is no file {name!r} in starter/")
            files[name] = edited(files[name].decode(), edit, f"{where}, {name}").encode()
    return files | {lab.notebook: nbformat.writes(changed).encode()}


def edited(text: str, edit: Edit, where: str) -> str:
    """`text` with the edit made. Raises UserError where it does not fit exactly once."""
    if edit.function is not None:
        return _replace_region(text, edit.function, edit.new, where)
    if edit.old is None:
        return edit.new
    found = text.count(edit.old)
    if found != 1:
        raise UserError(f"{where}: the text to replace occurs {found} times, not once: {edit.old.strip()[:80]!r}")
    return text.replace(edit.old, edit.new)


def _replace_region(text: str, function: str, new: str, where: str) -> str:
    span = functions(text).get(function)
    if span is None:
        raise UserError(f"{where}: there is no function {function!r}")
    inside = [region for region in regions(text, "SOLUTION", where) if span[0] <= region[0] <= span[1]]
    if len(inside) != 1:
        raise UserError(f"{where}: the function {function!r} has {len(inside)} solution regions, not one")
    first, last = inside[0]
    lines = text.split("\n")
    lines[first + 1 : last] = new.strip("\n").split("\n")
    return "\n".join(lines)


def functions(text: str) -> Mapping[str, tuple[int, int]]:
    """First and last line (from 0) of each function in Python `text`, methods as `Class.method`."""
    found: dict[str, tuple[int, int]] = {}
    for node in ast.parse(text).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        for member in members:
            if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
                found[prefix + member.name] = (member.lineno - 1, (member.end_lineno or member.lineno) - 1)
    return found
