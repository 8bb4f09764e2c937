"""The first install: with nothing but Python 3.11, by hash, resumed after any end, and one sentence where it fails."""

import ast
import hashlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "requirements" / "bootstrap.py"

BACKEND = '''
"""A build backend as small as can be: the tests must install a project without the network."""
import zipfile


def build_editable(folder, config_settings=None, metadata_directory=None):
    name, info = "mle_labs-0.1.0-py3-none-any.whl", "mle_labs-0.1.0.dist-info"
    with zipfile.ZipFile(folder + "/" + name, "w") as wheel:
        wheel.writestr(info + "/METADATA", "Metadata-Version: 2.1\\nName: mle-labs\\nVersion: 0.1.0\\n")
        wheel.writestr(info + "/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "/entry_points.txt", "[console_scripts]\\nlab = tiny:main\\n")
        wheel.writestr(info + "/RECORD", "")
    return name
'''

PROJECT = (
    '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n[project]\nname = "mle-labs"\n'
)


class Small:
    """A course in small: the real bootstrap, a lock of one package, a project without dependencies."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "course"
        self.wheels = folder / "wheels"
        self.wheels.mkdir(parents=True)
        (self.root / "requirements").mkdir(parents=True)
        shutil.copy(SCRIPT, self.root / "requirements")
        (self.root / "backend.py").write_text(BACKEND, encoding="utf-8")
        (self.root / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
        self.lock(self.wheel("1.0"))

    def wheel(self, version: str) -> str:
        """Make the package `tiny` of that version; returns its line of a lock."""
        file = self.wheels / f"tiny-{version}-py3-none-any.whl"
        info = f"tiny-{version}.dist-info"
        with zipfile.ZipFile(file, "w") as wheel:
            wheel.writestr("tiny.py", f"def main():\n    print('tiny {version}')\n")
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
        return f"tiny=={version} --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"

    def lock(self, text: str) -> None:
        (self.root / "requirements" / "core.lock").write_text(text + "\n", encoding="utf-8")

    def environment(self, **more: str) -> dict[str, str]:
        clean = {key: value for key, value in os.environ.items() if not key.upper().startswith(("PIP_", "HTTP"))}
        here = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        return {**clean, **here, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels), **more}

    def command(self, *locks: str) -> list[str]:
        return [sys.executable, str(self.root / "requirements" / "bootstrap.py"), *locks]

    def bootstrap(self, *locks: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*locks), env=self.environment(**more), capture_output=True, encoding="utf-8", timeout=300
        )

    def lab(self) -> str:
        """What the installed command `lab` prints."""
        script = self.root / ".venv" / ("Scripts" if os.name == "nt" else "bin") / "lab"
        return subprocess.run([script], capture_output=True, encoding="utf-8", check=True, timeout=60).stdout.strip()


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path)


def test_a_second_run_starts_no_pip_and_a_new_lock_is_installed(small: Small) -> None:
    first = small.bootstrap()
    assert (first.returncode, first.stderr) == (0, "")
    assert small.lab() == "tiny 1.0"
    log = small.root / ".venv" / "install.log"
    log.unlink()

    with (small.root / "requirements" / "core.lock").open("a", encoding="utf-8") as lock:
        lock.write("    # via somebody else\n")
    assert small.bootstrap().stdout == ""
    assert not log.exists()

    small.lock(small.wheel("2.0"))
    assert small.bootstrap().returncode == 0
    assert small.lab() == "tiny 2.0"


def test_a_course_that_was_moved_works_again_after_the_next_run(small: Small) -> None:
    assert small.bootstrap().returncode == 0
    small.root = small.root.rename(small.root.with_name("moved here"))
    assert small.bootstrap().returncode == 0
    assert small.lab() == "tiny 1.0"


def test_a_package_that_is_not_the_locked_one_is_refused_and_the_right_one_installed_later(small: Small) -> None:
    right = small.wheel("1.0")
    small.lock("tiny==1.0 --hash=sha256:" + "0" * 64)
    refused = small.bootstrap()
    assert refused.returncode == 1
    assert refused.stderr.startswith("a package is not the one that requirements/core.lock names: tiny==1.0;")
    assert refused.stderr.count("\n") == 1
    small.lock(right)
    assert small.bootstrap().returncode == 0
    assert small.lab() == "tiny 1.0"


def test_an_index_out_of_reach_is_one_sentence(small: Small) -> None:
    with socket.socket() as nobody:  # bound but not listening: the connection is refused
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}/simple"
        done = small.bootstrap(PIP_NO_INDEX="0", PIP_FIND_LINKS="", PIP_INDEX_URL=address)
    assert done.returncode == 1
    assert done.stderr.startswith("the package index cannot be reached: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to one process on Windows")
def test_an_install_stopped_by_ctrl_c_says_so_and_the_next_run_completes_it(small: Small, silent: str) -> None:
    child = subprocess.Popen(
        small.command(),
        env=small.environment(PIP_NO_INDEX="0", PIP_FIND_LINKS="", PIP_INDEX_URL=silent),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
        # what runs in the background of a script ignores Ctrl-C, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert child.stdout is not None
    assert child.stdout.readline().startswith("installing 1 packages")
    os.killpg(child.pid, signal.SIGINT)
    _, error = child.communicate(timeout=60)
    assert child.returncode == 130
    assert error.strip() == "stopped: run it again, it goes on where it was"
    assert small.bootstrap().returncode == 0
    assert small.lab() == "tiny 1.0"


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of an index that takes every request and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def take() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/simple"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=10)
        for connection in taken:
            connection.close()


def test_a_package_that_a_killed_pip_left_half_unpacked_is_installed_again(small: Small) -> None:
    assert small.bootstrap().returncode == 0
    (packages,) = (small.root / ".venv").glob("[Ll]ib/**/site-packages")
    (packages / "tiny.py").unlink()
    (packages / "tiny-1.0.dist-info" / "INSTALLER").unlink()
    (small.root / ".venv" / "installed.json").unlink()
    assert small.bootstrap().returncode == 0
    assert small.lab() == "tiny 1.0"


def test_a_venv_that_a_killed_run_left_without_pip_is_made_again(small: Small) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(small.root / ".venv")], check=True)
    assert small.bootstrap().returncode == 0
    assert small.lab() == "tiny 1.0"


def test_without_python_311_it_says_which_one_it_found(small: Small) -> None:
    script = small.root / "requirements" / "bootstrap.py"
    script.write_text(
        SCRIPT.read_text(encoding="utf-8").replace("WANTED = (3, 11)", "WANTED = (3, 99)"), encoding="utf-8"
    )
    done = small.bootstrap()
    assert done.returncode == 2
    assert done.stderr.startswith("the course needs Python 3.99 and found only 3.11 (")
    assert not (small.root / ".venv").exists()


def test_an_unknown_lock_is_named_before_anything_is_made(small: Small) -> None:
    done = small.bootstrap("tensorflo")
    assert done.returncode == 2
    assert done.stderr == "there is no lock 'tensorflo' to install from here: known are core, clouds, dev\n"
    assert not (small.root / ".venv").exists()


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        ("ERROR: an OSError: [Errno 28] No space left on device\n", "the disk is full"),
        ("ERROR: No matching distribution found for jedi==0.20.1\n", "the package index has no jedi==0.20.1"),
        (
            "WARNING: NameResolutionError(...)\nERROR: No matching distribution found for a==1\n",
            "the package index cannot",
        ),
        ("Collecting a\nERROR: something new\n", "requirements/core.lock could not be installed: ERROR: something new"),
    ],
    ids=["disk full", "not for this system", "no network", "anything else"],
)
def test_a_failed_pip_is_told_in_a_sentence_that_starts_with_the_cause(log: str, sentence: str) -> None:
    assert module().explain(log, "requirements/core.lock").startswith(sentence)


def test_an_old_python_can_read_the_script_so_that_it_can_name_itself() -> None:
    ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 8))


def test_a_script_that_an_old_python_cannot_read_is_noticed() -> None:
    with pytest.raises(SyntaxError):
        ast.parse("match 1:\n    case _:\n        pass\n", feature_version=(3, 8))


def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", SCRIPT)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found
