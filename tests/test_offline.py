"""The whole course with no network at all: not even a name can be looked up, and a lab goes from start to grade."""

import json

import pytest

from labkit.course import Lab
from tests import fullcourse, needs
from tests.fullcourse import Copy

LAB = "02"
STUDENT = "rosa"

OFFLINE = ("unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
"""Before a command: it runs where the loopback is the only way out."""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    needs.require("netns", needs.netns())
    return fullcourse.copy(tmp_path_factory.mktemp("offline") / "course")


@pytest.fixture(scope="module")
def lab(copy: Copy) -> Lab:
    lab = copy.house.source(LAB)
    needs.clouds_of(lab)
    copy.answered(lab)
    return lab


def resolve(copy: Copy, before: tuple[str, ...]) -> str:
    """What looking up a name and connecting to an outside address (one kept for documentation) come to."""
    code = (
        "import socket\n"
        "for call in (lambda: socket.getaddrinfo('example.org', 443),\n"
        "             lambda: socket.create_connection(('192.0.2.1', 443), 5)):\n"
        "    try: call(); print('answered')\n"
        "    except OSError as error: print(error)\n"
    )
    return copy.run("python", "-c", code, before=before)


def test_no_name_and_no_address_can_be_reached_there(copy: Copy) -> None:
    names, address = resolve(copy, OFFLINE).splitlines()
    assert "name resolution" in names
    assert "unreachable" in address


def test_this_machine_itself_can_be_reached_there(copy: Copy) -> None:
    code = (
        "import socket\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "socket.create_connection(server.getsockname(), 5)\n"
        "print('connected')"
    )
    assert copy.run("python", "-c", code, before=OFFLINE) == "connected\n"


def test_lab_check_passes_the_right_answers_offline(copy: Copy, lab: Lab) -> None:
    said = copy.run("lab", "check", LAB, before=OFFLINE)
    assert "17 of 20" in said
    assert "3 more points are for answers that only grading judges." in said
    assert "failed" not in said and "not run" not in said


def test_a_submission_is_packed_collected_and_graded_offline(copy: Copy, lab: Lab) -> None:
    copy.run("lab", "submit", LAB, "--student", STUDENT, before=OFFLINE)
    (archive,) = copy.course.work_dir.glob("*.zip")
    copy.run("grader", "collect", LAB, archive, "--student", STUDENT, before=OFFLINE)
    copy.run("grader", "grade", LAB, "--workers", "1", before=OFFLINE)
    found = json.loads((copy.house.classroom / "results" / lab.name / f"{STUDENT}.json").read_text("utf-8"))
    assert found["report"]["problem"] is None
    assert sum(one["points"] for one in found["report"]["results"]) == 20


def test_lab_start_needs_no_network(copy: Copy, lab: Lab) -> None:
    """JupyterLab and all clouds answer, and all end again."""
    program = str(fullcourse.command("lab"))
    code = (
        "import subprocess\n"
        f"subprocess.run([{program!r}, 'start', {LAB!r}, '--no-browser'], check=True)\n"
        f"subprocess.run([{program!r}, 'stop'], check=True)"
    )
    said = copy.run("python", "-c", code, before=OFFLINE)
    assert "JupyterLab runs:" in said
    assert "stopped JupyterLab" in said
