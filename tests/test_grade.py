"""From submissions to nbgrader's gradebook: points, feedback, what a broken submission costs, the seam."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import psutil
import pytest
from nbgrader.api import Gradebook
from typer.testing import CliRunner

from grader import build, engine, grade, gradebook, source
from grader.cli import app
from grader.house import House
from labkit.console import run
from labkit.course import Lab
from labkit.errors import UserError
from tests import minihouse

SECRET = "share == 0.6"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A graded class: one right, one untouched, one with half a notebook, one that overwrites the check."""
    house = minihouse.make(tmp_path_factory.mktemp("course"))
    lab = minihouse.lab(house)
    build.build(house, lab)
    hand_in(house, "ada", lab.path)
    hand_in(house, "bob", house.release(lab))
    (hand_in(house, "eve", lab.path) / lab.notebook).write_text('{"cells": [', encoding="utf-8")
    forged = hand_in(house, "mal", house.release(lab)) / lab.notebook
    notebook = nbformat.read(forged, as_version=4)
    notebook.cells[-1].source = "pass"
    notebook.cells[-1].metadata.nbgrader["points"] = 100
    nbformat.write(notebook, forged)
    noisy = hand_in(house, "una", lab.path) / "starter" / "answer.py"
    minihouse.edit(noisy, "    ### BEGIN SOLUTION", '    print("late_share: a warning", file=__import__("sys").stderr)')
    grade.grade(house, lab, workers=2)
    return house


def hand_in(house: House, student: str, folder: Path) -> Path:
    lab = minihouse.lab(house)
    target = house.classroom / "submitted" / student / lab.name
    target.mkdir(parents=True)
    shutil.copy(folder / lab.notebook, target)
    shutil.copytree(folder / "starter", target / "starter")
    return target


def test_each_student_has_the_points_of_their_answer(house: House) -> None:
    assert gradebook.scores(house, minihouse.lab(house)) == {
        "ada": (1, 1),
        "bob": (0, 1),
        "eve": (0, 1),
        "mal": (0, 1),
        "una": (1, 1),
    }


def test_nbgraders_own_gradebook_has_the_grade_of_each_check(house: House) -> None:
    with Gradebook(f"sqlite:///{gradebook.database(house)}", "mle") as book:
        grades = {name: book.find_grade("late-share", "mini", "90-mini", name).auto_score for name in ("ada", "mal")}
    assert grades == {"ada": 1, "mal": 0}


def test_a_solved_starter_file_never_replaces_a_students(house: House, tmp_path: Path) -> None:
    """nbgrader copies the source's files over a submission's: solved ones would give full marks to everybody."""
    submitted = house.classroom / "submitted" / "bob" / "90-mini" / "starter" / "answer.py"
    assert "NotImplementedError" in submitted.read_text(encoding="utf-8")
    for file in (house.classroom / "autograded").rglob("*.py"):
        assert "late = [delay" not in file.read_text(encoding="utf-8"), file


def test_nbgrader_itself_grades_the_class_the_same(house: House, tmp_path: Path) -> None:
    """The button in its formgrader runs nbgrader's own engine on this course."""
    from traitlets.config import Config

    from grader import classic

    copy = House(type(house.course)(tmp_path / "course"))
    shutil.copytree(house.course.root, copy.course.root)
    for student, points in (("ada", 1), ("bob", 0), ("mal", 0)):
        shutil.rmtree(copy.classroom / "autograded" / student)
        api = classic.api(classic.configure(Config(), copy))
        classic.call(api.autograde, "90-mini", student)
        with Gradebook(f"sqlite:///{gradebook.database(copy)}", "mle") as book:
            assert book.find_grade("late-share", "mini", "90-mini", student).auto_score == points


def test_a_broken_submission_says_why_in_one_sentence(house: House) -> None:
    results = {result.student: result.report for result in gradebook.results(house, minihouse.lab(house))}
    assert str(results["eve"].problem).startswith("mini.ipynb is not a whole notebook (")
    assert results["bob"].results[0].message.startswith("not answered yet")
    assert results["mal"].notes == ("the locked cell 'late-share' was changed: the original was used",)


def test_a_grade_given_by_hand_survives_a_regrade(house: House) -> None:
    lab = minihouse.lab(house)
    with Gradebook(f"sqlite:///{gradebook.database(house)}", "mle") as book:
        given = book.find_grade("late-share", "mini", lab.name, "bob")
        given.manual_score = 0.5
        book.db.commit()
    grade.grade(house, lab, workers=1, only=frozenset({"bob"}))
    assert gradebook.scores(house, lab)["bob"] == (0.5, 1)
    with Gradebook(f"sqlite:///{gradebook.database(house)}", "mle") as book:
        book.find_grade("late-share", "mini", lab.name, "bob").manual_score = None
        book.db.commit()


def test_feedback_has_points_and_messages_and_no_hidden_test(house: House) -> None:
    pages = gradebook.feedback(house, minihouse.lab(house))
    assert len(pages) == 5
    text = {page.parent.parent.name: page.read_text(encoding="utf-8") for page in pages}
    assert "not answered yet" in text["bob"]
    for page in text.values():
        assert 'src="http' not in page
        assert "0.25" in page
        assert SECRET not in page.replace("<span", "\n<span") and "0.6" not in _visible(page)


def _visible(page: str) -> str:
    import re

    body = page[page.index("<body") :]
    return re.sub(r"<[^>]+>", "", re.sub(r"<(style|script).*?</\1>", "", body, flags=re.DOTALL))


def test_hidden_tests_do_stand_in_the_instructors_notebook(house: House) -> None:
    """The counter-example of the feedback test: the text it looks for is there to be found."""
    graded = nbformat.read(house.classroom / "autograded" / "bob" / "90-mini" / "mini.ipynb", as_version=4)
    assert SECRET in graded.cells[-1].source


def test_a_job_and_a_result_survive_the_way_through_json(house: House) -> None:
    lab = house.course.lab("90")
    job = engine.Job("ada", lab, nbformat.writes(source.notebook(minihouse.lab(house))), {"mini.ipynb": b"\x00\xff"})
    assert engine.Job.from_json(job.to_json()) == job
    result = gradebook.results(house, minihouse.lab(house))[0]
    assert engine.Result.from_json(result.to_json()) == result
    assert json.loads(result.to_json())["student"] == "ada"


def test_nothing_collected_is_said(house: House, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing was collected for 90-mini: run `grader collect 90 FOLDER` first"):
        grade.grade(House(house.course, room=str(tmp_path)), minihouse.lab(house), workers=1)


@pytest.fixture
def folder(house: House) -> Iterator[Lab]:
    with minihouse.inside(house):
        yield minihouse.lab(house)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["grade", "77"], 2, "there is no lab '77'; the labs here are: 90-mini"),
        (["build", "77"], 2, "there is no lab '77'"),
        (["prove", "x"], 2, "there is no lab 'x'"),
        (["feedback", "77"], 2, "there is no lab '77'"),
        (["grade", "90", "--student", "zoe"], 2, "no submission of 90-mini was collected from 'zoe'"),
        (["new", "90-again"], 2, "the number 90 is taken by 90-mini"),
        (["grade", "90", "--workers", "0"], 2, "Invalid value for '--workers'"),
        (["nonsense"], 2, "No such command 'nonsense'"),
    ],
)
def test_a_users_mistake_is_one_sentence_and_exit_code_two(
    folder: Lab, capfd: pytest.CaptureFixture[str], arguments: list[str], code: int, told: str
) -> None:
    assert run(app, arguments) == code
    printed = capfd.readouterr()
    assert told in printed.err
    assert "Traceback" not in printed.err + printed.out
    assert len(printed.err.strip().splitlines()) == 1


def test_a_folder_outside_any_course_still_finds_the_one_it_was_installed_from(tmp_path: Path) -> None:
    from labkit import course

    assert (course.find(tmp_path).root / "pyproject.toml").is_file()


def test_help_names_every_command() -> None:
    text = CliRunner().invoke(app, ["--help"]).output
    for command in ("build", "prove", "new", "collect", "grade", "feedback", "report", "demo"):
        assert command in text


def test_a_killed_batch_leaves_no_worker_and_no_emulator_behind(house: House, tmp_path: Path) -> None:
    mark = f"batch-{tmp_path.name}"
    script = f"""
import os, pathlib, time
from grader import engine
from labkit import cloud
def started(text):
    cloud.start("aws")
    pathlib.Path({str(tmp_path / "ready")!r}).touch()
    time.sleep(600)
if __name__ == "__main__":
    with engine._local(1) as executor:
        executor.submit(started, "").result()
"""
    file = tmp_path / "batch.py"
    file.write_text(script, encoding="utf-8")
    batch = subprocess.Popen([sys.executable, str(file)], env=os.environ | {"MLE_TEST_BATCH": mark})
    wait_until((tmp_path / "ready").exists, 60)
    started = [process for process in processes_of(mark) if process.pid != batch.pid]
    assert any("labkit.emulators.aws" in " ".join(process.cmdline()) for process in started)
    batch.kill()
    batch.wait()
    assert psutil.wait_procs(started, timeout=30)[1] == []


def processes_of(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("MLE_TEST_BATCH") == mark:
                found.append(process)
    return found


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"not so after {seconds} s"
        time.sleep(0.05)
