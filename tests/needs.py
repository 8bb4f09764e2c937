"""What a test may need of the machine: skipped with a sentence where missing, failed where `MLE_REQUIRE` names it."""

import os
import shutil
import subprocess
import sys
import sysconfig
from functools import cache

import pytest

from labkit.course import Lab

KNOWN = ("docker", "browser", "node", "azure", "gcp", "netns", "index")
"""Every need a test may name. `MLE_REQUIRE=docker,browser` turns the skips of these two into failures."""


def require(need: str, why_missing: str | None) -> None:
    """Go on when `why_missing` is None; else skip with that sentence, or fail where `MLE_REQUIRE` names `need`."""
    if need not in KNOWN:
        raise ValueError(f"unknown need {need!r}: known are {', '.join(KNOWN)}")
    if why_missing is None:
        return
    if need in required():
        pytest.fail(f"MLE_REQUIRE names {need}, but {why_missing}", pytrace=False)
    pytest.skip(f"needs {need}: {why_missing}")


def required() -> frozenset[str]:
    """The needs that `MLE_REQUIRE` names; ValueError on an unknown one (a typo would require nothing)."""
    named = frozenset(part.strip() for part in os.environ.get("MLE_REQUIRE", "").split(",") if part.strip())
    if unknown := named.difference(KNOWN):
        raise ValueError(f"MLE_REQUIRE names {', '.join(sorted(unknown))}: known are {', '.join(KNOWN)}")
    return named


def clouds_of(lab: Lab) -> None:
    """Require the local clouds that `lab` needs."""
    for name in {"gcp", "azure"}.intersection(lab.needs):
        require(name, {"gcp": gcp, "azure": azure}[name]())


def docker() -> str | None:
    """Why no container can be run here, or None."""
    if shutil.which("docker") is None:
        return "there is no `docker` command"
    return _fails(["docker", "version", "--format", "{{.Server.Version}}"], "no Docker engine answers")


def browser() -> str | None:
    """Why no headless Chromium can be run here, or None."""
    return None if browser_path() else "there is no Chromium or Chrome on the PATH"


def browser_path() -> str | None:
    """The Chromium (or Chrome) to drive, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def node() -> str | None:
    """Why no npm package can be run here, or None."""
    missing = [name for name in ("node", "npx") if shutil.which(name, path=node_path()) is None]
    return f"there is no {' and no '.join(missing)} on the PATH" if missing else None


def node_path() -> str:
    """The PATH on which `make slides` looks: the machine's own Node first, then the one that dev.lock brings."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), sysconfig.get_path("scripts")])


def azure() -> str | None:
    """Why the Azure Blob emulator cannot be started here, or None."""
    from labkit import cloud

    return cloud.available("azure")


def gcp() -> str | None:
    """Why the Google Cloud Storage emulator cannot be started here, or None."""
    from labkit import cloud

    return cloud.available("gcp")


@cache
def netns() -> str | None:
    """Why a command cannot be run with no network at all (a network namespace of its own), or None."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return "there is no `unshare` command"
    return _fails(["unshare", "--map-root-user", "--net", "true"], "this system lets nobody make network namespaces")


def _fails(command: list[str], sentence: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return sentence
    return None if done.returncode == 0 else sentence
