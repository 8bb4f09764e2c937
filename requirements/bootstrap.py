"""Make `.venv` with Python 3.11 and install the locked packages and the course into it: `bootstrap.py [LOCK ...]`.

Standard library only, and readable by Python 3.8: it is the first thing that runs, and says what to do where 3.11 is
missing. What is installed already is told by a stamp of the locks' contents, so a second run starts nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
SITE = VENV / ("Lib" if os.name == "nt" else "lib/python3.11") / "site-packages"
STAMP = VENV / "installed.json"
LOG = VENV / "install.log"
WANTED = (3, 11)

LOCKS = ("core", "clouds", "dev")
"""What is installed from here. The heavy extras are `lab start NN`'s, which says their size first."""

FAILURES = (
    (
        r"DO NOT MATCH THE HASHES",
        "a package is not the one that {lock} names: {detail}; run it again, and do not use that index if it stays so",
    ),
    (
        r"No space left on device|Errno 28|WinError 112",
        "the disk is full: free about 2 GB and run it again, what was downloaded is kept",
    ),
    (
        r"NewConnectionError|NameResolutionError|Temporary failure in name resolution|ConnectionError|ConnectTimeout"
        r"|Read timed out|ReadTimeout|ProxyError|Network is unreachable|SSLError",
        "the package index cannot be reached: check the network or the proxy and run it again, what came is kept",
    ),
    (
        r"No matching distribution found for (\S+)",
        "the package index has no {detail} for this system: the course runs on 64-bit Linux, macOS and Windows",
    ),
    (
        r"Permission denied|Errno 13",
        "a file under .venv cannot be written: close what uses it, or remove .venv, and run it again",
    ),
)
"""What pip's log says when an install fails, most telling first, and the sentence for it."""


class Stop(Exception):
    """Why nothing could be installed, in one sentence; `code` is 2 where the user has to change something."""

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code


def main(locks: list[str]) -> int:
    try:
        bring_up_to_date(["core", *(lock for lock in locks if lock != "core")])
    except Stop as stop:
        print(stop, file=sys.stderr)
        return stop.code
    except KeyboardInterrupt:
        print("\nstopped: run it again, it goes on where it was", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"{error.filename or ROOT}: {error.strerror or error}; mend that and run it again", file=sys.stderr)
        return 1
    return 0


def bring_up_to_date(locks: list[str]) -> None:
    """Install each lock whose contents are not the installed ones, then the course itself."""
    wanted = fingerprints(locks)
    stamp = read_stamp()
    if all(stamp.get(name) == value for name, value in wanted.items()):
        return
    make_venv(moved=stamp.get("place", str(VENV)) != str(VENV))
    stamp = {**read_stamp(), "place": str(VENV)}
    for name in locks:
        if stamp.get(name) != wanted[name]:
            install(name)
            stamp[name] = wanted[name]
            write_stamp(stamp)
    if stamp.get("course") != wanted["course"]:
        install_course()
        stamp["course"] = wanted["course"]
        write_stamp(stamp)


def fingerprints(locks: list[str]) -> dict[str, str]:
    """What the installed state is compared with: each lock on top of core, the course's own metadata, the folder."""
    core = pinned("core")
    found = {"course": digest(core, read(ROOT / "pyproject.toml")), "place": str(VENV)}
    for name in locks:
        if name not in LOCKS:
            raise Stop(f"there is no lock {name!r} to install from here: known are {', '.join(LOCKS)}", 2)
        found[name] = digest(core, pinned(name))
    return found


def pinned(name: str) -> bytes:
    """A lock without its comments: who asks for a package may change, and there is nothing new to install."""
    return re.sub(rb"^[ \t]*#.*\n?", b"", read(HERE / f"{name}.lock"), flags=re.MULTILINE)


def read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise Stop(f"{file} is missing: clone the course again", 2) from None


def digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def read_stamp() -> dict[str, str]:
    """What is installed; nothing where that is not known for certain."""
    if not PYTHON.exists():
        return {}
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(stamp: dict[str, str]) -> None:
    new = STAMP.with_suffix(".new")
    new.write_text(json.dumps(stamp, indent=1), encoding="utf-8")
    new.replace(STAMP)


def make_venv(moved: bool) -> None:
    """Leave a `.venv` with a working pip of Python 3.11; one that was interrupted, broken or moved is made again."""
    version = version_of([str(PYTHON)]) if PYTHON.exists() else None
    if version is not None and version != WANTED:
        have = f"{VENV} holds Python {dotted(version)}, the course needs {dotted(WANTED)}"
        raise Stop(f"{have}: remove that folder and run it again", 2)
    if version == WANTED and not moved and run([str(PYTHON), "-m", "pip", "--version"]).returncode == 0:
        return
    done = run([*find_python(), "-m", "venv", "--clear", str(VENV)])
    if done.returncode == 0:
        return
    if "ensurepip" in done.stdout:
        debian = "install python3.11-venv (Debian, Ubuntu: sudo apt install python3.11-venv)"
        raise Stop(f"this Python cannot make virtual environments: {debian} and run it again", 2)
    raise Stop(f"{VENV} could not be made: {last_line(done.stdout)}")


def find_python() -> list[str]:
    """The command of a Python 3.11 on this machine."""
    mine = getattr(sys, "_base_executable", None) or sys.executable
    found = []
    for command in ([mine], ["python3.11"], ["python3"], ["python"], ["py", "-3.11"]):
        version = version_of(command)
        if version == WANTED:
            return command
        if version:
            found.append(f"{dotted(version)} ({shutil.which(command[0]) or command[0]})")
    have = f"found only {found[0]}" if found else "found none"
    raise Stop(f"the course needs Python {dotted(WANTED)} and {have}: install it beside the others and run it again", 2)


def version_of(command: list[str]) -> tuple[int, ...] | None:
    done = run([*command, "-c", "import sys; print(sys.version_info[0], sys.version_info[1])"])
    numbers = done.stdout.split()
    return tuple(map(int, numbers)) if done.returncode == 0 and all(map(str.isdigit, numbers)) else None


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def install(name: str) -> None:
    """Install one lock, by hash. It names everything there is to install, so pip has nothing to resolve or to build."""
    lock = HERE / f"{name}.lock"
    drop_half_installed()
    total = len(re.findall(r"^\S+==", lock.read_text(encoding="utf-8"), flags=re.MULTILINE))
    print(f"installing {total} packages of requirements/{lock.name} into .venv", flush=True)
    started = time.monotonic()
    pip = [str(PYTHON), "-m", "pip", "install", "--no-input", "--retries", "2", "--progress-bar", "off"]
    how = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--requirement", str(lock)]
    lines, code = follow([*pip, *how], Progress(total))
    if code:
        raise Stop(explain("".join(lines), f"requirements/{lock.name}"))
    print(f"installed in {time.monotonic() - started:.0f} s", flush=True)


def install_course() -> None:
    """Install the course's own two packages in place; setuptools is in the core lock, so this needs no network."""
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    done = run([*command, "--editable", str(ROOT)])
    if done.returncode != 0:
        LOG.write_text(done.stdout, encoding="utf-8")
        raise Stop(f"the commands `lab` and `grader` could not be installed: {last_line(done.stdout)} (more in {LOG})")


def drop_half_installed() -> None:
    """Forget what an interrupted pip was just unpacking: its INSTALLER comes last, yet it takes the rest for whole."""
    for info in SITE.glob("*.dist-info"):
        if not (info / "INSTALLER").exists():
            shutil.rmtree(info)


def follow(command: list[str], progress: Progress) -> tuple[list[str], int]:
    """Run pip with its output in the log and its progress on the terminal; its lines and its exit code."""
    lines: queue.Queue[str | None] = queue.Queue()
    kept: list[str] = []
    with LOG.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        assert process.stdout is not None
        reader = threading.Thread(target=pump, args=(process.stdout, lines), daemon=True)
        reader.start()
        try:
            while True:
                with contextlib.suppress(queue.Empty):
                    line = lines.get(timeout=0.5)
                    if line is None:
                        break
                    log.write(line)
                    kept.append(line)
                    progress.line(line)
                    continue
                progress.tick()
        except BaseException:
            process.terminate()
            raise
        finally:
            process.wait()
            progress.clear()
    return kept, process.returncode


def pump(stream: object, lines: queue.Queue[str | None]) -> None:
    for line in stream:  # type: ignore[attr-defined]
        lines.put(line)
    lines.put(None)


class Progress:
    """One line that is rewritten, on a terminal only: which package of how many."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.seen = 0
        self.unpacking = 0
        self.before = unpacked()

    def line(self, text: str) -> None:
        words = text.split() or [""]
        if words[0] in ("Collecting", "Ignoring", "Requirement"):
            self.seen += 1
            name = re.split("[=:; ]", words[3 if words[0] == "Requirement" else 1])[0]
            self.show(f"{self.seen}/{self.total} {name}")
        elif words[0] == "Downloading":
            self.show(f"{self.seen}/{self.total} {' '.join(words[1:])}")
        elif text.startswith("Installing collected packages:"):
            self.unpacking = text.count(",") + 1

    def tick(self) -> None:
        """Pip prints nothing while it unpacks, so count what it has written."""
        if self.unpacking:
            self.show(f"unpacking {unpacked() - self.before}/{self.unpacking}")

    def show(self, text: str) -> None:
        if sys.stdout.isatty():
            width = shutil.get_terminal_size().columns - 1
            print("\r" + f"  {text}"[:width].ljust(width), end="", flush=True)

    def clear(self) -> None:
        if sys.stdout.isatty():
            print("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r", end="", flush=True)


def unpacked() -> int:
    return sum(1 for _ in SITE.glob("*.dist-info/INSTALLER"))


def explain(log: str, lock: str) -> str:
    """One sentence for why pip failed: what is wrong and what to do."""
    for pattern, sentence in FAILURES:
        match = re.search(pattern, log)
        if match:
            return sentence.format(lock=lock, detail=match.group(1) if match.groups() else mismatch(log))
    return f"{lock} could not be installed: {last_line(log)} (all of it in {LOG})"


def mismatch(text: str) -> str:
    """The file whose hash is wrong, from the lines pip prints about it."""
    match = re.search(r"^\s+(\S+==\S+|\S+)(?= from [^\n]+:\n\s+Expected sha256)", text, flags=re.MULTILINE)
    return match.group(1) if match else "its contents differ"


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("[notice]")]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["no reason was given"])[-1]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command quietly; one that does not exist counts as failed."""
    try:
        return subprocess.run(
            command,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, stdout=str(error))


def environment() -> dict[str, str]:
    """Ours without what would send pip's work elsewhere than into `.venv`."""
    elsewhere = (
        "PIP_USER",
        "PIP_TARGET",
        "PIP_PREFIX",
        "PIP_CONSTRAINT",
        "PYTHONHOME",
        "PYTHONPATH",
        "__PYVENV_LAUNCHER__",
    )
    return {
        **{key: value for key, value in os.environ.items() if key not in elsewhere},
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
