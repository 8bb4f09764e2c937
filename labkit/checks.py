"""The verdict on one student's work: run it beside a reference's check cells and count the points."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from nbformat.notebooknode import NotebookNode
from nbgrader.utils import determine_grade

from labkit import cloud, notebook, submission
from labkit.course import Lab, Limits
from labkit.emulators import leave
from labkit.errors import UserError

Status = Literal["passed", "failed", "not run", "by hand", "answered"]

JUDGED_LATER = "judged-later"
"""The tag of a check whose visible part sees only that there is an answer, such as a quiz's."""

STUDENT_FOLDERS = ("starter",)
"""Besides the notebook, what the student hands in."""


@dataclass(frozen=True)
class CheckResult:
    """What one check said. `points` are nbgrader's for that cell; `task` is the heading it stands under."""

    grade_id: str
    task: str
    points: float
    max_points: float
    status: Status
    message: str = ""


@dataclass(frozen=True)
class CheckReport:
    """All of one notebook's checks; `problem` says in one sentence why nothing at all could be judged."""

    results: tuple[CheckResult, ...]
    problem: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def score(self) -> float:
        return sum(result.points for result in self.results)

    @property
    def max_score(self) -> float:
        return sum(result.max_points for result in self.results)


def check(lab: Lab, folder: Path) -> CheckReport:
    """Run the visible checks of `lab` on the student's `folder` as grading does: in a copy, in a fresh kernel,
    with the released checks, and with clouds of its own, so that nothing of the student's is touched."""
    reference = notebook.read(lab.path / lab.notebook)
    files = submission.read_folder(folder, lab).files
    with own_clouds():
        judged = judge(lab, reference, files)
    later = {notebook.grading(cell).get("grade_id") for cell in reference.cells if notebook.has_tag(cell, JUDGED_LATER)}
    results = (_left_open(one) if one.grade_id in later else one for one in judged.report.results)
    return replace(judged.report, results=tuple(results))


def _left_open(result: CheckResult) -> CheckResult:
    if result.status != "passed":
        return result
    return replace(result, points=0, status="answered", message="answered: whether it is right, grading says")


def student_files(lab: Lab, folder: Path) -> Iterator[Path]:
    """The files of `folder` that belong to the student's answer: the notebook and what lies in starter/."""
    if (folder / lab.notebook).is_file():
        yield folder / lab.notebook
    for name in STUDENT_FOLDERS:
        for file in sorted((folder / name).rglob("*")):
            if file.is_file() and not file.is_symlink() and not is_clutter(file.relative_to(folder).as_posix()):
                yield file


def is_clutter(name: str) -> bool:
    """Whether a file is what tools leave behind and nobody hands in."""
    parts = PurePosixPath(name).parts
    return name.endswith((".pyc", ".DS_Store")) or any(part in ("__pycache__", ".ipynb_checkpoints") for part in parts)


@dataclass(frozen=True)
class Judgement:
    """A report, and the notebook with the outputs it rests on."""

    report: CheckReport
    executed: NotebookNode


def judge(lab: Lab, reference: NotebookNode, files: Mapping[str, bytes]) -> Judgement:
    """Judge the student's `files` (by path inside the lab) against the check cells of `reference`.

    The work runs in a temporary folder that holds the released lab and, over it, these files.
    A notebook that cannot be read is a report with no points and a `problem`, never an exception.
    """
    notes: list[str] = []
    problem = None
    try:
        if lab.notebook not in files:
            raise UserError(f"{lab.notebook} was not handed in")
        student = notebook.parse(files[lab.notebook], lab.notebook)
    except UserError as error:
        problem = str(error)
        student = notebook.empty()
    work, mended = notebook.restore(student, reference)
    if problem:
        reason = notebook.Run(stopped=problem, not_run=set(range(len(work.cells))))
        return Judgement(CheckReport(tuple(_results(work, reason, tasks(reference), lab.limits)), problem), work)
    notes += mended
    with tempfile.TemporaryDirectory(prefix="mle-check-", ignore_cleanup_errors=True) as name:
        folder = Path(name) / lab.name
        _lay_out(lab, files, folder)
        run = notebook.execute(work, folder, lab.limits, environment(), notebook.graded_cells(work))
    return Judgement(CheckReport(tuple(_results(work, run, tasks(reference), lab.limits)), None, tuple(notes)), work)


def _lay_out(lab: Lab, files: Mapping[str, bytes], folder: Path) -> None:
    shutil.copytree(lab.path, folder, ignore=shutil.ignore_patterns("*.ipynb", "__pycache__", ".ipynb_checkpoints"))
    for name, content in files.items():
        if PurePosixPath(name).parts[0] in STUDENT_FOLDERS:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def environment() -> dict[str, str]:
    """What a graded kernel sees of this process's environment: all, and nothing that needs a screen or an account."""
    return {**os.environ, "MLE_CLOUD": "local", "MPLBACKEND": "agg", "PYTHONDONTWRITEBYTECODE": "1"}


@contextmanager
def own_clouds() -> Iterator[None]:
    """Emulators apart from the ones the student works with, stopped at the end.

    Set for this process as a whole, by `MLE_STATE`: one judgement at a time in a process.
    """
    with kept_environment(), tempfile.TemporaryDirectory(prefix="mle-state-", ignore_cleanup_errors=True) as folder:
        os.environ |= {"MLE_STATE": folder, leave.OWNER: str(os.getpid())}
        try:
            yield
        finally:
            cloud.stop()


@contextmanager
def kept_environment() -> Iterator[None]:
    """Whatever the block does to this process's environment variables is undone after it."""
    before = os.environ.copy()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def tasks(reference: NotebookNode) -> dict[str, str]:
    """The second-level heading that each graded cell stands under, by its `grade_id`."""
    task = ""
    found: dict[str, str] = {}
    for cell in reference.cells:
        if cell.cell_type == "markdown":
            heading = re.search(r"^##\s+(.+?)\s*$", cell.source, re.MULTILINE)
            task = heading[1] if heading else task
        if notebook.grading(cell):
            found[notebook.grading(cell)["grade_id"]] = task
    return found


@dataclass(frozen=True)
class _Stop:
    """A cell before a check that did not run to its end: why, the text of that cell, and how many checks followed."""

    sentence: str
    source: str
    checks_since: int = 0


def _results(
    executed: NotebookNode, run: notebook.Run, headings: Mapping[str, str], limits: Limits
) -> Iterator[CheckResult]:
    task = ""
    stops: list[_Stop] = []
    for position, cell in enumerate(executed.cells):
        known = notebook.grading(cell)
        name = known.get("grade_id", "")
        if headings.get(name, task) != task:
            task, stops = headings[name], []
        if not known.get("grade"):
            sentence = _error(cell, limits)
            stops += [_Stop(sentence, cell.source)] if sentence else []
            continue
        maximum = float(known["points"])
        if not notebook.is_check(cell):
            yield CheckResult(name, task, 0, maximum, "by hand", "an instructor reads this answer")
        elif position in run.not_run:
            notebook.fail(cell, "NotRun", run.stopped or "")
            yield CheckResult(name, task, 0, maximum, "not run", run.stopped or "")
        else:
            yield _judged(cell, CheckResult(name, task, maximum, maximum, "passed"), stops, limits)
            stops = [replace(stop, checks_since=stop.checks_since + 1) for stop in stops]


def _judged(cell: NotebookNode, passed: CheckResult, stops: list[_Stop], limits: Limits) -> CheckResult:
    """What the outputs of a check say: `passed` as it is, or with the points and the reason it failed."""
    # nbgrader takes any text on stderr for a failure, so a warning would cost the points: it is left out.
    cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    message = _error(cell, limits)
    if not message:
        points = float(determine_grade(cell)[0])
        if points == passed.max_points:
            return passed
        return replace(passed, points=points, status="failed", message=f"{points:g} of {passed.max_points:g} points")
    message = _cause(message, stops)
    notebook.fail(cell, "Failed", message)
    return replace(passed, points=0, status="failed", message=message)


def _cause(message: str, stops: list[_Stop]) -> str:
    """Why a check failed: a name that is not there is the fault of the cell that should have made it."""
    missing = re.match(r"NameError: name '(\w+)' is not defined", message)
    if not missing:
        return message
    for stop in reversed(stops):
        # An unanswered cell does not name what it should have made, but its check comes next.
        if re.search(rf"\b{missing[1]}\b", stop.source) or not stop.checks_since:
            return stop.sentence
    return f"{missing[1]} has no value: the cell that gives it one is empty, missing, or stands below this check"


def _error(cell: NotebookNode, limits: Limits) -> str:
    """What stopped a cell, as one sentence for the student; empty where nothing did."""
    for output in cell.get("outputs", []):
        if output.output_type == "error":
            return _sentence(output.ename, output.evalue, _place(output.traceback), limits)
    return ""


def _place(traceback: list[str]) -> tuple[str, str, str] | None:
    """The innermost place of a traceback in the student's files: file, line, function."""
    text = _plain("\n".join(traceback))
    found = re.findall(rf"\b((?:{'|'.join(STUDENT_FOLDERS)})/[\w./-]+\.py):(\d+), in (\w+)", text)
    return found[-1] if found else None


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _sentence(ename: str, evalue: str, place: tuple[str, str, str] | None, limits: Limits) -> str:
    text = " ".join(_plain(evalue).split())[:600]
    match ename:
        case "AssertionError":
            return text or "the check failed without a message: tell the lab's author"
        case "NotImplementedError" if place:
            return f"not answered yet: write {place[2]} in {place[0]}, in place of `raise NotImplementedError()`"
        case "NotImplementedError":
            return "not answered yet: write your answer in place of `raise NotImplementedError()`"
        case "KeyboardInterrupt":
            return f"stopped after {limits.cell_seconds} s: look for a loop that never ends or a wait without a limit"
        case "DeadKernel" | "NotRun" | "Failed":
            return text
        case "MemoryError":
            return "out of memory: read and keep less at a time"
        case "StdinNotImplementedError":
            return (
                "input() waits for a keyboard, and there is none when a notebook is graded: give the value in the cell"
            )
        case _:
            where = f" (in {place[0]}, line {place[1]}, in {place[2]})" if place else ""
            # IPython names a cell's own code after a number that says nothing to its author.
            told = re.sub(r"\(\d+\.py, line (\d+)\)", r"(line \1 of the cell)", text)
            return f"{ename}: {told}{where}"
