"""Heavy tools on demand: a real pip in an environment of its own, and a real index on this machine."""

import hashlib
import os
import subprocess
import sysconfig
import threading
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.progress import Progress

from labkit import pip
from labkit.errors import FailureError
from labkit.install import Follower, Plan
from labkit.locks import Pin, read
from tests import minicourse, needs
from tests.minicourse import Mini, one_sentence

ROOT = Path(__file__).parent.parent
LARGE = 300_000


def wheel(name: str, size: int) -> bytes:
    """A wheel that pip installs: one module with `size` bytes of noise."""
    import io

    info, noise = f"{name}-1.0.dist-info", os.urandom(size // 2).hex()
    files = {
        f"{name}.py": f"noise = {noise!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return buffer.getvalue()


@dataclass
class Index:
    """A package index over HTTP. `broken` names the files whose download breaks off; `served` counts whole ones."""

    files: dict[str, bytes]
    url: str = ""
    broken: set[str] = field(default_factory=set)
    served: list[str] = field(default_factory=list)

    def answer(self, handler: BaseHTTPRequestHandler, *, body: bool) -> None:
        kind, _, name = handler.path.strip("/").partition("/")
        page = "".join(
            f'<a href="/files/{file}#sha256={hashlib.sha256(data).hexdigest()}">{file}</a>'
            for file, data in self.files.items()
            if file.startswith(f"{name}-")
        ).encode()
        data = page if kind == "simple" else self.files.get(name, b"")
        handler.send_response(200 if data else 404)
        handler.send_header("Content-Type", "text/html" if kind == "simple" else "application/octet-stream")
        handler.send_header("Content-Length", str(len(data)))
        if kind == "files":
            handler.send_header("Cache-Control", "max-age=3600, immutable, public")
        handler.end_headers()
        if body and kind == "files" and name in self.broken:
            handler.wfile.write(data[: len(data) // 2])
            handler.connection.close()
        elif body:
            handler.wfile.write(data)
            self.served.append(name)


@pytest.fixture
def index() -> Iterator[Index]:
    found = Index(
        {"small-1.0-py3-none-any.whl": wheel("small", 1000), "large-1.0-py3-none-any.whl": wheel("large", LARGE)}
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.answer(self, body=True)

        def do_HEAD(self) -> None:
            found.answer(self, body=False)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}/simple"
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with a pip of its own that sees the core of this one."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=True, symlinks=True)
    purelib = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (purelib / "core.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n", "utf-8")
    return folder


@dataclass(frozen=True)
class Bench:
    """A course that needs the extra `heavy`, an index, and an environment to install into."""

    mini: Mini
    index: Index
    environment: Path

    def lock(self, *names: str, sha256: str | None = None, version: str = "1.0") -> None:
        lines = []
        for name in names:
            data = self.index.files[f"{name}-1.0-py3-none-any.whl"]
            lines.append(
                f"{name}=={version} \\\n    --hash=sha256:{sha256 or hashlib.sha256(data).hexdigest()}\n    # via x\n"
            )
        (self.mini.root / "requirements" / "heavy.lock").write_text("".join(lines), "utf-8")

    def install(self, *wrapper: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        python = self.environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        script = (
            "import sys; from labkit import course, install; from labkit.console import console, run; import typer\n"
            "app = typer.Typer()\n"
            "@app.command()\n"
            "def go() -> None: print('new' if install.ensure(course.find(), ['heavy'], console) else 'nothing to do')\n"
            "sys.exit(run(app, []))"
        )
        settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": self.index.url, "PIP_RETRIES": "0"}
        settings["PIP_TRUSTED_HOST"] = self.index.url.split("/")[2]  # without TLS, pip keeps only what these send
        cache = {"PIP_CACHE_DIR": str(self.mini.root / "cache"), "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""}
        return subprocess.run(
            [*wrapper, python, "-c", script],
            env=self.mini.env(**{**settings, **cache, **more}),
            cwd=self.mini.root,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def has(self, name: str) -> bool:
        return Path(sysconfig.get_path("purelib", vars={"base": str(self.environment)}), f"{name}.py").exists()


@pytest.fixture
def bench(tmp_path: Path, index: Index, environment: Path) -> Iterator[Bench]:
    bench = Bench(minicourse.make(tmp_path / "course"), index, environment)
    bench.lock("small", "large")
    yield bench
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "uninstall", "-qy", "small", "large"], capture_output=True, check=False)


def test_the_size_is_said_before_anything_is_downloaded(bench: Bench) -> None:
    bench.index.broken.update(bench.index.files)
    done = bench.install()
    assert done.stdout.startswith("installing heavy: 2 packages, 1 MB to download") and done.returncode == 1


def test_what_is_missing_is_installed_with_a_bar_to_its_end(bench: Bench) -> None:
    done = bench.install()
    assert done.returncode == 0 and done.stdout.endswith("new\n"), done.stdout + done.stderr
    assert bench.has("small") and bench.has("large")
    total = sum(map(len, bench.index.files.values()))
    assert f"{total / 1000:.1f}/{total / 1000:.1f} kB" in done.stdout


def test_what_is_here_costs_no_call_of_pip(bench: Bench) -> None:
    bench.install()
    (bench.mini.root / "pip.py").write_text("raise SystemExit('pip was called')", "utf-8")
    done = bench.install(PYTHONPATH=str(bench.mini.root))
    assert done.stdout == "nothing to do\n", done.stderr


def test_only_what_is_missing_is_installed(bench: Bench) -> None:
    bench.lock("small")
    bench.install()
    bench.lock("small", "large")
    assert bench.install().stdout.startswith("installing heavy: 1 package, ")


def test_a_pin_without_hashes_is_taken_from_the_users_index(bench: Bench) -> None:
    bench.lock("small")
    (bench.mini.root / "requirements" / "heavy.pin").write_text("# why\nlarge==1.0\n", "utf-8")
    done = bench.install()
    assert "at least 1 MB" in done.stdout and bench.has("large"), done.stderr


def test_a_file_that_is_not_the_pinned_one_is_refused(bench: Bench) -> None:
    bench.lock("small", sha256="0" * 64)
    assert "small==1.0 as your package index offers it is not the file" in one_sentence(bench.install(), 1)
    assert not bench.has("small")


def test_a_lock_that_cannot_be_met_is_one_sentence(bench: Bench) -> None:
    bench.lock("small", version="9.9")
    done = bench.install()
    assert "the lock cannot be met: your package index has no small==9.9" in one_sentence(done, 1)
    assert "size unknown" in done.stdout


def test_an_index_out_of_reach_is_one_sentence(bench: Bench) -> None:
    done = bench.install(PIP_INDEX_URL="http://127.0.0.1:9/simple")
    assert "the package index cannot be reached" in one_sentence(done, 1)
    assert not bench.has("small")


def test_a_broken_download_installs_nothing_and_a_rerun_goes_on_from_there(bench: Bench) -> None:
    bench.index.broken.add("large-1.0-py3-none-any.whl")
    one_sentence(bench.install(), 1)
    assert not bench.has("small")
    bench.index.broken.clear()
    assert bench.install().returncode == 0
    assert bench.index.served.count("small-1.0-py3-none-any.whl") == 1


def test_a_full_disk_is_one_sentence_and_leaves_nothing_behind(bench: Bench) -> None:
    needs.require("netns", needs.netns())
    bench.mini.state.mkdir()
    script = 'mount -t tmpfs -o size=128k none "$0" && exec "$@"'
    wrapper = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, bench.mini.state]
    done = bench.install(*wrapper, PIP_NO_CACHE_DIR="1")
    assert "the disk is full" in one_sentence(done, 1)
    assert not bench.has("small") and not bench.has("large")


def test_an_extra_without_a_lock_is_named(bench: Bench) -> None:
    (bench.mini.root / "requirements" / "heavy.lock").unlink()
    assert "heavy.lock is missing" in one_sentence(bench.install(), 1)


def test_a_lock_without_hashes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.lock").write_text("small==1.0\n", "utf-8")
    with pytest.raises(FailureError, match="small has no hash"):
        read(tmp_path, "x")


def test_pins_for_other_systems_are_left_out(tmp_path: Path) -> None:
    line = "--hash=sha256:00\n"
    text = f"here==1 ; python_version >= '3.11' {line}there==1 ; sys_platform == 'nowhere' {line}"
    (tmp_path / "x.lock").write_text(text, "utf-8")
    assert [pin.name for pin in read(tmp_path, "x")] == ["here"]


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.lock")), ids=lambda lock: lock.stem)
def test_every_lock_of_the_course_can_be_read(lock: Path) -> None:
    assert all(isinstance(pin, Pin) for pin in read(lock.parent, lock.stem))


def test_an_unknown_size_is_said_to_be_unknown(tmp_path: Path) -> None:
    (tmp_path / "x.lock").write_text("a==1 --hash=sha256:00\nb==1 --hash=sha256:00\n", "utf-8")
    pins = read(tmp_path, "x")
    assert Plan(("x",), pins, {"a": None, "b": None}).sentence() == "x: 2 packages, size unknown"
    assert Plan(("x",), pins, {"a": 5_000_000, "b": None}).sentence() == "x: 2 packages, at least 5 MB to download"
    assert Plan(("x",), pins, {"a": 5_000_000, "b": 1}).sentence() == "x: 2 packages, 5 MB to download"


def test_the_bar_follows_what_a_newer_pip_reports() -> None:
    progress = Progress()
    bar = progress.add_task("", total=300)
    follow = Follower(progress, bar)
    seen = []
    for line in [
        "Collecting a",
        "  Downloading a-1.0-py3-none-any.whl.metadata (100 bytes)",
        "Downloading a-1.0-py3-none-any.whl (100 bytes)",
        "Progress 0 of 100",
        "Progress 60 of 100",
        "Progress 100 of 100",
        "Using cached b-1.0-py3-none-any.whl (200 bytes)",
        "Installing collected packages: a, b",
    ]:
        follow(line)
        seen.append(progress.tasks[0].completed)
    assert seen == [0, 0, 100, 0, 60, 100, 300, 300]
    assert progress.tasks[0].description == "installing"


def test_an_unforeseen_failure_of_pip_keeps_its_own_words() -> None:
    assert (
        pip.sentence(["Collecting x", "ERROR: the wheel is haunted"])
        == "pip could not install it: the wheel is haunted"
    )
