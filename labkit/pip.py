"""The user's pip, run as a process of its own with the user's own configuration, and what its output means."""

import contextlib
import os
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

from labkit.errors import FailureError
from labkit.locks import Pin

_UNREACHABLE = re.compile(
    r"name resolution|NameResolutionError|NewConnectionError|Network is unreachable|Connection refused|getaddrinfo"
    r"|Connect(ion)?Timeout|Read timed out|ProxyError|Max retries exceeded|Connection aborted|Connection broken"
)
_RESUME = "then run the command again: what was downloaded is kept"


def sizes(pins: Iterable[Pin]) -> dict[str, int | None]:
    """How many bytes pip would download for each pin, by its name; None where nobody says.

    Raises FailureError where the index cannot be reached at all.
    """
    pins = list(pins)
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        answers = list(pool.map(_links, pins))
        found = [links for links, _ in answers]
        if not any(found) and any(unreachable for _, unreachable in answers):
            raise FailureError(unreachable_sentence())
        return dict(zip((pin.name for pin in pins), pool.map(_size, map(_best, found)), strict=True))


def install(arguments: list[str], folder: Path, say: Callable[[str], None]) -> None:
    """Run `pip install` with `arguments`, giving `say` each line of output; raises FailureError where it fails.

    folder: where pip keeps files in the making: the system's own may be small, or in memory.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [*_pip(), "install", "--progress-bar", "raw" if knows_raw_progress() else "off", *arguments]
    lines: list[str] = []
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**_environment(), "TMPDIR": str(folder)},
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            say(lines[-1])
        code = process.wait()
    except BaseException:  # Ctrl-C reached pip as well: it cleans up and ends
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        process.kill()
        raise
    if code:
        raise FailureError(sentence(lines))


def knows_raw_progress() -> bool:
    """Whether this pip can tell a program how far a download is: from 24.1 on."""
    import importlib.metadata

    try:
        major, minor, *_ = importlib.metadata.version("pip").split(".")
        return (int(major), int(minor)) >= (24, 1)
    except importlib.metadata.PackageNotFoundError:
        raise FailureError(f"this Python has no pip: run `{sys.executable} -m ensurepip`") from None


def sentence(lines: list[str]) -> str:
    """Why pip failed, in one sentence, out of what it printed."""
    text = "\n".join(lines)
    if "No space left on device" in text or "Errno 28" in text:
        return f"the disk is full: free some space, {_RESUME}"
    if "DO NOT MATCH THE HASHES" in text:
        wrong = re.search(r"^\s+(\S+==\S+).* from ", text, re.MULTILINE)
        what = wrong[1] if wrong else "a package"
        return f"{what} as your package index offers it is not the file that the lock pins: nothing of it was installed"
    if _UNREACHABLE.search(text):
        return unreachable_sentence()
    if none := re.search(r"No matching distribution found for (\S+)", text):
        return f"the lock cannot be met: your package index has no {none[1]} for this Python and system"
    if "externally-managed-environment" in text:
        return "this Python belongs to the operating system: use the course's own environment, made by `make lab`"
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return f"pip could not install it: {errors[-1] if errors else (lines or ['it said nothing'])[-1]}"


def unreachable_sentence() -> str:
    return f"the package index cannot be reached: check the network, {_RESUME}"


def _pip() -> list[str]:
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}


def _links(pin: Pin) -> tuple[list[tuple[str, str]], bool]:
    """The files which pip would take here, with their versions, and whether the index was out of reach.

    pip is asked, for it knows the user's indexes, mirrors, proxies and credentials.
    """
    command = [*_pip(), "-vv", "index", "versions", "--retries", "0", "--timeout", "15", pin.requirement.name]
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", errors="replace", env=_environment(), check=False
    )
    text = done.stdout + done.stderr
    links = [(url, version) for url, version in _found(text) if pin.accepts(version) and _is_pinned(url, pin)]
    return links, bool(_UNREACHABLE.search(text))


def _found(text: str) -> Iterator[tuple[str, str]]:
    for match in re.finditer(r"Found link (\S+).*, version: (\S+)$", text, re.MULTILINE):
        yield match[1], match[2]


def _is_pinned(url: str, pin: Pin) -> bool:
    _, fragment = urllib.parse.urldefrag(url)
    return not (pin.hashes and fragment.startswith("sha256=")) or fragment.removeprefix("sha256=") in pin.hashes


def _best(links: list[tuple[str, str]]) -> str | None:
    """The file pip prefers: the highest version (2.13.0+cpu is above 2.13.0), then the wheel closest to this system."""
    highest = max((Version(version) for _, version in links), default=None)
    ranks = {tag: rank for rank, tag in enumerate(sys_tags())}

    def rank(url: str) -> int:
        name = file_name(url)
        try:
            return min((ranks[tag] for tag in parse_wheel_filename(name)[3] if tag in ranks), default=len(ranks))
        except InvalidWheelFilename:
            return len(ranks)

    return min((url for url, version in links if Version(version) == highest), key=rank, default=None)


def file_name(url: str) -> str:
    """The name of the file at `url`."""
    return urllib.parse.unquote(urllib.parse.urlsplit(url).path.rsplit("/", 1)[-1])


def _size(url: str | None) -> int | None:
    if url is None:
        return None
    parts = urllib.parse.urlsplit(url)
    try:
        if parts.scheme == "file":
            return Path(urllib.request.url2pathname(parts.path)).stat().st_size
        answer = httpx.head(url, follow_redirects=True, timeout=15)
        return int(answer.headers["content-length"]) if answer.is_success else None
    except (OSError, ValueError, KeyError, httpx.HTTPError):
        return None
