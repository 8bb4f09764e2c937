"""nbgrader's own course, as this folder holds it: its configuration, and its programs called in this process.

nbgrader stays the owner of the notebook format, the gradebook and the screens; `nbgrader_config.py` in the
course's root makes its commands and its formgrader work on the same course through `configure`.
"""

import os
import re
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

from nbgrader.apps import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from sqlalchemy.exc import SAWarning
from traitlets.config import Config

from grader.house import ROOM, House
from grader.strip import strip_folder
from labkit.checks import STUDENT_FOLDERS
from labkit.errors import FailureError, UserError

_IGNORED = ["answers.toml", "lab.toml", "live", "README.md", ".ipynb_checkpoints", "__pycache__", "*.pyc"]
"""What of a lab's source nbgrader itself must neither release nor copy over a submission."""


def configure(config: Config, house: House, root: Path | None = None) -> Config:
    """Point nbgrader at the course: sources, releases, submissions, gradebook.

    `root` holds the folders in place of the course's own (a staging area); the gradebook stays the course's.
    """
    root = root or house.course.root
    config.CourseDirectory.root = str(root)
    config.CourseDirectory.source_directory = "solutions"
    config.CourseDirectory.release_directory = "labs"
    config.CourseDirectory.submitted_directory = f"{house.room}/submitted"
    config.CourseDirectory.autograded_directory = f"{house.room}/autograded"
    config.CourseDirectory.feedback_directory = f"{house.room}/feedback"
    config.CourseDirectory.db_url = f"sqlite:///{house.classroom / 'gradebook.db'}"
    config.CourseDirectory.course_id = "mle"
    config.Exchange.root = str(house.classroom / "exchange")
    config.CourseDirectory.ignore = _IGNORED + [f"{lab.slug}.py" for lab in house.sources()]
    config.GenerateAssignment.post_convert_hook = partial(_strip_release, root / "labs")
    config.GenerateFeedback.preprocessors = [
        "grader.plugins.HideTests",
        "nbgrader.preprocessors.GetGrades",
        "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
    ]
    # Without this, nbgrader copies the solved starter files over each student's: full marks for everybody.
    config.Autograde.exclude_overwriting = {lab.name: _student_files(lab.path) for lab in house.sources()}
    return config


def _strip_release(labs: Path, assignment: str, **_: Any) -> None:
    """Take the solutions out of the starter files that nbgrader has just copied into a release."""
    for name in STUDENT_FOLDERS:
        strip_folder(labs / assignment / name)


def _student_files(folder: Path) -> list[str]:
    return [
        file.relative_to(folder).as_posix()
        for name in STUDENT_FOLDERS
        for file in sorted((folder / name).rglob("*"))
        if file.is_file()
    ]


def api(config: Config) -> NbGraderAPI:
    """nbgrader's programs on the course that `config` describes."""
    for folder in (config.CourseDirectory.root, config.Exchange.root):
        Path(folder).mkdir(parents=True, exist_ok=True)
    # nbgrader calls `alembic` by its bare name, which only an activated environment has on its PATH.
    tools = str(Path(sys.executable).parent)
    if tools not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([tools, os.environ.get("PATH", os.defpath)])
    return NbGraderAPI(coursedir=CourseDirectory(config=config), config=config)


def formgrader(house: House, port: int, browser: bool) -> int:
    """Run nbgrader's screens on the class until Ctrl-C; returns the exit code."""
    if not (house.classroom / "gradebook.db").is_file():
        raise UserError(f"{house.classroom} has no gradebook yet: run `grader grade LAB`, or `grader demo`, first")
    options = [
        f"--ServerApp.root_dir={house.course.root}",
        "--LabApp.default_url=/formgrader",
        f"--ServerApp.port={port}",
    ]
    options.append(f"--ServerApp.open_browser={browser}")
    if os.name == "posix" and os.geteuid() == 0:
        options.append("--ServerApp.allow_root=True")  # in a container, that is who the instructor is
    environment = os.environ | {ROOM: house.room}
    return subprocess.call([sys.executable, "-m", "jupyterlab", *options], cwd=house.course.root, env=environment)


def call(program: Any, *args: Any, **options: Any) -> None:
    """Run one of nbgrader's programs; raises FailureError with its last line of error where it failed."""
    before = Path.cwd()
    try:
        with warnings.catch_warnings():
            # nbgrader 0.9 adds objects in an order that SQLAlchemy 2 remarks on; the rows come out right.
            warnings.simplefilter("ignore", SAWarning)
            outcome = program(*args, **options)
    finally:
        os.chdir(before)  # nbgrader changes the folder, and an error may leave it changed
    if not outcome["success"]:
        raise FailureError(f"nbgrader could not {program.__name__.replace('_', ' ')}: {_reason(outcome)}")


def _reason(outcome: dict[str, str]) -> str:
    """The first error in nbgrader's log that names its cause: what follows only says that there was one."""
    lines = f"{outcome.get('log', '')}\n{outcome.get('error', '')}".split("\n")
    causes = [line.strip() for line in lines if re.match(r"\s*[\w.]*(Error|Exception|Entry)\b.*: ", line)]
    return causes[0] if causes else "it does not say why"
