"""Every test session runs beside the developer's own course, never in it, and leaves no process behind."""

import contextlib
import os
import shutil
import tempfile
import uuid
from pathlib import Path

import psutil
import pytest

from tests import needs

SESSION = "MLE_TEST_SESSION"
"""Marks every process that a test starts, however indirectly, so that the end of the session finds it."""

REAL_ACCOUNTS = (
    "AWS_PROFILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_PROJECT",
    "STORAGE_EMULATOR_HOST",
)

_home = pytest.StashKey[Path]()
_ran = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    try:
        needs.required()
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
    home = Path(tempfile.mkdtemp(prefix="mle-tests-"))
    config.stash[_home] = home
    config.stash[_ran] = 0
    config.pluginmanager.register(_Counter(config))
    for name in (*REAL_ACCOUNTS, "MLE_CLOUD", "MLE_COURSE"):
        os.environ.pop(name, None)
    os.environ |= {
        SESSION: uuid.uuid4().hex,
        "MLE_STATE": str(home / "state"),
        "AWS_CONFIG_FILE": str(home / "no-aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "no-aws-credentials"),
        "JUPYTER_CONFIG_DIR": str(home / "jupyter" / "config"),
        "JUPYTER_DATA_DIR": str(home / "jupyter" / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "jupyter" / "runtime"),
        "IPYTHONDIR": str(home / "ipython"),
    }


class _Counter:
    """Counts the tests that ran, those of other processes (pytest-xdist) too."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and not report.skipped:
            self.config.stash[_ran] += 1


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if not hasattr(session.config, "workerinput") and _showed_nothing(session.config, exitstatus):
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
    if _showed_nothing(config, exitstatus):
        terminalreporter.write_line("no test ran, so nothing was shown to be right: this session fails", red=True)


def _showed_nothing(config: pytest.Config, exitstatus: int) -> bool:
    quiet = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    return quiet and not config.option.collectonly and not config.stash[_ran]


def pytest_unconfigure(config: pytest.Config) -> None:
    if home := config.stash.get(_home, None):
        stop_processes(os.environ[SESSION])
        shutil.rmtree(home, ignore_errors=True)


def stop_processes(session: str) -> list[int]:
    """End every process marked as started by that session; returns their ids."""
    left = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(SESSION) == session:
                process.terminate()
                left.append(process)
    _, stubborn = psutil.wait_procs(left, timeout=5)
    for process in stubborn:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return [process.pid for process in left]
