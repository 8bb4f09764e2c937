"""`grader prove`: a lab whose answers are graded as they must be passes, every other one is named."""

from pathlib import Path

import pytest

from grader import answers, build, prove
from grader.answers import Answer, Edit
from grader.house import House
from labkit.errors import UserError
from tests import minihouse


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = minihouse.make(tmp_path)
    build.build(house, minihouse.lab(house), execute=False)
    return house


def proven(house: House) -> dict[str, prove.Proof]:
    proofs = prove.prove(house, minihouse.lab(house), workers=2)
    return {proof.name: proof for proof in proofs}


def test_a_new_lab_proves(house: House) -> None:
    proofs = proven(house)
    assert {name: (proof.kind, proof.score) for name, proof in proofs.items()} == {
        "untouched": ("untouched", 0),
        "reference": ("reference", 1),
        "fifteen-is-late": ("wrong", 0),
        "percent": ("wrong", 0),
        "visible-case-only": ("wrong", 0),
        "with-a-sum": ("right", 1),
    }
    assert not any(proof.surprises for proof in proofs.values())


def test_a_check_that_anybody_passes_is_found(house: House) -> None:
    script = minihouse.lab(house).path / "mini.py"
    minihouse.edit(script, "assert share == 0.25,", "assert share is not None,")
    minihouse.edit(script, "assert share == 0.6,", "assert share is not None,")
    surprised = {name for name, proof in proven(house).items() if proof.surprises}
    assert surprised == {"fifteen-is-late", "percent", "visible-case-only"}


def test_a_hidden_test_is_what_catches_the_visible_case_only(house: House) -> None:
    minihouse.edit(minihouse.lab(house).path / "mini.py", "assert share == 0.6,", "assert share is not None,")
    assert {name for name, proof in proven(house).items() if proof.surprises} == {"visible-case-only"}


def test_a_check_of_the_reference_alone_fails_a_right_answer(house: House) -> None:
    file = minihouse.lab(house).path / "starter/answer.py"
    minihouse.edit(file, "def late_share", "LATE = 15\n\n\ndef late_share")
    script = minihouse.lab(house).path / "mini.py"
    minihouse.edit(
        script,
        "assert share == 0.25",
        'import inspect\nassert "late = [" in inspect.getsource(late_share)\nassert share == 0.25',
    )
    proofs = proven(house)
    assert "late-share was lost and should not be" in " ".join(proofs["with-a-sum"].surprises)
    assert not proofs["reference"].surprises


def test_a_check_that_depends_on_chance_is_found_by_the_second_run(house: House) -> None:
    counter = house.course.root / "runs"
    text = f"""
from pathlib import Path
counter = Path({str(counter)!r})
counter.write_text("x" * (len(counter.read_text()) + 1) if counter.exists() else "x")
assert len(counter.read_text()) > 1 or share != 0.25
assert share == 0.25"""
    minihouse.edit(minihouse.lab(house).path / "mini.py", "\nassert share == 0.25", text)
    told = [sentence for proof in prove.prove(house, minihouse.lab(house), workers=1) for sentence in proof.surprises]
    assert any("a second run gave 1 points, the first 0" in sentence for sentence in told)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('name = "percent"\n', 'name = "with-a-sum"\n', "two answers are called 'with-a-sum'"),
        (
            'loses = ["late-share"]\nedits = [{ file = "starter/answer.py", function',
            'loses = ["no-such"]\nedits = [{ file = "starter/answer.py", function',
            "names 'no-such', which is no check",
        ),
        ('covers = ["late-share"]', 'loses = ["late-share"]', "a right one those it `covers`"),
        ('old = "delay > 15"', 'old = "delay > 16"', "occurs 0 times, not once"),
        ('old = "return len(late)"', 'old = "delay"', "occurs 7 times, not once"),
        (
            'function = "late_share", new = "    return 0.25"',
            'function = "late", new = "    return 0.25"',
            "no function 'late'",
        ),
        (
            'file = "starter/answer.py", old = "delay > 15"',
            'file = "starter/other.py", old = "delay > 15"',
            "no file 'starter/other.py'",
        ),
        ('file = "starter/answer.py", old = "delay > 15"', 'cell = "other", old = "delay > 15"', "no cell 'other'"),
        ('file = "starter/answer.py", old = "delay > 15"', 'old = "delay > 15"', "either `file` or `cell`"),
        ("[[right]]", "[[wright]]", "unknown table 'wright'"),
    ],
)
def test_a_fault_in_answers_toml_is_named(house: House, old: str, new: str, told: str) -> None:
    lab = minihouse.lab(house)
    minihouse.edit(lab.path / "answers.toml", old, new)
    with pytest.raises(UserError, match=r"answers\.toml") as raised:
        list(prove.cases(lab, house.course.lab("90")))
    assert told in str(raised.value)


def test_a_check_with_too_few_wrong_answers_is_refused(house: House) -> None:
    lab = minihouse.lab(house)
    text = (lab.path / "answers.toml").read_text(encoding="utf-8")
    (lab.path / "answers.toml").write_text(
        text.replace("[[wrong]]", "[[gone]]", 1).replace("[[gone]]", "#", 1), encoding="utf-8"
    )
    fewer = text[text.index("[[wrong]]", text.index("[[wrong]]") + 1) :]
    (lab.path / "answers.toml").write_text(fewer, encoding="utf-8")
    with pytest.raises(UserError, match="has 2 wrong and 1 right answers; it needs at least 3 and 1"):
        list(prove.cases(lab, house.course.lab("90")))


def test_an_edit_replaces_the_region_of_a_method() -> None:
    text = "class A:\n    def f(self):\n        ### BEGIN SOLUTION\n        return 1\n        ### END SOLUTION\n"
    edited = answers.edited(text, Edit(new="        return 2\n", function="A.f"), "here")
    assert "return 2" in edited and "return 1" not in edited


def test_an_answer_edits_a_cell(house: House) -> None:
    from grader import source

    lab = minihouse.lab(house)
    answer = Answer("x", "wrong", (Edit(cell="late-share-import", new="late_share = max"),), frozenset({"late-share"}))
    files = answers.apply(lab, source.notebook(lab), answer)
    assert b"late_share = max" in files["mini.ipynb"]
