"""The command `lab` as a student runs it: a process of its own, a real JupyterLab, a real local cloud."""

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest

from tests import minicourse, needs
from tests.minicourse import LAB, NAME, NOTEBOOK, STUB, Mini, one_sentence


@pytest.fixture
def mini(tmp_path: Path) -> Iterator[Mini]:
    mini = minicourse.make(tmp_path / "course")
    yield mini
    if (mini.state / "cloud").exists():
        mini.run("stop")


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if value := condition():
            return value
        time.sleep(0.05)
    pytest.fail(f"waited {seconds:g} s for {what}")


def url_in(text: str) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+/lab\S*", text)
    assert found, text
    return found[0]


def ask(url: str, path: str, *, token: str | None = None, data: bytes | None = None) -> Any:
    root, _, own = url.partition("/lab")
    request = urllib.request.Request(f"{root}/api/{path}", data=data)
    request.add_header("Authorization", f"token {token or own.partition('token=')[2]}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def server_pid(mini: Mini) -> int:
    return int(json.loads((mini.state / "jupyter.json").read_text("utf-8"))["pid"])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mini, str]]:
    """A course on which `lab start 2` was run, and the address it printed."""
    mini = minicourse.make(tmp_path_factory.mktemp("running") / "course")
    done = mini.run("start", "2", "--no-browser")
    assert done.returncode == 0, done.stderr
    yield mini, url_in(done.stdout)
    mini.run("stop")


def test_start_prints_the_address_of_the_labs_notebook(running: tuple[Mini, str]) -> None:
    assert f"/lab/tree/{NAME}/{NOTEBOOK}?token=" in running[1]


def test_start_waits_until_jupyterlab_answers_and_serves_the_students_copy(running: tuple[Mini, str]) -> None:
    found = ask(running[1], f"contents/{NAME}?content=1")
    assert {entry["name"] for entry in found["content"]} == {"lab.toml", NOTEBOOK, "starter"}


def test_nobody_enters_without_the_token(running: tuple[Mini, str]) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        ask(running[1], "contents", token="wrong")


def test_the_token_is_readable_by_its_owner_only(running: tuple[Mini, str]) -> None:
    assert (running[0].state / "jupyter.json").stat().st_mode & 0o077 == 0


def test_a_kernel_reaches_the_local_cloud(running: tuple[Mini, str]) -> None:
    mini, url = running
    kernel = ask(url, "kernels", data=json.dumps({"path": NAME}).encode())
    try:
        children = wait_for(lambda: psutil.Process(server_pid(mini)).children(), "a kernel")
        env = children[0].environ()
        assert env["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
        assert env["MLE_COURSE"] == str(mini.root)
    finally:
        request = urllib.request.Request(
            f"{url.partition('/lab')[0]}/api/kernels/{kernel['id']}",
            method="DELETE",
            headers={"Authorization": f"token {url.partition('token=')[2]}"},
        )
        urllib.request.urlopen(request, timeout=30).close()


def test_nothing_is_asked_before_the_first_cell(running: tuple[Mini, str]) -> None:
    root, _, token = running[1].partition("/lab")
    request = urllib.request.Request(f"{root}/lab/api/settings/@jupyterlab/apputils-extension:notification")
    request.add_header("Authorization", f"token {token.partition('token=')[2]}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        defaults = json.load(answer)["schema"]["properties"]
    assert defaults["fetchNews"]["default"] == "false" and defaults["checkForUpdates"]["default"] is False


def test_a_second_start_reuses_what_runs(running: tuple[Mini, str]) -> None:
    mini, url = running
    before = server_pid(mini)
    done = mini.run("start", "2", "--no-browser")
    assert "runs already" in done.stdout and url_in(done.stdout) == url and server_pid(mini) == before


def test_a_second_start_keeps_the_students_files(running: tuple[Mini, str]) -> None:
    mini, _ = running
    (mini.work / "mine.txt").write_text("kept", "utf-8")
    mini.run("start", "--no-browser")
    assert (mini.work / "mine.txt").read_text("utf-8") == "kept"
    (mini.work / "mine.txt").unlink()


def test_another_port_than_the_running_one_is_a_users_mistake(running: tuple[Mini, str]) -> None:
    assert "run `lab stop` first" in one_sentence(running[0].run("start", "--port", "9777", "--no-browser"), 2)


def test_the_browser_opens_on_the_notebook(running: tuple[Mini, str], tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/opened\n', "utf-8")
    browser.chmod(0o755)
    running[0].run("start", "2", BROWSER=f"{browser} %s")
    assert wait_for((tmp_path / "opened").exists, "the browser") and (tmp_path / "opened").read_text() == running[1]


def test_doctor_says_one_line_each_and_finds_what_runs(running: tuple[Mini, str]) -> None:
    done = running[0].run("doctor")
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert all(re.match(r"[+!x-] (ok|limited|absent|broken) .* \| enables: ", line) for line in lines), done.stdout
    assert "is our JupyterLab" in done.stdout and re.search(r"cloud aws +runs at", done.stdout)
    what = (
        "Python",
        "memory",
        "disk",
        "course files",
        "container engine",
        "cluster",
        "GPU",
        "credentials",
        "JupyterLab",
    )
    assert all(any(name in line for line in lines) for name in what)


def test_gcp_restarts_an_idle_jupyterlab_with_its_variables(mini: Mini) -> None:
    needs.require("gcp", needs.gcp())
    locks = Path(__file__).parent.parent / "requirements"
    (mini.root / "requirements" / "clouds.lock").write_bytes((locks / "clouds.lock").read_bytes())
    mini.run("start", "--no-browser")
    before = server_pid(mini)
    done = mini.run("start", "--cloud", "gcp", "--no-browser")
    assert done.returncode == 0 and "gcp: local emulator" in done.stdout, done.stderr
    assert server_pid(mini) != before
    assert "STORAGE_EMULATOR_HOST" in psutil.Process(server_pid(mini)).environ()


def test_a_jupyterlab_that_led_to_other_clouds_is_started_again_and_that_is_said(mini: Mini) -> None:
    mini.run("start", "--no-browser")
    before = server_pid(mini)
    done = mini.run("start", "--no-browser", MLE_CLOUD="real")
    assert "JupyterLab is started again" in done.stdout and server_pid(mini) != before


def test_start_with_a_renamed_notebook_says_so_and_leads_to_the_folder(running: tuple[Mini, str]) -> None:
    mini, _ = running
    (mini.work / NOTEBOOK).rename(mini.work / "final.ipynb")
    try:
        done = mini.run("start", "2", "--no-browser")
    finally:
        (mini.work / "final.ipynb").rename(mini.work / NOTEBOOK)
    assert "! the notebook is called 'final.ipynb': rename it to tiny.ipynb" in done.stdout
    assert f"/lab/tree/{NAME}?token=" in url_in(done.stdout)


def test_a_port_in_use_is_a_users_mistake(mini: Mini) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = mini.run("start", "--port", str(taken.getsockname()[1]), "--no-browser")
    assert "is in use: choose another" in one_sentence(done, 2)
    assert not (mini.state / "cloud").exists() and not mini.work.exists()


def test_without_a_port_the_next_free_one_is_taken(mini: Mini) -> None:
    with socket.socket() as first:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            first.bind(("127.0.0.1", 8888))
            first.listen()
        except OSError:
            pass  # another program has it: as good
        url = url_in(mini.run("start", "--no-browser").stdout)
    assert ":8888/" not in url and ask(url, "status")["kernels"] == 0


def test_stop_ends_all_and_says_so(mini: Mini) -> None:
    mini.run("start", "--no-browser")
    pid = server_pid(mini)
    done = mini.run("stop")
    assert done.returncode == 0 and "JupyterLab on port" in done.stdout and "the local aws" in done.stdout
    assert "what the local store held is gone: run the set-up cell again" in done.stdout
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_stop_without_anything_running_is_fine(mini: Mini) -> None:
    done = mini.run("stop")
    assert done.returncode == 0 and done.stdout == "nothing was running\n"


def test_a_killed_jupyterlab_is_started_again(mini: Mini) -> None:
    mini.run("start", "--no-browser")
    dead = psutil.Process(server_pid(mini))
    dead.kill()
    dead.wait(10)
    done = mini.run("start", "--no-browser")
    assert "JupyterLab runs:" in done.stdout and ask(url_in(done.stdout), "status")


def test_ctrl_c_during_the_start_leaves_no_server_behind(mini: Mini) -> None:
    process = subprocess.Popen(
        [LAB, "start", "--no-browser"],
        env=mini.env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # what runs in the background of a script ignores Ctrl-C, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    log = mini.state / "logs" / "jupyter.log"
    wait_for(lambda: log.exists() and log.stat().st_size, "JupyterLab's first words")
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in stderr
    assert not (mini.state / "jupyter.json").exists()
    assert not [
        p for p in psutil.process_iter(["cmdline"]) if str(mini.root / "work") in " ".join(p.info["cmdline"] or [])
    ]


def test_a_jupyterlab_that_cannot_start_is_one_sentence(mini: Mini) -> None:
    (mini.root / "work").write_text("in the way", "utf-8")
    assert str(mini.root / "work") in one_sentence(mini.run("start", "2", "--no-browser"), 1)


@pytest.mark.parametrize("command", ["start", "check", "reset", "submit"])
def test_a_lab_that_does_not_exist_is_a_users_mistake(mini: Mini, command: str) -> None:
    assert "there is no lab '99'; the labs here are: 02-tiny" in one_sentence(mini.run(command, "99"), 2)


@pytest.mark.parametrize("command", [["check"], ["start", "--port", "x"], ["start", "--cloud", "moon"], ["nonsense"]])
def test_a_wrong_command_line_is_a_users_mistake(mini: Mini, command: list[str]) -> None:
    one_sentence(mini.run(*command), 2)


def test_outside_the_course_is_a_users_mistake(mini: Mini, tmp_path: Path) -> None:
    assert "not inside the course" in one_sentence(mini.run("progress", MLE_COURSE=str(tmp_path / "nowhere")), 2)


def test_a_lab_without_lab_toml_values_is_named(mini: Mini) -> None:
    (mini.root / "labs" / NAME / "lab.toml").write_text("number = 2\n", "utf-8")
    assert "lab.toml: minutes must be given" in one_sentence(mini.run("list"), 2)


def test_doctor_fails_where_the_core_is_unusable(mini: Mini) -> None:
    (mini.root / "labs" / NAME / "lab.toml").unlink()
    done = mini.run("doctor")
    assert re.search(r"x broken +course files", done.stdout)
    assert "cannot run until this is mended: course files" in one_sentence(done, 1)


def test_check_names_what_is_missing_and_keeps_the_points(mini: Mini) -> None:
    mini.copy()
    done = mini.run("check", "02")
    assert done.returncode == 1, done.stderr
    assert re.search(r"x failed +Double +double +0 of 2 ", done.stdout) and re.search(
        r"total, visible checks +0 of 3", done.stdout
    )
    assert "return twice x" in done.stdout or "not answered yet" in done.stdout
    assert "hidden tests" in done.stdout.splitlines()[-1]
    assert re.search(r"02-tiny +0 of 3 +20\d\d-", mini.run("progress").stdout)


def test_check_passes_on_right_answers(mini: Mini) -> None:
    mini.copy()
    mini.answer()
    done = mini.run("check", "tiny")
    assert done.returncode == 0 and re.search(r"total, visible checks +3 of 3", done.stdout), done.stdout
    assert re.search(r"02-tiny +3 of 3 +20\d\d-", mini.run("progress").stdout)


def test_checking_another_folder_is_not_kept(mini: Mini) -> None:
    mini.run("check", "02", "--folder", str(mini.root / "labs" / NAME))
    assert "not checked yet" in mini.run("progress").stdout


def test_checking_before_starting_is_a_users_mistake(mini: Mini) -> None:
    assert "`lab start 02`" in one_sentence(mini.run("check", "02"), 2)


def test_checking_a_folder_that_is_not_there_is_a_users_mistake(mini: Mini) -> None:
    told = one_sentence(mini.run("check", "02", "--folder", "nowhere"), 2)
    assert "nowhere is not a folder: give the one that tiny.ipynb lies in" in told


def test_checking_a_broken_notebook_says_how_to_go_on(mini: Mini) -> None:
    (mini.copy() / NOTEBOOK).write_text('{"cells": [', "utf-8")
    told = one_sentence(mini.run("check", "02"), 2)
    assert "tiny.ipynb is not a whole notebook" in told and "`lab reset 02` starts afresh" in told


def test_checking_a_renamed_notebook_names_it(mini: Mini) -> None:
    (mini.copy() / NOTEBOOK).rename(mini.work / "final.ipynb")
    assert "'final.ipynb': rename it to tiny.ipynb" in one_sentence(mini.run("check", "02"), 2)


def test_checking_stays_at_home_whatever_cloud_the_student_works_on(mini: Mini) -> None:
    released = mini.root / "labs" / NAME / NOTEBOOK
    notebook = nbformat.read(released, 4)
    check = next(cell for cell in notebook.cells if "double(2)" in cell.source)
    check.source = "from labkit import cloud\nassert False, f'reached {cloud.start(\"aws\").endpoint!r}'"
    nbformat.write(notebook, released)
    mini.copy()
    assert "reached 'http://127.0.0.1:" in mini.run("check", "02", MLE_CLOUD="real").stdout


def test_on_a_narrow_screen_what_to_do_has_lines_of_its_own(mini: Mini) -> None:
    mini.copy()
    mini.answer()
    (mini.work / "starter" / "answer.py").write_text("def double(x: int) -> int:\n    return x\n", "utf-8")
    screen = {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm"}
    lines = _plain(mini.run("check", "02", COLUMNS="80", **screen).stdout)
    assert max(map(len, lines[:-1])) <= 80
    row = next(number for number, line in enumerate(lines) if "Double (double)" in line)
    assert lines[row].split() == ["x", "failed", "Double", "(double)", "0", "of", "2"]
    assert lines[row + 1].strip() == "double(2) is 4: multiply"
    assert any(
        "double(2) is 4" in line and "0 of 2" in line for line in _plain(mini.run("check", "02", **screen).stdout)
    )


def _plain(text: str) -> list[str]:
    return re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()


def test_a_damaged_progress_file_is_put_aside(mini: Mini) -> None:
    mini.state.mkdir()
    (mini.state / "progress.json").write_text('{"labs": {"02-tiny"', "utf-8")
    done = mini.run("progress")
    aside = list(mini.state.glob("progress.damaged-*.json"))
    assert done.returncode == 0 and "put aside" in done.stdout
    assert [file.read_text("utf-8") for file in aside] == ['{"labs": {"02-tiny"']


def test_progress_is_written_whole_or_not_at_all(mini: Mini) -> None:
    mini.copy()
    mini.run("submit", "02")
    before = (mini.state / "progress.json").read_bytes()
    done = in_small_disk(mini, mini.state, "submit", "02", keep=("progress.json",))
    assert "disk is full" in one_sentence(done, 1)
    assert (mini.state / "progress.json").read_bytes() == before


def test_reset_goes_back_to_the_start_and_keeps_the_work(mini: Mini) -> None:
    mini.copy()
    mini.answer()
    (mini.work / "notes").mkdir()
    (mini.work / "notes" / "mine.txt").write_text("kept", "utf-8")
    solved = (mini.work / NOTEBOOK).read_bytes()
    done = mini.run("reset", "02", "--yes")
    backup = Path(done.stdout.strip().rpartition(" is in ")[2])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-\d{6}", backup.name) and backup.parent == mini.state / "backups" / NAME
    assert (backup / NOTEBOOK).read_bytes() == solved and (backup / "notes" / "mine.txt").read_text("utf-8") == "kept"
    assert (mini.work / NOTEBOOK).read_bytes() == (mini.root / "labs" / NAME / NOTEBOOK).read_bytes()
    assert (mini.work / "starter" / "answer.py").read_text("utf-8") == STUB and not (mini.work / "notes").exists()


def test_reset_forgets_the_points_and_not_what_was_submitted(mini: Mini) -> None:
    mini.copy()
    mini.answer()
    mini.run("submit", "02")
    mini.run("check", "02")
    assert re.search(r"02-tiny +3 of 3 +20\d\d-", mini.run("progress").stdout)
    mini.run("reset", "02", "--yes")
    assert re.search(r"02-tiny +not checked yet +- +20\d\d-", mini.run("progress").stdout)


def test_two_resets_at_once_keep_both_backups(mini: Mini) -> None:
    mini.copy()
    mini.run("reset", "02", "--yes")
    mini.run("reset", "02", "--yes")
    assert len([path for path in (mini.state / "backups" / NAME).iterdir() if not path.name.startswith(".")]) == 2


def test_reset_asks_first(mini: Mini) -> None:
    mini.copy()
    assert "--yes" in one_sentence(mini.run("reset", "02"), 2)


def test_reset_on_a_full_disk_leaves_all_as_it_was(mini: Mini) -> None:
    mini.copy()
    (mini.work / "large.bin").write_bytes(os.urandom(400_000))
    before = {path: path.read_bytes() for path in mini.work.rglob("*") if path.is_file()}
    done = in_small_disk(mini, mini.state / "backups", "reset", "02", "--yes")
    assert "disk is full" in one_sentence(done, 1)
    assert {path: path.read_bytes() for path in mini.work.rglob("*") if path.is_file()} == before


def test_reset_with_a_pipe_among_the_files_changes_nothing(mini: Mini) -> None:
    mini.copy()
    mini.answer()
    os.mkfifo(mini.work / "pipe")
    assert "pipe is neither a file nor a folder" in one_sentence(mini.run("reset", "02", "--yes"), 2)
    assert "return 2 * x" in (mini.work / "starter" / "answer.py").read_text("utf-8")


def test_submit_packs_one_archive_and_notes_it(mini: Mini) -> None:
    mini.copy()
    mini.answer()
    done = mini.run("submit", "02", "--student", "ada")
    archive = mini.root / "work" / "02-tiny-ada.zip"
    assert done.returncode == 0 and str(archive) in done.stdout and "!" not in done.stdout
    assert "packed 2 files" in done.stdout
    assert zipfile.ZipFile(archive).namelist() == ["manifest.json", NOTEBOOK, "starter/answer.py"]
    assert re.search(r"02-tiny +not checked yet +- +20\d\d-", mini.run("progress").stdout)


def test_submitting_an_untouched_lab_is_a_warning(mini: Mini) -> None:
    mini.copy()
    done = mini.run("submit", "02")
    assert done.returncode == 0 and "! nothing differs" in done.stdout


def test_submitting_with_an_empty_answer_is_a_warning(mini: Mini) -> None:
    mini.copy()
    mini.answer()
    (mini.work / "starter" / "answer.py").write_text(STUB, "utf-8")
    done = mini.run("submit", "02")
    assert done.returncode == 0 and "! 1 answer is still empty: starter/answer.py\n" in done.stdout


def test_submitting_without_a_file_of_the_lab_is_a_users_mistake(mini: Mini) -> None:
    mini.copy()
    (mini.work / "starter" / "answer.py").unlink()
    told = one_sentence(mini.run("submit", "02"), 2)
    assert told.startswith("starter/answer.py is missing: ") and "`lab reset 02` brings it back" in told
    assert not list((mini.root / "work").glob("*.zip"))


def test_submit_refuses_what_collecting_would_refuse(mini: Mini) -> None:
    (mini.copy() / NOTEBOOK).rename(mini.work / "final.ipynb")
    assert "rename it to tiny.ipynb" in one_sentence(mini.run("submit", "02"), 2)
    assert not list((mini.root / "work").glob("*.zip"))


def test_submit_does_not_overwrite_what_is_no_archive(mini: Mini) -> None:
    mini.copy()
    (mini.root / "thesis.zip").write_text("all my work", "utf-8")
    assert "is no archive" in one_sentence(mini.run("submit", "02", "--output", "thesis.zip"), 2)
    assert (mini.root / "thesis.zip").read_text("utf-8") == "all my work"


@pytest.mark.parametrize("output", ["nowhere/a.zip", "report.pdf"])
def test_submitting_to_a_place_that_cannot_be_is_a_users_mistake(mini: Mini, output: str) -> None:
    mini.copy()
    assert "--output" in one_sentence(mini.run("submit", "02", "--output", output), 2)


def test_submit_on_a_full_disk_keeps_the_archive_of_before(mini: Mini) -> None:
    mini.copy()
    out = mini.root / "out"
    out.mkdir()
    mini.run("submit", "02", "--output", "out")
    before = (out / "02-tiny.zip").read_bytes()
    (mini.work / "starter" / "large.bin").write_bytes(os.urandom(400_000))
    done = in_small_disk(mini, out, "submit", "02", "--output", "out", keep=("02-tiny.zip",))
    assert "disk is full" in one_sentence(done, 1)
    assert (out / "02-tiny.zip").read_bytes() == before


def test_version_and_help_answer(mini: Mini) -> None:
    assert "submit" in mini.run().stdout
    assert re.fullmatch(r"lab \d+\.\d+\.\d+\S*\n", mini.run("--version").stdout)
    assert "submit" in mini.run("--help").stdout


def in_small_disk(
    mini: Mini, folder: Path, *arguments: str, keep: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run `lab` with `folder` on a disk of 64 KiB that is full, and bring the files named in `keep` back out of it."""
    needs.require("netns", needs.netns())
    folder.mkdir(parents=True, exist_ok=True)
    kept, before = mini.root / "kept", mini.root / "before"
    before.mkdir()
    kept.mkdir()
    for name in keep:
        (before / name).write_bytes((folder / name).read_bytes())
    script = (
        'mount -t tmpfs -o size=64k none "$1" && cp "$2"/* "$1" 2>/dev/null; '
        'dd if=/dev/zero of="$1/filler" bs=1k 2>/dev/null; '
        'folder=$1 kept=$3; shift 3; "$@"; code=$?; rm "$folder/filler"; cp "$folder"/* "$kept" 2>/dev/null; exit $code'
    )
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", folder, before, kept, LAB, *arguments],
        cwd=mini.root,
        env=mini.env(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    for name in keep:
        (folder / name).write_bytes((kept / name).read_bytes())
    return done
