"""A student's notebook inside the frame of the checks: what is mended, what is refused, what a run leaves."""

import json
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.notebooknode import NotebookNode

from labkit import notebook
from labkit.course import Limits
from labkit.errors import UserError


def code(source: str, name: str | None = None, **options: object) -> NotebookNode:
    metadata = {"nbgrader": {"grade_id": name, "schema_version": 3, "grade": False, "solution": False, **options}}
    return nbformat.v4.new_code_cell(source, metadata=metadata if name else {})


def answer(source: str, name: str = "answer") -> NotebookNode:
    return code(source, name, solution=True)


def check(source: str, name: str = "check") -> NotebookNode:
    return code(source, name, grade=True, locked=True, points=2)


def book(*cells: NotebookNode) -> NotebookNode:
    return nbformat.v4.new_notebook(cells=list(cells))


REFERENCE = book(
    code("import math", "setup", locked=True),
    answer("x = math.tau"),
    check("assert x > 6\n### BEGIN HIDDEN TESTS\nassert x < 6.3\n### END HIDDEN TESTS"),
)
FULL = "assert x > 6\n### BEGIN HIDDEN TESTS\nassert x < 6.3\n### END HIDDEN TESTS"


def restored(*cells: NotebookNode) -> tuple[list[str], list[str]]:
    work, notes = notebook.restore(book(*cells), REFERENCE)
    return [cell.source for cell in work.cells], notes


def test_answers_stay_and_checks_get_their_hidden_tests() -> None:
    sources, notes = restored(code("import math", "setup"), answer("x = 6.2"), check("assert x > 6"))
    assert sources == ["import math", "x = 6.2", FULL]
    assert notes == []


def test_an_edited_check_is_put_back_and_said() -> None:
    sources, notes = restored(code("import math", "setup"), answer("x = 1"), check("pass"))
    assert sources[-1] == FULL
    assert notes == ["the locked cell 'check' was changed: the original was used"]


def test_a_deleted_check_is_put_back_in_its_place() -> None:
    sources, notes = restored(code("import math", "setup"), answer("x = 1"), code("print(x)"))
    assert sources == ["import math", "x = 1", "print(x)", FULL]
    assert notes == ["the cell 'check' is missing: the original was used"]


def test_a_copied_check_counts_once_and_a_copied_answer_stays_as_plain_code() -> None:
    cells = [code("import math", "setup"), answer("x = 1"), answer("x = 6.2"), check("assert x > 6"), check("pass")]
    sources, notes = restored(*cells)
    assert sources == ["import math", "x = 1", "x = 6.2", FULL]
    assert len(notes) == 2


def test_own_cells_stay_behind_the_cell_they_followed() -> None:
    sources, _ = restored(
        code("a = 0"), code("import math", "setup"), code("b = 1"), answer("x = 1"), check("assert x > 6")
    )
    assert sources == ["a = 0", "import math", "b = 1", "x = 1", FULL]


def test_points_and_kind_of_a_cell_are_the_references() -> None:
    forged = check("assert x > 6")
    forged.metadata.nbgrader.update(points=200, solution=True, odd="key")
    work, _ = notebook.restore(book(answer("x = 1"), forged), REFERENCE)
    assert work.cells[-1].metadata.nbgrader == REFERENCE.cells[-1].metadata.nbgrader


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "not a whole notebook"),
        (b'{"cells": [', "not a whole notebook"),
        (b"\xff\xfe", "not a whole notebook"),
        (b"[" * 100_000, "not a whole notebook"),
        (b"[]", "no notebook"),
        (b'{"nbformat": 4}', "no notebook"),
        (b'{"cells": [], "nbformat": 5, "nbformat_minor": 0, "metadata": {}}', "notebook format 5"),
        (b'{"cells": [], "metadata": {}}', "notebook format None"),
        (b'{"cells": [1], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}', "damaged cell"),
    ],
)
def test_what_is_no_notebook_is_refused_in_one_sentence(data: bytes, told: str) -> None:
    with pytest.raises(UserError, match=told):
        notebook.parse(data, "lab.ipynb")


def test_an_older_notebook_and_odd_metadata_are_read() -> None:
    old = {
        "cells": [
            {
                "cell_type": "code",
                "source": ["x = 1\n", "y"],
                "metadata": {"nbgrader": 7},
                "outputs": [],
                "execution_count": 1,
            },
            {"cell_type": "heading", "source": "?", "metadata": {}},
        ],
        "nbformat": 4,
        "nbformat_minor": 2,
        "metadata": {"odd": []},
    }
    cells = notebook.parse(json.dumps(old).encode(), "lab.ipynb").cells
    assert [cell.source for cell in cells] == ["x = 1\ny"]
    assert notebook.grading(cells[0]) == {}


def ran(tmp_path: Path, limits: Limits, *sources: str) -> tuple[list[str], notebook.Run]:
    work = book(*(code(source) for source in sources))
    run = notebook.execute(work, tmp_path, limits, {"PATH": "/usr/bin:/bin"})
    errors = [output.ename for cell in work.cells for output in cell.outputs if output.output_type == "error"]
    return errors, run


def test_a_failing_cell_does_not_stop_the_next(tmp_path: Path) -> None:
    errors, run = ran(tmp_path, Limits(), "1 / 0", "x = 1", "assert x == 2")
    assert errors == ["ZeroDivisionError", "AssertionError"]
    assert run.stopped is None


def test_a_cell_that_no_check_needs_is_left_out_of_grading(tmp_path: Path) -> None:
    shown = nbformat.v4.new_code_cell("1 / 0", metadata={"tags": ["not-graded"]})
    work, _ = notebook.restore(book(shown, answer("x = 1")), REFERENCE)
    notebook.execute(work, tmp_path, Limits(), {"PATH": "/usr/bin:/bin"}, notebook.graded_cells(work))
    outputs = {cell.source: cell.outputs for cell in work.cells}
    assert outputs["1 / 0"] == []
    assert outputs[FULL][0].ename == "AssertionError"


def test_an_endless_cell_is_stopped_and_the_next_runs(tmp_path: Path) -> None:
    errors, run = ran(tmp_path, Limits(cell_seconds=1), "while True: pass", "raise ValueError")
    assert errors == ["KeyboardInterrupt", "ValueError"]
    assert run.stopped is None


def test_a_cell_that_ends_the_kernel_is_named_and_the_rest_is_not_run(tmp_path: Path) -> None:
    errors, run = ran(tmp_path, Limits(), "import os; os._exit(1)", "x = 1", "y = 1")
    assert errors == ["DeadKernel"]
    assert run.stopped is not None and "`import os; os._exit(1)`" in run.stopped
    assert run.not_run == {1, 2}


def test_a_notebook_that_uses_up_its_time_stops(tmp_path: Path) -> None:
    cells = ["import time", *["time.sleep(0.7)"] * 4]
    errors, run = ran(tmp_path, Limits(total_seconds=1), *cells)
    assert run.stopped == "the notebook needed more than 1 s in all"
    assert 4 in run.not_run
    assert set(errors) <= {"KeyboardInterrupt"}


def test_a_run_leaves_no_file_and_no_kernel_behind(tmp_path: Path) -> None:
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    errors, _ = ran(tmp_path, Limits(), "x = 1", "import os; print(os.getpid())")
    assert errors == []
    assert list(tmp_path.iterdir()) == []
    left = [process for process in psutil.Process().children(recursive=True) if process.pid not in before]
    assert psutil.wait_procs(left, timeout=5)[1] == []
