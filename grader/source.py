"""From the one hand-written form of a lab, a percent script, to a notebook with nbgrader's metadata."""

import ast
import re
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat.notebooknode import NotebookNode
from nbgrader.nbgraderformat import MetadataValidator

from labkit.course import Lab
from labkit.errors import UserError

OPTIONS = ("grade_id", "points", "solution", "locked", "tags")
"""What a cell's `# %%` line may say. The rest of nbgrader's metadata follows from these."""

_KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
_REGIONS = ("SOLUTION", "HIDDEN TESTS")


def notebook(lab: Lab) -> NotebookNode:
    """The lab's notebook, without outputs. Raises UserError naming file, cell and line."""
    return convert(lab.path / f"{lab.slug}.py")


def convert(file: Path) -> NotebookNode:
    """The percent script `file` as a notebook with nbgrader's metadata derived. Raises UserError."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{file} is missing: a lab's notebook is written there, as a percent script") from None
    except UnicodeDecodeError:
        raise UserError(f"{file} is not UTF-8: save it as UTF-8") from None
    script = jupytext.reads(text, fmt="py:percent")
    lines = [number for number, line in enumerate(text.split("\n"), 1) if line.startswith("# %%")]
    if not script.cells or len(lines) != len(script.cells):
        raise UserError(f"{file}, line 1: every cell begins with a line `# %%`; put one before the first text")
    seen: dict[str, int] = {}
    cells = []
    for number, (cell, line) in enumerate(zip(script.cells, lines, strict=True), 1):
        where = f"{file}, cell {number}, line {line}"
        cells.append(_cell(cell, where, number))
        name = cell.metadata.get("grade_id")
        if name is not None and name in seen:
            raise UserError(f"{where}: grade_id {name!r} was given in line {seen[name]} already")
        seen[name] = line
    result = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": _KERNELSPEC})
    MetadataValidator().validate_nb(result)
    return result


def _cell(cell: NotebookNode, where: str, number: int) -> NotebookNode:
    options = {key: value for key, value in cell.metadata.items() if key != "lines_to_next_cell"}  # jupytext's own
    for key in options:
        if key not in OPTIONS:
            raise UserError(f"{where}: unknown cell option {key!r}; known are {', '.join(OPTIONS)}")
    _check_regions(cell.source, bool(options.get("solution")), "points" in options, where)
    if cell.cell_type == "code":
        _check_syntax(cell.source, where)
    metadata: dict[str, Any] = {"tags": options["tags"]} if "tags" in options else {}
    derived = _nbgrader(options, where)
    if derived:
        metadata["nbgrader"] = derived
        if derived["locked"]:
            metadata |= {"deletable": False, "editable": False}
    make = {
        "code": nbformat.v4.new_code_cell,
        "markdown": nbformat.v4.new_markdown_cell,
        "raw": nbformat.v4.new_raw_cell,
    }
    made = make[cell.cell_type](cell.source, metadata=metadata)
    # jupytext gives random ids; ones that follow from the place keep a rebuilt notebook the same.
    made.id = options.get("grade_id") or f"cell-{number}"
    return made


def _nbgrader(options: dict[str, Any], where: str) -> dict[str, Any]:
    """nbgrader's own metadata (schema 3) for what the `# %%` line says."""
    graded, solution, locked = "points" in options, bool(options.get("solution")), bool(options.get("locked"))
    if not (graded or solution or locked):
        if "grade_id" in options:
            raise UserError(f"{where}: grade_id alone does nothing; add solution=true, points=N or locked=true")
        return {}
    name = options.get("grade_id")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,60}", name):
        raise UserError(f"{where}: grade_id must be given, in lower case letters, digits and hyphens")
    if solution and locked:
        raise UserError(f"{where}: an answer cannot be locked; leave out solution or locked")
    if graded and (
        isinstance(options["points"], bool) or not isinstance(options["points"], int) or options["points"] < 1
    ):
        raise UserError(f"{where}: points must be a whole number, at least 1")
    made = {
        "grade": graded,
        "grade_id": name,
        "locked": locked or (graded and not solution),
        "schema_version": 3,
        "solution": solution,
        "task": False,
    }
    return made | ({"points": options["points"]} if graded else {})


def _check_regions(source: str, solution: bool, graded: bool, where: str) -> None:
    for region in _REGIONS:
        regions(source, region, where)
    if "BEGIN SOLUTION" in source and not solution:
        raise UserError(f"{where}: a solution region stands in a cell without solution=true")
    if "BEGIN HIDDEN TESTS" in source and not graded:
        raise UserError(f"{where}: a hidden-test region stands in a cell without points")


def regions(source: str, region: str, where: str) -> list[tuple[int, int]]:
    """The first and last line (from 0, markers included) of each `region` in `source`. Raises UserError."""
    found: list[tuple[int, int]] = []
    begun: int | None = None
    for number, line in enumerate(source.split("\n")):
        if f"BEGIN {region}" in line:
            if begun is not None:
                raise UserError(f"{where}: BEGIN {region} inside another one, {number + 1} lines on")
            begun = number
        elif f"END {region}" in line:
            if begun is None:
                raise UserError(f"{where}: END {region} without its BEGIN, {number + 1} lines on")
            found.append((begun, number))
            begun = None
    if begun is not None:
        raise UserError(f"{where}: BEGIN {region} without its END, {begun + 1} lines on")
    return found


def _check_syntax(source: str, where: str) -> None:
    if source.lstrip().startswith(("%", "!")) or re.search(r"^\s*[%!]", source, re.MULTILINE):
        return  # IPython's own syntax: the executed notebook shows whether it runs
    try:
        compile(source, where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError as error:
        raise UserError(f"{where}: {error.msg}, {error.lineno} lines on") from None
