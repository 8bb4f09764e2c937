"""What a newcomer waits for: a clone, the light core, JupyterLab; then the same again when all is there."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from grader.house import here


def measure() -> None:
    """Clone the course into an empty folder and time `make lab`'s two steps, cold and warm; print a table."""
    root = here().course.root
    with tempfile.TemporaryDirectory(prefix="mle-bench-") as name:
        clone = Path(name) / "course"
        rows = [("git clone", _timed(["git", "clone", "--quiet", str(root), str(clone)], Path(name), {}))]
        env = {"PIP_CACHE_DIR": str(Path(name) / "pip"), "MLE_STATE": str(Path(name) / "state")}
        bootstrap = [sys.executable, "requirements/bootstrap.py", "core"]
        start = [str(clone / ".venv" / "bin" / "lab"), "start", "--no-browser"]
        stop = [str(clone / ".venv" / "bin" / "lab"), "stop"]
        rows.append(("core, nothing cached", _timed(bootstrap, clone, env)))
        rows.append(("core, again", _timed(bootstrap, clone, env)))
        rows.append(("lab start, first", _timed(start, clone, env)))
        rows.append(("lab start, while it runs", _timed(start, clone, env)))
        subprocess.run(stop, cwd=clone, env=os.environ | env, check=True, stdout=subprocess.DEVNULL)
        rows.append(("lab start, after lab stop", _timed(start, clone, env)))
        subprocess.run(stop, cwd=clone, env=os.environ | env, check=True, stdout=subprocess.DEVNULL)
        sizes = {"the clone": _megabytes(clone, ".venv"), "the core, installed": _megabytes(clone / ".venv")}
    _print(rows, sizes)


def _print(rows: list[tuple[str, float]], sizes: dict[str, float]) -> None:
    table = Table("step", "seconds", title=f"{os.cpu_count()} cores, load {psutil.getloadavg()[0]:.1f}")
    for step, seconds in rows:
        table.add_row(step, f"{seconds:.1f}")
    for what, megabytes in sizes.items():
        table.add_row(what, f"{megabytes:.0f} MB")
    Console().print(table)


def _timed(command: list[str], folder: Path, env: dict[str, str]) -> float:
    start = time.monotonic()
    subprocess.run(command, cwd=folder, env=os.environ | env, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def _megabytes(folder: Path, without: str = "") -> float:
    files = (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return sum(file.stat().st_size for file in files if not without or without not in file.parts) / 1e6
