"""What may be handed in, and that the rules hold for every way of breaking them."""

import io
import json
import os
import stat
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pytest

from labkit.course import Lab
from labkit.errors import UserError
from labkit.submission import (
    MAX_FILE,
    MAX_FILES,
    MIB,
    Entry,
    RefusedError,
    archive_name,
    from_entries,
    problems,
    read_archive,
    read_folder,
    read_notebook,
    unanswered,
    write_archive,
)
from tests import minicourse

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NOTEBOOK = nbformat.writes(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])).encode()


@pytest.fixture
def mini(tmp_path: Path) -> minicourse.Mini:
    mini = minicourse.make(tmp_path / "course")
    mini.copy()
    return mini


@pytest.fixture
def lab(mini: minicourse.Mini) -> Lab:
    return mini.lab


def good(*more: Entry) -> list[Entry]:
    return [Entry("tiny.ipynb", len(NOTEBOOK), "file", NOTEBOOK), *more]


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes], notebook: bool = True) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        if notebook:
            archive.writestr("tiny.ipynb", NOTEBOOK)
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def special(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (mode | 0o777) << 16
    return info


def test_an_archive_gives_back_what_went_in(mini: minicourse.Mini, lab: Lab, tmp_path: Path) -> None:
    own = read_folder(mini.work, lab)
    write_archive(own, lab, tmp_path / "a.zip", NOW)
    back = read_archive(tmp_path / "a.zip", lab)
    assert back.files == own.files and sorted(back.files) == ["starter/answer.py", "tiny.ipynb"]
    assert back.sha256 == own.sha256 and back.warnings == ()


def test_the_same_files_make_the_same_archive(mini: minicourse.Mini, lab: Lab, tmp_path: Path) -> None:
    own = read_folder(mini.work, lab)
    for name in ("a.zip", "b.zip"):
        write_archive(own, lab, tmp_path / name, NOW)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_the_manifest_names_the_files_and_the_release(mini: minicourse.Mini, lab: Lab, tmp_path: Path) -> None:
    write_archive(read_folder(mini.work, lab), lab, tmp_path / "a.zip", NOW)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["manifest.json", "tiny.ipynb", "starter/answer.py"]
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["created"] == "2026-01-02T03:04:05+00:00" and manifest["lab"] == "02-tiny"
    assert [file["name"] for file in manifest["files"]] == ["starter/answer.py", "tiny.ipynb"]
    assert set(manifest["released"]) == {"lab.toml", "tiny.ipynb"}


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (Entry("/etc/passwd"), "not a path inside"),
        (Entry("starter\\answer.py"), "not a path inside"),
        (Entry("C:answer.py"), "not a path inside"),
        (Entry("starter/../../x.py"), "points outside"),
        (Entry("starter//x.py"), "not a usable file name"),
        (Entry("./x.py"), "not a usable file name"),
        (Entry("starter/a\x00.py"), "not a usable file name"),
        (Entry("starter/" + "a" * 300), "too long a name"),
        (Entry("tiny.ipynb"), "twice"),
        (Entry("Tiny.ipynb"), "differ only by case"),
        (Entry("tiny.ipynb/x.py"), "itself a file"),
        (Entry("starter/link", 0, "symlink"), "is a link"),
        (Entry("starter/pipe", 0, "special"), "neither a file nor a folder"),
        (Entry("starter/big.bin", MAX_FILE + 1), "more than 10.0 MiB"),
    ],
)
def test_what_no_submission_may_hold_is_refused(lab: Lab, entry: Entry, says: str) -> None:
    assert any(says in problem for problem in problems(good(entry), lab))


def test_names_that_differ_in_the_way_an_accent_is_written_are_the_same(lab: Lab) -> None:
    assert any("case" in p for p in problems(good(Entry("starter/\u00e9.py"), Entry("starter/e\u0301.py")), lab))


def test_too_many_files_are_refused(lab: Lab) -> None:
    assert "more than 500 files" in problems(good(*(Entry(f"starter/{n}") for n in range(MAX_FILES))), lab)[0]


def test_too_much_in_all_is_refused(lab: Lab) -> None:
    assert "in all" in problems(good(*(Entry(f"starter/{n}", 9 * MIB) for n in range(6))), lab)[0]


def test_a_good_submission_has_no_problems(lab: Lab) -> None:
    assert problems(good(Entry("starter", 0, "folder"), Entry("starter/answer.py")), lab) == []


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", r"not a whole notebook .* \.ipynb_checkpoints/, and `lab reset 02` starts afresh"),
        (NOTEBOOK[:-20], "not a whole notebook"),
        (b"\xff\xfe\x00", "not a whole notebook"),
        (b"[" * 100_000, "not a whole notebook"),
        (b"[]", "not a Jupyter notebook"),
        (b'{"nbformat": 5, "cells": []}', "notebook format 5"),
        (b'{"nbformat": 3, "worksheets": []}', "notebook format 3"),
        (b'{"nbformat": true, "cells": []}', "notebook format True"),
        (b'{"nbformat": 4, "cells": [1]}', "cells that are not cells"),
    ],
)
def test_a_broken_notebook_is_refused_in_one_sentence(lab: Lab, data: bytes, says: str) -> None:
    with pytest.raises(RefusedError, match=says) as refused:
        read_notebook(data, lab)
    assert len(refused.value.problems) == 1


def test_a_renamed_notebook_is_named(lab: Lab) -> None:
    with pytest.raises(RefusedError, match=r"called 'final\.ipynb': rename it to tiny\.ipynb"):
        from_entries([Entry("final.ipynb", len(NOTEBOOK), "file", NOTEBOOK)], lab)


def test_a_missing_notebook_is_named(lab: Lab) -> None:
    with pytest.raises(RefusedError, match=r"tiny\.ipynb is missing"):
        from_entries([Entry("starter/answer.py")], lab)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (zipped((special("starter/link", stat.S_IFLNK), b"/etc/passwd")), "is a link"),
        (zipped((special("starter/pipe", stat.S_IFIFO), b"")), "neither a file nor a folder"),
        (zipped((special("starter/zero", stat.S_IFCHR), b"")), "neither a file nor a folder"),
        (zipped(("../../evil.py", b"")), "points outside"),
        (zipped(("/evil.py", b"")), "not a path inside"),
        (zipped(("starter/a.py", b""), ("starter/A.py", b"")), "differ only by case"),
        (zipped(("starter/bomb", bytes(MAX_FILE + 1))), "more than 10.0 MiB"),
        (zipped(*((f"starter/{n}", bytes(9 * MIB)) for n in range(6))), "in all"),
        (zipped(*((f"starter/{n}", b"") for n in range(600))), "more than 500 files"),
        (b"", "damaged"),
        (b"not a zip at all", "damaged"),
        (zipped()[:-30], "damaged"),
        (zipped(notebook=False), "is missing"),
    ],
)
def test_a_bad_archive_is_refused(lab: Lab, data: bytes, says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        read_archive(data, lab)


def test_a_name_twice_in_an_archive_is_refused(lab: Lab) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = zipped(("starter/a.py", b"1"), ("starter/a.py", b"2"))
    with pytest.raises(RefusedError, match="twice"):
        read_archive(data, lab)


def test_an_encrypted_archive_is_refused(lab: Lab) -> None:
    data = bytearray(zipped())
    directory = data.index(b"PK\x01\x02")
    data[6] |= 1
    data[directory + 8] |= 1
    with pytest.raises(RefusedError, match="encrypted"):
        read_archive(bytes(data), lab)


def test_an_unusual_compression_is_refused_before_it_is_unpacked(lab: Lab) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("tiny.ipynb", NOTEBOOK)
    with pytest.raises(RefusedError, match="unusual way"):
        read_archive(buffer.getvalue(), lab)


def test_a_bomb_that_declares_a_small_size_is_not_unpacked(lab: Lab) -> None:
    data = bytearray(zipped(("starter/bomb", bytes(9 * MIB))))
    directory = data.rindex(b"PK\x01\x02")
    for place in (data.rindex(b"PK\x03\x04") + 22, directory + 24):
        data[place : place + 4] = (10).to_bytes(4, "little")
    with pytest.raises(RefusedError, match="damaged"):
        read_archive(bytes(data), lab)


def test_a_flipped_bit_is_noticed(lab: Lab) -> None:
    data = bytearray(zipped(("starter/a.py", os.urandom(5000))))
    data[data.index(b"starter/a.py") + 2000] ^= 1
    with pytest.raises(RefusedError, match="damaged"):
        read_archive(bytes(data), lab)


def test_an_archive_that_is_a_link_is_not_followed(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "real.zip").write_bytes(zipped())
    (tmp_path / "link.zip").symlink_to(tmp_path / "real.zip")
    with pytest.raises(UserError, match="cannot be read"):
        read_archive(tmp_path / "link.zip", lab)


def test_an_archive_that_is_a_pipe_is_not_waited_for(lab: Lab, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.zip")
    with pytest.raises(RefusedError, match="not a regular file"):
        read_archive(tmp_path / "pipe.zip", lab)


def test_one_folder_around_everything_and_a_macs_clutter_are_seen_through(lab: Lab) -> None:
    data = zipped(
        ("02-tiny/tiny.ipynb", NOTEBOOK),
        ("02-tiny/starter/answer.py", b"1"),
        ("02-tiny/.DS_Store", b"x"),
        ("__MACOSX/02-tiny/._tiny.ipynb", b"x"),
        notebook=False,
    )
    found = read_archive(data, lab)
    assert sorted(found.files) == ["starter/answer.py", "tiny.ipynb"] and found.warnings == ()


def test_files_beside_the_notebook_are_ignored_and_named(lab: Lab) -> None:
    found = read_archive(zipped(("numpy.py", b"raise SystemExit")), lab)
    assert list(found.files) == ["tiny.ipynb"]
    assert "'numpy.py': ignored" in found.warnings[0]


def test_the_content_is_believed_over_the_manifest(lab: Lab) -> None:
    manifest = {"lab": "02-tiny", "files": [{"name": "tiny.ipynb", "sha256": "0" * 64}]}
    found = read_archive(zipped(("manifest.json", json.dumps(manifest).encode())), lab)
    assert found.files == {"tiny.ipynb": NOTEBOOK}
    assert any("changed after" in warning for warning in found.warnings)


@pytest.mark.parametrize("manifest", [b"{", b"[]", b'{"files": 3}', b'{"files": [1], "lab": {}}'])
def test_a_broken_manifest_costs_nothing(lab: Lab, manifest: bytes) -> None:
    found = read_archive(zipped(("manifest.json", manifest)), lab)
    assert found.files == {"tiny.ipynb": NOTEBOOK} and found.warnings


def test_the_archive_of_another_lab_is_named(lab: Lab) -> None:
    data = zipped(("other.ipynb", NOTEBOOK), ("manifest.json", b'{"lab": "03-other"}'), notebook=False)
    with pytest.raises(RefusedError, match="packed for lab '03-other'"):
        read_archive(data, lab)


def test_a_linked_notebook_in_a_folder_is_refused(mini: minicourse.Mini, lab: Lab) -> None:
    (mini.work / "tiny.ipynb").unlink()
    (mini.work / "tiny.ipynb").symlink_to(lab.path / "tiny.ipynb")
    with pytest.raises(RefusedError, match="is a link"):
        read_folder(mini.work, lab)


def test_a_pipe_in_starter_is_refused_and_not_opened(mini: minicourse.Mini, lab: Lab) -> None:
    os.mkfifo(mini.work / "starter" / "pipe")
    with pytest.raises(RefusedError, match="neither a file nor a folder"):
        read_folder(mini.work, lab)


def test_a_linked_folder_is_refused_and_not_entered(mini: minicourse.Mini, lab: Lab) -> None:
    (mini.work / "starter" / "all").symlink_to("/")
    with pytest.raises(RefusedError, match="is a link"):
        read_folder(mini.work, lab)


def test_caches_and_other_notebooks_stay_behind(mini: minicourse.Mini, lab: Lab) -> None:
    for name in ("starter/__pycache__/answer.pyc", "starter/.ipynb_checkpoints/x.py", "scratch.ipynb", "data.bin"):
        (mini.work / name).parent.mkdir(exist_ok=True)
        (mini.work / name).write_bytes(b"x")
    assert sorted(read_folder(mini.work, lab).files) == ["starter/answer.py", "tiny.ipynb"]


def test_answers_that_are_still_as_the_lab_gave_them_are_counted(mini: minicourse.Mini, lab: Lab) -> None:
    released = read_folder(lab.path, lab)
    assert unanswered(read_folder(mini.work, lab), released) == {"starter/answer.py": 1, "quiz-answer": 1}
    mini.answer()
    assert unanswered(read_folder(mini.work, lab), released) == {}


@pytest.mark.parametrize("metadata", [{"nbgrader": {"grade_id": "quiz-answer"}}, {"nbgrader": 7}, 7])
def test_an_answer_that_is_empty_or_gone_is_not_answered(lab: Lab, metadata: object) -> None:
    cell = {"cell_type": "code", "source": " ", "metadata": metadata}
    own = read_notebook(json.dumps({"nbformat": 4, "cells": [cell]}).encode(), lab)
    assert unanswered(own, read_folder(lab.path, lab))["quiz-answer"] == 1


def test_an_abstract_method_in_a_students_own_file_is_no_missing_answer(mini: minicourse.Mini, lab: Lab) -> None:
    mini.answer()
    (mini.work / "starter" / "mine.py").write_text(minicourse.STUB, "utf-8")
    assert unanswered(read_folder(mini.work, lab), read_folder(lab.path, lab)) == {}


@pytest.mark.parametrize("student", ["../ada", "ada/lovelace", " ", "a" * 65, "-x"])
def test_an_id_that_cannot_be_a_file_name_is_refused(lab: Lab, student: str) -> None:
    with pytest.raises(UserError, match="cannot be a student's ID"):
        archive_name(lab, student)
