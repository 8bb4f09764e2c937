"""What a test session promises: skips are said, required ones fail, nothing counts as shown when nothing ran."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests import needs
from tests.conftest import SESSION

ROOT = Path(__file__).resolve().parent.parent


def session(folder: Path, test: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on a file with this test in a session of its own, under the project's conftest."""
    (folder / "test_inner.py").write_text(test, encoding="utf-8")
    config = ["-p", "tests.conftest", "-p", "no:cacheprovider", "--rootdir", str(folder), "-c", os.devnull]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *config, *arguments, str(folder)],
        cwd=ROOT,
        env={**os.environ, "MLE_REQUIRE": "", **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


NEEDY = "from tests import needs\n\ndef test_needy():\n    needs.require('docker', 'no engine answers')\n"
PASSES = "def test_passes():\n    pass\n"


def test_what_is_missing_is_skipped_with_its_sentence(tmp_path: Path) -> None:
    done = session(tmp_path, NEEDY + PASSES)
    assert done.returncode == 0
    assert "1 passed, 1 skipped" in done.stdout


def test_what_is_missing_fails_where_it_is_required(tmp_path: Path) -> None:
    done = session(tmp_path, NEEDY + PASSES, MLE_REQUIRE="browser, docker")
    assert done.returncode == 1
    assert "MLE_REQUIRE names docker, but no engine answers" in done.stdout


def test_a_need_that_does_not_exist_cannot_be_required(tmp_path: Path) -> None:
    done = session(tmp_path, PASSES, MLE_REQUIRE="dokcer")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "MLE_REQUIRE names dokcer: known are docker, " in done.stderr


@pytest.mark.parametrize("test", ["", NEEDY], ids=["none collected", "none ran"])
def test_a_session_in_which_no_test_ran_fails(tmp_path: Path, test: str) -> None:
    done = session(tmp_path, test)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "no test ran" in done.stdout


def test_listing_the_tests_is_no_failure(tmp_path: Path) -> None:
    assert session(tmp_path, PASSES, "--collect-only").returncode == 0


def test_what_a_test_leaves_running_is_ended_with_the_session(tmp_path: Path) -> None:
    child = "[sys.executable, '-c', 'import time; time.sleep(600)']"
    start = f"pid = subprocess.Popen({child}, start_new_session=True).pid"
    write = f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(pid))"
    done = session(tmp_path, f"import pathlib, subprocess, sys\n\ndef test_leaves():\n    {start}\n    {write}\n")
    assert done.returncode == 0
    pid = int((tmp_path / "pid").read_text(encoding="utf-8"))
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_session_runs_beside_the_developers_course_and_accounts(tmp_path: Path) -> None:
    looks = (
        "import os\n\ndef test_looks():\n"
        "    assert 'AWS_PROFILE' not in os.environ and 'MLE_CLOUD' not in os.environ\n"
        "    assert 'mle-tests-' in os.environ['MLE_STATE']\n"
    )
    done = session(tmp_path, looks, AWS_PROFILE="mine", MLE_CLOUD="real", MLE_STATE="/home/me/course/.lab")
    assert done.returncode == 0, done.stdout


def test_ci_requires_every_need_there_is() -> None:
    line = next(
        line for line in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines() if "MLE_REQUIRE=" in line
    )
    named = line.partition("MLE_REQUIRE=")[2].split()[0]
    assert sorted(named.split(",")) == sorted(needs.KNOWN)


def test_this_session_is_marked() -> None:
    assert len(os.environ[SESSION]) == 32
