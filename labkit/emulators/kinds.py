"""The three clouds: how each one's emulator is run, asked whether it answers, and reached by its standard variables."""

import http.client
import importlib.util
import json
import os
import sys
from typing import Literal, get_args

from labkit.emulators import OWNER, azurite
from labkit.emulators.processes import HOST, Emulator, Running, is_ours
from labkit.errors import UserError

Name = Literal["aws", "gcp", "azure"]
NAMES: tuple[Name, ...] = get_args(Name)

_PACKAGES: dict[Name, tuple[str, ...]] = {
    "aws": ("moto", "flask", "flask_cors"),
    "gcp": ("gcp_storage_emulator", "google.cloud.storage", "gcsfs"),
    "azure": ("azure.storage.blob", "adlfs"),
}
_MISLEADING: dict[Name, tuple[str, ...]] = {
    "aws": (
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_SESSION_TOKEN",
        "AWS_SECURITY_TOKEN",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
        "AWS_ENDPOINT_URL_",
        "AWS_ROLE_ARN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_",
    ),
    "gcp": ("GOOGLE_APPLICATION_CREDENTIALS", "FSSPEC_GS", "FSSPEC_GCS", "API_ENDPOINT_OVERRIDE"),
    "azure": ("AZURE_STORAGE_", "AZURE_CLIENT_", "AZURE_TENANT_ID", "FSSPEC_AZ", "FSSPEC_ABFS"),
}
"""Variables that would lead elsewhere, or to a real account; one that ends in _ stands for all that begin so."""


def known(name: str) -> Name:
    """`name` itself; raises UserError naming the clouds there are."""
    for one in NAMES:
        if name == one:
            return one
    raise UserError(f"there is no cloud {name!r}: choose {', '.join(NAMES)}")


def emulator(name: Name) -> Emulator:
    """How the emulator of that cloud is run."""
    if name == "azure":
        return Emulator(name, azurite.command, _answers_as_azurite)
    return Emulator(name, lambda port: _module(f"labkit.emulators.{name}", port), _answers_ping)


def missing(name: Name) -> str | None:
    """None when the emulator can be started, else one sentence with the command that mends it."""
    if absent := [package for package in _PACKAGES[name] if not _is_there(package)]:
        mend = "run `make lab` again" if name == "aws" else f"run `lab start 02 --cloud {name}`"
        return f"the local {name} needs the Python package {absent[0]}: {mend}"
    if name == "azure" and azurite.node() is None:
        return f"the local azure needs Node {azurite.LEAST_NODE} or newer: run `lab start 02 --cloud azure`"
    if name == "azure" and not azurite.program().is_file():
        return "the local azure needs Azurite, which is not installed: run `lab start 02 --cloud azure`"
    return None


def variables(name: Name, endpoint: str) -> dict[str, str]:
    """The environment in which plain clients of that cloud reach `endpoint`."""
    match name:
        case "aws":
            special = {
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
        case "gcp":
            special = {
                "STORAGE_EMULATOR_HOST": endpoint,
                "GOOGLE_CLOUD_PROJECT": "local",
                "FSSPEC_GS_TOKEN": "anon",  # gcsfs would look for an account on this machine first
                "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # a part of gcsfs that only the real service answers
            }
        case "azure":
            special = {
                "AZURE_STORAGE_CONNECTION_STRING": (
                    f"DefaultEndpointsProtocol=http;AccountName={azurite.ACCOUNT};AccountKey={azurite.KEY};"
                    f"BlobEndpoint={endpoint}/{azurite.ACCOUNT};"
                ),
                "AZURE_STORAGE_ACCOUNT_NAME": azurite.ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": azurite.KEY,
            }
    return {**special, **_no_proxy()}


def misleading(name: Name) -> list[str]:
    """The variables set now that must go for `variables` to lead where they say."""
    return [
        key
        for key in os.environ
        if any(key == one or (one.endswith("_") and key.startswith(one)) for one in _MISLEADING[name])
    ]


def request(port: int, method: str, path: str, body: bytes | None = None, seconds: float = 10) -> tuple[str, bytes]:
    """Ask an emulator; returns the server's name and the body."""
    connection = http.client.HTTPConnection(HOST, port, timeout=seconds)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.getheader("Server", ""), response.read()
    finally:
        connection.close()


def _module(module: str, port: int) -> list[str]:
    # -P keeps a file like numpy.py beside a notebook from being imported.
    return [sys.executable, "-P", "-m", module, "--port", str(port)]


def _no_proxy() -> dict[str, str]:
    """A company's proxy must not be asked for 127.0.0.1."""
    names = ("NO_PROXY", "no_proxy")
    there = next((os.environ[name] for name in names if os.environ.get(name)), "")
    hosts = [host for host in there.split(",") if host]
    value = ",".join([*hosts, *(host for host in (HOST, "localhost") if host not in hosts)])
    return dict.fromkeys(names, value)


def _is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _answers_ping(running: Running) -> bool:
    try:
        return bool(json.loads(request(running.port, "GET", "/_lab/ping")[1])["token"] == running.token)
    except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError):
        return False


def _answers_as_azurite(running: Running) -> bool:
    try:
        name, _ = request(running.port, "GET", f"/{azurite.ACCOUNT}?comp=list")
    except (OSError, http.client.HTTPException):
        return False
    return name.startswith("Azurite") and is_ours(running)
