"""What students hand in, in the shapes that folders, Canvas and Moodle give it, and what must never get in."""

import os
import unicodedata
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nbgrader.utils import parse_utc

from grader import cli, collect, gradebook, shapes, sources
from grader.grade import grade
from grader.house import House
from labkit import console, submission
from labkit.course import Lab
from labkit.errors import UserError
from tests import classroom
from tests.classroom import STARTER, files, laid_out, packed, zipped

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
LATER = datetime(2026, 3, 3, 12, 0, tzinfo=UTC)
WRONG = "return 0.25"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[House, Lab]:
    return classroom.house(tmp_path_factory.mktemp("course"))


@pytest.fixture
def house(built: tuple[House, Lab]) -> House:
    return House(built[0].course, room=f"classroom-{uuid.uuid4().hex}")


@pytest.fixture
def lab(built: tuple[House, Lab]) -> Lab:
    return built[1]


def took(house: House, lab: Lab, path: Path, now: datetime = NOON, **options: bool) -> dict[str, collect.Outcome]:
    return {outcome.student: outcome for outcome in collect.collect(house, lab, path, now=now, **options)}


def states(outcomes: Mapping[str, collect.Outcome]) -> dict[str, str]:
    return {student: outcome.state for student, outcome in outcomes.items()}


def stored(house: House, lab: Lab, student: str, name: str = STARTER) -> bytes:
    return (house.classroom / "submitted" / student / lab.name / name).read_bytes()


def everything_under(house: House) -> set[str]:
    root = house.classroom
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and path.name[0] != "."}


# Shapes.


def test_archives_made_by_lab_submit_are_collected_under_the_name_in_the_file(
    house: House, lab: Lab, tmp_path: Path
) -> None:
    handed = submission.read_folder(laid_out(tmp_path / "work", files(house, lab)), lab)
    for student in ("ada", "bob-1"):
        released = house.course.lab("90")
        submission.write_archive(handed, released, tmp_path / "in" / submission.archive_name(lab, student), NOON)
    assert states(took(house, lab, tmp_path / "in")) == {"ada": "collected", "bob-1": "collected"}
    assert stored(house, lab, "bob-1") == handed.files[STARTER]


def test_an_archive_called_after_the_student_alone_is_collected(house: House, lab: Lab, tmp_path: Path) -> None:
    zipped(tmp_path / "in/grace.zip", files(house, lab))
    assert states(took(house, lab, tmp_path / "in")) == {"grace": "collected"}


@pytest.mark.parametrize("inside", ["", "90-mini/", "my work/"])
def test_a_student_folder_is_collected_as_it_is_or_one_level_down(
    house: House, lab: Lab, tmp_path: Path, inside: str
) -> None:
    laid_out(tmp_path / "in/ada" / inside, files(house, lab) | {"starter/more/deep.py": b"x = 1\n"})
    laid_out(tmp_path / "in/bob", files(house, lab))
    assert states(took(house, lab, tmp_path / "in")) == {"ada": "collected", "bob": "collected"}
    assert stored(house, lab, "ada", "starter/more/deep.py") == b"x = 1\n"


def test_student_folders_in_a_zip_are_collected(house: House, lab: Lab, tmp_path: Path) -> None:
    content = {f"{who}/{name}": data for who in ("ada", "bob") for name, data in files(house, lab).items()}
    assert states(took(house, lab, zipped(tmp_path / "all.zip", content))) == {"ada": "collected", "bob": "collected"}


def test_the_download_of_canvas_is_collected_and_says_who_was_late(house: House, lab: Lab, tmp_path: Path) -> None:
    content = {
        "lovelaceada_101_9001_90-mini.zip": packed(files(house, lab), tmp_path),
        "hoppergrace_LATE_102_9002_90-mini-grace.zip": packed(files(house, lab), tmp_path),
        "o_neil_tip_103_9003_90-mini.zip": packed(files(house, lab), tmp_path),
    }
    found = took(house, lab, zipped(tmp_path / "submissions.zip", content))
    assert states(found) == dict.fromkeys(("lovelaceada-101", "hoppergrace-102", "o_neil_tip-103"), "collected")
    assert classroom.record(house, lab, "hoppergrace-102")["late"] is True
    assert classroom.record(house, lab, "lovelaceada-101")["late"] is False


def test_of_several_attempts_on_canvas_the_last_one_counts(house: House, lab: Lab, tmp_path: Path) -> None:
    content = {
        "lovelaceada_101_9010_90-mini-1.zip": packed(files(house, lab), tmp_path),
        "lovelaceada_101_9009_90-mini-2.zip": packed(files(house, lab, WRONG), tmp_path),
    }
    took(house, lab, zipped(tmp_path / "submissions.zip", content))
    assert stored(house, lab, "lovelaceada-101") == classroom.answer()


def test_an_older_download_does_not_put_an_earlier_attempt_back(house: House, lab: Lab, tmp_path: Path) -> None:
    new = {"lovelaceada_101_9010_90-mini-1.zip": packed(files(house, lab), tmp_path)}
    old = {"lovelaceada_101_9009_90-mini.zip": packed(files(house, lab, WRONG), tmp_path)}
    took(house, lab, zipped(tmp_path / "new.zip", new))
    assert states(took(house, lab, zipped(tmp_path / "old.zip", old), LATER)) == {"lovelaceada-101": "kept"}
    assert stored(house, lab, "lovelaceada-101") == classroom.answer()


@pytest.mark.parametrize("form", ["{}_assignsubmission_file_/90-mini.zip", "{}_assignsubmission_file_90-mini.zip"])
def test_the_download_of_moodle_is_collected_flat_or_in_folders(
    house: House, lab: Lab, tmp_path: Path, form: str
) -> None:
    content = {form.format("Ada Lovelace_5551"): packed(files(house, lab), tmp_path)}
    content[form.format("José Ñandú_5552")] = packed(files(house, lab), tmp_path)
    found = took(house, lab, zipped(tmp_path / "moodle.zip", content))
    assert states(found) == {"ada-lovelace": "collected", "jose-nandu": "collected"}


def test_an_unpacked_download_inside_one_more_folder_is_collected(house: House, lab: Lab, tmp_path: Path) -> None:
    name = "in/Course-90/Ada Lovelace_5551_assignsubmission_file_"
    laid_out(tmp_path / name, {"90-mini.zip": packed(files(house, lab), tmp_path)})
    assert states(took(house, lab, tmp_path / "in")) == {"ada-lovelace": "collected"}


def test_two_people_of_one_name_on_moodle_stay_two(house: House, lab: Lab, tmp_path: Path) -> None:
    content = {
        "Ada Lovelace_5551_assignsubmission_file_90-mini.zip": packed(files(house, lab), tmp_path),
        "Ada Lovelace_5552_assignsubmission_file_90-mini.zip": packed(files(house, lab, WRONG), tmp_path),
    }
    found = took(house, lab, zipped(tmp_path / "moodle.zip", content))
    assert states(found) == {"ada-lovelace": "collected", "ada-lovelace-2": "collected"}
    assert "Moodle's number" in " ".join(found["ada-lovelace"].remarks)
    assert {stored(house, lab, "ada-lovelace"), stored(house, lab, "ada-lovelace-2")} == {
        classroom.answer(),
        classroom.answer(WRONG),
    }


def test_a_bare_notebook_and_its_files_are_put_in_their_places(house: House, lab: Lab, tmp_path: Path) -> None:
    own = files(house, lab)
    content = {
        "lovelaceada_101_9001_mini-1.ipynb": own[lab.notebook],
        "lovelaceada_101_9002_answer-1.py": own[STARTER],
        "lovelaceada_101_9003_notes.pdf": b"%PDF",
    }
    assert states(took(house, lab, zipped(tmp_path / "s.zip", content))) == {"lovelaceada-101": "collected"}
    assert stored(house, lab, "lovelaceada-101") == own[STARTER]


def test_one_archive_is_collected_alone(house: House, lab: Lab, tmp_path: Path) -> None:
    assert states(took(house, lab, zipped(tmp_path / "90-mini-ada.zip", files(house, lab)))) == {"ada": "collected"}


def test_an_archive_that_names_nobody_needs_the_option(house: House, lab: Lab, tmp_path: Path) -> None:
    path = zipped(tmp_path / "90-mini.zip", files(house, lab))
    with pytest.raises(UserError, match="--student"):
        collect.collect(house, lab, path)
    assert collect.collect(house, lab, path, student="ada")[0] == collect.Outcome("ada", "collected")


def test_an_archive_of_another_lab_is_left_out(house: House, lab: Lab, tmp_path: Path) -> None:
    found, left = shapes.piles([sources.file(zipped(tmp_path / "91-other-ada.zip", {}))], lab, ["91-other"])
    assert not found
    assert "another lab" in left[0]


def test_the_option_names_a_folder_that_is_there_already(house: House, lab: Lab, tmp_path: Path) -> None:
    canvas = {"lovelaceada_101_9001_90-mini.zip": packed(files(house, lab, WRONG), tmp_path)}
    took(house, lab, zipped(tmp_path / "canvas.zip", canvas))
    by_mail = zipped(tmp_path / "mail.zip", files(house, lab))
    found = collect.collect(house, lab, by_mail, student="lovelaceada-101", now=LATER)
    assert states({one.student: one for one in found}) == {"lovelaceada-101": "replaced"}
    assert stored(house, lab, "lovelaceada-101") == classroom.answer()


def test_what_tools_leave_behind_is_nobodys(house: House, lab: Lab, tmp_path: Path) -> None:
    zipped(tmp_path / "in/90-mini-ada.zip", files(house, lab))
    laid_out(tmp_path / "in", {"._90-mini-ada.zip": b"x", ".cache/x.zip": b"x", "__MACOSX/90-mini-bob.zip": b"x"})
    assert states(took(house, lab, tmp_path / "in")) == {"ada": "collected"}


# Whose folder.


def test_an_accent_written_in_two_ways_is_the_same_person(house: House, lab: Lab, tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, "José Ñandú_5551_assignsubmission_file_90-mini.zip")
        content = {name: packed(files(house, lab), tmp_path)}
        assert set(took(house, lab, zipped(tmp_path / f"{form}.zip", content))) == {"jose-nandu"}


def test_names_that_differ_only_by_case_or_accents_never_share_a_folder(house: House, lab: Lab, tmp_path: Path) -> None:
    for number, name in enumerate(("Jos Diaz", "jos-diaz", "Jos_Diaz", "jos diaz")):
        laid_out(tmp_path / "in" / name, files(house, lab, f"return {number}"))
    found = took(house, lab, tmp_path / "in")
    assert len({student.casefold() for student in found}) == 4
    assert len({stored(house, lab, student) for student in found}) == 4
    assert states(took(house, lab, tmp_path / "in", LATER)) == dict.fromkeys(found, "unchanged")


@pytest.mark.parametrize(
    "name", ["", "..", ".hidden", "CON", "nul.txt", "王小明", "a/b", "-rf", "x" * 300, "a\x00b", "é" * 80]
)
def test_any_name_becomes_a_folder_that_is_safe_everywhere(name: str) -> None:
    made = shapes.folder_name(name)
    assert submission.student_id(made) == made
    assert made.casefold().split(".")[0] not in ("con", "nul")
    assert not made.endswith(".")


# Twice.


def test_collecting_the_same_again_changes_nothing(house: House, lab: Lab, tmp_path: Path) -> None:
    path = zipped(tmp_path / "90-mini-ada.zip", files(house, lab))
    took(house, lab, path)
    before = stored(house, lab, "ada", "timestamp.txt")
    assert states(took(house, lab, path, LATER)) == {"ada": "unchanged"}
    assert stored(house, lab, "ada", "timestamp.txt") == before
    assert not (house.classroom / "history").exists()


def test_a_changed_submission_replaces_and_the_one_before_is_kept(house: House, lab: Lab, tmp_path: Path) -> None:
    took(house, lab, zipped(tmp_path / "90-mini-ada.zip", files(house, lab, WRONG)))
    found = took(house, lab, zipped(tmp_path / "90-mini-ada.zip", files(house, lab)), LATER)
    assert states(found) == {"ada": "replaced"}
    assert stored(house, lab, "ada") == classroom.answer()
    backup = house.classroom / "history/ada/90-mini/2026-03-03-120000" / STARTER
    assert backup.read_bytes() == classroom.answer(WRONG)


def test_keep_leaves_what_is_there(house: House, lab: Lab, tmp_path: Path) -> None:
    took(house, lab, zipped(tmp_path / "90-mini-ada.zip", files(house, lab)))
    found = took(house, lab, zipped(tmp_path / "90-mini-ada.zip", files(house, lab, WRONG)), LATER, keep=True)
    assert states(found) == {"ada": "kept"}
    assert stored(house, lab, "ada") == classroom.answer()


def test_a_broken_second_attempt_does_not_cost_the_good_first_one(house: House, lab: Lab, tmp_path: Path) -> None:
    took(house, lab, zipped(tmp_path / "90-mini-ada.zip", files(house, lab)))
    broken = files(house, lab) | {lab.notebook: b'{"cells": ['}
    found = took(house, lab, zipped(tmp_path / "90-mini-ada.zip", broken), LATER)
    assert states(found) == {"ada": "refused"}
    assert stored(house, lab, "ada") == classroom.answer()
    assert collect.problem(house.classroom / "submitted/ada/90-mini") is None


def test_a_good_second_attempt_takes_the_place_of_a_refused_one(house: House, lab: Lab, tmp_path: Path) -> None:
    took(house, lab, zipped(tmp_path / "90-mini-ada.zip", {lab.notebook: b"{"}))
    assert states(took(house, lab, zipped(tmp_path / "90-mini-ada.zip", files(house, lab)), LATER)) == {
        "ada": "replaced"
    }
    assert collect.problem(house.classroom / "submitted/ada/90-mini") is None


def test_the_time_is_the_collectors_own_in_a_form_nbgrader_reads(house: House, lab: Lab, tmp_path: Path) -> None:
    own = files(house, lab) | {
        "timestamp.txt": b"1999-01-01 00:00:00 UTC",
        "manifest.json": b'{"created": "1999-01-01"}',
    }
    took(house, lab, zipped(tmp_path / "90-mini-ada.zip", own))
    stamp = stored(house, lab, "ada", "timestamp.txt").decode().strip()
    assert parse_utc(stamp) == NOON.replace(tzinfo=None)


# What must not get in.


def hostile(house: House, lab: Lab) -> dict[str, list[tuple[str, bytes]]]:
    own = list(files(house, lab).items())
    return {
        "slip": [*own, ("starter/../../../../evil.py", b"x")],
        "absolute": [*own, ("/tmp/evil.py", b"x")],
        "backslash": [*own, ("starter\\..\\..\\evil.py", b"x")],
        "symlink": [*own, ("starter/link.py", b"/etc/passwd")],
        "bomb": [*own, ("starter/bomb.py", bytes(200 * 1024 * 1024))],
        "twice": [*own, own[1]],
        "many": [*own, *((f"starter/{number}.py", b"") for number in range(501))],
        "truncated": [(lab.notebook, own[0][1][:100])],
        "empty": [(lab.notebook, b"")],
        "renamed": [("answer-final.ipynb", own[0][1])],
        "nothing": [("readme.txt", b"sorry")],
    }


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_archives_are_refused_by_name_and_do_not_stop_the_rest(house: House, lab: Lab, tmp_path: Path) -> None:
    for student, content in hostile(house, lab).items():
        zipped(tmp_path / f"in/90-mini-{student}.zip", content, links=["starter/link.py"])
    zipped(tmp_path / "in/90-mini-zoe.zip", files(house, lab))
    (tmp_path / "in/90-mini-garbage.zip").write_bytes(b"PK\x03\x04 no zip at all")
    found = took(house, lab, tmp_path / "in")
    refused = {*hostile(house, lab), "garbage"}
    assert states(found) == dict.fromkeys(refused, "refused") | {"zoe": "collected"}
    assert all(found[student].remarks[0] for student in refused)
    kept = {name for name in everything_under(house) if name.split("/")[1] in refused}
    assert {name.split("/", 3)[3] for name in kept} <= {
        "problem.txt",
        "timestamp.txt",
        "collected.json",
        "handed-in.zip",
    }


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_names_in_the_outer_zip_write_nothing_outside(house: House, lab: Lab, tmp_path: Path) -> None:
    content = [
        (f"{who}/{name}", data) for who, own in hostile(house, lab).items() for name, data in own if who != "bomb"
    ]
    content += [("../../evil/mini.ipynb", b"{}"), ("/etc/evil.zip", b"x"), ("..\\evil.zip", b"x")]
    content += [(f"zoe/{name}", data) for name, data in files(house, lab).items()]
    before = set(tmp_path.parent.rglob("*evil*"))
    found = collect.collect(
        house, lab, zipped(tmp_path / "all.zip", content, links=["symlink/starter/link.py"]), now=NOON
    )
    by_student = {outcome.student: outcome.state for outcome in found if outcome.student}
    assert by_student["zoe"] == "collected"
    assert {by_student[who] for who in ("slip", "symlink", "twice", "many", "truncated", "renamed", "nothing")} == {
        "refused"
    }
    assert set(tmp_path.parent.rglob("*evil*")) == before
    assert not any("evil" in name for name in everything_under(house))
    assert sum(outcome.state == "left out" for outcome in found) == 3


def test_an_archive_inside_the_archive_is_not_unpacked(house: House, lab: Lab, tmp_path: Path) -> None:
    inner = packed({"starter/evil.py": b"x"}, tmp_path)
    content = {"lovelaceada_101_9001_90-mini.zip": packed(files(house, lab) | {"inner.zip": inner}, tmp_path)}
    found = took(house, lab, zipped(tmp_path / "s.zip", content))
    assert states(found) == {"lovelaceada-101": "collected"}
    assert "ignored" in " ".join(found["lovelaceada-101"].remarks)


def test_links_and_pipes_in_a_folder_are_refused_without_being_opened(house: House, lab: Lab, tmp_path: Path) -> None:
    secret = tmp_path / "secret.ipynb"
    secret.write_bytes(files(house, lab)[lab.notebook])
    laid_out(tmp_path / "in/ada", {STARTER: b"x = 1\n"})
    (tmp_path / "in/ada" / lab.notebook).symlink_to(secret)
    laid_out(tmp_path / "in/bob", files(house, lab))
    os.mkfifo(tmp_path / "in/bob/starter/pipe.py")
    os.mkfifo(tmp_path / "in/90-mini-cyd.zip")
    (tmp_path / "in/dan").symlink_to(tmp_path)
    laid_out(tmp_path / "in/eve", files(house, lab))
    found = took(house, lab, tmp_path / "in")
    assert states(found) == dict.fromkeys(("ada", "bob", "cyd", "dan"), "refused") | {"eve": "collected"}
    assert "link" in found["ada"].remarks[0]
    assert "pipe" in found["bob"].remarks[0]


@pytest.mark.parametrize("path", ["missing", "file.txt", "empty"])
def test_a_source_without_submissions_is_one_sentence(house: House, lab: Lab, tmp_path: Path, path: str) -> None:
    (tmp_path / "file.txt").write_text("hello", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=path):
        collect.collect(house, lab, tmp_path / path)


def test_a_refused_submission_reaches_the_gradebook_as_a_zero_with_its_sentence(
    house: House, lab: Lab, tmp_path: Path
) -> None:
    zipped(tmp_path / "in/90-mini-ada.zip", files(house, lab))
    zipped(tmp_path / "in/90-mini-bob.zip", files(house, lab) | {lab.notebook: b'{"cells": ['})
    found = took(house, lab, tmp_path / "in")
    results = {result.student: result for result in grade(house, lab, 1)}
    assert gradebook.scores(house, lab) == {"ada": (1, 1), "bob": (0, 1)}
    assert results["bob"].report.problem == found["bob"].remarks[0]
    assert "not a whole notebook" in results["bob"].notebook


@pytest.mark.parametrize(
    "arguments",
    [["99", "in"], ["90", "missing"], ["90", "in", "--at", "yesterday"], ["90", "in/broken.zip"], ["90", "empty"]],
)
def test_the_command_answers_a_mistake_in_one_sentence(
    house: House,
    tmp_path: Path,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "in/broken.zip").write_bytes(b"no zip")
    monkeypatch.setenv("MLE_COURSE", str(house.course.root))
    monkeypatch.chdir(tmp_path)
    assert console.run(cli.app, ["collect", *arguments]) == 2
    said = capsys.readouterr()
    assert said.err.strip() and "Traceback" not in said.err
    assert not (house.course.root / "classroom/submitted").exists()
