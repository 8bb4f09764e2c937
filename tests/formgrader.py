"""nbgrader's formgrader on a course, started as an instructor starts it."""

import secrets
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from tests.chromium import Visit
from tests.fullcourse import Copy, command, free_port


@contextmanager
def running(copy: Copy, visit: Visit) -> Iterator[str]:
    """The address of its start page, the token included; stopped at the end."""
    port, token = free_port(), secrets.token_hex(16)
    root = f"http://127.0.0.1:{port}"
    log = copy.root / "formgrader.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [command("grader"), "formgrader", "--no-browser", f"--port={port}"],
            cwd=copy.root,
            env={**copy.env, "JUPYTER_TOKEN": token},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        visit.wait_for(lambda: server.poll() is not None or _answers(f"{root}/api/status?token={token}"), "JupyterLab")
        assert server.poll() is None, log.read_text(encoding="utf-8")
        visit.page.goto(f"{root}/lab?token={token}")  # leaves a cookie: the pages after it need no token
        yield f"{root}/formgrader"
    finally:
        server.terminate()
        server.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
