"""The student's image and the dev container, built and run with a real engine by the commands their README shows."""

import json
import re
import shlex
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import needs

ROOT = Path(__file__).resolve().parent.parent
BUILD_SECONDS = 600
READY_SECONDS = 90


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    needs.require("docker", needs.docker())


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """The image, built by the README's own command under a name of its own."""
    name = f"mle-labs-test:{uuid.uuid4().hex[:12]}"
    build = [name if word == "mle-labs" else word for word in shown("build")]
    assert name in build
    docker(*build[1:], "--quiet", timeout=BUILD_SECONDS)
    yield name
    docker("image", "rm", "--force", name)


@pytest.fixture(scope="session")
def running(image: str) -> Iterator[str]:
    """A container started by the README's own command, on a free port and with a volume of its own."""
    volume = f"mle-test-{uuid.uuid4().hex[:12]}"
    swapped = {
        "mle-labs": image,
        "127.0.0.1:8888:8888": "127.0.0.1::8888",
        "mle-work:/course/work": f"{volume}:/course/work",
    }
    shown_run = shown("run")
    assert swapped.keys() <= set(shown_run)
    run = [swapped.get(word, word) for word in shown_run[2:] if word != "--rm"]
    container = docker("run", "--detach", *run).strip()
    yield container
    docker("rm", "--force", container)
    docker("volume", "rm", "--force", volume)


def shown(verb: str) -> list[str]:
    """The words of the first `docker VERB` command that docker/README.md shows."""
    text = (ROOT / "docker" / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^docker {verb} .*$", text, flags=re.MULTILINE)
    assert found, f"docker/README.md shows no `docker {verb}`"
    return shlex.split(found.group())


def docker(*arguments: str, timeout: float = 60) -> str:
    done = subprocess.run(["docker", *arguments], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=timeout)
    assert done.returncode == 0, f"docker {shlex.join(arguments)} ended with {done.returncode}:\n{done.stderr[-3000:]}"
    return done.stdout


def address(container: str) -> str:
    return docker("port", container, "8888/tcp").split()[0]


def logs(container: str) -> str:
    done = subprocess.run(["docker", "logs", "--tail", "20", container], capture_output=True, encoding="utf-8")
    return done.stdout + done.stderr


def jupyter_version(container: str) -> str:
    """The version that JupyterLab's server in `container` tells, waited for until it answers."""
    limit = time.monotonic() + READY_SECONDS
    while True:
        state = docker("inspect", "--format", "{{.State.Status}}", container).strip()
        assert state == "running", f"the container is {state}: {logs(container)}"
        try:
            with urllib.request.urlopen(f"http://{address(container)}/api", timeout=5) as answer:
                return str(json.load(answer)["version"])
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            assert time.monotonic() < limit, f"no answer in {READY_SECONDS} s: {logs(container)}"
            time.sleep(0.2)


def test_jupyterlab_of_the_image_answers_from_outside(running: str) -> None:
    assert jupyter_version(running).split(".")[0].isdigit()


def test_jupyterlab_refuses_who_has_no_token(running: str) -> None:
    jupyter_version(running)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{address(running)}/api/contents", timeout=5)
    assert refused.value.code == 403


def test_the_healthcheck_turns_healthy(running: str) -> None:
    jupyter_version(running)
    limit = time.monotonic() + READY_SECONDS
    while (health := docker("inspect", "--format", "{{.State.Health.Status}}", running).strip()) != "healthy":
        assert time.monotonic() < limit, health
        time.sleep(0.2)


def test_every_process_of_the_container_runs_as_student(running: str) -> None:
    owners = docker("top", running, "-eo", "pid,uid,comm").splitlines()[1:]
    assert owners
    assert {line.split()[1] for line in owners} == {"1000"}


def test_the_student_finds_each_lab_to_write_on(running: str) -> None:
    jupyter_version(running)
    labs = sorted(path.parent.name for path in (ROOT / "labs").glob("*/lab.toml"))
    assert labs
    assert docker("exec", running, "ls", "/course/work").split() == labs
    docker("exec", running, "sh", "-c", "for lab in /course/work/*; do touch $lab/mine; done")


def test_the_image_holds_neither_solutions_nor_tests_nor_history(image: str) -> None:
    there = docker("run", "--rm", image, "ls", "--almost-all", "/course").split()
    assert "labs" in there
    assert not {"solutions", "tests", "classroom", ".git", ".venv"} & set(there)


def test_the_notebooks_cloud_starts_in_the_container(running: str) -> None:
    start = "from labkit import cloud; print(cloud.start('aws').endpoint)"
    assert docker("exec", running, "python", "-c", start).startswith("http://127.0.0.1:")


def test_a_clone_mounted_in_the_dev_container_has_the_commands(image: str) -> None:
    settings = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    here = ROOT / ".devcontainer"
    build = settings["build"]
    dockerfile, context = here / build["dockerfile"], here / build["context"]
    built = docker(
        "build", "--quiet", "--file", str(dockerfile), "--target", build["target"], str(context), timeout=BUILD_SECONDS
    )
    # the clone is read-only to the container's user here, whoever runs the tests: so it works on a copy
    clone = (
        "mkdir ~/clone && cd ~/clone && tar -C /clone --exclude=.git --exclude=.venv --exclude=work -cf - . | tar -xf -"
    )
    script = f"{clone} && {settings['postCreateCommand']} >/dev/null && lab --help"
    mount = f"type=bind,source={ROOT},target=/clone,readonly"
    user = ["--user", settings["remoteUser"]]
    try:
        printed = docker("run", "--rm", *user, "--mount", mount, built.strip(), "sh", "-c", script, timeout=120)
    finally:
        docker("image", "rm", "--force", built.strip())
    assert "start" in printed
