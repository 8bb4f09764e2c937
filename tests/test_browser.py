"""A student's evening in a real browser: JupyterLab opens, work is done and handed in; then an instructor's look."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from nbformat.notebooknode import NotebookNode
from playwright.sync_api import Browser, expect

from labkit.course import Lab
from labkit.notebook import grading, is_check
from tests import chromium, formgrader, fullcourse, jupyterlab, needs
from tests.chromium import Visit
from tests.fullcourse import Copy

LAB = "02"
STUDENT = "rosa"
EDITED = "columns.py"
"""The starter file that is edited in JupyterLab's own editor; the others are written with another one."""


@dataclass(frozen=True)
class Session:
    """A student's open JupyterLab."""

    copy: Copy
    lab: Lab
    visit: Visit

    @property
    def work(self) -> Path:
        return self.copy.course.work(self.lab)

    def saved(self) -> NotebookNode:
        return jupyterlab.read(self.copy, self.lab)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    needs.require("browser", needs.browser())
    with chromium.launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Copy:
    return fullcourse.copy(tmp_path_factory.mktemp("browser") / "course")


@pytest.fixture(scope="module")
def lab(copy: Copy) -> Lab:
    lab = copy.house.source(LAB)
    needs.clouds_of(lab)
    return lab


@pytest.fixture(scope="module")
def session(copy: Copy, lab: Lab, browser: Browser) -> Iterator[Session]:
    """`lab start` has printed an address, and the browser has opened it."""
    with jupyterlab.started(copy, LAB) as url, chromium.visit(browser) as visit:
        session = Session(copy, lab, visit)
        jupyterlab.open_notebook(visit, url, len(session.saved().cells))
        yield session


@dataclass(frozen=True)
class Ran:
    """What was saved after all cells were run."""

    notebook: NotebookNode
    starter: dict[str, str]

    @property
    def errors(self) -> list[str]:
        """What stopped cells, e.g. `NotImplementedError: ...`."""
        found = [output for cell in self.notebook.cells for output in cell.get("outputs", [])]
        return [f"{one.ename}: {one.evalue}" for one in found if one.output_type == "error"]


def ran(session: Session) -> Ran:
    jupyterlab.run_all(session.visit)
    jupyterlab.save(session.visit)
    starter = {path.name: path.read_text(encoding="utf-8") for path in (session.work / "starter").glob("*.py")}
    return Ran(session.saved(), starter)


@pytest.fixture(scope="module")
def untouched(session: Session) -> Ran:
    return ran(session)


@pytest.fixture(scope="module")
def answered(session: Session, untouched: Ran) -> Ran:
    """Every answer is the reference's: those of the notebook typed into their cells, one file edited in JupyterLab."""
    visit, lab = session.visit, session.lab
    files = fullcourse.starter_answers(lab)
    for name, text in files.items():
        if name != f"starter/{EDITED}":
            (session.work / name).write_text(text, encoding="utf-8")
    for cell in untouched.notebook.cells:
        answer = fullcourse.cell_answers(lab).get(grading(cell).get("grade_id", ""))
        if answer is not None:
            shown = jupyterlab.cell(visit, cell.source.split("\n")[0])
            jupyterlab.type_into(visit, shown.locator(".cm-content"), answer)
    jupyterlab.save(visit)
    editor = jupyterlab.open_file(visit, "starter", EDITED)
    jupyterlab.paste_into(visit, editor, files[f"starter/{EDITED}"])
    jupyterlab.save(visit)
    jupyterlab.show_tab(visit, lab.notebook)
    return ran(session)


@dataclass(frozen=True)
class Submitted:
    """What the terminal said, and the archive that lies where it says."""

    said: str
    archive: Path


@pytest.fixture(scope="module")
def submitted(session: Session, answered: Ran) -> Submitted:
    visit = session.visit
    prompt = jupyterlab.open_terminal(visit)
    jupyterlab.type_command(visit, f"lab submit {LAB} --student {STUDENT}")
    visit.wait_for(lambda: jupyterlab.terminal_text(visit).count(prompt) == 2, "the command's end")
    archives = list(session.copy.course.work_dir.glob("*.zip"))
    assert len(archives) == 1, jupyterlab.terminal_text(visit)
    return Submitted(jupyterlab.terminal_text(visit), archives[0])


@pytest.fixture(scope="module")
def graded(session: Session, submitted: Submitted) -> Copy:
    """An instructor has collected and graded that archive."""
    session.copy.run("grader", "collect", LAB, submitted.archive, "--student", STUDENT)
    session.copy.run("grader", "grade", LAB, "--workers", "1")
    return session.copy


def test_the_set_up_cell_prints_one_line_that_says_where_it_runs(untouched: Ran) -> None:
    setup = next(cell for cell in untouched.notebook.cells if cell.cell_type == "code")
    printed = "".join(output.get("text", "") for output in setup.outputs)
    assert printed.startswith("aws: local emulator at http://127.0.0.1:") and printed.count("\n") == 1


def test_the_menus_hold_no_authors_tools(session: Session, untouched: Ran) -> None:
    shown = session.visit.page.locator(".lm-MenuBar-itemLabel").all_inner_texts()
    assert [name for name in shown if name] == ["File", "Edit", "View", "Run", "Kernel", "Tabs", "Settings", "Help"]


def test_an_untouched_notebook_stops_at_its_first_check_which_is_not_answered(untouched: Ran) -> None:
    first = next(cell for cell in untouched.notebook.cells if is_check(cell))
    assert [error.partition(":")[0] for error in untouched.errors] == ["NotImplementedError"]
    assert [output.output_type for output in first.outputs] == ["error"]


def test_what_was_typed_in_the_browser_is_what_was_saved(session: Session, answered: Ran) -> None:
    typed = {grading(cell).get("grade_id"): cell.source for cell in answered.notebook.cells}
    wanted = fullcourse.cell_answers(session.lab)
    assert {name: typed[name] for name in wanted} == wanted
    assert answered.starter[EDITED] == fullcourse.starter_answers(session.lab)[f"starter/{EDITED}"]


def test_the_notebook_picks_up_the_answers_and_every_check_passes(answered: Ran) -> None:
    assert answered.errors == []
    checks = [cell for cell in answered.notebook.cells if is_check(cell)]
    assert checks and all(cell.execution_count for cell in checks)


def test_the_notebook_shows_a_picture_of_what_was_built(answered: Ran) -> None:
    shown = [output.get("data", {}) for cell in answered.notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in data for data in shown)


def test_lab_submit_in_jupyterlabs_terminal_says_what_to_hand_in(submitted: Submitted) -> None:
    assert submitted.archive.name in re.sub(r"\s", "", submitted.said)


def test_what_was_handed_in_gets_full_marks(graded: Copy, lab: Lab, answered: Ran) -> None:
    found = json.loads((graded.house.classroom / "results" / lab.name / f"{STUDENT}.json").read_text("utf-8"))
    points = {one["grade_id"]: (one["points"], one["max_points"]) for one in found["report"]["results"]}
    wanted = {grading(cell)["grade_id"]: grading(cell)["points"] for cell in answered.notebook.cells if is_check(cell)}
    assert points == {name: (most, most) for name, most in wanted.items()}
    assert sum(wanted.values()) == 20


def test_the_browser_asked_nobody_but_this_machine_and_had_no_trouble(session: Session, submitted: Submitted) -> None:
    assert session.visit.hosts == {"127.0.0.1"}
    assert session.visit.troubles == []


def test_a_page_that_asks_elsewhere_is_noticed(tmp_path: Path, browser: Browser) -> None:
    page = tmp_path / "page.html"
    page.write_text('<img src="http://elsewhere.invalid/a.png"><script>nothing()</script>', encoding="utf-8")
    with chromium.visit(browser) as visit:
        visit.page.goto(page.as_uri())
        visit.wait_for(lambda: len(visit.troubles) >= 2, "both troubles")
        assert visit.hosts == {"elsewhere.invalid"}
        assert any("ERR_NAME_NOT_RESOLVED" in trouble for trouble in visit.troubles)
        assert any("nothing is not defined" in trouble for trouble in visit.troubles)


def test_formgrader_shows_the_graded_class(graded: Copy, lab: Lab, browser: Browser) -> None:
    with chromium.visit(browser) as visit, formgrader.running(graded, visit) as root:
        visit.page.goto(f"{root}/manage_submissions/{lab.name}")
        row = visit.page.locator("tr").filter(has_text=STUDENT)
        row.get_by_text("20 / 20").wait_for()
        row.get_by_text("graded").wait_for()
        assert visit.hosts == {"127.0.0.1"}


def test_formgrader_opens_the_graded_notebook_with_its_outputs(graded: Copy, lab: Lab, browser: Browser) -> None:
    with chromium.visit(browser) as visit, formgrader.running(graded, visit) as root:
        visit.page.goto(f"{root}/gradebook/{lab.name}/{lab.slug}")
        visit.page.get_by_text("Submission #1").click()
        visit.page.get_by_text("aws: local emulator at").wait_for()
        # The automatic score stands where an instructor may type another.
        expect(visit.page.locator("input.score").first).to_have_attribute("placeholder", "1")
