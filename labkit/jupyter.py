"""JupyterLab in the background: started once, found again, stopped."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from labkit.course import Course
from labkit.errors import FailureError, UserError
from labkit.state import locked, read_json, write_json

HOST = "127.0.0.1"
FIRST_PORT = 8888
START_SECONDS = 120.0
STOP_SECONDS = 10.0
PATIENCE_SECONDS = 20.0
"""How long one that lives may be too busy to answer before it counts as hung, and is replaced with its kernels."""

_LAB_SETTINGS = {
    # Both would ask the student something, or call home, before the first cell.
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}
}

_PAGE_WITHOUT = ("@jupyter/nbgrader", "jupyterlab-jupytext")
_SERVER_WITHOUT = (
    "jupyterlab_jupytext",
    *(
        f"nbgrader.server_extensions.{name}"
        for name in ("formgrader", "validate_assignment", "assignment_list", "course_list")
    ),
)
"""An author's and an instructor's tools: for a student they are clutter that can change a notebook's checks."""


@dataclass(frozen=True)
class Server:
    """A JupyterLab that answers. `created` tells its process from a later one with the same number."""

    port: int
    pid: int
    created: float
    token: str = field(repr=False)
    env: dict[str, str] = field(repr=False)

    def url(self, path: str = "") -> str:
        """Where a browser finds `path` (inside work/), the token included."""
        tree = f"lab/tree/{urllib.parse.quote(path)}" if path else "lab"
        return f"http://{HOST}:{self.port}/{tree}?token={self.token}"

    def in_use(self) -> bool:
        """Whether a notebook's kernel or a terminal is open in it."""
        return bool(_ask(self, "kernels") or _ask(self, "terminals"))


def find(course: Course) -> Server | None:
    """The JupyterLab of this course that was started last, if it still answers."""
    last = _read(course)
    limit = time.monotonic() + PATIENCE_SECONDS
    while last and _process(last):
        if _answers(last):
            return last
        if time.monotonic() > limit:
            break
        time.sleep(0.1)
    return None


def start(course: Course, env: dict[str, str], port: int | None = None) -> Server:
    """Start JupyterLab on work/ and wait until it answers; the one that runs already is returned as it is.

    env: variables that its kernels and terminals must have, besides those of this process.
    Raises UserError where `port` is in use.
    """
    with locked(
        course.state_dir / "jupyter.lock", START_SECONDS, "another `lab` command is starting or stopping JupyterLab"
    ):
        if server := find(course):
            return server
        _end(_read(course))
        if port is not None:
            require_free(port)
        server = _spawn(course, env, port or free_port())
        try:
            _wait(course, server)
            write_json(_state(course), asdict(server), private=True)
        except BaseException:  # one that nobody can find again must not go on, Ctrl-C included
            _end(server)
            raise
    return server


def stop(course: Course) -> bool:
    """End JupyterLab with its kernels and terminals; False when it did not run."""
    if not _state(course).exists():
        return False
    with locked(
        course.state_dir / "jupyter.lock", START_SECONDS, "another `lab` command is starting or stopping JupyterLab"
    ):
        ended = _end(_read(course))
        _state(course).unlink(missing_ok=True)
    return ended


def log(course: Course) -> Path:
    """Where JupyterLab writes what it does."""
    return course.state_dir / "logs" / "jupyter.log"


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now."""
    with socket.socket() as probe:
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def require_free(port: int) -> None:
    """Raise UserError where `port` is taken."""
    if not is_free(port):
        raise UserError(f"port {port} is in use: choose another with --port, or leave it out and a free one is taken")


def free_port() -> int:
    """The first free port from 8888 on."""
    for port in range(FIRST_PORT, FIRST_PORT + 100):
        if is_free(port):
            return port
    raise FailureError(f"no port from {FIRST_PORT} to {FIRST_PORT + 99} is free: name one with --port")


def _spawn(course: Course, env: dict[str, str], port: int) -> Server:
    token = secrets.token_hex(24)
    settings = course.state_dir / "jupyter"
    write_json(settings / "labconfig" / "default_setting_overrides.json", _LAB_SETTINGS)
    page = {"disabledExtensions": dict.fromkeys(_PAGE_WITHOUT, True)}
    write_json(settings / "labconfig" / "page_config.json", page)
    course.work_dir.mkdir(parents=True, exist_ok=True)
    log(course).parent.mkdir(parents=True, exist_ok=True)
    with log(course).open("wb") as output:
        child = subprocess.Popen(
            _command(course, port),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=course.work_dir,
            env=_environment(course, env, settings, token),
            start_new_session=True,  # Ctrl-C in the terminal is not for it
        )
    child.returncode = 0  # it outlives this command: Python must not warn of that
    try:
        created = psutil.Process(child.pid).create_time()
    except psutil.NoSuchProcess:
        created = 0.0
    return Server(port, child.pid, created, token, env)


def _command(course: Course, port: int) -> list[str]:
    return [
        *(sys.executable, "-P", "-m", "jupyterlab"),
        "--no-browser",
        f"--ServerApp.ip={HOST}",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={course.work_dir}",
        # in a container the student is often root
        "--ServerApp.allow_root=True",
        f"--ServerApp.jpserver_extensions={dict.fromkeys(_SERVER_WITHOUT, False)}",
        *_shell(),
    ]


def _shell() -> list[str]:
    """Jupyter would start a login shell, and the system's profile takes `lab` off its PATH again."""
    if os.name == "nt":
        return []
    shell = os.environ.get("SHELL") or shutil.which("bash") or "sh"
    return [f"--ServerApp.terminado_settings={{'shell_command': [{shell!r}]}}"]


def _environment(course: Course, env: dict[str, str], settings: Path, token: str) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {
        **os.environ,
        **env,
        "PATH": path,  # so that a terminal finds `lab`
        "MLE_COURSE": str(course.root),
        "JUPYTER_TOKEN": token,
        # A student's own settings and kernels could ask for a password, or run another Python.
        "JUPYTER_CONFIG_DIR": str(settings),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _wait(course: Course, server: Server) -> None:
    limit = time.monotonic() + START_SECONDS
    while time.monotonic() < limit:
        if _answers(server):
            return
        if not _process(server):
            raise FailureError(f"JupyterLab stopped at once ({_last_line(log(course))}): {log(course)} says more")
        time.sleep(0.1)
    raise FailureError(f"JupyterLab did not answer within {START_SECONDS:g} seconds: {log(course)} says why")


def _answers(server: Server) -> bool:
    return isinstance(_ask(server, "status"), dict)


def _ask(server: Server, what: str) -> Any:
    request = urllib.request.Request(
        f"http://{HOST}:{server.port}/api/{what}", headers={"Authorization": f"token {server.token}"}
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy must not be asked for 127.0.0.1
    try:
        with direct.open(request, timeout=5) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return None


def _process(server: Server) -> psutil.Process | None:
    try:
        process = psutil.Process(server.pid)
        same = abs(process.create_time() - server.created) < 0.01
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def _end(server: Server | None) -> bool:
    process = _process(server) if server else None
    if process is None:
        return False
    family = [process]
    with contextlib.suppress(psutil.Error):
        family += process.children(recursive=True)  # kernels and terminals
    for kill in (False, True):
        for member in family if kill else family[:1]:
            with contextlib.suppress(psutil.Error):
                if kill:
                    member.kill()
                else:
                    member.terminate()
        _, family = psutil.wait_procs(family, timeout=STOP_SECONDS)
    return True


def _read(course: Course) -> Server | None:
    try:
        values = read_json(_state(course))
        return Server(**values) if values else None
    except (ValueError, TypeError):
        return None


def _state(course: Course) -> Path:
    return course.state_dir / "jupyter.json"


def _last_line(file: Path) -> str:
    lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "it said nothing")
