"""From a lab's source to what students get: complete, free of solutions, the same every time."""

from pathlib import Path

import nbformat
import pytest
from nbgrader.validator import Validator

from grader import build, leaks, new
from grader.house import House
from labkit.errors import CourseError, FailureError, UserError
from tests import minihouse


@pytest.fixture
def house(tmp_path: Path) -> House:
    return minihouse.make(tmp_path)


def built(house: House) -> Path:
    lab = minihouse.lab(house)
    build.build(house, lab, execute=False)
    return house.release(lab)


def test_a_release_has_stubs_and_visible_tests_and_nothing_more(house: House) -> None:
    folder = built(house)
    files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert files == {"README.md", "lab.toml", "mini.ipynb", "starter/answer.py"}
    assert "raise NotImplementedError()" in (folder / "starter/answer.py").read_text(encoding="utf-8")
    text = (folder / "mini.ipynb").read_text(encoding="utf-8")
    assert "share == 0.25" in text
    assert "share == 0.6" not in text


def test_nbgrader_validates_the_release_and_finds_it_unanswered(house: House) -> None:
    results = Validator().validate(str(built(house) / "mini.ipynb"))
    assert [cell["source"].split("\n")[0] for cell in results["failed"]] == [
        "# What is tested: the share of delays above 15 minutes."
    ]
    assert "changed" not in results


def test_building_again_changes_no_byte(house: House) -> None:
    folder = built(house)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    built(house)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_the_executed_solution_is_run_again_only_after_a_change(house: House) -> None:
    lab = minihouse.lab(house)
    runs: list[str] = []
    build.build(house, lab, runs.append)
    build.build(house, lab, runs.append)
    assert len(runs) == 1
    solved = nbformat.read(lab.path / lab.notebook, as_version=4)
    assert "on this machine" in solved.cells[1].outputs[0].text
    minihouse.edit(lab.path / "starter/answer.py", "return len(late)", "return float(len(late))")
    build.build(house, minihouse.lab(house), runs.append)
    assert len(runs) == 2


@pytest.mark.parametrize("changed", ["mini.ipynb", "starter/answer.py", "README.md", "lab.toml"])
def test_an_edit_of_a_generated_file_is_found(house: House, changed: str) -> None:
    lab = minihouse.lab(house)
    build.build(house, lab)
    assert build.differences(house, lab) == []
    file = house.release(lab) / changed
    file.write_text(file.read_text(encoding="utf-8") + " ", encoding="utf-8")
    assert build.differences(house, lab) == [
        f"labs/90-mini/{changed} is not what its source builds: run `grader build 90`"
    ]


def test_a_file_without_a_source_and_an_old_execution_are_found(house: House) -> None:
    lab = minihouse.lab(house)
    build.build(house, lab)
    (house.release(lab) / "extra.txt").write_text("x", encoding="utf-8")
    minihouse.edit(lab.path / "starter/answer.py", "return len(late)", "return float(len(late))")
    told = " ".join(build.differences(house, minihouse.lab(house)))
    assert "labs/90-mini/extra.txt has no source" in told
    assert "was executed from other sources" in told


LEAKS = {
    "hint in the text": (
        "mini.py",
        "# How many are there",
        "# `late = [delay for delay in delays if delay > 15]`\n# How",
    ),
    "other quotes and spaces": (
        "mini.py",
        "# How many are there",
        "# late=[delay for  delay in delays if delay>15]\n# How",
    ),
    "hidden test in the text": ("mini.py", "# How many are there", "# share = late_share([20, 30, 10, 16, 15])\n# How"),
    "docstring of a starter file": ("starter/answer.py", "above 15.", "above 15: return len(late) / len(delays)."),
    "summary of the lab": ("lab.toml", "One sentence", "return len(late) / len(delays). One sentence"),
}


@pytest.mark.parametrize("where", LEAKS)
def test_a_leak_stops_the_build_and_leaves_the_old_release(house: House, where: str) -> None:
    name, old, new_text = LEAKS[where]
    release = built(house)
    before = (release / "mini.ipynb").read_bytes()
    minihouse.edit(minihouse.lab(house).path / name, old, new_text)
    with pytest.raises(FailureError, match="the student's version leaks"):
        built(house)
    assert (release / "mini.ipynb").read_bytes() == before


def test_a_leak_on_the_slides_is_found(house: House) -> None:
    slides = house.course.root / "slides" / "90-mini.md"
    slides.parent.mkdir()
    slides.write_text("# Mini\n\n    return len(late) / len(delays)\n", encoding="utf-8")
    with pytest.raises(FailureError, match=r"slides/90-mini\.md, line 3"):
        built(house)


def test_a_leak_in_an_output_is_found() -> None:
    cell = nbformat.v4.new_code_cell(
        "x", outputs=[nbformat.v4.new_output("stream", text="total = prices.sum() * 1.19")]
    )
    text = nbformat.writes(nbformat.v4.new_notebook(cells=[cell]))
    hidden = {leaks.normalise("total = prices.sum() * 1.19"): ("total = ...", "cell 'a'")}
    assert [leak.file for leak in leaks.scan(hidden, {"a.ipynb": text})] == ["a.ipynb"]


def test_a_reference_that_fails_is_named_and_nothing_is_written(house: House) -> None:
    lab = minihouse.lab(house)
    minihouse.edit(lab.path / "starter/answer.py", "return len(late)", "return 2 * len(late)")
    with pytest.raises(FailureError, match=r"mini\.py, cell 5 \(late-share\): the reference fails: AssertionError"):
        build.build(house, lab)
    assert not house.release(lab).exists()
    assert not (lab.path / lab.notebook).exists()


def test_given_files_come_solved_from_an_earlier_lab(house: House) -> None:
    new.create(house, "91-later")
    later = house.source("91")
    minihouse.edit(later.path / "lab.toml", "given = []", 'given = ["90-mini/starter/answer.py"]')
    minihouse.edit(
        later.path / "starter/answer.py", "return len(late) / len(delays)", "return 1.0 * len(late) / len(delays)"
    )
    build.build(house, house.source("91"), execute=False)
    text = (house.release(later) / "given" / "answer.py").read_text(encoding="utf-8")
    assert "return len(late) / len(delays)" in text
    assert "SOLUTION" not in text


@pytest.mark.parametrize(
    ("old", "new_text", "told"),
    [
        ("number = 90", "number = 91", "the folder is '90-mini'"),
        ("minutes = 60", 'minutes = "60"', "minutes must be given, as int"),
        ("needs = []", 'needs = ["mainframe"]', "needs names 'mainframe'"),
        ("needs = []", "requires = []", "unknown key 'requires'"),
        ("needs = []", "needs = [", "is not valid TOML"),
        ("given = []", 'given = ["89-none/x.py"]', "there is no lab '89-none'"),
        ("memory_mb = 2048", "memory_mb = 0", "limits must be whole numbers"),
    ],
)
def test_a_faulty_lab_toml_is_named_with_its_key(house: House, old: str, new_text: str, told: str) -> None:
    minihouse.edit(minihouse.lab(house).path / "lab.toml", old, new_text)
    with pytest.raises(UserError) as raised:
        built(house)
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mini", "no name for a lab"),
        ("90-other", "taken by 90-mini"),
        ("99-Upper", "no name for a lab"),
        ("../99-x", "no name for a lab"),
    ],
)
def test_a_wrong_name_for_a_new_lab_is_refused(house: House, name: str, told: str) -> None:
    with pytest.raises(CourseError, match=told):
        new.create(house, name)
