"""The percent script of a lab: what its `# %%` lines mean, and what is said of a faulty one."""

from pathlib import Path

import pytest

from grader import source, strip
from labkit.errors import UserError


def script(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "lab.py"
    file.write_text(text, encoding="utf-8")
    return file


def test_metadata_follows_from_points_and_solution(tmp_path: Path) -> None:
    text = (
        '# %% grade_id="a" solution=true\nx = 1\n'
        '# %% grade_id="b" points=2\nassert x\n'
        '# %% [markdown] grade_id="c" points=3 solution=true\n# text\n'
        '# %% grade_id="d" locked=true\nimport os\n'
        "# %%\nprint(x)\n"
    )
    answer, check, by_hand, locked, plain = source.convert(script(tmp_path, text)).cells
    told = {key: (cell.metadata.nbgrader[key]) for cell, key in [(answer, "solution"), (check, "grade")]}
    assert told == {"solution": True, "grade": True}
    assert (answer.metadata.nbgrader.locked, check.metadata.nbgrader.locked) == (False, True)
    assert (by_hand.metadata.nbgrader.grade, by_hand.metadata.nbgrader.solution) == (True, True)
    assert (locked.metadata.nbgrader.locked, locked.metadata.nbgrader.grade) == (True, False)
    assert "nbgrader" not in plain.metadata


def test_converting_twice_gives_the_same_notebook(tmp_path: Path) -> None:
    file = script(tmp_path, "# %% [markdown]\n# # Title\n# %%\nx = 1\n")
    assert source.convert(file) == source.convert(file)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('# %% grade_id="a"\nx = 1\n', "cell 1, line 1: grade_id alone does nothing"),
        ("# %%\nx = 1\n# %% points=2\nassert 1\n", "cell 2, line 3: grade_id must be given"),
        ('# %% grade_id="a" points=0\nassert 1\n', "points must be a whole number"),
        ('# %% grade_id="A b" points=1\nassert 1\n', "grade_id must be given, in lower case"),
        ('# %% grade_id="a" points=1 colour="red"\nassert 1\n', "unknown cell option 'colour'"),
        ('# %% grade_id="a" points=1\n1\n# %% grade_id="a" points=1\n1\n', "was given in line 1 already"),
        ('# %% grade_id="a" solution=true\n### BEGIN SOLUTION\nx = 1\n', "BEGIN SOLUTION without its END"),
        ('# %% grade_id="a" solution=true\nx = 1\n### END SOLUTION\n', "END SOLUTION without its BEGIN"),
        ("# %%\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION\n", "in a cell without solution=true"),
        ("# %%\n### BEGIN HIDDEN TESTS\nx = 1\n### END HIDDEN TESTS\n", "in a cell without points"),
        ("# %%\nx = = 1\n", "cell 1, line 1: invalid syntax"),
        ("x = 1\n# %%\ny = 2\n", "every cell begins with a line `# %%`"),
    ],
)
def test_a_faulty_cell_is_named_by_file_cell_and_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UserError, match=r"lab\.py") as raised:
        source.convert(script(tmp_path, text))
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("name", "stub"),
    [
        ("answer.py", "    # YOUR CODE HERE\n    raise NotImplementedError()"),
        ("Dockerfile", "    # YOUR CODE HERE"),
        ("service.yaml", "    # YOUR CODE HERE"),
        ("query.sql", "    -- YOUR CODE HERE"),
        ("page.html", "    <!-- YOUR CODE HERE -->"),
    ],
)
def test_a_solution_becomes_a_stub_of_its_file_type(name: str, stub: str) -> None:
    text = "before\n    ### BEGIN SOLUTION\n    secret\n    ### END SOLUTION\nafter"
    assert strip.strip(text, name) == f"before\n{stub}\nafter"


def test_a_starter_file_whose_markers_do_not_pair_is_named() -> None:
    with pytest.raises(UserError, match=r"answer\.py: BEGIN SOLUTION without its END"):
        strip.strip("### BEGIN SOLUTION\nsecret\n", "answer.py")
