"""The class report: figures counted from verdicts and the gradebook, on a page that is safe to open and to read."""

import csv
import io
import json
import re
import time
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from nbgrader.api import Gradebook

from grader import collect, gradebook, report
from grader.engine import Result
from grader.grade import grade, refusal
from grader.house import House
from labkit.checks import CheckReport, CheckResult
from labkit.course import Lab
from labkit.errors import UserError
from tests import classroom

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
EVIL = '<script>alert("x")</script>'


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> tuple[House, Lab]:
    """A class of four, really collected and really graded; the fifth has handed in and waits."""
    folder = tmp_path_factory.mktemp("class")
    house, lab = classroom.house(folder / "course")
    good, wrong = classroom.files(house, lab), classroom.files(house, lab, "return 0.25")
    content = {
        "lovelaceada_101_9001_90-mini.zip": classroom.packed(good, folder),
        "hoppergrace_LATE_102_9002_90-mini.zip": classroom.packed(wrong, folder),
        "nobodynell_103_9003_90-mini.zip": classroom.packed(good | {lab.notebook: b'{"cells": ['}, folder),
        "evileve_104_9004_90-mini.zip": classroom.packed(
            classroom.files(house, lab, f"raise ValueError({EVIL!r})"), folder
        ),
    }
    collect.collect(house, lab, classroom.zipped(folder / "canvas.zip", content), now=NOON)
    grade(house, lab, 2)
    collect.collect(house, lab, classroom.zipped(folder / "90-mini-zoe.zip", good), now=NOON)
    return house, lab


def by_student(made: report.ClassReport) -> dict[str, report.Student]:
    return {one.student: one for one in made.students}


def test_scores_lates_and_problems_are_those_of_the_class(graded: tuple[House, Lab]) -> None:
    made = by_student(report.gather(*graded, NOON))
    assert {student: one.score for student, one in made.items()} == {
        "lovelaceada-101": 1,
        "hoppergrace-102": 0,
        "nobodynell-103": 0,
        "evileve-104": 0,
    }
    assert [student for student, one in made.items() if one.late] == ["hoppergrace-102"]
    assert [student for student, one in made.items() if one.problem] == ["nobodynell-103"]


def test_who_handed_in_and_is_not_graded_is_named(graded: tuple[House, Lab]) -> None:
    made = report.gather(*graded, NOON)
    assert made.ungraded == ("zoe",)
    assert "zoe" in report.page(made)


def test_the_pass_rate_counts_all_submissions_and_the_messages_those_that_ran(graded: tuple[House, Lab]) -> None:
    (check,) = report.gather(*graded, NOON).checks
    assert (check.passed, check.judged) == (1, 4)
    assert sum(message.students for message in check.messages) == 2
    assert not any("not a whole notebook" in message.text for message in check.messages)


def test_points_given_by_hand_are_the_ones_shown(graded: tuple[House, Lab]) -> None:
    house, lab = graded
    try:
        set_by_hand(house, lab, "hoppergrace-102", 0.5)
        made = by_student(report.gather(house, lab, NOON))["hoppergrace-102"]
        assert made.score == 0.5
        assert gradebook.scores(house, lab)["hoppergrace-102"] == (0.5, 1)
    finally:
        set_by_hand(house, lab, "hoppergrace-102", None)


def set_by_hand(house: House, lab: Lab, student: str, points: float | None) -> None:
    with Gradebook(f"sqlite:///{gradebook.database(house)}") as book:
        (given,) = book.find_submission_notebook(lab.slug, lab.name, student).grades
        given.manual_score = points
        book.db.commit()


def test_a_due_date_makes_the_late_ones_late(graded: tuple[House, Lab]) -> None:
    house, lab = graded
    try:
        due(house, lab, datetime(2026, 3, 1, 9, 30))
        assert by_student(report.gather(house, lab, NOON))["lovelaceada-101"].late == "1 d 2 h late"
        due(house, lab, datetime(2026, 3, 2, 9, 30))
        assert by_student(report.gather(house, lab, NOON))["lovelaceada-101"].late == "2 h 30 min late"
        due(house, lab, datetime(2026, 3, 2, 12, 0))
        assert by_student(report.gather(house, lab, NOON))["lovelaceada-101"].late == ""
    finally:
        due(house, lab, None)


def due(house: House, lab: Lab, when: datetime | None) -> None:
    with Gradebook(f"sqlite:///{gradebook.database(house)}") as book:
        book.find_assignment(lab.name).duedate = when
        book.db.commit()


def test_a_submission_handed_in_again_after_grading_is_flagged(graded: tuple[House, Lab], tmp_path: Path) -> None:
    house, lab = graded
    record = house.classroom / "submitted/evileve-104" / lab.name / collect.RECORD
    assert not by_student(report.gather(house, lab, NOON))["evileve-104"].remarks
    verdict = house.classroom / "results" / lab.name / "evileve-104.json"
    while record.stat().st_mtime <= verdict.stat().st_mtime:  # a coarse clock may need a moment
        record.write_bytes(record.read_bytes())
        time.sleep(0.01)
    assert "handed in again" in by_student(report.gather(house, lab, NOON))["evileve-104"].remarks[0]


class _Page(HTMLParser):
    """Tags and attributes of a page, as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_nothing_a_student_wrote_becomes_part_of_the_page(graded: tuple[House, Lab]) -> None:
    text = report.page(report.gather(*graded, NOON))
    assert "&lt;script&gt;" in text
    assert "script" not in {tag for tag, _ in _Page(text).tags}


def test_the_page_needs_no_other_file_and_no_network(graded: tuple[House, Lab]) -> None:
    text = report.page(report.gather(*graded, NOON))
    links = [values.get(key) for _, values in _Page(text).tags for key in ("src", "href", "xlink:href", "srcset")]
    assert [link for link in links if link] == ["grades.csv"]
    assert "url(" not in text
    assert "@import" not in text


def test_tables_have_headers_and_the_picture_has_a_text(graded: tuple[House, Lab]) -> None:
    made = report.gather(*graded, NOON)
    text = report.page(made)
    tags = _Page(text).tags
    assert {values.get("scope") for tag, values in tags if tag == "th"} == {"col", "row", "rowgroup"}
    pictures = [values for tag, values in tags if tag == "svg"]
    assert [values["role"] for values in pictures] == ["img"]
    said = re.search(r'<desc id="scores-text">(.*?)</desc>', text, re.DOTALL)
    assert said and "0 points: 3 students" in said[1] and "1 points: 1 students" in said[1]
    assert [tag for tag, _ in tags if tag in ("h1", "h2", "h3")] == ["h1", "h2", "h2", "h2", "h2"]


def test_the_files_are_written_and_say_the_same(graded: tuple[House, Lab]) -> None:
    page = report.write(*graded, NOON)
    rows = list(csv.DictReader(io.StringIO((page.parent / "grades.csv").read_text(encoding="utf-8"))))
    assert page.is_file()
    assert {row["student"]: (row["score"], row["max_score"], row["late-share"]) for row in rows} == {
        "lovelaceada-101": ("1", "1", "1"),
        "hoppergrace-102": ("0", "1", "0"),
        "nobodynell-103": ("0", "1", "0"),
        "evileve-104": ("0", "1", "0"),
    }


def test_a_class_without_grades_is_one_sentence(graded: tuple[House, Lab]) -> None:
    with pytest.raises(UserError, match="grader grade 90"):
        report.gather(House(graded[0].course, room="empty"), graded[1], NOON)


def made_up(student: str, *messages: str) -> Result:
    checks = tuple(CheckResult(f"c{n}", "Task", 0, 2, "failed", message) for n, message in enumerate(messages))
    return Result(student, "90-mini", CheckReport(checks), "{}", 0.0)


def test_messages_that_differ_only_in_figures_count_as_one(graded: tuple[House, Lab]) -> None:
    house = House(graded[0].course, room="figures")
    folder = house.classroom / "results/90-mini"
    folder.mkdir(parents=True)
    said = ["stored 54,008 rows in b-3916c39d18c9", "stored 27,003 rows in b-cca64cae6e9f", "no rows at all"]
    for number, text in enumerate(said):
        (folder / f"s{number}.json").write_text(made_up(f"s{number}", text).to_json(), encoding="utf-8")
    (check,) = report.gather(house, graded[1], NOON).checks
    assert [(message.text, message.students) for message in check.messages] == [(said[0], 2), (said[2], 1)]


def test_a_name_that_is_a_formula_is_no_formula_in_the_table(graded: tuple[House, Lab]) -> None:
    house = House(graded[0].course, room="formula")
    target = house.classroom / "results/90-mini"
    target.mkdir(parents=True)
    (target / "s0.json").write_text(made_up("s0", "no").to_json(), encoding="utf-8")
    folder = house.classroom / "submitted/s0/90-mini"
    folder.mkdir(parents=True)
    record = {"who": "name s0", "name": "=HYPERLINK(1)"}
    (folder / collect.RECORD).write_text(json.dumps(record), encoding="utf-8")
    row = next(csv.DictReader(io.StringIO(report.table(report.gather(house, graded[1], NOON)))))
    assert row["name"] == "'=HYPERLINK(1)"


@pytest.mark.parametrize(
    ("scores", "maximum", "expected"),
    [
        ([0, 0, 1, 20, 19, 2.5], 20, {"0": 2, "1 to 2": 1, "3 to 4": 1, "19 to 20": 2}),
        ([0, 1, 3], 3, {"0": 1, "1": 1, "3": 1}),
        ([0.5, 10.5, 12], 10.5, {"1 to 2": 1, "11": 2}),
        ([5], 15, {"5 to 6": 1}),
        ([15], 15, {"15": 1}),
    ],
)
def test_every_score_is_in_one_bar(scores: list[float], maximum: float, expected: dict[str, int]) -> None:
    made = list(report.bars(scores, maximum))
    assert {bar.label: bar.count for bar in made if bar.count} == expected


def test_a_refusal_costs_all_points_and_says_why(graded: tuple[House, Lab]) -> None:
    verdict = refusal(graded[1], "ada", "it is a link")
    assert (verdict.report.score, verdict.report.max_score, verdict.report.problem) == (0, 1, "it is a link")
    assert {check.message for check in verdict.report.results} == {"it is a link"}
