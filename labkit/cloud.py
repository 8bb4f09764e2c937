"""Object storage on this machine, reached as the real one: start it, watch its requests, make them fail."""

import contextlib
import http.client
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

from labkit import course
from labkit.emulators import OWNER, processes
from labkit.emulators.processes import HOST, Emulator, Place, Running
from labkit.errors import FailureError, UserError

Name = Literal["aws", "gcp", "azure"]
NAMES: tuple[Name, ...] = get_args(Name)


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
    if _is_real():
        return Cloud(_known(name), "", None, {})
    emulator = _emulator(name)
    if sentence := available(name):
        raise FailureError(sentence)
    if port is not None and not 0 < port < 65536:
        raise UserError(f"port {port} does not exist: choose one from 1024 to 65535")
    cloud = _cloud(name, processes.ensure(emulator, _place(name), port))
    _point_at(cloud)
    return cloud


def stop(name: Name | None = None) -> list[Name]:
    """End the local cloud `name` (all of them when none is given); returns those that ran."""
    wanted = NAMES if name is None else (_known(name),)
    # The variables stay: a request that fails is better than one that reaches a real account.
    return [one for one in wanted if processes.stop(_emulator(one), _place(one))]


def running() -> list[Cloud]:
    """The local clouds that answer now."""
    found = ((name, processes.find(_emulator(name), _place(name))) for name in NAMES)
    return [_cloud(name, there) for name, there in found if there]


def reset(name: Name = "aws") -> None:
    """Forget every bucket and object of the local cloud `name`."""
    if _is_real():
        raise UserError("MLE_CLOUD=real: a real account is never emptied; delete what you made there yourself")
    there = _running(name)
    _control(there.port, "POST", "reset")
    _forget_listings()


def available(name: Name) -> str | None:
    """None when the local cloud `name` can be started, else one sentence with the command that mends it."""
    _known(name)
    return None


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


def _known(name: str) -> Name:
    for known in NAMES:
        if name == known:
            return known
    raise UserError(f"there is no cloud {name!r}: choose {', '.join(NAMES)}")


def _place(name: Name) -> Place:
    return Place(course.find().state_dir, name)


def _emulator(name: Name) -> Emulator:
    _known(name)
    return Emulator("aws", lambda port: _module("labkit.emulators.aws", port), _answers_ping)


def _module(module: str, port: int) -> list[str]:
    # -P keeps a file like numpy.py beside a notebook from being imported.
    return [sys.executable, "-P", "-m", module, "--port", str(port)]


def _cloud(name: Name, there: Running) -> Cloud:
    endpoint = f"http://{HOST}:{there.port}"
    return Cloud(name, endpoint, there.pid, {**_variables(name, endpoint), **_no_proxy()})


def _variables(name: Name, endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": OWNER,
        "AWS_SECRET_ACCESS_KEY": OWNER,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        # A profile on this machine must change nothing, and its keys must not be read at all.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def _no_proxy() -> dict[str, str]:
    """A company's proxy must not be asked for 127.0.0.1."""
    names = ("NO_PROXY", "no_proxy")
    there = next((os.environ[name] for name in names if os.environ.get(name)), "")
    hosts = [host for host in there.split(",") if host]
    value = ",".join([*hosts, *(host for host in (HOST, "localhost") if host not in hosts)])
    return dict.fromkeys(names, value)


def _point_at(cloud: Cloud) -> None:
    changed = any(os.environ.get(key) != value for key, value in cloud.env.items())
    if cloud.name == "aws":
        misleading = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
        for key in [key for key in os.environ if key in misleading or key.startswith("AWS_ENDPOINT_URL_")]:
            del os.environ[key]
    os.environ.update(cloud.env)
    if changed:
        _forget_listings()


def _forget_listings() -> None:
    """fsspec keeps file systems and listings by their arguments, which do not name the endpoint."""
    if "fsspec" in sys.modules:
        from fsspec.registry import registry

        for kind in set(registry.values()):
            kind.clear_instance_cache()


def _running(name: Name) -> Running:
    if _is_real():
        raise UserError("MLE_CLOUD=real: only the local cloud can be recorded or made to fail; remove MLE_CLOUD")
    there = processes.find(_emulator(name), _place(name))
    if there is None:
        raise UserError(f"the local {name} is not running: call labkit.cloud.start({name!r}) first")
    return there


def _answers_ping(running: Running) -> bool:
    try:
        answer = _request(running.port, "GET", "/_lab/ping")
        return bool(json.loads(answer)["token"] == running.token)
    except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError):
        return False


def _control(port: int, method: str, path: str, value: object = None) -> Any:
    try:
        return json.loads(_request(port, method, f"/_lab/{path}", b"" if value is None else json.dumps(value).encode()))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FailureError(f"the local aws stopped answering ({error}): call labkit.cloud.start()") from None


def _request(port: int, method: str, path: str, body: bytes | None = None) -> bytes:
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request(method, path, body)
        return connection.getresponse().read()
    finally:
        connection.close()
