"""Object storage on this machine, reached as the real one: start it, watch its requests, make them fail."""

import contextlib
import http.client
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from labkit import course
from labkit.emulators import azurite, kinds, processes
from labkit.emulators.kinds import NAMES, Name
from labkit.emulators.processes import HOST, Place, Running
from labkit.errors import FailureError, UserError

__all__ = [
    "NAMES",
    "Cloud",
    "Name",
    "Recording",
    "Request",
    "available",
    "fail",
    "install",
    "record",
    "reset",
    "running",
    "start",
    "stop",
]


@dataclass(frozen=True)
class Cloud:
    """A cloud that answers, and the environment variables that lead to it."""

    name: Name
    endpoint: str
    pid: int | None
    env: dict[str, str]

    def __str__(self) -> str:
        if not self.endpoint:
            return f"{self.name}: the real cloud, with your own credentials (MLE_CLOUD=real)"
        return f"{self.name}: local emulator at {self.endpoint}"


@dataclass(frozen=True)
class Request:
    """One request that the local AWS answered. `bytes_in` and `bytes_out` are those of the bodies."""

    method: str
    operation: str
    bucket: str | None
    key: str | None
    query: dict[str, str]
    status: int
    bytes_in: int
    bytes_out: int
    range: str | None
    if_match: str | None
    if_none_match: str | None


class Recording:
    """The requests since `record()` began, in the order of their answers."""

    def __init__(self, port: int, number: int) -> None:
        self._port = port
        self._number = number
        self._final: list[Request] | None = None

    @property
    def requests(self) -> list[Request]:
        if self._final is not None:
            return list(self._final)
        return [Request(**entry) for entry in _control(self._port, "GET", f"recordings/{self._number}")]

    def close(self) -> None:
        """Stop recording; what was recorded stays."""
        self._final = [Request(**entry) for entry in _control(self._port, "DELETE", f"recordings/{self._number}")]


def start(name: Name = "aws", *, port: int | None = None) -> Cloud:
    """Start the local cloud `name`, or find it again, and point this process's environment at it.

    With MLE_CLOUD=real nothing is started and no variable is changed.
    """
    name = kinds.known(name)
    if _is_real():
        return Cloud(name, "", None, {})
    if sentence := available(name):
        raise FailureError(sentence)
    if port is not None and not 0 < port < 65536:
        raise UserError(f"port {port} does not exist: choose one from 1024 to 65535")
    cloud = _cloud(name, processes.ensure(kinds.emulator(name), _place(name), port))
    _point_at(cloud)
    return cloud


def stop(name: Name | None = None) -> list[Name]:
    """End the local cloud `name` (all of them when none is given); returns those that ran."""
    wanted = NAMES if name is None else (kinds.known(name),)
    # The variables stay: a request that fails is better than one that reaches a real account.
    return [one for one in wanted if processes.stop(kinds.emulator(one), _place(one))]


def running() -> list[Cloud]:
    """The local clouds that answer now."""
    found = ((name, processes.find(kinds.emulator(name), _place(name))) for name in NAMES)
    return [_cloud(name, there) for name, there in found if there]


def reset(name: Name = "aws") -> None:
    """Forget every bucket and object of the local cloud `name`."""
    there = _running(kinds.known(name))
    match name:
        case "aws":
            _control(there.port, "POST", "reset")
        case "gcp":
            kinds.request(there.port, "GET", "/wipe")
        case "azure":
            # Azurite has no such request, but what it holds lives in its memory only.
            processes.stop(kinds.emulator(name), _place(name))
            start(name, port=there.port)
    _forget_listings()


def available(name: Name) -> str | None:
    """None when the local cloud `name` can be started, else one sentence with the command that mends it."""
    return kinds.missing(kinds.known(name))


def install(name: Name) -> None:
    """Install what the local cloud `name` needs beyond Python packages, where that is missing."""
    if kinds.known(name) == "azure" and not azurite.program().is_file():
        azurite.install()


@contextlib.contextmanager
def record() -> Iterator[Recording]:
    """Record the requests to the local AWS while the block runs."""
    port = _running("aws").port
    recording = Recording(port, _control(port, "POST", "recordings")["number"])
    try:
        yield recording
    finally:
        recording.close()


@contextlib.contextmanager
def fail(operation: str, *, after: int = 0, code: str = "ExpiredToken") -> Iterator[None]:
    """While the block runs, answer the (after+1)-th request of `operation`, and those that follow, with `code`.

    The default is an error that boto3 does not try again.
    """
    port = _running("aws").port
    fault = {"operation": operation, "after": after, "code": code}
    number = _control(port, "POST", "faults", fault)["number"]
    try:
        yield
    finally:
        _control(port, "DELETE", f"faults/{number}")


def _is_real() -> bool:
    value = os.environ.get("MLE_CLOUD", "local").lower()
    if value not in ("local", "real"):
        raise UserError(f"MLE_CLOUD is {value!r}: set it to real for your own account, or remove it")
    return value == "real"


def _place(name: Name) -> Place:
    return Place(course.find().state_dir, name)


def _cloud(name: Name, there: Running) -> Cloud:
    endpoint = f"http://{HOST}:{there.port}"
    return Cloud(name, endpoint, there.pid, kinds.variables(name, endpoint))


def _point_at(cloud: Cloud) -> None:
    changed = any(os.environ.get(key) != value for key, value in cloud.env.items())
    for key in kinds.misleading(cloud.name):
        del os.environ[key]
    os.environ.update(cloud.env)
    if changed:
        _forget_listings()


def _forget_listings() -> None:
    """fsspec keeps settings, file systems and listings by arguments that do not name the endpoint."""
    if "fsspec" in sys.modules:
        from fsspec import config
        from fsspec.registry import registry

        config.set_conf_env(config.conf)
        for kind in set(registry.values()):
            kind.clear_instance_cache()


def _running(name: Name) -> Running:
    if _is_real():
        raise UserError("MLE_CLOUD=real: only a local cloud is recorded, made to fail or emptied; remove MLE_CLOUD")
    there = processes.find(kinds.emulator(name), _place(name))
    if there is None:
        raise UserError(f"the local {name} is not running: call labkit.cloud.start({name!r}) first")
    return there


def _control(port: int, method: str, path: str, value: object = None) -> Any:
    body = b"" if value is None else json.dumps(value).encode()
    try:
        return json.loads(kinds.request(port, method, f"/_lab/{path}", body)[1])
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FailureError(f"the local aws stopped answering ({error}): call labkit.cloud.start()") from None
