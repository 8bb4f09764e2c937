"""What this machine has for the labs: one finding each, with what it enables and how to mend it."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from labkit import cloud, jupyter
from labkit.course import Course
from labkit.errors import CourseError

Status = Literal["ok", "limited", "absent", "broken"]

GIB = 1024**3
LEAST_MEMORY = 4 * GIB
GOOD_MEMORY = 8 * GIB
LEAST_DISK = 1 * GIB
GOOD_DISK = 10 * GIB
PROBE_SECONDS = 8.0


@dataclass(frozen=True)
class Finding:
    """One line of `lab doctor`. `mend` is empty where nothing needs mending. Broken: the core cannot be used."""

    what: str
    status: Status
    found: str
    enables: str
    mend: str = ""


def examine(course: Course) -> list[Finding]:
    """Look at everything the labs may use. Broken findings make the course unusable, absent ones only some labs."""
    probes: list[Callable[[], list[Finding]]] = [
        lambda: [python(), memory(), disk(course.root)],
        lambda: [files(course)],
        lambda: [engine()],
        lambda: [cluster()],
        lambda: [gpu()],
        lambda: [credentials()],
        lambda: [emulator(name) for name in cloud.NAMES],
        lambda: [ports(course), lab_server(course)],
    ]
    with ThreadPoolExecutor(len(probes)) as pool:
        return [finding for found in pool.map(lambda probe: probe(), probes) for finding in found]


def python() -> Finding:
    """The interpreter that runs the labs."""
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] == (3, 11):
        return Finding("Python", "ok", found, "every lab")
    return Finding("Python", "broken", found, "every lab", "make the environment again with Python 3.11: `make lab`")


def memory() -> Finding:
    """What is left of the machine's memory, a container's limit included."""
    total = _memory_limit()
    found = f"{total / GIB:.1f} GiB, {min(total, psutil.virtual_memory().available) / GIB:.1f} GiB free"
    if total < LEAST_MEMORY * 0.9:
        return Finding(
            "memory", "limited", found, "the light labs", "close other programs; 4 GiB are the least, 8 GiB are good"
        )
    if total < GOOD_MEMORY * 0.9:
        return Finding(
            "memory", "limited", found, "all but the heavy labs", "8 GiB are needed for training and a cluster"
        )
    return Finding("memory", "ok", found, "every lab")


def disk(folder: Path) -> Finding:
    """What is free where the course lies."""
    free = shutil.disk_usage(folder).free
    found = f"{free / GIB:.1f} GiB free at {folder}"
    if free < LEAST_DISK:
        return Finding("disk", "broken", found, "every lab", "free some space: 1 GiB is the least")
    if free < GOOD_DISK:
        return Finding("disk", "limited", found, "the light labs", "images and heavy tools need 10 GiB")
    return Finding("disk", "ok", found, "every lab")


def files(course: Course) -> Finding:
    """The data, against its checksums, and the labs as released."""
    from labkit import data  # with pandas, which takes a second that `lab start` should not wait for

    mend = "get the file again: `git checkout -- datasets labs`"
    try:
        data.verify()
        labs = course.labs()
    except CourseError as error:
        return Finding("course files", "broken", str(error), "every lab", mend)
    except OSError as error:
        return Finding("course files", "broken", f"{error.filename}: {error.strerror}", "every lab", mend)
    if not labs:
        return Finding("course files", "broken", f"no lab in {course.labs_dir}", "every lab", mend)
    return Finding("course files", "ok", f"datasets match their checksums, {len(labs)} labs", "every lab")


def engine() -> Finding:
    """A container engine that answers."""
    enables = "labs 10 to 17: images and a local cluster"
    for name in ("docker", "podman"):
        if shutil.which(name):
            version = _say([name, "version", "--format", "{{.Server.Version}}"])
            if version is not None:
                return Finding("container engine", "ok", f"{name} {version}", enables)
            return Finding(
                "container engine", "absent", f"{name} is installed but does not answer", enables, f"start {name}"
            )
    return Finding("container engine", "absent", "neither docker nor podman", enables, "install Docker or Podman")


def cluster() -> Finding:
    """A Kubernetes cluster that kubectl reaches."""
    enables = "labs 11 to 17: deploying"
    if not shutil.which("kubectl"):
        return Finding("cluster", "absent", "no kubectl", enables, "install kubectl and a local cluster such as kind")
    context = _say(["kubectl", "config", "current-context"])
    if not context:
        return Finding(
            "cluster", "absent", "kubectl has no current context", enables, "start a local cluster such as kind"
        )
    if _say(["kubectl", "get", "--raw=/readyz", f"--request-timeout={PROBE_SECONDS / 2:g}s"]) is None:
        return Finding("cluster", "absent", f"context {context} does not answer", enables, "start that cluster again")
    return Finding("cluster", "ok", f"context {context} answers", enables)


def gpu() -> Finding:
    """An accelerator that frameworks can use."""
    enables = "labs 06 and 07 at full speed"
    if shutil.which("nvidia-smi"):
        names = _say(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
        if names:
            return Finding("GPU", "ok", ", ".join(names.split("\n")), enables)
        return Finding(
            "GPU", "absent", "nvidia-smi finds no GPU", enables, "install the NVIDIA driver, or use the CPU: slower"
        )
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return Finding("GPU", "ok", "Apple GPU (MPS)", enables)
    return Finding("GPU", "absent", "none found", enables, "none needed: these labs run on the CPU, slower")


def credentials() -> Finding:
    """Real accounts: only whether keys are there, never what they are."""
    home = Path.home()
    there = {
        "aws": any(os.environ.get(n) for n in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"))
        or (home / ".aws/credentials").exists(),
        "gcp": bool(os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"))
        or (home / ".config/gcloud/application_default_credentials.json").exists(),
        "azure": bool(os.environ.get("AZURE_CLIENT_ID")) or (home / ".azure/azureProfile.json").exists(),
    }
    names = ", ".join(name for name, found in there.items() if found)
    real = os.environ.get("MLE_CLOUD") == "real"
    if real and not names:
        return Finding(
            "credentials", "absent", "MLE_CLOUD=real but none found", "a real cloud", "log in, or remove MLE_CLOUD"
        )
    if real:
        return Finding("credentials", "ok", f"{names}: in use (MLE_CLOUD=real)", "a real cloud, at its price")
    if names:
        return Finding("credentials", "ok", f"{names}: present, not used", "a real cloud, with MLE_CLOUD=real")
    return Finding("credentials", "absent", "none", "a real cloud", "none needed: the labs use local emulators")


def emulator(name: cloud.Name) -> Finding:
    """A local cloud that runs or could be started."""
    what, enables = f"cloud {name}", "every lab" if name == "aws" else f"`lab start 02 --cloud {name}`"
    try:
        if sentence := cloud.available(name):
            status: Status = "broken" if name == "aws" else "absent"
            return Finding(what, status, "cannot be started yet", enables, sentence)
        runs = next((there for there in cloud.running() if there.name == name), None)
    except CourseError as error:
        return Finding(what, "broken", "cannot be asked", enables, str(error))
    return Finding(what, "ok", f"runs at {runs.endpoint}" if runs else "can be started", enables)


def ports(course: Course) -> Finding:
    """Whether JupyterLab gets the port that people expect."""
    first = jupyter.FIRST_PORT
    server = jupyter.find(course)
    if server:
        return Finding("ports", "ok", f"{server.port} is our JupyterLab", "`lab start`")
    if jupyter.is_free(first):
        return Finding("ports", "ok", f"{first} is free", "`lab start`")
    return Finding(
        "ports", "ok", f"{first} is in use by another program, {jupyter.free_port()} is taken instead", "`lab start`"
    )


def lab_server(course: Course) -> Finding:
    """JupyterLab: installed, and running or not."""
    try:
        version = importlib.metadata.version("jupyterlab")
    except importlib.metadata.PackageNotFoundError:
        return Finding("JupyterLab", "broken", "not installed", "every lab", "install the course again: `make lab`")
    server = jupyter.find(course)
    return Finding(
        "JupyterLab", "ok", f"{version}, " + (f"runs on port {server.port}" if server else "not running"), "every lab"
    )


def _memory_limit() -> int:
    total = int(psutil.virtual_memory().total)
    limit = Path("/sys/fs/cgroup/memory.max")
    try:
        return min(total, int(limit.read_text(encoding="ascii")))
    except (OSError, ValueError):  # not Linux, or "max"
        return total


def _say(command: list[str]) -> str | None:
    """What a command prints; None where it fails or takes too long."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=PROBE_SECONDS,
            check=False,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
