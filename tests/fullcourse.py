"""The whole course, as git knows it, in a folder of its own; its commands run there as people type them."""

import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat

from grader import source, strip
from grader.house import House
from labkit import work
from labkit.checks import STUDENT_FOLDERS, student_files
from labkit.course import Course, Lab
from labkit.notebook import grading, is_answer

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 600
"""The limit of one command: grading a whole lab on a busy machine is among them."""


@dataclass(frozen=True)
class Copy:
    """A course folder that only this test knows, with its own state."""

    root: Path

    @property
    def house(self) -> House:
        return House(Course(self.root))

    @property
    def course(self) -> Course:
        return Course(self.root)

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "MLE_COURSE": str(self.root), "MLE_STATE": str(self.root / ".lab"), "COLUMNS": "140"}

    def run(self, program: str, *arguments: str | Path, before: tuple[str, ...] = (), limit: float = SECONDS) -> str:
        """What `program` (lab, grader, ...) prints; fails the test where it fails. `before`: e.g. unshare."""
        done = subprocess.run(
            [*before, command(program), *arguments],
            cwd=self.root,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=limit,
            check=False,
        )
        said = " ".join(map(str, (program, *arguments)))
        assert done.returncode == 0, f"`{said}` ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def answered(self, lab: Lab) -> Path:
        """The student's copy of `lab`, every answer in it the reference's: what `lab check` acts on."""
        work.ensure(self.course, self.course.lab(lab.name))
        folder = self.course.work(lab)
        for name, text in starter_answers(lab).items():
            (folder / name).write_text(text, encoding="utf-8")
        notebook = nbformat.read(folder / lab.notebook, 4)
        answers = cell_answers(lab)
        for cell in notebook.cells:
            cell.source = answers.get(grading(cell).get("grade_id", ""), cell.source)
        nbformat.write(notebook, folder / lab.notebook)
        return folder


def copy(root: Path) -> Copy:
    """The files git knows, and each new one it would take, under `root`; nothing that was made by a run."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout.split("\0")
    for name in names:
        if name and (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
    return Copy(root.resolve())


def command(program: str) -> Path:
    """One of this environment's commands."""
    return Path(sys.executable).with_name(f"{program}.exe" if os.name == "nt" else program)


def free_port() -> int:
    """A port that the system has just found free, far from those that a JupyterLab beside this test takes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def starter_answers(lab: Lab) -> dict[str, str]:
    """What a student who knows it all writes into the files of `lab`, by path. `lab` is the source, not the release."""
    return {
        name: strip.without_markers(file.read_text(encoding="utf-8"))
        for file in student_files(lab, lab.path)
        if (name := file.relative_to(lab.path).as_posix()).startswith(STUDENT_FOLDERS)
    }


def cell_answers(lab: Lab) -> dict[str, str]:
    """The same for the notebook's answer cells, by grade_id."""
    return {
        grading(cell)["grade_id"]: strip.without_markers(cell.source)
        for cell in source.notebook(lab).cells
        if is_answer(cell)
    }
