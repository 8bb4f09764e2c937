"""A course with one small lab, and the real command `lab` run on it as a process of its own."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.notebooknode import NotebookNode

from labkit.course import Course, Lab, read_lab

LAB = Path(sys.executable).with_name("lab.exe" if os.name == "nt" else "lab")
NAME, NOTEBOOK = "02-tiny", "tiny.ipynb"
STUB = 'def double(x: int) -> int:\n    # YOUR CODE HERE\n    raise NotImplementedError("return twice x")\n'
TOML = """number = 2
slug = "tiny"
title = "Tiny"
summary = "A lab for tests"
minutes = 1
objectives = ["double a number"]
topics = ["numbers"]
tools = ["Python"]
"""


@dataclass(frozen=True)
class Mini:
    """A course made for one test, its state apart from every other."""

    root: Path

    @property
    def course(self) -> Course:
        return Course(self.root)

    @property
    def lab(self) -> Lab:
        return read_lab(self.root / "labs" / NAME)

    @property
    def work(self) -> Path:
        return self.root / "work" / NAME

    @property
    def state(self) -> Path:
        return self.root / ".lab"

    def env(self, **more: str) -> dict[str, str]:
        return {**os.environ, "MLE_COURSE": str(self.root), "MLE_STATE": str(self.state), "COLUMNS": "200", **more}

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `lab` with `arguments`; `more` are environment variables."""
        return subprocess.run(
            [LAB, *arguments],
            cwd=self.root,
            env=self.env(**more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=180,
            check=False,
        )

    def copy(self) -> Path:
        """The student's copy, made without starting anything."""
        from labkit import work

        work.ensure(self.course, self.lab)
        return self.work

    def answer(self) -> None:
        """Answer everything in the student's copy."""
        (self.work / "starter" / "answer.py").write_text(STUB.partition("    #")[0] + "    return 2 * x\n", "utf-8")
        notebook = nbformat.read(self.work / NOTEBOOK, 4)
        next(cell for cell in notebook.cells if "raise" in cell.source).source = "quiz = 'b'"
        nbformat.write(notebook, self.work / NOTEBOOK)


def make(root: Path) -> Mini:
    """Write the course under `root`."""
    folder = root / "labs" / NAME
    (folder / "starter").mkdir(parents=True)
    (root / "datasets").mkdir()
    (root / "requirements").mkdir()
    (folder / "lab.toml").write_text(TOML, encoding="utf-8")
    (folder / "starter" / "answer.py").write_text(STUB, encoding="utf-8")
    nbformat.write(_notebook(), folder / NOTEBOOK)
    return Mini(root)


def one_sentence(done: subprocess.CompletedProcess[str], code: int) -> str:
    """What a command that ended badly said; fails where it is not one line, or shows a traceback."""
    lines = done.stderr.strip().splitlines()
    assert done.returncode == code, f"exit code {done.returncode}, not {code}: {done.stdout}{done.stderr}"
    assert len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
    return lines[0]


def _notebook() -> NotebookNode:
    new = nbformat.v4
    cells = [
        new.new_markdown_cell("# Tiny"),
        new.new_code_cell("from starter.answer import double"),
        new.new_markdown_cell("## Double"),
        new.new_code_cell("assert double(2) == 4, 'double(2) is 4: multiply'", metadata=_grading("double", points=2)),
        new.new_markdown_cell("## Quiz"),
        new.new_code_cell("# YOUR CODE HERE\nraise NotImplementedError()", metadata=_grading("quiz-answer")),
        new.new_code_cell("assert quiz == 'b', 'read the text again'", metadata=_grading("quiz", points=1)),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def _grading(name: str, points: int | None = None) -> dict[str, object]:
    grade = points is not None
    known: dict[str, object] = {"grade_id": name, "schema_version": 3, "task": False, "locked": grade}
    return {"nbgrader": known | {"grade": grade, "solution": not grade} | ({"points": points} if grade else {})}
