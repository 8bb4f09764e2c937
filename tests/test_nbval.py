"""A rerun of each executed solution gives the outputs that stand in it, in the cells that promise so."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.notebooknode import NotebookNode

from grader.house import here
from labkit import checks
from labkit.course import Lab
from tests import needs

HOUSE = here()
LABS = HOUSE.sources()
TAG = "nbval-check-output"
SECONDS = 900


def rerun(notebook: Path) -> subprocess.CompletedProcess[str]:
    """nbval on one notebook, with clouds of its own: every cell is run, those with the tag are compared."""
    # No settings but nbval's own: this project's are for its tests.
    ours = [f"--config-file={os.devnull}", "--rootdir", str(notebook.parent), "-p", "no:cacheprovider", "--quiet"]
    with checks.own_clouds():
        return subprocess.run(
            [sys.executable, "-m", "pytest", *ours, "--nbval-lax", "--nbval-cell-timeout=300", notebook],
            cwd=notebook.parent,
            env={**checks.environment(), "MLE_COURSE": str(HOUSE.course.root)},
            capture_output=True,
            encoding="utf-8",
            timeout=SECONDS,
            check=False,
        )


def without_promise(notebook: NotebookNode) -> list[str]:
    """What makes a rerun show nothing, one sentence each."""
    tagged = [cell for cell in notebook.cells if TAG in cell.metadata.get("tags", [])]
    if not tagged:
        return [f"no cell has the tag {TAG}: nothing would be compared"]
    return [f"cell {cell.id} has the tag {TAG} and no output" for cell in tagged if not cell.outputs]


@pytest.fixture(params=LABS, ids=lambda lab: lab.name)
def lab(request: pytest.FixtureRequest) -> Lab:
    one: Lab = request.param
    for name in ("gcp", "azure"):
        if name in one.needs:
            needs.require(name, getattr(needs, name)())
    return one


def laid_out(lab: Lab, folder: Path) -> Path:
    """The lab as its notebook was executed: the release, the reference's starter files and notebook over it."""
    shutil.copytree(HOUSE.release(lab), folder, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    shutil.copytree(lab.path / "starter", folder / "starter", dirs_exist_ok=True)
    shutil.copy(lab.path / lab.notebook, folder / lab.notebook)
    return folder / lab.notebook


def test_outputs_that_are_promised_are_there(lab: Lab) -> None:
    assert without_promise(nbformat.read(lab.path / lab.notebook, 4)) == []


def test_a_rerun_gives_the_same_outputs(lab: Lab, tmp_path: Path) -> None:
    done = rerun(laid_out(lab, tmp_path / lab.name))
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


def notebook(folder: Path, output: str, tags: list[str]) -> Path:
    """A notebook of one cell that prints 2, stored with `output` (none where it is empty)."""
    new = nbformat.v4
    stored = new.new_output("stream", name="stdout", text=output)
    cell = new.new_code_cell(
        "print(1 + 1)", execution_count=1, outputs=[stored] if output else [], metadata={"tags": tags}
    )
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new.new_notebook(cells=[cell], metadata={"kernelspec": kernel}), folder / "one.ipynb")
    return folder / "one.ipynb"


def test_an_output_that_differs_is_found(tmp_path: Path) -> None:
    done = rerun(notebook(tmp_path, "3\n", [TAG]))
    assert done.returncode == 1 and "1 failed" in done.stdout, done.stdout


def test_an_output_that_is_the_same_passes(tmp_path: Path) -> None:
    done = rerun(notebook(tmp_path, "2\n", [TAG]))
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout


def test_an_output_that_nobody_promised_may_differ(tmp_path: Path) -> None:
    done = rerun(notebook(tmp_path, "3\n", []))
    assert done.returncode == 0, done.stdout


def test_a_notebook_that_promises_no_output_is_found(tmp_path: Path) -> None:
    assert without_promise(nbformat.read(notebook(tmp_path, "2\n", []), 4)) == [
        "no cell has the tag nbval-check-output: nothing would be compared"
    ]
    assert len(without_promise(nbformat.read(notebook(tmp_path, "", [TAG]), 4))) == 1
    assert without_promise(nbformat.read(notebook(tmp_path, "2\n", [TAG]), 4)) == []
