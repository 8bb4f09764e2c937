"""Start, find again and stop an emulator's process; what is known of it lies in one JSON file."""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from labkit.errors import FailureError, UserError
from labkit.state import locked

HOST = "127.0.0.1"
LOCK_SECONDS = 120.0
STOP_SECONDS = 5.0
TOKEN = "MLE_EMULATOR_TOKEN"  # the variable's name, not a secret
STATE = "MLE_EMULATOR_STATE"

_children: dict[int, subprocess.Popen[bytes]] = {}
"""Kept so that a child that ended does not stay a zombie, and Python does not warn of one that goes on."""


@dataclass(frozen=True)
class Running:
    """An emulator that answers. `created` tells its process from a later one with the same number."""

    port: int
    pid: int
    created: float
    token: str


@dataclass(frozen=True)
class Emulator:
    """How one emulator is run: its command for a port, and how to ask whether it answers."""

    name: str
    command: Callable[[int], list[str]]
    answers: Callable[[Running], bool]
    seconds: float = 60.0
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """The files of one emulator under the course's state folder."""

    state_dir: Path
    name: str

    @property
    def state(self) -> Path:
        return self.state_dir / "cloud" / f"{self.name}.json"

    @property
    def lock(self) -> Path:
        return self.state_dir / "cloud" / f"{self.name}.lock"

    @property
    def log(self) -> Path:
        return self.state_dir / "logs" / f"{self.name}.log"


def find(emulator: Emulator, place: Place) -> Running | None:
    """The emulator that was started last, if it still answers."""
    last = _read(place.state)
    return last if last and emulator.answers(last) else None


def ensure(emulator: Emulator, place: Place, port: int | None = None) -> Running:
    """The emulator, started unless it answers already; several callers at once get the same one."""
    if (there := find(emulator, place)) is None:
        with _locked(place.lock, emulator.name):
            there = find(emulator, place) or _start(emulator, place, port)
    if port is not None and there.port != port:
        raise UserError(
            f"the local {emulator.name} runs on port {there.port} already: "
            f"run `lab stop` first, or leave out the port {port}"
        )
    return there


def stop(emulator: Emulator, place: Place) -> bool:
    """End the emulator's process; False when there was none."""
    if not place.state.exists():
        return False
    with _locked(place.lock, emulator.name):
        last = _read(place.state)
        # The state file stays: the next start prefers its port, so that clients made before keep working.
        return last is not None and _end(last)


def _start(emulator: Emulator, place: Place, port: int | None) -> Running:
    last = _read(place.state)
    if last:
        _end(last)
    if port is not None and not _is_free(port):
        raise UserError(f"port {port} is in use: choose another one, or leave it out and a free one is taken")
    wanted = port or (last.port if last and _is_free(last.port) else None)
    for _ in range(3):
        started = _spawn(emulator, place, wanted or _free_port())
        if _wait(emulator, started):
            _write(place.state, started)
            return started
        ended = not _is_alive(started)
        _end(started)
        if not ended or port is not None:
            break
        wanted = None  # another program may have taken the port between our look and the emulator's
    raise FailureError(
        f"the local {emulator.name} did not answer within {emulator.seconds:g} seconds: its log {place.log} says why"
    )


def _spawn(emulator: Emulator, place: Place, port: int) -> Running:
    token = secrets.token_hex(16)
    place.log.parent.mkdir(parents=True, exist_ok=True)
    with place.log.open("ab") as log:
        child = subprocess.Popen(
            emulator.command(port),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=place.log.parent,
            env=_environment(emulator, place, token),
            start_new_session=True,
        )
    _children[child.pid] = child
    try:
        created = psutil.Process(child.pid).create_time()
    except psutil.NoSuchProcess:
        created = 0.0
    return Running(port, child.pid, created, token)


def _environment(emulator: Emulator, place: Place, token: str) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "MOTO_", "AZURE_"))}
    # Where labkit was imported from, for a process that starts in another folder.
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), inherited.get("PYTHONPATH")]))
    own = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", TOKEN: token, STATE: str(place.state)}
    return {**inherited, **own, **emulator.env}


def _wait(emulator: Emulator, started: Running) -> bool:
    limit = time.monotonic() + emulator.seconds
    while time.monotonic() < limit and _is_alive(started):
        if emulator.answers(started):
            return True
        time.sleep(0.05)
    return False


def _process(running: Running) -> psutil.Process | None:
    if child := _children.get(running.pid):
        child.poll()
    try:
        process = psutil.Process(running.pid)
        if abs(process.create_time() - running.created) < 0.01 and process.status() != psutil.STATUS_ZOMBIE:
            return process
    except psutil.Error:
        pass
    return None


def _is_alive(running: Running) -> bool:
    return _process(running) is not None


def is_ours(running: Running) -> bool:
    """Whether the process that was started for `running` still is."""
    return _is_alive(running)


def _end(running: Running) -> bool:
    process = _process(running)
    if process is None:
        return False
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return False
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.terminate()
    _, left = psutil.wait_procs(family, timeout=STOP_SECONDS)
    for member in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(left, timeout=STOP_SECONDS)
    return True


def _read(file: Path) -> Running | None:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return Running(int(values["port"]), int(values["pid"]), float(values["created"]), str(values["token"]))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def _write(file: Path, running: Running) -> None:
    part = file.with_suffix(".part")
    try:
        part.write_text(json.dumps(asdict(running)), encoding="utf-8")
        part.replace(file)
    except OSError:
        _end(running)  # one that nobody can find again must not go on
        raise


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _locked(file: Path, name: str) -> contextlib.AbstractContextManager[None]:
    message = (
        f"another program has been starting or stopping the local {name} for {LOCK_SECONDS:g} seconds: "
        f"end it, or remove {file}"
    )
    return locked(file, LOCK_SECONDS, message)
