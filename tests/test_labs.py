"""Every lab of the course: generated from its source, free of leaks, and graded as it must be."""

import pytest

from grader import build, prove
from grader.house import House, here
from labkit.course import Lab
from tests import needs

HOUSE: House = here()
LABS = HOUSE.sources()


@pytest.fixture(params=LABS, ids=lambda lab: lab.name)
def lab(request: pytest.FixtureRequest) -> Lab:
    one: Lab = request.param
    return one


def test_there_is_a_lab() -> None:
    assert LABS


def test_what_students_get_is_what_the_source_builds(lab: Lab) -> None:
    """The leak scan runs inside: a leak is an error here, a difference a sentence with the command that mends it."""
    assert build.differences(HOUSE, lab) == []


def test_every_release_has_a_source() -> None:
    assert {one.name for one in HOUSE.course.labs()} == {one.name for one in LABS}


def test_known_answers_get_exactly_their_points(lab: Lab) -> None:
    needs.clouds_of(lab)
    proofs = prove.prove(HOUSE, lab, workers=2)
    told = [f"{proof.kind} {proof.name}: {sentence}" for proof in proofs for sentence in proof.surprises]
    assert told == []
    scores = {
        proof.kind: (proof.score, proof.max_score) for proof in proofs if proof.kind in ("untouched", "reference")
    }
    assert scores == {"untouched": (0, 20), "reference": (20, 20)}


def test_each_lab_has_its_anatomy(lab: Lab) -> None:
    """LAB-STANDARD's parts that a program can see: three hints a task, a picture, other clouds, quiz, further."""
    from grader import source

    notebook = source.notebook(lab)
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    whole = "\n".join(texts)
    tasks = [text for text in texts if text.startswith("## Task")]
    assert 4 <= len(tasks) <= 7
    for task in tasks:
        assert task.count("<summary>Hint") == 3, task.split("\n")[0]
    for heading in ("## On a real cloud", "## Quiz", "## Further"):
        assert heading in whole
    assert 3 <= len(lab.objectives) <= 5
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("points"):
            for line in ("# What is tested:", "# Why it matters:", "# Expected:"):
                assert line in cell.source, cell.id
