"""The made-up class: always the same, as mixed as a real one, and held against what the known answers say."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from grader import collect, demo, roll, source, unbound
from grader.grade import grade
from grader.house import House
from labkit.course import Lab, Limits
from labkit.errors import UserError
from tests import classroom


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[House, Lab]:
    house, lab = classroom.house(tmp_path_factory.mktemp("course"))
    return house, replace(lab, limits=Limits(cell_seconds=3))


@pytest.fixture(scope="module")
def cases(built: tuple[House, Lab]) -> list[roll.Case]:
    house, lab = built
    return roll.call(lab, house.course.lab(lab.name))


def told(cases: Sequence[roll.Case], words: str) -> roll.Case:
    (found,) = [case for case in cases if words in case.story]
    return found


def test_a_class_has_one_case_for_each_name(cases: list[roll.Case]) -> None:
    assert len(cases) == len(roll.NAMES) == len(set(roll.NAMES)) == 24


@pytest.mark.parametrize(
    "words",
    [
        "the reference",
        "untouched",
        "cut off",
        "no notebook",
        "check deleted",
        "syntax error",
        "endless loop",
        "ends the kernel",
    ],
)
def test_every_kind_of_student_is_in_the_class_once(cases: list[roll.Case], words: str) -> None:
    assert told(cases, words)


def test_the_class_hands_in_the_same_bytes_each_time(
    built: tuple[House, Lab], cases: list[roll.Case], tmp_path: Path
) -> None:
    house, lab = built
    again = roll.call(lab, house.course.lab(lab.name))
    first = demo.pack(house, lab, cases, tmp_path / "first.zip").read_bytes()
    assert demo.pack(house, lab, again, tmp_path / "second.zip").read_bytes() == first


def test_the_class_is_collected_under_the_names_it_is_looked_up_by(
    built: tuple[House, Lab], cases: list[roll.Case], tmp_path: Path
) -> None:
    house, lab = House(built[0].course, room="all"), built[1]
    outcomes = collect.collect(house, lab, demo.pack(house, lab, cases, tmp_path / "all.zip"))
    states = {outcome.student: outcome.state for outcome in outcomes}
    refused = {student for student, state in states.items() if state == "refused"}
    assert len(states) == 24
    assert refused == {demo._student(place) for place, case in enumerate(cases) if case.refused}
    records = collect.records(house, lab)
    assert {student for student, record in records.items() if record["late"]} == {demo._student(n) for n in demo.LATE}


def test_scores_are_held_against_what_the_answers_say(
    built: tuple[House, Lab], cases: list[roll.Case], tmp_path: Path
) -> None:
    house, lab = House(built[0].course, room="some"), built[1]
    words = ("the reference", "check deleted", "endless loop", "ends the kernel", "cut off")
    some = [told(cases, word) for word in words]
    collect.collect(house, lab, demo.pack(house, lab, some, tmp_path / "some.zip"))
    results = grade(house, lab, 2)
    assert demo.surprises(house, lab, some, results) == []
    some[0] = replace(some[0], loses=frozenset({"late-share"}))
    some[1] = replace(some[1], loses=frozenset())
    found = demo.surprises(house, lab, some, results)
    assert len(found) == 2
    assert "should lose late-share and lost nothing" in found[0]
    assert "should lose nothing and lost late-share" in found[1]


def test_a_folder_that_the_demonstration_did_not_make_is_left_alone(built: tuple[House, Lab]) -> None:
    house, lab = built
    folder = house.course.root / demo.ROOM
    folder.mkdir()
    (folder / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="was not made by"):
        demo.run(house, lab, 1, lambda _: None, lambda _, __: pytest.fail("it graded"))
    assert (folder / "mine.txt").read_text(encoding="utf-8") == "mine"


BOOK = """\
# %% grade_id="import" locked=true
# %load_ext autoreload
from starter.first import one, two
from other import three

# %% grade_id="answer" solution=true
### BEGIN SOLUTION
four = 4
### END SOLUTION

# %% grade_id="uses-one" points=1
assert one() == 1

# %% grade_id="uses-three" points=1
assert three() == 3

# %% grade_id="uses-four" points=1
one = 1  # its own
assert four == 4 and one == 1

# %%
made = two()

# %% grade_id="by-function" points=1
def calls(number: int) -> int:
    return made + number


assert calls(2) == 4

# %% grade_id="alone" points=1
assert [number for number in (1, 2)] == [1, 2]
"""


@pytest.mark.parametrize(
    ("modules", "cells", "lost"),
    [
        (set(), set(), set()),
        ({"starter.first"}, set(), {"uses-one", "uses-three", "by-function"}),
        ({"other"}, set(), {"uses-three"}),
        (set(), {"answer"}, {"uses-four"}),
    ],
)
def test_what_a_broken_file_costs_follows_from_the_names_that_checks_use(
    tmp_path: Path, modules: set[str], cells: set[str], lost: set[str]
) -> None:
    (tmp_path / "book.py").write_text(BOOK, encoding="utf-8")
    book = source.convert(tmp_path / "book.py")
    assert unbound.checks_without(book, frozenset(modules), frozenset(cells)) == lost


def test_a_file_breaks_those_that_import_it_in_any_way() -> None:
    files = {
        "starter/base.py": b"x = 1",
        "starter/by_from.py": b"from starter.base import x",
        "starter/by_dot.py": b"from .by_from import x",
        "starter/by_package.py": b"from starter import base",
        "starter/apart.py": b"import json",
    }
    broken = unbound.broken_by(files, "starter/base.py")
    assert broken == {"starter.base", "starter.by_from", "starter.by_dot", "starter.by_package"}
