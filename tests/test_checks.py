"""What a check tells a student: the cause first, where it is, and what to do."""

from pathlib import Path

import nbformat
import pytest

from grader import build, source
from grader.house import House
from labkit import checks
from labkit.checks import CheckResult
from tests import minihouse


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    house = minihouse.make(tmp_path_factory.mktemp("course"))
    script = minihouse.lab(house).path / "mini.py"
    quiz = (
        '\n# %% [markdown]\n# ## Quiz\n\n# %% grade_id="quiz-answer" solution=true\nquiz = "b"\n'
        '\n# %% grade_id="quiz" points=1 tags=["judged-later"]\n'
        'assert quiz in ("a", "b"), "give quiz the letter of an answer"\n'
        '### BEGIN HIDDEN TESTS\nassert quiz == "b", "read the text again"\n### END HIDDEN TESTS\n'
    )
    script.write_text(script.read_text(encoding="utf-8") + quiz, encoding="utf-8")
    build.build(house, minihouse.lab(house), execute=False)
    return house


def told(house: House, starter: str | None = None, quiz: str | None = 'quiz = "b"') -> dict[str, CheckResult]:
    """What grading says of a student who wrote `starter` as the function's body and `quiz` as the answer cell."""
    lab = minihouse.lab(house)
    notebook = source.notebook(lab)
    notebook.cells = [cell for cell in notebook.cells if quiz is not None or cell.id != "quiz-answer"]
    for cell in notebook.cells:
        if cell.id == "quiz-answer":
            cell.source = quiz
    text = (lab.path / "starter/answer.py").read_text(encoding="utf-8")
    if starter is not None:
        text = text[: text.index("    ### BEGIN")] + f"    {starter}\n"
    files = {lab.notebook: nbformat.writes(notebook).encode(), "starter/answer.py": text.encode()}
    report = checks.judge(house.course.lab("90"), source.notebook(lab), files).report
    return {result.grade_id: result for result in report.results}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "return delays / 0",
            "TypeError: unsupported operand type(s) for /: 'list' and 'int' (in starter/answer.py, line",
        ),
        ("raise NotImplementedError()", "not answered yet: write late_share in starter/answer.py"),
        ("return (", "SyntaxError: '(' was never closed (answer.py, line 6)"),
        ("return None", "but you returned None"),
        ("return input()", "input() waits for a keyboard"),
    ],
)
def test_a_fault_in_a_starter_file_is_told_with_its_place(house: House, body: str, message: str) -> None:
    result = told(house, starter=body)["late-share"]
    assert result.status == "failed"
    assert message in result.message


@pytest.mark.parametrize(
    ("quiz", "message"),
    [
        ("raise NotImplementedError()", "not answered yet: write your answer in place of"),
        ("quiz = = 1", "SyntaxError: invalid syntax (line 1 of the cell)"),
        ("", "quiz has no value: the cell that gives it one is empty, missing, or stands below this check"),
        (None, "quiz has no value: the cell that gives it one is empty, missing"),
        ("other = 1 / 0; quiz = 'b'", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_missing_name_is_told_by_its_cause(house: House, quiz: str | None, message: str) -> None:
    result = told(house, quiz=quiz)["quiz"]
    assert result.status == "failed"
    assert result.message.startswith(message)


def test_the_stop_of_another_cell_is_not_blamed(house: House) -> None:
    results = told(house, starter="return 1 / 0", quiz="")
    assert "ZeroDivisionError" in results["late-share"].message
    assert "ZeroDivisionError" not in results["quiz"].message


def test_a_cell_that_ends_the_kernel_is_named(house: House) -> None:
    results = told(house, quiz="import os; os._exit(1)")
    assert results["quiz"].status == "not run"
    assert "the kernel died in the cell 'quiz-answer'" in results["quiz"].message
    assert results["late-share"].status == "passed"


def test_a_quiz_is_answered_for_the_student_and_judged_in_grading(house: House, tmp_path: Path) -> None:
    lab = house.course.lab("90")
    notebook = nbformat.read(lab.path / lab.notebook, as_version=4)
    answer = next(cell for cell in notebook.cells if cell.id == "quiz-answer")
    answer.source = 'quiz = "a"'
    nbformat.write(notebook, tmp_path / lab.notebook)
    result = {one.grade_id: one for one in checks.check(lab, tmp_path).results}["quiz"]
    assert (result.status, result.points) == ("answered", 0)
    judged = told(house, quiz='quiz = "a"')["quiz"]
    assert (judged.status, judged.message) == ("failed", "read the text again")
