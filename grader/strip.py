"""Starter files as students get them: each solution region replaced by a stub, in every file type."""

import re
from pathlib import Path

from grader.source import regions

PYTHON_STUB = ("# YOUR CODE HERE", "raise NotImplementedError()")
_COMMENTS = {
    ".md": ("<!-- ", " -->"),
    ".html": ("<!-- ", " -->"),
    ".sql": ("-- ", ""),
    ".js": ("// ", ""),
    ".css": ("/* ", " */"),
}


def strip(text: str, name: str) -> str:
    """`text` of the starter file `name` without its solutions.

    A Python region becomes nbgrader's own stub, any other the file type's comment. Raises UserError, naming the
    file and line, where markers do not pair.
    """
    lines = text.split("\n")
    for first, last in reversed(regions(text, "SOLUTION", name)):
        indent = (re.match(r"\s*", lines[first]) or [""])[0]
        lines[first : last + 1] = [f"{indent}{line}" for line in _stub(name)]
    return "\n".join(lines)


def _stub(name: str) -> tuple[str, ...]:
    suffix = "." + name.rpartition(".")[2]
    if suffix == ".py":
        return PYTHON_STUB
    before, after = _COMMENTS.get(suffix, ("# ", ""))
    return (f"{before}YOUR CODE HERE{after}",)


def strip_folder(folder: Path) -> None:
    """Replace each text file under `folder` by its student version."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            file.write_text(strip(text, file.name), encoding="utf-8")


def without_markers(text: str) -> str:
    """The solved `text` as a later lab is given it: the solutions kept, their markers gone."""
    markers = ("### BEGIN SOLUTION", "### END SOLUTION")
    return "\n".join(line for line in text.split("\n") if not line.strip().startswith(markers))
